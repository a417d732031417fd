"""A film is coded in pieces, and pieces that are coded apart make the same film to the byte."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from genart import Batch, DataError, Images
from genart.events import Events
from genart.params import resolve
from genart.run import Run
from genart_video import AssembleParams, assemble
from genart_video import film as coding
from genart_video.pieces import FilmPieces, Piece

from .test_assemble import decode, film, psnr, smooth
from .test_sound import beep

PIECE = 12
CODECS = [("mp4", "h264"), ("mp4", "av1"), ("webm", "vp9"), ("webm", "av1"), ("mov", "prores"), ("mov", "h264")]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "PIECE", PIECE)


def apart(work: Path, pictures: np.ndarray, cuts: list[int], **given: object) -> Path:
    """The film made in pieces, each part by a run of its own; `cuts` are in pieces."""
    params = resolve(AssembleParams, "film", given)
    parts = [Batch.from_array(pictures[i : i + 5]) for i in range(0, len(pictures), 5)]
    images, pieces, paths = Images.from_batches(parts), FilmPieces(), []

    def run(name: str) -> Run:
        made = Run(stage_id="film", seed=0, device="cpu", work=work / name, events=Events())
        made.sides = {}
        return made

    count = pieces.count(images, params, run("count"))
    assert pieces.applies(params)
    for start, stop in itertools.pairwise([*cuts, None]):
        frames = range(start * PIECE, count if stop is None else stop * PIECE)
        paths.append(work / f"{start}.piece")
        pieces.make(images, params, run(f"make{start}"), frames, paths[-1])
    video = pieces.join(paths, params, run("join"))
    assert video.count == count
    return video.path


@pytest.mark.parametrize(("name", "codec"), CODECS)
@pytest.mark.parametrize("cuts", [[0, 1, 2, 3], [0, 2]], ids=["each", "two"])
def test_pieces_that_are_coded_apart_make_the_same_film(tmp_path: Path, name: str, codec: str, cuts: list[int]) -> None:
    pictures = smooth(3 * PIECE + 5, 64, 64)
    whole = film(tmp_path / "whole", pictures, format=name, codec=codec, fps=25)
    assert apart(tmp_path, pictures, cuts, format=name, codec=codec, fps=25).read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(
    "given",
    [
        {"hold": 1.0},
        {"ping_pong": True, "hold": 1.0},
        {"loop_fade": 0.3, "caption": "{frame}"},
        {"speed": 0.5},
        {"fps": 40.0, "scale": 2.0},
        {"seconds": 1.6, "title": "waves"},
    ],
    ids=str,
)
def test_so_they_do_whatever_is_done_to_the_frames(tmp_path: Path, given: dict[str, object]) -> None:
    pictures = smooth(3 * PIECE + 5, 31, 45)
    options = {"fps": 20.0, **given}
    whole = film(tmp_path / "whole", pictures, **options)
    ours = apart(tmp_path, pictures, list(range(-(-whole.count // PIECE))), **options)
    assert ours.read_bytes() == whole.path.read_bytes()
    assert len(decode(ours)) == whole.count


def test_transparency_is_that_of_the_first_picture_whoever_codes_the_rest(tmp_path: Path) -> None:
    pictures = smooth(2 * PIECE, 32, 32)
    clear = np.concatenate([pictures, np.full((*pictures.shape[:3], 1), 90, np.uint8)], 3)
    whole = film(tmp_path / "whole", clear, format="mov", fps=25)
    assert apart(tmp_path, clear, [0, 1], format="mov", fps=25).read_bytes() == whole.path.read_bytes()
    assert Piece.read(tmp_path / "1.piece").look.pixel_format == "yuva444p10le"


def test_the_sound_goes_into_the_joined_film(tmp_path: Path) -> None:
    sound = beep(tmp_path / "sound.wav", 2.0)
    pictures = smooth(3 * PIECE, 32, 32)
    whole = film(tmp_path / "whole", pictures, fps=20, audio=sound)
    assert apart(tmp_path, pictures, [0, 1, 2], fps=20, audio=sound).read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_pieces_begin_with_key_frames_and_no_frame_is_lost_between_them(tmp_path: Path, name: str, codec: str) -> None:
    pictures = smooth(3 * PIECE + 5, 64, 64)
    video = film(tmp_path, pictures, format=name, codec=codec, fps=25)
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        times = sorted(round(packet.pts * packet.time_base * 25, 2) for packet in packets)
        keys = {round(packet.pts * packet.time_base * 25) for packet in packets if packet.is_keyframe}
    assert [round(time) for time in times] == list(range(len(pictures)))
    assert set(range(0, len(pictures), PIECE)) <= keys
    assert all(packet.dts <= packet.pts for packet in packets)
    frames = decode(video.path)
    assert all(psnr(frame, picture) > 30 for frame, picture in zip(frames, pictures, strict=True))


def test_pictures_that_change_their_size_are_told_as_in_one_piece(tmp_path: Path) -> None:
    pictures = smooth(PIECE, 32, 32)
    parts = [Batch.from_array(pictures), Batch.from_array(smooth(PIECE, 32, 48))]
    run = SimpleNamespace(progress=lambda *_: None, check=lambda: None, sides={}, file=lambda name: tmp_path / name, warn=print)
    params, pieces, paths = resolve(AssembleParams, "film", {}), FilmPieces(), [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(paths):
        pieces.make(Images.from_batches(parts), params, run, range(number * PIECE, (number + 1) * PIECE), path)
    with pytest.raises(DataError, match=r"the first is 32x32, that of frame 12 is 48x32"):
        pieces.join(paths, params, run)


@pytest.mark.parametrize("given", [{"format": "gif"}, {"format": "webp"}, {"format": "apng"}, {"max_mb": 1.0}], ids=str)
def test_what_is_not_coded_in_pieces(given: dict[str, object]) -> None:
    assert not FilmPieces().applies(resolve(AssembleParams, "film", given))
    assert assemble.pieces is not None
