"""A folder of pictures, decoded once, in parallel and in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from genart import Batch, DataError, Run
from genart.nn.pictures import Unread, Unreadable, Want, decode, picture_files

#: Bytes of pixels in one batch.
BATCH_BYTES = 4 << 20
#: Files that one task of a worker decodes: handing over a task costs as much as a third of a thumbnail.
FILES_PER_TASK = 16
#: Names of skipped files that the warning lists.
NAMES_LISTED = 5


def first_of(skipped: Sequence[Mapping[str, str]]) -> str:
    """The first few of the files that could not be used, with the reasons, and how many more there are."""
    first = [f"{_printable(one['file'])} ({one['reason']})" for one in skipped[:NAMES_LISTED]]
    more = len(skipped) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def read_folder(
    run: Run,
    paths: Sequence[Path],
    *,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
    count: int | None = None,
    background: str = "#ffffff",
    keep_alpha: bool = False,
    strict: bool = False,
) -> Iterator[Batch]:
    """Yield the pictures of folders, each in the order of its sorted paths.

    Args:
        run: told of progress and of skipped files.
        paths: folders and pictures.
        size: width and height to bring each picture to; None keeps each one's own, and a batch holds pictures of one size.
        fit: "crop", "letterbox" or "stretch".
        count: stop after so many pictures.
        background: "#rrggbb" behind transparency and in letterbox bars.
        keep_alpha: give RGBA.
        strict: stop at the first picture that cannot be read.

    Raises:
        DataError: if one of the folders holds no picture, none is usable, or in strict mode one is not.
    """
    found = {path: picture_files(path) for path in paths}
    files = [Found(file, path if path.is_dir() else path.parent) for path in paths for file in found[path]]
    run.expect(None)
    given = 0
    want = Want(size, fit, background, keep_alpha)
    with closing(_decoded(files, want, strict=strict, run=run)) as decoded:
        for batch in _batches(islice(decoded, count)):
            given += len(batch)
            yield batch
    if given == 0:
        where = f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        raise DataError(f"{where}: none of the {len(files)} pictures can be used", first_of(run.skipped))
    if run.skipped:
        run.warn(f"skipped {len(run.skipped)} of {len(files)} files: {first_of(run.skipped)}")
        if len(run.skipped) > NAMES_LISTED:
            run.note("run.json and --json name every skipped file")
    empty = [name for path in found if path.is_dir() for name in empty_classes(path, found[path])]
    if empty:
        run.warn(f"no picture in the class folder{'s' * (len(empty) > 1)} {', '.join(empty)}: nothing is learned of it")


def empty_classes(root: Path, files: list[Path]) -> list[str]:
    """Names of the folders directly below `root` that hold none of the files, where others hold some."""
    full = {file.relative_to(root).parts[0] for file in files if file.parent != root}
    folders = {name for name in os.listdir(root) if not name.startswith((".", "__MACOSX")) and os.path.isdir(root / name)}
    return sorted(folders - full) if full else []


@dataclass(frozen=True)
class Found:
    """A file, and the folder that it was found in."""

    file: Path
    root: Path

    @property
    def name(self) -> str:
        """Its name within that folder."""
        return self.file.relative_to(self.root).as_posix()

    @property
    def meta(self) -> dict[str, str]:
        """The file's name and, below a class folder, its class; never a path, which may hold a user's name."""
        parts = self.file.relative_to(self.root).parts
        return {"source": self.file.name, **({"label": parts[0]} if len(parts) > 1 else {})}


@dataclass(frozen=True)
class Decoded:
    """One picture and what is known of it."""

    pixels: np.ndarray
    meta: dict[str, str]


def _decoded(files: list[Found], want: Want, *, strict: bool, run: Run) -> Generator[Decoded, None, None]:
    """Yield the usable pictures in order; threads decode ahead of the reader, a bounded number of files at a time.

    Pillow leaves the interpreter's lock while it decodes and resizes, so threads use every core and nothing is copied between
    processes.
    """
    workers = min(16, os.cpu_count() or 1)
    step = FILES_PER_TASK if want.size is not None else 1
    tasks = (files[i : i + step] for i in range(0, len(files), step))
    waiting: deque[Future[list[np.ndarray | Unreadable]]] = deque()
    done = 0
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        for task in islice(tasks, workers + 1):
            waiting.append(pool.submit(_decode_each, task, want))
        while waiting:
            results = waiting.popleft().result()
            for task in islice(tasks, 1):
                waiting.append(pool.submit(_decode_each, task, want))
            for file, result in zip(files[done : done + step], results, strict=True):
                if isinstance(result, Unreadable):
                    _skip(file.name, result, run, strict=strict)
                else:
                    yield Decoded(result, file.meta)
            done += len(results)
            run.progress(done, len(files))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode_each(files: list[Found], want: Want) -> list[np.ndarray | Unreadable]:
    results: list[np.ndarray | Unreadable] = []
    for file in files:
        try:
            results.append(decode(file.file, want))
        except Unread as error:
            raise error.named(file.name) from error
        except Unreadable as error:
            results.append(error)
    return results


def _skip(name: str, error: Unreadable, run: Run, *, strict: bool) -> None:
    if strict:
        raise DataError(f"{name}: {error}", "mend or remove this picture, or leave out `strict` to skip such pictures") from error
    run.skip(name, str(error))


def _batches(pictures: Iterable[Decoded]) -> Iterator[Batch]:
    """Gather consecutive pictures of one size into batches."""
    held: list[Decoded] = []
    for picture in pictures:
        if held and (held[0].pixels.shape != picture.pixels.shape or len(held) * held[0].pixels.nbytes >= BATCH_BYTES):
            yield _batch(held)
            held = []
        held.append(picture)
    if held:
        yield _batch(held)


def _batch(pictures: list[Decoded]) -> Batch:
    return Batch.from_array(np.stack([picture.pixels for picture in pictures]), [picture.meta for picture in pictures])
