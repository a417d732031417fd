"""Random numbers for many pictures at once, each row from a stream of its own.

Kornia draws for a whole batch with one call of torch, such as `torch.rand(N)`. Within `RowStreams` such a call gives row i the numbers of
picture i's own stream, so that what a picture draws does not depend on its neighbours, and a batch is drawn as fast as by Kornia alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
#: What draws without a row for each picture, or from a distribution that is not drawn here.
OTHER = {torch.multinomial, torch.poisson, torch.normal, torch._standard_gamma, torch._sample_dirichlet}


class NotByRow(Exception):
    """Something drew for the whole batch, so that pictures have to be drawn one by one."""


class RowStreams(TorchFunctionMode):
    """While it is entered, torch's random functions give each row its own stream.

    With a single picture every call belongs to it, and what is not drawn here comes from torch's global generator, which is the
    caller's to seed.

    Args:
        seeds: one for each row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self.seeds = np.array(seeds, dtype=np.uint64)
        self.drawn = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.rand:
            return self.uniform(_shape(args, kwargs)).to(kwargs.get("dtype") or torch.get_default_dtype())
        if func is torch.randn:
            return self.normal(_shape(args, kwargs)).to(kwargs.get("dtype") or torch.get_default_dtype())
        if func is torch.bernoulli and len(args) == 1:
            return (self.uniform(args[0].shape) < args[0]).to(args[0].dtype)
        if func is torch.randint:
            low, high, shape = args if len(args) == 3 else (0, *args)
            return (self.uniform(shape) * (high - low)).long().clamp(max=high - low - 1) + low
        if func is Tensor.uniform_:
            low, high = (*args[1:], *((0.0, 1.0)[len(args) - 1 :]))
            return args[0].copy_(self.uniform(args[0].shape) * (high - low) + low)
        if func is Tensor.normal_:
            mean, std = (*args[1:], *((0.0, 1.0)[len(args) - 1 :]))
            return args[0].copy_(self.normal(args[0].shape) * std + mean)
        if func is torch.randperm:  # an order for each picture, (N, n); for one alone (n,), as torch gives it
            return self.uniform((len(self.seeds), args[0])).argsort(1).squeeze(0)
        if func in OTHER and len(self.seeds) > 1:
            raise NotByRow
        return func(*args, **kwargs)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """(N, ...) float32 in [0, 1), 24 bits.

        Raises:
            NotByRow: if the first dimension is not that of the pictures.
        """
        count = math.prod(shape)
        if len(self.seeds) > 1 and (not shape or shape[0] != len(self.seeds)):
            raise NotByRow
        per_row = count // len(self.seeds)
        places = np.arange(self.drawn + 1, self.drawn + per_row + 1, dtype=np.uint64)
        self.drawn += per_row
        bits = mixed(self.seeds[:, None] + places * GOLDEN) >> np.uint64(40)
        return torch.from_numpy(bits.astype(np.float32) * np.float32(2.0**-24)).reshape(tuple(shape))

    def normal(self, shape: Sequence[int]) -> Tensor:
        """(N, ...) float32 of mean 0 and variance 1 (Box and Muller 1958)."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(shape)))
        return radius * torch.cos(2 * math.pi * self.uniform(shape))


def mixed(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele et al. 2014, figure 16): uint64 to uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    given = kwargs.get("size", args[0] if len(args) == 1 else args)
    return (given,) if isinstance(given, int) else tuple(given)
