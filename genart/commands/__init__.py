"""The commands, a module for each kind; what they share is in `app`, `printing` and `signals`.

Each imports what it needs in its first lines: `--help` pays for the command-line library alone.
"""
