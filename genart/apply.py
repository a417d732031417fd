"""`genart apply`: one stage as a shell command, by way of a recipe that is never written down.

The command line becomes a recipe of the stage and of what reads its inputs. Planner, runner and store are the ordinary ones, so that
caching, going on after a kill, provenance, errors and exit codes are those of recipes. Messages name options where a recipe has lines.

Between two pipes a stage that yields pictures is a filter: each picture is written when it is made, and nothing is stored. What any other
stage reads from a pipe is put into a file first, by whose content its result is found again.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from .artifacts import Artifact, Images, Kind, Model, StoredImages, Video
from .errors import Interrupted, RefusedError, UsageError, did_you_mean, did_you_mean_file, naming, printable
from .events import Events
from .formats import head_of, is_plain
from .params import ParamProblem, Params, input_paths, read_value, resolve, type_name
from .pipes import DASH, Ends, PipedImages, Sender, reader_of
from .plan import Planner, Step, made_with, unreadable
from .plugins import Plugins
from .provenance import KEYWORD, write_into
from .readers import MODEL, READS_PICTURES, StreamParams, bring_in, is_transparent, keep, open_stream, reader
from .recipe import SUFFIXES, Node, Recipe, Source, existing, refuse_pickle, suffixes_of
from .run import Stop
from .runner import LiveImages, Named, Runner
from .stages import Stage
from .store import Store
from .streams import Bytes, Pictures, read_pictures

#: Pictures of a result whose metadata are told.
MOST_TOLD = 16
RECIPE_NAME = "apply"


# options


def read_options(stage: Stage, words: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """Read `--param VALUE`, `--param=VALUE`, `--flag` and `--no-flag` as a table of parameters, and other words as paths.

    A name may be written with dashes, and given several times where it takes a list. Values are TOML, or else text. Words that belong to no
    option are inputs, as if `-i` stood before each, or paths that the stage reads itself: `xargs` puts them at the end.

    Args:
        stage: whose parameters they are.
        words: what stands after the stage's name.

    Returns:
        (parameters, inputs).

    Raises:
        UsageError: for a name that the stage doesn't have, a name without its value, or a word that belongs to none.
    """
    given: dict[str, list[Any]] = {}
    inputs: list[Path] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            if stage.takes is not None:
                inputs.append(Path(word))
                continue
            if "path" in stage.params.model_fields:
                given.setdefault("path", []).append(word)
                continue
        if not word.startswith("--") or word == "--":
            raise UsageError(f"'{word}' belongs to no option", f"{stage.name} reads no files")
        name, value = _option(stage, word, rest)
        given.setdefault(name, []).append(value)
    return {name: _joined(name, values, stage.params.model_fields[name]) for name, values in given.items()}, inputs


def _option(stage: Stage, word: str, rest: list[str]) -> tuple[str, Any]:
    """Return the parameter that an option sets, and its value, which may be the first of the words that follow."""
    written, equals, text = word[2:].partition("=")
    name, wanted = _parameter(stage, written)
    info = stage.params.model_fields[name]
    if equals:
        return name, read_value(text, info)
    if not wanted:
        return name, False
    if rest and (rest[0] in ("true", "false") if _is_flag(info) else not rest[0].startswith("--")):
        return name, read_value(rest.pop(0), info)
    if _is_flag(info):
        return name, True
    raise UsageError(f"--{written} needs a value ({type_name(info)})", info.description)


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
        check_output(output, stage.gives["output"], suffixes_of(stage, output.suffix.lower(), plugins))
        suffix = output.suffix.lstrip(".").lower()
        if "format" in stage.params.model_fields and table.setdefault("format", suffix) != suffix:
            raise UsageError(f"--format {table['format']} does not fit -o {output}", "leave --format out: it follows the name")
    params = _located(_resolved(stage, table))
    return _chain(stage, params, _readers(stage, inputs, plugins), output, seed)


def _chain(stage: Stage, params: Params, readers: Sequence[Node], output: Path | None, seed: int) -> Recipe:
    sources = tuple(Source(node.id) for node in readers)
    node = Node(stage.name, stage, params, sources, output.name if output is not None else None, 0)
    return Recipe(RECIPE_NAME, seed, Path(RECIPE_NAME), (*readers, node))


def filter_of(stage: Stage, options: Mapping[str, Any], plugins: Plugins, *, seed: int = 0) -> Recipe:
    """Return the recipe of a stage between two pipes; the stage before it stands for what comes in.

    Raises:
        UsageError: naming the option that is wrong.
    """
    bring_in(plugins)
    params = _located(_resolved(stage, dict(options)))
    return _chain(stage, params, [Node("input", open_stream, StreamParams(path=None), (), None, 0)], None, seed)


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
        near = did_you_mean_file(path.name, os.listdir(folder)) if folder and folder.is_dir() and os.access(folder, os.R_OK) else ""
        raise UsageError(f"{written}: no such file or folder: {path}{near}", "paths are relative to the current directory")
    refuse_pickle(written, absolute)
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
    if any(path.is_file() and not is_plain(_head(path), path.suffix.lower()) for path in paths):
        plugins.bring_formats()
    transparent = any(path.is_file() and is_transparent(path) for path in paths)
    nodes = []
    for number, path in enumerate(paths, 1):
        reads = reader(path, plugins)
        if reads.gives["output"] != stage.takes:
            raise UsageError(f"-i {inputs[number - 1]}: {stage.name} takes {_say(stage.takes)}, not {_say(reads.gives['output'])}")
        table = {"path": str(path), **({"alpha": "keep"} if transparent and reads.name == READS_PICTURES else {})}
        name = "input" if number == 1 else f"input-{number}"
        try:
            params = resolve(reads.params, reads.name, table)
        except ParamProblem as problem:
            raise UsageError(f"-i {inputs[number - 1]}: {problem}", problem.hint) from None
        nodes.append(Node(name, reads, params, (), None, 0))
    return nodes


def _head(path: Path) -> bytes:
    try:
        return head_of(path)
    except OSError as error:
        raise unreadable(path, error) from None


def _say(kind: Kind) -> str:
    return {"images": "pictures", "model": "a model", "video": "a film"}[kind]


# running


def check_output(output: Path, kind: Kind, allowed: Sequence[str] = ()) -> None:
    """Refuse a name that the result can't have, or that belongs to something else.

    A file is replaced by a file, as everywhere in the shell; a folder only if it is empty or all in it was saved by genart, because
    the new one takes its place as a whole.

    Args:
        output: the name.
        kind: of the result.
        allowed: suffixes that it can have; by default those of its kind.

    Raises:
        UsageError: if its suffix names no format of this kind.
        RefusedError: if what is there would be lost.
    """
    allowed = allowed or SUFFIXES[kind]
    if not output.name or output.suffix.lower() not in allowed:
        words = " or ".join(suffix or "a folder, without a suffix" for suffix in allowed)
        raise UsageError(f"-o {output}: {_say(kind)} can't be saved under this name", f"it can be {words}")
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
    """A runner that leaves nothing beside what it saves: no run.json in a folder that is not its own.

    Args:
        planner, steps, out, events, stop: as for every runner.
        sender: takes the result, if it goes to standard output.
    """

    def __init__(
        self, planner: Planner, steps: dict[str, Step], out: Path, events: Events, stop: Stop, sender: Sender | None = None
    ) -> None:
        super().__init__(planner, steps, out, events, stop)
        self.sender = sender
        self._about: tuple[dict[str, Any], dict[str, Any]] | None = None

    def run(self) -> list[dict[str, Any]]:
        """Make everything, and save or send the result."""
        saved = super().run()
        if self.sender is not None and not self.sender.began:
            try:
                self._send_whole(self.sender, self.artifact(self.last))
            finally:
                self.store.release()
        return saved

    def result(self) -> Artifact:
        """The stage's main output, after `run`."""
        return self.entry(self.last).artifact("output")

    @property
    def last(self) -> Step:
        """The stage that was asked for."""
        return list(self.steps.values())[-1]

    def _make(self, step: Step) -> None:
        """Send the pictures of the last stage while they are made."""
        if self.sender is None or step is not self.last or not step.node.stage.streams:
            super()._make(step)
            return
        live = LiveImages(self, step, locked=True)
        try:
            for batch in live:
                self.sender.pictures(batch, self.about(live.choices, live.count, live.fps))
            live.finish()
        finally:
            live.close()

    def _send_whole(self, sender: Sender, result: Artifact) -> None:
        """Send a result that lies in the store."""
        if isinstance(result, Images):
            for batch in result:
                sender.pictures(batch, self.about({}, result.count, result.fps))
            return
        with self.store.scratch() as folder:
            path = folder / result.path.name
            with open(result.path, "rb") as file, open(path, "w+b") as out:
                write_into(file, out, self.provenance(self.last), path.name, self.carrier(result))
            sender.content(path)

    def about(self, choices: dict[str, Any], count: int | None, fps: float | None) -> dict[str, Any]:
        """What a picture in a pipe says of what made it; hashes of results are not known before their last picture, and left out.

        Args:
            choices: what the stage has chosen so far, if it is still at work.
            count: number of pictures, if it is known.
            fps: frames per second, for a film.
        """
        if self._about is None or self._about[0] != choices:
            told = self.provenance(self.last)
            for stage in told["stages"]:
                stage["outputs"] = {}
            told["stages"][-1] |= {"choices": choices} if choices else {}
            told["stages"][-1].setdefault("made_with", made_with())
            self._about = choices, told
        known = {name: value for name, value in (("count", count), ("fps", fps)) if value is not None}
        return self._about[1] | known

    def is_fine(self, step: Step) -> bool:
        """The result is read even where it isn't saved, so it is verified in any case."""
        assert step.entry is not None
        return super().is_fine(step) and (step is not self.last or self.store.verified(step.entry))

    def _read_run_json(self) -> dict[str, Any]:
        return {}

    def _write_run_json(self, seconds: float) -> None:
        return None


class Filter(Applier):
    """Runs a stage between two pipes: each picture is sent when it is made, and nothing is stored.

    Args:
        planner, steps, events, stop: as for every runner.
        given: the pictures that come in.
        sender: takes the pictures that are made.
    """

    def __init__(self, planner: Planner, steps: dict[str, Step], events: Events, stop: Stop, given: Pictures, sender: Sender) -> None:
        super().__init__(planner, steps, Path(), events, stop, sender)
        self.given = given

    def run(self) -> list[dict[str, Any]]:
        """Pass all pictures through.

        Raises:
            Interrupted: after a signal, or when whoever reads has gone.
        """
        began, step = time.monotonic(), self.last
        about = {"stage": step.node.id, "uses": step.node.stage.name}
        self.store.sweep_temporary()
        self.events.emit("run_started", recipe=RECIPE_NAME, seed=self.planner.recipe.seed, out=str(DASH), stages=[step.node.id])
        self.events.emit("stage_started", **about, reason="pictures come through a pipe", resumed_at=0)
        try:
            with self.store.scratch() as folder:
                self._pass_through(step, folder)
        except Interrupted as stopped:
            raise Interrupted(stopped.exit_code - 128, kept=False) from None
        self.events.emit("stage_finished", **about, key=None, seconds=time.monotonic() - began)
        self.events.emit("run_finished", seconds=time.monotonic() - began, saved=[])
        return []

    def _pass_through(self, step: Step, folder: Path) -> None:
        assert self.sender is not None
        run = self.new_run(step, work=folder / "work")
        if run.device == "cpu":
            run.workers = os.cpu_count() or 1
        given = PipedImages(self.given, folder / "input", keep=not step.node.stage.pointwise)
        try:
            with Named(step):
                for batch in run.stream(step.node.stage(given, step.node.params, run)):
                    self.sender.pictures(batch, self.about(run.choices, run.count, run.fps))
        finally:
            given.close()
            run.close()


def apply_stage(
    stage: Stage,
    options: Mapping[str, Any],
    ends: Ends,
    plugins: Plugins,
    events: Events,
    stop: Stop,
    *,
    sender: Sender | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Artifact | None:
    """Apply a stage to what stands at its ends.

    Args:
        stage: what is applied.
        options: its parameters.
        ends: where its input comes from and where its result goes.
        plugins: where stages come from.
        events: who is told.
        stop: set by a signal.
        sender: takes the result, if it goes to standard output.
        seed: of the random numbers.
        device: "cpu", "cuda" or "mps".

    Returns:
        The result, or None if it went through a pipe and is gone.
    """
    store = Store.of_user()

    def steps_of(recipe: Recipe) -> tuple[Planner, dict[str, Step]]:
        planner = Planner(recipe, plugins, store, device)
        return planner, planner.steps()

    source = Bytes(reader_of(sys.stdin, lambda: _check(stop))) if ends.stdin and stage.takes is not None else None
    if source is not None and sender is not None and ends.inputs == (DASH,) and stage.takes == "images" and stage.streams:
        planner, steps = steps_of(filter_of(stage, options, plugins, seed=seed))
        given = read_pictures(source, lambda message: events.emit("warning", stage=stage.name, message=message))
        for note in given.notes:
            events.emit("note", message=note)
        Filter(planner, steps, events, stop, given, sender).run()
        return None
    with ExitStack() as held:
        inputs = ends.inputs
        if source is not None:
            _resolved(stage, dict(options))  # before a long wait for what comes
            kept = keep(source, held.enter_context(store.scratch()))
            if (kept.suffix == MODEL) != (stage.takes == "model"):
                raise UsageError(f"-i -: {stage.name} takes {_say(stage.takes or 'images')}, and that is not what came by standard input")
            inputs = tuple(kept if path == DASH else path for path in inputs)
        output = None if ends.stdout else ends.output
        planner, steps = steps_of(recipe_of(stage, options, inputs, output, plugins, seed=seed))
        applier = Applier(planner, steps, Path() if output is None else output.parent, events, stop, sender)
        with naming(ends.inputs[0]) if stage.takes == "model" and source is None else nullcontext():
            applier.run()
        return applier.result()


def _check(stop: Stop) -> None:
    if stop.signal is not None:
        raise Interrupted(stop.signal, kept=False)


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
            if name == "origin":
                continue
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
    return printable(text)
