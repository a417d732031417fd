"""What people see of a run: a live display on a terminal, plain lines elsewhere. Both observe events and write to stderr."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.segment import Segment, Segments
from rich.style import Style

#: Seconds between two progress lines where there is no terminal.
PLAIN_EVERY = 15.0


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
    """Observer that tells people; use as a context manager around the run.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
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
        """Print a line above whatever is live."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _on_run_started(self, record: dict[str, Any]) -> None:
        self.line(f"[bold]{escape(record['recipe'])}[/] · seed {record['seed']} · {len(record['stages'])} stages")

    def _on_stage_started(self, record: dict[str, Any]) -> None:
        at = f", going on at {record['resumed_at']}" if record["resumed_at"] else ""
        self.line(f"  [cyan]…[/] {escape(record['stage'])} [dim]({escape(record['reason'])}{at})[/]")

    def _on_stage_cached(self, record: dict[str, Any]) -> None:
        self.line(f"  [green]=[/] {escape(record['stage'])} [dim]cached[/]")

    def _on_stage_finished(self, record: dict[str, Any]) -> None:
        self.line(f"  [green]✓[/] {escape(record['stage'])} [dim]{duration(record['seconds'])}[/]")

    def _on_warning(self, record: dict[str, Any]) -> None:
        self.warnings.append(f"{record['stage']}: {record['message']}")
        self.line(f"  [yellow]![/] {escape(self.warnings[-1])}")

    def _on_note(self, record: dict[str, Any]) -> None:
        self.line(f"  [dim]{escape(record['message'])}[/]")

    def _on_saved(self, record: dict[str, Any]) -> None:
        same = " [dim]unchanged[/]" if record["unchanged"] else ""
        self.line(f"  [bold]→[/] {escape(record['path'])} [dim]{size(record['bytes'])}[/]{same}")

    def _on_run_finished(self, record: dict[str, Any]) -> None:
        noted = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)} above" if self.warnings else ""
        self.line(f"done in {duration(record['seconds'])}{noted}")


class PlainDisplay(Display):
    """Lines only: for log files and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._told: dict[str, float] = {}
        self._metrics: dict[str, str] = {}

    def _on_metric(self, record: dict[str, Any]) -> None:
        self._metrics[record["stage"]] = metrics_text(record)

    def _on_progress(self, record: dict[str, Any]) -> None:
        now, stage = time.monotonic(), record["stage"]
        if now - self._told.setdefault(stage, now) >= PLAIN_EVERY:
            self._told[stage] = now
            self.line(f"    {escape(stage)}: {progress_text(record)} {escape(self._metrics.get(stage, ''))}".rstrip())


class LiveDisplay(Display):
    """Bars with images/s and ETA, losses, and a line of small pictures."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TextColumn("[dim]{task.fields[metrics]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}
        self._strip: RenderableType = ""
        self._live = Live(self._view(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.update("")
        self._live.__exit__(None, None, None)

    def _view(self) -> RenderableType:
        return Group(self._progress, self._strip)

    def _task(self, stage: str) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=None, text="", metrics="")
        return self._tasks[stage]

    def _on_stage_started(self, record: dict[str, Any]) -> None:
        super()._on_stage_started(record)
        self._task(record["stage"])

    def _on_stage_finished(self, record: dict[str, Any]) -> None:
        super()._on_stage_finished(record)
        task = self._tasks.pop(record["stage"], None)
        if task is not None:
            self._progress.remove_task(task)
        self._strip = ""
        self._live.update(self._view())

    def _on_progress(self, record: dict[str, Any]) -> None:
        self._progress.update(self._task(record["stage"]), completed=record["done"], total=record["total"], text=progress_text(record))

    def _on_metric(self, record: dict[str, Any]) -> None:
        self._progress.update(self._task(record["stage"]), metrics=metrics_text(record))

    def _on_preview(self, record: dict[str, Any]) -> None:
        self._strip = half_blocks(record["strip"])
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
    segments = []
    for upper, lower in zip(strip[::2], strip[1::2], strict=False):
        for a, b in zip(upper, lower, strict=True):
            segments.append(Segment("▀", Style(color=f"rgb({a[0]},{a[1]},{a[2]})", bgcolor=f"rgb({b[0]},{b[1]},{b[2]})")))
        segments.append(Segment.line())
    return Segments(segments)
