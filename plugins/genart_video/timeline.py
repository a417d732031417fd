"""Which picture is on the screen when: lists of picture numbers, one entry per frame, made before any picture is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from genart import DataError


@dataclass(frozen=True)
class Track:
    """The pictures of one input, frame by frame.

    Attributes:
        first: (N,) int64, the picture that a frame shows.
        second: (N,) int64, the picture that it fades into.
        share: (N,) float32 in [0, 1), how much of the second one it shows.
    """

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def at(self, frame: int) -> tuple[int, int, float]:
        """First picture, second picture and share of a frame."""
        return int(self.first[frame]), int(self.second[frame]), float(self.share[frame])

    def take(self, frames: np.ndarray) -> Track:
        """The track of some of the frames, in any order."""
        return Track(self.first[frames], self.second[frames], self.share[frames])

    def until(self, count: int) -> Track:
        """The track of `count` frames, the last of which stays as long as that needs."""
        return self.take(np.minimum(np.arange(count), len(self) - 1))

    def loop(self, fade: int) -> Track:
        """The track without its last `fade` frames, which the first ones fade in from.

        Raises:
            DataError: if the film is not twice as long as the fade.
        """
        if fade < 1:
            return self
        kept = len(self) - fade
        if kept < fade:
            raise DataError(f"a film of {len(self)} frames is too short for a `loop_fade` of {fade}", "give a shorter loop_fade")
        if self.share[:fade].any() or self.share[kept:].any():
            raise DataError("`loop_fade` reaches into a crossfade", "give shorter fades")
        first, second, share = self.first[:kept].copy(), self.second[:kept].copy(), self.share[:kept].copy()
        first[:fade], second[:fade], share[:fade] = self.first[kept:], self.first[:fade], rising(fade)
        return Track(first, second, share)


@dataclass(frozen=True)
class Endless:
    """The track of an input whose length is not known yet.

    Attributes:
        step: pictures per frame.
    """

    step: Fraction

    def at(self, frame: int) -> tuple[int, int, float]:
        """First picture, second picture and share of a frame; the second one counts for nothing."""
        picture = frame * self.step.numerator // self.step.denominator
        return picture, picture, 0.0


def step_of(own_fps: float, fps: float, speed: float) -> Fraction:
    """Pictures of a film per frame shown."""
    own, shown, fast = (Fraction(value).limit_denominator(100_000) for value in (own_fps, fps, speed))
    return own * fast / shown


def length(count: int, step: Fraction) -> int:
    """Frames whose time comes before the film's end."""
    return math.ceil(count / step)


def picked(count: int, step: Fraction, frames: int) -> np.ndarray:
    """Pictures of `frames` frames: each at its time if there is time for all, else evenly chosen with the first and the last."""
    if frames >= length(count, step):
        return np.arange(length(count, step)) * step.numerator // step.denominator
    return np.rint(np.linspace(0, count - 1, frames)).astype(np.int64)


def rising(fade: int) -> np.ndarray:
    """Shares of `fade` frames of what is coming: (fade,) float32 in (0, 1)."""
    return (np.arange(1, fade + 1) / (fade + 1)).astype(np.float32)


def joined(parts: Sequence[tuple[int, Fraction]], fade: int, most: int | None) -> Track:
    """The track of parts that follow one another.

    Args:
        parts: pictures, and pictures per frame, of each part.
        fade: frames in which one part becomes the next.
        most: frames of the whole at most, or None.

    Raises:
        DataError: if a part is too short for its fades.
    """
    lengths = [length(count, step) for count, step in parts]
    shown = sum(lengths) - fade * (len(parts) - 1)
    if most is not None and shown > most:
        whole = most + fade * (len(parts) - 1)
        ends = np.rint(np.cumsum(lengths) * (whole / sum(lengths))).astype(int)
        lengths = np.maximum(1, np.diff(ends, prepend=0)).tolist()
    start, tracks = 0, []
    for number, ((count, step), frames) in enumerate(zip(parts, lengths, strict=True), 1):
        if frames < fade * ((number > 1) + (number < len(parts))):
            raise DataError(
                f"part {number} of the film has {frames} frames, too few for a `crossfade` of {fade}", "give a shorter crossfade"
            )
        first = start + picked(count, step, frames)
        tracks.append(Track(first, first, np.zeros(len(first), np.float32)))
        start += count
    whole_track = tracks[0]
    for track in tracks[1:]:
        whole_track = _faded(whole_track, track, fade)
    return whole_track


def _faded(before: Track, after: Track, fade: int) -> Track:
    kept = len(before) - fade
    first = np.concatenate([before.first, after.first[fade:]])
    second = np.concatenate([before.second[:kept], after.first])
    share = np.concatenate([before.share[:kept], rising(fade), after.share[fade:]])
    return Track(first, second, share)


def there_and_back(count: int) -> np.ndarray:
    """Frames 0 to `count` - 1 and back to 1: neither end is shown twice."""
    return np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
