"""What the shells are told at a press of the tab key: stages, their parameters and values, and the ids of a recipe.

Typer's machinery calls these functions; nothing is computed, nothing heavy is imported, and whatever goes wrong completes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from .errors import GenartError

#: A word and what it means.
Offer = tuple[str, str]
#: Characters of a meaning; a shell shows them on one line.
MOST_HELP = 72


def stages(incomplete: str) -> list[Offer]:
    """Names of stages."""
    from .plugins import Plugins

    return _fitting(((stage.name, stage.summary) for stage in Plugins().stages()), incomplete)


def operations(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Names of the operations of the stage that stands before, as of `augment`."""
    from .plugins import Plugins

    try:
        listed = Plugins().stage(ctx.params.get("name") or "").operations
    except GenartError:
        return []
    return _fitting(((name, operation.summary) for name, operation in listed().items()), incomplete) if listed else []


def plugins(incomplete: str) -> list[Offer]:
    """Names of plugins; none is loaded."""
    from .plugins import Plugins

    return _fitting(((plugin.name, plugin.origin) for plugin in Plugins().plugins.values()), incomplete)


def devices(incomplete: str) -> list[Offer]:
    """Kinds of devices."""
    from .plan import DEVICES

    return _fitting(((name, "") for name in DEVICES), incomplete)


def ids(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of the stages of the recipe on the command line."""
    return _fitting(_ids_of(ctx), incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """`ID.PARAM=` for every parameter of the stages of the recipe on the command line."""
    from .plugins import Plugins

    found, known = [], Plugins()
    for node, uses in _ids_of(ctx):
        if not incomplete or incomplete.startswith(node) or node.startswith(incomplete):
            with contextlib.suppress(GenartError):
                fields = known.stage(uses).params.model_fields
                found += [(f"{node}.{name}=", info.description or "") for name, info in fields.items()]
    return _fitting(found, incomplete)


def words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """What may follow `genart apply`: a stage, and then the values of its parameters that are words."""
    before = list(ctx.params.get("words") or ())
    if not before:
        return stages(incomplete)
    fields = _fields(before[0])
    info = fields.get(before[-1].removeprefix("--").replace("-", "_")) if before[-1].startswith("--") else None
    return _fitting(((value, "") for value in _values(info)), incomplete)


@dataclass(frozen=True)
class Item:
    """One completion, as Typer's formatters read it."""

    value: str
    help: str = ""
    type: str = "plain"


class ApplyCommand(TyperCommand):
    """`genart apply`, whose options are also those of the stage that stands after it."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the command's name in its help."""
        return ["[OPTIONS]", "STAGE [--PARAM VALUE]..."]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the name of an option."""
        before = list(ctx.params.get("words") or ())
        fields = _fields(before[0]) if before else {}
        offers = ((f"--{name.replace('_', '-')}", info.description or "") for name, info in fields.items())
        return [*(Item(*offer) for offer in _fitting(offers, incomplete)), *super().shell_complete(ctx, incomplete)]


def _fields(stage: str) -> dict[str, Any]:
    from .plugins import Plugins

    try:
        return dict(Plugins().stage(stage).params.model_fields)
    except GenartError:
        return {}


def _values(info: Any) -> Iterator[str]:
    """The words that a parameter takes, where it takes only some."""
    from .params import type_name

    for kind in type_name(info).split(" | ") if info is not None else ():
        if kind in ("true", "false") or re.fullmatch(r'"[^"]+"', kind):
            yield kind.strip('"')


def _ids_of(ctx: typer.Context) -> Iterator[Offer]:
    """Yield (id, stage) of a recipe, as far as it can be read: it may be half-written."""
    try:
        document = tomllib.loads((ctx.params.get("recipe") or _recipe_typed()).read_text(encoding="utf-8").removeprefix("\ufeff"))
        tables = [table for table in document["stage"] if isinstance(table.get("uses"), str)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    taken: dict[str, int] = {}
    for table in tables:
        uses, given = table["uses"], table.get("id")
        if isinstance(given, str) and given:
            yield given, uses
        else:
            taken[uses] = taken.get(uses, 0) + 1
            yield uses if taken[uses] == 1 else f"{uses}-{taken[uses]}", uses


def _recipe_typed() -> Path:
    """The recipe among the words that the shell tells: an option that still lacks its value keeps them from being parsed.

    Raises:
        ValueError: if there is none.
    """
    typed = shlex.split(os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    found = [word for word in typed if word.endswith(".toml")]
    if not found:
        raise ValueError("no recipe")
    return Path(found[0])


def _fitting(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Those that begin as what is typed, with their meanings short and free of what a shell would take for its own."""
    return [(word, _short(meaning)) for word, meaning in offers if word.startswith(incomplete)]


def _short(meaning: str) -> str:
    plain = re.sub(r"[^\w ,.;%/+-]", "", meaning.partition(". ")[0])
    return plain if len(plain) <= MOST_HELP else plain[:MOST_HELP].rpartition(" ")[0]
