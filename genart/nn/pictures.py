"""One file of any kind to one 8-bit sRGB picture, within bounds.

The kind is told by the first bytes, never by the name alone. Nothing of Pillow's global state is read or changed: its limit
on pixels is a global, so ours is checked here, between the header and the first pixel. What Pillow does not read, plugins may
(`genart.formats`): their readers are held to the same limits, and whatever they raise makes one picture unreadable, and no more.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from genart.errors import DataError
from genart.formats import FORMATS, HEAD_BYTES, Brought, PictureReader, head_of, kind_of
from genart.listing import files_below

#: Pictures with more pixels than this are refused from their header. A 50,000x50,000 PNG of one colour is a few
#: kilobytes on disk and 7.5 GB in memory.
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 1 << 30
#: Scans of a progressive JPEG: programs write about ten. Thousands, of a few bytes each, cost as much as thousands of pictures.
MAX_SCANS = 100
#: Pixels that are converted at once: in a large picture, each copy counts.
BAND_PIXELS = 1 << 22

Opener = Callable[..., ImageFile.ImageFile]
#: Pillow's name of a format -> its decoder
DECODERS: dict[str, Opener] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
#: Characters of what a reader of a plugin raised that are told.
MOST_WORDS = 80

#: From this EXIF orientation on width and height are exchanged.
SIDEWAYS = 5

#: Errors of the system that come of a file's own content: an offset in it that leads nowhere, a link in a circle.
OF_THE_CONTENT = (None, errno.EINVAL, errno.EOVERFLOW, errno.ELOOP)


class Unreadable(Exception):
    """A picture cannot be used; the text says why in a few words."""


class Unread(Unreadable):
    """The system did not give a picture's content, which may be whole and be there the next time: passing over it would be no result."""

    def named(self, name: str) -> DataError:
        """The error that stops a stage."""
        return DataError(f"{name}: {self}", "the same command goes on once this picture can be read; or take it away")


@dataclass(frozen=True)
class Want:
    """What every picture is brought to.

    Attributes:
        size: width and height in pixels, or None for each picture's own.
        fit: "crop" (cut the longer side), "letterbox" (pad the shorter one), "pad" (the same, and never enlarge) or "stretch".
        background: "#rrggbb" behind transparency and in what is padded.
        keep_alpha: give RGBA, for every picture.
    """

    size: tuple[int, int] | None = None
    fit: str = "crop"
    background: str = "#ffffff"
    keep_alpha: bool = False


def picture_files(path: Path) -> list[Path]:
    """List the pictures below a folder, sorted by path, hidden files and folders left out; a file is listed as it is.

    Raises:
        DataError: if there is nothing at `path`, no picture in it, or a folder that cannot be read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such folder or picture", "check the path; in a recipe it is relative to the recipe's folder")
    files = [file for file in files_below(path) if not _of_macos(file.relative_to(path)) and _looks_like_picture(file)]
    if not files:
        raise DataError(f"{path}: no picture in this folder", f"it reads {FORMATS.words()}, in folders below it too")
    return files


def _of_macos(name: Path) -> bool:
    """What macOS puts into archives beside each file."""
    return any(part.startswith("__MACOSX") for part in name.parts[:-1])


def _looks_like_picture(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix in FORMATS.suffixes:
        return True
    if not file.is_file():
        return False
    head = head_of(file)
    # two letters, as BMP begins with, prove nothing without a suffix
    return kind_of(head) not in (None, "BMP") or bool(FORMATS.fitting(head, suffix))


def class_of(file: Path, root: Path) -> str | None:
    """The class of a picture below `root`: the name of the folder directly below `root` that it lies in; None if it lies in none."""
    parts = file.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def empty_classes(root: Path, files: Sequence[Path]) -> list[str]:
    """Names of the folders directly below `root` that hold none of the files, where others hold some."""
    full = {class_of(file, root) for file in files} - {None}
    folders = {name for name in os.listdir(root) if os.path.isdir(root / name) and not name.startswith((".", "__MACOSX"))}
    return sorted(folders - full) if full else []


@dataclass(frozen=True)
class Header:
    """What a picture's file says of it, before any pixel is decoded.

    Attributes:
        format: PNG, JPEG, WEBP, GIF, BMP, TIFF, or the name that a plugin gives it.
        mode: Pillow's name of its colours: L, RGB, RGBA, P, CMYK, I;16, ...; what a plugin reads is RGB or RGBA.
        width: pixels across, upright.
        height: pixels down, upright.
        turned: its EXIF orientation says that it is stored turned or mirrored.
        transparent: it has an alpha channel or a transparent colour.
        moving: it has more than one frame, of which the first is read.
        bytes: size of the file.
    """

    format: str
    mode: str
    width: int
    height: int
    turned: bool
    transparent: bool
    moving: bool
    bytes: int


def header(path: Path) -> Header:
    """Read what a picture's file says of it.

    Raises:
        Unreadable: if it is no picture of a known kind within bounds; its pixels may still prove damaged.
        Unread: if the system does not say what it is.
    """
    with _regular(path) as file:
        foreign = _foreign(file, path.suffix)
        return _header(file) if foreign is None else foreign.header(file)


def _header(file: io.BufferedReader) -> Header:
    with _open(file) as picture:
        width, height = picture.size
        orientation = _orientation(picture)
        if orientation >= SIDEWAYS:
            width, height = height, width
        return Header(
            format=picture.format or "",
            mode=picture.mode,
            width=width,
            height=height,
            turned=orientation > 1,
            transparent=picture.has_transparency_data,
            moving=bool(getattr(picture, "is_animated", False)),
            bytes=os.fstat(file.fileno()).st_size,
        )


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the block is damaged."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the parser raises nearly anything, and the pixels are whole
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def decode(path: Path, want: Want) -> np.ndarray:
    """Read one picture.

    Returns:
        (H, W, 3 or 4) uint8 sRGB.

    Raises:
        Unreadable: if it is not a whole picture of a known kind within bounds.
        Unread: if the system does not say what it is.
    """
    with _regular(path) as file:
        return _decoded(file, path.suffix, want)


def _decoded(file: io.BufferedReader, suffix: str, want: Want) -> np.ndarray:
    foreign = _foreign(file, suffix)
    if foreign is not None:
        return from_array(foreign.pixels(file), want)
    picture, profile = _load(file, want)
    return _as_wanted(picture, profile, want)


@contextmanager
def _regular(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file of a size within bounds; what a decoder raises on it is said as `Unreadable`."""
    with _plainly():
        if path.is_symlink() and not path.exists():
            raise Unreadable("a link that leads nowhere")
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise Unreadable("not a regular file")
        if info.st_size == 0:
            raise Unreadable("empty file")
        if info.st_size > MAX_FILE_BYTES:
            raise Unreadable(f"{info.st_size >> 20} MB, above the limit of {MAX_FILE_BYTES >> 20}")
        with open(path, "rb") as file:
            yield file


def decode_bytes(data: bytes, want: Want, name: str = "") -> np.ndarray:
    """Read one picture that lies in memory, as `decode` reads one from a file.

    Args:
        data: the file.
        want: what it is brought to.
        name: that it has; some formats of plugins are known by their names too.

    Returns:
        (H, W, 3 or 4) uint8 sRGB.

    Raises:
        Unreadable: if it is not a whole picture of a known kind within bounds.
    """
    with _plainly():
        return _decoded(io.BufferedReader(io.BytesIO(data)), Path(name).suffix, want)


def from_array(array: np.ndarray, want: Want) -> np.ndarray:
    """Bring a picture that is decoded already, (H, W) or (H, W, 3 or 4) uint8 sRGB, to what is wanted: (H, W, 3 or 4) uint8."""
    return _as_wanted(Image.fromarray(array), None, want)


def _as_wanted(picture: Image.Image, profile: bytes | None, want: Want) -> np.ndarray:
    """Bring a picture to its size and to sRGB, a band of rows after the other, so that a large one is not held many times over."""
    sized = picture if want.size is None else _fit(picture, want)
    width, height = sized.size
    rows = max(1, BAND_PIXELS // width)
    if rows >= height:
        return np.asarray(_finish(_to_srgb(sized, profile), want))
    pixels = np.empty((height, width, 4 if want.keep_alpha else 3), np.uint8)
    for top in range(0, height, rows):
        band = _band(sized, top, min(top + rows, height))
        pixels[top : top + rows] = np.asarray(_finish(_to_srgb(band, profile), want))
    return pixels


def _band(picture: Image.Image, top: int, bottom: int) -> Image.Image:
    """Some rows of a picture, and of its bars."""
    box = (0, top, picture.width, bottom)
    band = picture.crop(box)
    if "bars" in picture.info:
        band.info["bars"] = picture.info["bars"].crop(box)
    return band


@contextmanager
def _plainly() -> Iterator[None]:
    """Say whatever a decoder raises as `Unreadable`."""
    try:
        yield
    except Unreadable:
        raise
    except OSError as error:
        raise (Unreadable if error.errno in OF_THE_CONTENT else Unread)(_reason(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise Unreadable(f"damaged ({type(error).__name__})") from error


def _load(file: io.BufferedReader, want: Want) -> tuple[Image.Image, bytes | None]:
    """Return a file's picture, upright, in mode L, RGB, RGBA or CMYK, and its ICC profile; all that hostile bytes reach is here."""
    with _open(file) as picture:
        if want.size is not None:
            # A JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that leaves twice the size for the filter.
            # Squared, since the EXIF orientation may turn it later.
            picture.draft(None, (2 * max(want.size), 2 * max(want.size)))
        picture.load()
        profile = picture.info.get("icc_profile")
        _turn_upright(picture)
        return _plain(picture), profile


def _reason(error: OSError) -> str:
    if error.errno is not None:
        return (error.strerror or "cannot be read").lower()
    text = str(error)
    return "truncated" if "truncated" in text.lower() else f"damaged ({text.partition(chr(10))[0][:60]})"


def opener(head: bytes) -> Opener | None:
    """Return the decoder for a file that begins with these 16 bytes, or None if it is no picture that we read."""
    kind = kind_of(head)
    return None if kind is None else DECODERS[kind]


def _open(file: io.BufferedReader) -> ImageFile.ImageFile:
    """Read the header; `Image.open` would do the same and consult the process's pixel limit."""
    decoder = opener(file.peek(16)[:16])
    if decoder is None:
        raise Unreadable(f"not a {FORMATS.words('or')}")
    try:
        picture = decoder(file)
    except SyntaxError as error:  # how Pillow says that a header is wrong
        raise Unreadable("damaged header") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        raise _too_large(width, height)
    if width * height == 0:
        raise Unreadable("no pixels")
    if picture.info.get("progressive") and (scans := _scans(file)) > MAX_SCANS:
        raise Unreadable(f"it comes in {scans:,} scans, above the limit of {MAX_SCANS}")
    return picture


def _too_large(width: int, height: int) -> Unreadable:
    return Unreadable(f"{width}x{height} is {width * height / 1e6:,.0f} megapixels, above the limit of {MAX_PIXELS / 1e6:.0f}")


# what plugins read


class Foreign:
    """A file whose format a plugin reads; a reader is a stranger's, and its file another's.

    Args:
        brought: the format.

    Raises:
        Unread: if the reader itself cannot be used: the picture may be whole.
    """

    def __init__(self, brought: Brought) -> None:
        self.brought = brought
        try:
            self.reader: PictureReader = brought.reader()
        except (Exception, SystemExit) as error:
            raise Unread(f"its reader {brought} cannot be used: {_words_of(error)}") from error

    def header(self, file: BinaryIO) -> Header:
        """What the file says of itself, within the limits of every picture.

        Raises:
            Unreadable: with the reader's name; what was wrong is whatever it raised.
            Unread: if the system does not give the file's content.
        """
        shape = self._ask(lambda: self.reader.shape(file))
        if not (isinstance(shape, tuple) and len(shape) == 3 and all(type(side) is int for side in shape) and shape[2] in (3, 4)):
            raise self._says(f"it gives the shape {str(shape)[:MOST_WORDS]}, not (height, width, 3 or 4)")
        height, width, channels = shape
        if height <= 0 or width <= 0:
            raise Unreadable("no pixels")
        if width * height > MAX_PIXELS:
            raise _too_large(width, height)
        size = file.seek(0, os.SEEK_END)
        return Header(self.brought.name, "RGBA" if channels == 4 else "RGB", width, height, False, channels == 4, False, size)

    def pixels(self, file: BinaryIO) -> np.ndarray:
        """The picture, (H, W, 3 or 4) uint8.

        Raises:
            Unreadable: as `header`, or if it is not what the header says.
            Unread: as `header`.
        """
        head = self.header(file)
        file.seek(0)
        array = self._ask(lambda: self.reader.read(file))
        shape = (head.height, head.width, len(head.mode))
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != shape:
            given = f"{array.dtype} of {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise self._says(f"it gives {given}, not uint8 of {shape}")
        return np.ascontiguousarray(array)

    def _ask(self, question: Callable[[], object]) -> object:
        try:
            return question()
        except Unreadable as error:
            raise self._says(str(error)) from error
        except OSError as error:
            if error.errno not in OF_THE_CONTENT:
                raise  # the system's word on the file, as for every picture
            raise self._says(_words_of(error)) from error
        except (Exception, SystemExit) as error:
            raise self._says(_words_of(error)) from error

    def _says(self, words: str) -> Unreadable:
        return Unreadable(f"{words}, says the reader '{self.brought.name}'")


def _foreign(file: io.BufferedReader, suffix: str) -> Foreign | None:
    """What reads a file that stands at its beginning, if a plugin does; it is left there.

    Raises:
        Unread: if two would, or the one cannot be used.
    """
    found = FORMATS.fitting(file.peek(HEAD_BYTES)[:HEAD_BYTES], suffix.lower()) if FORMATS.brought else []
    if len(found) > 1:
        raise Unread(f"both {found[0]} and {found[1]} read it; uninstall one of them")
    return Foreign(found[0]) if found else None


def _words_of(error: BaseException) -> str:
    """What an error says, in a few words."""
    text = " ".join(str(error).split())[:MOST_WORDS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _scans(file: io.BufferedReader) -> int:
    """Number of scans of a JPEG; in coded data FF is never followed by their mark."""
    place = file.tell()
    file.seek(0)
    try:
        return file.read().count(b"\xff\xda")
    finally:
        file.seek(place)


def _turn_upright(picture: Image.Image) -> None:
    """Turn a picture as its EXIF orientation says; a damaged EXIF block leaves it as it lies."""
    with suppress(Exception):  # the parser raises nearly anything, and the pixels are whole
        ImageOps.exif_transpose(picture, in_place=True)


def _plain(picture: Image.Image) -> Image.Image:
    """Return an 8-bit picture of mode L, RGB, RGBA or CMYK."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_deep(picture)
    if picture.mode != "RGBA" and picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _from_deep(picture: Image.Image) -> Image.Image:
    """Scale a grey picture of 16, 32 or floating bits to 8, rounded: 65535 becomes 255, and 257 becomes 1.

    32-bit integers are taken as 16-bit ones if all of them fit; else, and for floats beyond [0, 1], the largest is white.
    """
    values = np.asarray(picture)
    top = float(values.max(initial=0))
    if not (np.isfinite(top) and np.isfinite(values.min(initial=0))):
        raise Unreadable("contains NaN or infinity")
    white = max(top, 1.0 if picture.mode == "F" else 65535.0)
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, BAND_PIXELS // values.shape[1])
    for at in range(0, len(values), rows):
        band = values[at : at + rows].astype(np.float64)
        scaled[at : at + rows] = np.rint(band.clip(0, white) * (255 / white))
    return Image.fromarray(scaled)


def _fit(picture: Image.Image, want: Want) -> Image.Image:
    """Bring a picture to the wanted size; transparent pixels weigh nothing (Pillow premultiplies RGBA when it resizes)."""
    assert want.size is not None
    size, (width, height) = want.size, picture.size
    if want.fit == "stretch":
        return _resize(picture, size, (0, 0, width, height))
    across, down = size[0] / width, size[1] / height
    if want.fit == "crop":
        factor = max(across, down)
        cut = (size[0] / factor, size[1] / factor)
        # max() and min() keep rounding from pushing the box past the edges
        left, top = max(0.0, (width - cut[0]) / 2), max(0.0, (height - cut[1]) / 2)
        return _resize(picture, size, (left, top, min(width, left + cut[0]), min(height, top + cut[1])))
    factor = min(across, down) if want.fit == "letterbox" else min(across, down, 1.0)
    inner = (max(1, round(width * factor)), max(1, round(height * factor)))
    return _letterbox(_resize(picture, inner, (0, 0, width, height)), want)


def _letterbox(picture: Image.Image, want: Want) -> Image.Image:
    """Put a picture in the middle of bars that are marked transparent; `_finish` gives them their colour."""
    assert want.size is not None
    bars = Image.new("L", want.size, 0)
    place = ((want.size[0] - picture.width) // 2, (want.size[1] - picture.height) // 2)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255)
    bars.paste(alpha, place)
    sheet = Image.new(picture.mode, want.size)
    sheet.paste(picture, place)
    sheet.info["bars"] = bars
    return sheet


def _resize(picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    if picture.size == size and box == (0, 0, *size):
        return picture
    # reducing_gap: huge pictures are first averaged down to three times the size, which no eye can tell
    return picture.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture as sRGB, mode RGB or RGBA, through its ICC profile where that fits its mode."""
    bars = picture.info.get("bars")
    alpha = bars if bars is not None else picture.getchannel("A") if picture.mode == "RGBA" else None
    colours = picture.convert("RGB") if picture.mode == "RGBA" else picture
    transform = _transform(profile, colours.mode) if profile else None
    rgb = transform.apply(colours) if transform is not None else colours.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return rgb


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform of an ICC profile to sRGB; None if the profile is damaged or for other colours than the picture's."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[mode]
        if source.profile.xcolor_space.strip() != space:
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(
            source, target, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        )
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError):  # the last for names that are no text
        return None


def _finish(picture: Image.Image, want: Want) -> Image.Image:
    """Keep transparency for every picture, or lay it on the background."""
    if want.keep_alpha:
        return picture.convert("RGBA")
    if picture.mode == "RGB":
        return picture
    sheet = Image.new("RGBA", picture.size, want.background)
    return Image.alpha_composite(sheet, picture).convert("RGB")
