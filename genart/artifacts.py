"""Artifacts: what flows between stages. `Images`, `Model` and `Video`, no more.

Pictures are float32 in [0, 1] in the hands of a stage and 8 bits per channel at rest. What one stage hands to the next
has passed through the same 8 bits whether it came from the store or straight from memory, so both give the same result.

On disk an `Images` is `pixels.bin` (the pictures one after another, rows first, channels last), `index.json` (how many
of which shape) and `meta.jsonl` (one JSON object per picture). Pictures of one shape are one memory map: training
reads 20,000 of them at the speed of memory (docs/decisions/0001).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from .errors import DataError, LostWorkError, StageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Kind = Literal["images", "model", "video"]
Meta = dict[str, Any]

#: Bytes of float32 pixels that a batch aims at when nobody asks for a size: 16 MiB.
BATCH_BYTES = 16 << 20
MAX_HEADER_BYTES = 64 << 20
#: Bytes that are copied at once where the kernel does not do it.
COPY_BYTES = 1 << 20
#: Entry of a small JSON file that holds the SHA-256 of the others.
SEAL = "sha256"
#: Tensors of a model.
MAX_TENSORS = 10_000
#: Numbers in a latent, and pixels along a side, that a model may claim.
MAX_MODEL_NUMBER = 1 << 16
#: Largest JSON file of genart's own that is read, in bytes: a million files have an index of a hundred megabytes.
MAX_RECORD_BYTES = 256 << 20


class Batch:
    """Some consecutive pictures of one size.

    Args:
        pixels: (N, C, H, W) float32 in [0, 1] on any device, C = 3 (RGB) or 4 (RGBA). Values outside are clamped.
        meta: one dict per picture (`seed`, `source`, `label`, ...), or None for no metadata.
    """

    def __init__(self, pixels: Tensor | None = None, meta: Sequence[Meta] | None = None, *, start: int = 0) -> None:
        self._pixels = pixels
        self._array: np.ndarray | None = None
        self.meta: list[Meta] = list(meta) if meta is not None else [{} for _ in range(len(self))]
        #: index, in the whole sequence, of the first picture
        self.start = start

    @classmethod
    def from_array(cls, array: np.ndarray, meta: Sequence[Meta] | None = None, *, start: int = 0) -> Batch:
        """Wrap pictures that are 8-bit already: (N, H, W, C) uint8, not copied."""
        batch = cls.__new__(cls)
        batch._pixels, batch._array = None, array
        batch.meta = list(meta) if meta is not None else [{} for _ in range(len(array))]
        batch.start = start
        return batch

    def __len__(self) -> int:
        if self._array is not None:
            return len(self._array)
        return 0 if self._pixels is None else int(self._pixels.shape[0])

    @property
    def index(self) -> range:
        """Indices of these pictures in the whole sequence."""
        return range(self.start, self.start + len(self))

    @property
    def pixels(self) -> Tensor:
        """(N, C, H, W) float32 in [0, 1]; the same tensor each time, and no view of what is stored."""
        import torch

        if self._pixels is None:
            assert self._array is not None
            array = torch.tensor(self._array)  # copies: stored pictures are read-only
            self._pixels = array.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
        return self._pixels

    @property
    def array(self) -> np.ndarray:
        """(N, H, W, C) uint8, rounded to nearest.

        Raises:
            StageError: if a pixel is NaN or the shape is not (N, 3 or 4, H, W).
        """
        if self._array is None:
            import torch

            x = self._pixels
            assert x is not None
            if x.is_complex():
                raise StageError(f"pictures must be real numbers, got {x.dtype}")
            if x.ndim != 4 or x.shape[1] not in (3, 4):
                raise StageError(f"pictures must be (N, 3, H, W) or (N, 4, H, W), got {tuple(x.shape)}")
            x = x.detach()
            if not bool(torch.isfinite(x.sum())) and not bool(torch.isfinite(x).all()):  # a sum is many times as fast
                raise StageError("a picture contains NaN or infinity")
            x = x.to(torch.float32).clamp(0, 1).mul_(255.0).round_().to(torch.uint8)
            self._array = x.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return self._array

    def with_pixels(self, pixels: Tensor) -> Batch:
        """Return a batch of other pixels with the same metadata and place."""
        return Batch(pixels, self.meta, start=self.start)

    def part(self, start: int, stop: int) -> Batch:
        """Return pictures `start` to `stop` of this batch, counted within it."""
        meta, place = self.meta[start:stop], self.start + start
        if self._array is not None:
            return Batch.from_array(self._array[start:stop], meta, start=place)
        assert self._pixels is not None
        return Batch(self._pixels[start:stop], meta, start=place)


class Images:
    """An ordered, lazily read sequence of pictures.

    Iterating yields batches and never holds more than one of them. `len`, indexing and `array` need the whole sequence:
    when it is still being made, it is made to its end first and read from the store.

    Args:
        open_batches: called with (first index, batch size or None), yields batches from there.
        settle: called once when the whole sequence is needed; returns it as read from disk.
        count: number of pictures when it is known beforehand.
        fps: frames per second, for a film.
    """

    kind: Kind = "images"

    def __init__(
        self,
        open_batches: Callable[[int, int | None], Iterator[Batch]],
        settle: Callable[[], Images] | None = None,
        *,
        count: int | None = None,
        fps: float | None = None,
    ) -> None:
        self._open = open_batches
        self._settle = settle
        self.count = count
        self.fps = fps

    def batches(self, size: int | None = None, *, start: int = 0) -> Iterator[Batch]:
        """Yield batches of at most `size` pictures of one shape, from picture `start` on."""
        for batch in self._open(start, size):
            if size is None or len(batch) <= size:
                yield batch
            else:
                yield from (batch.part(i, i + size) for i in range(0, len(batch), size))

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def settled(self) -> Images:
        """Return the whole sequence, read from disk."""
        return self if self._settle is None else self._settle()

    @property
    def joined(self) -> Sequence[Images]:
        """The sequences that this one is merged of, one after another; itself if it is not merged."""
        return (self,)

    def __len__(self) -> int:
        count = self.settled().count
        assert count is not None
        return count

    def __getitem__(self, index: int) -> Batch:
        """Return picture `index` as a batch of one."""
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"picture {index} of {count}")
        return next(self.settled().batches(1, start=index % count))

    def array(self) -> np.ndarray:
        """All pictures as one read-only memory map, (N, H, W, C) uint8.

        Raises:
            DataError: if the pictures differ in size.
        """
        return self.settled().array()

    @classmethod
    def from_batches(cls, batches: Sequence[Batch], fps: float | None = None) -> Images:
        """Make a sequence of batches held in memory: for tests and small things."""
        return _InMemory(batches, fps)


class _InMemory(Images):
    def __init__(self, batches: Sequence[Batch], fps: float | None) -> None:
        self._batches: list[Batch] = []
        place = 0
        for batch in batches:
            self._batches.append(Batch.from_array(batch.array, batch.meta, start=place))
            place += len(batch)
        super().__init__(self._from, None, count=place, fps=fps)

    def _from(self, start: int, size: int | None) -> Iterator[Batch]:
        for batch in self._batches:
            skip = max(0, start - batch.start)
            if skip < len(batch):
                yield batch.part(skip, len(batch))

    def array(self) -> np.ndarray:
        import numpy as np

        return np.concatenate([batch.array for batch in self._batches])


class StoredImages(Images):
    """Pictures read from a folder written by `ImagesWriter`."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.folder = folder
        #: consecutive pictures of one shape: [count, height, width, channels]
        self.runs: list[tuple[int, int, int, int]] = [tuple(run) for run in index["runs"]]
        self.has_meta: bool = index["meta"]
        super().__init__(self._read, None, count=sum(run[0] for run in self.runs), fps=index["fps"])

    def array(self) -> np.ndarray:
        """All pictures as one read-only memory map, (N, H, W, C) uint8.

        Raises:
            DataError: if the pictures differ in size.
        """
        import numpy as np

        if len(self.runs) > 1:
            sizes = ", ".join(f"{run[2]}x{run[1]}" for run in self.runs[:3])
            raise DataError(
                f"the pictures differ in size ({sizes}{', ...' if len(self.runs) > 3 else ''})",
                "give `crop` or `resolution` to the stage that reads them, or add an images.resize stage",
            )
        if not self.runs:
            return np.zeros((0, 1, 1, 3), np.uint8)
        return np.memmap(self.folder / "pixels.bin", np.uint8, "r", shape=self.runs[0])

    def _read(self, start: int, size: int | None) -> Iterator[Batch]:
        return _read_pictures(self.folder, self.runs, start, size, has_meta=self.has_meta)


def _read_pictures(folder: Path, runs: Iterable[Sequence[int]], start: int, size: int | None, *, has_meta: bool) -> Iterator[Batch]:
    import numpy as np

    lines = _meta_lines(folder / "meta.jsonl", start) if has_meta else iter(())
    place = offset = 0
    with open(folder / "pixels.bin", "rb") as file:
        for count, *shape in runs:
            each = shape[0] * shape[1] * shape[2]
            step = size or max(1, BATCH_BYTES // (4 * each))
            first = min(max(0, start - place), count)
            file.seek(offset + first * each)
            for at in range(first, count, step):
                n = min(step, count - at)
                data = np.frombuffer(file.read(n * each), np.uint8).reshape(n, *shape)
                meta = [json.loads(next(lines)) for _ in range(n)] if has_meta else None
                yield Batch.from_array(data, meta, start=place + at)
            place += count
            offset += count * each


def _meta_lines(path: Path, start: int) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for i, line in enumerate(file):
            if i >= start:
                yield line


class ImagesWriter:
    """Writes pictures to a folder as they come; `sync` makes the ones so far survive a kill.

    Args:
        folder: where; made if it is missing. A folder left by a killed writer is taken up at its last sync.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        mark = read_sealed(folder / "sync.json")  # before anything is opened: the disk may fail
        self.folder = folder
        self.runs: list[list[int]] = []
        self.count = 0
        self._ends = [0, 0]  # bytes in pixels.bin and meta.jsonl
        self._files: list[BinaryIO] = [self._open("pixels.bin"), self._open("meta.jsonl")]
        if mark is not None and all(os.path.getsize(f.name) >= end for f, end in zip(self._files, mark["ends"], strict=True)):
            self.runs, self.count, self._ends = mark["runs"], mark["count"], mark["ends"]
        else:
            remove(folder / "sync.json")
        self._cut()

    def _open(self, name: str) -> BinaryIO:
        path = self.folder / name
        if not is_regular(path):
            remove(path)
        if path.exists() and path.stat().st_nlink > 1:
            copy = path.with_name(f".{name}.copy")  # a killed commit linked it into the store: what is there must not change
            shutil.copyfile(path, copy)
            os.replace(copy, path)
        path.touch()
        return open(path, "r+b", buffering=0)

    def _cut(self) -> None:
        for file, end in zip(self._files, self._ends, strict=True):
            file.truncate(end)
            file.seek(end)

    def append(self, batch: Batch) -> Batch:
        """Write a batch and return it as a reader of the store would see it."""
        array = batch.array
        _check_pictures(array, batch.meta)
        n, *shape = array.shape
        if n == 0:
            return batch
        lines = "".join(json.dumps(m, sort_keys=True, allow_nan=False) + "\n" for m in batch.meta).encode()
        pixels = memoryview(array.data if array.flags.c_contiguous else array.tobytes()).cast("B")
        for file, end, data in zip(self._files, self._ends, (pixels, memoryview(lines)), strict=True):
            _write_all(file, end, data)
        stored = Batch.from_array(array, batch.meta, start=self.count)
        ends, count = [self._ends[0] + len(pixels), self._ends[1] + len(lines)], self.count + n
        alike = bool(self.runs) and self.runs[-1][1:] == shape
        # counted only now: what fails before leaves what was whole; and without a call among them, no signal comes between these lines
        if alike:
            self.runs[-1][0] += n
        else:
            self.runs += [[n, *shape]]
        self._ends, self.count = ends, count
        return stored

    def extend(self, images: StoredImages) -> None:
        """Append all pictures of a stored sequence as they are, without looking at them."""
        runs = [list(run) for run in self.runs]
        for n, *shape in images.runs:
            if runs and runs[-1][1:] == shape:
                runs[-1][0] += n
            else:
                runs.append([n, *shape])
        count = self.count + int(images.count or 0)
        ends = [_copy_all(images.folder / "pixels.bin", self._files[0], self._ends[0])]
        if images.has_meta:
            ends.append(_copy_all(images.folder / "meta.jsonl", self._files[1], self._ends[1]))
        else:
            lines = memoryview(b"{}\n" * (count - self.count))
            _write_all(self._files[1], self._ends[1], lines)
            ends.append(self._ends[1] + len(lines))
        self.runs, self.count, self._ends = runs, count, ends

    def kept(self) -> Iterator[Batch]:
        """Read back what has been written so far."""
        self._flush()
        return _read_pictures(self.folder, [list(run) for run in self.runs], 0, None, has_meta=True)

    def picture(self, index: int) -> Batch:
        """Read back one picture.

        Raises:
            IndexError: if it has not been written.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        self._flush()
        return next(_read_pictures(self.folder, [list(run) for run in self.runs], index, 1, has_meta=True))

    def truncate(self, count: int) -> None:
        """Forget all pictures after the first `count`."""
        if count > self.count:
            raise LostWorkError(
                f"{self.count} pictures are kept, {count} were expected", "make this stage again from the start with --force"
            )
        if count == self.count:
            return
        with open(self.folder / "meta.jsonl", "rb") as file:
            self._flush()
            meta_end = sum(len(file.readline()) for _ in range(count))
        runs, left, pixels_end = [], count, 0
        for n, *shape in self.runs:
            n = min(n, left)
            if n:
                runs.append([n, *shape])
                pixels_end += n * shape[0] * shape[1] * shape[2]
            left -= n
        self.runs, self.count, self._ends = runs, count, [pixels_end, meta_end]
        if (self.folder / "sync.json").exists():
            self.sync()  # the mark must not promise more than the files will hold
        self._cut()

    def _flush(self, *, to_disk: bool = False) -> None:
        for file in self._files:
            file.flush()
            if to_disk:
                os.fsync(file.fileno())

    def sync(self) -> None:
        """Make what is written so far survive a kill at any later moment."""
        self._flush(to_disk=True)
        write_sealed(self.folder / "sync.json", {"runs": self.runs, "count": self.count, "ends": self._ends})

    def finish(self, fps: float | None = None, *, durable: bool = True) -> None:
        """Close the sequence: after this, `StoredImages` reads the folder. A second call does nothing.

        The mark of the last sync stays beside it, since a kill may come before the pictures are in the store.

        Args:
            fps: frames per second, for a film.
            durable: wait until it would survive a power cut; else no mark is left either.
        """
        if self._files[0].closed:
            return
        if durable:
            self.sync()
        self.close()
        has_meta = _any_meta(self.folder / "meta.jsonl", self.count)
        index = json.dumps({"runs": self.runs, "fps": fps, "meta": has_meta}, sort_keys=True).encode()
        if durable:
            write_atomically(self.folder / "index.json", index)
        else:
            (self.folder / "index.json").write_bytes(index)

    def close(self) -> None:
        """Let go of the files; what was synced is taken up by the next writer of this folder."""
        for file in self._files:
            file.close()


def _check_pictures(array: np.ndarray, meta: Sequence[Any]) -> None:
    """Check what a stage gave.

    Raises:
        StageError: if it is no pictures, or not as many metadata.
    """
    if array.ndim != 4 or array.shape[3] not in (3, 4) or str(array.dtype) != "uint8" or not all(array.shape[1:]):
        raise StageError(f"pictures must be (N, H, W, 3 or 4) of uint8 and not empty, got {array.shape} of {array.dtype}")
    if len(meta) != len(array) or not all(isinstance(item, dict) for item in meta):
        raise StageError(f"metadata must be a table for each of {len(array)} pictures")


def _write_all(file: BinaryIO, end: int, data: memoryview) -> None:
    """Write to an unbuffered file at a place of its own, whatever a failed write left behind it."""
    file.seek(end)
    while data:
        data = data[file.write(data) :]


def _copy_all(source: Path, file: BinaryIO, end: int) -> int:
    """Copy a file to a place in an unbuffered one, within the kernel where it can; returns where the copy ends."""
    with open_regular(source) as given:
        size = os.fstat(given.fileno()).st_size
        at = 0
        with contextlib.suppress(OSError, AttributeError):  # another file system, or system; what is wrong otherwise, writing will tell
            while at < size and (n := os.copy_file_range(given.fileno(), file.fileno(), size - at, at, end + at)):
                at += n
        given.seek(at)
        while piece := given.read(COPY_BYTES):
            _write_all(file, end + at, memoryview(piece))
            at += len(piece)
    return end + at


def _any_meta(path: Path, count: int) -> bool:
    return path.stat().st_size > 3 * count  # an empty object and its newline are 3 bytes


def is_regular(path: Path) -> bool:
    """True for a file that is neither a folder nor a link, pipe or device."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def open_regular(path: Path) -> BufferedReader:
    """Open a file of genart's own to read it; never through a link, and without waiting at a pipe.

    Raises:
        ValueError: if something else than a file is there.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if os.path.lexists(path) and not is_regular(path):
            raise ValueError(f"{path} is not a file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} is not a file")
    return os.fdopen(handle, "rb")


def read_json(path: Path) -> Any:
    """The content of a JSON file of genart's own; None if there is none, or nothing that can be read as JSON."""
    try:
        with open_regular(path) as file:
            return json.loads(file.read()) if os.fstat(file.fileno()).st_size <= MAX_RECORD_BYTES else None
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):  # a disk that fails is no reason to begin anew
        return None


def read_sealed(path: Path, label: str = "") -> dict[str, Any] | None:
    """What `write_sealed` wrote under this name, or None if that is not there or was damaged.

    Args:
        path: the file.
        label: as it was written.
    """
    return unsealed(read_json(path), label or path.name)


def unsealed(found: Any, label: str) -> dict[str, Any] | None:
    """What `sealed` sealed, or None if this is not it."""
    if not isinstance(found, dict):
        return None
    seal = found.pop(SEAL, None)
    return found if seal == sha256_of_json([label, found]) else None


def sealed(value: dict[str, Any], label: str) -> dict[str, Any]:
    """The value, as it is when it is read again, with a SHA-256 of itself and the label."""
    plain = json.loads(json.dumps(value, allow_nan=False))  # numbers that are keys become texts
    return {**plain, SEAL: sha256_of_json([label, plain])}


def write_sealed(path: Path, value: dict[str, Any], label: str = "", *, through: Path | None = None) -> None:
    """Write JSON with a SHA-256 of itself, so that damage is noticed, and whole or not at all; even a folder in its place gives way.

    Args:
        path: the file.
        value: JSON-serialisable.
        label: what is sealed with it, so that it counts for nothing else; by default the file's name.
        through: as for `write_atomically`.
    """
    text = json.dumps(sealed(value, label or path.name), sort_keys=True)
    if path.is_dir():
        remove(path)
    write_atomically(path, text.encode(), through=through)


def sha256_of_json(value: Any) -> str:
    """SHA-256 of a value as sorted JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, as far as the system lets us."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, *parts: bytes | memoryview, through: Path | None = None) -> None:
    """Write a file so that `path` holds either its old content or all of the new one, also after a power cut.

    Args:
        path: the file.
        parts: its new content, part after part.
        through: folder of the same file system in which it is put together, and left by a kill; by default that of the file.
    """
    temporary = (through or path.parent) / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            for data in parts:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Model:
    """A trained network of any family: one safetensors file whose JSON header says how to rebuild it.

    Attributes:
        path: the file.
        header: `family`, `parameters` (arguments of the family's generator), `z_dim`, `resolution`, `history`, ...
    """

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    kind: Kind = field(default="model", init=False)

    @property
    def family(self) -> str:
        """Name of the family that knows how to rebuild it."""
        return str(self.header["family"])

    @classmethod
    def open(cls, path: Path) -> Model:
        """Read the header of a model file, without torch.

        Raises:
            DataError: if it is not a genart model, or the system does not give it; then its cause is the OSError.
        """
        from safetensors import SafetensorError, safe_open

        try:
            table = read_safetensors_header(path)[0]
            if len(table) > MAX_TENSORS:
                raise ValueError(f"{len(table)} tensors")
            header = json.loads(table["__metadata__"]["genart"])["model"]
            _check_model_header(header)
            with safe_open(path, framework="numpy"):  # it checks the table of tensors against the file
                pass
        except SafetensorError as error:
            raise DataError(f"{path}: its tensors are damaged ({error})", "copy it again, or train it again") from error
        except OSError as error:
            raise DataError(
                f"{path}: this model cannot be read: {(error.strerror or str(error)).lower()}", "name a file that is there and may be read"
            ) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}: not a genart model ({type(error).__name__})", "it must be a .safetensors file that genart saved"
            ) from error
        return cls(path, header)


def _check_model_header(header: Any) -> None:
    """Check what everyone believes of a model's header; what is for one family alone is checked where its network is made.

    Raises:
        ValueError: if a value cannot be right.
    """
    if not (isinstance(header, dict) and isinstance(header["family"], str) and isinstance(header["parameters"], dict)):
        raise ValueError("family or parameters")
    for name in ("z_dim", "resolution"):
        if name in header and not (type(header[name]) is int and 1 <= header[name] <= MAX_MODEL_NUMBER):
            raise ValueError(name)


def read_safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the JSON header of a safetensors file and the offset of its data, bounded in size.

    Raises:
        ValueError: if the file is not safetensors.
    """
    with open(path, "rb") as file:
        return parse_safetensors_header(file), file.tell()


def parse_safetensors_header(file: BinaryIO) -> dict[str, Any]:
    """Read the JSON header of an open safetensors file, bounded in size, and leave the file at its data.

    Raises:
        ValueError: if the file is not safetensors.
    """
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= MAX_HEADER_BYTES:
        raise ValueError(f"header of {size} bytes")
    text = file.read(size)
    if len(text) != size:
        raise ValueError("truncated header")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("header is not an object")
    return header


@dataclass(frozen=True)
class Video:
    """One encoded film.

    Attributes:
        path: the file; its suffix names the format (.gif, .mp4, .webm).
        fps: frames per second.
        count: number of frames.
    """

    path: Path
    fps: float
    count: int
    kind: Kind = field(default="video", init=False)


Artifact = Images | Model | Video
#: What each kind of output is.
KINDS: dict[Kind, type[Artifact]] = {"images": Images, "model": Model, "video": Video}


class JoinedImages(Images):
    """Several sequences, one after another. The fps is that of the first film among them."""

    def __init__(self, parts: Iterable[Images]) -> None:
        self.parts = list(parts)
        counts = [part.count for part in self.parts]
        total = None if None in counts else sum(count for count in counts if count is not None)
        fps = next((part.fps for part in self.parts if part.fps), None)
        super().__init__(self._read, self._whole, count=total, fps=fps)

    @property
    def joined(self) -> Sequence[Images]:
        """The sequences that this one is merged of."""
        return self.parts

    def _whole(self) -> Images:
        return JoinedImages(part.settled() for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def _read(self, start: int, size: int | None) -> Iterator[Batch]:
        place = 0
        for part in self.parts:
            if start > place and start >= place + len(part):
                place += len(part)
                continue
            end = place
            for batch in part.batches(size, start=max(0, start - place)):
                shifted = batch.part(0, len(batch))
                shifted.start += place
                end = shifted.start + len(shifted)
                yield shifted
            place = end

    def array(self) -> np.ndarray:
        """All pictures in memory, (N, H, W, C) uint8.

        Raises:
            DataError: if the pictures differ in size.
        """
        import numpy as np

        arrays = [part.array() for part in self.parts]
        sizes = sorted({f"{a.shape[2]}x{a.shape[1]}" for a in arrays})
        if len({a.shape[1:] for a in arrays}) > 1:
            raise DataError(f"the merged pictures differ in size ({', '.join(sizes)})", "bring them to one size with images.resize first")
        return np.concatenate(arrays)


def from_picture(images: Images, start: int) -> Images:
    """The same sequence, read from picture `start` on; by index the earlier ones can still be had."""
    return Images(
        lambda at, size: images.batches(size, start=max(at, start)),
        images.settled,
        count=images.count,
        fps=images.fps,
    )


def result_files(folder: Path) -> list[Path]:
    """The files of a finished output that belong to the result, sorted; not what a writer keeps beside them."""
    index = read_json(folder / "index.json")
    left_out = {"sync.json"} if index is None or index["meta"] else {"sync.json", "meta.jsonl"}
    return sorted(path for path in folder.iterdir() if path.name not in left_out and not path.name.startswith("."))


def digest_of(files: dict[str, str]) -> str:
    """Content hash of an artifact: SHA-256 over its sorted file names and their SHA-256."""
    text = json.dumps(sorted(files.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
