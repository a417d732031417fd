"""The runner: makes every artifact of a plan once, safely, and never again."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from . import __version__, tags
from .artifacts import (
    KINDS,
    Artifact,
    Batch,
    Images,
    ImagesWriter,
    JoinedImages,
    Model,
    StoredImages,
    Video,
    from_picture,
    is_regular,
    read_sealed,
    remove,
    sealed,
    unsealed,
)
from .errors import ChangedError, DataError, GenartError, Interrupted, LostWorkError, RefusedError, ResourceError, StageError
from .events import Events, utf8
from .folders import Folder
from .params import input_paths
from .plan import Planner, Step, made_with, version_of
from .provenance import FORMAT, name_of, save_in, sweep
from .recipe import SUFFIXES
from .run import CHOICES, Run, Stop
from .store import Entry, check_place, resource_error

if TYPE_CHECKING:
    from .nn.team import Team

#: Name of the file in an output folder that describes the run.
RUN_JSON = "run.json"
#: Seconds of streamed pictures that a kill may cost.
SYNC_EVERY = 3.0
#: What to do when a worker and its driver do not see the same results.
SAME_STORE = "the workers must see the same store: by --store, or XDG_CACHE_HOME names a folder that all machines share"
#: File of a work folder that says that its stage was begun anew because of --force; who finds it goes on.
FORCED = "forced"
#: How often a result that a clean-up took away before it could be read is made again.
HOLDING_TRIES = 20
#: Stages whose pictures flow into each other at once: each takes some of Python's stack, and some open files.
MOST_LIVE = 50


class Runner:
    """Runs the steps of a plan.

    Args:
        planner: knows the recipe, the store and the keys.
        steps: what to make, in order.
        out: the output folder.
        events: who is told.
        stop: set by a signal.
        executor: who makes what is missing; this process, unless it is another.

    Attributes:
        team: processes that train together with this one; None if it is alone.
    """

    def __init__(
        self, planner: Planner, steps: dict[str, Step], out: Path, events: Events, stop: Stop, executor: Executor | None = None
    ) -> None:
        self.executor = executor or Local()
        self.team: Team | None = None
        self.planner = planner
        self.steps = steps
        self.store = planner.store
        self.out = out
        self.events = events
        self.stop = stop
        self.live: dict[str, LiveImages] = {}
        self.busy: dict[str, float] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.saved: list[dict[str, Any]] = []
        self.surroundings = Surroundings()
        self.rebuild: Callable[[Model, str], Any] = planner.plugins.rebuild
        self.backbone: Callable[[str, str], Any] = planner.plugins.load_backbone
        self._before: dict[str, Any] = {}
        self._stages_before: dict[str, Any] = {}
        self._hashes: dict[str, str | None] = {}

    def run(self) -> list[dict[str, Any]]:
        """Make everything and save what is to be saved.

        Returns:
            One record per saved output: path, stage, sha256, bytes.
        """
        began = time.monotonic()
        recipe = self.planner.recipe
        self.store.sweep_temporary()
        self._before = self._read_run_json()
        self._check_places()
        self.events.emit("run_started", recipe=recipe.name, seed=recipe.seed, out=str(self.out), stages=list(self.steps))
        try:
            for step in self.executor.results(self):
                self._save_until(step)
            self._save_until(None)
        finally:
            self.executor.close()
            for live in self.live.values():
                live.close()
            self.store.release()
        places = {node_id: place for place, node_id in enumerate(self.steps)}
        self.saved.sort(key=lambda record: places[record["stage"]])
        self._write_run_json(time.monotonic() - began)
        self.events.emit("run_finished", seconds=time.monotonic() - began, saved=[record["path"] for record in self.saved])
        return self.saved

    def _check_places(self) -> None:
        """Find out before anything is computed that a result could not be kept.

        Raises:
            OSError: as writing it would.
        """
        steps = self.steps.values()
        if any(step.entry is None for step in steps):
            self.store.check_places()
        for step in steps:
            if step.node.save and (step.entry is None or not self._is_saved(step)):
                check_place((self.out / step.node.save).parent)

    def _save_until(self, last: Step | None) -> None:
        """Save what is there and not saved yet, in the order of the recipe up to one step, or all."""
        done = {record["stage"] for record in self.saved}
        for step in self.steps.values():
            if step.entry is not None and step.node.save and step.node.id not in done:
                self._save(step)
            if step is last:
                break

    def _consumers(self, step: Step) -> list[Step]:
        return [other for other in self.steps.values() if any(source.node == step.node.id for source in other.node.sources)]

    def _needed(self) -> set[str]:
        """Ids of all stages but those whose results are gone from the store while everything made of them is still there."""
        needed: set[str] = set()
        for step in reversed(self.steps.values()):
            consumers = self._consumers(step)
            read = any(other.entry is None and other.node.id in needed for other in consumers)
            if step.forced or step.node.save or not consumers or read:
                needed.add(step.node.id)
        return needed

    def wanted(self) -> Iterator[Step]:
        """Steps whose results are there or are needed, in order."""
        needed = self._needed()
        return (step for step in self.steps.values() if step.entry is not None or step.node.id in needed)

    def begin(self, step: Step) -> None:
        """Let a step wait for its first reader, who drives it."""
        self.live[step.node.id] = LiveImages(self, step)

    def waiting(self) -> list[Step]:
        """Steps that began and have had no reader so far."""
        return [self.steps[node_id] for node_id in self.live]

    def may_wait(self, step: Step) -> bool:
        """True if a stage's pictures can flow straight into the next stage.

        Not so if a result of that next stage exists that might turn out to be the right one: then this stage runs first,
        and if its pictures stay the same, the next stage is spared. Nor if other pictures flow into it already: whoever waits for a
        stage holds nothing but what is made of it, so no two processes wait for each other, and none for itself.
        """
        consumers = self._consumers(step)
        flowing = {node_id for node_id, live in self.live.items() if not live.finished}
        merged = any(source.node in flowing for other in consumers for source in other.node.sources if source.side is None)
        if not step.node.stage.streams or not consumers or merged or len(flowing) >= MOST_LIVE:
            return False
        first = consumers[0]
        return first.entry is None and not first.forced and first.node.stage.takes == "images" and not self.store.has_similar(first.partial)

    # making

    def entry(self, step: Step) -> Entry:
        """Return the whole, verified result of a step, making it if it is not there."""
        if step.entry is None and not step.forced:
            self.planner.look(step, self.steps)
        if step.entry is not None:
            if self.is_fine(step):
                self.note_cached(step)
                if not self._was_forced(step):
                    self.store.forget(step.ancestry)
                return step.entry
            step.entry, step.damaged = None, True
        live = self.live.get(step.node.id)
        if live is not None and not live.finished:
            live.finish()
        else:
            self._with_lock(step)
        assert step.entry is not None
        return step.entry

    def artifact(self, step: Step, output: str = "output") -> Artifact:
        """Open a result, held until the end of the run; one that a clean-up has just taken away is made again."""
        for _ in range(HOLDING_TRIES):
            held = self.store.hold(self.entry(step))
            if held is not None:
                return held.artifact(output)
            step.entry = None
        raise ResourceError(
            f"stage '{step.node.id}': its result was taken away again and again while it was to be read",
            "wait until the clean-ups of the store are over, then run the same command again",
        )

    def is_fine(self, step: Step) -> bool:
        """A result that nobody reads in this run need not be verified; the others are, once."""
        assert step.entry is not None
        read = step.node.save and not self._is_saved(step)
        read = read or any(other.entry is None for other in self._consumers(step))
        return not read or self.store.verified(step.entry)

    def note_cached(self, step: Step) -> None:
        """Tell, once, that a result was there already."""
        if step.node.id not in self.records:
            assert step.entry is not None
            self.records[step.node.id] = self.record(step, cached=True, seconds=0.0)
            self.events.emit("stage_cached", stage=step.node.id, uses=step.node.stage.name, key=step.entry.key)
            self._remember(step)
            self.store.share(step.ancestry, step.partial, step.entry)

    def _with_lock(self, step: Step) -> None:
        with self.locked(step):
            if self.found(step):
                self.note_cached(step)
                if not self._was_forced(step):
                    self.store.drop_work(step.ancestry)
                return
            try:
                self._make(step)
            except LostWorkError:
                self.begin_anew(step)
                self._make(step)

    def found(self, step: Step) -> bool:
        """True if another process has made the whole result meanwhile; called with the lock, and before anything is made."""
        self.planner.look(step, self.steps)
        if step.entry is not None and self.store.verified(step.entry):
            return True
        step.damaged |= step.entry is not None
        step.entry = None
        if step.damaged:
            self.events.emit("note", message=f"the stored result of '{step.node.id}' was damaged and is made again")
            step.changes, step.damaged = ["its stored result was damaged"], False
        work = self.store.work(step.ancestry)
        if step.forced and not self._was_forced(step):
            self.store.drop_work(step.ancestry)
            work.mkdir(parents=True, exist_ok=True)
            (work / FORCED).touch()
        choices = work / CHOICES
        if os.path.lexists(choices) and read_sealed(choices) is None:
            self.begin_anew(step)
        return False

    def _was_forced(self, step: Step) -> bool:
        """True if what is kept of a stage is of a run with --force that was stopped: the next one goes on with it."""
        return (self.store.work(step.ancestry) / FORCED).exists()

    def begin_anew(self, step: Step) -> None:
        """Forget what a killed run of a stage has kept."""
        self.events.emit("note", message=f"what was kept of '{step.node.id}' was damaged; it begins anew")
        work = self.store.work(step.ancestry)
        for name in ("checkpoints", "outputs", *(() if read_sealed(work / CHOICES) else (CHOICES,))):
            remove(work / name)

    @contextlib.contextmanager
    def locked(self, step: Step) -> Iterator[None]:
        """Hold the work folder of a step against other processes.

        Raises:
            Interrupted: if a signal came: nothing more is begun.
        """

        def waiting() -> None:
            self.events.emit("note", message=f"another genart is making '{step.node.id}'; waiting for it")

        def check() -> None:
            if self.stop.signal is not None:
                raise Interrupted(self.stop.signal)

        check()
        with self.store.lock(step.ancestry, waiting, check):
            try:
                yield
            except ChangedError:  # nobody is to go on with what was made of it
                self.store.drop_work(step.ancestry)
                raise

    def _make(self, step: Step) -> None:
        """Run a stage that gives its result at once."""
        if step.node.stage.streams:
            LiveImages(self, step, locked=True).finish()
            return
        run = self.new_run(step)
        self.announce(step, run.start, resumed=run.checkpoints.any)
        run.sides = self.sides(step)  # made before anything flows
        given = self.input(step, 0)
        began = time.monotonic()
        try:
            with Named(step):
                try:
                    result = step.node.stage(given, step.node.params, run)
                finally:
                    self.surroundings.restore()
                self.keep(step, run, result)
            self.commit(step, run, time.monotonic() - began - self._upstream_sec(step))
        finally:
            run.close()

    def _upstream_sec(self, step: Step) -> float:
        """Seconds that a stage spent in waiting for pictures that were made while it ran."""
        return sum(self.busy.pop(node, 0.0) for node in {source.node for source in step.node.sources if source.output == "output"})

    def announce(self, step: Step, start: int, *, resumed: bool = False) -> None:
        """Tell that a stage begins, why, and at which picture."""
        reason = "going on from its checkpoint" if resumed else "; ".join(step.changes)
        self.events.emit("stage_started", stage=step.node.id, uses=step.node.stage.name, reason=reason, resumed_at=start)

    def adopt(self, step: Step, key: str, *, cached: bool) -> None:
        """Take the result that a worker has put into the store.

        Raises:
            ResourceError: if it is not to be seen there.
        """
        step.entry = self.expected(step, key)
        step.forced = False
        self.records[step.node.id] = self.record(step, cached=cached, seconds=step.entry.manifest["seconds"])

    def expected(self, step: Step, key: str) -> Entry:
        """The entry that a worker has put into the store for a step.

        Raises:
            ResourceError: if it is not to be seen there.
        """
        entry = self.store.find(key)
        if entry is None:
            raise ResourceError(
                f"stage '{step.node.id}': a worker has made it, but its result is not in the store {self.store.place}",
                SAME_STORE,
            )
        return entry

    def task_of(self, step: Step) -> dict[str, Any]:
        """What makes a step, as plain values: see `genart.tasks.Task`. What it reads is made first, if it is not there."""
        entries = {source.node: self.entry(self.steps[source.node]) for source in step.node.sources}
        inputs = {node: entry.key for node, entry in entries.items()}
        contents = {node: entry.content for node, entry in entries.items()}
        return {"stage": step.node.id, "ancestry": step.ancestry, "inputs": inputs, "contents": contents, "force": step.forced}

    def new_run(self, step: Step, start: int = 0, work: Path | None = None) -> Run:
        """Return the `Run` that a stage is handed; its work folder is the one that a resume finds, unless it is given another."""
        work = work or self.store.work(step.ancestry)
        work.mkdir(parents=True, exist_ok=True)
        run = Run(
            stage_id=step.node.id,
            seed=step.seed,
            device=self.planner.device if step.node.stage.needs.gpus else "cpu",
            work=work,
            events=self.events,
            random=step.node.stage.random,
            stop=self.stop,
            rebuild=self.rebuild,
            backbone=self.backbone,
            extension=self.planner.plugins.load_extension,
            start=start,
        )
        run.team, run.task = self.team, lambda: self.task_of(step)
        return run

    def input(self, step: Step, start: int) -> Artifact | None:
        """Open a stage's input; pictures that are still being made are read while they are made."""
        given: list[Artifact] = []
        for source in (source for source in step.node.sources if source.side is None):
            live = self.live.get(source.node)
            if live is not None and source.output == "output":
                given.append(live)
            else:
                given.append(self.artifact(self.steps[source.node], source.output))
                self.busy.pop(source.node, None)  # it was made before, not while this stage runs
        if not given:
            return None
        if not isinstance(given[0], Images):
            return given[0]  # a model or a film comes whole, wherever a killed stage goes on
        images = given[0] if len(given) == 1 else JoinedImages([item for item in given if isinstance(item, Images)])
        return from_picture(images, start) if start else images

    def sides(self, step: Step) -> dict[str, Artifact]:
        """What a stage's parameters take from other stages, whole, by the text that names them."""
        found: dict[str, Artifact] = {}
        for source in step.node.sources:
            if source.side is not None:
                found[source.side] = self.artifact(self.steps[source.node], source.output)
                self.busy.pop(source.node, None)
        return found

    def keep(self, step: Step, run: Run, result: Any) -> None:
        """Put a stage's result under `work/outputs/output`, checking that it is what the stage declares."""
        folder = run.work / "outputs" / "output"
        shutil.rmtree(folder, ignore_errors=True)
        kind = step.node.stage.gives["output"]
        if not isinstance(result, KINDS[kind]):
            raise StageError(f"it declares {kind} and returned {type(result).__name__}")
        if isinstance(result, Images):
            writer = ImagesWriter(folder)
            for batch in run.stream(iter(result)):
                writer.append(batch)
            writer.finish(result.fps)
            return
        folder.mkdir(parents=True)
        if isinstance(result, Model):
            _take(result.path, folder / "model.safetensors", run.work)
            _check_model(folder / "model.safetensors")
        elif isinstance(result, Video):
            name = f"film{result.path.suffix}"
            _take(result.path, folder / name, run.work)
            about = {"file": name, "fps": result.fps, "count": result.count}
            (folder / "video.json").write_text(json.dumps(about, sort_keys=True), encoding="utf-8")

    def commit(self, step: Step, run: Run, seconds: float) -> None:
        """Put a finished stage into the store."""
        with Named(step):
            for name in step.node.stage.gives:
                if name != "output":
                    run.sink(name).finish()
            self._check_files(step)
        run.close()
        for source in step.node.sources:
            self.entry(self.steps[source.node])
        key = self.planner.key(step, self.steps)
        assert key is not None
        inputs = [{"from": str(source), "key": self.entry(self.steps[source.node]).key} for source in step.node.sources]
        about = {
            "stage": step.node.stage.name,
            "parts": step.parts,
            "inputs": inputs,
            "choices": run.choices,
            "warnings": run.warnings,
            "skipped": run.skipped,
            "seconds": round(seconds, 3),
            "made_with": made_with() | ({"processes": run.processes} if run.processes > 1 else {}),
            **({"batch": run.batch} if run.batch is not None else {}),
        }
        step.entry = self.store.commit(
            key,
            ancestry=step.ancestry,
            partial=step.partial,
            kinds=dict(step.node.stage.gives),
            work=run.work,
            about=about,
            replace=step.forced,
        )
        step.forced = False
        self.records[step.node.id] = self.record(step, cached=False, seconds=seconds)
        self.events.emit("stage_finished", stage=step.node.id, uses=step.node.stage.name, key=key, seconds=seconds)
        self._remember(step)

    def _check_files(self, step: Step) -> None:
        """Refuse to keep a result under the content of files that are not the same any more.

        Raises:
            ChangedError: if a file that the stage reads is another than when the run began.
        """
        changed = self.planner.changed(step)
        if changed is not None:
            raise ChangedError(f"{changed}: it was changed while the run went on", "run the same command again")

    def _remember(self, step: Step) -> None:
        slot, identity = self.planner.slot(step.node), self.planner.identity(step, self.steps)
        if self.store.recall(slot) != json.loads(json.dumps(identity)):
            self.store.remember(slot, identity)

    # saving

    @contextlib.contextmanager
    def _place(self, save: str, *, make: bool = False) -> Iterator[tuple[Folder, str]]:
        """Yield the folder in which an output stands, held open, and its name in it.

        Raises:
            RefusedError: if a link below the output folder leads there.
        """
        path = PurePosixPath(save)
        with Folder.open(self.out, make=make) as out:
            try:
                folder = out.below(path.parts[:-1], make=make)
            except RefusedError as error:
                raise RefusedError(f"save = '{save}': {error.message}", error.hint) from None
            with folder:
                yield folder, path.name

    def _is_saved(self, step: Step) -> bool:
        """True if the output folder holds this result, unchanged since it was saved."""
        save = str(step.node.save)
        record = self._before.get(save)
        assert step.entry is not None
        if not record or record.get("key") != step.entry.key or record.get("mark") != self._mark(step):
            return False
        return bool(self._hash_of(save) == record.get("sha256"))

    def _hash_of(self, save: str) -> str | None:
        """SHA-256 of what stands under an output name; None if nothing can be read there."""
        if save not in self._hashes:
            try:
                with self._place(save) as (folder, name):
                    self._hashes[save] = _sha256_of_any(folder, name)
            except (OSError, ValueError, RefusedError):
                self._hashes[save] = None
        return self._hashes[save]

    def _save(self, step: Step) -> None:
        assert step.node.save is not None
        entry, unchanged = self.entry(step), self._is_saved(step)
        if not unchanged:
            for other in self._chain(step):
                if not self._known(other):  # another process made the result; what it was made of is still to be told
                    self.entry(other)
        with self._place(step.node.save, make=True) as (folder, name):
            if unchanged:
                sweep(folder, name)
            else:
                with Named(step):
                    artifact = self.artifact(step)
                    save_in(folder, name, artifact, self.provenance(step), kind=self.carrier(artifact))
            with folder.alone():
                sha256 = self._hashes[step.node.save] = _sha256_of_any(folder, name)
                size = _bytes_of(folder, name)
        record = {
            "path": step.node.save,
            "stage": step.node.id,
            "key": entry.key,
            "sha256": sha256,
            "bytes": size,
            "mark": self._mark(step),
        }
        self.saved.append(record)
        fields = {name: record[name] for name in ("stage", "bytes", "sha256")}
        self.events.emit("saved", path=str(self.out / step.node.save), unchanged=unchanged, **fields)

    def carrier(self, artifact: Artifact) -> tags.Format | None:
        """How a film that a plugin writes carries its provenance; None for what genart writes itself."""
        if not isinstance(artifact, Video) or artifact.path.suffix in SUFFIXES["video"]:
            return None
        name = artifact.path.suffix.removeprefix(".")
        writer = self.planner.plugins.film_writer(name)
        if writer.scan is None:
            self.events.emit("note", message=f"a .{name} file has no room to say how it was made")
        return tags.of_writer(name, writer)

    def provenance(self, step: Step) -> dict[str, Any]:
        """What an output says of itself: the chain of stages that made it, with seeds, versions and hashes."""
        recipe = self.planner.recipe
        return {
            "format": FORMAT,
            "genart": __version__,
            "recipe": recipe.name,
            "seed": recipe.seed,
            "stage": step.node.id,
            "device": self.planner.device,
            "torch": step.parts["torch"],
            "stages": [self._told(other) for other in self._chain(step)],
        }

    def _chain(self, step: Step) -> list[Step]:
        """A step and all that it is made of."""
        chain = {step.node.id}
        for other in reversed(self.steps.values()):
            if other.node.id in chain:
                chain.update(source.node for source in other.node.sources)
        return [other for other in self.steps.values() if other.node.id in chain]

    def _known(self, step: Step) -> dict[str, Any]:
        """What is known of a result, which may have been collected; empty if nothing is."""
        if step.entry is not None:
            return step.entry.manifest
        step.note = step.note or self.store.note(step.ancestry)
        return step.note

    def _told(self, step: Step) -> dict[str, Any]:
        manifest = self._known(step)
        outputs = manifest.get("outputs", {})
        told: dict[str, Any] = {
            "id": step.node.id,
            "uses": step.node.stage.name,
            "from": [str(source) for source in step.node.sources if source.side is None],
            "params": step.parts["params"],
            "plugin": {"version": step.parts["code"]["version"], "source": step.parts["code"]["source"][:16]},
            "outputs": {name: about["digest"] for name, about in outputs.items()},
        }
        optional = {"seed": step.parts.get("seed"), "files": _files_of(step), "versions": step.parts["versions"]}
        optional["registered"] = {name: code["source"][:16] for name, code in step.parts.get("registered", {}).items()}
        optional["weights"] = {name: about["weights"] for name, about in outputs.items() if "weights" in about}
        optional |= {name: manifest.get(name) for name in ("choices", "made_with")}
        return told | {name: value for name, value in optional.items() if value}

    def _mark(self, step: Step) -> str:
        """Changes when the provenance inside a saved output would."""
        recipe = self.planner.recipe
        return hashlib.sha256(json.dumps([FORMAT, __version__, recipe.name, recipe.seed, step.ancestry]).encode()).hexdigest()[:16]

    # the run folder

    def record(self, step: Step, *, cached: bool, seconds: float) -> dict[str, Any]:
        """What run.json says of how a result came about."""
        assert step.entry is not None
        manifest = step.entry.manifest
        record = {"id": step.node.id, "uses": step.node.stage.name, "key": step.entry.key, "cached": cached}
        record["seconds"] = round(manifest["seconds"] if cached else seconds, 3)
        return record | {name: manifest[name] for name in ("choices", "warnings", "skipped") if manifest.get(name)}

    def _outcome(self, step: Step) -> dict[str, Any]:
        """What run.json says of a stage beyond what its outputs say; of one that nobody asked for, that it was not needed."""
        reads = list(dict.fromkeys(map(str, step.node.sources)))
        return {"gives": dict(step.node.stage.gives), "reads": reads, **self.records.get(step.node.id, {"cached": True})}

    def _read_run_json(self) -> dict[str, Any]:
        try:
            with Folder.open(self.out) as out, out.read(RUN_JSON) as file:
                found = unsealed(json.loads(file.read()), RUN_JSON)
            if not found:
                return {}
            self._stages_before = {
                str(stage["id"]): {**stage, "reads": list(map(str, stage["reads"])), "outputs": dict(stage["outputs"])}
                for stage in found["stages"]
            }
            return {str(record["path"]): {**record, "stage": str(record["stage"])} for record in found["outputs"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def _write_run_json(self, seconds: float) -> None:
        """Describe the run that made what is here; a run that made and saved nothing new leaves that description alone."""
        if self.out.is_dir():
            with Folder.open(self.out) as out:
                sweep(out, RUN_JSON)
        stages = [self._told(step) | self._outcome(step) for step in self.steps.values()]
        more_stages, more_outputs = self._carried(stages)
        outputs = [*self.saved, *more_outputs]
        if self._nothing_new(outputs):
            return
        recipe = self.planner.recipe
        names = ("torch", "torchvision", "kornia", "numpy", "pillow", "av")
        document = {
            "recipe": recipe.name,
            "description": recipe.description,
            "seed": recipe.seed,
            "genart": __version__,
            "versions": {name: version_of(name) for name in names},
            "device": self.planner.device,
            "seconds": round(seconds, 3),
            "stages": [*stages, *more_stages],
            "outputs": outputs,
        }
        with Folder.open(self.out, make=True) as out:
            out.write(RUN_JSON, json.dumps(sealed(utf8(document), RUN_JSON), indent=1).encode())

    def _carried(self, stages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What earlier runs saved and this one has nothing to do with, as with --until: if it is still there, made of the same results.

        Args:
            stages: of this run, as run.json tells of them.

        Returns:
            (stages that are none of this run, outputs), as run.json told of them.
        """
        before, now = self._stages_before, {stage["id"]: stage for stage in stages}
        saved = {record["path"] for record in self.saved}
        kept: set[str] = set()
        outputs = []
        for path, record in self._before.items():
            chain = _chain_told(before, record["stage"])
            holds = all(now.get(node, before[node])["outputs"] == before[node]["outputs"] for node in chain)
            inside = path not in saved and not PurePosixPath(path).is_absolute()
            if holds and inside and self._hash_of(path) == str(record.get("sha256")):
                outputs.append(record)
                kept |= chain
        return [stage for node, stage in before.items() if node in kept - now.keys()], outputs

    def _nothing_new(self, outputs: list[dict[str, Any]]) -> bool:
        same = {record["path"]: record for record in outputs} == self._before
        return same and bool(self._before) and all(record["cached"] for record in self.records.values())


class Executor(Protocol):
    """Makes the results that a run lacks; the runner saves them, and does not know which executor it has."""

    def results(self, runner: Runner) -> Iterator[Step]:
        """Make what is not there yet.

        Args:
            runner: knows the steps, the store, who is told, and whether to stop.

        Yields:
            Each step whose result is there now, in an order in which none comes before what it reads.
        """

    def close(self) -> None:
        """Stop what still runs and let go of everything; called once, whatever happened."""


class Local:
    """This process makes everything, one stage after another; pictures flow from a stage into the next while they are made."""

    def results(self, runner: Runner) -> Iterator[Step]:
        """Make what is not there yet; see `Executor`."""
        for step in runner.wanted():
            if step.entry is None and runner.may_wait(step):
                runner.begin(step)
            else:
                runner.entry(step)
                yield step
        for step in runner.waiting():
            runner.entry(step)
            yield step

    def close(self) -> None:
        """Nothing is held."""


class LiveImages(Images):
    """Pictures of a stage that has not finished: the first reader drives the stage, and the store gets every picture on its way."""

    def __init__(self, runner: Runner, step: Step, *, locked: bool = False) -> None:
        self.runner = runner
        self.step = step
        self._locked = locked
        self._run: Run | None = None
        self._flow: Iterator[Batch] | None = None
        self._head: list[Batch] = []
        self._synced_at = 0.0
        self.finished = False

    @property
    def choices(self) -> dict[str, Any]:
        """What the stage has chosen so far, while it runs."""
        return self._run.choices if self._run else {}

    @property
    def count(self) -> int | None:  # type: ignore[override]
        """Number of pictures, if the stage says it beforehand."""
        self._prime()
        return self._entry().count if self.finished else self._run.count if self._run else None

    @property
    def fps(self) -> float | None:  # type: ignore[override]
        """Frames per second, for a film."""
        self._prime()
        return self._entry().fps if self.finished else self._run.fps if self._run else None

    def _entry(self) -> StoredImages:
        artifact = self.runner.artifact(self.step)
        assert isinstance(artifact, StoredImages)
        return artifact

    def batches(self, size: int | None = None, *, start: int = 0) -> Iterator[Batch]:
        """Yield batches from picture `start` on: fresh from the stage for the first reader, from the store for others."""
        if self.finished or (self._flow is not None and not self._head):
            yield from self.settled().batches(size, start=start)
            return
        self._prime()
        if self.finished:
            yield from self._entry().batches(size, start=start)
            return
        assert self._flow is not None
        head, self._head = self._head, []
        place = start
        for batch in itertools.chain(head, self._flow):
            part = batch.part(max(0, start - batch.start), len(batch)) if batch.start < start else batch
            place = max(place, batch.start + len(batch))
            if len(part):
                yield from (part.part(i, i + size) for i in range(0, len(part), size)) if size else (part,)
        # a second reader may have driven the stage to its end meanwhile; the rest is in the store
        yield from self._entry().batches(size, start=place)

    def settled(self) -> Images:
        """Make the sequence to its end and return it as read from the store."""
        self.finish()
        return self._entry()

    def _prime(self) -> None:
        """Start the stage as far as its first batch, after which it has said how many pictures there will be."""
        if self._flow is None and not self.finished:
            self._flow = self._pictures()
            self._head = list(itertools.islice(self._flow, 1))

    def finish(self) -> None:
        """Make what is left of the sequence and put it into the store."""
        if self.finished:
            return
        self._prime()
        self._head = []
        assert self._flow is not None
        for _ in self._flow:
            pass
        self.runner.live.pop(self.step.node.id, None)

    def _pictures(self) -> Iterator[Batch]:
        """Make the pictures, under the lock of their work folder, and commit them at the end."""
        if self._locked:
            yield from self._made()
            return
        with self.runner.locked(self.step):
            if self.runner.found(self.step):
                self.finished = True
                self.runner.note_cached(self.step)
            else:
                yield from self._made()

    def _made(self) -> Iterator[Batch]:
        """Make the pictures; those that were given already are passed over if the stage has to begin anew."""
        given = 0
        try:
            for batch in self._attempt():
                given = batch.start + len(batch)
                yield batch
        except LostWorkError:
            self.runner.begin_anew(self.step)
            for batch in self._attempt():
                if batch.start + len(batch) > given:
                    yield batch.part(max(0, given - batch.start), len(batch))

    def _attempt(self) -> Iterator[Batch]:
        runner, step = self.runner, self.step
        sides = runner.sides(step)
        resumed = self._synced_at = time.monotonic()
        busy = 0.0
        writer = ImagesWriter(runner.store.work(step.ancestry) / "outputs" / "output")
        if not step.node.stage.pointwise:
            writer.truncate(0)
        run = self._run = runner.new_run(step, start=writer.count)
        run.sides, run.made = sides, writer.picture
        runner.announce(step, run.start, resumed=run.checkpoints.any)
        try:
            with Named(step):
                given = runner.input(step, run.start)
                made = run.stream(step.node.stage(given, step.node.params, run))
                ahead = list(itertools.islice(made, 1))  # so that run.expect has been heard
                for batch in itertools.chain(writer.kept(), map(writer.append, itertools.chain(ahead, made))):
                    runner.surroundings.restore()
                    busy += time.monotonic() - resumed
                    runner.busy[step.node.id] = busy
                    yield batch
                    resumed = time.monotonic()
                    if resumed - self._synced_at > SYNC_EVERY:
                        writer.sync()
                        self._synced_at = resumed
                runner.surroundings.restore()
                writer.finish(run.fps)
            busy += time.monotonic() - resumed
            runner.busy[step.node.id] = busy
            runner.commit(step, run, busy - runner._upstream_sec(step))
            self.finished = True
        except BaseException:
            runner.surroundings.restore()
            _sync_quietly(writer)
            raise
        finally:
            writer.close()
            run.close()

    def close(self) -> None:
        """Stop making pictures; those that are there are kept for a resume."""
        if self._flow is not None and hasattr(self._flow, "close"):
            self._flow.close()


class Named:
    """Says which stage an error came from, and turns what a plugin raised into an error with an exit code."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | Interrupted | GeneratorExit):
            return
        node = self.step.node
        where = f"stage '{node.id}'" + (f" ({node.stage.name})" if node.id != node.stage.name else "")
        if not isinstance(error, GenartError):
            named = _explain(error, where)
            named.stage_named = True
            raise named from error
        if not error.stage_named:  # the same error, of whatever kind a plugin made for itself
            error.message, error.stage_named = f"{where}: {error.message}", True


class Surroundings:
    """What belongs to the whole process: a stage may not change it for those that come after it."""

    def __init__(self) -> None:
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._folder: str | None = None
        with contextlib.suppress(OSError):  # it may be gone
            self._folder = os.getcwd()
        self._mask = os.umask(0)
        os.umask(self._mask)

    def restore(self) -> None:
        """Put back what a stage has changed."""
        sys.stdin, sys.stdout, sys.stderr = self._streams
        os.umask(self._mask)
        torch = sys.modules.get("torch")
        if torch is not None and torch.get_default_dtype() is not torch.float32:
            torch.set_default_dtype(torch.float32)
        with contextlib.suppress(OSError):
            if self._folder is not None and (not os.path.exists(".") or os.getcwd() != self._folder):
                os.chdir(self._folder)


def _take(path: Path, target: Path, work: Path) -> None:
    """Move a file from a stage's work folder, or copy one from elsewhere: that is somebody's."""
    if path.resolve().is_relative_to(work.resolve()):
        os.replace(path, target)
    else:
        shutil.copyfile(path, target)


def _check_model(path: Path) -> None:
    """Open a model that a stage gave.

    Raises:
        StageError: if it is no model.
        ResourceError: if the system did not give what lies there, which is not the stage's fault.
    """
    try:
        Model.open(path)
    except DataError as error:
        if isinstance(error.__cause__, OSError) and is_regular(path):
            unsaid = ResourceError(
                "the system does not open the model that it gave", "there may be too many open files; raise the limit with `ulimit -n`"
            )
            raise resource_error(error.__cause__) or unsaid from None  # safetensors says of every failure that there is no file
        raise StageError(f"it gave a model that cannot be read: {error.message.removeprefix(f'{path}: ')}") from None


def _explain(error: BaseException, where: str) -> GenartError:
    words = _words(error)
    if isinstance(error, MemoryError) or "allocate memory" in words or "out of memory" in words.lower():
        return ResourceError(f"{where}: out of memory", "use a smaller resolution, width or batch_size")
    if isinstance(error, OSError) and (known := resource_error(error)) is not None:
        return ResourceError(f"{where}: {known.message}", known.hint)
    first = (words.splitlines() or [""])[0][:300]
    return StageError(f"{where} failed: {type(error).__name__}: {first}", "run with --debug for the traceback")


def _words(error: BaseException) -> str:
    """What an error says, if it can say anything."""
    try:
        return str(error)
    except Exception:
        return ""


def _files_of(step: Step) -> dict[str, Any]:
    """What the stage's parameters read, by parameter: names and contents of files, ids of other stages; a list where there may be many."""
    sides = {source.side for source in step.node.sources}
    found: dict[str, list[dict[str, str]]] = {}
    for name, path in input_paths(step.node.params):
        content = step.parts["files"][name][len(found.setdefault(name, []))]
        found[name].append({"stage": str(path)} if str(path) in sides else {"name": name_of(path), "content": content})
    many = {name for name in found if isinstance(getattr(step.node.params, name), tuple | list)}
    return {name: records if name in many else records[0] for name, records in found.items()}


def _chain_told(stages: dict[str, Any], last: str) -> set[str]:
    """Ids of a stage and of all that it is made of, by what run.json tells of stages, in order."""
    chain = {last}
    for node, stage in reversed(stages.items()):
        if node in chain:
            chain |= {text if text in stages else text.rpartition(".")[0] for text in stage["reads"]}
    return chain & stages.keys()


def _sync_quietly(writer: ImagesWriter) -> None:
    try:
        writer.sync()
    except (OSError, ValueError):  # the disk may be what failed
        return


def _sha256_of_any(folder: Folder, name: str) -> str | None:
    """SHA-256 of a file, or of a folder's names and contents; None if neither is there."""
    kind = folder.kind(name)
    if kind == "folder":
        total = hashlib.sha256()
        with folder.below([name]) as inside:
            for file in inside.names():
                content = _sha256_in(inside, file) if inside.kind(file) == "file" else "not a file"  # somebody put it there
                total.update(f"{file}\0{content}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()
    return _sha256_in(folder, name) if kind == "file" else None


def _sha256_in(folder: Folder, name: str) -> str:
    with folder.read(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_of(folder: Folder, name: str) -> int:
    """Size of a file, or of all in a folder; nothing for what is neither."""
    if folder.kind(name) == "folder":
        with folder.below([name]) as inside:
            return sum(_bytes_of(inside, file) for file in inside.names() if inside.kind(file) == "file")
    return folder.size(name)
