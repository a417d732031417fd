"""A walk becomes a film: what streaming costs, whether memory is flat, and what the obvious loop costs beside it.

    python bench/walk.py [--frames 300] [--long 2000] [--sides 128 256 512] [--repeat 3]

The first tables compare making and encoding frames in one stream with making them alone plus encoding them alone. The last one compares
a long film with the loop that one writes first: generate, collect a list, `imageio.mimsave`; each in a process of its own.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio
import imageio.v3 as iio
import numpy as np
import torch
from torch import nn

from genart import Batch, Images
from genart.artifacts import ImagesWriter, StoredImages
from genart.testing import run_stage
from genart_video import assemble

BATCH, FPS = 16, 25


def generator() -> nn.Module:
    """A small random decoder, z (N, 16, S, S) -> (N, 3, 32 S, 32 S) in [0, 1]; the same at each call."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for wide, narrow in ((16, 32), (32, 24), (24, 16), (16, 12), (12, 3)):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.Sigmoid() if narrow == 3 else nn.LeakyReLU(0.2)]
    net = nn.Sequential(*layers).eval().requires_grad_(False)
    for layer in net[::2]:
        layer.weight.mul_(4.0)
    return net


def walk(count: int, side: int) -> Images:
    """Frames of a closed walk through the decoder, made as they are read."""
    net = generator()
    a, b = torch.randn(2, 16, side // 32, side // 32, generator=torch.Generator().manual_seed(1))

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


def bench_stream(count: int, repeat: int, sides: list[int]) -> None:
    """Print wall and CPU time of generating, of encoding, and of both in one stream."""
    for side, name in ((side, name) for side in sides for name in ("mp4", "gif")):
        kept = Images.from_batches(list(walk(count, side)), FPS)
        film(walk(32, side), name)  # warm up
        jobs: dict[str, Callable[[], object]] = {
            "generate": lambda side=side: [batch.array for batch in walk(count, side)],
            "encode": lambda kept=kept, name=name: film(kept, name),
            "stream": lambda side=side, name=name: film(stored(walk(count, side)) if name == "gif" else walk(count, side), name),
        }
        seconds = {
            job: [statistics.median(kind) for kind in zip(*(timed(work) for _ in range(repeat)), strict=True)] for job, work in jobs.items()
        }
        print(f"\n{name}, {count} frames of {side} px   wall s   CPU s   frames/s")
        for job, (wall, cpu) in seconds.items():
            print(f"  {job:24} {wall:8.2f} {cpu:7.2f} {count / wall:10.0f}")
        ratios = [seconds["stream"][i] / (seconds["generate"][i] + seconds["encode"][i]) for i in (0, 1)]
        print(f"  stream / (generate + encode): wall {ratios[0]:.2f}, CPU {ratios[1]:.2f}  (bounds 1.00 and 1.10)", flush=True)


def stored(images: Images) -> Images:
    """The same pictures, written to a folder once all are wanted, as the store does."""
    folder = tempfile.mkdtemp()

    def settle() -> Images:
        writer = ImagesWriter(Path(folder))
        for batch in images:
            writer.append(batch)
        writer.finish(FPS)
        return StoredImages(Path(folder))

    return Images(lambda start, size: images.batches(size, start=start), settle, count=images.count, fps=FPS)


def naive(count: int, side: int, path: Path) -> None:
    """The loop that one writes first."""
    frames = [picture for batch in walk(count, side) for picture in batch.array]
    if path.suffix == ".gif":
        imageio.mimsave(path, frames, fps=FPS)
    else:  # mimsave's own writer of MP4 needs the ffmpeg program
        iio.imwrite(path, np.stack(frames), plugin="pyav", codec="libx264", fps=FPS)


def bench_naive(count: int, side: int) -> None:
    """Print time and peak memory of a long film, beside the loop's."""
    print(f"\n{count} frames of {side} px           wall s   peak MiB")
    for name in ("mp4", "gif"):
        rows = []
        for how in ("stream", "naive"):
            began = time.perf_counter()
            command = [sys.executable, __file__, "--child", how, name, str(count), str(side)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            own, base = map(float, done.stdout.split())
            rows.append((time.perf_counter() - began, own - base))
            print(f"  {name + ', ' + how:24} {rows[-1][0]:10.1f} {own:10.0f}   of which before the first frame {base:.0f}", flush=True)
        print(f"  {rows[1][0] / rows[0][0]:.1f} times as fast (bound 1.5), {rows[0][1] / rows[1][1]:.2f} of the memory (bound 0.20)")


def child(how: str, name: str, count: int, side: int) -> None:
    """Make one film and print this process's peak memory in MiB, and what it was before."""
    base = peak()
    with tempfile.TemporaryDirectory() as folder:
        if how == "naive":
            naive(count, side, Path(folder) / f"film.{name}")
        else:
            film(stored(walk(count, side)), name)
    print(peak(), base)


def peak() -> float:
    """Peak memory of this process so far in MiB.

    Where Linux tells it, by /proc: what getrusage tells of a new process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=300, help="frames of the stream's tables")
    parser.add_argument("--long", type=int, default=2000, help="frames of the long film; 0 leaves it out")
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256, 512], help="sides of the stream's frames")
    parser.add_argument("--long-side", type=int, default=128, help="side of the long film's frames")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1], int(args.child[2]), int(args.child[3]))
        return
    bench_stream(args.frames, args.repeat, args.sides)
    if args.long:
        bench_naive(args.long, args.long_side)


if __name__ == "__main__":
    main()
