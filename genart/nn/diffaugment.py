"""Changing what D sees, real and generated pictures alike, so that it cannot memorise few pictures.

Gradients pass through the changes to G (Zhao et al. 2020, "Differentiable Augmentation"). Each change meets a picture with a
probability p (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 2.3), which may follow D's
overfitting (section 3): well below 1, G does not learn to draw the changes themselves (section 2.2).

What is drawn does not depend on the resolution, so that a picture and its smaller versions are changed alike. Drawing happens on the
CPU, with a given stream. The order is colour, geometry, cutout: what a change uncovers is grey (0), as in Zhao et al., and stays grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from kornia.geometry.transform import remap
from torch import Tensor

#: Changes that leave colours alone.
COLOUR_SAFE = ("translation", "cutout", "mirror", "scale", "rotate")
#: All changes by name; "translation", "cutout" and "color" together are the policy of Zhao et al. 2020.
POLICIES = (*COLOUR_SAFE, "color")

#: Translations reach an eighth of a side (Zhao et al.), in steps of 1/32: whole pixels from 32 px on, where nothing is blurred.
TRANSLATION, TRANSLATION_STEP = 1 / 8, 1 / 32
#: Side of the square that is cut out, as a share of the picture's (Zhao et al.).
CUTOUT = 1 / 2
#: Standard deviation of the scale, in octaves (Karras et al., appendix B).
SCALE_OCTAVES = 0.2
#: Standard deviation of the angle. Karras et al. turn by any angle alike, which at p = 1 hides from G which way is up; this does not.
ROTATION = math.radians(10)
#: Brightness is moved by at most this, for pictures in [-1, 1] (Zhao et al.).
BRIGHTNESS = 0.5
#: Saturation and contrast are multiplied by factors between these (Zhao et al.).
SATURATION, CONTRAST = (0.0, 2.0), (0.5, 1.5)
#: Where a square is cut out of no picture.
NOWHERE = -1.0


@dataclass(frozen=True)
class Draw:
    """How each of N pictures is changed; float32 on the CPU. What is not to be changed has the neutral value.

    Attributes:
        translation: (N, 2), to the right and down, in sides of the picture; neutral 0.
        scale: (N,), how much larger; neutral 1.
        angle: (N,), radians, clockwise; neutral 0.
        mirror: (N,), -1 where left and right are exchanged; neutral 1.
        cutout: (N, 2), x and y of the middle of what is cut out, in sides of the picture; neutral `NOWHERE`.
        brightness: (N,), added; neutral 0.
        saturation: (N,), a factor of the distance from grey; neutral 1.
        contrast: (N,), a factor of the distance from the picture's mean; neutral 1.
    """

    translation: Tensor
    scale: Tensor
    angle: Tensor
    mirror: Tensor
    cutout: Tensor
    brightness: Tensor
    saturation: Tensor
    contrast: Tensor

    def of(self, choose: Callable[[Tensor], Tensor]) -> Draw:
        """How some of the pictures are changed; `choose` takes their rows out of (N, ...)."""
        return Draw(**{name: choose(value) for name, value in vars(self).items()})

    @property
    def moved(self) -> Tensor:
        """Pictures whose geometry changes: (N,) bool."""
        return (self.translation != 0).any(1) | (self.scale != 1) | (self.angle != 0) | (self.mirror != 1)

    @property
    def cut(self) -> Tensor:
        """Pictures out of which a square is cut: (N,) bool."""
        return (self.cutout != NOWHERE).any(1)

    @property
    def recoloured(self) -> Tensor:
        """Pictures whose colours change: (N,) bool."""
        return (self.brightness != 0) | (self.saturation != 1) | (self.contrast != 1)


def draw(policy: Sequence[str], count: int, p: float | Tensor, generator: torch.Generator) -> Draw:
    """Draw how pictures are changed.

    Everything is drawn, whatever the policy and p: the stream is left in the same state, and what one change does to a picture does not
    depend on which others there are.

    Args:
        policy: names out of `POLICIES`.
        count: N, the number of pictures.
        p: probability, in [0, 1], that a change meets a picture, for each change and picture by itself: a number, or (N,) on the CPU.
            At 1 every change meets every picture (Zhao et al. 2020); "mirror" then still leaves half of them alone.
        generator: on the CPU.

    Returns:
        The parameters of the N pictures.

    Raises:
        ValueError: if a name is not in `POLICIES`.
    """
    if unknown := sorted(set(policy) - set(POLICIES)):
        raise ValueError(f"no such augmentation: {', '.join(unknown)}; there are {', '.join(POLICIES)}")
    coins = torch.rand(len(POLICIES), count, generator=generator)
    meets = {name: (coin < p) & (name in policy) for name, coin in zip(POLICIES, coins, strict=True)}
    steps = round(TRANSLATION / TRANSLATION_STEP)
    translation = torch.randint(-steps, steps + 1, (count, 2), generator=generator) * TRANSLATION_STEP
    cutout = torch.rand(count, 2, generator=generator)
    octaves, turn = torch.randn(2, count, generator=generator)
    brightness, saturation, contrast, heads = torch.rand(4, count, generator=generator)
    return Draw(
        translation=torch.where(meets["translation"][:, None], translation, 0.0),
        scale=torch.where(meets["scale"], torch.exp2(SCALE_OCTAVES * octaves), 1.0),
        angle=torch.where(meets["rotate"], ROTATION * turn, 0.0),
        mirror=torch.where(meets["mirror"] & (heads < 0.5), -1.0, 1.0),
        cutout=torch.where(meets["cutout"][:, None], cutout, NOWHERE),
        brightness=torch.where(meets["color"], _between(-BRIGHTNESS, BRIGHTNESS, brightness), 0.0),
        saturation=torch.where(meets["color"], _between(*SATURATION, saturation), 1.0),
        contrast=torch.where(meets["color"], _between(*CONTRAST, contrast), 1.0),
    )


def augment(images: Tensor, drawn: Draw) -> Tensor:
    """Change pictures as drawn; differentiable once in the pictures, which is what the step of G asks for.

    Args:
        images: (N, 3, R, R) in [-1, 1].
        drawn: what to do with each of them, on the CPU.

    Returns:
        The same shape, type and memory format, not clamped: brightness and contrast lead out of [-1, 1], and a clamp would keep
        gradients from G there. `images` itself if nothing changes.
    """
    if not bool((drawn.recoloured | drawn.moved | drawn.cut).any()):
        return images
    # In bfloat16 a coordinate would be wrong by pixels.
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return _cut(_moved(_recoloured(wide, drawn), drawn), drawn).to(images.dtype)


class Adaptive:
    """The probability of changes that keeps D's overfitting at a target (Karras et al. 2020, section 3).

    Args:
        target: of r_t, the mean sign of D's answers to real pictures (eq. 1): near 0 where D does not overfit, 1 where it does entirely.
        speed_kimg: thousands of images in which p can rise from 0 to 1. The paper's 500 is for trainings of 25,000; ours see some 100.
        p_max: limit of p; changes leak into what G draws as p nears 1 (section 2.2).

    Attributes:
        p: the probability, which is all the state.
    """

    def __init__(self, target: float = 0.6, speed_kimg: float = 100.0, p_max: float = 0.8) -> None:
        self.target, self.speed_kimg, self.p_max = target, speed_kimg, p_max
        self.p = 0.0

    def update(self, r_t: float, nimg: int) -> float:
        """Move p up if D overfits more than it should, else down.

        Args:
            r_t: in [-1, 1], the mean since the last update; one that is not a number moves nothing.
            nimg: images seen since the last update.

        Returns:
            p, in [0, p_max].
        """
        direction = (r_t > self.target) - (r_t < self.target)
        self.p = min(max(self.p + direction * nimg / (1000 * self.speed_kimg), 0.0), self.p_max)
        return self.p


def _between(low: float, high: float, place: Tensor) -> Tensor:
    return low + (high - low) * place


def _recoloured(x: Tensor, drawn: Draw) -> Tensor:
    """Brightness, saturation, contrast, in this order (Zhao et al. 2020).

    In plain arithmetic: Kornia's saturation and contrast about a mean clamp to [0, 1], which stops gradients; and the three together
    are one affine map of a pixel and its grey.
    """
    if not bool(drawn.recoloured.any()):
        return x
    brightness, saturation, contrast = (value.to(x)[:, None, None, None] for value in (drawn.brightness, drawn.saturation, drawn.contrast))
    grey = x.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)  # saturation leaves it alone
    return x * (contrast * saturation) + (grey * (contrast * (1 - saturation)) + mean * (1 - contrast) + brightness)


def _moved(x: Tensor, drawn: Draw) -> Tensor:
    """Mirror, scale, rotate and shift in one bilinear interpolation, of those pictures alone that move.

    Kornia's `warp_affine` multiplies matrices, which autocast does in bfloat16: pictures end up pixels away. So the coordinates are
    computed here, and Kornia's `remap` looks them up.
    """
    rows = drawn.moved.nonzero()[:, 0]
    if not len(rows):
        return x
    translation, scale, angle, mirror = (
        value[rows].to(x)[..., None, None] for value in (drawn.translation, drawn.scale, drawn.angle, drawn.mirror)
    )
    rows = rows.to(x.device)
    size = x.shape[-1]
    # Middles of the pixels, in [-1, 1] along a side; each looks back to where it came from.
    middles = (2 * torch.arange(size, device=x.device, dtype=x.dtype) + 1) / size - 1
    across, down = middles - 2 * translation[:, 0], middles[:, None] - 2 * translation[:, 1]
    cos, sin = angle.cos() / scale, angle.sin() / scale
    map_x, map_y = mirror * (cos * across + sin * down), cos * down - sin * across
    moved = remap(x[rows], map_x, map_y, mode="bilinear", padding_mode="zeros", align_corners=False, normalized_coordinates=True)
    return x.clone().index_copy_(0, rows, moved)  # a clone keeps the memory format


def _cut(x: Tensor, drawn: Draw) -> Tensor:
    """Cut squares out. A pixel that lies partly inside fades by that part, so that all resolutions show the same square."""
    if not bool(drawn.cut.any()):
        return x
    size = x.shape[-1]
    edges = torch.arange(size + 1, device=x.device, dtype=x.dtype) / size
    middle = drawn.cutout.to(x)[:, :, None]
    inside = edges.clamp(middle - CUTOUT / 2, middle + CUTOUT / 2).diff() * size  # (N, 2, R): the share of a column, of a row
    return x * (1 - inside[:, 0, None, None, :] * inside[:, 1, None, :, None])
