"""What a command has begun: its processes, and where these listen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: State of a socket that listens, in /proc/net/tcp.
LISTENING = "0A"


def below(pid: int) -> list[int]:
    """Processes that one has begun, and those that they have."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, front = [], [pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found


def title(pid: int) -> str:
    """How a process calls itself; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def listening(pids: list[int]) -> Iterator[str]:
    """Addresses, in hex, at which some of the processes listen."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(descriptor))
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                yield fields[1].partition(":")[0]


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8, ::1, and the former as the latter writes it, in the byte order of /proc/net."""
    if len(address) == 8:
        return address.endswith("7F")
    return address in ("00000000000000000000000001000000",) or (address.startswith("0000000000000000FFFF0000") and address.endswith("7F"))
