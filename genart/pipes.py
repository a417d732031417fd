"""Both ends of `genart apply` as a Unix filter: what stands at them, pictures that come in once, and a result that goes out."""

from __future__ import annotations

import os
import select
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from .artifacts import Batch, Images, ImagesWriter, StoredImages
from .errors import SIGPIPE, DataError, Interrupted, ResourceError, StageError, UsageError
from .stages import Stage
from .store import resource_error
from .streams import Pictures, PngWriter, Writer, Y4mWriter

DASH = Path("-")
#: Seconds between two looks at whether a signal asked to stop, while nothing comes through the pipe.
WAIT_SEC = 0.2
#: What Linux lets any user's pipe hold; 64 KiB if nobody asks.
PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Ends:
    """Where a stage's input comes from and where its result goes: paths, of which `-` is the standard stream.

    Attributes:
        inputs: what is read, in order.
        output: what is written, or None if the result is only told.
    """

    inputs: tuple[Path, ...] = ()
    output: Path | None = None

    @property
    def stdin(self) -> bool:
        """True if something is read from standard input."""
        return DASH in self.inputs

    @property
    def stdout(self) -> bool:
        """True if the result is written to standard output."""
        return self.output == DASH


def ends_of(stage: Stage, inputs: Sequence[Path], output: Path | None, *, told: bool = False, y4m: bool = False) -> Ends:
    """Say where a stage reads and writes: as it is told, or else through the standard streams where these are pipes.

    A file that standard input is redirected from counts as a pipe; one that standard output is redirected to, only if pictures or a model
    come in by standard input: else it may be meant for what is told of the result.

    Args:
        stage: what is applied.
        inputs: what `-i` names.
        output: what `-o` names.
        told: events are wanted on standard output (`--json`).
        y4m: the result is wanted as Y4M.

    Raises:
        UsageError: if a standard stream is asked for what it can't give or take.
    """
    if not inputs and stage.takes is not None and _is_pipe(sys.stdin, redirected=True):
        inputs = [DASH]
    piped = DASH in inputs and stage.takes is not None
    if piped:
        _check_stdin(stage, inputs)
    if output is None and not told and _is_pipe(sys.stdout, redirected=piped):
        output = DASH
    ends = Ends(tuple(inputs), output)
    if ends.stdout and told:
        raise UsageError("-o -: with --json, standard output is for the events", "-o PATH, or leave --json out")
    if ends.stdout and _is_terminal(sys.stdout):
        raise UsageError(f"-o -: {stage.gives['output']} are not for a terminal", "write them into a pipe or a file: -o - > FILE")
    if y4m and not (ends.stdout and stage.gives["output"] == "images"):
        raise UsageError("--y4m: only pictures on standard output can be Y4M", "-o - --y4m")
    return ends


def leave_cores() -> None:
    """Compute with one thread: the other programs of a pipe want the cores.

    It is heard only before torch is loaded, and changes no result.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _check_stdin(stage: Stage, inputs: Sequence[Path]) -> None:
    if list(inputs).count(DASH) > 1:
        raise UsageError("-i -: standard input can be read once")
    if stage.takes == "video":
        raise UsageError(f"-i -: {stage.name} takes a film, which is read from a file", "-i PATH")
    if _is_terminal(sys.stdin):
        raise UsageError(
            "-i -: standard input is a terminal", f"pipe pictures or a model into genart apply {stage.name}, or name them: -i PATH"
        )


def _is_pipe(file: TextIO | None, *, redirected: bool) -> bool:
    try:
        mode = os.fstat(file.fileno()).st_mode if file is not None else 0
    except (OSError, ValueError):  # no real file behind it
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (redirected and stat.S_ISREG(mode))


def _is_terminal(file: TextIO | None) -> bool:
    return file is not None and file.isatty()


# coming in


def reader_of(file: TextIO, check: Callable[[], None]) -> Callable[[int], bytes]:
    """Return a function that reads up to a number of bytes, as they come.

    Args:
        file: what is read.
        check: called again and again while nothing comes; may raise.

    The function raises DataError if it is a folder.
    """
    handle = file.fileno()

    def read(count: int) -> bytes:
        while os.name == "posix" and not select.select([handle], [], [], WAIT_SEC)[0]:
            check()
        try:
            return os.read(handle, count)
        except IsADirectoryError:
            raise DataError("standard input is a folder", "name it: -i PATH") from None

    return read


class PipedImages(Images):
    """Pictures that come through a pipe, each read when it is asked for.

    A stage that asks for the whole sequence before it has begun (its length, a picture by its index) waits for its end, and reads it from
    disk.

    Args:
        pictures: what comes.
        folder: where pictures are kept.
        keep: keep those that have been passed on, for a stage that may want them again; without it a stream of any length takes no room.
    """

    def __init__(self, pictures: Pictures, folder: Path, *, keep: bool) -> None:
        super().__init__(self._passed_on, self._kept, count=pictures.count, fps=pictures.fps)
        self._coming = pictures.batches
        self._folder = folder
        self._writer = ImagesWriter(folder) if keep else None
        self._begun = False
        self._stored: StoredImages | None = None

    def _passed_on(self, start: int, size: int | None) -> Iterator[Batch]:
        place = start
        if not self._begun:
            self._begun = True
            for batch in self._coming:
                one = self._writer.append(batch) if self._writer is not None else batch
                place = max(place, one.start + 1)
                if one.start >= start:
                    yield one
            if self._stored is None:
                return
        # another reader has begun before, or has read the rest meanwhile
        yield from self.settled().batches(size, start=place)

    def _kept(self) -> Images:
        if self._stored is None:
            if self._writer is None:
                if self._begun:
                    raise StageError(
                        "it reads its pictures more than once, and those of a pipe are gone", "read them from a folder: -i PATH"
                    )
                self._writer = ImagesWriter(self._folder)
            self._begun = True
            for batch in self._coming:
                self._writer.append(batch)
            self._writer.finish(self.fps)
            self._stored = StoredImages(self._folder)
            self.count = self._stored.count
        return self._stored

    def close(self) -> None:
        """Let go of open files."""
        if self._writer is not None:
            self._writer.close()


# going out


class Sender:
    """Writes a result to a pipe, each picture when it is there.

    Args:
        file: the pipe.
        y4m: write pictures as Y4M rather than as PNGs.
    """

    def __init__(self, file: BinaryIO, *, y4m: bool = False) -> None:
        self.began = False
        self._file = file
        _widen(file)
        self._writer: Writer = Y4mWriter(file) if y4m else PngWriter(file)

    def pictures(self, batch: Batch, about: dict[str, Any]) -> None:
        """Write pictures with their provenance.

        Raises:
            Interrupted: if the reader has gone.
        """
        self.began = True
        with _until_reader_goes():
            self._writer.write(batch, about)

    def content(self, path: Path) -> None:
        """Write what a file holds.

        Raises:
            Interrupted: if the reader has gone.
        """
        self.began = True
        with _until_reader_goes(), open(path, "rb") as file:
            shutil.copyfileobj(file, self._file, 1 << 20)
            self._file.flush()


def _widen(file: BinaryIO) -> None:
    """Let a pipe hold a picture or more, so that whoever writes it can begin the next before it is read."""
    with suppress(ImportError, AttributeError, OSError):  # not on Linux, or no pipe, or a smaller limit for this user
        import fcntl

        fcntl.fcntl(file.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


@contextmanager
def _until_reader_goes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise Interrupted(SIGPIPE) from None
    except OSError as error:
        known = resource_error(error)
        if known is None:
            raise
        raise ResourceError(f"standard output: {known.message}", known.hint) from error
