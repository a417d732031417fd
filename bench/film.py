"""Films: what streaming costs, whether memory is flat, and our GIFs beside imageio's, FFmpeg's and gifsicle's.

    python bench/film.py [--frames 300] [--long 10000] [--gif-frames 96] [--repeat 3]

The first table compares making and encoding 256 px frames in one stream with making them alone plus encoding them alone.
The second encodes three walks as GIF; FFmpeg (palettegen, paletteuse) and gifsicle take part where they are installed.
PSNR is that of the decoded frames against the originals.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import torch
from skimage import data, filters
from torch import nn

from genart import Batch, Images
from genart.testing import run_stage
from genart_video import assemble

SIDE, BATCH, FPS = 256, 16, 25


def generator() -> nn.Module:
    """A small random decoder, z (N, 16, 8, 8) -> (N, 3, 256, 256) in [0, 1]; the same at each call."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for wide, narrow in ((16, 32), (32, 24), (24, 16), (16, 12), (12, 3)):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.Sigmoid() if narrow == 3 else nn.LeakyReLU(0.2)]
    net = nn.Sequential(*layers).eval().requires_grad_(False)
    for layer in net[::2]:
        layer.weight.mul_(4.0)
    return net


def walk(count: int) -> Images:
    """Frames of a closed walk through the decoder, made as they are read."""
    net = generator()
    a, b = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))

    def batches(start: int, size: int | None) -> Iterator[Batch]:
        for i in range(start, count, BATCH):
            angle = torch.arange(i, min(i + BATCH, count)).mul(2 * torch.pi / 300)[:, None, None, None]
            yield Batch(net(a * angle.cos() + b * angle.sin()), start=i)

    return Images(batches, count=count, fps=FPS)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, those of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def film(images: Images, name: str) -> bytes:
    """The file that video.assemble makes."""
    with tempfile.TemporaryDirectory() as folder:
        video = run_stage(assemble, images, work=Path(folder), format=name)["output"]
        return video.path.read_bytes()


def bench_stream(count: int, repeat: int) -> None:
    """Print wall and CPU time of generating, of encoding, and of both in one stream."""
    kept = Images.from_batches(list(walk(count)), FPS)
    for images in (walk(32), kept):  # warm up
        film(images, "mp4")
    for name in ("mp4", "webm"):
        jobs: dict[str, Callable[[], object]] = {
            "generate": lambda: [batch.array for batch in walk(count)],
            "encode": lambda name=name: film(kept, name),
            "stream": lambda name=name: film(walk(count), name),
        }
        seconds = {
            job: [statistics.median(kind) for kind in zip(*(timed(work) for _ in range(repeat)), strict=True)] for job, work in jobs.items()
        }
        print(f"\n{name}, {count} frames of {SIDE} px   wall s   CPU s   frames/s")
        for job, (wall, cpu) in seconds.items():
            print(f"  {job:24} {wall:8.2f} {cpu:7.2f} {count / wall:10.0f}")
        ratios = [seconds["stream"][i] / (seconds["generate"][i] + seconds["encode"][i]) for i in (0, 1)]
        print(f"  stream / (generate + encode): wall {ratios[0]:.2f}, CPU {ratios[1]:.2f}  (bounds 1.00 and 1.10)")


def bench_memory(short: int, long: int) -> None:
    """Print the peak memory of two lengths, each in a process of its own."""
    print(f"\npeak memory, MiB           {short:>8} {long:>8}   difference")
    for name in ("mp4", "webm"):
        peaks = []
        for count in (short, long):
            done = subprocess.run([sys.executable, __file__, "--child", name, str(count)], check=True, capture_output=True, text=True)
            peaks.append(float(done.stdout))
        print(f"  {name:24} {peaks[0]:8.0f} {peaks[1]:8.0f} {peaks[1] - peaks[0]:+8.0f}  (bound 50)")


def child(name: str, count: int) -> None:
    """Make one film and print this process's peak memory."""
    film(walk(count), name)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024))


def fields(count: int) -> np.ndarray:
    """Smooth colourful fields that drift: (count, 256, 256, 3) uint8."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    rng = np.random.default_rng(1)
    k, phase = rng.normal(size=(3, 6, 2)) * 5, rng.uniform(0, 2 * np.pi, (3, 6))
    frames = []
    for t in np.linspace(0, 2 * np.pi, count, endpoint=False):
        waves = [sum(np.sin(k[c, j, 0] * x + k[c, j, 1] * y + phase[c, j] + (-1) ** j * t) for j in range(6)) for c in range(3)]
        frames.append(np.clip(127.5 + 40 * np.stack(waves, -1), 0, 255).astype(np.uint8))
    return np.stack(frames)


def pan(count: int) -> np.ndarray:
    """A view that circles over a photograph, between its pixels: (count, 256, 256, 3) uint8."""
    photo = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None].float()
    height, width = photo.shape[2:]
    line = torch.arange(SIDE) + 0.5
    frames = []
    for t in np.linspace(0, 2 * np.pi, count, endpoint=False):
        y, x = line + 70 + 60 * np.sin(t), line + 150 + 140 * np.cos(t)
        grid = torch.stack(torch.meshgrid(2 * x / width - 1, 2 * y / height - 1, indexing="xy"), -1)[None]
        view = nn.functional.grid_sample(photo, grid, "bicubic", "border", align_corners=False)
        frames.append(view[0].clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    return np.stack(frames)


def painterly(count: int) -> np.ndarray:
    """Grain and blots of many sizes that turn into each other: (count, 256, 256, 3) uint8."""
    rng = np.random.default_rng(3)
    keys = []
    for sigma in (2, 2, 4, 4, 8, 16):
        key = np.stack([filters.gaussian(rng.normal(size=(SIDE, SIDE)), sigma, mode="wrap") for _ in range(3)], -1)
        keys.append(key / key.std())
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack(
        [np.clip(128 + 26 * sum(key * np.sin(t + 1.1 * j) for j, key in enumerate(keys)), 0, 255).astype(np.uint8) for t in angles]
    )


def by_us(frames: np.ndarray, path: Path) -> None:
    """Through video.assemble."""
    path.write_bytes(film(Images.from_batches([Batch.from_array(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)], FPS), "gif"))


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


def bench_gif(count: int, repeat: int) -> None:
    """Print frames per second, size and PSNR of each writer on three walks."""
    writers = {"genart": by_us, "imageio": by_imageio, **({"ffmpeg": by_ffmpeg} if shutil.which("ffmpeg") else {})}
    for make in (fields, pan, painterly):
        frames = make(count)
        print(f"\nGIF, {make.__name__}, {count} frames of {SIDE} px   frames/s   KiB/frame   PSNR dB")
        rates = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, write in writers.items():
                path = Path(folder) / f"{name}.gif"
                # imageio takes so long that once will do
                seconds = statistics.median(timed(lambda: write(frames, path))[0] for _ in range(1 if name == "imageio" else repeat))  # noqa: B023
                rates[name] = count / seconds
                print(f"  {name:32} {rates[name]:12.0f} {path.stat().st_size / count / 1024:11.1f} {psnr(frames, path):9.2f}")
            if shutil.which("gifsicle"):
                path = Path(folder) / "gifsicle.gif"
                seconds, _ = timed(lambda: subprocess.run(["gifsicle", "-O3", str(path.with_stem("genart")), "-o", str(path)], check=True))  # noqa: B023
                size = path.stat().st_size / count / 1024
                print(f"  {'genart, then gifsicle -O3':32} {count / seconds:12.0f} {size:11.1f} {psnr(frames, path):9.2f}")
        print(
            "  genart is "
            + ", ".join(f"{rates['genart'] / rate:.1f} times as fast as {name}" for name, rate in rates.items() if name != "genart")
        )


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=300, help="frames of the stream's table")
    parser.add_argument("--long", type=int, default=10_000, help="frames of the long film whose memory is measured; 0 leaves it out")
    parser.add_argument("--gif-frames", type=int, default=96, help="frames of each GIF")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], int(args.child[1]))
        return
    bench_stream(args.frames, args.repeat)
    bench_gif(args.gif_frames, args.repeat)
    if args.long:
        bench_memory(500, args.long)


if __name__ == "__main__":
    main()
