"""Sweeps: `[sweep]` varies parameters over lists of values, and lays what comes of it out on a labelled contact sheet.

A sweep is written out into ordinary stages before anything is checked or computed: each stage that a varied parameter reaches becomes one
stage for each combination of the values that reach it, with an id that says them; all others stay as they are, and are computed once. The
sheet is a stage, too, with the id `sweep`. So plan, store, resume and provenance know nothing of sweeps (docs/decisions/0011).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import PurePath, PurePosixPath
from typing import Any

from .drafts import OWN_KEYS, Draft, TableLines
from .errors import RecipeError, UsageError, did_you_mean
from .params import reads_path, stage_kind
from .stages import Stage

#: Id of the contact sheet, and the stage that draws it.
SHEET, SHEET_STAGE = "sweep", "images.sheet"
#: What the sheet gets from the sweep itself.
OF_ITS_OWN = ("uses", "id", "from", "pictures", "labels")
#: Combinations that a recipe may ask for; more only from the command line, with `--set sweep.limit=N`.
MOST = 100
#: Values of a single parameter that stand side by side; more make a sheet that is about square.
MOST_IN_A_ROW = 8
#: Characters of a value within an id.
MOST_OF_A_VALUE = 24

#: Which value of each varied parameter: the index, by the parameter's place in [sweep].
Combination = Mapping[int, int]


@dataclass(frozen=True)
class Axis:
    """One varied parameter.

    Attributes:
        target: `id.param`, as written.
        node: id of the stage.
        param: the parameter.
        values: what it is set to, one after another.
        names: each value in a few characters that an id can hold; all different.
        labels: each value as people read it; of a path the last part.
        line: where it stands.
    """

    target: str
    node: str
    param: str
    values: tuple[Any, ...]
    names: tuple[str, ...]
    labels: tuple[Any, ...]
    line: int


@dataclass(frozen=True)
class Written:
    """A [sweep] table as written.

    Attributes:
        lists: the lists of values by `id.param`.
        show: the stage, or stage.output, that the sheet shows; None for the last one of pictures.
        sheet: the contact sheet as a stage, without its pictures.
    """

    lists: dict[str, Any]
    show: Any
    sheet: Draft


# reading


def read(name: str, document: Mapping[str, Any], tables: Sequence[TableLines]) -> Written | None:
    """Read the table [sweep] of a recipe; None where there is none.

    Args:
        name: of the recipe's file, for messages.
        document: the recipe.
        tables: where its tables and keys stand.

    Raises:
        RecipeError: if it is no table, varies nothing, or holds what is only for the command line.
    """
    if "sweep" not in document:
        return None
    line, lines = _lines(tables)
    table = document["sweep"]
    if not isinstance(table, dict):
        raise RecipeError(name, line, "a sweep is a table [sweep]", 'such as [sweep] and below it "train.lr" = [1e-4, 2e-4]')
    flat = dict(_flat(table))
    lists = {key: value for key, value in flat.items() if "." in key}
    own = {key: value for key, value in flat.items() if "." not in key}
    if "limit" in own:
        raise RecipeError(name, lines["limit"], "[sweep] cannot raise its own limit", f"on the command line: --set {SHEET}.limit=200")
    for key in OF_ITS_OWN:
        if key in own:
            raise RecipeError(name, lines[key], f"[sweep] sets `{key}` by itself")
    if not lists:
        raise RecipeError(name, line, "[sweep] varies nothing", 'give a list of values to a parameter: "train.lr" = [1e-4, 2e-4]')
    show = own.pop("show", None)
    if show is not None and not isinstance(show, str):
        raise RecipeError(name, lines["show"], f"show: expected the id of a stage, got {show!r}")
    if not isinstance(own.get("save", ""), str):
        raise RecipeError(name, lines["save"], f"save: expected a text, got {own['save']!r}")
    sheet = Draft({"uses": SHEET_STAGE, "id": SHEET, "save": "sweep.png", **own}, line, lines)
    return Written(lists, show, sheet)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a table with those of the tables in it, joined by dots: TOML reads a.b = 1 as a table in a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _lines(tables: Sequence[TableLines]) -> tuple[int, dict[str, int]]:
    """The line of [sweep], and those of its keys, also of keys in tables within it."""
    line = next((t.line for t in tables if t.header in ("[sweep", "[[sweep")), tables[0].keys.get("sweep", 1))
    found: dict[str, int] = {}
    for table in tables:
        outer, _, inner = table.header.lstrip("[").partition(".")
        if outer.strip() == "sweep":
            prefix = f"{inner.strip()}." if inner else ""
            found |= {prefix + key: at for key, at in table.keys.items()}
    return line, _Fallback(found, line)


class _Fallback(dict[str, int]):
    """Lines by key; one that is not found, such as of an inline table, stands where the table does."""

    def __init__(self, lines: Mapping[str, int], line: int) -> None:
        super().__init__(lines)
        self.line = line

    def __missing__(self, key: str) -> int:
        return self.line


# writing it out


def expand(name: str, written: Written, drafts: list[Draft], stages: Sequence[Stage]) -> list[Draft]:
    """Return the stages that a sweep stands for, in an order in which each is still below what it reads.

    Args:
        name: of the recipe's file, for messages.
        written: the sweep; its sheet is the last of the drafts.
        drafts: the stages as written, with ids and overrides.
        stages: what each of them uses.

    Raises:
        RecipeError: for an unknown stage, a parameter that cannot vary, an empty list or one with a value twice, or a `show` that
            doesn't depend on the sweep.
        UsageError: if there are too many combinations.
    """
    return _Expansion(name, written, drafts, stages).drafts()


class _Expansion:
    """Works out which values reach which stage."""

    def __init__(self, name: str, written: Written, drafts: list[Draft], stages: Sequence[Stage]) -> None:
        self.name, self.sheet, self.show = name, written.sheet, written.show
        self.written = [draft for draft in drafts if draft is not written.sheet]
        self.stage = {draft.id: stage for draft, stage in zip(drafts, stages, strict=True)}
        self.by_id = {draft.id: draft for draft in self.written}
        self.axes = [self._axis(target, values) for target, values in written.lists.items()]
        self._check_number()
        self.short = _short_names(self.axes)
        self.before = {b.id: a.id for a, b in zip(self.written, self.written[1:], strict=False)}
        self.reach = self._reach()

    def drafts(self) -> list[Draft]:
        """The stages written out, and the sheet."""
        made = [copy for draft in self.written for copy in self._copies(draft)]
        branches = {draft.id for draft in made if draft.origin}
        for draft in made:
            if not draft.origin and draft.id in branches:
                message = f"[sweep] makes a stage '{draft.id}', which is the id of this one, too"
                raise RecipeError(self.name, draft.at("id"), message, "give it another")
        return [*made, self._filled_sheet()]

    # the lists

    def _axis(self, target: str, values: Any) -> Axis:
        line = self.sheet.lines[target]
        node, _, param = target.rpartition(".")
        if node not in self.by_id:
            message = f"[sweep] there is no stage '{node}'{did_you_mean(node, self.by_id)}"
            raise RecipeError(self.name, line, message, f"stages: {', '.join(self.by_id)}")
        if param in OWN_KEYS:
            raise RecipeError(self.name, line, f"[sweep] '{param}' belongs to the recipe and is not a parameter")
        if not isinstance(values, list) or not values:
            got = "an empty list" if values == [] else repr(values)
            raise RecipeError(self.name, line, f"[sweep] {target}: expected a list of values, got {got}", f"such as {target} = [1, 2]")
        if param in self.by_id[node].overrides:  # --set says which one it is to be
            values = [self.by_id[node].overrides[param]]
        info = self.stage[node].params.model_fields.get(param)
        labels = [_last_part(value) if info is not None and reads_path(info) else value for value in values]
        twice = next((value for i, value in enumerate(values) if repr(value) in map(repr, values[:i])), None)
        if twice is not None:
            raise RecipeError(self.name, line, f"[sweep] {target}: {json.dumps(twice, default=str)} stands there twice")
        return Axis(target, node, param, tuple(values), tuple(_names(labels)), tuple(labels), line)

    def _check_number(self) -> None:
        number = math.prod(len(axis.values) for axis in self.axes)
        limit = self.sheet.overrides.pop("limit", MOST)
        if type(limit) is not int or limit < 1:
            raise UsageError(f"--set {SHEET}.limit={limit}: expected a number of combinations")
        if number > limit:
            message = f"[sweep] has {number} combinations of values, and {limit} are allowed"
            hint = f"shorten a list, or allow them on the command line: --set {SHEET}.limit={number}"
            raise RecipeError(self.name, self.sheet.line, message, hint)

    # who depends on what

    def _node_of(self, text: str) -> str | None:
        """The stage that a text names, by its id or with an output."""
        if text in self.by_id:
            return text
        node, _, output = text.rpartition(".")
        return node if node in self.by_id and output in self.stage[node].gives else None

    def _texts(self, draft: Draft) -> Iterator[str]:
        """What a stage reads from others, as written: its `from`, and parameters that may name a stage."""
        stage = self.stage[draft.id]
        if stage.takes is not None:
            given = draft.table.get("from", self.before.get(draft.id))
            yield from _texts_in(given)
        for param, info in stage.params.model_fields.items():
            if stage_kind(info) is not None:
                yield from _texts_in(draft.value(param))
                for axis in self.axes:
                    if (axis.node, axis.param) == (draft.id, param):
                        yield from (text for value in axis.values for text in _texts_in(value))

    def _reach(self) -> dict[str, frozenset[int]]:
        """For each stage the varied parameters that reach it: its own and those of everything that it reads."""
        reach = {draft.id: frozenset(i for i, axis in enumerate(self.axes) if axis.node == draft.id) for draft in self.written}
        sources = {draft.id: {node for text in self._texts(draft) if (node := self._node_of(text))} for draft in self.written}
        changed = True
        while changed:
            changed = False
            for node, names in sources.items():
                wider = reach[node].union(*(reach[other] for other in names))
                changed, reach[node] = changed or wider != reach[node], wider
        return reach

    # the stages that are made

    def _combinations(self, node: str) -> Iterator[Combination]:
        places = sorted(self.reach[node])
        for indices in product(*(range(len(self.axes[place].values)) for place in places)):
            yield dict(zip(places, indices, strict=True))

    def _words(self, combination: Combination) -> str:
        return "-".join(f"{self.short[place]}-{self.axes[place].names[index]}" for place, index in combination.items())

    def _named(self, text: str, combination: Combination) -> str:
        """A text that may name a stage, with the id that this stage has among these values."""
        node = self._node_of(text)
        if node is None or not self.reach[node]:
            return text
        part = {place: combination[place] for place in sorted(self.reach[node])}
        return f"{node}-{self._words(part)}{text[len(node) :]}"

    def _copies(self, draft: Draft) -> Iterator[Draft]:
        if not self.reach[draft.id]:
            yield draft
            return
        for combination in self._combinations(draft.id):
            yield self._copy(draft, combination)

    def _copy(self, draft: Draft, combination: Combination) -> Draft:
        stage, words = self.stage[draft.id], self._words(combination)
        own = {i: axis for i, axis in enumerate(self.axes) if axis.node == draft.id and axis.param not in draft.overrides}
        table = draft.table | {axis.param: axis.values[combination[place]] for place, axis in own.items()}
        overrides = dict(draft.overrides)
        for param, info in stage.params.model_fields.items():
            if stage_kind(info) is not None:
                for values in (table, overrides):
                    if param in values:
                        values[param] = self._renamed(values[param], combination)
        if stage.takes is not None and (given := table.get("from", self.before.get(draft.id))) is not None:
            table["from"] = self._renamed(given, combination)
        if isinstance(table.get("save"), str):
            table["save"] = _save_as(table["save"], words)
        lines = draft.lines | {axis.param: axis.line for axis in own.values()}
        swept = frozenset(axis.param for axis in own.values())
        return replace(draft, table=table, lines=lines, id=f"{draft.id}-{words}", overrides=overrides, origin=draft.id, swept=swept)

    def _renamed(self, value: Any, combination: Combination) -> Any:
        if isinstance(value, str):
            return self._named(value, combination)
        return [self._named(item, combination) if isinstance(item, str) else item for item in value] if isinstance(value, list) else value

    # the sheet

    def _filled_sheet(self) -> Draft:
        show = self._shown()
        node = self._node_of(show)
        assert node is not None
        combinations = list(self._combinations(node))
        places = sorted(self.reach[node])
        across = len(self.axes[places[-1]].values)
        table: dict[str, Any] = dict(self.sheet.table)
        table["pictures"] = [self._named(show, combination) for combination in combinations]
        table["labels"] = [
            {self.axes[place].target: self.axes[place].labels[index] for place, index in combination.items()}
            for combination in combinations
        ]
        if len(places) > 1 or across <= MOST_IN_A_ROW:
            table.setdefault("columns", across)
        lines = {**self.sheet.lines, "pictures": self.sheet.lines.get("show", self.sheet.line)}
        return replace(self.sheet, table=table, lines=lines)

    def _shown(self) -> str:
        """The stage, or stage.output, that the sheet shows."""
        varied = [draft.id for draft in self.written if self.reach[draft.id]]
        fitting = [node for node in varied if self.stage[node].gives["output"] == "images"]
        if self.show is None:
            if not fitting:
                message = "[sweep] nothing that it varies leads to pictures for the sheet"
                raise RecipeError(
                    self.name, self.sheet.line, message, 'add a stage that makes some, or name an output: show = "train.progress"'
                )
            return fitting[-1]
        node, line = self._node_of(self.show), self.sheet.lines["show"]
        if node is None:
            message = f"show: there is no stage '{self.show}'{did_you_mean(self.show, self.by_id)}"
            raise RecipeError(self.name, line, message, f"the sweep varies: {', '.join(varied)}")
        if not self.reach[node]:
            raise RecipeError(self.name, line, f"show: '{self.show}' is the same for all values", f"the sweep varies: {', '.join(varied)}")
        return str(self.show)


def _texts_in(value: Any) -> Iterator[str]:
    yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _last_part(value: Any) -> Any:
    """A path's last part: the sheet says which picture, not where it lies."""
    if isinstance(value, list):
        return [_last_part(item) for item in value]
    return PurePath(value).name if isinstance(value, str) else value


def _short_names(axes: Sequence[Axis]) -> list[str]:
    """What each parameter is called within ids: its own name, or with its stage where two stages have one of this name."""
    params = [axis.param for axis in axes]
    return [axis.param if params.count(axis.param) == 1 else f"{axis.node}.{axis.param}" for axis in axes]


def _names(values: Iterable[Any]) -> Iterator[str]:
    """Each value in a few characters that an id can hold; a number behind those that would be the same."""
    seen: set[str] = set()
    for value in values:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:MOST_OF_A_VALUE]
        base = base if isinstance(value, int | float) else base.strip("-") or "empty"
        name = next(name for i in count(1) if (name := base if i == 1 else f"{base}-{i}") not in seen)
        seen.add(name)
        yield name


def _save_as(save: str, words: str) -> str:
    """The output of one combination: its name with the values; a folder's has no dots, which would be read as a suffix."""
    path = PurePosixPath(save)
    if not path.name:
        return save  # refused later
    tail = words if path.suffix else words.replace(".", "_")
    return path.with_name(f"{path.stem}-{tail}{path.suffix}").as_posix()
