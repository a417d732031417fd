"""What people see of the doctor's report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .display import size
from .doctor import KINDS, Report, spread
from .errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Names of odd pictures, and classes, that are shown; `--json` lists them all.
NAMES, CLASSES = 5, 20
VERDICTS = {"good": "[green]good[/]", "few": "[yellow]few pictures[/]", "no": "[red]no[/]"}


def view(report: Report) -> RenderableType:
    """Lay a report out."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_facts(report)]
    for title, table in (("odd", _odd(report)), ("classes", _classes(report)), ("families", _needs(report))):
        if table.row_count:
            parts += [Text(), Text(title, style="bold"), table]
    if report.advice:
        parts += [Text(), Text("what to do", style="bold"), *(Text(f"• {printable(line)}") for line in report.advice)]
    return Group(*parts)


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _facts(report: Report) -> Any:
    table = _table("", "")
    others = f", {report.others:,} other file{'s' * (report.others != 1)}" if report.others else ""
    table.add_row("pictures", f"{report.files:,} ({size(report.bytes)}){others}; {report.usable:,} to train on")
    table.add_row("formats", _listed(report.formats))
    table.add_row("colours", _listed(report.modes))
    for axis, name in enumerate(("width", "height")):
        told = spread([pair[axis] for pair in report.sizes.elements()])
        if told is not None:
            table.add_row(name, f"{told['min']:,} to {told['max']:,}, half of them {told['median']:,.0f} or more")
    table.add_row("sizes", ", ".join(f"{w}x{h}: {n:,}" for (w, h), n in report.sizes.most_common(4)))
    for name, count in (("transparent", report.see_through), ("turned (EXIF)", report.turned), ("animated", report.moving)):
        if count:
            table.add_row(name, f"{count:,}")
    return table


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _odd(report: Report) -> Any:
    from rich.text import Text

    table = _table("", "", "")
    for kind in KINDS:
        some = [one for one in report.odd if one.kind == kind]
        if some:
            names = [f"{one.file}: {one.reason}" for one in some[:NAMES]]
            more = [f"and {len(some) - NAMES:,} more"] if len(some) > NAMES else []
            table.add_row(Text(kind, style="yellow"), f"{len(some):,}", Text("\n".join(printable(line) for line in names + more)))
    return table


def _classes(report: Report) -> Any:
    from rich.text import Text

    table = _table("", "", "")
    most = max(report.classes.values(), default=0)
    for name, count in report.classes.most_common(CLASSES):
        table.add_row(Text(printable(name)), f"{count:,}", Text("█" * max(1, round(24 * count / most)), style="cyan"))
    if len(report.classes) > CLASSES:
        table.add_row(f"and {len(report.classes) - CLASSES:,} more", "", "")
    return table


def _needs(report: Report) -> Any:
    table = _table("stage", "pictures: needs", "better", "has", "sizes in pixels", "take", "")
    for need in report.needs:
        sizes = ", ".join(map(str, need.resolutions))
        numbers = (f"{need.least:,}", f"{need.enough:,}", f"{report.usable:,}")
        table.add_row(f"[cyan]{need.stage}[/]", *numbers, sizes, f"resolution = {need.resolution}", VERDICTS[need.verdict])
    return table
