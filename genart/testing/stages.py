"""Run a stage alone, without recipe, store or command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genart.artifacts import Artifact, Batch, Images, Model, StoredImages, from_picture
from genart.events import Events
from genart.params import Params, resolve
from genart.plugins import Plugins
from genart.run import Run, Stop
from genart.stages import Stage


def run_stage(
    stage: Stage,
    given: Artifact | None = None,
    *,
    work: Path,
    seed: int = 0,
    device: str = "cpu",
    observer: Callable[[dict[str, Any]], None] | None = None,
    rebuild: Callable[[Model, str], Any] | None = None,
    backbone: Callable[[str, str], Any] | None = None,
    extension: Callable[[str, str], Any] | None = None,
    sides: dict[str, Artifact] | None = None,
    kept: Images | None = None,
    stop: Stop | None = None,
    **params: Any,
) -> dict[str, Artifact]:
    """Run one stage and return its outputs by name; pictures are held in memory.

    Args:
        stage: what `@genart.stage` returned.
        given: its input.
        work: an empty folder, or the one of an earlier call that was stopped.
        seed: the stage's seed.
        device: "cpu", "cuda" or "mps".
        observer: called with every event.
        rebuild: how to rebuild models, for stages that call `run.load`.
        backbone: how to load a backbone by name on a device; by default from the installed plugins.
        extension: how to import what plugins register, by hook and name; by default from the installed plugins.
        sides: what parameters take from other stages, by the id that stands in `params`.
        kept: pictures that the stage gave before it was killed: it goes on after them, and gives the rest.
        stop: set its `signal`, and the stage ends at the next safe place.
        params: the stage's parameters, as a recipe would give them.
    """
    run = Run(
        stage_id=stage.name,
        seed=seed,
        device=device,
        work=work,
        events=Events(*([observer] if observer else [])),
        random=stage.random,
        rebuild=rebuild,
        backbone=backbone or Plugins().load_backbone,
        extension=extension or Plugins().load_extension,
        start=0 if kept is None else len(kept),
        stop=stop,
    )
    run.sides = sides or {}
    if kept is not None:
        run.made = kept.__getitem__
        given = from_picture(given, run.start) if isinstance(given, Images) else given
    try:
        return _outputs(stage, given, resolve(stage.params, stage.name, params), run)
    finally:
        run.close()


def _outputs(stage: Stage, given: Artifact | None, params: Params, run: Run) -> dict[str, Artifact]:
    result = stage(given, params, run)
    if stage.streams:
        result = Images.from_batches(list(run.stream(result)), run.fps)
    outputs: dict[str, Artifact] = {"output": result}
    for name, sink in run.sinks.items():
        sink.finish()
        outputs[name] = StoredImages(sink.folder)
    return outputs


def tiny_images(count: int = 6, size: int = 16, channels: int = 3) -> Images:
    """Smooth coloured pictures, each different, for tests: (count, channels, size, size)."""
    import torch

    ramp = torch.linspace(0, 1, size)
    pictures = []
    for i in range(count):
        shift = i / max(1, count)
        red = (ramp[None, :] + shift) % 1.0
        green = ramp[:, None].expand(size, size)
        blue = (red + green) / 2
        alpha = torch.ones(size, size)
        pictures.append(torch.stack([red.expand(size, size), green, blue, alpha])[:channels])
    return Images.from_batches([Batch(torch.stack(pictures), [{"number": i} for i in range(count)])])
