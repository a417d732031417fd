"""The frames of a film: pictures put side by side, blended, enlarged, titled and captioned, one at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from genart import DataError, Images, Meta, Run

from . import timeline
from .caption import Caption, draw_title
from .pictures import Cursor, blend, opaque, resized, still, with_alpha

if TYPE_CHECKING:
    from . import FramesParams

#: Longest side that the encoders take.
MAX_SIDE = 16384
DEFAULT_FPS = 24.0
WHITE = "#ffffff"


class Frame(NamedTuple):
    """One frame.

    Attributes:
        pixels: (H, W, 3 or 4) uint8.
        times: how many frame times it stays.
        picture: number of the picture that it shows.
        meta: that picture's.
    """

    pixels: np.ndarray
    times: int
    picture: int
    meta: Meta


class Source:
    """One input and its track; two cursors, since fades show two pictures at once."""

    def __init__(self, images: Images, track: timeline.Track | timeline.Endless) -> None:
        self.images = images
        self.track = track
        self._cursors = (Cursor(images), Cursor(images))

    def read(self, frame: int) -> tuple[np.ndarray, int, Meta] | None:
        """What a frame shows, (H, W, 3 or 4) uint8, the number of its picture and that one's metadata; None beyond the end."""
        first, second, share = self.track.at(frame)
        found = self._cursors[0].read(first)
        if found is None:
            return None
        picture, meta = found
        if share > 0 and (other := self._cursors[1].read(second)) is not None:
            pair = (picture, other[0])
            if picture.shape[2] != other[0].shape[2]:
                pair = (with_alpha(picture), with_alpha(other[0]))
            picture = blend(*pair, share)
            first, meta = (second, other[1]) if share >= 0.5 else (first, meta)
        return picture, first, meta


class Frames:
    """Frames of one size, made anew at each reading; never more than two batches of an input are held.

    Args:
        images: the pictures.
        params: how to show them.
        run: holds what `beside` names, and is told of a crossfade without parts.
        fps: frames per second; by default as the parameters or the pictures say.
        own_fps: the rate of pictures that have none; by default that of the parameters.
        keeps_alpha: give RGBA where pictures have transparency and the parameters name no background.
        whole: the frames are read more than once, so the pictures must all be made.
    """

    def __init__(
        self,
        images: Images,
        params: FramesParams,
        run: Run,
        *,
        fps: float | None = None,
        own_fps: float | None = None,
        keeps_alpha: bool = False,
        whole: bool = False,
    ) -> None:
        self.params = params
        self.fps = fps or rate(images, params)
        self._own_fps = own_fps or params.fps or DEFAULT_FPS
        self.caption = Caption(params.caption, (images.fps or self._own_fps) * params.speed)
        self.background = _rgb(params.background or WHITE)
        #: whether frames are RGBA; None until the first picture tells
        self.alpha: bool | None = None if keeps_alpha and params.background is None else False
        whole = whole or any((params.hold, params.crossfade, params.loop_fade, params.ping_pong, params.seconds, params.beside))
        self.order: Sequence[int] | np.ndarray | None = None
        self.last: int | None = None
        if not whole:
            self.sources = [Source(images, timeline.Endless(self._step(images)))]
            return
        inputs = [images.settled(), *(_beside(run, str(path)) for path in params.beside)]
        if params.crossfade and len(inputs[0].joined) == 1:
            run.warn("there is one film, so `crossfade` has nothing to fade into; `loop_fade` fades its end into its beginning")
        tracks = [self._track(each) for each in inputs]
        count = max(map(len, tracks))
        fade = self._frames_in(params.loop_fade)
        tracks = [track.until(count).loop(fade) for track in tracks]
        self.sources = [Source(each, track) for each, track in zip(inputs, tracks, strict=True)]
        count = len(tracks[0])
        self.last = count - 1
        self.order = timeline.there_and_back(count) if params.ping_pong else range(count)

    @property
    def count(self) -> int | None:
        """Number of frame times, when it is known."""
        if self.order is not None:
            return len(self.order) + self._held - 1
        images = self.sources[0].images
        return None if images.count is None else timeline.length(images.count, self._step(images))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in the order of showing.

        Raises:
            DataError: if there are none, or pictures differ in size.
        """
        return self._since(0)

    def shown(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the pixels of each frame time from number `start` on, (H, W, 3 or 4) uint8: of a frame, as often as it is shown.

        Raises:
            DataError: as iterating does.
        """
        number = start if self.last is None else max(min(start, self.last), start - self._held + 1)
        if self.alpha is None and start:  # the film's first picture says whether it has transparency
            next(self._since(0))
            self.sources = [Source(source.images, source.track) for source in self.sources]
        skipped = start - number if number == self.last else 0
        for frame in self._since(number):
            yield from itertools.repeat(frame.pixels, frame.times - skipped)
            skipped = 0

    def _since(self, first: int) -> Iterator[Frame]:
        """Yield the frames from one on, in the order of showing."""
        positions = itertools.count(first) if self.order is None else self.order[first:]
        for number, (position, cells) in enumerate(self._cells(positions), first):
            _, picture, meta = cells[0]
            pixels = self._finished(self._composed(cells), picture, meta)
            held = self.order is not None and number == self.last == position
            yield Frame(pixels, self._held if held else 1, picture, meta)

    def sample(self, step: int) -> Iterator[np.ndarray]:
        """Yield every frame `step` apart, (H, W, 3) uint8, neither enlarged nor captioned, for looking ahead; needs them `whole`."""
        assert self.order is not None
        for _, cells in self._cells(self.order[::step]):
            yield opaque(self._composed(cells), self.background)

    def drawn_colours(self) -> tuple[tuple[int, int, int], ...]:
        """Colours that a palette must have for texts to stay crisp; needs the frames `whole`."""
        images = self.sources[0].images
        return self.caption.colours([*images[0].meta, *images[-1].meta], titled=any(self.params.title))

    @property
    def _grid(self) -> tuple[int, int]:
        """Rows and columns of the montage."""
        columns = min(self.params.columns or len(self.sources), len(self.sources))
        return math.ceil(len(self.sources) / columns), columns

    @property
    def _held(self) -> int:
        return max(1, self._frames_in(self.params.hold))

    def _frames_in(self, seconds: float | None) -> int:
        return 0 if seconds is None else round(seconds * self.fps)

    def _step(self, images: Images) -> Fraction:
        return timeline.step_of(images.fps or self._own_fps, self.fps, self.params.speed)

    def _track(self, images: Images) -> timeline.Track:
        parts = [(len(part), self._step(part)) for part in images.joined if len(part)]
        if not parts:
            raise _nothing()
        return timeline.joined(parts, self._frames_in(self.params.crossfade) if len(parts) > 1 else 0, self._most)

    @property
    def _most(self) -> int | None:
        """Frames of a track of which a film that lasts `seconds` is made, with its way back, its hold and its fade."""
        if self.params.seconds is None:
            return None
        shown = self._frames_in(self.params.seconds) - (self._held - 1)
        return max(1, shown // 2 + 1 if self.params.ping_pong else shown) + self._frames_in(self.params.loop_fade)

    def _cells(self, positions: Iterable[int]) -> Iterator[tuple[int, list[tuple[np.ndarray, int, Meta]]]]:
        empty = True
        for position in positions:
            cells = [cell for source in self.sources if (cell := source.read(int(position))) is not None]
            if len(cells) < len(self.sources):
                break
            empty = False
            yield int(position), cells
        if empty:
            raise _nothing()

    def _composed(self, cells: Sequence[tuple[np.ndarray, int, Meta]]) -> np.ndarray:
        """Lay the pictures out, (H, W, 3 or 4) uint8: each in a cell as large as the first, reduced or enlarged to fit."""
        if self.alpha is None:
            self.alpha = any(picture.shape[2] == 4 for picture, _, _ in cells)
        pictures = [with_alpha(picture) if self.alpha else opaque(picture, self.background) for picture, _, _ in cells]
        if len(pictures) == 1:
            return pictures[0]
        height, width = pictures[0].shape[:2]
        (rows, columns), gap = self._grid, self.params.gap
        shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, pictures[0].shape[2])
        sheet = np.zeros(shape, np.uint8)
        if not self.alpha:
            sheet[...] = self.background
        for number, picture in enumerate(pictures):
            fit = min(height / picture.shape[0], width / picture.shape[1])
            cell = resized(picture, max(1, round(picture.shape[0] * fit)), max(1, round(picture.shape[1] * fit)))
            top = number // columns * (height + gap) + (height - cell.shape[0]) // 2
            left = number % columns * (width + gap) + (width - cell.shape[1]) // 2
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        return sheet

    def _finished(self, sheet: np.ndarray, picture: int, meta: Meta) -> np.ndarray:
        """Enlarge a frame and write on it."""
        scale = self.params.scale
        height, width = (max(1, round(side * scale)) for side in sheet.shape[:2])
        if max(height, width) > MAX_SIDE:
            raise DataError(f"a film of {width}x{height} is too large; at most {MAX_SIDE} on each side", "give a smaller `scale`")
        frame = resized(sheet, height, width, smooth=self.params.filter == "smooth")
        if any(self.params.title):
            frame = frame.copy()
            rows, columns = self._grid
            gap = round(self.params.gap * scale)
            down, across = (height + gap) // rows, (width + gap) // columns
            for number, text in enumerate(self.params.title):
                top, left = number // columns * down, number % columns * across
                draw_title(frame[top : top + down - gap, left : left + across - gap], text)
        return self.caption.drawn(frame, meta, picture)


def rate(images: Images, params: FramesParams) -> float:
    """Frames per second of the film."""
    return params.fps or images.fps or DEFAULT_FPS


def _beside(run: Run, text: str) -> Images:
    side = run.sides.get(text)
    return side if isinstance(side, Images) else still(Path(text))


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def _nothing() -> DataError:
    return DataError("there are no pictures to make a film of", "the stage before gave none: look at its `count` or `frames`")
