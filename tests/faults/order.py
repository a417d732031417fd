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
#: A path, after the folder's handle if there is one.
NAMED = re.compile(rf"(?:\b(?:AT_FDCWD|\d+)<([^>]*)>, )?{PATH_IN_QUOTES.pattern}")
COPIED_TO = re.compile(r", \d+<([^>]*)>")


def passing(path: Path) -> bool:
    """True for what is not finished: a stage's work and what is being put together."""
    return any(f"/store/genart/{kind}/" in str(path) for kind in ("work", "tmp", "scratch")) and "/checkpoints/" not in str(path)


def named(arguments: str, folder: Path) -> list[str]:
    """Paths among the arguments of a call, those that are relative to a folder's handle too."""
    return [str((Path(within) if within else folder) / path) for within, path in NAMED.findall(arguments)]


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
            old, new = named(arguments, folder)[:2]
            moved = [path for path in dirty if path == old or path.startswith(f"{old}/")]
            dirty.difference_update(moved)
            if passing(Path(new)):
                dirty.update(new + path.removeprefix(old) for path in moved)
                continue
            yield from (f"{path} was renamed before it was on the disk" for path in sorted(moved))
            nameless[str(Path(new).parent)] = new
        elif call.name in ("link", "linkat"):
            old, new = named(arguments, folder)[:2]
            dirty.update([new] if old in dirty else [])
        elif call.name in ("unlink", "unlinkat") and (paths := named(arguments, folder)):
            dirty.discard(paths[0])
    yield from (f"the name {new} was never on the disk for certain" for new in nameless.values())
