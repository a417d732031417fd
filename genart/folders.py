"""A folder held open: what is done in it is done there, whatever becomes of the names that led to it.

Where the system can (everywhere but on Windows) a `Folder` is a handle. The folders below it are opened one by one, each from the one above
and never through a link, and files are made, renamed and removed by their last name within the handle. So a program that swaps a folder for
a link between a check and a write gains nothing: nothing is checked beforehand, and no path is walked a second time. On Windows names are
checked before they are used.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from .artifacts import sync_folder
from .errors import RefusedError, ResourceError

#: True where folders can be held open.
BY_HANDLE = {os.open, os.mkdir, os.rename, os.unlink, os.stat} <= os.supports_dir_fd and os.listdir in os.supports_fd
#: How folders, new files, and files that are there are opened; a system without a flag has no need of it.
_FLAGS = {name: getattr(os, f"O_{name}", 0) for name in ("DIRECTORY", "NOFOLLOW", "NONBLOCK", "BINARY")}
_FOLDER = os.O_RDONLY | _FLAGS["DIRECTORY"]
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS["NOFOLLOW"] | _FLAGS["BINARY"]
_OLD = os.O_RDONLY | _FLAGS["NOFOLLOW"] | _FLAGS["NONBLOCK"] | _FLAGS["BINARY"]  # nobody waits for a pipe's other end
#: What the system says where names change while they are used.
_MOVED = (errno.ENOENT, errno.ENOTEMPTY, errno.EISDIR, errno.ELOOP, errno.EINVAL)


class Folder:
    """A folder in which outputs are written.

    Args:
        path: what it is called.
        handle: what it is, where folders can be held open.
    """

    def __init__(self, path: Path, handle: int | None) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    def open(cls, path: Path, *, make: bool = False) -> Folder:
        """Open the folder that the user named: links on the way to it are the user's own.

        Args:
            path: the folder.
            make: make what is missing of it.
        """
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return cls(path, os.open(path, _FOLDER) if BY_HANDLE else None)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def below(self, names: Sequence[str], *, make: bool = False) -> Folder:
        """The folder that is reached by these names, each within the one before.

        Args:
            names: of folders.
            make: make those that are missing.

        Raises:
            RefusedError: if one of them is a link, or leads upwards.
            ResourceError: if one that was made is gone again.
        """
        if ".." in names:
            raise RefusedError(f"'{'/'.join(names)}' leads out of {self.path}")
        here = Folder(self.path, None if self._handle is None else os.dup(self._handle))
        for name in names:
            with here as above, above.alone() if make else nullcontext():
                here = above._child(name, make=make)
        return here

    def _child(self, name: str, *, make: bool) -> Folder:
        if make:
            with suppress(FileExistsError):
                os.mkdir(self._named(name), **self._at)
        path = self.path / name
        try:
            if self._handle is not None:
                return Folder(path, os.open(name, _FOLDER | _FLAGS["NOFOLLOW"], **self._at))
            if path.resolve().is_relative_to(self.path.resolve()):
                return Folder(path, None)
        except (NotADirectoryError, OSError, RuntimeError):
            if self.kind(name) != "link":
                raise
        raise RefusedError(
            f"'{name}' in {self.path} is a link; none is followed that may be one that leads out of the output folder", "remove the link"
        )

    @property
    def _at(self) -> dict[str, int]:
        return {} if self._handle is None else {"dir_fd": self._handle}

    def _named(self, name: str) -> str:
        return name if self._handle is not None else str(self.path / name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Say in words what the system says where somebody else works in it at the same time.

        Raises:
            ResourceError: if so.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            if error.errno == errno.EISDIR:
                raise ResourceError(
                    f"a folder stands where a file is needed: {self.path}", "choose another place with --out, or move the folder"
                ) from error
            raise ResourceError(
                f"{self.path}: another program changed it while outputs were saved", "run the same command again when nothing else does"
            ) from error

    # what is in it

    def names(self) -> list[str]:
        """Names of what is in it, sorted."""
        return sorted(os.listdir(self.path if self._handle is None else self._handle))

    def kind(self, name: str) -> Literal["file", "folder", "link", "other"] | None:
        """What stands under a name; None if nothing does."""
        try:
            mode = os.stat(self._named(name), follow_symlinks=False, **self._at).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            return "link"
        return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def read(self, name: str) -> BufferedReader:
        """Open a file.

        Raises:
            OSError: if it isn't there, or is a link, a folder or anything else than a file.
        """
        handle = os.open(self._named(name), _OLD, **self._at)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return os.fdopen(handle, "rb")

    def size(self, name: str) -> int:
        """Bytes of a file."""
        with self.read(name) as file:
            return os.fstat(file.fileno()).st_size

    # what is done in it

    def create(self, name: str) -> BinaryIO:
        """Make a file, to be written and read.

        Raises:
            FileExistsError: if anything stands under this name, also a link that leads nowhere.
        """
        with self.alone():
            return os.fdopen(os.open(self._named(name), _NEW, 0o666, **self._at), "w+b")

    def make(self, name: str) -> Folder:
        """Make a folder, and open it.

        Raises:
            FileExistsError: if anything stands under this name.
        """
        with self.alone():
            os.mkdir(self._named(name), **self._at)
            return self._child(name, make=False)

    def rename(self, old: str, new: str) -> None:
        """Give what stands under a name another; a file or link that has it gives way."""
        at: dict[str, Any] = {} if self._handle is None else {"src_dir_fd": self._handle, "dst_dir_fd": self._handle}
        with self.alone():
            os.replace(self._named(old), self._named(new), **at)

    def remove(self, name: str) -> None:
        """Remove what stands under a name, if anything does: a folder with all that is in it, of a link the link alone."""
        if self.kind(name) == "folder":
            for _ in range(2):  # what fails once, at a disk that is busy, need not stay for ever
                if self.kind(name) == "folder":
                    shutil.rmtree(self._named(name), ignore_errors=True, dir_fd=self._handle)
        else:
            with self.alone(), suppress(FileNotFoundError):
                os.unlink(self._named(name), **self._at)

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that the name holds either its old content or all of the new one, also after a power cut."""
        temporary = f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            with self.create(temporary) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self.rename(temporary, name)
        except BaseException:
            self.remove(temporary)
            raise
        self.sync()

    def sync_file(self, name: str) -> None:
        """Make the content of a file survive a power cut."""
        with self.alone(), self.read(name) as file:
            os.fsync(file.fileno())

    def sync(self) -> None:
        """Make the names in it survive a power cut, where the system can."""
        if self._handle is None:
            sync_folder(self.path)
        else:
            os.fsync(self._handle)
