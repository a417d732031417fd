"""Pictures from wherever they lie, decoded in parallel and in order, those that cannot be used skipped and named."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from genart import Batch, DataError, Run
from genart.nn.ahead import ahead
from genart.nn.pictures import Unread, Unreadable, Want

#: Bytes of pixels in one batch.
BATCH_BYTES = 4 << 20
#: Pictures, and bytes of them in memory, that one task of a worker decodes: handing over a task costs as much as a third of a thumbnail.
PICTURES_PER_TASK, BYTES_PER_TASK = 16, 4 << 20
#: Names of skipped pictures that the warning lists.
NAMES_LISTED = 5


@dataclass(frozen=True)
class Given:
    """A picture that is not decoded yet.

    Attributes:
        name: what people call it; no path.
        meta: its metadata, whole once it is read.
        read: decodes it, as `genart.nn.pictures.decode` does; called in another thread.
        bytes: that it holds in memory.
    """

    name: str
    meta: dict[str, str]
    read: Callable[[Want], np.ndarray]
    bytes: int = 0


def first_of(skipped: Sequence[Mapping[str, str]]) -> str:
    """The first few of the pictures that could not be used, with the reasons, and how many more there are."""
    first = [f"{_printable(one['file'])} ({one['reason']})" for one in skipped[:NAMES_LISTED]]
    more = len(skipped) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def read_given(
    run: Run,
    given: Iterable[Given],
    want: Want,
    *,
    total: int,
    where: str,
    count: int | None = None,
    strict: bool = False,
) -> Iterator[Batch]:
    """Yield pictures in the order given; a batch holds pictures of one size.

    Args:
        run: told of progress and of skipped pictures.
        given: the pictures, read as far ahead as threads decode.
        want: what each is brought to.
        total: how many there are.
        where: what they come from, for messages.
        count: stop after so many.
        strict: stop at the first that cannot be read.

    Raises:
        DataError: if none is usable, or in strict mode one is not.
    """
    run.expect(None)
    made = 0
    with closing(_decoded(given, want, total, strict=strict, run=run)) as decoded:
        for batch in _batches(islice(decoded, count)):
            made += len(batch)
            yield batch
    if made == 0:
        raise DataError(f"{where}: none of the {total} pictures can be used", first_of(run.skipped))
    if run.skipped:
        run.warn(f"skipped {len(run.skipped)} of {total} files: {first_of(run.skipped)}")
        if len(run.skipped) > NAMES_LISTED:
            run.note("--json names every skipped file, and so does the run.json that a recipe's run writes")


@dataclass(frozen=True)
class Decoded:
    """One picture and what is known of it."""

    pixels: np.ndarray
    meta: dict[str, str]


def _decoded(given: Iterable[Given], want: Want, total: int, *, strict: bool, run: Run) -> Generator[Decoded, None, None]:
    """Yield the usable pictures in order; threads decode ahead of the reader, a bounded number of pictures at a time."""

    def decode_each(task: list[Given]) -> list[tuple[Given, np.ndarray | Unreadable]]:
        return [(picture, _decode(picture, want)) for picture in task]

    done = 0
    with closing(ahead(decode_each, _tasks(given, PICTURES_PER_TASK if want.size is not None else 1))) as results:
        for pairs in results:
            for picture, result in pairs:
                if isinstance(result, Unreadable):
                    _skip(picture.name, result, run, strict=strict)
                else:
                    yield Decoded(result, picture.meta)
            done += len(pairs)
            run.progress(done, total)


def _tasks(given: Iterable[Given], most: int) -> Iterator[list[Given]]:
    """Yield lists of pictures for a worker to decode."""
    task: list[Given] = []
    held = 0
    for picture in given:
        task.append(picture)
        held += picture.bytes
        if len(task) >= most or held >= BYTES_PER_TASK:
            yield task
            task, held = [], 0
    if task:
        yield task


def _decode(picture: Given, want: Want) -> np.ndarray | Unreadable:
    try:
        return picture.read(want)
    except Unread as error:
        raise error.named(picture.name) from error
    except Unreadable as error:
        return error


def _skip(name: str, error: Unreadable, run: Run, *, strict: bool) -> None:
    if strict:
        raise DataError(f"{name}: {error}", "mend or remove this picture, or leave out `strict` to skip such pictures") from error
    run.skip(name, str(error))


def _batches(pictures: Iterable[Decoded]) -> Iterator[Batch]:
    """Gather consecutive pictures of one size into batches of a bounded number of bytes."""
    held: list[Decoded] = []
    for picture in chain(pictures, [None]):
        full = held and (
            picture is None or held[0].pixels.shape != picture.pixels.shape or len(held) * held[0].pixels.nbytes >= BATCH_BYTES
        )
        if full:
            yield Batch.from_array(np.stack([one.pixels for one in held]), [one.meta for one in held])
            held = []
        if picture is not None:
            held.append(picture)
