"""What people see of a file's provenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import GenartError, printable
from .plugins import Plugins
from .provenance import FileTold, Provenance, StageTold

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Characters of a value that are shown.
MAX_VALUE = 80
#: Digits of a hash that are shown.
HASH_DIGITS = 12


def view(name: str, told: Provenance, plugins: Plugins) -> RenderableType:
    """Lay out what a file says of itself.

    Args:
        name: the file's name.
        told: what it says.
        plugins: know the defaults, which are left out.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "uses", "from", "made of", "seed", "code"):
        table.add_column(column, overflow="fold")
    for stage in told.stages:
        code = f"{stage.plugin.version} {stage.plugin.source[:HASH_DIGITS]}".strip()
        seed = "" if stage.seed is None else str(stage.seed)
        about = "\n".join(made_of(stage, plugins))
        cells = (stage.id, stage.uses, "\n".join(stage.sources), about, seed, code)
        table.add_row(*(Text(printable(cell, "\n"), style="cyan" * (cell is stage.id)) for cell in cells))
    return Group(*(Text(printable(line, "\n")) for line in headlines(name, told)), Text(), table)


def headlines(name: str, told: Provenance) -> list[str]:
    """What concerns the whole file, a line each."""
    made_with = told.stages[-1].made_with
    machine = ", ".join(f"{key} {value}" for key, value in made_with.items() if key != "genart")
    lines = [
        f"{name}: stage '{told.stage}' of the recipe '{told.recipe}', seed {told.seed}",
        f"genart {told.genart}, {told.device}, {machine or f'torch {told.torch}'}",
    ]
    if told.index is not None:
        lines.append(f"picture {told.index} of its sequence")
    if told.picture:
        lines.append(f"picture: {values(told.picture)}")
    return [*lines, f"content {told.content[:HASH_DIGITS]}, unchanged since it was saved"]


def made_of(stage: StageTold, plugins: Plugins) -> list[str]:
    """Parameters that are not the default, files, choices and weights of a stage, a line each."""
    defaults = _defaults(stage, plugins)
    lines = [f"{name} = {short(value)}" for name, value in stage.params.items() if name not in defaults or defaults[name] != value]
    for name, about in stage.files.items():
        for one in about if isinstance(about, tuple) else (about,):
            what = f"{one.name} ({one.content[:HASH_DIGITS]})" if isinstance(one, FileTold) else f"stage '{one.stage}'"
            lines.append(f"{name} = {what}")
    lines += [f"chose {name}: {short(value)}" for name, value in stage.choices.items()]
    return lines + [f"weights {digest[:HASH_DIGITS]}" for digest in stage.weights.values()]


def _defaults(stage: StageTold, plugins: Plugins) -> dict[str, Any]:
    from .params import rows

    try:
        return {row["name"]: row["default"] for row in rows(plugins.stage(stage.uses).params) if not row["required"]}
    except GenartError:  # made by a plugin that is not here
        return {}


def values(table: dict[str, Any]) -> str:
    """A flat table on one line."""
    return ", ".join(f"{name} {short(value)}" for name, value in table.items())


def short(value: Any) -> str:
    """A value as JSON, cut where it gets long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
