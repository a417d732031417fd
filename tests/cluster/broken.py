"""A file system of fsspec that counts what it is asked, and fails when it is told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

#: What `genart.bucket` asks of a file system.
ASKED = ("cat_ranges", "find", "isdir", "exists", "pipe", "pipe_file", "put", "put_file", "mv", "link", "rm", "rm_file")


class Broken:
    """Passes on what it is asked, unless its fate is another.

    Args:
        files: the file system.
        fate: called with the number of a request, from 1 on, and its name: "before" fails instead of doing it, "after" does it and then
            fails, as when the answer is lost, "half" does it for the first of several files and then fails, "kill" ends the process;
            None does it.
    """

    def __init__(self, files: Any, fate: Callable[[int, str], str | None] = lambda number, name: None) -> None:
        self.files, self.fate = files, fate
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name not in ASKED:
            return getattr(self.files, name)

        def ask(*arguments: Any, **named: Any) -> Any:
            self.asked.append(name)
            how = self.fate(len(self.asked), name)
            real = getattr(self.files, name)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "half" and name == "pipe":
                real(dict(list(arguments[0].items())[:1]))
            elif how == "half" and name == "put":
                real(arguments[0][:1], arguments[1][:1])
            elif how == "after" or how is None:
                found = real(*arguments, **named)
            if how is not None:
                raise ConnectionResetError("the wire broke")
            return found

        return ask
