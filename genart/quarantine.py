"""Moves pictures aside and back, never deletes or overwrites one, and keeps a list of where each came from."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .artifacts import sync_folder, write_atomically
from .errors import DataError, RefusedError, ResourceError, UsageError

#: Within a quarantine: the list, a line of JSON for each picture, and the folder of the pictures.
LIST, PICTURES = "moved.jsonl", "pictures"


@dataclass(frozen=True)
class Moved:
    """One picture that was moved.

    Attributes:
        file: its name within the folder that it came from.
        to: its name within the quarantine's pictures.
        reason: why.
    """

    file: str
    to: str
    reason: str

    def line(self) -> bytes:
        """Its line in the list; of ASCII alone, so that any name comes back as it was."""
        return json.dumps(vars(self)).encode() + b"\n"


def check_place(folder: Path, quarantine: Path) -> None:
    """Refuse a quarantine from which the pictures would be read all the same.

    Raises:
        UsageError: if it or its pictures lie within the folder, or it is no folder.
    """
    for place in (quarantine, quarantine / PICTURES):
        if place.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"--quarantine {quarantine}: {place} lies within {folder}, and would be read with it", "name a place outside the folder"
            )
    if quarantine.exists() and not quarantine.is_dir():
        raise UsageError(f"--quarantine {quarantine}: it is no folder")


def set_aside(folder: Path, quarantine: Path, files: Sequence[tuple[str, str]]) -> int:
    """Move pictures from a folder into a quarantine and return how many.

    A picture is on the list, to the disk, before it is moved, so that whatever happens there is a way back.

    Args:
        folder: where they are.
        quarantine: where they go; made if it is missing.
        files: their names within the folder, and why.

    Raises:
        UsageError: if the quarantine lies within the folder, or on another disk.
        RefusedError: if a link in the quarantine leads elsewhere.
        ResourceError: if a picture cannot be moved.
    """
    check_place(folder, quarantine)
    if not files:
        return 0
    (quarantine / PICTURES).mkdir(parents=True, exist_ok=True)
    with open(quarantine / LIST, "a+b") as file:
        _drop_half_a_line(file)
        for name, reason in files:
            target = _free(quarantine / PICTURES, name)
            file.write(Moved(name, target.relative_to(quarantine / PICTURES).as_posix(), reason).line())
            file.flush()
            os.fsync(file.fileno())
            _move(folder / name, target, quarantine / PICTURES)
    sync_folder(quarantine)
    return len(files)


def bring_back(quarantine: Path, folder: Path) -> tuple[int, list[str]]:
    """Move the pictures of a quarantine back to where they were.

    Args:
        quarantine: where they are.
        folder: the folder that they came from.

    Returns:
        (how many came back, names of those that stay because their place is taken).

    Raises:
        DataError: if there is no list, or it is damaged.
        RefusedError: if the list or a link leads out of the folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "name the folder that the pictures came from")
    moved = list(_read(quarantine))
    back, taken = 0, []
    for one in moved:
        source, target = quarantine / PICTURES / one.to, folder / one.file
        if not os.path.lexists(source):  # it is back already, or a kill kept it from being moved
            continue
        if os.path.lexists(target):
            taken.append(one.file)
            continue
        _within(source.parent, quarantine / PICTURES)
        _move(source, target, folder)
        back += 1
    left = [one for one in moved if one.file in taken]
    if left:
        write_atomically(quarantine / LIST, *(one.line() for one in left))
    else:
        (quarantine / LIST).unlink()
    _tidy(quarantine)
    return back, taken


def _read(quarantine: Path) -> Iterator[Moved]:
    """The list, whose names lead nowhere but below the two folders.

    Raises:
        DataError: if there is none, or it is damaged.
        RefusedError: if a name leads out.
    """
    path = quarantine / LIST
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(
            f"{quarantine}: there is no list of moved pictures ({LIST}) that can be read", "name the quarantine folder"
        ) from error
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            one = Moved(told["file"], told["to"], told["reason"])
            names = [PurePosixPath(one.file), PurePosixPath(one.to)]
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):  # a kill cut the last line short, before its picture was moved
                return
            raise DataError(f"{path}:{number}: this line is damaged", "mend or remove it: it says from where a picture came") from error
        for name in names:
            if name.is_absolute() or not name.parts or ".." in name.parts or "\0" in str(name):
                raise RefusedError(
                    f"{path}:{number}: a name that leads out of its folder", "this list was not written by genart data check"
                )
        yield one


def _drop_half_a_line(file: BinaryIO) -> None:
    """Take the end of a list away that a kill cut short, before its picture was moved: a line after it would be lost with it."""
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    file.seek(whole)


def _free(pictures: Path, name: str) -> Path:
    """A place for a picture that nothing takes."""
    target, number = pictures / name, 1
    while os.path.lexists(target):
        number += 1
        target = (pictures / name).with_name(f"{PurePosixPath(name).stem}~{number}{PurePosixPath(name).suffix}")
    return target


def _move(source: Path, target: Path, root: Path) -> None:
    """Rename a file, or a link itself, to a free name below `root`."""
    try:
        # before anything is made, and again once it is: a link may lead elsewhere
        _within(next(place for place in target.parents if os.path.lexists(place)), root)
        target.parent.mkdir(parents=True, exist_ok=True)
        _within(target.parent, root)
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise UsageError(
                f"{root} is on another disk than the pictures", "name a folder on the same disk: they are renamed, not copied"
            ) from error
        raise ResourceError(
            f"{source.name} cannot be moved: {(error.strerror or 'unknown').lower()}", "what was moved so far is on the list"
        ) from error
    sync_folder(target.parent)


def _within(place: Path, root: Path) -> None:
    if not place.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"{place}: a link here leads out of {root}", "remove the link")


def _tidy(quarantine: Path) -> None:
    """Remove folders that are empty now."""
    for where, _, _ in os.walk(quarantine / PICTURES, topdown=False):
        with suppress(OSError):  # not empty
            os.rmdir(where)
    with suppress(OSError):
        quarantine.rmdir()
