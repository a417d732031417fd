"""What a file was made of: its input files, found again by name and content, and the recipe that its provenance tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import readers
from .artifacts import Kind
from .errors import DataError, UsageError
from .events import utf8
from .params import ParamProblem, Params, reads_path, resolve, stage_kind
from .plan import content_hash
from .plugins import Plugins
from .provenance import FileTold, Provenance, SideTold, StageTold
from .recipe import Node, Recipe, Source, existing
from .stages import Stage

# input files


@dataclass(frozen=True)
class Given:
    """One `--input NAME=PATH`."""

    name: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> Given:
        """Read `NAME=PATH`.

        Raises:
            UsageError: if it has another form, or there is nothing at the path.
        """
        name, equals, written = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--input {text}: expected NAME=PATH", "such as --input photo.jpg=pictures/photo.jpg")
        path = existing(Path.cwd(), Path(written))
        if path is None:
            raise UsageError(f"--input {text}: no such file or folder: {written}")
        return cls(utf8(name), path)


def told_files(stage: StageTold) -> Iterator[FileTold]:
    """Yield the files that a stage's parameters read."""
    for about in stage.files.values():
        yield from (one for one in _each(about) if isinstance(one, FileTold))


def _each(about: FileTold | SideTold | tuple[FileTold | SideTold, ...]) -> tuple[FileTold | SideTold, ...]:
    return about if isinstance(about, tuple) else (about,)


def locate(told: Provenance, given: Sequence[Given], nearby: Iterable[Path], cache: Path) -> dict[FileTold, Path]:
    """Find the files that flowed in, by name and content.

    Args:
        told: what names them.
        given: those from the command line; the name is that of a file, or the id of a stage that gave a model.
        nearby: folders that are looked into.
        cache: where the memory of content hashes lies.

    Returns:
        Where each is; those that are not here are left out.

    Raises:
        UsageError: if something was given under a name that no input has.
        DataError: if what was given has another content.
    """
    wanted = dict.fromkeys(one for stage in told.stages for one in told_files(stage))
    names = {one.name for one in wanted} | {stage.id for stage in told.stages if stage.weights}
    for item in given:
        if item.name not in names:
            raise UsageError(f"--input {item.name}: no input has this name", f"inputs: {', '.join(sorted(names)) or 'none'}")
    found: dict[FileTold, Path] = {}
    for one in wanted:
        chosen = [item.path for item in given if item.name == one.name]
        paths = chosen or _beside(nearby, one.name)
        right = next((path for path in paths if content_hash(path, cache) == one.content), None)
        if right is not None:
            found[one] = right
        elif chosen:
            raise DataError(f"--input {one.name}: {chosen[0]} has another content than what flowed in", f"it was {one.content[:16]}…")
    return found


def _beside(folders: Iterable[Path], name: str) -> list[Path]:
    if name.startswith("~"):  # would be taken for somebody's home
        return []
    return [path for folder in folders for one in _written(folder, name) if (path := existing(folder, Path(one))) is not None]


def _written(folder: Path, name: str) -> list[str]:
    """A file's name as it may stand in a folder: where it is not UTF-8, it is told in another way."""
    with contextlib.suppress(OSError):
        return [name, *(one for one in os.listdir(folder) if one != name and utf8(one) == name)] if "\\" in name else [name]
    return [name]


# the recipe


class Contradiction(DataError):
    """A provenance is well-formed and cannot be followed."""

    def __init__(self, message: str, hint: str | None = "it was not written by a run of genart") -> None:
        super().__init__(message if message.startswith("its") else f"its provenance cannot be followed: {message}", hint)


def recipe_of(told: Provenance, plugins: Plugins, files: Mapping[FileTold, Path]) -> Recipe:
    """Build the recipe that made a file; it has no `save`.

    Args:
        told: what the file says.
        plugins: where the stages come from.
        files: where its input files are; one that is missing gets a path that leads nowhere.

    Raises:
        UsageError: if the plugin of a stage is not here.
        DataError: if a stage here takes other parameters, or the provenance contradicts itself.
    """
    nodes: list[Node] = []
    by_id: dict[str, Stage] = {}
    for stage_told in told.stages:
        if stage_told.id in by_id:
            raise Contradiction(f"it has two stages '{stage_told.id}'")
        stage = _stage(stage_told, plugins)
        params = _params(stage_told, stage, files)
        nodes.append(Node(stage_told.id, stage, params, _sources(stage_told, stage, by_id), None, 0))
        by_id[stage_told.id] = stage
    if nodes[-1].id != told.stage:
        raise Contradiction(f"'{told.stage}' is not its last stage")
    return Recipe(told.recipe, told.seed, Path(told.recipe), tuple(nodes))


def _stage(told: StageTold, plugins: Plugins) -> Stage:
    if told.uses in readers.OURS:
        readers.bring_in(plugins)
        return readers.OURS[told.uses]
    try:
        return plugins.stage(told.uses)
    except UsageError:
        raise UsageError(
            f"it was made with the stage '{told.uses}', which no plugin here brings",
            f"install its plugin ({told.uses.partition('.')[0]} {told.plugin.version})".replace(" )", ")") + ", or give its file with -p",
        ) from None


def _params(told: StageTold, stage: Stage, files: Mapping[FileTold, Path]) -> Params:
    """The parameters with paths; files come by name and content alone, so that no path is ever taken from a file."""
    fields = stage.params.model_fields
    for name in {*told.params, *told.files} & set(fields):
        if reads_path(fields[name]) != (name in told.files):
            raise Contradiction(f"parameter '{name}' of '{told.id}'")
    table: dict[str, Any] = dict(told.params)
    for name, about in told.files.items():
        values = [one.stage if isinstance(one, SideTold) else str(files.get(one) or nowhere(one)) for one in _each(about)]
        table[name] = values if isinstance(about, tuple) else values[0]
    try:
        return resolve(stage.params, stage.name, table)
    except ParamProblem as problem:
        raise DataError(
            f"'{told.id}' cannot be made as it was: {problem}",
            f"it was made with another version of {stage.family} ({told.plugin.version})",
        ) from None


def nowhere(one: FileTold) -> Path:
    """The path that stands for a file that is not here; no stage gets to open it."""
    return Path(f"not here {one.content}", one.name)


def _sources(told: StageTold, stage: Stage, by_id: Mapping[str, Stage]) -> tuple[Source, ...]:
    """What a stage takes from the stages before it: its input, and what its parameters name."""
    sources = [_source(text, by_id, stage.takes) for text in told.sources]
    if (stage.takes is None) != (not sources) or (len(sources) > 1 and stage.takes != "images"):
        raise Contradiction(f"'{told.id}' has {len(sources)} inputs")
    for name, about in told.files.items():
        for one in _each(about):
            if isinstance(one, SideTold):
                found = _source(one.stage, by_id, stage_kind(stage.params.model_fields[name]))
                sources.append(Source(found.node, found.output, side=one.stage))
    return tuple(dict.fromkeys(sources))


def _source(text: str, by_id: Mapping[str, Stage], wanted: Kind | None) -> Source:
    node, _, output = (text, "", "output") if text in by_id else text.rpartition(".")
    if wanted is None or node not in by_id or by_id[node].gives.get(output) != wanted:
        raise Contradiction(f"no stage before gives '{text}'")
    return Source(node, output)
