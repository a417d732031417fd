"""Faults injected into real commands: whatever breaks, the same command ends in the same bytes as an undisturbed run."""
