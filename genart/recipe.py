"""A recipe: a TOML file that chains stages. Reading it checks everything that can be checked before anything is computed."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from . import sweep
from .artifacts import Kind
from .drafts import OWN_KEYS, Draft, TableLines
from .errors import RecipeError, RefusedError, StageError, UsageError, did_you_mean, did_you_mean_file, printable
from .params import ParamProblem, Params, input_paths, parse_duration, read_value, registered_names, resolve, stage_kind, takes_from
from .plugins import Plugins
from .stages import Stage

RECIPE_KEYS = {"name": str, "seed": int, "description": str, "report": bool}
TABLES = ("recipe", "stage", "sweep")
#: What genart itself puts into the output folder.
RESERVED = ("run.json", "report.html")
MAX_RECIPE_BYTES = 1 << 20
#: Parts of a key, `a.b.c` having three.
MAX_KEY_PARTS = 64
#: Suffixes of files that torch and others write as pickles.
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: Suffixes that each kind can be saved under; "" is a folder.
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "images": ("", ".png", ".jpg", ".jpeg", ".webp"),
    "model": (".safetensors",),
    "video": (".gif", ".webp", ".apng", ".mp4", ".webm", ".mov"),
}


@dataclass(frozen=True)
class Source:
    """An output of another stage: one name in `from`, or the value of a parameter that may name a stage (`side`, as written)."""

    node: str
    output: str = "output"
    side: str | None = None

    def __str__(self) -> str:
        return self.node if self.output == "output" else f"{self.node}.{self.output}"


@dataclass(frozen=True)
class Node:
    """One stage of a recipe, checked: what it uses, from where, with which parameters.

    What a sweep makes of a stage differs from it in one parameter, not in its random numbers: these hang on the `origin`.
    """

    id: str
    stage: Stage
    params: Params
    sources: tuple[Source, ...]
    save: str | None
    line: int
    origin: str = ""

    @property
    def written(self) -> str:
        """The id that stands in the recipe."""
        return self.origin or self.id


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; `nodes` are in an order in which they can run, with those that a sweep stands for, and `text` is what was read."""

    name: str
    seed: int
    path: Path
    nodes: tuple[Node, ...]
    description: str = ""
    report: bool = False
    text: str = ""

    def node(self, node_id: str) -> Node:
        """Return a stage by its id."""
        return next(node for node in self.nodes if node.id == node_id)

    def until(self, node_id: str) -> Recipe:
        """Return the recipe cut down to one stage, or all that a sweep made of it, and what is needed for that.

        Raises:
            UsageError: there is no such stage.
        """
        ids = [node.id for node in self.nodes]
        wanted = set(self.ids_of(node_id))
        if not wanted:
            raise UsageError(f"the recipe '{self.name}' has no stage '{node_id}'{did_you_mean(node_id, ids)}", f"stages: {', '.join(ids)}")
        for node in reversed(self.nodes):
            if node.id in wanted:
                wanted.update(source.node for source in node.sources)
        return replace(self, nodes=tuple(n for n in self.nodes if n.id in wanted))

    def ids_of(self, name: str) -> list[str]:
        """The ids that a name stands for: a stage's own, or all stages that a sweep made of one; none if there is no such stage."""
        return [node.id for node in self.nodes if name in (node.id, node.origin)]


@dataclass(frozen=True)
class Override:
    """One `--set ID.PARAM=VALUE`; the parameter says how its value is read."""

    target: str
    value: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Override:
        """Take `ID.PARAM=VALUE` apart.

        Raises:
            UsageError: if it has another form.
        """
        target, equals, value = text.partition("=")
        if not equals or "." not in target:
            raise UsageError(f"--set {text}: expected ID.PARAM=VALUE", "such as --set train.budget=30s")
        return cls(target.strip(), value, text)


def load(
    path: Path,
    plugins: Plugins,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    budget_sec: float | None = None,
    text: str | None = None,
) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the TOML file.
        plugins: where its stages come from.
        overrides: `ID.PARAM=VALUE` texts from the command line.
        seed: instead of the recipe's own.
        budget_sec: shared evenly by the stages that have a parameter `budget`.
        text: its content, if that was read before.

    Raises:
        RecipeError: with file and line, for the first thing that is wrong.
        UsageError: an override names what does not exist.
        RefusedError: a `save` leaves the output folder.
        StageError: it uses a stage of a broken plugin.
    """
    text = read_text(path) if text is None else text
    name = str(path)
    document = _parsed(name, text)
    tables = _tables_of(text)
    head = _check_head(name, document, tables)
    drafts = _drafts(name, document, tables)
    swept = sweep.read(name, document, tables)
    if swept is not None:
        drafts.append(swept.sheet)
    _assign_ids(name, drafts)
    given = [Override.parse(item) for item in overrides]
    stages = [_stage_of(name, draft, plugins) for draft in drafts]
    _apply(drafts, stages, given)
    _check_random_ids(name, drafts, stages)
    if swept is not None:
        drafts = sweep.expand(name, swept, drafts, stages)
        stages = [_stage_of(name, draft, plugins) for draft in drafts]
    if budget_sec is not None:
        _share_budget(drafts, stages, budget_sec)
    nodes = _link(path, drafts, stages, plugins)
    for draft, node in zip(drafts, nodes, strict=True):
        _check_registered(name, draft, node, plugins)
    return Recipe(
        name=head["name"],
        seed=head.get("seed", 0) if seed is None else seed,
        path=path,
        nodes=_order(name, nodes),
        description=head.get("description", ""),
        report=head.get("report", False),
        text=text,
    )


def read_text(path: Path) -> str:
    """The text of a recipe."""
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UsageError(f"{path}: larger than 1 MiB; that is not a recipe")
        return path.read_bytes().decode().removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise RecipeError(str(path), line, "not valid TOML: the text is not UTF-8") from None
    except FileNotFoundError:
        near = did_you_mean_file(path.name, [p.name for p in path.parent.glob("*.toml")]) if path.parent.is_dir() else ""
        raise UsageError(f"{path}: no such recipe{near}") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a recipe") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(name: str, text: str) -> dict[str, Any]:
    place = _long_key(text)
    if place is not None:  # the parser's time and memory grow with the square of a key's parts
        raise RecipeError(name, text.count("\n", 0, place) + 1, f"a key of more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _syntax(str(error), text)
        raise RecipeError(name, line, f"not valid TOML: {message}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a list in a list in a list ...
        longest = max(text.split("\n"), key=len)
        line = text[: text.index(longest)].count("\n") + 1
        raise RecipeError(name, line, f"not valid TOML: {'nested too deeply' if isinstance(error, RecursionError) else error}") from None


def _long_key(text: str) -> int | None:
    """Where a key has too many parts, in a text that need not be TOML; None if none has."""
    dots, before = 0, "end"
    for piece in _PIECE.finditer(text):
        kind = piece.lastgroup
        if kind is None:  # spaces
            continue
        dots = dots + 1 if kind == "dot" else 0 if kind == before or kind == "end" else dots
        if dots >= MAX_KEY_PARTS:
            return piece.start()
        before = kind
    return None


def _syntax(message: str, text: str) -> tuple[str, int]:
    match = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", message)
    line = int(match[1]) if match and match[1] else text.rstrip("\n").count("\n") + 1
    return message[0].lower() + message[1:], line


# where things stand in the text


_PART = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)"""
_PIECE = re.compile(r"""(?P<part>"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|[A-Za-z0-9_-]+)|(?P<dot>\.)|[ \t]+|(?P<end>\#[^\n]*|.)""", re.DOTALL)
_HEADER = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\]#]+?)[ \t]*\]")
_KEY = re.compile(rf"[ \t]*(({_PART})(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*=")
_OPENER = re.compile(r"""["'#\[\]{}]""")
_TOKEN = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]', re.DOTALL)


def _tables_of(text: str) -> list[TableLines]:
    """All tables of a valid TOML text; the header of a table within another counts as a key of that one too."""
    tables = list(_table_lines(text))
    outer: dict[str, TableLines] = {}
    for table in tables[1:]:
        first, _, rest = table.header.lstrip("[").partition(".")
        if rest and first in outer:
            outer[first].keys.setdefault(rest.partition(".")[0].strip(), table.line)
        else:
            outer[first] = table
    return tables


def _table_lines(text: str) -> Iterator[TableLines]:
    """Yield every table of a valid TOML text with the line of its header and of its keys; first the one without a header."""
    current = TableLines("", 1, {})
    at, number = 0, 1
    while at < len(text):
        end = _line_end(text, at)
        header, key = _HEADER.match(text, at, end), _KEY.match(text, at, end)
        if header:
            yield current
            current = TableLines(header[1] + re.sub(r"[\"']", "", header[2]), number, {})
        elif key:
            for name in (_key_name(key[2]), _dotted(key[1])):
                current.keys.setdefault(name, number)
            end = _value_end(text, key.end())
        number += text.count("\n", at, end + 1)
        at = end + 1
    yield current


def _key_name(written: str) -> str:
    return next(iter(tomllib.loads(f"{written} = 0"))) if "\\" in written else written.strip("\"'")


def _dotted(written: str) -> str:
    return ".".join(_key_name(part[0]) for part in re.finditer(_PART, written))


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end == -1 else end


def _value_end(text: str, at: int) -> int:
    """Where the line ends on which the value that starts at `at` ends."""
    depth = 0
    end = _line_end(text, at)
    while True:
        opener = _OPENER.search(text, at, end)
        if opener is None:
            if depth <= 0 or end == len(text):
                return end
            at, end = end + 1, _line_end(text, end + 1)
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(opener[0], 0)
        token = _TOKEN.match(text, opener.start())
        at = token.end() if token else opener.end()
        if at > end:
            end = _line_end(text, at)


# checking


def _check_head(name: str, document: dict[str, Any], tables: list[TableLines]) -> dict[str, Any]:
    for key in document:
        if key not in TABLES:
            line = next((t.keys[key] for t in tables if key in t.keys and not t.header), None)
            line = line or next((t.line for t in tables if t.header.lstrip("[").split(".")[0].strip() == key), 1)
            raise RecipeError(
                name, line, f"unknown table '{key}'{did_you_mean(key, TABLES)}", "a recipe has [recipe], [[stage]] and perhaps [sweep]"
            )
    head = document.get("recipe")
    if not isinstance(head, dict):
        raise RecipeError(name, 1, "a recipe starts with a table [recipe]", 'such as [recipe] and below it name = "painting"')
    at = next((t for t in tables if t.header == "[recipe"), TableLines("", tables[0].keys.get("recipe", 1), {}))
    for key, value in head.items():
        line = at.keys.get(key, at.line)
        if key not in RECIPE_KEYS:
            raise RecipeError(
                name, line, f"[recipe] has no key '{key}'{did_you_mean(key, RECIPE_KEYS)}", f"it takes: {', '.join(RECIPE_KEYS)}"
            )
        if type(value) is not RECIPE_KEYS[key]:
            wanted = {"str": "a text", "int": "an integer", "bool": "true or false"}[RECIPE_KEYS[key].__name__]
            raise RecipeError(name, line, f"recipe.{key}: expected {wanted}, got {value!r}")
    if "name" not in head:
        raise RecipeError(name, at.line, "[recipe] needs a name", 'such as name = "painting"')
    if not is_name(head["name"]):
        raise RecipeError(
            name,
            at.keys.get("name", at.line),
            f"recipe.name: {head['name'][:60]!r} cannot name a folder",
            "use letters, digits, spaces, '.', '_' and '-'",
        )
    return head


def is_name(text: str) -> bool:
    """True for what can be a recipe's name, and so name its folder."""
    return _NAME.fullmatch(text) is not None and not text.endswith((".", " "))


def _drafts(name: str, document: dict[str, Any], tables: list[TableLines]) -> list[Draft]:
    listed = document.get("stage", [])
    headers = [t for t in tables if t.header == "[[stage"]
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        line = next((t.line for t in tables if t.header == "[stage"), tables[0].keys.get("stage", 1))
        raise RecipeError(name, line, "stages are written [[stage]], with two brackets")
    if not listed:
        raise RecipeError(name, 1, "the recipe has no stages", 'add [[stage]] and below it uses = "images.samples"')
    drafts = []
    for i, table in enumerate(listed):
        at = headers[i] if i < len(headers) else TableLines("", tables[0].keys.get("stage", 1), {})
        draft = Draft(table, at.line, at.keys)
        for key in OWN_KEYS:
            value = table.get(key)
            many = key == "from" and isinstance(value, list) and value and all(isinstance(item, str) for item in value)
            if value is not None and not isinstance(value, str) and not many:
                raise RecipeError(name, draft.at(key), f"{key}: expected a text, got {value!r}")
        if "uses" not in table:
            near = next((k for k in table if k.lower() in ("use", "stage", "name", "usse", "using")), None)
            raise RecipeError(name, draft.at(near or ""), "this stage does not say what it uses", 'such as uses = "images.samples"')
        drafts.append(draft)
    return drafts


def _assign_ids(name: str, drafts: list[Draft]) -> None:
    taken: dict[str, int] = {}
    for draft in drafts:
        given = draft.table.get("id")
        if given is not None:
            if not _ID.fullmatch(given):
                raise RecipeError(name, draft.at("id"), f"id: {given!r} is not a name", "use letters, digits, '.', '_' and '-'")
            if given in taken:
                raise RecipeError(name, draft.at("id"), f"id '{given}' is taken by the stage in line {taken[given]}")
            draft.id = given
            taken[given] = draft.line
    for draft in drafts:
        if not draft.id:
            base = draft.table["uses"]
            number = 1
            while (candidate := base if number == 1 else f"{base}-{number}") in taken:
                number += 1
            draft.id = candidate
            taken[candidate] = draft.line


def _apply(drafts: list[Draft], stages: list[Stage], overrides: Iterable[Override]) -> None:
    ids = {draft.id: (draft, stage.params.model_fields) for draft, stage in zip(drafts, stages, strict=True)}
    for override in overrides:
        node_id, _, param = override.target.rpartition(".")
        if node_id not in ids:
            raise UsageError(
                f"--set {override.text}: there is no stage '{node_id}'{did_you_mean(node_id, ids)}", f"stages: {', '.join(ids)}"
            )
        if param in OWN_KEYS:
            raise UsageError(f"--set {override.text}: '{param}' belongs to the recipe and is not a parameter")
        draft, fields = ids[node_id]
        draft.overrides[param] = read_value(override.value, fields.get(param))


def _stage_of(name: str, draft: Draft, plugins: Plugins) -> Stage:
    try:
        return plugins.stage(draft.table["uses"])
    except UsageError as error:
        raise RecipeError(name, draft.at("uses"), error.message, error.hint) from None
    except StageError as error:
        raise StageError(f"{name}:{draft.at('uses')}: {error.message}", error.hint) from None


def _share_budget(drafts: list[Draft], stages: list[Stage], budget_sec: float) -> None:
    takers = [
        draft
        for draft, stage in zip(drafts, stages, strict=True)
        if "budget" in stage.params.model_fields and "budget" not in (*draft.overrides, *draft.swept)
    ]
    if not takers:
        raise UsageError("--budget: no stage of this recipe has a parameter 'budget'")
    for draft in takers:
        draft.overrides["budget"] = budget_sec / len(takers)


def _link(path: Path, drafts: list[Draft], stages: list[Stage], plugins: Plugins) -> list[Node]:
    name = str(path)
    by_id = {draft.id: stage for draft, stage in zip(drafts, stages, strict=True)}
    saves: dict[str, int] = {}
    nodes = []
    for i, (draft, stage) in enumerate(zip(drafts, stages, strict=True)):
        sources = _sources(name, draft, stage, drafts[i - 1].id if i else None, by_id)
        save = _check_save(name, draft, stage, saves, plugins)
        params = _params(path, draft, stage, save)
        sides = _sides(name, draft, params, by_id)
        params = _locate(path, draft, stage, params, {str(side.side) for side in sides})
        nodes.append(Node(draft.id, stage, params, (*sources, *sides), save, draft.line, draft.origin))
    return nodes


def _sources(name: str, draft: Draft, stage: Stage, before: str | None, by_id: Mapping[str, Stage]) -> tuple[Source, ...]:
    given = draft.table.get("from")
    if stage.takes is None:
        if given is not None:
            raise RecipeError(name, draft.at("from"), f"{stage.name} starts a chain and takes nothing, so it has no `from`")
        return ()
    if given is None:
        if before is None:
            raise RecipeError(name, draft.at("uses"), f"{stage.name} takes {_say(stage.takes)}, but no stage comes before it")
        sources: tuple[Source, ...] = (Source(before),)
    else:
        sources = tuple(_source(name, draft, item, by_id) for item in ([given] if isinstance(given, str) else given))
    for source in sources:
        kind = by_id[source.node].gives[source.output]
        if kind != stage.takes:
            others = [str(Source(i, o)) for i, s in by_id.items() for o, k in s.gives.items() if k == stage.takes and i != draft.id]
            hint = f'from = "{others[-1]}" would fit' if others else None
            message = f"{stage.name} takes {_say(stage.takes)}, but '{source}' ({by_id[source.node].name}) gives {_say(kind)}"
            raise RecipeError(name, draft.at("from" if given else "uses"), message, hint)
    if len(sources) > 1 and stage.takes != "images":
        raise RecipeError(name, draft.at("from"), f"{stage.name} takes one {stage.takes}; only images can be merged")
    return sources


def _say(kind: Kind) -> str:
    return {"images": "images", "model": "a model", "video": "a video"}[kind]


def _source(name: str, draft: Draft, text: str, by_id: Mapping[str, Stage]) -> Source:
    if text in by_id:
        found = Source(text)
    else:
        node, _, output = text.rpartition(".")
        if node in by_id and output in by_id[node].gives:
            found = Source(node, output)
        elif node in by_id:
            allowed = by_id[node].gives
            raise RecipeError(
                name,
                draft.at("from"),
                f"from: '{node}' has no output '{output}'{did_you_mean(output, allowed)}",
                f"outputs: {', '.join(allowed)}",
            )
        else:
            every = [str(Source(i, o)) for i, s in by_id.items() for o in s.gives]
            raise RecipeError(
                name, draft.at("from"), f"from: there is no stage '{text}'{did_you_mean(text, every)}", f"stages: {', '.join(by_id)}"
            )
    if found.node == draft.id:
        raise RecipeError(name, draft.at("from"), f"from: '{draft.id}' cannot be its own input; that would be a cycle")
    return found


def suffixes_of(stage: Stage, wanted: str, plugins: Plugins) -> tuple[str, ...]:
    """Suffixes that a stage's result can be saved under; for one of films that is not genart's own, plugins are asked too."""
    known = SUFFIXES[stage.gives["output"]]
    if wanted in known or not takes_from(stage.params, "genart_writers"):
        return known
    return (*known, *(f".{name}" for name in plugins.writers()))


def _check_save(name: str, draft: Draft, stage: Stage, saves: dict[str, int], plugins: Plugins) -> str | None:
    save = draft.table.get("save")
    if save is None:
        return None
    where = f"{name}:{draft.at('save')}"
    pure = PurePosixPath(save)
    bad = pure.is_absolute() or ".." in pure.parts or "\\" in save or ":" in save or not pure.parts or save != printable(save)
    if bad:
        raise RefusedError(
            f"{where}: save = {save!r} leaves the output folder", "a save is a relative path inside it, such as film/painting.gif"
        )
    clean = pure.as_posix()
    odd = any(part.startswith(".") or part.endswith((".", " ")) for part in pure.parts)  # the latter are dropped by another system
    if odd or pure.parts[0] in RESERVED or len(clean.encode()) > 200:
        hint = "choose another name, short, without a dot in front, and with neither dot nor space at an end"
        raise RefusedError(f"{where}: save = {save!r} is reserved", hint)
    allowed = suffixes_of(stage, pure.suffix.lower(), plugins)
    if pure.suffix.lower() not in allowed:
        say = ", ".join("a folder" if s == "" else s for s in allowed)
        raise RecipeError(
            name,
            draft.at("save"),
            f"save: {_say(stage.gives['output'])} cannot be saved as '{pure.suffix or pure.name}'",
            f"allowed: {say}",
        )
    for other, line in saves.items():
        if clean == other or clean.startswith(other + "/") or other.startswith(clean + "/"):
            raise RecipeError(name, draft.at("save"), f"save: '{clean}' is taken by the stage in line {line}")
    saves[clean] = draft.line
    return clean


def _params(path: Path, draft: Draft, stage: Stage, save: str | None) -> Params:
    table = {key: value for key, value in draft.table.items() if key not in OWN_KEYS}
    written = dict(table)
    table.update(draft.overrides)
    if "format" in stage.params.model_fields and "format" not in table and save:
        table["format"] = PurePosixPath(save).suffix.lstrip(".").lower()
    try:
        params = resolve(stage.params, stage.name, table)
    except ParamProblem as problem:
        if problem.name in draft.overrides:
            raise UsageError(f"--set {draft.id}.{problem.name}: {problem}", problem.hint) from None
        raise RecipeError(str(path), draft.at(problem.name if problem.name in written else "uses"), str(problem), problem.hint) from None
    if save and getattr(params, "format", None) and "." + str(params.format) != PurePosixPath(save).suffix.lower():  # type: ignore[attr-defined]
        raise RecipeError(str(path), draft.at("format"), f"format = {params.format!r} does not fit save = '{save}'")  # type: ignore[attr-defined]
    return params


def _sides(name: str, draft: Draft, params: Params, by_id: Mapping[str, Stage]) -> tuple[Source, ...]:
    """What parameters take from other stages, whose ids they name where a file could stand.

    Raises:
        RecipeError: if such a stage gives something else, or is the stage itself.
    """
    found: dict[str, Source] = {}
    for param, value in input_paths(params):
        wanted, text = stage_kind(type(params).model_fields[param]), str(value)
        node, _, output = (text, "", "output") if text in by_id else text.rpartition(".")
        if wanted is None or node not in by_id or output not in by_id[node].gives:
            continue
        kind = by_id[node].gives[output]
        if node == draft.id:
            raise RecipeError(name, draft.at(param), f"{param}: '{draft.id}' cannot be its own input; that would be a cycle")
        if kind != wanted:
            raise RecipeError(name, draft.at(param), f"{param}: '{text}' ({by_id[node].name}) gives {_say(kind)}, not {_say(wanted)}")
        found[text] = Source(node, output, side=text)
    return tuple(found.values())


def _locate(path: Path, draft: Draft, stage: Stage, params: Params, sides: set[str]) -> Params:
    """Make the input paths absolute: relative to the recipe, or to the current directory when given on the command line."""
    changed: dict[str, Any] = {}
    for name, value in input_paths(params):
        base = Path.cwd() if name in draft.overrides else path.parent
        absolute = value if str(value) in sides else existing(base, value)
        if absolute is None:
            message = f"{stage.name}.{name}: no such file or folder: {value}"
            if name in draft.overrides:
                raise UsageError(f"--set {draft.id}.{name}: {message}")
            folder = existing(base, value.parent)
            beside = os.listdir(folder) if folder and os.access(folder, os.R_OK) and folder.is_dir() else []
            near = did_you_mean_file(value.name, [other for other in beside if folder and folder / other != path.resolve()])
            raise RecipeError(str(path), draft.at(name), message + near, "paths are relative to the recipe")
        if str(value) not in sides:
            refuse_pickle(f"{path}:{draft.at(name)}: {stage.name}.{name}", absolute)
        old = getattr(params, name)
        changed[name] = (*changed.get(name, ()), absolute) if isinstance(old, tuple | list) else absolute
    return params.model_copy(update=changed) if changed else params


def refuse_pickle(where: str, path: Path) -> None:
    """Refuse a file that is a pickle, or is called like one.

    Args:
        where: what names it, for the message.
        path: a file or folder that is there.

    Raises:
        RefusedError: if it is one.
    """
    if not path.is_file():
        return
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:  # told by whoever reads it
        return
    if path.suffix.lower() in PICKLES or _begins_as_pickle(head):
        raise RefusedError(
            f"{where}: {path.name} is a pickle, as torch saves weights; opening one can run a program",
            "genart convert takes the weights out of it safely: genart convert FILE -o NAME.safetensors",
        )


def _begins_as_pickle(head: bytes) -> bool:
    """True for the first bytes of a pickle, or of the archive that torch puts one into, whose first entry it is."""
    if head.startswith(b"PK\3\4"):
        return head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b"data.pkl")
    return head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")


def existing(base: Path, path: Path) -> Path | None:
    """The absolute path of a file or folder that is there; None for anything else, such as a device, which never ends."""
    try:
        absolute = (base / path.expanduser()).resolve()
        return absolute if absolute.is_file() or absolute.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown ~user, links in a circle
        return None


def _check_registered(name: str, draft: Draft, node: Node, plugins: Plugins) -> None:
    """Refuse a name that no plugin registered, of a backbone for example."""
    for param, hook, wanted, built_in in registered_names(node.params):
        try:
            plugins.extension(hook, wanted, built_in)
        except UsageError as error:
            if param in draft.overrides:
                raise UsageError(f"--set {draft.id}.{param}: {error.message}", error.hint) from None
            raise RecipeError(name, draft.at(param), f"{param}: {error.message}", error.hint) from None


def _check_random_ids(name: str, drafts: list[Draft], stages: list[Stage]) -> None:
    """A stage's random numbers hang on its id, so an id must not move when another stage is put before it."""
    seen: set[str] = set()
    for draft, stage in zip(drafts, stages, strict=True):
        if stage.random and "id" not in draft.table:
            if stage.name in seen:
                raise RecipeError(
                    name,
                    draft.at("uses"),
                    f"{stage.name} draws random numbers and is used more than once without an `id`",
                    'give this one an id of its own, such as id = "second", so that its pictures stay when stages are added',
                )
            seen.add(stage.name)


def _order(name: str, nodes: list[Node]) -> tuple[Node, ...]:
    """Return the nodes so that each comes after its sources; otherwise in the order of the file.

    Raises:
        RecipeError: when they form a cycle.
    """
    done: dict[str, Node] = {}
    waiting = list(nodes)
    while waiting:
        ready = next((n for n in waiting if all(source.node in done for source in n.sources)), None)
        if ready is None:
            loop = " → ".join(node.id for node in waiting)
            raise RecipeError(name, waiting[0].line, f"these stages wait for each other in a cycle: {loop}")
        done[ready.id] = ready
        waiting.remove(ready)
    return tuple(done.values())


def seconds_of(text: str) -> float:
    """Read a duration from the command line.

    Raises:
        UsageError: if it is none.
    """
    try:
        value = float(parse_duration(text))
    except (ValueError, TypeError) as error:
        raise UsageError(f"--budget {text}: {error}") from None
    if value <= 0:
        raise UsageError(f"--budget {text}: must be more than nothing")
    return value
