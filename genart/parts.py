"""Pictures or frames of a stage in parts: made apart from each other, kept in the store, and joined to what one process would have made."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from typing import Any

from .artifacts import Batch, Images, ImagesWriter, StoredImages, Video, sealed, write_sealed
from .errors import GenartError, StageError
from .plan import Step, hash_of
from .run import CHOICES, Run
from .runner import Named, Runner
from .store import Entry
from .tasks import Part, Task

#: What the stage of a part is called in the store, and the file that holds pieces of a film.
SUFFIX, PIECE = " (part)", "piece"


class NotApart(StageError):
    """The pictures of a stage depend on each other after all; they cannot be made in parts."""


def may_split(step: Step) -> bool:
    """True for a stage whose pictures or frames may be made apart, as far as it declares."""
    stage = step.node.stage
    apart = stage.streams and stage.pointwise if stage.pieces is None else stage.pieces().applies(step.node.params)
    return apart and not step.forced


def shelf_of(key: str) -> str:
    """Key under which the parts of a result are found."""
    return hash_of({"parts of": key})


def make(runner: Runner, step: Step, task: Task) -> Part:
    """Make some pictures or frames of a stage and put them into the store as an entry of their own.

    Args:
        runner: of this process; the inputs are in its store.
        step: the stage.
        task: which ones.

    Raises:
        NotApart: if the stage wants to see a picture that it made before, or its film is a single piece.
    """
    key = runner.planner.key(step, runner.steps)
    assert key is not None
    began = time.monotonic()
    with runner.store.scratch() as work:
        if task.choices:
            (work / CHOICES).write_text(json.dumps(sealed(task.choices, CHOICES)), encoding="utf-8")
        run = runner.new_run(step, start=task.start, work=work)
        run.sides, run.made = runner.sides(step), _not_apart
        if task.stop is None:
            run.heard_apart = lambda: _tell_apart(runner, run)
        try:
            with Named(step):
                made = (_pictures if step.node.stage.pieces is None else _pieces)(runner, step, run, task, began)
        finally:
            runner.surroundings.restore()
            run.close()
        about = {
            "start": task.start,
            **made,
            "fps": run.fps,
            "choices": run.choices,
            "warnings": run.warnings,
            "skipped": run.skipped,
            "seconds": round(time.monotonic() - began, 3),
            "early": run.batch is not None,
        }
        return _kept(runner, step, run, shelf_of(key), about)


def _kept(runner: Runner, step: Step, run: Run, shelf: str, about: dict[str, Any]) -> Part:
    key = hash_of({"shelf": shelf, "start": about["start"], "stop": about["stop"], "choices": about["choices"]})
    stage = step.node.stage
    about = {"stage": stage.name + SUFFIX, **about}
    return part_of(runner.store.commit_part(key, shelf=shelf, kinds=dict(stage.gives), work=run.work, about=about))


def part_of(entry: Entry) -> Part:
    """What an entry of the store says of the part that it holds."""
    names = Part.__dataclass_fields__.keys() - {"key"}
    return Part(key=entry.key, **{name: entry.manifest[name] for name in names & entry.manifest.keys()})


def _pictures(runner: Runner, step: Step, run: Run, task: Task, began: float) -> dict[str, Any]:
    """Make the pictures that are asked for; returns what the part is to say of itself."""
    with closing(ImagesWriter(run.work / "outputs" / "output")) as writer:
        batch, ended = _fill(writer, runner, step, run, task, began)
        writer.finish(run.fps, durable=False)
        for name in step.node.stage.gives:
            run.sink(name).finish(durable=False) if name != "output" else None
        return {"stop": task.start + writer.count, "count": run.count, "batch": batch, "ended": ended}


def _pieces(runner: Runner, step: Step, run: Run, task: Task, began: float) -> dict[str, Any]:
    """Make the pieces of a film that are asked for, at least one; returns what the part is to say of itself."""
    assert step.node.stage.pieces is not None
    pieces, images, params = step.node.stage.pieces(), runner.input(step, 0), step.node.params
    assert isinstance(images, Images)
    count = pieces.count(images, params, run)
    if count <= pieces.size:
        raise NotApart("the film is a single piece")
    run.expect(count)
    run.apart(pieces.size)
    folder = run.work / "outputs" / "output"
    folder.mkdir(parents=True)
    stop = pieces.size if task.stop is None else task.stop  # of the first, which says how many there are, one is enough
    pieces.make(images, params, run, range(task.start, stop), folder / PIECE)
    about = {"file": PIECE, "fps": images.fps or 0.0, "count": stop - task.start}
    (folder / "video.json").write_text(json.dumps(about), encoding="utf-8")
    return {"stop": stop, "count": count, "batch": pieces.size, "ended": stop == count}


def _fill(writer: ImagesWriter, runner: Runner, step: Step, run: Run, task: Task, began: float) -> tuple[int, bool]:
    """Write the pictures that are asked for; returns how many the stage makes at once, and whether there are none after them."""
    given = runner.input(step, task.start)
    first = 0
    with closing(_stream(run, step.node.stage(given, step.node.params, run))) as flow:
        for batch in flow:
            first = first or len(batch)
            wanted = len(batch) if task.stop is None else min(len(batch), task.stop - batch.start)
            writer.append(batch if wanted == len(batch) else batch.part(0, wanted))
            over = task.stop is None and (run.batch is not None or time.monotonic() - began > task.seconds)
            if over or task.start + writer.count == task.stop:
                return first, run.count == task.start + writer.count
    return first, True


def _tell_apart(runner: Runner, run: Run) -> None:
    """Tell the driver with what the others can begin; the first part ends with its first batch then."""
    runner.events.emit("apart", stage=run.stage_id, count=run.count, batch=run.batch, choices=run.choices)


def _stream(run: Run, made: Any) -> Generator[Batch, None, None]:
    with closing(made) if hasattr(made, "close") else nullcontext():
        yield from run.stream(made)


def _not_apart(index: int) -> Batch:
    raise NotApart(f"picture {index} is needed for the next one")


def found(runner: Runner, step: Step) -> list[Part]:
    """Parts of a result that were made, in order, none over another, and all of the same choices; not verified."""
    key = runner.planner.key(step, runner.steps)
    assert key is not None
    known = sorted(map(part_of, runner.store.similar(shelf_of(key))), key=lambda part: (part.start, -part.stop))
    chain: list[Part] = []
    choices: dict[str, Any] = {}
    for part in known:
        if part.start >= (chain[-1].stop if chain else 0) and part.stop > part.start and _agree(choices, part.choices):
            chain.append(part)
            choices = part.choices | choices
    return chain


def total_of(parts: Sequence[Part]) -> int | None:
    """How many pictures there are to be, as far as some of the parts tell."""
    return next((part.stop for part in parts if part.ended), parts[0].count if parts else None)


def _agree(some: dict[str, Any], others: dict[str, Any]) -> bool:
    """True if two parts may be of one result: what both have chosen is the same."""
    return all(some[name] == others[name] for name in some.keys() & others.keys())


def missing(parts: Sequence[Part], total: int) -> list[range]:
    """Pictures that are in none of the parts, which are in order."""
    ends = [0, *(part.stop for part in parts)]
    starts = [*(part.start for part in parts), total]
    return [range(end, start) for end, start in zip(ends, starts, strict=True) if start > end]


def join(runner: Runner, step: Step) -> bool:
    """Put all pictures of a stage together, commit them as its result, and forget the parts. Each is verified before it is read.

    Args:
        runner: of this process; the inputs are in its store.
        step: the stage.

    Returns:
        False if parts are missing, or were damaged: these are thrown away.
    """
    with runner.locked(step):
        parts = found(runner, step)
        if not runner.found(step):
            total = total_of(parts)
            if total is None or missing(parts, total):
                return False
            runner.store.drop_work(step.ancestry)
            if not _joined(runner, step, parts):
                return False
        else:
            runner.note_cached(step)
    forget(runner, step)
    return True


def _joined(runner: Runner, step: Step, parts: Sequence[Part]) -> bool:
    work = runner.store.work(step.ancestry)
    choices = _merged(parts)
    if choices:
        work.mkdir(parents=True, exist_ok=True)
        write_sealed(work / CHOICES, choices)
    run = runner.new_run(step)
    run.warnings = list(dict.fromkeys(text for part in parts for text in part.warnings))
    run.skipped = [dict(pairs) for pairs in dict.fromkeys(tuple(item.items()) for part in parts for item in part.skipped)]
    run.batch = parts[0].batch if parts[0].early else None
    try:
        stage = step.node.stage
        in_pieces = stage.pieces is not None
        whole = _join_pieces(runner, step, parts, run) if in_pieces else all(_join_output(runner, parts, name, run) for name in stage.gives)
        if not whole:
            return False
        runner.commit(step, run, sum(part.seconds for part in parts))
    finally:
        run.close()
    return True


def forget(runner: Runner, step: Step) -> None:
    """Take all parts of a result out of the store."""
    key = runner.planner.key(step, runner.steps)
    assert key is not None
    runner.store.forget_parts(shelf_of(key))


def _merged(parts: Sequence[Part]) -> dict[str, Any]:
    choices: dict[str, Any] = {}
    for part in parts:
        choices |= {name: value for name, value in part.choices.items() if name not in choices}
    return choices


def _join_pieces(runner: Runner, step: Step, parts: Sequence[Part], run: Run) -> bool:
    """Verify all parts of a film, and put it together; False if one is missing or damaged."""
    assert step.node.stage.pieces is not None
    entries = [runner.store.find(part.key) for part in parts]
    there = [entry for entry in entries if entry is not None and runner.store.verified(entry)]
    if len(there) < len(parts):
        return False
    try:
        films = [entry.artifact("output") for entry in there]
        with Named(step):
            paths = [film.path for film in films if isinstance(film, Video)]
            runner.keep(step, run, step.node.stage.pieces().join(paths, step.node.params, run))
    except (FileNotFoundError, GenartError):
        if all(entry.folder.exists() for entry in there):
            raise
        return False  # a clean-up took it away this moment
    return True


def _join_output(runner: Runner, parts: Sequence[Part], output: str, run: Run) -> bool:
    writer = ImagesWriter(run.work / "outputs" / "output") if output == "output" else run.sink(output)
    whole = True
    try:
        for part in parts:
            whole &= _append(runner, part, output, writer if whole else None)
        if whole:
            writer.finish(parts[0].fps if output == "output" else None)
    finally:
        writer.close()
    return whole


def _append(runner: Runner, part: Part, output: str, writer: ImagesWriter | None) -> bool:
    """Verify a part, and append its pictures; False if it is missing or damaged."""
    entry = runner.store.find(part.key)
    if entry is None or not runner.store.verified(entry):
        return False
    if writer is not None:
        try:
            images = entry.artifact(output)
            assert isinstance(images, StoredImages)
            writer.extend(images)
        except FileNotFoundError:  # a clean-up took it away this moment
            return False
    return True
