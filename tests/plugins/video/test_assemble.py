"""What goes into `video.assemble` comes out of the file: frames, times, loop, hold, captions, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from genart import Batch, DataError, Images, UsageError, Video
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_video import AssembleParams, assemble
from genart_video.film import by_turns
from genart_video.formats import FORMATS
from tests.conftest import Result

ALL = sorted(FORMATS)
FILMS = ["mp4", "webm"]
FLAT = ["gif", *FILMS]  # formats without transparency


def smooth(count: int = 8, height: int = 48, width: int = 64) -> np.ndarray:
    """Colourful moving gradients with more than 256 colours, each frame different: (count, height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 2)
    waves = [[np.sin((3 + c) * x + (5 - c) * y + 2 * c + 6.28 * i / count) for c in range(3)] for i in range(count)]
    return np.moveaxis(np.clip(128 + 90 * np.array(waves), 0, 255), 1, -1).astype(np.uint8)


def film(tmp_path: Path, pictures: np.ndarray, meta: list | None = None, fps: float | None = None, **params: object) -> Video:
    """Assemble a film of pictures that come in batches of three."""
    parts = [Batch.from_array(pictures[i : i + 3], meta[i : i + 3] if meta else None) for i in range(0, len(pictures), 3)]
    video = run_stage(assemble, Images.from_batches(parts, fps), work=tmp_path, **params)["output"]
    assert isinstance(video, Video)
    return video


def decode(path: Path, mode: str = "RGB") -> np.ndarray:
    """Every frame, (N, H, W, 3) uint8, or 4 channels with mode RGBA: animations by Pillow, as players put them together, films by PyAV."""
    if path.suffix in (".gif", ".webp", ".apng"):
        with Image.open(path) as file:
            frames = []
            for i in range(file.n_frames):
                file.seek(i)
                frames.append(np.asarray(file.convert(mode)))
            return np.stack(frames)
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def delays(path: Path) -> list[int]:
    """Milliseconds of each frame of an animation."""
    with Image.open(path) as file:
        times = []
        for i in range(file.n_frames):
            file.seek(i)
            file.load()
            times.append(file.info["duration"])
        return times


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


@pytest.mark.parametrize(("name", "bound"), [("gif", 33), ("mp4", 34), ("webm", 33), ("mov", 38), ("webp", 33), ("apng", 90)])
def test_frames_survive_in_order(tmp_path: Path, name: str, bound: float) -> None:
    pictures = smooth()
    video = film(tmp_path, pictures, format=name, fps=25)
    frames = decode(video.path)
    assert (video.path.suffix, video.fps, video.count, frames.shape) == (f".{name}", 25, 8, pictures.shape)
    assert all(psnr(frame, picture) > bound for frame, picture in zip(frames, pictures, strict=True))
    assert psnr(frames[1], pictures[0]) < bound - 3  # so the bound tells neighbours apart


@pytest.mark.parametrize("name", ALL)
def test_same_frames_same_bytes(tmp_path: Path, name: str) -> None:
    """Ten times, with memory stirred in between: an encoder that reads what it never wrote shows after a few."""
    pictures, rng = smooth(20), np.random.default_rng(0)
    films = set()
    for i in range(10):
        [rng.integers(0, 256, int(n), np.uint8) for n in rng.integers(1000, 200_000, 5)]
        films.add(film(tmp_path / str(i), pictures, format=name).path.read_bytes())
    assert len(films) == 1
    assert films.pop() != film(tmp_path / "c", pictures[::-1], format=name).path.read_bytes()


@pytest.mark.parametrize(("name", "codec"), [("mp4", "h264"), ("webm", "vp9")])
def test_films_play_in_browsers(tmp_path: Path, name: str, codec: str) -> None:
    path = film(tmp_path, smooth(), format=name, fps=30).path
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == (codec, "yuv420p", 30)
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited
        assert container.duration == pytest.approx(8 / 30 * 1e6, abs=2000)
    data = path.read_bytes()
    if name == "mp4":
        assert 0 < data.index(b"moov") < data.index(b"mdat")  # faststart


def test_format_defaults_to_mp4_and_the_own_fps(tmp_path: Path) -> None:
    video = film(tmp_path, smooth(3), fps=12.5)
    assert video.path.suffix == ".mp4"
    assert video.fps == 12.5
    assert run_stage(assemble, tiny_images(), work=tmp_path / "b")["output"].fps == 24


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (24, [40, 40, 40, 50, 40, 40]),
        (25, [40] * 6),
        (30, [30, 40, 30, 30, 40, 30]),
        (15, [70, 60, 70, 70, 60, 70]),
        (50, [20] * 6),
        (0.5, [2000] * 6),
    ],
)
def test_a_gif_lasts_as_long_as_its_rate_says(tmp_path: Path, fps: float, expected: list[int]) -> None:
    video = film(tmp_path, smooth(6), format="gif", fps=fps)
    assert delays(video.path) == expected
    assert video.fps == fps


def test_after_a_held_picture_a_gif_goes_on_in_time(tmp_path: Path) -> None:
    video = film(tmp_path, smooth(3), format="gif", fps=15, ping_pong=True, hold=2 / 15)
    assert delays(video.path) == [70, 60, 140, 60]


def test_a_gif_shows_no_frame_longer_than_it_can_say(tmp_path: Path) -> None:
    """Slower films show their pictures twice, each at its time."""
    video = film(tmp_path, smooth(2, 8, 8), format="gif", fps=0.001)
    assert video.count == 4
    assert sum(delays(video.path)) == pytest.approx(4 * 655_350)


@pytest.mark.parametrize("loop", [-1, 0, 1, 7])
def test_loop_count(tmp_path: Path, loop: int) -> None:
    with Image.open(film(tmp_path, smooth(3), format="gif", loop=loop).path) as file:
        assert file.info.get("loop", -1) == loop


def test_hold_keeps_the_last_picture(tmp_path: Path) -> None:
    gif = film(tmp_path / "a", smooth(4), format="gif", fps=10, hold="1.5s")
    assert delays(gif.path) == [100, 100, 100, 1500]
    mp4 = film(tmp_path / "b", smooth(4), format="mp4", fps=10, hold=1.5)
    frames = decode(mp4.path)
    assert mp4.count == len(frames) == 3 + 15
    assert all(psnr(frame, smooth(4)[3]) > 36 for frame in frames[3:])


@pytest.mark.parametrize("name", ["gif", "mp4"])
def test_ping_pong_turns_at_the_last_picture_and_repeats_neither_end(tmp_path: Path, name: str) -> None:
    levels = np.array([0, 60, 120, 180, 240], np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (5, 16, 16, 3)).copy()
    video = film(tmp_path, pictures, format=name, fps=10, ping_pong=True, hold="0.3s")
    shown = [round(frame.mean() / 60) for frame in decode(video.path)]
    assert shown == ([0, 1, 2, 3, 4, 3, 2, 1] if name == "gif" else [0, 1, 2, 3, 4, 4, 4, 3, 2, 1])
    assert video.count == len(shown)
    if name == "gif":
        assert delays(video.path) == [100, 100, 100, 100, 300, 100, 100, 100]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_very_short_films(tmp_path: Path, name: str, count: int) -> None:
    video = film(tmp_path, smooth(count), format=name, ping_pong=True)
    assert video.count == len(decode(video.path)) == count


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 33), height=st.integers(1, 33), name=st.sampled_from(ALL))
def test_any_size(tmp_path: Path, width: int, height: int, name: str) -> None:
    """Odd sides of a film grow by one that repeats its neighbour; in grey, where half the colour resolution costs nothing."""
    pictures = np.repeat(smooth(2, height, width)[..., :1], 3, axis=3)
    best = {"quality": 1} if name in (*FILMS, "webp") else {}
    frames = decode(film(tmp_path, pictures, format=name, **best).path)
    odd = 1 if name in (*FILMS, "mov") else 0
    assert frames.shape[1:3] == (height + odd * (height % 2), width + odd * (width % 2))
    assert psnr(frames[:, :height, :width], pictures) > 30


@pytest.mark.parametrize("name", FLAT)
def test_alpha_is_put_on_the_background(tmp_path: Path, name: str) -> None:
    pictures = np.zeros((2, 16, 16, 4), np.uint8)
    pictures[:, :, 8:] = (250, 250, 250, 255)
    frames = decode(film(tmp_path, pictures, format=name, background="#0080ff").path)
    assert np.abs(frames[:, :, :6].astype(int) - (0, 128, 255)).max() < 24
    assert np.abs(frames[:, :, 10:].astype(int) - 250).max() < 24


@pytest.mark.parametrize(
    ("scale", "filter_name", "size"), [(3, "nearest", 36), (2.5, "smooth", 30), (0.5, "smooth", 6), (1.5, "nearest", 18)]
)
def test_scale(tmp_path: Path, scale: float, filter_name: str, size: int) -> None:
    pictures = smooth(2, 12, 12)
    frames = decode(film(tmp_path, pictures, format="gif", scale=scale, filter=filter_name).path)
    assert frames.shape == (2, size, size, 3)
    if scale == 3:
        assert psnr(frames[:, 1::3, 1::3], pictures) > 30


def test_progress_shows_its_kimg_and_changes_nothing_else(tmp_path: Path) -> None:
    pictures = np.broadcast_to(smooth(1, 96, 96), (3, 96, 96, 3)).copy()
    meta = [{"kimg": kimg} for kimg in (0.0, 12.8, 110.4)]
    captioned = decode(film(tmp_path / "a", pictures, meta, format="gif").path)
    plain = decode(film(tmp_path / "b", pictures, meta, format="gif", caption="").path)
    assert psnr(plain, pictures) > 33
    assert psnr(captioned[:, :70], pictures[:, :70]) > 32
    corner = captioned[:, 80:, :64].astype(int)
    assert (corner.min(axis=3) >= 250).sum(axis=(1, 2)).min() > 20  # white letters,
    assert (corner.max(axis=3) <= 24).sum(axis=(1, 2)).min() > 20  # dark outline,
    assert all((corner[i] != corner[i + 1]).any() for i in range(2))  # another count on each
    covered = (captioned != captioned[0]).any(axis=(0, 3)).mean()
    assert 0 < covered < 0.12


def test_caption_fills_names_and_covers_a_corner_only(tmp_path: Path) -> None:
    pictures = np.full((3, 64, 128, 3), 90, np.uint8)
    frames = decode(film(tmp_path, pictures, [{"seed": i} for i in range(3)], format="gif", caption="{seed} at {seconds:.1f}s").path)
    changed = (frames != 90).any(axis=3)
    assert not changed[:, :44].any()
    assert changed.any(axis=(1, 2)).all()
    assert (frames[0] != frames[1]).any()


def test_caption_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\{sed\}, which picture 0 does not carry; did you mean 'seed'") as caught:
        film(tmp_path, smooth(2), [{"seed": 1}, {"seed": 2}], caption="{sed}")
    assert "seconds" in str(caught.value.hint)


def test_caption_is_no_format_string(tmp_path: Path) -> None:
    """Fields that reach into objects or ask for a width of a gigabyte are plain text."""
    video = film(tmp_path, smooth(2), [{"seed": 1}] * 2, format="gif", caption="{seed.__class__} {seed:>999999999}")
    assert video.count == 2


@pytest.mark.parametrize("name", ALL)
def test_no_pictures(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no pictures") as caught:
        run_stage(assemble, Images.from_batches([]), work=tmp_path, format=name)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ALL)
def test_pictures_of_two_sizes(tmp_path: Path, name: str) -> None:
    mixed = Images.from_batches([Batch.from_array(smooth(2)), Batch.from_array(smooth(1, 30, 20))])
    with pytest.raises(DataError, match=r"the first is 64x48, picture 2 is 20x30") as caught:
        run_stage(assemble, mixed, work=tmp_path, format=name)
    assert "images.resize" in str(caught.value.hint)


def test_too_large(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too large"):
        film(tmp_path, smooth(1, 2, 300), scale=64)


@pytest.mark.parametrize(
    "bad",
    [
        {"fps": 0},
        {"fps": -5},
        {"scale": 0},
        {"loop": -2},
        {"quality": 0},
        {"quality": 64},
        {"background": "red"},
        {"hold": 0},
        {"ping_pong": True, "loop_fade": "1s"},
        {"title": ["a", "b"]},
        {"codec": "vp9", "format": "mp4"},
        {"codec": "h264", "format": "gif"},
        {"max_mb": 0},
        {"colours": 3},
        {"dither": "bayer"},
        {"palette": "local"},
        {"quality": 20, "format": "gif"},
        {"quality": 20, "format": "apng"},
        {"quality": 20, "format": "mov"},
        {"quality": 52},
        {"quality": 52, "format": "mov", "codec": "h264"},
        {"palette": "frame", "format": "webp"},
        {"colours": 64},
        {"dither": "none", "format": "apng"},
        {"lossy": 9, "format": "mp4"},
        {"loop": -1, "format": "webm"},
        {"columns": 2},
        {"gap": 4},
    ],
)
def test_refused_parameters(bad: dict) -> None:
    with pytest.raises(ParamProblem) as caught:
        resolve(AssembleParams, "video.assemble", bad)
    assert caught.value.name == next(iter(bad))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "good",
    [
        *({"format": name, "loop": 0, "palette": "global", "colours": 256, "dither": "ordered", "lossy": 0, "gap": 0} for name in ALL),
        {"quality": 51},
        {"quality": 63, "format": "webm"},
        {"quality": 63, "format": "mp4", "codec": "av1"},
        {"quality": 51, "format": "mov", "codec": "h264"},
        {"quality": 63, "format": "webp", "loop": 2},
        {"format": "of a plugin", "quality": 60, "loop": 2, "lossy": 3, "dither": "none"},
        {"beside": ["a"], "columns": 1, "gap": 3},
    ],
)
def test_parameters_that_a_format_has_or_that_ask_for_nothing(good: dict) -> None:
    assert resolve(AssembleParams, "video.assemble", good).model_dump(include=set(good), mode="json") == good


def test_the_line_of_what_a_format_ignores_is_told(cli: Callable[..., Result]) -> None:
    Path("r.toml").write_text(
        '[recipe]\nname = "x"\n[[stage]]\nuses = "images.samples"\n[[stage]]\nuses = "video.assemble"\nsave = "a.mp4"\ndither = "none"\n'
    )
    result = cli("check", "r.toml")
    assert result.code == 2
    assert "r.toml:8: video.assemble.dither: format mp4 has no `dither`; it is for gif" in result.err


def test_a_format_that_nobody_writes_is_refused_with_those_that_there_are(tmp_path: Path, cli: Callable[..., Result]) -> None:
    """A plugin might write it, so that the parameter alone does not tell."""
    with pytest.raises(UsageError, match="there is no writer 'avi'"):
        film(tmp_path, smooth(1, 8, 8), format="avi")
    Path("r.toml").write_text(
        '[recipe]\nname = "x"\n[[stage]]\nuses = "images.samples"\n[[stage]]\nuses = "video.assemble"\nformat = "avi"\n'
    )
    result = cli("check", "r.toml")
    assert result.code == 2
    assert "r.toml:7: format: there is no writer 'avi'" in result.err
    assert "writers: apng, gif, mov, mp4, webm, webp" in result.err


@pytest.mark.parametrize("name", FILMS)
def test_quality(tmp_path: Path, name: str) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    sizes = [film(tmp_path / str(q), noisy, format=name, quality=q).path.stat().st_size for q in (5, 30, 51)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[2]


@pytest.mark.parametrize("name", FILMS)
def test_films_pull_one_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where a frame is a turn, encoding begins with the first batch, and a batch is let go before the one after the next is made."""
    monkeypatch.setattr("genart_video.film.TURN", smooth(1).nbytes)
    made, reported = 0, []

    def batches(start: int, size: int | None):
        nonlocal made
        for i in range(12):
            made += 1
            yield Batch.from_array(smooth(2) + np.uint8(i), start=2 * i)

    def observe(record: dict) -> None:
        if record["event"] == "progress":
            reported.append((made, record["done"]))

    video = run_stage(assemble, Images(batches, count=24), work=tmp_path, format=name, observer=observe)["output"]
    assert video.count == 24
    assert made == 12  # read once
    assert reported[0][0] == 1
    assert all(done > 2 * (batch - 1) for batch, done in reported)


def test_gif_reads_a_settled_sequence_in_batches(tmp_path: Path) -> None:
    """A GIF is looked at before it is written, so it waits for the whole film, and then holds one batch of it."""
    pictures, live, most, settled = smooth(30), 0, 0, 0

    def batches(start: int, size: int | None):
        nonlocal live, most
        for i in range(start, 30, size or 3):
            live += 1
            most = max(most, live)
            yield Batch.from_array(pictures[i : i + (size or 3)], start=i)
            live -= 1

    def settle() -> Images:
        nonlocal settled
        settled += 1
        return Images(batches, count=30)

    def unsettled(start: int, size: int | None):
        raise AssertionError("read while it is being made")

    video = run_stage(assemble, Images(unsettled, settle), work=tmp_path, format="gif", ping_pong=True)["output"]
    assert (video.count, settled) == (58, 1)
    # A reading that was broken off at its first batch may not have been collected yet.
    assert most <= 6


@pytest.mark.parametrize(("side", "first"), [(16, 5), (600, 3), (2000, 1)])
def test_frames_are_made_and_encoded_by_turns(monkeypatch: pytest.MonkeyPatch, side: int, first: int) -> None:
    """Small ones are gathered, up to some megabytes or to the end; none is lost, and their order stays."""
    monkeypatch.setattr("genart_video.film.TURN", 3_000_000)
    made: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(5):
            made.append(number)
            yield np.full((side, side, 3), number, np.uint8)

    seen = []
    for frame in by_turns(frames()):
        seen.append(int(frame[0, 0, 0]))
        if len(seen) == 1:
            assert len(made) == first
    assert seen == [0, 1, 2, 3, 4]
