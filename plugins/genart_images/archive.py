"""Pictures in ZIP and tar archives and WebDataset shards, read in place: nothing is unpacked to the disk."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn, Protocol

from genart import Batch, DataError, RefusedError, Run
from genart.nn.pictures import FORMATS, Unreadable, Want, decode_bytes

from .reading import Given, read_given

#: Entries of an archive, bytes of one picture in it, and of what else is read of it: a class, a line of JSON.
MAX_ENTRIES, MAX_PICTURE_BYTES, MAX_WORD_BYTES = 2_000_000, 256 << 20, 1 << 20
#: An archive may become so many times as large when it is unpacked, beside what any may: pictures hardly shrink, a bomb is all air.
MAX_RATIO, FREE_BYTES = 100, 1 << 30
#: Memory that unpacking XZ may ask for.
MAX_XZ_BYTES = 256 << 20
#: Pictures of one sample that wait for its class: a shard has one or two, and other archives no samples.
MOST_WAITING = 8
#: Files of a sample that name its class, in this order, and the keys under which JSON may.
CLASS_SUFFIXES, CLASS_KEYS = (".cls", ".json"), ("label", "class", "cls")
#: How a ZIP begins, be it empty.
ZIP = (b"PK\3\4", b"PK\5\6")
#: Bytes that are unpacked at a time.
CHUNK = 1 << 20
#: What decoders of archives raise on damage.
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    NotImplementedError,
)


@dataclass(frozen=True)
class Entry:
    """A regular file in an archive.

    Attributes:
        path: its name, which is never one on the disk.
        size: bytes that it claims to have.
        read: gives so many of its bytes at most; of a tar only until the next entry is asked for.
    """

    path: PurePosixPath
    size: int
    read: Callable[[int], bytes]

    @property
    def suffix(self) -> str:
        """The end of its name in small letters, such as .png."""
        return self.path.suffix.lower()

    @property
    def is_picture(self) -> bool:
        """True if its name is that of a picture."""
        return self.suffix in FORMATS.suffixes

    @property
    def sample(self) -> str:
        """What it shares with the files that tell of the same picture: its name up to the first dot."""
        return (self.path.parent / self.path.name.partition(".")[0]).as_posix()


@dataclass(frozen=True)
class Labels:
    """Where the class of a picture is from.

    Attributes:
        source: "auto" (the files of its sample, else its folder), "folder", "txt" or "none".
        top: the folder that all pictures lie in, which says nothing; or None.
    """

    source: str
    top: str | None

    @property
    def words(self) -> tuple[str, ...]:
        """Suffixes of the files that are read beside the pictures."""
        return {"auto": CLASS_SUFFIXES, "txt": (".txt",)}.get(self.source, ())

    def of(self, picture: Entry, told: dict[str, str]) -> str | None:
        """The class of a picture, by the files of its sample or by its folder."""
        for suffix in self.words:
            if suffix in told:
                return told[suffix]
        if self.source in ("txt", "none"):
            return None
        parts = picture.path.parts[1:] if self.top is not None else picture.path.parts
        return parts[0] if len(parts) > 1 else None


#: Told of a file that cannot be used and why, as `Run.skip` is.
Skip = Callable[[str, str], None]


def read_archives(
    run: Run, paths: Sequence[Path], want: Want, *, labels: str = "auto", count: int | None = None, strict: bool = False
) -> Iterator[Batch]:
    """Yield the pictures of archives, one archive after another.

    Those of a ZIP come in the order of their sorted paths, as from a folder, and those of a tar in the order in which they lie in it.

    Args:
        run: told of progress and of what was skipped.
        paths: the archives.
        want: what to bring each picture to.
        labels: where classes are from; see `Labels`.
        count: stop after so many pictures.
        strict: stop at the first picture that cannot be read, and at a damaged archive.

    Raises:
        DataError: if a file is no archive, none of its pictures is usable, or in strict mode one is not.
        RefusedError: if an archive unpacks to far more than it is, or has too many entries.
    """
    total, tops = 0, set()
    for path in paths:
        run.check()
        for entry in _entries(path, _silently, strict=False):
            if entry.is_picture:
                total += 1
                tops.add(entry.path.parts[0] if len(entry.path.parts) > 1 else None)
    if not total:
        raise DataError(f"{_named(paths)}: no picture in it", f"it reads {FORMATS.words()} in ZIP and tar archives")
    where = Labels(labels, tops.pop() if len(tops) == 1 else None)
    given = (picture for path in paths for picture in _pictures(path, where, run.skip, strict=strict))
    with closing(given):
        yield from read_given(run, given, want, total=total, where=_named(paths), count=count, strict=strict)


def _silently(name: str, reason: str) -> None:
    """Skip without a word: the entries are only counted."""


def _named(paths: Sequence[Path]) -> str:
    return paths[0].name + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _pictures(path: Path, labels: Labels, skip: Skip, *, strict: bool) -> Generator[Given, None, None]:
    """Yield the pictures of an archive with their classes; files of one sample lie beside each other."""
    with closing(_entries(path, skip, strict=strict)) as entries:
        wanted = (entry for entry in entries if entry.is_picture or entry.suffix in labels.words)
        for _, sample in groupby(wanted, lambda entry: entry.sample):
            yield from _sample(sample, labels)


def _sample(entries: Iterable[Entry], labels: Labels) -> Iterator[Given]:
    """Yield the pictures of one sample, when all of it that may name their class has been read."""
    told: dict[str, str] = {}
    waiting: list[tuple[Entry, bytes | Unreadable]] = []
    for entry in entries:
        if not entry.is_picture:
            told |= _word(entry)
            continue
        waiting.append((entry, _data(entry)))
        if len(waiting) >= MOST_WAITING:
            yield from (_given(one, data, labels, told) for one, data in waiting)
            waiting = []
    yield from (_given(one, data, labels, told) for one, data in waiting)


def _data(entry: Entry) -> bytes | Unreadable:
    """The bytes of a picture, or why it has none."""
    if entry.size > MAX_PICTURE_BYTES:
        return Unreadable(f"{entry.size >> 20} MB, above the limit of {MAX_PICTURE_BYTES >> 20}")
    try:
        return entry.read(entry.size) or Unreadable("empty file")
    except Unreadable as error:
        return error


def _given(entry: Entry, data: bytes | Unreadable, labels: Labels, told: dict[str, str]) -> Given:
    label = labels.of(entry, told)
    meta = {"source": entry.path.name, **({"label": label} if label is not None else {})}
    if isinstance(data, Unreadable):
        return Given(entry.path.as_posix(), meta, partial(_refuse, data))
    return Given(entry.path.as_posix(), meta, partial(decode_bytes, data, name=entry.path.name), len(data))


def _refuse(error: Unreadable, want: Want) -> NoReturn:
    raise error


def _word(entry: Entry) -> dict[str, str]:
    """The class that a file of a sample names, under its suffix; nothing if it names none."""
    try:
        text = entry.read(min(entry.size, MAX_WORD_BYTES)).decode("utf-8", "replace").strip()
    except Unreadable:
        return {}
    if entry.suffix == ".json":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        named = [value[key] for key in CLASS_KEYS if key in value] if isinstance(value, dict) else [value]
        text = str(named[0]) if named and isinstance(named[0], str | int) else ""
    return {entry.suffix: text} if text else {}


# archives


def _entries(path: Path, skip: Skip, *, strict: bool) -> Generator[Entry, None, None]:
    """Yield the regular files of an archive, without hidden ones and without links. A damaged one ends early, and is named.

    Raises:
        DataError: if nothing of it can be read, or in strict mode not all.
        RefusedError: if it unpacks to far more than it is, or has too many entries.
    """
    number = 0
    try:
        with _plainly(path.name), open(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            for number, entry in enumerate(_of_zip(file, path.name) if head.startswith(ZIP) else _of_tar(file, path.name, head), 1):
                if number > MAX_ENTRIES:
                    raise RefusedError(f"{path.name}: it has more than {MAX_ENTRIES:,} entries", "split it into several archives")
                if entry.path.parts and not any(part.startswith((".", "__MACOSX")) for part in entry.path.parts):
                    yield entry
    except Unreadable as error:
        if number == 0:
            raise DataError(f"{path.name}: neither a whole ZIP nor a tar: {error}", "a tar may be packed as .gz, .bz2 or .xz") from error
        if strict:
            raise DataError(f"{path.name}: {error}", "get it again whole, or leave out `strict` to use what is there of it") from error
        skip(path.name, f"{error}, after entry {number}")


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Say what a decoder of archives raises as `Unreadable`.

    Raises:
        DataError: if the system does not give the file's content, which may be whole.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            hint = "the same command goes on once it can be read"
            raise DataError(f"{name}: {(error.strerror or 'cannot be read').lower()}", hint) from error
        raise Unreadable(f"damaged ({type(error).__name__})") from error
    except DAMAGE as error:
        early = isinstance(error, EOFError) or "end of" in str(error)
        raise Unreadable("it ends early" if early else f"damaged ({type(error).__name__})") from error


def _path(name: str) -> PurePosixPath:
    """A name as parts; what leads up or to a root falls away, since it is shown and never opened."""
    return PurePosixPath(*(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")))


class _Allowance:
    """Counts what is unpacked of a file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._name = name
        self._left = FREE_BYTES + MAX_RATIO * os.fstat(file.fileno()).st_size

    def spend(self, count: int) -> None:
        """Count so many bytes.

        Raises:
            RefusedError: if they are far more than the file has.
        """
        self._left -= count
        if self._left < 0:
            raise RefusedError(
                f"{self._name}: it unpacks to more than {MAX_RATIO} times its size",
                "it is no archive of pictures; unpack it yourself if you trust it",
            )


def _of_zip(file: BinaryIO, name: str) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        spent = _Allowance(file, name)
        found = [(_path(info.filename), info) for info in archive.infolist() if info.filename and not info.is_dir() and _is_regular(info)]
        for path, info in sorted(found, key=lambda pair: (pair[0].parts, pair[1].header_offset)):
            yield Entry(path, info.file_size, partial(_read_zipped, archive, info, spent))


def _is_regular(info: zipfile.ZipInfo) -> bool:
    return stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, spent: _Allowance, most: int) -> bytes:
    if info.flag_bits & 1:
        raise Unreadable("encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        raise Unreadable("packed in a way that is not known here")
    with _plainly(info.filename), archive.open(info) as entry:
        data = entry.read(most)
    spent.spend(len(data))
    return data


def _of_tar(file: BinaryIO, name: str, head: bytes) -> Iterator[Entry]:
    unpacked: _Reads = next((opened(file) for magic, opened in PACKED.items() if head.startswith(magic)), file)
    source: Any = _Forward(unpacked, _Allowance(file, name))
    # "r:" asks for no more at a time than a header claims; the stream mode would gather a header of any size
    with tarfile.open(fileobj=source, mode="r:") as opened_tar:
        archive: Any = opened_tar
        while (member := archive.next()) is not None:
            archive.members = []  # kept for access at random, and as many as there are entries
            if member.isreg() and not member.issparse():
                yield Entry(_path(member.name), member.size, partial(_read_tarred, source, member.name))
    if any(source.last) or not source.last:  # a whole tar ends in blocks of zeros; the library takes any end
        raise Unreadable("it is damaged, or ends early")


def _read_tarred(source: _Forward, name: str, most: int) -> bytes:
    with _plainly(name):
        return source.read(most)


class _Reads(Protocol):
    """A file that can be read."""

    def read(self, size: int, /) -> bytes: ...


class _Forward:
    """A tar that is read from its beginning to its end, as the library wants to read it; at most one byte back."""

    def __init__(self, file: _Reads, spent: _Allowance) -> None:
        self._file, self._spent = file, spent
        self._at = 0
        self._again = b""
        self.last = b""

    def tell(self) -> int:
        """Bytes read so far."""
        return self._at

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, or what is left."""
        if not 0 <= size <= MAX_PICTURE_BYTES:
            raise Unreadable(f"a header of {size >> 20} MB")
        parts = [self._again]
        left = size - len(self._again)
        self._again = b""
        while left > 0 and (part := self._file.read(min(left, CHUNK))):
            self._spent.spend(len(part))
            parts.append(part)
            left -= len(part)
        self.last = b"".join(parts)
        self._at += len(self.last)
        return self.last

    def seek(self, place: int) -> None:
        """Go on to a place."""
        if place == self._at - 1 and self.last:
            self._again, self._at = self.last[-1:], place
        while self._at < place and self.read(min(place - self._at, CHUNK)):
            pass


class _Xz:
    """XZ, unpacked with a bound on the memory that it may ask for, which `lzma.LZMAFile` has not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES)

    def read(self, size: int, /) -> bytes:
        """At least one byte, but at the end, and at most so many."""
        while True:
            packed = b""
            if self._decoder.eof:  # one stream may follow another, with zeros between
                packed = self._decoder.unused_data.lstrip(b"\0") or self._file.read(CHUNK).lstrip(b"\0")
                if not packed:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES)
            elif self._decoder.needs_input and not (packed := self._file.read(CHUNK)):
                raise EOFError
            if data := self._decoder.decompress(packed, size):
                return data


#: What unpacks a tar, by the first bytes of the file.
PACKED: dict[bytes, Callable[[BinaryIO], _Reads]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: bz2.BZ2File(file),
    b"\xfd7zXZ\0": _Xz,
}
