"""YUV4MPEG2: a line with sizes and rate, then each frame behind the word FRAME: all of Y, all of Cb, all of Cr, in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from genart import FilmWriter


def write(frames: Iterator[np.ndarray], path: Path, fps: float, params: Any) -> None:
    """Write frames, (H, W, 3) uint8, with colours at full resolution (C444) and the matrix that players take by the height of the film."""
    rate = Fraction(fps).limit_denominator(1001)
    with open(path, "wb") as file:
        for number, frame in enumerate(frames):
            height, width = frame.shape[:2]
            if number == 0:
                head = f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C444 XCOLORRANGE=LIMITED\n"
                file.write(head.encode())
            red, blue = (0.2126, 0.0722) if height >= 720 else (0.299, 0.114)  # BT.709 or BT.601
            rgb = frame.astype(np.float32) / 255
            luma = rgb @ np.array([red, 1 - red - blue, blue], np.float32)
            cb = (rgb[..., 2] - luma) / (2 - 2 * blue)
            cr = (rgb[..., 0] - luma) / (2 - 2 * red)
            planes = np.stack([16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr])
            file.write(b"FRAME\n" + np.rint(planes).astype(np.uint8).tobytes())


WRITER = FilmWriter(write)
