"""What people see of a run: a live display on a terminal, plain lines elsewhere. Both observe events and write to stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TextIO

from .errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID
    from rich.segment import Segments

#: Seconds between two progress lines where there is no terminal.
PLAIN_EVERY = 15.0
#: Characters of a reason; `genart plan --why` shows all of it.
MAX_REASON = 80
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def duration(seconds: float | None) -> str:
    """Say a number of seconds: 0.4 s, 12 s, 3:05, 1:02:03."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def size(count: float) -> str:
    """Say a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class Display:
    """Observer that tells people, a line per thing that happens; use as a context manager around the run.

    Lines are written without Rich, so that a run that finds everything in the store is over before Rich would be loaded.

    Args:
        stream: where to write.
        colour: whether the stream shows colours.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self.stream = stream
        self.colour = colour
        self.warnings: list[str] = []

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, record: dict[str, Any]) -> None:
        """Take an event."""
        handler = getattr(self, "_on_" + record["event"], None)
        if handler is not None:
            handler(record)

    def line(self, text: str) -> None:
        """Write a line; where that cannot be, because a disk is full, say, a run goes on unheard.

        Raises:
            BrokenPipeError: if whoever listened has gone.
        """
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError:
            return

    def paint(self, style: str, text: str) -> str:
        """The text in a style, free of anything else that a terminal would obey."""
        clean = printable(text)
        return f"\x1b[{_STYLES[style]}m{clean}\x1b[0m" if self.colour and style else clean

    def _stage(self, style: str, mark: str, stage: str, note: str) -> None:
        self.line(f"  {self.paint(style, mark)} {self.paint('', stage)} {self.paint('dim', note)}")

    def _on_run_started(self, record: dict[str, Any]) -> None:
        self.line(f"{self.paint('bold', record['recipe'])} · seed {record['seed']} · {len(record['stages'])} stages")

    def _on_stage_started(self, record: dict[str, Any]) -> None:
        at = f", going on at {record['resumed_at']}" if record["resumed_at"] else ""
        reason = record["reason"] if len(record["reason"]) <= MAX_REASON else record["reason"][:MAX_REASON].rpartition(";")[0] + "; …"
        self._stage("cyan", "…", record["stage"], f"({reason}{at})")

    def _on_stage_cached(self, record: dict[str, Any]) -> None:
        self._stage("green", "=", record["stage"], "cached")

    def _on_stage_finished(self, record: dict[str, Any]) -> None:
        self._stage("green", "✓", record["stage"], duration(record["seconds"]))

    def _on_warning(self, record: dict[str, Any]) -> None:
        self.warnings.append(f"{record['stage']}: {record['message']}")
        self.line(f"  {self.paint('yellow', '!')} {self.paint('', self.warnings[-1])}")

    def _on_watchdog(self, record: dict[str, Any]) -> None:
        told = self.paint("", f"{record['stage']}: {record['message']}")
        self.line(f"  {self.paint('yellow', '◆')} {told} {self.paint('dim', record['act'])}")

    def _on_note(self, record: dict[str, Any]) -> None:
        self.line(f"  {self.paint('dim', record['message'])}")

    def _on_saved(self, record: dict[str, Any]) -> None:
        self._stage("bold", "→", record["path"], size(record["bytes"]) + (" unchanged" if record["unchanged"] else ""))

    def _on_report(self, record: dict[str, Any]) -> None:
        self._stage("bold", "→", record["path"], size(record["bytes"]))

    def _on_run_finished(self, record: dict[str, Any]) -> None:
        noted = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)} above" if self.warnings else ""
        self.line(f"done in {duration(record['seconds'])}{noted}")


class PlainDisplay(Display):
    """Lines only: for log files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream, colour=False)
        self._told: dict[str, float] = {}
        self._metrics: dict[str, str] = {}

    def _on_metric(self, record: dict[str, Any]) -> None:
        self._metrics[record["stage"]] = metrics_text(record)

    def _on_progress(self, record: dict[str, Any]) -> None:
        now, stage = time.monotonic(), record["stage"]
        if now - self._told.setdefault(stage, now) >= PLAIN_EVERY:
            self._told[stage] = now
            self.line(f"    {self.paint('', stage)}: {progress_text(record)}  {self._metrics.get(stage, '')}".rstrip())


class TerseDisplay(PlainDisplay):
    """For a filter in a script: only what is out of the ordinary is told."""

    def __call__(self, record: dict[str, Any]) -> None:
        """Show warnings, notes and acts of the watchdog."""
        if record["event"] in ("warning", "note", "watchdog"):
            super().__call__(record)


class LiveDisplay(Display):
    """Bars with images/s and ETA, losses, and a line of small pictures, below the lines, while something is being made."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream, colour=True)
        self._bars: _Bars | None = None

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def line(self, text: str) -> None:
        """Write a line above the bars."""
        if self._bars is None:
            super().line(text)
        else:
            self._bars.line(text)

    def _on_stage_started(self, record: dict[str, Any]) -> None:
        if self._bars is None:
            self._bars = _Bars(self.stream)
        super()._on_stage_started(record)
        self._bars.add(record["stage"])

    def _on_stage_finished(self, record: dict[str, Any]) -> None:
        super()._on_stage_finished(record)
        if self._bars is not None:
            self._bars.remove(record["stage"])

    def _on_progress(self, record: dict[str, Any]) -> None:
        if self._bars is not None:
            self._bars.progress(record)

    def _on_metric(self, record: dict[str, Any]) -> None:
        if self._bars is not None:
            self._bars.metric(record)

    def _on_preview(self, record: dict[str, Any]) -> None:
        if self._bars is not None:
            self._bars.preview(record["strip"])


class _Bars:
    """The live part, by Rich."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self.console = Console(file=stream)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[metrics]}", markup=False, style="dim"),
        )
        self._progress = Progress(*columns, console=self.console)
        self._tasks: dict[str, TaskID] = {}
        self._strip: RenderableType = ""
        self._live = Live(self._view(), console=self.console, refresh_per_second=8, transient=True)
        self._live.start()

    def _view(self) -> RenderableType:
        from rich.console import Group

        return Group(self._progress, self._strip)

    def stop(self) -> None:
        self._live.update("")
        self._live.stop()

    def line(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text.from_ansi(text), soft_wrap=True)

    def add(self, stage: str) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None, text="", metrics="")
        return self._tasks[stage]

    def remove(self, stage: str) -> None:
        task = self._tasks.pop(stage, None)
        if task is not None:
            self._progress.remove_task(task)
        self._strip = ""
        self._live.update(self._view())

    def progress(self, record: dict[str, Any]) -> None:
        task = self.add(record["stage"])
        self._progress.update(task, completed=record["done"], total=record["total"], text=progress_text(record))

    def metric(self, record: dict[str, Any]) -> None:
        self._progress.update(self.add(record["stage"]), metrics=metrics_text(record))

    def preview(self, strip: list[list[list[int]]]) -> None:
        self._strip = half_blocks(strip)
        self._live.update(self._view())


def progress_text(record: dict[str, Any]) -> str:
    """Say how far a stage is: 1,200/4,000 images · 340 images/s · 8 s left."""
    total = f"/{record['total']:,.0f}" if record["total"] is not None else ""
    parts = [f"{record['done']:,.0f}{total} {record['unit']}"]
    if record["rate"]:
        parts.append(f"{record['rate']:,.{0 if record['rate'] >= 10 else 1}f} {record['unit']}/s")
    if record["eta_sec"]:
        parts.append(f"{duration(record['eta_sec'])} left")
    return " · ".join(parts)


def metrics_text(record: dict[str, Any]) -> str:
    """Say a metric event: D 0.62 · G 1.40."""
    numbers = {name: value for name, value in record.items() if name not in ("event", "stage", "nimg") and isinstance(value, int | float)}
    return " · ".join(f"{name} {value:.3g}" for name, value in list(numbers.items())[:5])


def half_blocks(strip: list[list[list[int]]]) -> Segments:
    """Draw rows of RGB pixels with two pixels per character cell."""
    from rich.segment import Segment, Segments
    from rich.style import Style

    segments = []
    for upper, lower in zip(strip[::2], strip[1::2], strict=False):
        for a, b in zip(upper, lower, strict=True):
            segments.append(Segment("▀", Style(color=f"rgb({a[0]},{a[1]},{a[2]})", bgcolor=f"rgb({b[0]},{b[1]},{b[2]})")))
        segments.append(Segment.line())
    return Segments(segments)
