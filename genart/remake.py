"""`genart remake`: a file made again from what it says of itself, and compared with it.

Its provenance becomes a recipe that is never written down. Planner and runner are the ordinary ones, on a store of their own, so that
nothing in the user's store is replaced. From that one come the models that flowed in, and what was read from files that are not here,
both by the hash of their content. What was chosen while the file was made, such as the plan of a budget, is given to the stages anew,
so that they do the same work however fast this machine is.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import tags
from .apply import Applier
from .artifacts import Artifact, Images, Model, Video, write_sealed
from .errors import DataError, Interrupted, RefusedError, UsageError, naming, printable
from .events import Events, finite, utf8
from .origin import Contradiction, Given, locate, nowhere, recipe_of, told_files
from .plan import Planner, Step, device_kind
from .plan import differences as differences_of
from .plugins import Plugins
from .provenance import PICTURES, FileTold, Provenance, StageTold, kind_of, read, save
from .recipe import Node
from .run import CHOICES, Stop
from .store import Entry, Store

#: Exit code for a file that came out different.
DIFFERENT = 9


# what came of it


@dataclass
class Report:
    """What came of making a file again.

    Attributes:
        verdict: "identical" (every byte), "same" (what it holds; its metadata differ), "close" (within the tolerance) or "different".
        db: PSNR of pictures and films, signal-to-noise ratio of weights; infinite if they are the same, None if not comparable.
        detail: where they differ most, or why they cannot be compared.
        reasons: what was not as it had been, one line each.
        made: ids of the stages that were made again.
        lent: ids of the stages whose results came from the store or from `--input`.
    """

    verdict: str
    db: float | None = math.inf
    detail: str = ""
    reasons: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    lent: list[str] = field(default_factory=list)

    @property
    def different(self) -> bool:
        """True if it is neither the same nor equal within the tolerance."""
        return self.verdict == "different"

    def as_json(self) -> dict[str, Any]:
        """All of it; an infinite number of decibels is null."""
        return dict(finite(asdict(self)))

    def lines(self, name: str) -> list[str]:
        """Say it to people, the verdict last, where the eye is when it is done."""
        db = "" if self.db is None else f"{self.db:.1f} dB"
        why = ", ".join(part for part in (db, self.detail) if part)
        head = {
            "identical": "identical, every byte",
            "same": "the same in every byte of what it holds; what it says of itself differs",
            "close": f"equal within {why}",
            "different": f"different: {why}",
        }[self.verdict]
        lent = [f"taken as it was, by its hash: {', '.join(self.lent)}"] if self.lent else []
        return [printable(line, "\n") for line in (*self.reasons, *lent, f"{name}: {head}")]


def differences(before: Mapping[str, Any], now: Mapping[str, Any], made: Sequence[str]) -> list[str]:
    """Say what two provenances of a file differ in, for the stages that were made again, and which result was the first to differ."""
    top = (("device", "device"), ("genart", "saved by genart"))
    lines = [f"{label} {before[name]} → {now[name]}" for name, label in top if before[name] != now[name]]
    stages: dict[str, list[str]] = {}
    first = None
    for old, new in zip(before["stages"], now["stages"], strict=True):
        if old["id"] not in made:
            continue
        for text in _stage_differences(old, new):
            stages.setdefault(text, []).append(old["id"])
        if first is None and old["outputs"] != new["outputs"]:
            first = old["id"]
    lines += [f"{text} ({', '.join(ids)})" for text, ids in stages.items()]
    return [*lines, *([f"the first result that came out otherwise is that of '{first}'"] if first else [])]


def _stage_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from differences_of(_identity(old), _identity(new))
    for group, usual in (("made_with", {"processes": 1}), ("registered", {})):
        before, now = (usual | told.get(group, {}) for told in (old, new))
        yield from (f"{name} {before.get(name)} → {now.get(name)}" for name in sorted({*before, *now}) if before.get(name) != now.get(name))
    before, now = old.get("choices", {}), new.get("choices", {})
    yield from (f"it chose '{name}' anew" for name in sorted({*before, *now}) if before.get(name) != now.get(name))


def _identity(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage is made of, in the form in which the planner compares it."""
    parts = {"stage": told["uses"], "params": told["params"], "code": told["plugin"], "seed": told.get("seed"), "inputs": []}
    return parts | {name: told.get(name, {}) for name in ("files", "versions")}


# what need not be made


class Lender:
    """Finds the results that flowed in, so that they need not be made again: by content in the user's store, and from `--input`.

    Args:
        told: what the file says.
        steps: the steps of the recipe that it tells.
        store: the user's.
        workshop: the remake's own, which takes models that come from other places.
    """

    def __init__(self, told: Provenance, steps: dict[str, Step], store: Store, workshop: Store) -> None:
        self.told = told
        self.steps = steps
        self.store = store
        self.workshop = workshop

    def lend(self, given: Sequence[Given], files: Mapping[FileTold, Path], *, from_store: bool) -> list[str]:
        """Give steps the results that they had, and return their ids: models, and what was read from files that are not here.

        Raises:
            DataError: if a model that was given has other weights than the one that flowed in.
        """
        entries = list(self.store.entries()) if from_store else []
        lent = []
        for stage in self.told.stages[:-1]:
            step = self.steps[stage.id]
            model = self._given(stage, given)
            if model is not None:
                step.entry = self._adopt(step, model)
            elif step.entry is None and (step.node.stage.gives["output"] == "model" or any(one not in files for one in told_files(stage))):
                step.entry = self._stored(stage, entries) or self._same_weights(stage, step, entries)
            else:
                continue
            lent += [stage.id] if step.entry is not None else []
        return lent

    def _stored(self, stage: StageTold, entries: Sequence[Entry]) -> Entry | None:
        """The stored result whose outputs are those that flowed in."""
        for entry in entries:
            outputs = {name: about["digest"] for name, about in entry.manifest["outputs"].items()}
            if stage.outputs and outputs == stage.outputs and self.store.verified(entry):
                return entry
        return None

    def _same_weights(self, stage: StageTold, step: Step, entries: Sequence[Entry]) -> Entry | None:
        """A stored model with the weights that flowed in, whatever made it."""
        wanted = stage.weights.get("output")
        for entry in entries:
            if wanted and entry.manifest["outputs"]["output"].get("weights") == wanted and self.store.verified(entry):
                return self._adopt(step, entry.folder / "output" / "model.safetensors")
        return None

    def _given(self, stage: StageTold, given: Sequence[Given]) -> Path | None:
        """The file that `--input` names for a stage that gave a model."""
        path = next((item.path for item in given if item.name == stage.id and stage.weights), None)
        if path is None:
            return None
        Model.open(path)
        with open(path, "rb") as file:
            if tags.SAFETENSORS.scan(file).content != stage.weights.get("output"):
                raise DataError(f"--input {stage.id}: {path} has other weights than the model that flowed in")
        return path

    def _adopt(self, step: Step, model: Path) -> Entry | None:
        """Take a model for what a stage gave, unless more than the model is taken from that stage."""
        sources = [source for other in self.steps.values() for source in other.node.sources if source.node == step.node.id]
        if any(source.output != "output" for source in sources):
            return None
        key = hashlib.sha256(f"adopted {step.ancestry}".encode()).hexdigest()  # of its own: nothing finds it as a made result
        work = self.workshop.work(key)
        folder = work / "outputs" / "output"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, folder / "model.safetensors")
        about = {"stage": step.node.stage.name, "parts": step.parts, "seconds": 0.0}
        return self.workshop.commit(key, ancestry=key, partial=key, kinds={"output": "model"}, work=work, about=about)


# making it


class RemakePlanner(Planner):
    """A planner that takes from the file what it would else find out: the stages' seeds, and the content of input files, here or not."""

    seeds: Mapping[str, int | None] = {}
    contents: Mapping[Path, str] = {}

    def seed(self, node: Node) -> int:
        """Seed of a stage that draws random numbers."""
        told = self.seeds.get(node.id)
        return super().seed(node) if told is None else told

    def content(self, path: Path) -> str:
        """Content hash of a file or folder that a stage reads."""
        return self.contents[path]

    def readers(self, path: Path) -> dict[str, dict[str, str]]:
        """Code of the plugins that read pictures of a file or folder; nothing of what is not here."""
        return super().readers(path) if path.exists() else {}


class Remaker(Applier):
    """A runner that tells of results it did not make what the file told; `lent` holds their ids."""

    told: Mapping[str, dict[str, Any]] = {}
    lent: Sequence[str] = ()

    @property
    def made(self) -> list[str]:
        """Ids of the stages that were made again."""
        return [name for name, step in self.steps.items() if step.entry is not None and name not in self.lent]

    def _told(self, step: Step) -> dict[str, Any]:
        return super()._told(step) if step.node.id in self.made else self.told[step.node.id]


class Remake:
    """Makes a file again.

    Args:
        path: the file.
        plugins: where stages come from.
        store: the user's, which lends what the file was made of.
        events: who is told.
        stop: set by a signal.
        device: where to compute; by default where the file was made, if this machine can.
        from_scratch: take nothing from the store: train models again too.
        inputs: `NAME=PATH` texts: input files by their names, models by the ids of their stages.

    Raises:
        DataError: if the file does not say how it was made, or not truly.
        UsageError: if a stage's plugin is not here, or an input is not one.
    """

    def __init__(
        self,
        path: Path,
        plugins: Plugins,
        store: Store,
        events: Events,
        stop: Stop,
        *,
        device: str | None = None,
        from_scratch: bool = False,
        inputs: Sequence[str] = (),
    ) -> None:
        self.path, self.plugins, self.store, self.events, self.stop = path, plugins, store, events, stop
        self.told, self.plain = read(path, plugins)
        self.given = [Given.parse(text) for text in inputs]
        self.device = _device(device, self.told, store.root)
        self.from_scratch = from_scratch
        self.files = locate(self.told, self.given, (Path.cwd(), path.absolute().parent), store.root)
        with naming(path):  # what cannot be followed is refused before anything is written
            recipe_of(self.told, plugins, {})
        self.kind = kind_of(path, plugins)

    def run(self, out: Path | None = None, tolerance: float = 40.0) -> Report:
        """Make the file again, and compare.

        Args:
            out: where to keep what was made; by default it is not kept.
            tolerance: decibels from which on it counts as equal; above 40 no eye sees a difference.

        Raises:
            DataError: if an input file is neither here nor its content in the store.
            UsageError: if `out` is another kind of file.
            RefusedError: if `out` is the file itself.
        """
        assert self.kind is not None  # its provenance was read
        if out is not None:
            _check_out(out, self.path, self.kind.name)
        with naming(self.path), self._workshop() as root:
            runner = self._runner(Store(root))
            runner.run()
            result, provenance = runner.result(), runner.provenance(runner.last)
            made = out or root / f"made{_suffix(result, self.kind.name)}"
            save(result, made, provenance, index=self._index(result), kind=runner.carrier(result))
            report = compare(self.path, made, self.kind, tolerance)
            report.made, report.lent = runner.made, list(runner.lent)
            if report.verdict != "identical":
                report.reasons = differences(self.plain, provenance, runner.made) or ["nothing that the file tells differs"]
        return report

    @contextmanager
    def _workshop(self) -> Iterator[Path]:
        """The place of a store of our own: kept when interrupted, so that the same command goes on, and else removed."""
        about = json.dumps([self.told.seal, self.device, self.from_scratch])
        name = hashlib.sha256(about.encode()).hexdigest()[:32]
        root = self.store.root / "remakes" / name

        def waiting() -> None:
            self.events.emit("note", message="another genart is making this file again; waiting for it")

        def check() -> None:
            if self.stop.signal is not None:
                raise Interrupted(self.stop.signal)

        with self.store.lock(f"remake-{name}", waiting, check):
            root.mkdir(parents=True, exist_ok=True)
            try:
                yield root
            except (Interrupted, KeyboardInterrupt):
                raise
            except BaseException:
                shutil.rmtree(root, ignore_errors=True)
                raise
            shutil.rmtree(root, ignore_errors=True)

    def _runner(self, workshop: Store) -> Remaker:
        """A runner of the recipe that the file tells, with everything that it need not make."""
        every = {one for stage in self.told.stages for one in told_files(stage)}
        files = {one: _under_its_name(path, one, workshop.root) for one, path in self.files.items()}
        planner = RemakePlanner(recipe_of(self.told, self.plugins, files), self.plugins, workshop, self.device)
        planner.seeds = {stage.id: stage.seed for stage in self.told.stages}
        planner.contents = {files.get(one) or nowhere(one): one.content for one in every}
        steps = planner.steps()
        runner = Remaker(planner, steps, Path(), self.events, self.stop)
        runner.told = {stage["id"]: stage for stage in self.plain["stages"]}
        runner.lent = Lender(self.told, steps, self.store, workshop).lend(self.given, self.files, from_store=not self.from_scratch)
        self._check_files(steps)
        for stage in self.told.stages:
            _replay(stage, workshop.work(steps[stage.id].ancestry))
        return runner

    def _check_files(self, steps: dict[str, Step]) -> None:
        """Refuse to begin while a file is missing that a stage would open."""
        needed = {self.told.stage}
        missing: dict[str, None] = {}
        for stage in reversed(self.told.stages):
            step = steps[stage.id]
            if stage.id in needed and step.entry is None:
                needed.update(source.node for source in step.node.sources)
                missing |= dict.fromkeys(one.name for one in told_files(stage) if one not in self.files)
        if missing:
            names = list(missing)
            where = "" if self.from_scratch else ", nor is what was read from it in the store"
            raise DataError(
                f"{self.path}: it was made of {', '.join(names[:5])}{', …' * (len(names) > 5)}, which is not here{where}",
                f"say where: --input {names[0]}=PATH",
            )

    def _index(self, result: Artifact) -> int | None:
        index = self.told.index
        if index is not None and not (isinstance(result, Images) and index < len(result)):
            raise Contradiction(f"'{self.told.stage}' gives no picture {index}")
        return index


def _device(wanted: str | None, told: Provenance, cache: Path) -> str:
    if wanted is not None:
        return device_kind(wanted, cache)
    try:
        return device_kind(told.device, cache)
    except UsageError:
        return device_kind("auto", cache)


def _check_out(out: Path, path: Path, kind: str) -> None:
    suffix = out.suffix.lower().lstrip(".")
    if {"jpeg": "jpg", "apng": "png"}.get(suffix, suffix) != kind:
        raise UsageError(f"-o {out}: what is made again is a .{kind} file like {path.name}")
    if out.exists() and (out.is_dir() or out.samefile(path)):
        raise RefusedError(
            f"-o {out}: it would take the place of {'a folder' if out.is_dir() else 'the file itself'}", "choose another name"
        )


def _suffix(result: Artifact, kind: str) -> str:
    """Suffix under which a result becomes a file of the kind that the old one is."""
    suffix = result.path.suffix if isinstance(result, Model | Video) else f".{kind}"
    fits = suffix in PICTURES if isinstance(result, Images) else suffix == f".{kind}" or isinstance(result, Video)
    if not fits:
        raise Contradiction(f"its last stage gives {result.kind}")
    return suffix


def _under_its_name(path: Path, one: FileTold, root: Path) -> Path:
    """The path of an input file, or a link to it with the name that it had, which goes into the metadata of its pictures."""
    if utf8(path.name) == one.name:
        return path
    link = root / "inputs" / one.content / one.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.symlink(path, link)
    return link


def _replay(stage: StageTold, work: Path) -> None:
    """Put the choices where the stage finds them, as after a kill."""
    path = work / CHOICES
    if stage.choices and not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_sealed(path, stage.choices)


# comparing


def compare(path: Path, made: Path, kind: tags.Format, tolerance: float) -> Report:
    """Compare a file with what was made in its place.

    Args:
        path: the file.
        made: the new one.
        kind: its kind.
        tolerance: decibels from which on they count as equal.

    Raises:
        DataError: if one of them cannot be decoded.
    """
    if filecmp.cmp(path, made, shallow=False):
        return Report("identical")
    with open(path, "rb") as old, open(made, "rb") as new:
        if kind.scan(old).content == kind.scan(new).content:
            return Report("same")
    if kind.name not in tags.COMPARED:
        return Report("different", None, f"what two .{kind.name} films show cannot be compared here")
    from .nn import compare
    from .nn.pictures import Unreadable

    try:
        likeness = compare.weights(path, made) if kind is tags.SAFETENSORS else compare.pictures(path, made, tags.DEMUXERS.get(kind.name))
    except Unreadable as error:
        raise DataError(f"{path}: {error}") from error
    close = likeness.db is not None and likeness.db >= tolerance
    return Report("close" if close else "different", likeness.db, likeness.detail)
