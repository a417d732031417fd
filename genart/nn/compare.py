"""How alike two files of one kind are: pictures and films in decibels of their pixels, models in decibels of their weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import ImageSequence
from safetensors import safe_open

from .pictures import MAX_PIXELS, Unreadable, opener

#: Nothing that a film names is opened.
CLOSED = {"protocol_whitelist": ""}


@dataclass(frozen=True)
class Likeness:
    """What a comparison gave.

    Attributes:
        db: peak signal-to-noise ratio of the pixels, or signal-to-noise ratio of the weights, in dB; infinite if nothing differs, None
            if the two cannot be compared, such as pictures of two sizes.
        detail: why they cannot be compared, or where they differ most; may be empty.
    """

    db: float | None
    detail: str = ""


class _Errors:
    """Squared errors, added up."""

    def __init__(self) -> None:
        self.total = self.signal = 0.0
        self.count = 0

    def add(self, a: np.ndarray, b: np.ndarray) -> float:
        """Add two arrays of one shape; return their mean squared error."""
        x, y = a.astype(np.float64), b.astype(np.float64)
        error = float(np.square(x - y).sum())
        self.total += error
        self.signal += float(np.square(x).sum())
        self.count += x.size
        return error / max(1, x.size)


def decibels(signal: float, error: float) -> float:
    """10 log10(signal / error), infinite where there is no error."""
    return math.inf if error == 0 else 10 * math.log10(signal / error) if signal > 0 else -math.inf


def pictures(a: Path, b: Path, demuxer: str | None = None) -> Likeness:
    """Compare two pictures or films of one kind, frame by frame, alpha included.

    Args:
        a: a file.
        b: another.
        demuxer: FFmpeg's name of what reads them; None for pictures and what Pillow plays: GIF, animated WebP, APNG.

    Returns:
        PSNR over all frames: 10 log10(255^2 / MSE).

    Raises:
        Unreadable: if one of them cannot be decoded.
    """
    errors, worst, at = _Errors(), 0.0, 0
    for number, (x, y) in enumerate(itertools.zip_longest(_frames(a, demuxer), _frames(b, demuxer))):
        if x is None or y is None:
            return Likeness(None, f"one has {number} frames, and the other more")
        if x.shape != y.shape:
            return Likeness(None, f"{x.shape[1]}x{x.shape[0]} and {y.shape[1]}x{y.shape[0]} pixels")
        error = errors.add(x, y)
        if error > worst:
            worst, at = error, number
    if errors.count == 0:
        return Likeness(None, "there are no frames")
    detail = f"worst in frame {at}: {decibels(255**2, worst):.1f} dB" if number and worst else ""
    return Likeness(decibels(255**2, errors.total / errors.count), detail)


def _frames(path: Path, demuxer: str | None) -> Iterator[np.ndarray]:
    """Yield the frames of a picture or film, (H, W, 3 or 4) uint8."""
    try:
        yield from _picture_frames(path) if demuxer is None else _film_frames(path, demuxer)
    except (av.FFmpegError, OSError, SyntaxError, ValueError) as error:
        raise Unreadable(f"{path.name} cannot be decoded ({type(error).__name__})") from error


def _film_frames(path: Path, demuxer: str) -> Iterator[np.ndarray]:
    with open(path, "rb") as file, av.open(file, "r", format=demuxer, container_options=CLOSED) as film:
        for frame in film.decode(video=0):
            _check_size(frame.width, frame.height)
            yield frame.to_ndarray(format="rgb24")


def _picture_frames(path: Path) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        decoder = opener(file.peek(16)[:16])
        if decoder is None:
            raise Unreadable(f"{path.name} is no picture")
        with decoder(file) as picture:
            _check_size(*picture.size)
            for frame in ImageSequence.Iterator(picture):
                yield np.asarray(frame.convert("RGBA"))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width}x{height} pixels are too many")


def weights(a: Path, b: Path) -> Likeness:
    """Compare the tensors of two models.

    Returns:
        Signal-to-noise ratio over all weights: 10 log10(sum of squares / sum of squared differences).
    """
    errors, worst, at = _Errors(), 0.0, ""
    with safe_open(a, "pt") as x, safe_open(b, "pt") as y:
        names = sorted(x.keys())
        if names != sorted(y.keys()):
            return Likeness(None, "they have other tensors")
        for name in names:
            one, other = (tensors.get_tensor(name).double().numpy() for tensors in (x, y))
            if one.shape != other.shape:
                return Likeness(None, f"'{name}' is {one.shape} and {other.shape}")
            error = errors.add(one, other)
            if error > worst:
                worst, at = error, name
    return Likeness(decibels(errors.signal, errors.total), f"most in '{at}'" if worst else "")
