"""Parameters of a stage: written once, as a pydantic model, and read by check, help, schema, docs and keys.

Errors name the parameter, what was given, what is allowed and the nearest name.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

from .errors import did_you_mean
from .events import utf8

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Params(BaseModel):
    """Base of every stage's parameters: unknown names are refused, values are not coerced, instances do not change."""

    # deferred: a recipe uses few of the stages whose parameters its plugins declare
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


class NoParams(Params):
    """A stage without parameters."""


def parse_duration(value: Any) -> Any:
    """Read "90s", "10m", "1h30m" or a number of seconds as seconds.

    Raises:
        ValueError: if the text is none of these.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip().replace(" ", ""))
    if not match or not any(match.groups()):
        raise ValueError("expected a duration such as 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


class _ReadsPath:
    """Marks a parameter whose value is a file or folder that the stage reads: its content enters the key."""


def _some_path(value: Any) -> Any:
    """Refuse a path of no letters, which would stand for the current folder."""
    if value == "":
        raise ValueError("expected a path; '.' is this folder")
    return value


#: A file or folder that the stage reads; relative to the recipe. Its content, not its name or date, decides what is new.
InputPath = Annotated[Path, _ReadsPath(), BeforeValidator(_some_path)]


@dataclass(frozen=True)
class _OrStage:
    """Marks a path parameter that may name another stage of the recipe instead of a file."""

    kind: Literal["images", "model"]


#: A picture: a file, or the id of another stage of the recipe, whose first picture is meant; see `Run.sides`.
PictureInput = Annotated[Path, _ReadsPath(), _OrStage("images"), BeforeValidator(_some_path)]

#: A trained model: a .safetensors file, or the id of another stage of the recipe; `Run.open_model` opens it.
ModelInput = Annotated[Path, _ReadsPath(), _OrStage("model"), BeforeValidator(_some_path)]


@dataclass(frozen=True)
class _Registered:
    """Marks a parameter that names what a hook's table holds: the code and version of the plugin that brings it enter the key.

    Attributes:
        hook: whose table.
        built_in: names that the stage knows by itself.
    """

    hook: str
    built_in: tuple[str, ...] = ()


class Named(NamedTuple):
    """A name in a hook's table that parameters hold."""

    param: str
    hook: str
    name: str
    built_in: tuple[str, ...]


#: Name of a backbone, for `run.backbone`; see the hook genart_backbones.
BackboneName = Annotated[str, _Registered("genart_backbones")]

#: Name of a statistic of features, for `run.extension`; see the hook genart_statistics.
StatisticName = Annotated[str, _Registered("genart_statistics")]

#: Losses between a generator and a discriminator that every family knows; see genart.nn.losses.
Loss = Literal["bce", "non_saturating", "least_squares", "hinge", "wgan", "relativistic_average", "relativistic_paired"]

#: Name of a loss: one that every family knows, or that a plugin brings; see the hook genart_losses.
LossName = Loss | Annotated[str, _Registered("genart_losses", get_args(Loss))]

#: Formats of films that `video.assemble` writes by itself.
Film = Literal["gif", "webp", "apng", "mp4", "webm", "mov"]

#: Name of a format of films: one of genart's, or that a plugin brings; see the hook genart_writers.
FilmName = Film | Annotated[str, _Registered("genart_writers", get_args(Film))]

#: Seconds, written as "90s", "10m", "1h30m" or a number.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^([0-9.]+h)?([0-9.]+m)?([0-9.]+s?)?$"}]}
    ),
]


class ParamProblem(Exception):
    """One parameter is wrong. `name` is the key at fault."""

    def __init__(self, name: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.hint = hint


def resolve(model: type[Params], stage: str, table: dict[str, Any]) -> Params:
    """Check a table of values against a stage's parameters.

    Raises:
        ParamProblem: for the first wrong name or value.
    """
    for name in table:
        if name not in model.model_fields:
            allowed = ", ".join(model.model_fields) or "none"
            raise ParamProblem(name, f"{stage} has no parameter '{name}'{did_you_mean(name, model.model_fields)}", f"it takes: {allowed}")
    told = utf8(table)  # JSON has no place for names that are not
    odd = [name for name in table if repr(told[name]) != repr(table[name])]
    for name in odd:
        if not reads_path(model.model_fields[name]):
            raise ParamProblem(name, f"{stage}.{name}: this text is not UTF-8", model.model_fields[name].description)
    try:
        # JSON mode: lists become tuples and strings become paths, while "5" stays no number.
        params = model.model_validate_json(json.dumps(told, default=str))
        return params.model_copy(update=_as_given(params, table)) if odd else params
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else next(iter(table), "")
        inner = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}"
            for part in first["loc"][1:]
            if isinstance(part, int) or (isinstance(table.get(name), dict | list) and part in table[name])
        )
        given = "" if first["type"] == "missing" else f", got {_show(first.get('input'))}{_nearest_choice(first)}"
        hint = None
        if name in model.model_fields:
            hint = model.model_fields[name].description
        raise ParamProblem(name, f"{stage}.{name}{inner}: {_plain(first)}{given}", hint) from None


def _as_given(params: Params, table: dict[str, Any]) -> dict[str, Any]:
    """The paths among parameters by the names that were given, which need not be UTF-8."""
    texts = [text for value in table.values() for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    given = {Path(utf8(text)): Path(text) for text in texts}
    found: dict[str, Any] = {}
    for name, path in input_paths(params):
        real = given.get(path, path)
        found[name] = (*found.get(name, ()), real) if isinstance(getattr(params, name), tuple | list) else real
    return found


def _plain(error: Any) -> str:
    """Say a pydantic error in the words of a recipe's author."""
    if error["type"] == "missing":
        return "this parameter is required"
    message = str(error["msg"])
    for before, after in (("Value error, ", ""), ("Input should be a valid", "expected a"), ("Input should be", "expected")):
        message = message.replace(before, after)
    message = message.replace("expected a integer", "expected an integer").replace("expected a array", "expected a list")
    first = message.partition(" ")[0]
    return message if any(sign.isupper() for sign in first[1:]) else message[0].lower() + message[1:]  # GIF and RandomAffine are names


def _nearest_choice(error: Any) -> str:
    """Name the nearest of the words that a pydantic error says were expected."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    return did_you_mean(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def read_value(text: str, info: FieldInfo | None) -> Any:
    """Read a value from the command line as TOML, or else as text.

    Args:
        text: as written.
        info: the field that it is for, if there is one; where that takes text or a path, a number, date or truth value stays text.
    """
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if list(document) != ["value"]:  # a line break smuggled another key in
        return text
    value = document["value"]
    kinds = type_name(info) if info is not None else ""
    texts = re.search(r'\b(text|path)\b|"', kinds) and not re.search(r"\b(integer|number|true|duration|table)\b", kinds)
    return text if texts and not isinstance(value, str | list | dict) else value


def input_paths(params: Params) -> Iterator[tuple[str, Path]]:
    """Yield the (name, path) of every file or folder that the parameters name."""
    for name, info in type(params).model_fields.items():
        value = getattr(params, name)
        if value is not None and reads_path(info):
            for item in value if isinstance(value, tuple | list) else [value]:
                yield name, item


def stage_kind(info: FieldInfo) -> Literal["images", "model"] | None:
    """Kind of the artifact that a parameter takes from another stage when its value is the id of one; None if it takes none."""
    marks = [*info.metadata, *_marks_within(info.annotation)]
    return next((mark.kind for mark in marks if isinstance(mark, _OrStage)), None)


def registered_names(params: Params) -> Iterator[Named]:
    """Yield everything that the parameters name in the tables of hooks."""
    for name, info in type(params).model_fields.items():
        for mark in (*info.metadata, *_marks_within(info.annotation)):
            if isinstance(mark, _Registered):
                value = getattr(params, name)
                items = value if isinstance(value, tuple | list) else [value]
                yield from (Named(name, mark.hook, item, mark.built_in) for item in items if item not in (None, *mark.built_in))


def takes_from(model: type[Params], hook: str) -> bool:
    """True if a parameter names what a hook's table holds."""
    marks = (mark for info in model.model_fields.values() for mark in (*info.metadata, *_marks_within(info.annotation)))
    return any(isinstance(mark, _Registered) and mark.hook == hook for mark in marks)


def reads_path(info: FieldInfo) -> bool:
    """True if the field holds paths that the stage reads."""
    return any(isinstance(mark, _ReadsPath) for mark in info.metadata) or _mentions_path(info.annotation)


def _mentions_path(annotation: Any) -> bool:
    return any(isinstance(mark, _ReadsPath) for mark in _marks_within(annotation))


def _marks_within(annotation: Any) -> Iterator[Any]:
    """Yield the marks of every Annotated inside a type."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
        return
    for part in get_args(annotation):
        if not isinstance(part, str):
            yield from _marks_within(part)


def rows(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe every parameter: name, type, default, range and sentence, for help and documents."""
    return [
        {
            "name": name,
            "type": type_name(info),
            "default": None if info.is_required() else plain_value(info.get_default(call_default_factory=True)),
            "required": info.is_required(),
            "range": _range(info),
            "description": info.description or "",
        }
        for name, info in model.model_fields.items()
    ]


def type_name(info: FieldInfo) -> str:
    """Name a field's type as a recipe's author would."""
    if any(isinstance(mark, BeforeValidator) and mark.func is parse_duration for mark in info.metadata):
        return "duration"
    if any(isinstance(mark, _ReadsPath) for mark in info.metadata):
        return "path"
    return _type_name(info.annotation)


def _type_name(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if any(isinstance(mark, BeforeValidator) and mark.func is parse_duration for mark in args[1:]):
            return "duration"
        return "path" if any(isinstance(mark, _ReadsPath) for mark in args[1:]) else _type_name(args[0])
    if origin is Literal:
        return " | ".join(json.dumps(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(part) for part in args if part is not type(None))
    if origin in (tuple, list):
        return f"list of {_type_name(args[0])}" if args else "list"
    if origin is dict:
        return "table"
    names = {int: "integer", float: "number", str: "text", bool: "true | false", Path: "path"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _range(info: FieldInfo) -> str:
    words = []
    for mark in info.metadata:
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "multiple of")):
            bound = getattr(mark, attribute, None)
            if bound is not None:
                words.append(f"{sign} {bound:g}" if isinstance(bound, int | float) else f"{sign} {bound}")
    return ", ".join(words)


def plain_value(value: Any) -> Any:
    """Return a value as JSON would hold it."""
    return json.loads(json.dumps(value, default=lambda v: v.model_dump(mode="json") if isinstance(v, BaseModel) else str(v)))


def canonical(value: Any) -> Any:
    """Return a value in typed form, so that 1, 1.0 and true differ in canonical JSON.

    Raises:
        ValueError: for NaN and infinity, which equal nothing.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be part of a key")
        return {"float": value.hex()}
    if isinstance(value, dict):
        return {"map": {str(key): canonical(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return canonical(str(value))


def canonical_json(value: Any) -> str:
    """Canonical JSON: sorted keys, typed numbers, no spaces, ASCII."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
