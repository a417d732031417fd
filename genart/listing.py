"""What lies below a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from .errors import DataError


def files_below(folder: Path) -> list[Path]:
    """What is no folder below a folder, sorted by its path's parts; hidden names, and what lies behind links to folders, are left out.

    Raises:
        DataError: if one of the folders cannot be read; it would count as an empty one.
    """
    found = []
    for where, folders, names in os.walk(folder, onerror=_cannot_be_read):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if not name.startswith(".")]
    # by parts, so that the order of folders is the same whatever separator the system has
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _cannot_be_read(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror}", "make it readable, or name another") from error
