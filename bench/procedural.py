"""How long a procedural picture takes, by stage and size.

    python bench/procedural.py [--sizes 64 512 1024] [--repeat 3] [--threads 1]

Median seconds of the clock and of the processor for one picture, from parameters to 8-bit pixels, over as many pictures as `--repeat`
says, each of another seed; a first one of each kind warms up. Photographs are embedded ones brought to the size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from skimage import data

import genart_procedural as stages
from genart import Batch, Images
from genart.stages import Stage
from genart.testing import run_stage

KINDS: tuple[tuple[str, Stage, dict[str, Any]], ...] = (
    ("flow, ribbons", stages.procedural_flow, {"lines": "ribbons"}),
    ("flow, threads", stages.procedural_flow, {"lines": "threads"}),
    ("cells, voronoi, 500", stages.procedural_cells, {"shape": "voronoi", "points": 500}),
    ("cells, delaunay, 500", stages.procedural_cells, {"shape": "delaunay", "points": 500}),
    ("warp", stages.procedural_warp, {}),
    ("reaction, 4000 steps", stages.procedural_reaction, {}),
    ("mosaic, voronoi, 1500", stages.procedural_mosaic, {}),
    ("mosaic, pebbles, 1500", stages.procedural_mosaic, {"shape": "pebbles", "gap": 0.06}),
    ("mosaic, delaunay, 1500", stages.procedural_mosaic, {"shape": "delaunay"}),
    ("strokes, impressionist", stages.procedural_strokes, {}),
    ("strokes, expressionist", stages.procedural_strokes, {"manner": "expressionist"}),
    ("strokes, wash", stages.procedural_strokes, {"manner": "wash"}),
    ("strokes, pointillist", stages.procedural_strokes, {"manner": "pointillist"}),
)


def photograph(size: int) -> Images:
    """An embedded photograph as a square of this side."""
    square = cv2.resize(data.astronaut(), (size, size), interpolation=cv2.INTER_AREA if size <= 512 else cv2.INTER_CUBIC)
    return Images.from_batches([Batch.from_array(square[None])])


def seconds(stage: Stage, params: dict[str, Any], size: int, seed: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor for one picture."""
    given = photograph(size) if stage.takes == "images" else None
    params = params if given is not None else {**params, "resolution": size}
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        run_stage(stage, given, work=Path(folder), seed=seed, **params)
        return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 1024], help="sides of the square pictures")
    parser.add_argument("--repeat", type=int, default=3, help="pictures of which the median is taken")
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV and torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    print(f"{'seconds, and of the processor':30}" + "".join(f"{size:>12} px" for size in args.sizes))
    for name, stage, params in KINDS:
        row = f"{name:30}"
        for size in args.sizes:
            found = [seconds(stage, params, size, seed) for seed in range(args.repeat + 1)][1:]
            row += f"{statistics.median(wall for wall, _ in found):9.2f}{statistics.median(cpu for _, cpu in found):6.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
