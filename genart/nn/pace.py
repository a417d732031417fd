"""Where a training stands in its plan: it sees more or fewer images than planned when the machine turns out faster or slower.

A schedule (a growth, places of snapshots and measurements) is made for the planned number of images. At each eighth of it the
rest is fitted anew to the time that is left, so a plan that was made in a busy moment is not what ends a training. The place in
the plan goes on without a jump: only its speed changes.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Parts of a plan; before each but the first the rest is fitted to the time left.
PARTS = 8

#: Images seen when a part began, and images of the whole training as thought then.
Knot = tuple[int, int]


class Pace:
    """Maps images seen to a place in the plan, 0 to `planned`.

    Args:
        planned: images for which schedules are made.
        costs: shares of the plan and seconds per image in each, in their order, as measured for the plan; to foresee time.
        knots: changes of the plan so far.
    """

    def __init__(self, planned: int, costs: Sequence[tuple[float, float]] = ((1.0, 1.0),), knots: Sequence[Knot] = ()) -> None:
        self.planned, self.costs = planned, costs
        self.knots: list[tuple[int, float, int]] = [(0, 0.0, planned)]  # images seen, place, images of the whole training
        for nimg, total in knots:
            self.change(nimg, total)

    @property
    def total(self) -> int:
        """Images of the whole training, as thought now."""
        return self.knots[-1][2]

    @property
    def part(self) -> int:
        """The number of parts that have begun."""
        return len(self.knots)

    def change(self, nimg: int, total: int) -> None:
        """From `nimg` images on, go on so that the plan ends after `total`."""
        self.knots.append((nimg, self.place(nimg), max(nimg + 1, total)))

    def place(self, nimg: int) -> float:
        """Place in the plan after `nimg` images: `nimg` itself as long as nothing was changed."""
        begin, place, total = next(knot for knot in reversed(self.knots) if nimg >= knot[0])
        if (begin, place, total) == (0, 0.0, self.planned):
            return min(nimg, self.planned)
        return min(float(self.planned), place + (nimg - begin) * (self.planned - place) / (total - begin))

    def part_is_over(self, nimg: int) -> bool:
        """Whether it is time to fit the rest."""
        return self.part < PARTS and nimg < self.total and PARTS * self.place(nimg) >= self.part * self.planned

    def expected_sec(self, nimg: int, until: int) -> float:
        """Seconds in which the plan sees the images from `nimg` to `until`, between which it is not changed."""
        begin, end = self.place(nimg), self.place(until)
        seconds = done = 0.0
        for share, image_sec in self.costs:
            ready = done + share * self.planned
            seconds += image_sec * max(0.0, min(end, ready) - max(begin, done))
            done = ready
        return seconds * (until - nimg) / (end - begin) if end > begin else 0.0

    def fitting(self, nimg: int, seconds: float, slowness: float) -> int:
        """Images of the whole training that fit.

        Args:
            nimg: images seen.
            seconds: time left.
            slowness: seconds that images took lately, as a multiple of what was expected of them.
        """
        rest = self.expected_sec(nimg, self.total) * slowness
        return nimg + int((self.total - nimg) * max(0.0, seconds) / rest) if rest > 0 else self.total
