"""How much memory an iteration takes, and how to make it fit: recompute features, cut into tiles, remember fewer steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genart import ResourceError, Run

from .tiles import Size, halo_of, tiles

#: Pairs of steps that L-BFGS remembers, the most first.
HISTORIES = (20, 10, 5)
#: Sides of the tiles that are tried, in pixels.
SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 128)
#: Sides of the pictures whose features are counted.
PROBES = (64, 128)
#: Copies of the picture that an iteration holds beside the optimiser's history: itself, gradients, content, steps.
COPIES = 12
#: Share of the machine's memory that is used when nobody says how much.
SHARE = 0.6
#: Features and gradients that pass through a layer, beside those that are kept for the gradient, as a share of the kept ones.
TRANSIENT = {False: 0.45, True: 0.75}
#: With checkpointing, share of the kept features that the first block of a VGG, which has most of them, and the ends of the others are.
CHECKPOINTED_SHARE = 0.74
#: Bytes of what the libraries hold beside: weights in another layout or precision, scratch memory of their threads.
SCRATCH = 150e6
#: Relative cost of an iteration: one more forward pass of three; of two for the first look at every tile.
CHECKPOINTED, LOOKED_AT_TWICE = 4 / 3, 1.5


@dataclass(frozen=True)
class Plan:
    """How an iteration is computed.

    Attributes:
        history: pairs of steps that L-BFGS remembers.
        checkpointing: features are computed a second time rather than kept.
        tile: side of the tiles in pixels; None for none.
        planned_mb: peak of the process's memory that this comes to, in MB; None for a plan that was made before a kill, or elsewhere.
        cost: time of an iteration, as a multiple of one that keeps everything.
    """

    history: int = HISTORIES[0]
    checkpointing: bool = False
    tile: int | None = None
    planned_mb: float | None = None
    cost: float = 1.0

    def __str__(self) -> str:
        how = "whole" if self.tile is None else f"in tiles of {self.tile} px"
        again = ", features computed twice" if self.checkpointing else ""
        peak = "" if self.planned_mb is None else f"about {self.planned_mb / 1000:.1f} GB of memory, "
        return f"{peak}{how}{again}, {self.history} steps remembered"

    def as_json(self) -> dict[str, Any]:
        """For `Run.choose`: what the result depends on, and so without the peak, which is another each time."""
        return {name: value for name, value in asdict(self).items() if name != "planned_mb"}


def candidates(size: Size, bytes_per_pixel: dict[bool, float], halo: int, stride: int, *, adam: bool) -> Iterator[tuple[Plan, float]]:
    """Yield ways to compute an iteration, the fastest first, with the bytes that each takes.

    Args:
        size: height and width of the picture.
        bytes_per_pixel: kept by one pass over a pixel, without and with checkpointing.
        halo: of a tile.
        stride: of the deepest layer.
        adam: the optimiser keeps two moments rather than a history.
    """
    whole = size[0] * size[1]
    for history in HISTORIES[:1] if adam else HISTORIES:
        kept = 3 if adam else 2 * history + 4
        vectors = SCRATCH + 12.0 * whole * (COPIES + kept)
        if history == HISTORIES[0]:
            for checkpointing in (False, True):
                plan = Plan(history, checkpointing, cost=CHECKPOINTED if checkpointing else 1.0)
                yield plan, vectors + whole * bytes_per_pixel[checkpointing]
        for side in SIDES:
            if side < max(size):
                shown = [tile.pixels for tile in tiles(size, side, stride=stride, halo=halo)]
                cost = LOOKED_AT_TWICE * sum(shown) / whole
                yield Plan(history, False, side, cost=cost), vectors + max(shown) * bytes_per_pixel[False]


def fitting(
    size: Size, limit: float, base: float, bytes_per_pixel: dict[bool, float], halo: int, stride: int, *, adam: bool
) -> Plan | None:
    """The fastest plan whose peak stays below a limit.

    Args:
        size: height and width of the picture.
        limit: bytes of the process in all.
        base: bytes that the process has already, with everything that stays: weights, targets, content.
        bytes_per_pixel: see `candidates`.
        halo: of a tile.
        stride: of the deepest layer.
        adam: see `candidates`.

    Returns:
        The plan, or None if not even the smallest fits.
    """
    fits = [
        (plan.cost, i, plan, total)
        for i, (plan, total) in enumerate(candidates(size, bytes_per_pixel, halo, stride, adam=adam))
        if base + total <= limit
    ]
    if not fits:
        return None
    _, _, plan, total = min(fits, key=lambda item: (HISTORIES.index(item[2].history), item[0], item[1]))
    return Plan(plan.history, plan.checkpointing, plan.tile, round((base + total) / 1e6, 1), plan.cost)


def bytes_kept(backbone: Any, layers: Sequence[str], device: str, *, checkpointing: bool) -> float:
    """Bytes per pixel that a pass through a backbone holds at its peak, told by counting what autograd keeps of two small pictures."""
    small, large = (_saved(backbone, layers, device, side) for side in PROBES)
    kept = (large - small) / (PROBES[1] ** 2 - PROBES[0] ** 2)  # weights are in both
    return kept * (CHECKPOINTED_SHARE if checkpointing else 1) * (1 + TRANSIENT[checkpointing])


def _saved(backbone: Any, layers: Sequence[str], device: str, side: int) -> int:
    """Bytes of every tensor that autograd keeps of a square picture, and of the features themselves."""
    seen: dict[int, tuple[Tensor, int]] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    x = torch.full((1, 3, side, side), 0.5, device=device, requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        for features in backbone(x, layers).values():
            count(features)
    return sum(size for _, size in seen.values())


def resident() -> float:
    """Bytes of memory that this process holds now; 0 where the system doesn't say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def peak() -> float | None:
    """Bytes that this process held at most so far; None where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def available(device: str) -> float:
    """Bytes that a process may use when nobody says how many: a share of the machine's or the device's memory."""
    if device == "cuda":
        return SHARE * torch.cuda.mem_get_info()[1]
    try:
        return SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not told: as on a small laptop
        return SHARE * 8e9


def check(per_pixel: float, size: Size, run: Run, hint: str) -> None:
    """Refuse a picture that is too large for the memory there is.

    Args:
        per_pixel: bytes that painting a pixel takes.
        size: height and width.
        run: of the stage.
        hint: what to do then.

    Raises:
        ResourceError: if it takes more than this machine's programs should.
    """
    needed, free = per_pixel * size[0] * size[1], available(run.device)
    if needed > free:
        raise ResourceError(
            f"{run.stage_id}: painting {size[1]}x{size[0]} pixels takes about {needed / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are there to be used",
            hint,
        )


def halo_and_stride(backbone: Any, layers: Sequence[str]) -> tuple[int, int]:
    """Pixels around a tile, and what its sides are multiples of."""
    return halo_of(backbone, layers), max(backbone.stride(layer) for layer in layers)


def kept_features(backbone: Any, layers: Sequence[str], size: Size) -> float:
    """Bytes of the content's features, which stay while a picture of `size` is worked on."""
    with torch.no_grad():
        device = next(iter([*backbone.buffers(), *backbone.parameters()])).device
        features = backbone(torch.zeros(1, 3, PROBES[1], PROBES[1], device=device), layers)
    return sum(value.untyped_storage().nbytes() for value in features.values()) / PROBES[1] ** 2 * size[0] * size[1]
