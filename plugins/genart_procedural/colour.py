"""Palettes in OKLab, where equal steps look equal (Ottosson 2020, "A perceptual color space for image processing")."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.interpolate import PchipInterpolator

from ._palettes import PALETTES

#: Steps of a ramp: more than 8 bits can show.
STEPS = 2048
#: Rows of a picture that are converted at once.
ROWS = 64
#: Longer side to which a picture is reduced before its colours are counted, and how many are taken.
LOOK, TAKE = 128, 6

_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
)
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]]
)
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Turn sRGB in [0, 1] to linear light, any shape (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_linear(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB in [0, 1], any shape; values outside are clamped."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_oklab(srgb: np.ndarray) -> np.ndarray:
    """Turn sRGB in [0, 1] to OKLab, both (..., 3): lightness in [0, 1], a and b about -0.4 to 0.4."""
    return np.asarray(np.cbrt(to_linear(srgb) @ _TO_LMS.T) @ _TO_LAB.T)


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """OKLab to sRGB in [0, 1], both (..., 3); colours that a screen cannot show are clamped."""
    return from_linear((lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T)


def to_bytes(srgb: np.ndarray) -> np.ndarray:
    """Bring sRGB in [0, 1] to uint8, rounded to nearest; values outside are clamped."""
    return np.asarray(np.rint(srgb.clip(0, 1) * 255).astype(np.uint8))


def as_picture(lab: np.ndarray) -> np.ndarray:
    """OKLab of every pixel as a picture: (H, W, 3) to the same in uint8 sRGB, some rows at a time to spare memory."""
    out = np.empty(lab.shape, np.uint8)
    for top in range(0, len(lab), ROWS):
        out[top : top + ROWS] = to_bytes(from_oklab(lab[top : top + ROWS]))
    return out


@dataclass(frozen=True)
class Palette:
    """Some colours in order, of which the first is the ground.

    Attributes:
        name: for the metadata.
        lab: (K, 3) OKLab, K at least 1; a ground and something to paint on it take 2.
    """

    name: str
    lab: np.ndarray

    @classmethod
    def of(cls, colours: tuple[str, ...], name: str = "own") -> Palette:
        """Read colours such as "#336699"."""
        srgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours]) / 255
        return cls(name, to_oklab(srgb))

    @property
    def ground(self) -> np.ndarray:
        """(3,) OKLab."""
        return np.asarray(self.lab[0])

    @property
    def inks(self) -> np.ndarray:
        """(K - 1, 3) OKLab: what is painted on the ground."""
        return np.asarray(self.lab[1:])

    @property
    def dark(self) -> bool:
        """True if the ground is darker than what is painted on it."""
        return bool(self.ground[0] < self.inks[:, 0].mean())

    def ramp(self) -> np.ndarray:
        """(STEPS, 3) OKLab from the ground to the last colour: smooth, without overshooting (monotone cubic)."""
        if len(self.lab) == 1:
            return np.repeat(self.lab, STEPS, 0)
        return np.asarray(PchipInterpolator(np.linspace(0, 1, len(self.lab)), self.lab)(np.linspace(0, 1, STEPS)))

    def along(self, t: np.ndarray) -> np.ndarray:
        """OKLab of places on the ramp: (...) in [0, 1] to (..., 3) float32; values outside are clamped."""
        return np.asarray(self.ramp().astype(np.float32)[np.rint(t.clip(0, 1) * (STEPS - 1)).astype(np.int32)])


def named(name: str) -> Palette:
    """A palette of the table."""
    return Palette.of(PALETTES[name], name)


def of_picture(picture: np.ndarray, name: str) -> Palette:
    """Take a palette from a picture: its clusters of colour, ordered by lightness from the end that fills more of it.

    A cluster is represented by the more colourful half of its pixels: means of everything are mud.

    Args:
        picture: (H, W, 3) uint8 sRGB.
        name: for the metadata.
    """
    factor = min(1.0, LOOK / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else picture
    lab = to_oklab(small.reshape(-1, 3) / 255)
    found = np.unique(lab, axis=0)
    if len(found) <= TAKE:
        groups = [lab[(lab == colour).all(1)] for colour in found]
    else:
        _, labels = kmeans2(lab * (1, 2, 2), TAKE, minit="++", rng=np.random.default_rng(0))  # hue before lightness
        groups = [lab[labels == k] for k in range(TAKE) if (labels == k).any()]
    groups.sort(key=lambda group: -float(group[:, 0].mean()))
    colours, sizes = np.stack([_vivid(group) for group in groups]), [len(group) for group in groups]
    half = len(groups) // 2
    if len(groups) == 1:
        return Palette(name, np.concatenate([colours, colours]))
    return Palette(name, colours if sum(sizes[:half]) >= sum(sizes[-half:]) else colours[::-1])


def _vivid(group: np.ndarray) -> np.ndarray:
    """Mean of the more colourful half: (N, 3) OKLab to (3,)."""
    chroma = np.hypot(group[:, 1], group[:, 2])
    return np.asarray(group[chroma >= np.median(chroma)].mean(0))
