"""Kornia's augmentations with a random stream for every picture.

Kornia draws from torch's global generator, once for a whole batch, so that a picture's fate would depend on its neighbours. Here the
parameters of each picture are drawn alone, from its own seed (Kornia separates drawing from applying), and then applied to many
pictures at once. The global generator is left as it was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genart import Batch, GenartError, Images, Run, StageError, UsageError

from .operations import ORDER, SHAPE, Drawn, Op, Simple, counted, generator_lock, make_all, rows
from .rows import NotByRow, RowStreams

#: Pictures worked on at once, at most; fewer are a half, a quarter and so on. Chunks begin at multiples of what they hold, however the
#: pictures arrive, so that the same ones are always computed together and give the same bits.
CHUNK = 256
CHUNK_BYTES = 16 << 20


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
        pixels, metas = _copied(chunk.pixels.to(run.device), chunk.meta, copies)
        for op in ops:
            pixels = augmented(op, pixels, chunk.start * copies, draws, owned=True)
        yield Batch(pixels[done:], metas[done:])


def _copied(pixels: Tensor, metas: list[dict[str, Any]], copies: int) -> tuple[Tensor, list[dict[str, Any]]]:
    """Each picture so many times, one after another; more than one know which of them they are."""
    if copies == 1:
        return pixels, metas
    return pixels.repeat_interleave(copies, 0), [{**meta, "copy": k} for meta in metas for k in range(copies)]


def _chunks(images: Images, copies: int, start: int) -> Iterator[Batch]:
    """Yield pictures of one size in batches whose limits depend on the pictures alone, from that with augmented picture `start` on."""
    first = start // copies
    batches = images.settled().batches(start=first - first % CHUNK) if start else images.batches()
    held: list[Batch] = []
    for part in (part for batch in batches for part in _parts(batch, copies)):
        if held and (held[0].array.shape[1:] != part.array.shape[1:] or part.start % _limit(part, copies) == 0):
            if part.start > first:
                yield _joined(held)
            held = []
        held.append(part)
    if held:
        yield _joined(held)


def _parts(batch: Batch, copies: int) -> Iterator[Batch]:
    """Cut a batch where a chunk begins."""
    limit = _limit(batch, copies)
    at = 0
    while at < len(batch):
        stop = min(len(batch), at + limit - (batch.start + at) % limit)
        yield batch.part(at, stop)
        at = stop


def _limit(batch: Batch, copies: int) -> int:
    """How many pictures such as these make a chunk: a power of two, so that a multiple of CHUNK always begins one."""
    most = max(1, min(CHUNK, CHUNK_BYTES // (4 * batch.array[0].size)) // copies)
    return 1 << most.bit_length() - 1


def _joined(parts: list[Batch]) -> Batch:
    array = parts[0].array if len(parts) == 1 else np.concatenate([part.array for part in parts])
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

    def seeds(self, stream: str, indices: Iterable[int]) -> list[int]:
        """Seeds of pictures in a stream."""
        return self.run.seeds(stream, [index % self.copies for index in indices] if self.film == "once" else indices)

    def drawn(self, op: Simple, first: int, count: int, shape: tuple[int, ...]) -> Drawn:
        """What pictures draw, each alone, a row each; torch's global generator is the caller's."""
        if self.film != "smooth":
            return drawn_by_row(op, self.seeds(op.stream, range(first, first + count)), shape)
        found = []
        for index in range(first, first + count):
            picture, copy = divmod(index, self.copies)
            key, step = divmod(picture, self.period)
            seeds = self.seeds(op.stream, [at * self.copies + copy for at in (0, key, key + 1)])
            three = drawn_by_row(op, seeds, shape)
            film, here, there = (rows(three, torch.tensor([i])) for i in range(3))
            t = step / self.period
            found.append(blended(film, here, there, t * t * (3 - 2 * t)))
        return together(found)


def drawn_by_row(op: Simple, seeds: list[int], shape: tuple[int, ...]) -> Drawn:
    """What pictures of shape (C, H, W) draw, each from its seed: all at once where the operation draws by rows, else one by one."""
    torch.default_generator.manual_seed(seeds[0])  # for what one picture draws otherwise
    try:
        with RowStreams(seeds):
            drawn = op.draw((len(seeds), *shape))
    except NotByRow:
        return together([drawn_by_row(op, [seed], shape) for seed in seeds])
    return {key: value[None] if key == ORDER and value.ndim == 1 else value for key, value in drawn.items()}


def together(parts: list[Drawn]) -> Drawn:
    """Join what batches drew."""
    joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0] if key != SHAPE}
    return counted(joined, parts[0][SHAPE], sum(int(part[SHAPE][0]) for part in parts))


def blended(film: Drawn, here: Drawn, there: Drawn, t: float) -> Drawn:
    """Between two draws: numbers move; whether it is done, in which order, and whole numbers are what was drawn for the whole film."""
    return {
        key: here[key].lerp(there[key], t) if value.is_floating_point() and key != "batch_prob" else value for key, value in film.items()
    }


@torch.no_grad()
def augmented(op: Op, images: Tensor, first: int, draws: Draws, *, owned: bool = False) -> Tensor:
    """Apply one operation to pictures of one size, of which the first has index `first`: (N, C, H, W) to (N, C, H', W').

    Where they are `owned`, nobody else needs the pictures given: they may be written over.
    """
    try:
        return (
            _rowwise(op, images, first, draws, owned=owned) if isinstance(op, Simple) and op.rowwise else _alone(op, images, first, draws)
        )
    except GenartError:
        raise
    except Exception as error:
        reason = f"{error}".partition("\n")[0] or type(error).__name__
        raise StageError(f"augment.ops[{op.place}] {op.name} failed on pictures {first} to {first + len(images) - 1}: {reason}") from error


def _rowwise(op: Simple, images: Tensor, first: int, draws: Draws, *, owned: bool = False) -> Tensor:
    if op.certain:
        return op.apply(images, {})
    with generator_lock, torch.random.fork_rng(devices=[]):
        drawn = draws.drawn(op, first, len(images), tuple(images.shape[1:]))
    of = (drawn["batch_prob"] > 0.5).nonzero().flatten()
    if len(of) == len(images):
        return op.apply(images, drawn)
    if len(of) == 0:
        return images
    on_device = of.to(images.device)
    changed = op.apply(images.index_select(0, on_device), rows(drawn, of))
    if changed.shape[1:] != images.shape[1:]:
        raise UsageError(f"augment.ops[{op.place}] {op.name}: with p below 1 the pictures would differ in size", "set p = 1.0")
    return (images if owned else images.clone()).index_copy_(0, on_device, changed)


def _alone(op: Op, images: Tensor, first: int, draws: Draws) -> Tensor:
    """Draw and apply for one picture at a time, on the CPU: what is drawn while applying comes from the picture's stream too."""
    results = []
    with generator_lock, torch.random.fork_rng(devices=[]):
        for i, image in enumerate(images.cpu()):
            results.append(op.alone(image[None], lambda stream, index=first + i: draws.seeds(stream, [index])[0]))
    return torch.cat(results).to(images.device)
