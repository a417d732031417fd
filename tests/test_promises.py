"""`check_stage` sees each promise that a stage breaks, and passes those that keep them."""

from __future__ import annotations

import random
import shutil
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field

from genart import Batch, Images, Model, Params, Run, Video, stage
from genart.plugins import Plugins
from genart.testing import broken_promises, check_stage, run_stage, tiny_images

from .conftest import TOYS
from .trainings import untrained


class Secret(Params):
    amount: float = Field(0.5, description="Told.")
    hidden: float = Field(0.5, description="Not told.", exclude=True)


def each(images: Images, run: Run) -> Iterator[Batch]:
    run.expect(images.count, images.fps)
    yield from images


@stage("bad.global", pointwise=True)
def global_state(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from everybody's random numbers."""
    for batch in each(images, run):
        yield batch.with_pixels((batch.pixels + 0.1 * torch.rand_like(batch.pixels)).clamp(0, 1))


@stage("bad.python_random", pointwise=True)
def python_random(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from Python's."""
    random.random()
    yield from each(images, run)


@stage("bad.numpy_random", pointwise=True)
def numpy_random(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Draws from NumPy's."""
    np.random.rand()  # noqa: NPY002
    yield from each(images, run)


@stage("bad.alters", pointwise=True)
def alters(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Writes into what it was given."""
    for batch in each(images, run):
        batch.array[:] = 255 - batch.array
        yield batch


@stage("bad.forgets", pointwise=True)
def forgets(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Drops the metadata."""
    for batch in each(images, run):
        yield Batch(batch.pixels, start=batch.start)


@stage("bad.batch", pointwise=True)
def by_batch(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Subtracts the mean of the batch."""
    for batch in each(images, run):
        yield batch.with_pixels((batch.pixels - batch.pixels.mean() + 0.5).clamp(0, 1))


@stage("bad.counts", pointwise=True)
def counts(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Counts the pictures it has seen instead of asking for their index."""
    seen = 0
    for batch in each(images, run):
        for i in range(len(batch)):
            seen += 1
            part = batch.part(i, i + 1)
            yield part.with_pixels(part.pixels * (seen / 10))


@stage("bad.range", pointwise=True)
def beyond(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Gives [-1, 1]."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels * 2 - 1)


@stage("bad.nan", pointwise=True)
def nan(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Divides by nothing."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels / 0 * 0)


@stage("bad.shape", pointwise=True)
def shape(images: Images, params: None, run: Run) -> Iterator[Batch]:
    """Gives one channel."""
    for batch in each(images, run):
        yield batch.with_pixels(batch.pixels[:, :1])


@stage("bad.kind")
def kind(images: Images, params: None, run: Run) -> Video:
    """Gives pictures."""
    return images  # type: ignore[return-value]


@stage("bad.clock")
def clock(images: Images, params: None, run: Run) -> Model:
    """Writes down how often it was called."""
    counted.append(1)
    return run.model({"x": torch.tensor([float(len(counted))])}, family="bad", parameters={})


counted: list[int] = []


@stage("bad.secret", pointwise=True)
def secret(images: Images, params: Secret, run: Run) -> Iterator[Batch]:
    """Has a parameter that no key knows."""
    yield from each(images, run)


@stage("bad.resume", random=True)
def resume(images: Images, params: None, run: Run) -> Model:
    """Saves what it has summed, and forgets where it was."""
    loaded = run.checkpoints.load()
    total = loaded[0]["total"] if loaded else torch.zeros(1)
    for step in range(6):
        total = total + torch.rand(1, generator=run.generator("step", step))
        run.checkpoints.save({"total": total}, {})
        run.metric(step=step)
    return run.model({"total": total}, family="bad", parameters={})


BROKEN = (
    (global_state, "global random state"),
    (python_random, "global random state"),
    (numpy_random, "global random state"),
    (alters, "alters its input"),
    (forgets, "metadata are lost: number"),
    (by_batch, "the size of the batches changes the result"),
    (counts, "going on after 3 pictures gives others"),
    (beyond, "values from -1.00 to 1.00"),
    (nan, "NaN"),
    (shape, "must be (N, 3 or 4, H, W)"),
    (kind, "declared as video, and is images"),
    (clock, "the same input, parameters and seed give another result"),
    (secret, "'hidden' is left out"),
    (resume, "run again, it ends in another result"),
)


@pytest.mark.parametrize(("bad", "says"), BROKEN, ids=[bad.name for bad, _ in BROKEN])
def test_a_broken_promise_is_named(bad: Any, says: str, tmp_path: Any) -> None:
    with pytest.raises(AssertionError) as told:
        check_stage(bad, tiny_images(), work=tmp_path)
    assert says in str(told.value)


TRAIN = {"width": 4, "batch_size": 8, "kimg": 0.08, "precision": "fp32", "evaluations": 0}
DRAWN = {"resolution": 32, "count": 2}
#: Small parameters of every stage; a text that begins with @ stands for a file, one of `sides` for what is below.
SMALL: dict[str, dict[str, Any]] = {
    "augment": {"ops": ["RandomHorizontalFlip", "ColorJitter"]},
    "augment.preview": {"op": {"op": "RandomRotation", "degrees": 30}, "columns": 2, "count": 2},
    "dcgan.train": TRAIN,
    "images.archive": {"path": "@pictures.zip"},
    "images.folder": {"path": "@pictures"},
    "images.grid": {"columns": 2},
    "images.resize": {"resolution": 8},
    "images.samples": {"photos": ["cat"], "crop": 16, "count": 4},
    "images.sheet": {"pictures": ["pictures"], "sides": ("pictures",)},
    "images.torchvision": {"name": "MNIST", "path": "@data"},
    "images.video": {"path": "@film.mp4"},
    "latent.audio": {"path": "@sound.wav", "fps": 4},
    "latent.directions": {"count": 2, "steps": 3},
    "latent.grid": {"count": 4, "columns": 2},
    "latent.model": {"path": "@dcgan.safetensors"},
    "latent.project": {"model": "dcgan", "sides": ("dcgan",), "iterations": 3, "starts": 1},
    "latent.sample": {"count": 4},
    "latent.walk": {"frames": 4, "keys": 2},
    "metrics.quality": {"real": "pictures", "sides": ("pictures",), "k": 2},
    "msggan.train": TRAIN,
    "procedural.cells": {**DRAWN, "points": 20},
    "procedural.flow": DRAWN,
    "procedural.mosaic": {"points": 20},
    "procedural.reaction": {**DRAWN, "steps": 100},
    "procedural.strokes": {},
    "procedural.warp": DRAWN,
    "progan.train": TRAIN,
    "projected.train": TRAIN,
    "style.apply": {"model": "painter", "sides": ("painter",)},
    "style.compare": {"style_photos": "tissue", "resolution": 64},
    "style.instant": {"preset": 19},
    "style.learn": {"style_photos": "tissue", "iterations": 4, "width": 8, "resolution": 32, "batch_size": 1},
    "style.transfer": {"style_photos": "tissue", "iterations": 3, "scales": 1},
    "stylegan.train": TRAIN,
    "toy.invert": {},
    "toy.train": {"steps": 5},
    "vae.reconstruct": {"model": "vae", "sides": ("vae",)},
    "vae.train": TRAIN,
    "vae.walk": {"model": "vae", "sides": ("vae",), "frames": 4},
    "video.assemble": {"format": "gif"},
    "video.frames": {},
}
#: What takes more than some seconds.
SLOW = {name for name in SMALL if name.endswith(".train") and name != "toy.train"} | {
    "latent.project",
    "metrics.quality",
    "style.compare",
    "style.learn",
    "style.transfer",
}
#: What a stage does not promise: latent.project draws another picture, of which seeds and numbers of the first would not be true.
OTHERWISE = {"latent.project": ["metadata are lost: number of picture 0; `batch.with_pixels` keeps them"]}
STAGES = [stage.name for stage in Plugins().stages()]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What parameters may take from other stages."""
    from genart_dcgan.networks import Generator
    from genart_style.networks import StyleNetwork
    from genart_vae.networks import Autoencoder

    work, given = tmp_path_factory.mktemp("sides"), {"resolution": 16, "width": 4, "z_dim": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        painter = StyleNetwork(8, 2)
        return {
            "pictures": tiny_images(),
            "dcgan": untrained(Generator(**given), work, "dcgan", **given),
            "vae": untrained(Autoencoder(**given), work, "vae", **given),
            "painter": untrained(painter, work, "style", **painter.arguments),
        }


@pytest.fixture(scope="module")
def files(sides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, the same in a ZIP, a data set, a film, a sound and a model."""
    root = tmp_path_factory.mktemp("files")
    (root / "pictures").mkdir()
    for i, picture in enumerate(tiny_images().array()):
        Image.fromarray(picture).save(root / "pictures" / f"{i}.png")
    shutil.make_archive(str(root / "pictures"), "zip", root / "pictures")
    raw = root / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    numbers = np.arange(4 * 28 * 28, dtype=np.uint8).tobytes()
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 4, 28, 28) + numbers)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI4B", 0, 0, 8, 1, 4, 3, 0, 9, 3))
    with wave.open(str(root / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((9000 * np.sin(np.arange(8000) / 3)).astype("<i2").tobytes())
    film = run_stage(Plugins().stage("video.assemble"), tiny_images(), work=root / "film", format="mp4")["output"]
    shutil.copy(film.path, root / "film.mp4")
    shutil.copy(sides["dcgan"].path, root / "dcgan.safetensors")
    return root


def test_every_stage_has_small_parameters() -> None:
    assert sorted({*SMALL} - {"toy.invert", "toy.train"}) == STAGES


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SMALL])
def test_stages_keep_their_promises(name: str, sides: dict[str, Any], files: Path, tmp_path: Path) -> None:
    stage = Plugins((TOYS,)).stage(name)
    options = {key: str(files / value[1:]) if str(value).startswith("@") else value for key, value in SMALL[name].items()}
    options["sides"] = {side: sides[side] for side in options.get("sides", ())}
    given = {None: None, "images": tiny_images(size=32 if stage.family == "style" else 16), "model": sides["dcgan"]}[stage.takes]
    assert list(broken_promises(stage, given, work=tmp_path, rebuild=Plugins().rebuild, **options)) == OTHERWISE.get(name, [])
