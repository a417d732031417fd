"""Looks at every picture of a folder once: what kind it is, what is wrong with it, and which other picture it repeats."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .ahead import ahead
from .data import over_white
from .images import grid
from .labels import label_height, label_strip
from .pictures import Header, Unreadable, Want, decode, header

#: Pixels along a side at which pictures are compared with themselves, and with each other.
LOOK, THUMB = 64, 16
#: A picture whose channels differ by no more than this, of 255, shows nothing.
BLANK = 3
#: Bits of the hash, and how many of them two pictures of one content may differ in.
HASH_SIDE, HASH_BITS, BANDS = 8, 128, 8
NEAR_BITS = BANDS - 1
#: Bits that are set in each 16-bit number.
BITS_SET = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)
#: A brighter neighbour is one that is brighter by more than this, of 255, so that the noise of a JPEG turns no bit of a plain sky.
BRIGHTER = 2.0
#: Near pictures differ by no more than this share of their own contrast, in the square mean over a thumbnail; or by no more than this
#: many of 255, which is what a JPEG of little contrast loses.
NEAR_SHARE, NEAR_LEVELS = 0.09, 3.0
#: Files that one task of a worker looks at.
FILES_PER_TASK = 16
#: Pictures that are compared with those before them between two looks at whether to go on.
PICTURES_PER_TELL = 500
#: Pixels along a side of a picture on the sheet.
CELL = 144


@dataclass(frozen=True)
class Seen:
    """What one look at a picture tells.

    Attributes:
        header: what its file says of it.
        thumb: (16, 16, 3) uint8, what near pictures are told by; a picture keeps less than a kilobyte.
        blank: it shows nothing.
        see_through: some of it is transparent.
    """

    header: Header
    thumb: np.ndarray
    blank: bool
    see_through: bool


def look(file: Path) -> Seen:
    """Look at one picture.

    Raises:
        Unreadable: if it is not a whole picture of a known kind within bounds, or the system does not give it.
    """
    head = header(file)
    rgba = decode(file, Want((LOOK, LOOK), "stretch", keep_alpha=head.transparent))
    opaque = not head.transparent or bool((rgba[..., 3] == 255).all())
    rgb = rgba[..., :3] if opaque else over_white(rgba[None])[0]
    blank = bool((np.ptp(rgb.reshape(-1, 3).astype(np.int16), axis=0) <= BLANK).all())
    step = LOOK // THUMB
    thumb = rgb.reshape(THUMB, step, THUMB, step, 3).mean((1, 3))
    return Seen(head, np.rint(thumb).astype(np.uint8), blank, not opaque)


def look_at_all(files: Sequence[Path], tell: Callable[[int], None]) -> Iterator[Seen | Unreadable]:
    """Look at every file, in order, in parallel: what was seen, or the reason why it cannot be used.

    Args:
        files: the files.
        tell: called with how many are done; may raise to stop.
    """

    def look_at_each(some: Sequence[Path]) -> list[Seen | Unreadable]:
        return [_look_or_reason(file) for file in some]

    done = 0
    with closing(ahead(look_at_each, (files[i : i + FILES_PER_TASK] for i in range(0, len(files), FILES_PER_TASK)))) as results:
        for seen in results:
            yield from seen
            done += len(seen)
            tell(done)


def _look_or_reason(file: Path) -> Seen | Unreadable:
    try:
        return look(file)
    except Unreadable as error:
        return error


# what repeats


def reduced(thumbs: np.ndarray) -> np.ndarray:
    """Bring thumbnails, (N, 16, 16, 3) uint8, to (N, 8, 8) float32 greys, the mean of all that each stands for."""
    step = THUMB // HASH_SIDE
    grey: np.ndarray = thumbs.reshape(-1, HASH_SIDE, step, HASH_SIDE, step, 3).mean((2, 4, 5), dtype=np.float32)
    return grey


def difference_hash(grey: np.ndarray) -> np.ndarray:
    """Hash pictures by where they grow brighter to the right and downwards.

    Resizing, compressing and a change of brightness leave nearly all bits as they are.

    Args:
        grey: (N, 8, 8) float32.

    Returns:
        (N, 8) uint16: 128 bits in eight bands.
    """
    # the last column is compared with the first, and so the last row, so that the bits are a whole number of bands
    bits = np.stack([np.roll(grey, -1, axis) - grey > BRIGHTER for axis in (2, 1)], 1)
    # shuffled, always alike: neighbours resemble each other, and a band of them would tell few pictures apart
    shuffled = bits.reshape(len(grey), HASH_BITS)[:, np.random.default_rng(0).permutation(HASH_BITS)]
    return np.ascontiguousarray(np.packbits(shuffled, axis=1)).view(np.uint16)


class _Places:
    """A list of integers that grows, as an array."""

    def __init__(self) -> None:
        self._array = np.empty(4, np.int64)
        self._count = 0

    def append(self, place: int) -> None:
        if self._count == len(self._array):
            self._array = np.resize(self._array, 2 * self._count)
        self._array[self._count] = place
        self._count += 1

    @property
    def array(self) -> np.ndarray:
        return self._array[: self._count]


def shown_before(thumbs: np.ndarray, tell: Callable[[], None] = lambda: None) -> dict[int, int]:
    """Say which pictures show what one before them shows, in time that does not grow with the square of their number.

    Two hashes that differ in at most seven bits agree in one of eight bands at least. So each picture is compared only with those that
    share a band with it, and among them only with those that repeat none themselves: by the hash, then by their greys and by their
    thumbnails, which are to differ by little beside their own contrast.

    Args:
        thumbs: (N, 16, 16, 3) uint8.
        tell: called now and then; may raise to stop.

    Returns:
        place of a picture -> place of the first that shows the same and repeats none.
    """
    grey = reduced(thumbs)
    hashes = difference_hash(grey)
    flat = [grey.reshape(len(grey), -1), thumbs.reshape(len(thumbs), -1)]
    allowed = np.maximum(NEAR_LEVELS, NEAR_SHARE * np.array([thumb.std() for thumb in thumbs], np.float32))
    stay: list[dict[int, _Places]] = [defaultdict(_Places) for _ in range(BANDS)]
    result: dict[int, int] = {}
    for i, bands in enumerate(hashes.tolist()):
        if i % PICTURES_PER_TELL == 0:
            tell()
        held = [places[band] for places, band in zip(stay, bands, strict=True)]
        others = _close(hashes, i, np.concatenate([places.array for places in held]))
        for values in flat if len(others) else ():  # the greys are means of the thumbnails, so they differ by no more
            others = others[_apart(values, i, others) <= np.maximum(allowed[i], allowed[others])]
        if len(others):
            result[i] = int(others.min())
        else:
            for places in held:
                places.append(i)
    return result


def _close(hashes: np.ndarray, i: int, others: np.ndarray) -> np.ndarray:
    """Those of the other places whose hash differs from that of `i` in few bits."""
    close: np.ndarray = others[BITS_SET[hashes[others] ^ hashes[i]].sum(1) <= NEAR_BITS]
    return close


def _apart(values: np.ndarray, i: int, others: np.ndarray) -> np.ndarray:
    """Root of the mean square of the differences between row `i` of values (N, K) and other rows: (M,) float32."""
    difference = values[others].astype(np.float32) - values[i]
    apart: np.ndarray = np.sqrt(np.mean(difference**2, 1))
    return apart


def repeated(files: Sequence[Path], seen: Sequence[Seen], tell: Callable[[], None] = lambda: None) -> dict[int, tuple[int, bool]]:
    """Say which pictures repeat another one.

    The largest picture of those that show the same stays, and of equal ones the first; each that is named repeats one that stays, so
    that of the frames of a film, each like the next, not all but one are named.

    Args:
        files: the pictures.
        seen: what was seen of each.
        tell: called now and then; may raise to stop.

    Returns:
        place of a picture -> (place of the one that stays, whether the files are equal to the byte).
    """
    if not seen:
        return {}
    equal = _equal_files(files, seen)
    left = [i for i in range(len(seen)) if i not in equal]
    left.sort(key=lambda i: (-seen[i].header.width * seen[i].header.height, i))
    near = shown_before(np.stack([seen[i].thumb for i in left]), tell)
    result = {left[i]: (left[of], False) for i, of in near.items()}
    # what equals a picture that is near to another one repeats that other one too
    return result | {i: (result[of][0] if of in result else of, True) for i, of in equal.items()}


def _equal_files(files: Sequence[Path], seen: Sequence[Seen]) -> dict[int, int]:
    """Place of each file -> place of the first file with the same bytes; only files that may be equal are read."""
    by_content: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i, one in enumerate(seen):
        by_content[one.header.bytes, one.thumb.tobytes()].append(i)
    result: dict[int, int] = {}
    for places in by_content.values():
        first: dict[bytes, int] = {}
        for i in places if len(places) > 1 else ():
            of = first.setdefault(_digest(files[i]), i)
            if of != i:
                result[i] = of
    return result


def _digest(file: Path) -> bytes:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


# the sheet


def sheet(pictures: Iterable[tuple[Path, Sequence[str]]]) -> Tensor:
    """Lay pictures out with words below each; one that cannot be read is an empty cell.

    Args:
        pictures: files, one at least, and the lines below each, as many for all.

    Returns:
        (3, H, W) uint8.
    """
    strip = label_height(CELL)
    tiles = []
    for file, lines in pictures:
        tile = torch.full((3, CELL + len(lines) * strip, CELL), 255, dtype=torch.uint8)
        try:
            picture = decode(file, Want((CELL, CELL), "letterbox"))
            tile[:, :CELL] = torch.tensor(picture).permute(2, 0, 1)
        except Unreadable:
            tile[:, :CELL] = 224
        for i, line in enumerate(lines):
            tile[:, CELL + i * strip : CELL + (i + 1) * strip] = label_strip(line, (CELL, strip), "#ffffff")
        tiles.append(tile)
    return grid(torch.stack(tiles), gap=6, background=255.0)


def encoded(pixels: Tensor, format: str) -> bytes:
    """A picture, (3, H, W) uint8, as a file of a format that Pillow writes: PNG, JPEG or WEBP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, format)
    return buffer.getvalue()
