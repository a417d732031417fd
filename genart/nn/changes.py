"""Kornia's augmentations as changes of what D sees, beside the named ones of `genart.nn.diffaugment`.

Each meets a picture with a probability p and lets gradients through to G (Zhao et al. 2020, Karras et al. 2020; see there). What it draws
comes from the step's own stream and not from torch's generator, so that a resumed training draws the same. They are done before the named
changes, to pictures in their range: geometry in [-1, 1], where what it uncovers is grey, and all else in [0, 1], as Kornia takes it.
Kornia clamps what leaves that range; there no gradient passes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import kornia.augmentation
import torch
from kornia.augmentation import GeometricAugmentationBase2D
from torch import Tensor
from torch.overrides import TorchFunctionMode

from genart.errors import UsageError

from . import shards
from .images import to_signed, to_unit

#: Torch's random functions that take a generator.
DRAWING = frozenset(
    (
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.bernoulli,
        torch.normal,
        torch.multinomial,
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.bernoulli_,
        Tensor.random_,
    )
)
#: Seeds of the streams of single changes.
SEEDS = 2**62


class FromStream(TorchFunctionMode):
    """While it is entered, torch's random functions draw from a generator, and torch's own stays as it is.

    Args:
        generator: on the CPU.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        if func in DRAWING:
            given["generator"] = self.generator
        return func(*args, **given)


class Change:
    """One augmentation of Kornia.

    Args:
        table: `op`, Kornia's name, and its parameters; see `genart.nn.kornia_table.read_change`.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        name = str(table["op"])
        kind = getattr(kornia.augmentation, name)
        takes = inspect.signature(kind).parameters
        try:
            given = {key: _as_kornia_takes(value, takes[key].annotation) for key, value in table.items() if key != "op"}
            self.module = kind(**given, p=1.0)
            with FromStream(torch.Generator().manual_seed(0)):  # some values are only looked at when it draws
                self.module.forward_parameters(torch.Size((1, 3, 64, 64)))
        except Exception as error:  # it checks with assertions, ValueError, TypeError and more
            reason = f"{error}".partition("\n")[0] or type(error).__name__
            hint = f"its parameters are those of kornia.augmentation.{name}"
            raise UsageError(f"augment_policy: {name}: {reason}", hint) from error
        self.geometric = isinstance(self.module, GeometricAugmentationBase2D)

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Change all of (N, 3, R, R) float32 in [-1, 1], as drawn from a seed; the same shape."""
        with FromStream(torch.Generator().manual_seed(seed)):
            drawn = self.module.forward_parameters(images.shape)
            changed: Tensor = self.module(images if self.geometric else to_unit(images), params=drawn)
        return changed if self.geometric else to_signed(changed)


class Changes:
    """Augmentations of Kornia, one after another.

    Args:
        tables: of each, `op` and parameters.

    Raises:
        UsageError: if Kornia does not take the parameters of one.
    """

    def __init__(self, tables: Sequence[Mapping[str, Any]]) -> None:
        self.changes = [Change(table) for table in tables]

    def __call__(self, pictures: tuple[Tensor, ...], p: float, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Change pictures; differentiable once in them.

        Args:
            pictures: (N, 3, R, R) in [-1, 1], one tensor for each scale of the same N pictures. All scales of a picture are changed or
                none, and draw from the same stream; what is drawn in pixels still depends on the scale.
            p: probability, in [0, 1], that a change meets a picture, for each change and picture by itself.
            generator: on the CPU. What is taken from it depends neither on p nor on what is drawn. Of a batch that processes share, each
                changes its own pictures by a stream of its own, since Kornia draws for those that it is given.

        Returns:
            The same shapes, types and memory formats.
        """
        for change in self.changes:
            coins = shards.drawn(lambda n: torch.rand(n, generator=generator), len(pictures[0]))
            seed = int(torch.randint(SEEDS, (), generator=generator)) ^ shards.active().rank
            rows = (coins < p).nonzero()[:, 0]
            if len(rows):
                pictures = tuple(_changed(change, part, rows.to(part.device), seed) for part in pictures)
        return pictures


def _changed(change: Change, images: Tensor, rows: Tensor, seed: int) -> Tensor:
    """Change some of the pictures. In bfloat16 a coordinate would be wrong by pixels."""
    with torch.autocast(images.device.type, enabled=False):
        changed = change(images[rows].float().contiguous(), seed)
    return images.clone().index_copy_(0, rows, changed.to(images.dtype))  # a clone keeps the memory format


def _as_kornia_takes(value: Any, annotation: Any) -> Any:
    """Turn a list into a tensor where Kornia takes nothing else, and into a tuple elsewhere."""
    if annotation in (Tensor, "torch.Tensor", "Tensor"):
        return torch.tensor(value)
    return tuple(_as_kornia_takes(item, None) for item in value) if isinstance(value, list | tuple) else value
