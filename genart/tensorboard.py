"""Numbers of a training as TensorBoard event files, where `tensorboard` is installed: `tensorboard --logdir out/NAME/tensorboard`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Keys of a metric event that are no numbers to draw.
NO_SCALARS = {"event", "stage", "nimg"}


def installed() -> bool:
    """True if event files can be written; nothing is imported."""
    return find_spec("tensorboard") is not None


class TensorBoard:
    """Observer that writes the metrics of each stage into a folder of its own, by images seen.

    The folder lies in the output folder beside what recipes save: a browser reads it while training goes on. It is begun with the
    first number, so a run whose results are all in the store imports nothing.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.writers: dict[str, Any] = {}

    def __call__(self, record: dict[str, Any]) -> None:
        """Hear one event."""
        event = record["event"]
        if event == "run_started":
            self.folder = Path(record["out"]) / "tensorboard"
        elif event == "metric" and "nimg" in record and self.folder is not None:
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

            assert self.folder is not None
            # what a killed run wrote beyond its checkpoint is hidden
            self.writers[stage] = SummaryWriter(str(self.folder / stage), purge_step=nimg)
        return self.writers[stage]

    def close(self) -> None:
        """Write what is left."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
