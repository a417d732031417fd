"""Sizes from coarse to fine, and how many iterations each is given."""

from __future__ import annotations

import math

Size = tuple[int, int]

#: Longer side that a ladder of sizes begins at, about, and the shorter side that none goes below.
COARSEST, SHORTEST = 128, 32
STEP = math.sqrt(2)
#: Without a budget each coarser size has so many times the iterations of the next.
MORE = 1.25
#: With one, each coarser size has this share of the next one's time.
SHARE = 0.6
#: Bounds of a size's iterations under a budget; the last size has no upper one.
FEWEST, MOST = 5, 400
#: Under a budget the size of the result is chosen such that the last size has about so many iterations.
WANTED = 20


def fitted(size: Size, longer: int) -> Size:
    """Height and width with the longer side brought to `longer`."""
    factor = longer / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def ladder(size: Size, count: int | None = None) -> list[Size]:
    """Sizes from coarse to fine, ending at `size`; each is 1.41 times the one before.

    Args:
        size: height and width of the result.
        count: how many; by default as many as begin at a longer side of about 128 pixels.
    """
    if count is None:
        count = 1 + max(0, math.floor(math.log(max(size) / COARSEST, STEP) + 0.5))
    sizes = [fitted(size, round(max(size) / STEP**k)) for k in reversed(range(1, count))]
    return [*(coarse for coarse in sizes if min(coarse) >= SHORTEST), size]


def planned(iterations: int, sizes: list[Size], k: int) -> int:
    """Iterations at size k without a budget, `iterations` being those at the last."""
    return round(iterations * MORE ** (len(sizes) - 1 - k))


def affordable(seconds: float, iteration_sec: float, sizes: list[Size], k: int) -> int:
    """Iterations at size k when `seconds` are left for it and all finer ones, and one of them takes `iteration_sec`."""
    last = len(sizes) - 1
    shares = [SHARE ** (last - j) for j in range(k, last + 1)]
    count = int(seconds * shares[0] / sum(shares) / iteration_sec)
    return max(1, count) if k == last else min(max(FEWEST, count), MOST)


def largest_affordable(seconds: float, pixel_sec: float, size: Size) -> Size:
    """The largest of `size`, `size` / 1.41, ... whose last iterations fit into their share of the time; the coarsest if none does."""
    chosen = size
    while True:
        sizes = ladder(chosen)
        shares = [SHARE**j for j in range(len(sizes))]
        if len(sizes) == 1 or WANTED * pixel_sec * chosen[0] * chosen[1] <= seconds / sum(shares):
            return chosen
        chosen = sizes[-2]
