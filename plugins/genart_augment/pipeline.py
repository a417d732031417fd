"""Kornia's augmentations with a random stream for every picture.

Kornia draws from torch's global generator, once for a whole batch, so that a picture's fate would depend on its neighbours. Here the
parameters of each picture are drawn alone, from its own seed (Kornia separates drawing from applying), and then applied to many
pictures at once. The global generator is left as it was found.
"""

from __future__ import annotations

import inspect
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import kornia.augmentation
import numpy as np
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from genart import Batch, GenartError, Images, Run, StageError, UsageError

#: Pictures worked on at once, at most. Chunks begin at multiples of it, however the pictures arrive, so that the same ones
#: are always computed together and give the same bits.
CHUNK = 256
CHUNK_BYTES = 16 << 20

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
#: Parameters that Kornia draws once per call: pictures that drew the same are applied together.
SHARED = ("order",)

Drawn = dict[str, Tensor]
#: One user of torch's global generator at a time: branches of a recipe may run side by side.
_generator_lock = threading.Lock()


class Op:
    """One operation: Kornia's module and how to use it.

    Args:
        table: `op`, the class's name, and its parameters.
        place: position in the recipe's list, for messages and seeds.

    Raises:
        UsageError: if Kornia does not take the parameters.
    """

    def __init__(self, table: dict[str, Any], place: int) -> None:
        self.name = table["op"]
        self.place = place
        try:
            self.module = _module(self.name, {key: value for key, value in table.items() if key != "op"})
        except Exception as error:  # Kornia checks with assertions, ValueError, TypeError and more
            reason = f"{error}".partition("\n")[0] or type(error).__name__
            hint = f"its parameters are those of kornia.augmentation.{self.name}"
            raise UsageError(f"augment.ops[{place}] {self.name}: {reason}", hint) from error
        self.rowwise = self.name in ROWWISE
        self.colour = isinstance(self.module, IntensityAugmentationBase2D)

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """Draw the parameters of one picture of shape (C, H, W) from torch's global generator."""
        return dict(self.module.forward_parameters((1, 3 if self.colour else shape[0], *shape[1:])))

    def apply(self, images: Tensor, drawn: Drawn | None) -> Tensor:
        """Apply to pictures, (N, 3 or 4, H, W) in [0, 1]: colour to RGB alone, geometry to premultiplied RGBA."""
        if images.shape[1] == 3:
            return torch.clamp(self.module(images, params=drawn), 0, 1)
        colours, alpha = images[:, :3], images[:, 3:]
        if self.colour:
            return torch.cat([self.module(colours, params=drawn).clamp(0, 1), alpha], 1)
        moved = self.module(torch.cat([colours * alpha, alpha], 1), params=drawn).clamp(0, 1)
        return torch.cat([(moved[:, :3] / moved[:, 3:].clamp_min(1 / 1024)).clamp(0, 1), moved[:, 3:]], 1)


def _module(name: str, parameters: dict[str, Any]) -> Any:
    """Build Kornia's module, and draw from it once, since some values are only looked at then."""
    make = getattr(kornia.augmentation, name)
    takes = inspect.signature(make).parameters
    module = make(**{key: _as_kornia_takes(value, takes[key].annotation) for key, value in parameters.items()})
    with _generator_lock, torch.random.fork_rng(devices=[]):
        module.forward_parameters((1, 3, 64, 64))
    return module


def _as_kornia_takes(value: Any, annotation: Any) -> Any:
    """Turn a recipe's list into a tensor where Kornia takes nothing else, and into a tuple elsewhere."""
    if annotation in (Tensor, "torch.Tensor", "Tensor"):
        return torch.tensor(value)
    return tuple(_as_kornia_takes(item, None) for item in value) if isinstance(value, list | tuple) else value


def augment_images(run: Run, images: Images, tables: list[dict[str, Any]], *, copies: int = 1) -> Iterator[Batch]:
    """Yield augmented pictures with their metadata.

    Args:
        run: gives each operation on each picture its seed, and the device.
        images: RGB or RGBA of any sizes.
        tables: operations, each `{"op": name, parameter: value, ...}`.
        copies: pictures made of each one.

    Raises:
        UsageError: if Kornia refuses an operation's parameters; before the first picture.
        StageError: if an operation fails on a picture.
    """
    ops = [Op(table, place) for place, table in enumerate(tables)]
    run.expect(None if images.count is None else images.count * copies, images.fps)
    for chunk in _chunks(images, copies):
        pixels = chunk.pixels.to(run.device).repeat_interleave(copies, 0)
        metas = [{**meta, **({"copy": k} if copies > 1 else {})} for meta in chunk.meta for k in range(copies)]
        for op in ops:
            pixels = _augment(op, pixels, chunk.start * copies, run)
        yield Batch(pixels, metas)


def _chunks(images: Images, copies: int) -> Iterator[Batch]:
    """Yield pictures of one size in batches whose limits depend on the pictures alone, not on how they arrive."""
    held: list[Batch] = []
    limit = 0
    for one in (batch.part(i, i + 1) for batch in images for i in range(len(batch))):
        if held and (held[0].array.shape != one.array.shape or len(held) >= limit):
            yield _joined(held)
            held = []
        if not held:
            limit = max(1, min(CHUNK, CHUNK_BYTES // (4 * one.array.size)) // copies)
        held.append(one)
    if held:
        yield _joined(held)


def _joined(parts: list[Batch]) -> Batch:
    array = np.concatenate([part.array for part in parts])
    return Batch.from_array(array, [meta for part in parts for meta in part.meta], start=parts[0].start)


@torch.no_grad()
def _augment(op: Op, images: Tensor, first: int, run: Run) -> Tensor:
    """Apply one operation to pictures of one size, of which the first has index `first`: (N, C, H, W) to (N, C, H', W')."""
    seeds = [run.seed(f"op{op.place}", first + i) for i in range(len(images))]
    try:
        return _rowwise(op, images, seeds) if op.rowwise else _alone(op, images, seeds)
    except GenartError:
        raise
    except Exception as error:
        reason = f"{error}".partition("\n")[0] or type(error).__name__
        raise StageError(f"augment.ops[{op.place}] {op.name} failed on pictures {first} to {first + len(images) - 1}: {reason}") from error


def _rowwise(op: Op, images: Tensor, seeds: list[int]) -> Tensor:
    drawn: list[Drawn] = []
    with _generator_lock, torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.default_generator.manual_seed(seed)
            drawn.append(op.draw(tuple(images.shape[1:])))
    groups: dict[tuple[bytes, ...], list[int]] = defaultdict(list)
    for i, params in enumerate(drawn):
        if bool(params["batch_prob"] > 0.5):
            groups[tuple(params[key].numpy().tobytes() for key in SHARED if key in params)].append(i)
    results = [(rows, op.apply(images[rows], _together([drawn[i] for i in rows]))) for rows in groups.values()]
    return _put_back(op, images, results)


def _together(drawn: list[Drawn]) -> Drawn:
    """Join the parameters of single pictures, each (1, ...), to those of a batch, (N, ...)."""
    shared = {key: value for key, value in drawn[0].items() if key in SHARED}
    shape = drawn[0]["forward_input_shape"].clone()
    shape[0] = len(drawn)
    rows = {key: torch.cat([params[key] for params in drawn]) for key in drawn[0] if key not in (*SHARED, "forward_input_shape")}
    return {**rows, **shared, "forward_input_shape": shape}


def _put_back(op: Op, images: Tensor, results: list[tuple[list[int], Tensor]]) -> Tensor:
    done = sum(len(rows) for rows, _ in results)
    if done == 0:
        return images
    shape = results[0][1].shape[1:]
    if done < len(images) and shape != images.shape[1:]:
        raise UsageError(f"augment.ops[{op.place}] {op.name}: with p below 1 the pictures would differ in size", "set p = 1.0")
    out = images.new_empty((len(images), *shape)) if done == len(images) else images.clone()
    for rows, pixels in results:
        out[rows] = pixels
    return out


def _alone(op: Op, images: Tensor, seeds: list[int]) -> Tensor:
    """Draw and apply for one picture at a time, on the CPU: what is drawn while applying comes from the picture's stream too."""
    results = []
    with _generator_lock, torch.random.fork_rng(devices=[]):
        for image, seed in zip(images.cpu(), seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            results.append(op.apply(image[None], None))
    return torch.cat(results).to(images.device)
