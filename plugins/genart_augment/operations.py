"""Kornia's operations as objects of one form: what each draws for a picture, and how it is applied to many."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import kornia.augmentation
import kornia.augmentation.auto
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from genart import UsageError
from genart.nn.kornia_table import INNER, operations

from .rows import RowStreams

#: Sides in pixels of the picture that operations are tried on, and of the largest: kernels and crops may not fit the first.
TRIAL, LARGEST_TRIAL = 64, 4096
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
#: Of those, what moves pixels, or takes means of them with weights that are not negative: values stay within [0, 1] (but for rounding)
#: unless a recipe gives one of UNBOUNDED.
BOUNDED = {
    "CenterCrop",
    "RandomAffine",
    "RandomGaussianBlur",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomRotation90",
    "RandomShear",
    "RandomTranslate",
    "RandomVerticalFlip",
}
UNBOUNDED = {"fill_value", "resample"}
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

#: Where Kornia keeps the shape of the batch that was drawn for, and the order of an operation's steps: one for a batch; here (N, steps).
SHAPE, ORDER = "forward_input_shape", "order"

Drawn = dict[str, Tensor]
#: The seed of a stream of the picture that is worked on, by its label.
Seeds = Callable[[str], int]
#: One user of torch's global generator at a time: branches of a recipe may run side by side.
generator_lock = threading.Lock()


def rows(drawn: Drawn, of: Tensor) -> Drawn:
    """What some pictures of a batch drew."""
    return counted({key: value.index_select(0, of) for key, value in drawn.items() if key != SHAPE}, drawn[SHAPE], len(of))


def counted(drawn: Drawn, shape: Tensor, count: int) -> Drawn:
    """What so many pictures drew, of a shape (N, C, H, W) whose N is another."""
    return {**drawn, SHAPE: torch.cat([shape.new_tensor([count]), shape[1:]])}


class Op(ABC):
    """One operation.

    Attributes:
        table: `op`, Kornia's name, and its parameters.
        place: position in the recipe's list, such as "2", or "2.0" within a container: for messages.
        stream: label of its random stream: its name and how many of that name stand before it, such as "RandomAffine.0".
        rowwise: it applies each row of what was drawn to its own picture.
        colour: it changes colours alone, and leaves transparency as it is.
        bounded: what it makes of values in [0, 1] lies there too.
        certain: it draws nothing, and is done to every picture.
    """

    rowwise = False
    colour = False
    bounded = False
    certain = False

    def __init__(self, table: dict[str, Any], place: str, stream: str) -> None:
        self.name, self.place, self.stream = str(table["op"]), place, stream
        self.given = {key: value for key, value in table.items() if key not in ("op", INNER)}

    @abstractmethod
    def alone(self, image: Tensor, seeds: Seeds) -> Tensor:
        """Draw and apply for one picture, (1, 3 or 4, H, W) in [0, 1]; torch's global generator is the caller's."""

    def refused(self, error: Exception) -> UsageError:
        """What is said where Kornia does not take the parameters: it checks with assertions, ValueError, TypeError and more."""
        reason = f"{error}".partition("\n")[0] or type(error).__name__
        hint = f"its parameters are those of kornia.{operations()[self.name].of}.{self.name}"
        return UsageError(f"augment.ops[{self.place}] {self.name}: {reason}", hint)


class Simple(Op):
    """An operation without others within."""

    @abstractmethod
    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Draw for pictures of shape (N, C, H, W) from torch's random functions; `batch_prob` says whether it is done at all."""

    @abstractmethod
    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Change pictures, (N, 3 or 4, H, W); without `drawn`, drawing from torch's global generator."""

    def apply(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply to pictures, (N, 3 or 4, H, W) in [0, 1]: colour to RGB alone, geometry to premultiplied RGBA."""
        if images.shape[1] == 3:
            changed = self.change(images, drawn)
            return changed if self.bounded else _clamped(changed)
        colours, alpha = images[:, :3], images[:, 3:]
        if self.colour:
            return torch.cat([_clamped(self.change(colours, drawn)), alpha], 1)
        moved = _clamped(self.change(torch.cat([colours * alpha, alpha], 1), drawn))
        return torch.cat([(moved[:, :3] / moved[:, 3:].clamp_min(1 / 1024)).clamp(0, 1), moved[:, 3:]], 1)

    def alone(self, image: Tensor, seeds: Seeds) -> Tensor:
        """Draw and apply, from a stream of its own."""
        with one_stream(seeds(self.stream)):
            return self.apply(image, None)


def _clamped(images: Tensor) -> Tensor:
    """Bring to [0, 1], in place where it can be: what Kornia gives is new, or the picture itself, which lies there already."""
    return images.clamp_(0, 1) if images.is_contiguous() else images.clamp(0, 1)


class Augmentation(Simple):
    """An augmentation, which draws.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: dict[str, Any], place: str, stream: str) -> None:
        super().__init__(table, place, stream)
        try:
            self.module = _module(getattr(kornia.augmentation, self.name), self.given)
        except Exception as error:
            raise self.refused(error) from error
        self.rowwise = self.name in ROWWISE
        self.colour = isinstance(self.module, IntensityAugmentationBase2D)
        self.bounded = self.name in BOUNDED and not UNBOUNDED & self.given.keys()

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Draw as Kornia does."""
        return dict(self.module.forward_parameters((shape[0], 3 if self.colour else shape[1], *shape[2:])))

    def change(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply Kornia's module; where each picture drew an order of its steps, to those together that come to the same step."""
        if drawn is None or ORDER not in drawn or self.given.get(ORDER) is not None:
            changed: Tensor = self.module(images, params=drawn)
            return changed
        for steps in drawn[ORDER].T:
            changed = torch.empty_like(images)
            for step in steps.unique():
                of = (steps == step).nonzero().flatten()
                on_device = of.to(images.device)
                done = self.module(images.index_select(0, on_device), params={**rows(drawn, of), ORDER: step[None]})
                changed.index_copy_(0, on_device, done)
            images = changed
        return changed


class Policy(Simple):
    """One of Kornia's learnt or random policies, which choose operations of colour and of geometry by themselves."""

    def __init__(self, table: dict[str, Any], place: str, stream: str) -> None:
        super().__init__(table, place, stream)
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


class Function(Simple):
    """A function, which does the same to every picture, or to a share `p` of them.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: dict[str, Any], place: str, stream: str) -> None:
        super().__init__(table, place, stream)
        operation = operations()[self.name]
        self.p = float(self.given.pop("p", 1.0))
        self.function = getattr(kornia_module(operation.of), self.name)
        self.takes = inspect.signature(self.function).parameters
        self.colour = not (operation.of.startswith("geometry") or self.name in RESIZING)
        self.rowwise = self.name not in BY_ITSELF
        self.certain = self.p >= 1
        try:
            try_out(lambda side: self.change(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)), {}), self.given)
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

    def __init__(self, table: dict[str, Any], place: str, stream: str) -> None:
        super().__init__(table, place, stream)
        self.ops = make_all(table[INNER], f"{place}.", f"{stream}.")
        self.random_apply = self.given.get("random_apply", False)
        self.grid = tuple(self.given.get("grid_size", (4, 4))) if self.name == "PatchSequential" else None
        self.patchwise = bool(self.given.get("patchwise_apply", True))
        if self.grid and self.patchwise and self.random_apply is False and len(self.ops) != math.prod(self.grid):
            reason = f"{len(self.ops)} operations for {math.prod(self.grid)} patches"
            raise UsageError(f"augment.ops[{place}] {self.name}: {reason}", "give one for each, random_apply, or patchwise_apply = false")

    def alone(self, image: Tensor, seeds: Seeds) -> Tensor:
        """Apply the operations within, each drawing from a stream of its own, in each patch another."""
        if self.grid is None:
            return self._in_turn(image, seeds)
        rows, columns = self.grid
        if self.given.get("padding") == "valid":  # what is left over is cut off
            image = image[:, :, : image.shape[2] // rows * rows, : image.shape[3] // columns * columns]
        height, width = image.shape[2:]
        tall, wide = -(-height // rows), -(-width // columns)
        padded = torch.nn.functional.pad(image, (0, wide * columns - width, 0, tall * rows - height), mode="replicate")
        patches = [padded[:, :, y * tall : (y + 1) * tall, x * wide : (x + 1) * wide] for y in range(rows) for x in range(columns)]
        by_patch = self.patchwise and self.random_apply is False
        done = []
        for at, patch in enumerate(patches):
            of_patch = functools.partial(_of_patch, seeds, at)
            done.append(self.ops[at].alone(patch, of_patch) if by_patch else self._in_turn(patch, of_patch))
        lines = [torch.cat(done[y * columns : (y + 1) * columns], 3) for y in range(rows)]
        return torch.cat(lines, 2)[:, :, :height, :width]

    def _in_turn(self, image: Tensor, seeds: Seeds) -> Tensor:
        with one_stream(seeds(self.stream)):
            chosen = self.chosen()
        for op in chosen:
            image = op.alone(image, seeds)
        return image

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


def _of_patch(seeds: Seeds, at: int, label: str) -> int:
    return seeds(f"{label}@{at}")


@contextmanager
def one_stream(seed: int) -> Iterator[None]:
    """While it is entered, torch's random functions draw from this seed; its global generator is the caller's."""
    torch.default_generator.manual_seed(seed)
    with RowStreams([seed]):
        yield


def make_all(tables: Sequence[dict[str, Any]], within: str = "", stream: str = "") -> list[Op]:
    """The operations of a recipe's list; `within` and `stream` stand before their places and streams.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """
    met: Counter[str] = Counter()
    ops = []
    for at, table in enumerate(tables):
        name = table["op"]
        ops.append(make(table, f"{within}{at}", f"{stream}{name}.{met[name]}"))
        met[name] += 1
    return ops


def make(table: dict[str, Any], place: str, stream: str | None = None) -> Op:
    """The operation of a recipe's table; `stream` is that of the first one of its name if it is not given.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """
    stream = stream or f"{table['op']}.0"
    operation = operations()[table["op"]]
    if operation.kind == "random":
        return (Policy if operation.of == "augmentation.auto" else Augmentation)(table, place, stream)
    return {"function": Function, "container": Container}[operation.kind](table, place, stream)


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
        try_out(lambda side: module.forward_parameters(torch.Size((1, 3, side, side))), parameters)
    return module


def try_out(attempt: Callable[[int], object], given: dict[str, Any]) -> None:
    """Try an operation on a picture of so many pixels along its sides: on a small one, or on one that the numbers given fit into.

    Where they are beyond all bounds, the first picture tells.

    Raises:
        Exception: what the attempt raises.
    """
    try:
        attempt(TRIAL)
        return
    except Exception:
        largest = max(_numbers(given.values()), default=0)
        if largest < TRIAL:
            raise
    if largest >= LARGEST_TRIAL:
        return
    with suppress(Exception):
        attempt(int(largest) // 2 + 1)  # enough for a kernel
        return
    attempt(int(largest) + 1)


def _numbers(values: Iterable[Any]) -> Iterator[float]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _numbers(value)
        elif isinstance(value, int | float):
            yield value


def _as_kornia_takes(value: Any, annotation: Any) -> Any:
    """Turn a recipe's list into a tensor where Kornia takes nothing else, and into a tuple elsewhere."""
    if annotation in (Tensor, "torch.Tensor", "Tensor"):
        return torch.tensor(value)
    return tuple(_as_kornia_takes(item, None) for item in value) if isinstance(value, list | tuple) else value
