"""A folder of pictures, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from genart import Batch, Run
from genart.nn.pictures import Want, class_of, decode, empty_classes, picture_files

from .reading import Given, read_given


def read_folder(
    run: Run, paths: Sequence[Path], want: Want | None = None, *, count: int | None = None, strict: bool = False
) -> Iterator[Batch]:
    """Yield the pictures of folders, each in the order of its sorted paths.

    Args:
        run: told of progress and of skipped files.
        paths: folders and pictures.
        want: what to bring each picture to; None keeps each one's size, and a batch holds pictures of one size.
        count: stop after so many pictures.
        strict: stop at the first picture that cannot be read.

    Raises:
        DataError: if one of the folders holds no picture, none is usable, or in strict mode one is not.
    """
    found = {path: picture_files(path) for path in paths}
    given = (_given(file, path if path.is_dir() else path.parent) for path in paths for file in found[path])
    where = f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    total = sum(len(found[path]) for path in paths)
    yield from read_given(run, given, want or Want(), total=total, where=where, count=count, strict=strict)
    empty = [name for path in found if path.is_dir() for name in empty_classes(path, found[path])]
    if empty:
        run.warn(f"no picture in the class folder{'s' * (len(empty) > 1)} {', '.join(empty)}: nothing is learned of it")


def _given(file: Path, root: Path) -> Given:
    """A file below a folder; its metadata has the file's name and its class, never a path, which may hold a user's name."""
    label = class_of(file, root)
    meta = {"source": file.name, **({"label": label} if label is not None else {})}
    return Given(file.relative_to(root).as_posix(), meta, partial(decode, file))
