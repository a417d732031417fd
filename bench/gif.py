"""GIFs: rate, size and PSNR of our writer beside imageio's, FFmpeg's and gifsicle's, on three walks of 256 px.

    python bench/gif.py [--frames 96] [--train 30s] [--repeat 3]

The walks are of a small GAN trained for a moment: as it is, painted over by style.instant, and painted in strokes. FFmpeg (palettegen,
paletteuse) and gifsicle take part where they are installed. PSNR is that of the decoded frames against the originals. Beside the
default, our other settings: a palette for each frame, the other dithers, and a size budget.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
from PIL import Image

from genart import Batch, Images
from genart.testing import run_stage
from genart_video import assemble

SIDE, BATCH, FPS = 256, 16, 25
RECIPE = """
[recipe]
name = "walks"
seed = 3

[[stage]]
uses = "images.samples"
photos = ["coffee", "rocket", "cat"]
crop = 64
count = 2000

[[stage]]
uses = "dcgan.train"
budget = "{train}"

[[stage]]
uses = "latent.walk"
frames = {frames}
loop = true

[[stage]]
uses = "images.resize"
id = "walk"
resolution = 256
save = "walk"

[[stage]]
uses = "style.instant"
id = "painted"
preset = 4
save = "painted"

[[stage]]
uses = "style.instant"
id = "strokes"
from = "walk"
preset = 11
scales = 2
save = "strokes"
"""


def walks(frames: int, train: str) -> dict[str, np.ndarray]:
    """Make the three walks: name to (frames, 256, 256, 3) uint8."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "walks.toml"
        recipe.write_text(RECIPE.format(frames=frames, train=train), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "genart", "run", str(recipe), "--out", str(recipe.parent / "out"), "--quiet"], check=True)
        return {
            name: np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted((recipe.parent / "out" / name).glob("*.png"))])
            for name in ("walk", "painted", "strokes")
        }


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def by_us(frames: np.ndarray, path: Path, **params: object) -> None:
    """Through video.assemble."""
    images = Images.from_batches([Batch.from_array(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)], FPS)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(run_stage(assemble, images, work=Path(folder), format="gif", **params)["output"].path, path)


def by_imageio(frames: np.ndarray, path: Path) -> None:
    """Through imageio's default writer."""
    iio.imwrite(path, frames, duration=1000 / FPS, loop=0)


def by_ffmpeg(frames: np.ndarray, path: Path) -> None:
    """Through palettegen and paletteuse as they come."""
    graph = "split[a][b];[a]palettegen[p];[b][p]paletteuse"
    options = ["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", str(FPS), "-i", "-", "-vf", graph]
    subprocess.run(["ffmpeg", *options, str(path)], input=frames.tobytes(), check=True)


def psnr(frames: np.ndarray, path: Path) -> float:
    """Decibels between the frames and what a player shows."""
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][: len(frames)]
    errors = [np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(frames, shown, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(errors)))


OTHERS: dict[str, dict[str, object]] = {
    "genart, palette = frame": {"palette": "frame"},
    "genart, dither = diffusion": {"dither": "diffusion"},
    "genart, dither = none": {"dither": "none"},
    "genart, lossy = 12": {"lossy": 12},
    "genart, max_mb = 1": {"max_mb": 1.0},
}


def bench(name: str, frames: np.ndarray, repeat: int) -> None:
    """Print frames per second, size and PSNR of each writer on one walk."""
    count = len(frames)
    print(f"\nGIF, {name}, {count} frames of {SIDE} px   frames/s   KiB/frame   PSNR dB")
    writers: dict[str, Callable[[np.ndarray, Path], None]] = {"genart": by_us, "imageio": by_imageio}
    if shutil.which("ffmpeg"):
        writers["ffmpeg"] = by_ffmpeg
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for writer, write in writers.items():
            path = Path(folder) / f"{writer}.gif"
            times = [seconds_of(lambda write=write, path=path: write(frames, path)) for _ in range(1 if writer == "imageio" else repeat)]
            rates[writer] = count / statistics.median(times)
            row(writer, rates[writer], path, frames)
        if shutil.which("gifsicle"):
            for writer in rates:
                path, source = Path(folder) / f"{writer}-o3.gif", Path(folder) / f"{writer}.gif"
                seconds = seconds_of(lambda s=source, p=path: subprocess.run(["gifsicle", "-O3", str(s), "-o", str(p)], check=True))
                row(f"{writer}, then gifsicle -O3", count / seconds, path, frames)
        for other, params in OTHERS.items():
            path = Path(folder) / "other.gif"
            seconds = seconds_of(lambda path=path, params=params: by_us(frames, path, **params))
            row(other, count / seconds, path, frames)
    print(
        "  genart is " + ", ".join(f"{rates['genart'] / rate:.1f} times as fast as {who}" for who, rate in rates.items() if who != "genart")
    )


def row(name: str, rate: float, path: Path, frames: np.ndarray) -> None:
    """Print one line of the table; a GIF of another size or number of frames has no PSNR."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        alike = (stream.width, stream.height) == (SIDE, SIDE) and sum(1 for _ in container.decode(video=0)) >= len(frames)
    decibels = f"{psnr(frames, path):9.2f}" if alike else "        –"
    print(f"  {name:34} {rate:10.0f} {path.stat().st_size / len(frames) / 1024:11.1f} {decibels}", flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=96, help="frames of each GIF")
    parser.add_argument("--train", default="30s", help="training time of the GAN")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--only", choices=("walk", "painted", "strokes"), help="one of the walks")
    args = parser.parse_args()
    for name, frames in walks(args.frames, args.train).items():
        if args.only in (None, name):
            bench(name, frames, args.repeat)


if __name__ == "__main__":
    main()
