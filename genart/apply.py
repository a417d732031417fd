"""`genart apply`: one stage as a shell command, by way of a recipe that is never written down.

The command line becomes a recipe of the stage and of what reads its inputs. Planner, runner and store are the ordinary ones, so that
caching, going on after a kill, provenance, errors and exit codes are those of recipes. Messages name options where a recipe has lines.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from . import __version__
from .artifacts import Artifact, Kind, Model, StoredImages, Video
from .errors import RefusedError, UsageError, did_you_mean
from .params import InputPath, ParamProblem, Params, input_paths, resolve, type_name
from .plan import Step
from .plugins import Plugin, Plugins
from .provenance import KEYWORD
from .recipe import SUFFIXES, Node, Recipe, Source, existing
from .run import Run
from .runner import Runner
from .stages import Stage
from .stages import stage as declare

#: What `-i` reads as a film, where a plugin can, and as a model; all else are pictures.
FILMS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif", ".apng")
MODEL = ".safetensors"
READS_PICTURES, READS_FILM, READS_MODEL = "images.folder", "images.video", "apply.model"
#: Pictures of a result whose metadata are told.
MOST_TOLD = 16
RECIPE_NAME = "apply"


# options


def read_options(stage: Stage, words: Sequence[str]) -> dict[str, Any]:
    """Read `--param VALUE`, `--param=VALUE`, `--flag` and `--no-flag` as a table of parameters.

    A name may be written with dashes, and given several times where it takes a list. Values are TOML, or else text.

    Args:
        stage: whose parameters they are.
        words: what stands after the stage's name.

    Raises:
        UsageError: for a name that the stage doesn't have, a name without its value, or a word that belongs to none.
    """
    given: dict[str, list[Any]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UsageError(f"'{word}' belongs to no option", "pictures, films and models come in by -i PATH")
        written, equals, text = word[2:].partition("=")
        name, wanted = _parameter(stage, written)
        info = stage.params.model_fields[name]
        if equals:
            value = read_value(text, info)
        elif not wanted:
            value = False
        elif rest and (rest[0] in ("true", "false") if _is_flag(info) else not rest[0].startswith("--")):
            value = read_value(rest.pop(0), info)
        elif _is_flag(info):
            value = True
        else:
            raise UsageError(f"--{written} needs a value ({type_name(info)})", info.description)
        given.setdefault(name, []).append(value)
    return {name: _joined(name, values, stage.params.model_fields[name]) for name, values in given.items()}


def _parameter(stage: Stage, written: str) -> tuple[str, bool]:
    """Return the parameter that an option names, and False if it is negated."""
    fields = stage.params.model_fields
    name = written.replace("-", "_")
    if name in fields:
        return name, True
    negated = name.removeprefix("no_")
    if negated != name and negated in fields and _is_flag(fields[negated]):
        return negated, False
    allowed = [option(field) for field in fields]
    raise UsageError(
        f"{stage.name} has no option '--{written}'{did_you_mean(option(name), allowed)}", f"it takes: {', '.join(allowed) or 'none'}"
    )


def option(name: str) -> str:
    """How a parameter is written on the command line."""
    return "--" + name.replace("_", "-")


def read_value(text: str, info: FieldInfo) -> Any:
    """Read a value as TOML, or else as text; where text or a path is wanted, a number or date stays the text that it is."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if list(document) != ["value"]:  # a line break smuggled another key in
        return text
    value = document["value"]
    kinds = type_name(info)
    texts = re.search(r'\b(text|path)\b|"', kinds) and not re.search(r"\b(integer|number|true|duration|table)\b", kinds)
    return text if texts and not isinstance(value, str | list | dict) else value


def _is_flag(info: FieldInfo) -> bool:
    return type_name(info) == "true | false"


def _joined(name: str, values: list[Any], info: FieldInfo) -> Any:
    """The one value of an option, or all values of one that takes a list, given once or several times."""
    if type_name(info).startswith("list of"):
        return [item for value in values for item in (value if isinstance(value, list) else [value])]
    if len(values) > 1:
        raise UsageError(f"{option(name)} is given {len(values)} times, and takes one value")
    return values[0]


# the recipe


def recipe_of(
    stage: Stage, options: Mapping[str, Any], inputs: Sequence[Path], output: Path | None, plugins: Plugins, *, seed: int = 0
) -> Recipe:
    """Return the recipe that reads the inputs, applies the stage, and saves its result under the name of `output`.

    Raises:
        UsageError: naming the option that is wrong.
        RefusedError: if the output would take the place of what genart did not make.
    """
    table = dict(options)
    if output is not None:
        check_output(output, stage.gives["output"])
        suffix = output.suffix.lstrip(".").lower()
        if "format" in stage.params.model_fields and table.setdefault("format", suffix) != suffix:
            raise UsageError(f"--format {table['format']} does not fit -o {output}", "leave --format out: it follows the name")
    params = _located(_resolved(stage, table))
    readers = _readers(stage, inputs, plugins)
    sources = tuple(Source(node.id) for node in readers)
    node = Node(stage.name, stage, params, sources, output.name if output is not None else None, 0)
    return Recipe(RECIPE_NAME, seed, Path(RECIPE_NAME), (*readers, node))


def _resolved(stage: Stage, table: dict[str, Any]) -> Params:
    try:
        return resolve(stage.params, stage.name, table)
    except ParamProblem as problem:
        message = str(problem).removeprefix(f"{stage.name}.{problem.name}").removeprefix(": ")
        raise UsageError(f"{option(problem.name)}: {message}", problem.hint) from None


def _located(params: Params) -> Params:
    """Make the paths among the parameters absolute; they are relative to the current directory."""
    changed: dict[str, Any] = {}
    for name, value in input_paths(params):
        absolute = _found(option(name), value)
        changed[name] = (*changed.get(name, ()), absolute) if isinstance(getattr(params, name), tuple | list) else absolute
    return params.model_copy(update=changed) if changed else params


def _found(written: str, path: Path) -> Path:
    """The absolute path of what an option names.

    Raises:
        UsageError: if it isn't there.
    """
    absolute = existing(Path.cwd(), path)
    if absolute is None:
        folder = existing(Path.cwd(), path.parent)
        near = did_you_mean(path.name, os.listdir(folder)) if folder and folder.is_dir() and os.access(folder, os.R_OK) else ""
        raise UsageError(f"{written}: no such file or folder: {path}{near}", "paths are relative to the current directory")
    return absolute


def _readers(stage: Stage, inputs: Sequence[Path], plugins: Plugins) -> list[Node]:
    """Stages that read the inputs.

    Raises:
        UsageError: if the stage takes something else.
    """
    if stage.takes is None:
        if inputs:
            raise UsageError(f"-i {inputs[0]}: {stage.name} takes nothing; it makes pictures by itself", "leave -i out")
        return []
    paths = [_found("-i", path) for path in inputs]
    if not paths:
        wanted = {"images": "pictures: a file, a folder or a film", "model": "a model: a .safetensors file", "video": "a film"}
        raise UsageError(f"{stage.name} takes {wanted[stage.takes]}", f"genart apply {stage.name} -i PATH")
    if stage.takes != "images" and len(paths) > 1:
        raise UsageError(f"-i {inputs[1]}: {stage.name} takes one {stage.takes}; only pictures can be merged")
    transparent = any(path.is_file() and _is_transparent(path) for path in paths)
    nodes = []
    for number, path in enumerate(paths, 1):
        reader = _reader(path, plugins)
        if reader.gives["output"] != stage.takes:
            raise UsageError(f"-i {inputs[number - 1]}: {stage.name} takes {_say(stage.takes)}, not {_say(reader.gives['output'])}")
        table = {"path": str(path), **({"alpha": "keep"} if transparent and reader.name == READS_PICTURES else {})}
        name = "input" if number == 1 else f"input-{number}"
        nodes.append(Node(name, reader, resolve(reader.params, reader.name, table), (), None, 0))
    return nodes


def _say(kind: Kind) -> str:
    return {"images": "pictures", "model": "a model", "video": "a film"}[kind]


def _reader(path: Path, plugins: Plugins) -> Stage:
    """The stage that reads a file or folder."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix == MODEL:
        return model_reader(plugins)
    if path.is_file() and suffix in FILMS:
        try:
            return plugins.stage(READS_FILM)
        except UsageError:  # no plugin reads films; of a GIF the first frame is a picture
            return plugins.stage(READS_PICTURES)
    return plugins.stage(READS_PICTURES)


def _is_transparent(path: Path) -> bool:
    """True if a file is a picture with transparency, as its header says; one that can't be read is left for its reader to refuse."""
    from .nn.pictures import opener

    try:
        with open(path, "rb") as file:
            decoder = opener(file.read(16))
            file.seek(0)
            return decoder is not None and bool(decoder(file).has_transparency_data)
    except Exception:  # decoders raise nearly anything on damaged files
        return False


class ModelParams(Params):
    """Parameters of `apply.model`."""

    path: InputPath = Field(description="A .safetensors file that genart saved.")


@declare(READS_MODEL)
def open_model(_: None, params: ModelParams, run: Run) -> Model:
    """Bring a model file into the store, where stages find their inputs."""
    model = Model.open(params.path)
    copy = run.file("model.safetensors")
    shutil.copyfile(params.path, copy)
    return Model(copy, model.header)


def model_reader(plugins: Plugins) -> Stage:
    """The stage above, which belongs to no family: it is brought in for this one run."""
    ours = Plugin("apply", "genart", __version__, module=sys.modules[__name__], stages={READS_MODEL: open_model})
    if plugins.plugins.setdefault("apply", ours).module is not ours.module:
        raise UsageError("-i: a plugin 'apply' is in the way of reading models", "rename the plugin")
    return open_model


# running


def check_output(output: Path, kind: Kind) -> None:
    """Refuse a name that the result can't have, or that belongs to something else.

    A file is replaced by a file, as everywhere in the shell; a folder only if it is empty or all in it was saved by genart, because
    the new one takes its place as a whole.

    Raises:
        UsageError: if its suffix names no format of this kind.
        RefusedError: if what is there would be lost.
    """
    if not output.name or output.suffix.lower() not in SUFFIXES[kind]:
        allowed = " or ".join(suffix or "a folder, without a suffix" for suffix in SUFFIXES[kind])
        raise UsageError(f"-o {output}: {_say(kind)} can't be saved under this name", f"it can be {allowed}")
    if not os.path.lexists(output):
        return
    if output.is_dir() != (output.suffix == ""):
        raise RefusedError(f"-o {output}: a {'folder' if output.is_dir() else 'file'} of this name exists", "choose another name")
    if output.is_dir() and not all(map(_is_ours, output.iterdir())):
        raise RefusedError(f"-o {output}: the folder holds files that genart did not save there", "choose another name, or an empty folder")


def _is_ours(path: Path) -> bool:
    """True for a numbered PNG with provenance in it, as a saved folder holds them."""
    if not re.fullmatch(r"\d{5,}\.png", path.name) or not path.is_file():
        return False
    with open(path, "rb") as file:
        return b"iTXt" + KEYWORD.encode() + b"\0" in file.read(256)


class Applier(Runner):
    """A runner that leaves nothing beside what it saves: no run.json in a folder that is not its own."""

    def result(self) -> Artifact:
        """The stage's main output, after `run`."""
        return self.entry(self.last).artifact("output")

    @property
    def last(self) -> Step:
        """The stage that was asked for."""
        return list(self.steps.values())[-1]

    def _is_fine(self, step: Step) -> bool:
        """The result is read even where it isn't saved, so it is verified in any case."""
        assert step.entry is not None
        return super()._is_fine(step) and (step is not self.last or self.store.verified(step.entry))

    def _read_run_json(self) -> dict[str, Any]:
        return {}

    def _write_run_json(self, seconds: float) -> None:
        return None


# telling


def describe(artifact: Artifact) -> dict[str, Any]:
    """Say what a result is, for `--json`: its kind, size, and the metadata of its first pictures."""
    if isinstance(artifact, Model):
        return {"kind": "model", **artifact.header}
    if isinstance(artifact, Video):
        return {"kind": "video", "format": artifact.path.suffix.lstrip("."), "count": artifact.count, "fps": artifact.fps}
    sizes = sorted({(run[2], run[1]) for run in artifact.runs}) if isinstance(artifact, StoredImages) else []
    pictures = [batch.meta[0] for batch in islice(artifact.batches(1), MOST_TOLD)]
    about: dict[str, Any] = {"kind": "images", "count": len(artifact), "sizes": [list(size) for size in sizes], "pictures": pictures}
    return about | ({"fps": artifact.fps} if artifact.fps else {})


def lines(about: Mapping[str, Any]) -> list[str]:
    """Say the same for people: one line, then every table that the pictures' metadata hold."""
    told = [_headline(about)]
    for picture in about.get("pictures", []):
        for name, value in picture.items():
            if _is_table(value):
                told += ["", *aligned(value)]
            elif isinstance(value, float):
                told.append(f"{name}: {value:.4g}")
    return told


def _headline(about: Mapping[str, Any]) -> str:
    if about["kind"] == "model":
        return f"a model of the family {about['family']}" + (f", {about['resolution']} px" if "resolution" in about else "")
    if about["kind"] == "video":
        return f"a film of {about['count']} frames, {about['format'].upper()}, {about['fps']:g} frames per second"
    sizes = ", ".join(f"{width}x{height}" for width, height in about["sizes"][:3]) + (", ..." if len(about["sizes"]) > 3 else "")
    return f"{about['count']} picture{'s' * (about['count'] != 1)}" + (f" of {sizes} pixels" if sizes else "")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def aligned(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as lines of aligned columns under the names of their keys: texts first, to the left, and numbers to the right."""
    names = dict.fromkeys(name for row in rows for name in row)
    numeric = {name: all(isinstance(row.get(name), int | float | None) for row in rows) for name in names}
    columns = sorted(names, key=numeric.__getitem__)
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    signs = [">" if numeric[name] else "<" for name in columns]
    return ["  ".join(f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)
