"""A plugin of toy stages, fast and deterministic, for the tests of the core; given to the command line with `-p`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

import genart


def log(text: str) -> None:
    """Note what has been made, so that a test can count it."""
    if path := os.environ.get("TOY_LOG"):
        with open(path, "a") as file:
            file.write(text + "\n")


class NoiseParams(genart.Params):
    """Parameters of toy.noise."""

    count: int = Field(6, ge=0, description="Number of pictures.")
    size: int = Field(8, ge=1, description="Pixels along a side.")
    mixed: bool = Field(False, description="Every third picture is wider.")
    slow: float = Field(0.0, description="Seconds per picture.")
    fps: float | None = Field(None, description="Frames per second.")


@genart.stage("toy.noise", random=True, pointwise=True)
def noise(_: None, params: NoiseParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Noise, picture by picture.

    Example:
        [[stage]]
        uses = "toy.noise"
        count = 3
    """
    import torch

    run.expect(params.count, params.fps)
    for i in range(run.start, params.count):
        time.sleep(params.slow)
        while i and (gate := os.environ.get("TOY_GATE")) and not os.path.exists(gate):
            time.sleep(0.01)
        log(f"noise {i}")
        shape = (1, 3, params.size, params.size * (2 if params.mixed and i % 3 == 2 else 1))
        pixels = torch.rand(shape, generator=run.generator("pixels", i))
        yield genart.Batch(pixels, [{"seed": run.seed("pixels", i)}], start=i)


class InvertParams(genart.Params):
    """Parameters of toy.invert."""

    amount: float = Field(1.0, ge=0, le=1, description="How much.")
    slow: float = Field(0.0, description="Seconds per picture.")
    ops: tuple[dict[str, Any], ...] = Field((), description="Tables.")
    mode: Literal["a", "b"] = Field("a", description="A choice.")
    budget: genart.Duration | None = Field(None, description="A time.")


@genart.stage("toy.invert", pointwise=True)
def invert(images: genart.Images, params: InvertParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Invert colours."""
    run.expect(images.count, images.fps)
    if os.environ.get("TOY_PRINT"):
        print("the toy prints")
    for batch in images:
        time.sleep(params.slow)
        for i in batch.index:
            log(f"invert {i}")
        yield batch.with_pixels(params.amount * (1 - batch.pixels) + (1 - params.amount) * batch.pixels)


@genart.stage("toy.fade")
def fade(images: genart.Images, params: InvertParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Each picture is the mean of itself and the result before it: not pointwise."""
    run.expect(images.count)
    last = None
    for batch in images.batches(1):
        time.sleep(params.slow)
        log(f"fade {batch.start}")
        last = batch.pixels if last is None else (last + batch.pixels) / 2
        yield batch.with_pixels(last)


class TrainParams(genart.Params):
    """Parameters of toy.train."""

    steps: int = Field(8, ge=1, description="Steps.")
    slow: float = Field(0.0, description="Seconds per step.")
    budget: genart.Duration | None = Field(None, description="A time.")


@genart.stage("toy.train", random=True, outputs={"progress": genart.Images})
def train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Mix the mean picture with noise, step by step, with a checkpoint at each."""
    import torch

    mean = torch.from_numpy(images.array().copy()).float().mean(0).permute(2, 0, 1) / 255
    lucky = run.choose("lucky", lambda: float(os.environ.get("TOY_CHOICE", "1")))
    sink = run.sink("progress")
    kept = run.checkpoints.load()
    w, step = (kept[0]["w"], kept[1]["step"]) if kept else (mean * lucky, 0)
    sink.truncate(step)
    for i in range(step, params.steps):
        time.sleep(params.slow)
        log(f"train {i}")
        w = 0.7 * w + 0.3 * torch.rand(w.shape, generator=run.generator("step", i))
        sink.append(genart.Batch(w[None].clamp(0, 1), [{"kimg": i / 1000}]))
        sink.sync()
        run.checkpoints.save({"w": w}, {"step": i + 1})
        run.metric(nimg=i, loss=float(w.mean()))
        run.progress(i + 1, params.steps, "steps")
        run.check()
    return run.model({"w": w}, family="toy", parameters={"shape": list(w.shape)}, z_dim=1, resolution=w.shape[-1], lucky=lucky)


@genart.stage("toy.draw", pointwise=True)
def draw(model: genart.Model, params: NoiseParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw what toy.train has learned, ever darker."""
    import torch

    net = run.load(model)
    for span in run.spans(params.count, 2):
        log(f"draw {span.start}")
        yield genart.Batch(torch.stack([net(torch.tensor([[1 / (i + 1)]]))[0] for i in span]) / 2 + 0.5, start=span.start)


class CrashParams(genart.Params):
    """Parameters of toy.crash."""

    at: int = Field(3, description="Picture at which it fails.")
    how: str = Field("value", description="How it fails.")


@genart.stage("toy.crash", pointwise=True)
def crash(images: genart.Images, params: CrashParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Pass pictures through, then fail."""
    import torch

    run.expect(images.count)
    for batch in images.batches(1):
        if batch.start == params.at and os.environ.get("TOY_CRASH", "1") == "1":
            match params.how:
                case "value":
                    raise ValueError("the toy broke\nat a second line")
                case "memory":
                    raise MemoryError
                case "exit":
                    raise SystemExit(3)
                case "nan":
                    batch = batch.with_pixels(batch.pixels * float("nan"))
                case "shape":
                    batch = genart.Batch(torch.zeros(1, 2, 4, 4))
                case "meta":
                    batch.meta[0]["what"] = object()
                case "data":
                    raise genart.DataError("this picture cannot be used", "take another")
                case "diverged":
                    raise genart.DivergedError("the loss is NaN", "lower the learning rate")
                case "threads":
                    raise BlockingIOError(11, "Resource temporarily unavailable")
                case "disk":
                    raise OSError(28, "No space left on device", "/somewhere")
                case "recipe":
                    raise KeyError("x")
        log(f"crash {batch.start}")
        yield batch


class ReadParams(genart.Params):
    """Parameters of toy.read."""

    path: genart.InputPath = Field(description="A file.")
    more: tuple[genart.InputPath, ...] = Field((), description="More files.")


@genart.stage("toy.read")
def read(_: None, params: ReadParams, run: genart.Run) -> Iterator[genart.Batch]:
    """One grey picture per file; its grey is the file's length."""
    import torch

    paths = [params.path, *params.more]
    run.expect(len(paths))
    for path in paths:
        log("read")
        size = sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size
        yield genart.Batch(torch.full((1, 3, 4, 4), size % 256 / 255), [{"source": path.name}])


class TintParams(genart.Params):
    """Parameters of toy.tint."""

    by: tuple[genart.PictureInput, ...] = Field(description="Pictures whose mean colours are added.")
    model: genart.ModelInput | None = Field(None, description="A model whose weight's mean is added.")
    slow: float = Field(0.0, description="Seconds per picture.")


@genart.stage("toy.tint", pointwise=True)
def tint(images: genart.Images, params: TintParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Halve each picture and add what the parameters say, and half of the picture made before it."""
    run.expect(images.count)
    more = 0.0
    for path in params.by:
        side = run.sides.get(str(path))
        more = more / 2 + (float(side[0].pixels.mean()) / 4 if isinstance(side, genart.Images) else path.stat().st_size % 7 / 40)
    if params.model is not None:
        more += len(run.open_model(params.model).header["parameters"]["shape"]) / 50
    last = run.made(run.start - 1).pixels if run.start else 0
    for i in range(run.start, len(images)):
        time.sleep(params.slow)
        log(f"tint {i}")
        batch = images[i]
        made = genart.Batch.from_array(batch.with_pixels(batch.pixels / 2 + more + last / 8).array, start=i)
        last = made.pixels
        yield made


@genart.stage("toy.film")
def film(images: genart.Images, params: genart.Params, run: genart.Run) -> genart.Video:
    """Write a GIF."""
    from PIL import Image

    frames = [Image.fromarray(array) for batch in images for array in batch.array]
    path = run.file("toy.gif")
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return genart.Video(path, 10.0, len(frames))


class TwiceParams(genart.Params):
    """Parameters of toy.twice."""

    way: Annotated[Literal["zip", "len", "first", "index"], Field(description="How it reads its input more than once.")] = "zip"


@genart.stage("toy.twice")
def twice(images: genart.Images, params: TwiceParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Pass pictures through, reading the input a second time while the first reader is under way."""
    if params.way == "first":
        next(iter(images))
    if params.way == "zip":
        for a, b in zip(images.batches(1), images.batches(1), strict=True):
            assert (a.array == b.array).all()
            yield a
        return
    for batch in images.batches(1):
        if params.way == "len":
            len(images)
        elif params.way == "index":
            images[0]
        yield batch


@genart.stage("toy.liar")
def liar(images: genart.Images, params: genart.Params, run: genart.Run) -> genart.Model:
    """Say Model and give something else."""
    return images  # type: ignore[return-value]


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Say how to rebuild what toy.train has trained."""
    return {"toy": f"{__name__}:generator"}


def generator(shape: list[int]) -> Any:
    """A torch module that scales its one picture by z."""
    import torch

    class Generator(torch.nn.Module):
        z_dim, resolution = 1, shape[-1]

        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(shape))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, :, None, None] * self.w[None] * 2 - 1

    return Generator()
