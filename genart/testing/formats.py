"""Try what genart asks of those who read a format of pictures or write one of films."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from genart.formats import HEAD_BYTES, FilmWriter, PictureFormat, PictureReader

if TYPE_CHECKING:
    import numpy as np

#: Places at which a picture is cut off, and frames that a writer may hold at once, of so many.
CUTS, HELD, FRAMES = 16, 8, 40
SIZE = (24, 32)

Put = Callable[[BinaryIO, BinaryIO, str], object]
Scan = Callable[[BinaryIO], tuple[str | None, str]]


def check_reader(known: PictureFormat, reader: PictureReader, picture: bytes, pixels: np.ndarray) -> None:
    """Try a reader on one picture: it is known by its first bytes, read as it should be, and refused where it is cut off.

    Args:
        known: what the hook genart_readers gives.
        reader: what it names.
        picture: a file of the format, small, but larger than a header.
        pixels: what it shows, (H, W, 3 or 4) uint8.

    Raises:
        AssertionError: saying what is wrong.
    """
    import numpy as np

    suffix = known.suffixes[0] if known.suffixes else ""
    assert known.fits(picture[:HEAD_BYTES], suffix), f"a file that begins with {picture[:HEAD_BYTES]!r} is not known for this format"
    shape = reader.shape(io.BytesIO(picture))
    assert tuple(shape) == pixels.shape, f"`shape` gives {shape}, and the picture has {pixels.shape}"
    for _ in range(2):
        made = reader.read(io.BytesIO(picture))
        assert isinstance(made, np.ndarray), f"`read` gives {type(made).__name__}, not an array"
        fits = made.dtype == np.uint8 and made.shape == pixels.shape
        assert fits, f"`read` gives {made.dtype} of {made.shape}, not uint8 of {pixels.shape}"
        assert np.array_equal(made, pixels), f"`read` gives other pixels, {np.abs(made.astype(int) - pixels).max()} apart at most"
    for cut in sorted({len(picture) * i // CUTS for i in range(CUTS)} | {len(picture) - 1}):
        assert not _is_read(reader, io.BytesIO(picture[:cut])), (
            f"a picture that is cut off after {cut} of {len(picture)} bytes is read as whole"
        )


def _is_read(reader: PictureReader, file: BinaryIO) -> bool:
    try:
        reader.shape(file)
        file.seek(0)
        reader.read(file)
    except (Exception, SystemExit):
        return False
    return True


def check_writer(writer: FilmWriter, path: Path, params: Any = None) -> None:
    """Try a writer on a short film: all frames are read, few are held, the same frames give the same bytes, and a text comes back.

    Args:
        writer: what the hook genart_writers names.
        path: where to write, with the suffix of the format, in an empty folder.
        params: the parameters of `video.assemble`, if the writer looks at them.

    Raises:
        AssertionError: saying what is wrong.
    """
    films = []
    for _ in range(2):
        frames = _Film(4 if writer.alpha else 3)
        writer.write(iter(frames), path, 12.5, params)
        assert frames.given == FRAMES, f"it read {frames.given} of {FRAMES} frames"
        assert frames.most <= HELD, f"it held {frames.most} frames at once: a film need not fit into memory"
        assert path.is_file(), "it left no film"
        films.append(path.read_bytes())
        path.unlink()
    assert films[0] == films[1], "the same frames give other bytes the second time"
    assert not list(path.parent.iterdir()), "it left more than the film"
    if writer.put is not None and writer.scan is not None:
        _check_text(writer.put, writer.scan, films[0])


def _check_text(put: Put, scan: Scan, film: bytes) -> None:
    text, content = scan(io.BytesIO(film))
    assert text is None, "`scan` finds a text where there is none"
    for told in ('{"a":"b"}', '{"long":"' + "x < & y\\n" * 20_000 + '"}'):
        out = io.BytesIO()
        put(io.BytesIO(film), out, told)
        out.seek(0)
        found, same = scan(out)
        assert found == told, "`scan` does not find the text that `put` wrote"
        assert same == content, "the content's hash is another with a text than without"
    changed = bytearray(film)
    changed[-1] ^= 1
    try:
        assert scan(io.BytesIO(changed))[1] != content, "a changed film has the same hash"
    except AssertionError:
        raise
    except Exception:  # it may as well be refused
        return


class _Film:
    """Frames that are made as they are asked for, and counted as long as somebody holds them."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.given = self.most = 0
        self._held: set[int] = set()

    def __iter__(self) -> Iterator[np.ndarray]:
        import numpy as np

        for number in range(FRAMES):
            frame = np.full((*SIZE, self.channels), number * 6 % 256, np.uint8)
            frame[:, number % SIZE[1]] = 200
            self._held.add(number)
            weakref.finalize(frame, self._held.discard, number)
            self.most = max(self.most, len(self._held))
            yield frame
            del frame
            self.given = number + 1
