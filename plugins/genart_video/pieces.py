"""A film in pieces, coded by several workers to the bytes of `film.write_film`; see `genart.stages.Pieces`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genart import DataError, Images, Run, Video

from . import CODECS
from . import film as coding
from .film import Codec, Coded, Film, Look, by_turns, coded, look_of, rate_of, to_frame, watched
from .formats import DEFAULT_FORMAT, codec_of
from .frames import DEFAULT_FPS, Frames

if TYPE_CHECKING:
    from . import AssembleParams


class FilmPieces:
    """Codes and joins pieces of `film.PIECE` frames."""

    @property
    def size(self) -> int:
        """Frames of a piece."""
        return coding.PIECE

    def applies(self, params: AssembleParams) -> bool:
        """True for films, unless they must keep to a size; an animation is coded as one."""
        return (params.format or DEFAULT_FORMAT) in CODECS and params.max_mb is None

    def count(self, images: Images, params: AssembleParams, run: Run) -> int:
        """How many frames the film has."""
        count = _frames(images, params, run).count
        assert count is not None
        return count

    def make(self, images: Images, params: AssembleParams, run: Run, frames: range, path: Path) -> None:
        """Code the pieces of some frames, and write them to a file."""
        codec, film = _codec(params), _frames(images, params, run)
        shown = watched(by_turns(itertools.islice(film.shown(frames.start), len(frames))), film.count, run, start=frames.start)
        first = to_frame(codec, next(shown))
        coming = itertools.chain([first], (to_frame(codec, pixels) for pixels in shown))
        made = list(coded(codec, coming, frames.start, rate_of(film.fps), params.quality))
        Piece(made, look_of(first), film.fps, frames.start).write(path)

    def join(self, paths: Sequence[Path], params: AssembleParams, run: Run) -> Video:
        """Write the film, and its sound.

        Raises:
            DataError: if pictures differ in size, or the sound cannot be read.
        """
        first = Piece.read(paths[0])
        target = run.file(f"film.{params.format or DEFAULT_FORMAT}")
        with Film(_codec(params), target, rate_of(first.fps), first.look, params, run) as film:
            for path in paths:
                piece = Piece.read(path)
                if piece.look != first.look:
                    raise DataError(
                        f"a film's pictures must be of one size: the first is {first.look.width}x{first.look.height}, "
                        f"that of frame {piece.start} is {piece.look.width}x{piece.look.height}",
                        "add an images.resize stage before the film",
                    )
                film.add(piece.coded)
                run.check()
            film.end()
            return Video(target, first.fps, film.count)


@dataclass(frozen=True)
class Piece:
    """Coded frames that follow one another, as they lie in a file.

    Attributes:
        coded: the frames, in the order of decoding.
        look: what they have in common.
        fps: frames per second of the film.
        start: number of the first.
    """

    coded: Sequence[Coded]
    look: Look
    fps: float
    start: int

    def write(self, path: Path) -> None:
        """Write it, anew if there is one."""
        table = np.array([(frame.pts, frame.dts, frame.key, len(frame.data)) for frame in self.coded], np.int64)
        data = np.frombuffer(b"".join(frame.data for frame in self.coded), np.uint8)
        side = np.array([self.look.width, self.look.height, self.start], np.int64)
        with open(path, "wb") as file:
            np.savez(file, table=table, data=data, side=side, fps=np.float64(self.fps), format=np.array(self.look.pixel_format))

    @classmethod
    def read(cls, path: Path) -> Piece:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as file:
            table, data = file["table"], file["data"].tobytes()
            width, height, start = file["side"].tolist()
            fps, pixel_format = float(file["fps"]), str(file["format"])
        ends = np.cumsum(table[:, 3]).tolist()
        frames = [
            Coded(data[end - size : end], pts, dts, bool(key)) for (pts, dts, key, size), end in zip(table.tolist(), ends, strict=True)
        ]
        return cls(frames, Look(pixel_format, width, height), fps, start)


def _codec(params: AssembleParams) -> Codec:
    codec = codec_of(params.format or DEFAULT_FORMAT, params)
    assert codec is not None
    return codec


def _frames(images: Images, params: AssembleParams, run: Run) -> Frames:
    """The film's frames, as `formats.assemble` makes them."""
    keeps_alpha = _codec(params).alpha_format is not None
    return Frames(images, params, run, own_fps=params.fps or DEFAULT_FPS, keeps_alpha=keeps_alpha)
