"""Kornia's operations as objects of one form: what each draws for a picture, and how it is applied to many."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import kornia.augmentation
import kornia.augmentation.auto
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from genart import UsageError
from genart.nn.kornia_table import INNER, operations

#: Operations that apply each row of their parameters to its own picture, as the tests prove. Any other is applied to
#: one picture at a time: some draw while they apply, or take one picture's parameters for all.
ROWWISE = {
    "CenterCrop",
    "ColorJiggle",
    "ColorJitter",
    "LongestMaxSize",
    "RandomAffine",
    "RandomAutoContrast",
    "RandomBoxBlur",
    "RandomBrightness",
    "RandomChannelShuffle",
    "RandomContrast",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGamma",
    "RandomGaussianBlur",
    "RandomGaussianIllumination",
    "RandomGaussianNoise",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomHue",
    "RandomInvert",
    "RandomLinearCornerIllumination",
    "RandomLinearIllumination",
    "RandomMedianBlur",
    "RandomPerspective",
    "RandomPlanckianJitter",
    "RandomPosterize",
    "RandomRGBShift",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomRotation90",
    "RandomSaltAndPepperNoise",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomSnow",
    "RandomSolarize",
    "RandomThinPlateSpline",
    "RandomTranslate",
    "RandomVerticalFlip",
    "Resize",
    "SmallestMaxSize",
}
#: Functions that give other last bits to a picture among others than alone.
BY_ITSELF = {"jpeg_codec_differentiable"}
#: Functions beside those of geometry that change the size, so that transparency has to come along.
RESIZING = {"blur_pool2d", "edge_aware_blur_pool2d", "max_blur_pool2d"}
#: Functions whose result has a sign, of which the picture is the size.
SIGNED = {"laplacian", "sobel"}
#: Names of functions' first parameter, and of what guides a filter: the picture itself.
PICTURES = {"guidance", "image", "input", "input_tensor", "inp", "src", "tensor", "x"}
#: Parameters of functions that Kornia takes with a row for each picture, and kernels.
ROWS = {
    "M",
    "angle",
    "direction",
    "jpeg_quality",
    "matrix",
    "b_shift",
    "g_shift",
    "r_shift",
    "scale_factor",
    "shear",
    "src_box",
    "translation",
}
KERNELS = {"kernel", "kernel_x", "kernel_y"}
#: Least and greatest value of each channel of a colour space.
SPACES = {
    "hls": ((0.0, 2 * math.pi), (0.0, 1.0), (0.0, 1.0)),
    "hsv": ((0.0, 2 * math.pi), (0.0, 1.0), (0.0, 1.0)),
    "lab": ((0.0, 100.0), (-128.0, 127.0), (-128.0, 127.0)),
    "luv": ((0.0, 100.0), (-134.0, 220.0), (-140.0, 122.0)),
    "xyz": ((0.0, 0.9505), (0.0, 1.0), (0.0, 1.089)),
    "yuv": ((0.0, 1.0), (-0.436, 0.436), (-0.615, 0.615)),
}

Drawn = dict[str, Tensor]
#: One user of torch's global generator at a time: branches of a recipe may run side by side.
generator_lock = threading.Lock()


class Op(ABC):
    """One operation.

    Attributes:
        table: `op`, Kornia's name, and its parameters.
        place: position in the recipe's list, such as "2", or "2.0" within a container: for messages and seeds.
        rowwise: it applies each row of what was drawn to its own picture.
        colour: it changes colours alone, and leaves transparency as it is.
    """

    rowwise = False
    colour = False

    def __init__(self, table: dict[str, Any], place: str) -> None:
        self.name, self.place = str(table["op"]), place
        self.given = {key: value for key, value in table.items() if key not in ("op", INNER)}

    @abstractmethod
    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Draw for pictures of shape (N, C, H, W) from torch's random functions; `batch_prob` says whether it is done at all."""

    @abstractmethod
    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Change pictures, (N, 3 or 4, H, W); without `drawn`, drawing from torch's global generator."""

    def apply(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply to pictures, (N, 3 or 4, H, W) in [0, 1]: colour to RGB alone, geometry to premultiplied RGBA."""
        if images.shape[1] == 3:
            return self.change(images, drawn).clamp(0, 1)
        colours, alpha = images[:, :3], images[:, 3:]
        if self.colour:
            return torch.cat([self.change(colours, drawn).clamp(0, 1), alpha], 1)
        moved = self.change(torch.cat([colours * alpha, alpha], 1), drawn).clamp(0, 1)
        return torch.cat([(moved[:, :3] / moved[:, 3:].clamp_min(1 / 1024)).clamp(0, 1), moved[:, 3:]], 1)

    def refused(self, error: Exception) -> UsageError:
        """What is said where Kornia does not take the parameters: it checks with assertions, ValueError, TypeError and more."""
        reason = f"{error}".partition("\n")[0] or type(error).__name__
        hint = f"its parameters are those of kornia.{operations()[self.name].of}.{self.name}"
        return UsageError(f"augment.ops[{self.place}] {self.name}: {reason}", hint)


class Augmentation(Op):
    """An augmentation, which draws.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: dict[str, Any], place: str) -> None:
        super().__init__(table, place)
        try:
            self.module = _module(getattr(kornia.augmentation, self.name), self.given)
        except Exception as error:
            raise self.refused(error) from error
        self.rowwise = self.name in ROWWISE
        self.colour = isinstance(self.module, IntensityAugmentationBase2D)

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Draw as Kornia does."""
        return dict(self.module.forward_parameters((shape[0], 3 if self.colour else shape[1], *shape[2:])))

    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply Kornia's module."""
        changed: Tensor = self.module(images, params=drawn)
        return changed


class Policy(Op):
    """One of Kornia's learnt or random policies, which choose operations of colour and of geometry by themselves."""

    def __init__(self, table: dict[str, Any], place: str) -> None:
        super().__init__(table, place)
        try:
            self.module = _module(getattr(kornia.augmentation.auto, self.name), self.given)
        except Exception as error:
            raise self.refused(error) from error

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Nothing: it draws while it is applied."""
        return {}

    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply Kornia's module."""
        if images.shape[1] == 4:
            raise UsageError(f"augment.ops[{self.place}] {self.name}: a policy cannot be applied to transparent pictures", 'alpha = "drop"')
        changed: Tensor = self.module(images)
        return changed


class Function(Op):
    """A function, which does the same to every picture, or to a share `p` of them.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: dict[str, Any], place: str) -> None:
        super().__init__(table, place)
        operation = operations()[self.name]
        self.p = float(self.given.pop("p", 1.0))
        self.function = getattr(kornia_module(operation.of), self.name)
        self.takes = inspect.signature(self.function).parameters
        self.colour = not (operation.of.startswith("geometry") or self.name in RESIZING)
        self.rowwise = self.name not in BY_ITSELF
        try:
            self.change(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), {})
        except Exception as error:
            raise self.refused(error) from error

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Whether it is done."""
        return {"batch_prob": (torch.rand(shape[0]) < self.p).float(), "forward_input_shape": torch.tensor(shape)}

    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply Kornia's function; a result of one channel is grey, and what leaves [0, 1] by its nature is brought back."""
        if drawn is None and not bool(self.draw((1, *images.shape[1:]))["batch_prob"] > 0.5):
            return images
        given = {key: self._value(key, value, images) for key, value in self.given.items()}
        picture = scaled(images, self.name, back=True)
        if self.name == "apply_colormap":
            picture = kornia.color.rgb_to_grayscale(picture)
        result = self.function(**{name: picture for name in self.takes if name in PICTURES}, **given)
        if isinstance(result, tuple):  # canny: magnitude, edges; otsu_threshold: picture, thresholds
            result = result[1 if self.name == "canny" else 0]
        if self.name in SIGNED:
            result = result.abs()
        if result.shape[1] == 1:
            result = result.expand(-1, 3, -1, -1)
        return scaled(result, self.name, back=False)

    def _value(self, key: str, value: Any, images: Tensor) -> Any:
        """A recipe's value as Kornia takes it: tensors with a row for each picture, kernels of ones by their size, names of choices."""
        if key == "kernel" and isinstance(value, int | float):
            return torch.ones(int(value), int(value), device=images.device)
        if key in ROWS:
            row = torch.tensor(value, dtype=torch.float32, device=images.device)
            return row.expand(len(images), *row.shape)
        if key in KERNELS:
            kernel = torch.tensor(value, dtype=torch.float32, device=images.device)
            return kernel if key == "kernel" and self.name not in ("filter2d",) else kernel[None]
        if key == "colormap":
            return kornia.color.ColorMap(value)
        if key == "type":
            return getattr(kornia.enhance.ThresholdType, str(value).upper())
        return tuple(value) if isinstance(value, list) else value


class Container(Op):
    """Operations in a sequence, or in a sequence for each patch of a picture."""

    def __init__(self, table: dict[str, Any], place: str) -> None:
        super().__init__(table, place)
        self.ops = [make(inner, f"{place}.{at}") for at, inner in enumerate(table[INNER])]
        self.random_apply = self.given.get("random_apply", False)
        self.grid = tuple(self.given.get("grid_size", (4, 4))) if self.name == "PatchSequential" else None
        self.patchwise = bool(self.given.get("patchwise_apply", True))
        if self.grid and self.patchwise and self.random_apply is False and len(self.ops) != math.prod(self.grid):
            reason = f"{len(self.ops)} operations for {math.prod(self.grid)} patches"
            raise UsageError(f"augment.ops[{place}] {self.name}: {reason}", "give one for each, random_apply, or patchwise_apply = false")

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Nothing: it draws while it is applied."""
        return {}

    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Not used: the operations within know of transparency themselves."""
        return self.apply(images, drawn)

    def apply(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply the operations within to one picture."""
        if self.grid is None:
            return _in_turn(self.chosen(), images)
        rows, columns = self.grid
        if self.given.get("padding") == "valid":  # what is left over is cut off
            images = images[:, :, : images.shape[2] // rows * rows, : images.shape[3] // columns * columns]
        height, width = images.shape[2:]
        tall, wide = -(-height // rows), -(-width // columns)
        padded = torch.nn.functional.pad(images, (0, wide * columns - width, 0, tall * rows - height), mode="replicate")
        patches = [padded[:, :, y * tall : (y + 1) * tall, x * wide : (x + 1) * wide] for y in range(rows) for x in range(columns)]
        by_patch = self.patchwise and self.random_apply is False
        done = [_in_turn([self.ops[at]] if by_patch else self.chosen(), patch) for at, patch in enumerate(patches)]
        lines = [torch.cat(done[y * columns : (y + 1) * columns], 3) for y in range(rows)]
        return torch.cat(lines, 2)[:, :, :height, :width]

    def chosen(self) -> list[Op]:
        """The operations of one picture or patch, in their order: all, or as many as `random_apply` says."""
        count = len(self.ops)
        if self.random_apply is False:
            return self.ops
        if isinstance(self.random_apply, list | tuple):
            low, high = int(self.random_apply[0]), int(self.random_apply[-1]) if len(self.random_apply) > 1 else count
            wanted = int(torch.randint(low, high + 1, ()))
        else:
            wanted = count if self.random_apply is True else int(self.random_apply)
        return [self.ops[int(at)] for at in torch.randperm(count)[:wanted]]


def _in_turn(ops: Sequence[Op], images: Tensor) -> Tensor:
    for op in ops:
        images = op.apply(images, None)
    return images


def make(table: dict[str, Any], place: str) -> Op:
    """The operation of a recipe's table.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """
    operation = operations()[table["op"]]
    if operation.kind == "random":
        return (Policy if operation.of == "augmentation.auto" else Augmentation)(table, place)
    return {"function": Function, "container": Container}[operation.kind](table, place)


def kornia_module(name: str) -> Any:
    """A module of Kornia's, such as "geometry.transform"."""
    return functools.reduce(getattr, name.split("."), kornia)


def scaled(images: Tensor, name: str, *, back: bool) -> Tensor:
    """Channels of a colour space in [0, 1]: what a conversion from RGB gives, and, `back`, what one to RGB takes."""
    before, _, after = name.partition("_to_")
    space = before if back else after
    if space not in SPACES or (before if not back else after) != "rgb":
        return images
    low, high = torch.tensor(SPACES[space], device=images.device).T[:, :, None, None]
    return images * (high - low) + low if back else (images - low) / (high - low)


def _module(kind: Any, parameters: dict[str, Any]) -> Any:
    """Build Kornia's module, and draw from it once, since some values are only looked at then."""
    takes = inspect.signature(kind).parameters
    module = kind(**{key: _as_kornia_takes(value, takes[key].annotation) for key, value in parameters.items()})
    with generator_lock, torch.random.fork_rng(devices=[]):
        module.forward_parameters(torch.Size((1, 3, 64, 64)))
    return module


def _as_kornia_takes(value: Any, annotation: Any) -> Any:
    """Turn a recipe's list into a tensor where Kornia takes nothing else, and into a tuple elsewhere."""
    if annotation in (Tensor, "torch.Tensor", "Tensor"):
        return torch.tensor(value)
    return tuple(_as_kornia_takes(item, None) for item in value) if isinstance(value, list | tuple) else value
