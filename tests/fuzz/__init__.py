"""Bytes from anywhere, by the million: `python -m tests.fuzz --all --minutes 60`, and properties of what they go through."""
