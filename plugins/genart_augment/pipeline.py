"""Kornia's augmentations with a random stream for every picture.

Kornia draws from torch's global generator, once for a whole batch, so that a picture's fate would depend on its neighbours. Here the
parameters of each picture are drawn alone, from its own seed (Kornia separates drawing from applying), and then applied to many
pictures at once. The global generator is left as it was found.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genart import Batch, GenartError, Images, Run, StageError, UsageError

from .operations import Drawn, Op, Simple, generator_lock, make_all
from .rows import NotByRow, RowStreams

#: Pictures worked on at once, at most; fewer are a half, a quarter and so on. Chunks begin at multiples of what they hold, however the
#: pictures arrive, so that the same ones are always computed together and give the same bits.
CHUNK = 256
CHUNK_BYTES = 16 << 20

#: Parameters that Kornia draws once per call: pictures that drew the same are applied together.
SHARED = ("order",)


def augment_images(
    run: Run, images: Images, tables: list[dict[str, Any]], *, copies: int = 1, film: str = "each", period: int = 24
) -> Iterator[Batch]:
    """Yield augmented pictures from `run.start` on, with their metadata.

    Args:
        run: gives each operation on each picture its seed, and the device.
        images: RGB or RGBA of any sizes.
        tables: operations, each `{"op": name, parameter: value, ...}`.
        copies: pictures made of each one.
        film: what pictures draw: "each" its own, all the same ("once"), or values that move from one to the next ("smooth");
            what cannot move, such as whether an operation is done at all, is then the same for all.
        period: pictures from one drawn value to the next, where they move.

    Raises:
        UsageError: if Kornia refuses an operation's parameters, or one cannot move; before the first picture.
        StageError: if an operation fails on a picture.
    """
    ops = make_all(tables)
    draws = Draws(run, copies, film, period)
    draws.check(ops)
    run.expect(None if images.count is None else images.count * copies, images.fps)
    for chunk in _chunks(images, copies, run.start):
        done = max(0, run.start - chunk.start * copies)  # computed with their chunk, kept already
        pixels = chunk.pixels.to(run.device).repeat_interleave(copies, 0)
        metas = [{**meta, **({"copy": k} if copies > 1 else {})} for meta in chunk.meta for k in range(copies)]
        for op in ops:
            pixels = augmented(op, pixels, chunk.start * copies, draws)
        yield Batch(pixels[done:], metas[done:])


def _chunks(images: Images, copies: int, start: int) -> Iterator[Batch]:
    """Yield pictures of one size in batches whose limits depend on the pictures alone, from that with augmented picture `start` on."""
    first = start // copies
    batches = images.settled().batches(start=first - first % CHUNK) if start else images.batches()
    held: list[Batch] = []
    for one in (batch.part(i, i + 1) for batch in batches for i in range(len(batch))):
        if held and (held[0].array.shape != one.array.shape or one.start % _limit(one, copies) == 0):
            if one.start > first:
                yield _joined(held)
            held = []
        held.append(one)
    if held:
        yield _joined(held)


def _limit(one: Batch, copies: int) -> int:
    """How many pictures such as this one make a chunk: a power of two, so that a multiple of CHUNK always begins one."""
    most = max(1, min(CHUNK, CHUNK_BYTES // (4 * one.array.size)) // copies)
    return 1 << most.bit_length() - 1


def _joined(parts: list[Batch]) -> Batch:
    array = np.concatenate([part.array for part in parts])
    return Batch.from_array(array, [meta for part in parts for meta in part.meta], start=parts[0].start)


@dataclass(frozen=True)
class Draws:
    """What pictures draw, by their index; see `augment_images`."""

    run: Run
    copies: int = 1
    film: str = "each"
    period: int = 24

    def check(self, ops: list[Op]) -> None:
        """Refuse to move what draws while it is applied.

        Raises:
            UsageError: for such an operation.
        """
        for op in ops:
            if self.film == "smooth" and not op.rowwise:
                raise UsageError(
                    f'augment.ops[{op.place}] {op.name} cannot move from picture to picture (film = "smooth")', 'film = "once"'
                )

    def seed(self, stream: str, index: int) -> int:
        """Seed of a picture in a stream."""
        return self.run.seed(stream, index % self.copies if self.film == "once" else index)

    def drawn(self, op: Simple, first: int, count: int, shape: tuple[int, ...]) -> list[Drawn]:
        """What pictures draw, each alone; torch's global generator is the caller's."""
        if self.film != "smooth":
            return drawn_by_row(op, [self.seed(op.stream, index) for index in range(first, first + count)], shape)
        found = []
        for index in range(first, first + count):
            picture, copy = divmod(index, self.copies)
            key, step = divmod(picture, self.period)
            seeds = [self.seed(op.stream, at * self.copies + copy) for at in (0, key, key + 1)]
            film, here, there = drawn_by_row(op, seeds, shape)
            t = step / self.period
            found.append(blended(film, here, there, t * t * (3 - 2 * t)))
        return found


def drawn_by_row(op: Simple, seeds: list[int], shape: tuple[int, ...]) -> list[Drawn]:
    """What pictures of shape (C, H, W) draw, each from its seed: all at once where the operation draws by rows, else one by one."""
    torch.default_generator.manual_seed(seeds[0])  # for what one picture draws otherwise
    try:
        with RowStreams(seeds):
            drawn = op.draw((len(seeds), *shape))
        return split(drawn, len(seeds))
    except NotByRow:
        return [one for seed in seeds for one in drawn_by_row(op, [seed], shape)]


def split(drawn: Drawn, count: int) -> list[Drawn]:
    """What a batch drew, by picture."""
    if count == 1:
        return [drawn]
    shape = drawn["forward_input_shape"].clone()
    shape[0] = 1
    rows = [key for key in drawn if key not in (*SHARED, "forward_input_shape")]
    found = []
    for i in range(count):
        own = {key: drawn[key][i : i + 1] for key in rows}
        shared = {key: drawn[key][i] if drawn[key].ndim == 2 else drawn[key] for key in SHARED if key in drawn}
        found.append({**own, **shared, "forward_input_shape": shape})
    return found


def blended(film: Drawn, here: Drawn, there: Drawn, t: float) -> Drawn:
    """Between two draws: numbers move; whether it is done, in which order, and whole numbers are what was drawn for the whole film."""
    return {
        key: here[key].lerp(there[key], t) if value.is_floating_point() and key != "batch_prob" else value for key, value in film.items()
    }


@torch.no_grad()
def augmented(op: Op, images: Tensor, first: int, draws: Draws) -> Tensor:
    """Apply one operation to pictures of one size, of which the first has index `first`: (N, C, H, W) to (N, C, H', W')."""
    try:
        return _rowwise(op, images, first, draws) if isinstance(op, Simple) and op.rowwise else _alone(op, images, first, draws)
    except GenartError:
        raise
    except Exception as error:
        reason = f"{error}".partition("\n")[0] or type(error).__name__
        raise StageError(f"augment.ops[{op.place}] {op.name} failed on pictures {first} to {first + len(images) - 1}: {reason}") from error


def _rowwise(op: Simple, images: Tensor, first: int, draws: Draws) -> Tensor:
    with generator_lock, torch.random.fork_rng(devices=[]):
        drawn = draws.drawn(op, first, len(images), tuple(images.shape[1:]))
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


def _alone(op: Op, images: Tensor, first: int, draws: Draws) -> Tensor:
    """Draw and apply for one picture at a time, on the CPU: what is drawn while applying comes from the picture's stream too."""
    results = []
    with generator_lock, torch.random.fork_rng(devices=[]):
        for i, image in enumerate(images.cpu()):
            results.append(op.alone(image[None], functools.partial(draws.seed, index=first + i)))
    return torch.cat(results).to(images.device)
