"""Sizes from coarse to fine, and how many iterations each is given."""

from __future__ import annotations

import math
from collections.abc import Container

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


def name_of(picture: int, size: Size) -> str:
    """Name under which the iterations of a picture at a size are chosen; with ", done" those at which its time was up."""
    return f"iterations of picture {picture} at {size[1]}x{size[0]}"


def name_in_common(picture: int, size: Size, first: int, choices: Container[str]) -> str:
    """Name under which the iterations of frames that go on from the one before are chosen.

    They all have the same number, lest what every file tells grow with the film, until one runs out of time: then the next begins anew.

    Args:
        picture: index of the frame.
        size: of the result.
        first: index of the frame that is painted first.
        choices: names of what is chosen already.
    """

    def name(begin: int) -> str:
        return f"iterations from picture {begin} on at {size[1]}x{size[0]}"

    begins = (k for k in range(picture, first, -1) if name(k) in choices or f"{name_of(k - 1, size)}, done" in choices)
    return name(next(begins, first))
