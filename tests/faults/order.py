"""The order of writing: what is renamed into its place is on the disk before, and its new name is on the disk after.

A kill shows nothing of this, since the system keeps what a dead process wrote; only a power cut would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .forge import HANDLE, PATH_IN_QUOTES, Call

WRITING = ("write", "pwrite64", "ftruncate", "sendfile")
SYNCING = ("fsync", "fdatasync")
RENAMING = ("rename", "renameat", "renameat2")
ARGUMENTS = re.compile(r"\w+\((.*)")
COPIED_TO = re.compile(r", \d+<([^>]*)>")


def out_of_order(calls: Sequence[Call], folder: Path) -> Iterator[str]:
    """What a trace of a whole command leaves to a power cut.

    Args:
        calls: in order, all that concern the folder.
        folder: current directory of the command.
    """
    dirty: set[str] = set()
    nameless: dict[str, str] = {}  # folders with a name that is not on the disk yet
    for call in calls:
        found = ARGUMENTS.search(call.told)
        assert found is not None
        arguments = found.group(1)
        handle = HANDLE.match(arguments)
        if " = -1 E" in call.told:  # it failed, and did nothing
            continue
        if call.name in WRITING and handle:
            dirty.add(handle.group(1))
        elif call.name == "copy_file_range" and (target := COPIED_TO.search(arguments)):
            dirty.add(target.group(1))
        elif call.name in SYNCING and handle:
            dirty.discard(handle.group(1))
            nameless.pop(handle.group(1), None)
        elif call.name in RENAMING:
            old, new = (str(folder / path) for path in PATH_IN_QUOTES.findall(arguments)[:2])
            unsafe = [path for path in dirty if path == old or path.startswith(f"{old}/")]
            yield from (f"{path} was renamed before it was on the disk" for path in sorted(unsafe))
            dirty.difference_update(unsafe)
            nameless[str(Path(new).parent)] = new
        elif call.name in ("unlink", "unlinkat") and (quoted := PATH_IN_QUOTES.search(arguments)):
            dirty.discard(str(folder / quoted.group(1)))
    yield from (f"the name {new} was never on the disk for certain" for new in nameless.values())
