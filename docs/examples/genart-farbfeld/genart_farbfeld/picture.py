"""Farbfeld: "farbfeld", width and height in 4 bytes each, then red, green, blue and opacity of every pixel in 2 bytes, big end first."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from genart import PictureReader


def shape(file: BinaryIO) -> tuple[int, int, int]:
    """Height, width and four channels."""
    width, height = struct.unpack(">8xII", file.read(16))
    return height, width, 4


def read(file: BinaryIO) -> np.ndarray:
    """The pixels, of 16 bits, in 8: 65535 becomes 255, and 257 becomes 1."""
    height, width, channels = shape(file)
    pixels = np.empty((height, width, channels), np.uint8)
    for row in pixels:
        data = file.read(8 * width)
        if len(data) < 8 * width:
            raise ValueError("it ends early")
        row[:] = (np.frombuffer(data, ">u2").reshape(width, channels).astype(np.uint32) + 128) // 257
    return pixels


READER = PictureReader(shape, read)
