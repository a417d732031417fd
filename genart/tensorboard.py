"""Numbers of a training as TensorBoard event files, where `tensorboard` is installed: `genart run ... --tensorboard DIR`."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import UsageError
from .folders import Folder

#: Keys of a metric event that are no numbers to draw.
NO_SCALARS = {"event", "stage", "nimg"}
_NUMBERS = itertools.count()


class TensorBoard:
    """Observer that writes the metrics of each stage into a folder of its own, by images seen.

    Event files hold the time of each number, so they are no outputs: they go where the user says. They are begun with the first number,
    so that a run whose results are all in the store imports nothing.

    Args:
        folder: `tensorboard --logdir` shows it.

    Raises:
        UsageError: if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise UsageError("--tensorboard: tensorboard is not installed", "pip install tensorboard")
        self.folder = folder
        self.writers: dict[str, EventFile] = {}

    def __call__(self, record: dict[str, Any]) -> None:
        """Hear one event."""
        event = record["event"]
        if event == "metric" and "nimg" in record:
            writer = self._writer(record["stage"], record["nimg"])
            for name, value in record.items():
                if name not in NO_SCALARS and isinstance(value, int | float):
                    writer.number(name, value, record["nimg"])
        elif event == "watchdog" and record["stage"] in self.writers:
            self.writers[record["stage"]].text("watchdog", record["message"], record["nimg"])
        elif event in ("run_finished", "error"):
            self.close()

    def _writer(self, stage: str, nimg: int) -> EventFile:
        if stage not in self.writers:
            with Folder.open(self.folder, make=True) as folder, folder.below([stage], make=True) as own:
                self.writers[stage] = EventFile(own, nimg)
        return self.writers[stage]

    def close(self) -> None:
        """Write what is left."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()


class EventFile:
    """A new event file. TensorBoard's own writer would put the name of the computer into the file's.

    Args:
        folder: where.
        begin: images seen; what a killed run wrote beyond its checkpoint is hidden.
    """

    def __init__(self, folder: Folder, begin: int) -> None:
        with _without("boto3"):
            from tensorboard.compat.proto.event_pb2 import SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{int(time.time()):010d}.genart.{os.getpid()}.{next(_NUMBERS)}"
        self._records = RecordWriter(folder.create(name))
        self._add(begin, file_version="brain.Event:2")
        self._add(begin, session_log=SessionLog(status=SessionLog.START))

    def number(self, name: str, value: float, nimg: int) -> None:
        """Add a number to a curve."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(nimg, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))

    def text(self, name: str, value: str, nimg: int) -> None:
        """Add a text."""
        from torch.utils.tensorboard import summary

        made: Any = summary.text
        self._add(nimg, summary=made(name, value))

    def _add(self, nimg: int, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), step=nimg, **fields).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Let go of it."""
        self._records.close()


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Let what is imported meanwhile do without a module that it would use if it were there.

    TensorBoard would load boto3, to read from S3 what is never asked of it here; that opens a socket when it is loaded.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
