"""Films that keep to a size: ever cheaper settings, of which the dearest that fits is found by bisection."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genart import DataError, Run

if TYPE_CHECKING:
    from . import AssembleParams

#: Bytes left for what a file tells of its own making, which is added when it is saved.
RESERVE = 16_384
MEGABYTE = 1_000_000
#: What a GIF gives up, in order: what one hardly sees first. (lossy, colours, share of the side, share of the frames)
GIF_STEPS = (
    *((lossy, 256, 1.0, 1.0) for lossy in (6, 12, 18, 24)),
    *((24, 128, side, 1.0) for side in (1.0, 0.92, 0.85, 0.78, 0.7)),
    *((24, 64, side, 1.0) for side in (0.7, 0.63, 0.56)),
    *((24, 64, side, 0.5) for side in (0.63, 0.56, 0.5, 0.45, 0.4, 0.36, 0.32, 0.28, 0.25)),
    *((48, 32, side, 0.33) for side in (0.25, 0.18, 0.125)),
)
#: Shares of the side that other formats are reduced to once they are compressed as far as it helps.
SIDES = (0.92, 0.85, 0.78, 0.7, 0.63, 0.56, 0.5, 0.45, 0.4, 0.36, 0.32, 0.28, 0.25, 0.18, 0.125)


class TooLarge(Exception):
    """More bytes were written than were allowed."""


def check(path: Path, limit: int | None) -> None:
    """Stop writing a file that is too large already.

    Raises:
        TooLarge: if it is.
    """
    if limit is not None and path.exists() and path.stat().st_size > limit:  # some containers are opened late
        raise TooLarge


def ladder(params: AssembleParams, worst: int | None, fps: float) -> list[AssembleParams]:
    """The parameters as they are, then ever cheaper ones.

    Args:
        params: as asked for.
        worst: the greatest rate factor that still looks like something; 0 for a format without, None for a GIF.
        fps: the film's rate.
    """
    steps: list[dict[str, Any]] = []
    if worst is None:
        for lossy, colours, side, frames in GIF_STEPS:
            step = {"lossy": max(lossy, params.lossy), "colours": min(colours, params.colours), "scale": params.scale * side}
            steps.append(step | ({"fps": fps * frames} if frames < 1 else {}))
    elif worst:
        start = params.quality or 1
        steps = [{"quality": quality} for quality in range(max(12, start), worst + 1, 3)]
        steps += [{"quality": worst, "scale": params.scale * side} for side in SIDES]
    else:
        steps = [{"scale": params.scale * side} for side in SIDES]
    return [params, *(params.model_copy(update=step) for step in steps)]


def keep(
    write: Callable[[AssembleParams, int | None], tuple[float, int]], path: Path, max_mb: float, rungs: Sequence[AssembleParams], run: Run
) -> tuple[float, int]:
    """Write the film with the first parameters of which it is small enough; returns what `write` does.

    Raises:
        DataError: if it is too large with the last ones.
    """
    limit = int(max_mb * MEGABYTE) - RESERVE
    best = path.with_name(f"best{path.suffix}")

    def fits(rung: int) -> tuple[float, int] | None:
        path.unlink(missing_ok=True)
        try:
            result = write(rungs[rung], limit)
            check(path, limit)
        except TooLarge:
            return None
        os.replace(path, best)
        return result

    small_enough, done = len(rungs), None
    for rung in (0, len(rungs) - 1):
        if done is None and (done := fits(rung)) is not None:
            small_enough = rung
    if done is None:
        raise DataError(
            f"the film cannot be made as small as max_mb = {max_mb:g}, not even with an eighth of its width",
            "give a larger max_mb, or show fewer pictures by `seconds`; mp4 and webp are a fraction of a GIF's size",
        )
    too_large = min(0, small_enough - 1)
    while small_enough - too_large > 1:
        middle = (too_large + small_enough) // 2
        if (found := fits(middle)) is None:
            too_large = middle
        else:
            small_enough, done = middle, found
    os.replace(best, path)
    if small_enough:
        run.note(f"kept to {max_mb:g} MB by {_told(rungs[0], rungs[small_enough])}")
    return done


def _told(asked: AssembleParams, taken: AssembleParams) -> str:
    """What differs, in words."""
    names = ("quality", "lossy", "colours", "scale", "fps")
    changed = [(name, getattr(taken, name)) for name in names if getattr(taken, name) != getattr(asked, name)]
    return ", ".join(f"{name} = {value:.3g}" for name, value in changed)
