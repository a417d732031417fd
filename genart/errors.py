"""Everything genart says when it cannot go on.

GenartError                 exit 1 when raised bare
 ├ UsageError               2   wrong command line
 │  └ RecipeError           2   wrong recipe: has a file and a line
 ├ DataError                3   the pictures, films or models given are not usable
 │  └ ChangedError          3   a file was changed while it was read; what was made of it is not kept
 ├ StageError               4   a stage or a plugin failed
 │  └ LostWorkError         4   what a killed run had kept is damaged; the runner begins the stage anew
 ├ ResourceError            5   disk, memory, permissions
 ├ BusyError                6   somebody else holds what is needed
 ├ RefusedError             7   refused for safety
 ├ DivergedError            8   training diverged
 └ Interrupted          130/143 stopped by a signal; the work so far is kept

9 is no error: `genart remake` made a file again, and it came out different.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

#: Signal that a writer gets whose reader has gone; every system has its exit code, 141, but not all have the signal.
SIGPIPE = 13


class GenartError(Exception):
    """An error with a documented exit code and a message of at most three lines.

    Args:
        message: what is wrong and where, in one line.
        hint: what to do next, in one line.
    """

    exit_code = 1
    #: The message says which stage it came from.
    stage_named = False

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(GenartError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe is wrong; the message starts with `file:line:`."""

    def __init__(self, path: str, line: int, message: str, hint: str | None = None) -> None:
        super().__init__(f"{path}:{line}: {message}", hint)
        self.path = path
        self.line = line


class DataError(GenartError):
    """Input pictures, films or models cannot be used."""

    exit_code = 3


class ChangedError(DataError):
    """A file that a stage reads was changed while the run went on; what was made of it is not kept."""


class StageError(GenartError):
    """A stage or a plugin failed."""

    exit_code = 4


class LostWorkError(StageError):
    """What a killed run of a stage had kept is not all there; it begins anew."""


class ResourceError(GenartError):
    """Disk full, out of memory, or a place that cannot be written."""

    exit_code = 5


class LostProcessError(ResourceError):
    """One of several processes that train together is gone."""


class BusyError(GenartError):
    """Another process holds what is needed."""

    exit_code = 6


class RefusedError(GenartError):
    """Refused for safety, such as a `save` that leaves the output folder."""

    exit_code = 7


class DivergedError(GenartError):
    """Training ended in NaN, infinity or an explosion."""

    exit_code = 8


class Interrupted(GenartError):
    """A signal asked the run to stop; everything done so far is kept, unless it came through a pipe.

    Args:
        signal_number: the signal.
        kept: the same command goes on where it stopped.
    """

    def __init__(self, signal_number: int = 2, *, kept: bool = True) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number
        self.kept = kept


@contextmanager
def naming(file: object) -> Iterator[None]:
    """Put a file's name before an error that comes of what is in it, unless the error has it."""
    try:
        yield
    except (DataError, UsageError) as error:
        if str(file) not in error.message:
            error.message = f"{file}: {error.message}"
        raise


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word most like `word`, or None when nothing is close."""
    found = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return found[0] if found else None


def printable(text: str, keep: str = "") -> str:
    """The text without anything that a terminal would obey, or that would turn its direction, but for the signs in `keep`."""
    return "".join(sign if sign.isprintable() or sign in keep else "?" for sign in text)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or an empty string when nothing is close."""
    found = nearest(word, allowed)
    return f"; did you mean '{found}'?" if found else ""


def did_you_mean_file(name: str, others: Iterable[str]) -> str:
    """The same for the name of a file: a suffix that others share makes none of them close."""
    stem = PurePath(name).stem
    return did_you_mean(name, [other for other in others if nearest(stem, [PurePath(other).stem])])
