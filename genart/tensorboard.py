"""Numbers of a training as TensorBoard event files, where `tensorboard` is installed: `genart run ... --tensorboard DIR`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import UsageError

#: Keys of a metric event that are no numbers to draw.
NO_SCALARS = {"event", "stage", "nimg"}


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
        self.writers: dict[str, Any] = {}

    def __call__(self, record: dict[str, Any]) -> None:
        """Hear one event."""
        event = record["event"]
        if event == "metric" and "nimg" in record:
            writer = self._writer(record["stage"], record["nimg"])
            for name, value in record.items():
                if name not in NO_SCALARS and isinstance(value, int | float):
                    writer.add_scalar(name, value, record["nimg"])
        elif event == "watchdog" and record["stage"] in self.writers:
            self.writers[record["stage"]].add_text("watchdog", record["message"], record["nimg"])
        elif event in ("run_finished", "error"):
            self.close()

    def _writer(self, stage: str, nimg: int) -> Any:
        if stage not in self.writers:
            from torch.utils.tensorboard import SummaryWriter

            # what a killed run wrote beyond its checkpoint is hidden
            self.writers[stage] = SummaryWriter(str(self.folder / stage), purge_step=nimg)
        return self.writers[stage]

    def close(self) -> None:
        """Write what is left."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
