"""Exact resume: wherever a training is killed, what it saw, told, kept and made is that of one that never was."""
