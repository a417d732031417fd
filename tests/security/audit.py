"""Notes what a command does that nothing in a stranger's file may make it do, by Python's audit hooks (PEP 578).

In the child: `install(log)`. In the test: `violations(log, folder, allowed)`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Acts that no file may cause, by the beginning of the event's name.
NEVER = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.startfile",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.sendto",
    "urllib.",
    "http.",
    "ftplib.",
    "smtplib.",
    "webbrowser.",
    "pickle.find_class",
)
#: Acts that change the path in their first argument, or the first two.
CHANGING = ("os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate", "os.utime", "shutil.rmtree", "os.setxattr")
MOVING = ("os.rename", "os.link", "os.symlink", "shutil.move", "shutil.copyfile")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def install(log: str) -> None:
    """Write each act of interest to a file from now on."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITING:
                return
        elif not event.startswith((*NEVER, *CHANGING, *MOVING)):
            return
        told = [os.fsdecode(item) if isinstance(item, bytes | os.PathLike) else item for item in arguments]
        os.write(handle, json.dumps([event, [item if isinstance(item, str | int) else str(item) for item in told]]).encode() + b"\n")

    sys.addaudithook(hook)


def violations(log: Path, folder: Path, allowed: Sequence[Path]) -> Iterator[str]:
    """What the notes hold that must not be.

    Args:
        log: the notes.
        folder: current directory of the command.
        allowed: folders in which it may write.
    """
    for line in log.read_text().splitlines():
        event, arguments = json.loads(line)
        if event.startswith(NEVER):
            yield f"{event} {arguments}"
            continue
        changed = arguments[1:2] if event == "shutil.copyfile" else arguments[: 2 if event in MOVING else 1]
        for path in changed:
            if isinstance(path, int) or (_is_relative_to_handle(event, arguments) and not os.path.lexists(folder / path)):
                continue
            where = Path(os.path.normpath(folder / path))
            if where != Path(os.devnull) and not any(where == root or root in where.parents for root in allowed):
                yield f"{event} {arguments}"


def _is_relative_to_handle(event: str, arguments: list[Any]) -> bool:
    """Acts within an open folder, which was found when that was opened; as `shutil.rmtree` does, and `genart.folders`.

    Python does not tell the handle of an `open`: a bare name that has to be new, or must be no link, is one of those.
    """
    if event == "open":
        return "/" not in str(arguments[0]) and bool(arguments[2] & os.O_NOFOLLOW)
    place = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.rename": 2}.get(event)
    return place is not None and len(arguments) > place and arguments[place] not in (-1, None)
