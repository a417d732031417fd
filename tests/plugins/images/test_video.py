"""Frames come out of a film in their colours, the right way up, at regular times, whatever is wrong with the file."""

import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genart.artifacts import Images
from genart.errors import DataError
from genart.events import Events
from genart.nn.pictures import Unreadable, Want, from_array
from genart.params import ParamProblem, resolve
from genart.run import Run
from genart.testing import run_stage
from genart_images import images_video, video
from genart_images.video import Timeline, Timing, frames_shown, open_film

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40), (90, 30, 160)]


def grey(i):
    """A level of grey for frame i that survives lossy coding."""
    return 4 * (i % 60)


def frames(count, width=64, height=48):
    """Grey frames, each its own level, red in the upper left quarter."""
    found = []
    for i in range(count):
        frame = np.full((height, width, 3), grey(i), np.uint8)
        frame[: height // 2, : width // 2] = (255, 0, 0)
        found.append(frame)
    return found


def write(path, pictures, *, rate=25, times=None, codec="libx264", pix_fmt="yuv420p", options=None, aspect=None):
    """Encode RGB frames; `times` are in 90,000ths of a second, `aspect` is the width of a pixel for its height."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def animate(path, pictures, durations, **options):
    images = [Image.fromarray(picture) for picture in pictures]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, **options)
    return path


def read(path, work, **params):
    """Run the stage; returns (pictures, warnings)."""
    events = []
    result = run_stage(images_video, work=work, observer=events.append, path=str(path), **params)["output"]
    return result, [event["message"] for event in events if event["event"] == "warning"]


def levels(images):
    """Which frame of `frames` each picture shows, by its lower right corner."""
    return [round(float(np.mean(batch.array[i, -8:, -8:])) / 4) for batch in images for i in range(len(batch))]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "film.mp4", frames(30))


# kinds


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("b.mkv", "ffv1")]
)
def test_every_kind_gives_its_frames(name, codec, tmp_path):
    path = write(tmp_path / name, frames(12), codec=codec)
    images, warnings = read(path, tmp_path / "work")
    assert levels(images) == list(range(12))
    assert images.fps == pytest.approx(25)
    assert warnings == []
    assert [meta["time_sec"] for batch in images for meta in batch.meta] == pytest.approx([i / 25 for i in range(12)], abs=0.001)
    assert next(iter(images)).meta[0]["source"] == name


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_animations_give_their_frames(suffix, options, tmp_path):
    path = animate(tmp_path / f"a.{suffix}", frames(6), 80, **options)
    images, warnings = read(path, tmp_path / "work")
    assert levels(images) == list(range(6))
    assert images.fps == 12.5
    assert warnings == []


def test_the_name_says_nothing(tmp_path):
    path = write(tmp_path / "film.mp4", frames(3)).rename(tmp_path / "film.txt")
    assert levels(read(path, tmp_path / "work")[0]) == [0, 1, 2]


@pytest.mark.parametrize("fps", [24000 / 1001, 30, 60, 120])
def test_milliseconds_do_not_change_the_rate(fps, tmp_path):
    """MKV rounds times to milliseconds; the rate that it states is meant."""
    rate = Fraction(fps).limit_denominator(1001)
    pictures = frames(20)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    images, _ = read(tmp_path / "a.mkv", tmp_path / "work")
    assert images.fps == pytest.approx(fps)
    assert levels(images) == list(range(20))


# colours

#: Weights of red and blue in luma: ITU-R BT.601, BT.709 and BT.2020.
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
#: The same as FFmpeg numbers them.
SPACE = {"bt601": 6, "bt709": 1, "bt2020": 9, None: 2}


def yuv(rgb, matrix, *, full):
    """The 8-bit Y, Cb, Cr of a colour, by the standards' own formulas."""
    red, green, blue = (value / 255 for value in rgb)
    kr, kb = LUMA[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    if full:
        return round(255 * y), round(128 + 255 * cb), round(128 + 255 * cr)
    return round(16 + 219 * y), round(128 + 224 * cb), round(128 + 224 * cr)


def write_yuv(path, colours, matrix, *, full, tagged=True, size=(32, 32), transfer=None):
    """A lossless film of plain frames with exactly these colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p"
        if tagged:
            stream.codec_context.colorspace = SPACE[matrix]
            stream.codec_context.color_range = 2 if full else 1
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        for i, colour in enumerate(colours):
            planes = np.empty((3, size[1], size[0]), np.uint8)
            planes[:] = np.array(yuv(colour, matrix, full=full)).clip(0, 255).reshape(3, 1, 1)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_colours_come_out_by_matrix_and_range(suffix, matrix, full, tmp_path):
    path = write_yuv(tmp_path / f"a.{suffix}", COLOURS, matrix, full=full)
    images, _ = read(path, tmp_path / "work")
    found = np.concatenate([batch.array for batch in images])[:, 16, 16].astype(int)
    assert np.abs(found - np.array(COLOURS)).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [((640, 480), "bt601"), ((1280, 720), "bt709")])
def test_an_untagged_film_is_taken_as_players_take_it(size, matrix, tmp_path):
    path = write_yuv(tmp_path / "a.mkv", COLOURS[:3], matrix, full=False, tagged=False, size=size)
    images, _ = read(path, tmp_path / "work", resolution=4)
    found = np.concatenate([batch.array for batch in images])[:, 2, 2].astype(int)
    assert np.abs(found - np.array(COLOURS[:3])).max() <= 3


@pytest.mark.parametrize("transfer", [16, 18])
def test_a_film_of_high_dynamic_range_is_read_with_a_warning(transfer, tmp_path):
    path = write_yuv(tmp_path / "a.mp4", COLOURS[:2], "bt2020", full=False, transfer=transfer)
    images, warnings = read(path, tmp_path / "work")
    assert len(images) == 2
    assert len(warnings) == 1
    assert "HDR" in warnings[0]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparency_is_laid_on_the_background_or_kept(suffix, tmp_path):
    pictures = [np.zeros((16, 16, 4), np.uint8) for _ in range(2)]
    for i, picture in enumerate(pictures):
        picture[:, :8] = (200, 0, 50 * i, 255)
    path = animate(tmp_path / f"a.{suffix}", pictures, 100, disposal=1 if suffix == "png" else 2)
    dropped = next(iter(read(path, tmp_path / "a", background="#00ff00")[0])).array
    assert dropped.shape == (2, 16, 16, 3)
    assert dropped[1, 3, 3].tolist() == [200, 0, 50]
    assert dropped[1, 3, 12].tolist() == [0, 255, 0]
    kept = next(iter(read(path, tmp_path / "b", alpha="keep")[0])).array
    assert kept.shape == (2, 16, 16, 4)
    assert kept[0, 3, 3, 3] == 255
    assert kept[0, 3, 12, 3] == 0


# which way up, and how large


def turn(path, matrix):
    """Write a display matrix (a, b, c, d) into an MP4's track header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "quarters"), [((1, 0, 0, 1), 0), ((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3)], ids=str)
def test_a_turned_film_is_turned_upright(matrix, quarters, tmp_path):
    """x' = ax + cy, y' = bx + dy with y downward (ISO 14496-12): (0, 1, -1, 0) is a quarter clockwise."""
    path = write(tmp_path / "a.mp4", frames(3))
    plain = next(iter(read(path, tmp_path / "a")[0])).array[1].astype(int)
    turn(path, matrix)
    turned = next(iter(read(path, tmp_path / "b")[0])).array[1].astype(int)
    assert np.abs(turned - np.rot90(plain, -quarters)).max() <= 2


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(1), 64), (Fraction(16, 11), 93), (Fraction(1, 2), 32)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_film_of_oblong_pixels_keeps_its_proportions(name, aspect, width, tmp_path):
    path = write(tmp_path / name, frames(3), aspect=aspect)
    picture = next(iter(read(path, tmp_path / "a")[0])).array[1].astype(int)
    assert picture.shape == (48, width, 3)
    assert np.abs(picture[12, : width // 2 - 3] - (255, 0, 0)).max() < 24
    assert np.abs(picture[12, width // 2 + 3 :] - grey(1)).max() < 24
    if name == "a.mp4":
        turn(path, (0, 1, -1, 0))
        assert next(iter(read(path, tmp_path / "b")[0])).array.shape[1:] == (width, 48, 3)


def test_pixels_so_wide_that_a_frame_becomes_too_large_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", frames(3), aspect=Fraction(3))
    monkeypatch.setattr(video, "MAX_PIXELS", 2 * 64 * 48)
    with pytest.raises(DataError, match=r"192x48 is .*limit"):
        read(path, tmp_path / "work")


@pytest.mark.parametrize(
    ("params", "shape"),
    [({"crop": 20}, (20, 20)), ({"resolution": [40, 30]}, (30, 40)), ({"resolution": 32, "fit": "letterbox"}, (32, 32))],
    ids=str,
)
def test_frames_are_brought_to_a_size(params, shape, film, tmp_path):
    picture = next(iter(read(film, tmp_path, background="#0000ff", count=1, **params)[0])).array[0]
    assert picture.shape == (*shape, 3)
    corner = picture[0, 0].astype(int)
    expected = (0, 0, 255) if "fit" in params else (255, 0, 0)
    assert np.abs(corner - expected).max() < 12
    assert np.abs(picture[shape[0] // 2 - 3, shape[1] // 2 - 3].astype(int) - (255, 0, 0)).max() < 24


@pytest.mark.parametrize("alpha", ["drop", "keep"])
def test_a_small_frame_is_padded_and_not_enlarged_and_no_other_than_a_picture_is(alpha, film, tmp_path):
    whole = next(iter(read(film, tmp_path / "a", count=1)[0])).array[0]
    padded = next(iter(read(film, tmp_path / "b", count=1, resolution=[70, 50], fit="pad", alpha=alpha, background="#0000ff")[0])).array[0]
    assert np.array_equal(padded[1:49, 3:67, :3], whole)
    assert np.array_equal(padded, from_array(whole, Want((70, 50), "pad", "#0000ff", alpha == "keep")))
    cut = next(iter(read(film, tmp_path / "c", count=1, resolution=[30, 40])[0])).array[0]
    assert np.array_equal(cut, from_array(whole, Want((30, 40))))


# when


@pytest.mark.parametrize(
    ("params", "expected", "fps"),
    [
        ({"count": 4}, [0, 1, 2, 3], 25),
        ({"every": 10}, [0, 10, 20], 2.5),
        ({"start": 0.4, "count": 3}, [10, 11, 12], 25),
        ({"start": 1, "end": 1.12}, [25, 26, 27], 25),
        ({"end": 0.2}, [0, 1, 2, 3, 4], 25),
        ({"fps": 5}, [0, 5, 10, 15, 20, 25], 5),
        ({"fps": 50, "count": 6}, [0, 0, 1, 1, 2, 2], 50),
        ({"fps": 5, "every": 2, "start": 0.2}, [5, 15, 25], 2.5),
    ],
    ids=str,
)
def test_which_frames_are_taken(params, expected, fps, film, tmp_path):
    images, warnings = read(film, tmp_path, **params)
    assert levels(images) == expected
    assert images.fps == pytest.approx(fps)
    assert warnings == []


def test_an_irregular_film_becomes_regular(tmp_path):
    """Each picture is what is on the screen at its moment."""
    times = [0, 3600, 7200, 10800, 36000, 39600]  # 25 a second, and a pause of 0.28 s
    path = write(tmp_path / "a.mp4", frames(6), times=times)
    images, _ = read(path, tmp_path / "work")
    assert images.fps == pytest.approx(25)
    assert levels(images) == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 5]


@pytest.mark.parametrize(("fps", "durations"), [(30, [30, 40, 30]), (24, [40, 40, 40, 50, 40, 40]), (15, [70, 60, 70])])
def test_hundredths_of_a_second_do_not_change_the_rate(fps, durations, tmp_path):
    path = animate(tmp_path / "a.gif", frames(24), durations * (24 // len(durations)))
    images, _ = read(path, tmp_path / "work")
    assert images.fps == pytest.approx(fps)
    assert levels(images) == list(range(24))


def test_a_pause_in_an_animation_is_kept(tmp_path):
    path = animate(tmp_path / "a.gif", frames(4), [100, 100, 300, 100])
    images, _ = read(path, tmp_path / "work")
    assert images.fps == 10
    assert levels(images) == [0, 1, 2, 2, 2, 3]


@given(
    st.lists(st.floats(0.001, 2.0), min_size=1, max_size=40),
    st.floats(1, 60) | st.none(),
    st.integers(1, 5),
    st.integers(1, 50) | st.none(),
    st.floats(0, 5),
)
def test_the_frames_shown_are_those_on_the_screen(gaps, fps, every, count, start):
    times = np.concatenate([[0.0], np.cumsum(gaps)])[:-1]
    timeline = Timeline(times, gaps[-1])
    wanted = frames_shown(timeline, Timing(start, None, fps, every, count))
    assert (np.diff(wanted) >= 0).all()
    assert (len(wanted) == 0) == (start >= timeline.duration)
    rate = fps or timeline.fps
    for k, index in enumerate(wanted):
        moment = start + k * every / rate
        assert times[index] <= moment + 0.25 / rate + 1e-9, "it has begun"
        assert index + 1 == len(times) or times[index + 1] > moment - 1e-9, "and the next one has not"
    if count is not None:
        assert len(wanted) <= count


def test_a_start_after_the_end_is_an_error(film, tmp_path):
    with pytest.raises(DataError, match=r"film.mp4 lasts 1.2 s; it has ended at 5 s"):
        read(film, tmp_path, start=5)


@pytest.mark.parametrize("params", [{"start": 2, "end": 1}, {"crop": 8, "resolution": 8}, {"every": 0}, {"fps": 0}])
def test_parameters_that_make_no_sense_are_refused(params):
    with pytest.raises(ParamProblem):
        resolve(images_video.params, "images.video", {"path": "a", **params})


# going on


@pytest.mark.parametrize(
    ("name", "params"), [("a.mp4", {}), ("a.webm", {"start": 0.3, "fps": 10}), ("a.gif", {}), ("a.mkv", {"fps": 60, "every": 3})]
)
def test_a_killed_run_goes_on_to_the_byte(name, params, tmp_path):
    pictures = frames(25)
    if name.endswith("gif"):
        path = animate(tmp_path / name, pictures, 40)
    else:
        path = write(tmp_path / name, pictures, codec="libvpx-vp9" if name.endswith("webm") else "libx264", options={"g": "8"})
    whole = np.concatenate([batch.array for batch in read(path, tmp_path / "work", **params)[0]])
    for done in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        kept = Images.from_batches([video.Batch.from_array(whole[:done])])
        rest = run_stage(images_video, work=tmp_path / f"w{done}", kept=kept, path=str(path), **params)["output"]
        assert np.array_equal(np.concatenate([whole[:0], *(batch.array for batch in rest)]), whole[done:]), done


def test_the_number_of_frames_is_told_before_the_first(film, tmp_path):
    run = Run(stage_id="v", seed=0, device="cpu", work=tmp_path, events=Events())
    batches = images_video(None, resolve(images_video.params, "images.video", {"path": str(film), "every": 7}), run)
    next(batches)
    assert (run.count, run.fps) == (5, pytest.approx(25 / 7))
    batches.close()


# what is wrong with a file


def test_what_is_no_film_is_an_error_that_names_it(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a film, nor anything like it")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.com/a.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    (tmp_path / "list.mpd").write_text('<?xml version="1.0"?><MPD></MPD>')
    (tmp_path / "head.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 400)
    (tmp_path / "head.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + b"\0" * 400)
    (tmp_path / "head.gif").write_bytes(b"GIF89a\x10\0")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    for path in [*tmp_path.iterdir()]:
        with pytest.raises(DataError, match=path.name):
            read(path, tmp_path / "work")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "pipe.mp4", tmp_path / "work")
    with pytest.raises(DataError, match="this is a folder"):
        read(tmp_path, tmp_path / "work")
    with pytest.raises(Unreadable, match="no such file"):
        open_film(Path("http://example.com/film.mp4"))


def test_a_film_of_sound_alone_has_no_pictures(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="no pictures in this film"):
        read(tmp_path / "a.mp4", tmp_path / "work")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "gif", "webp"])
def test_too_many_pixels_are_refused_from_the_header(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    _ = write(path, frames(3)) if suffix in ("mp4", "mkv") else animate(path, frames(3), 100)
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match=r"64x48 is .*limit"):
        read(path, tmp_path / "work")


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_header_without_end_is_refused(suffix, tmp_path, monkeypatch):
    path = write(tmp_path / f"a.{suffix}", frames(3))
    monkeypatch.setattr(video, "MAX_HEADER_BYTES", 64)
    with pytest.raises(DataError, match="header is larger"):
        read(path, tmp_path / "work")


def noisy(count, seed=0):
    """Frames that need many bytes, each with its own level in the lower right corner."""
    found = frames(count)
    rng = np.random.default_rng(seed)
    for frame in found:
        frame[:40, :56] = rng.integers(0, 255, (40, 56, 3))
    return found


@pytest.mark.parametrize(("suffix", "options"), [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("gif", {}), ("webp", {})])
def test_of_a_film_cut_short_the_frames_before_the_cut_are_given(suffix, options, tmp_path):
    path = tmp_path / f"a.{suffix}"
    if suffix in ("mp4", "mkv"):
        write_cut(path, noisy(30), options)
    else:
        animate(path, noisy(30), 40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    if suffix == "webp":  # Pillow reads a WebP whole or not at all
        with pytest.raises(DataError, match=path.name):
            read(path, tmp_path / "work")
        return
    images, warnings = read(path, tmp_path / "work")
    assert 8 <= len(images) < 27
    assert levels(images) == list(range(len(images)))
    assert len(warnings) == 1
    assert f"{path.name}: {len(images)} of " in warnings[0]
    assert "damaged or missing" in warnings[0]


def write_cut(path, pictures, container_options):
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "6", "crf": "4"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_damage_anywhere_is_no_traceback(film, tmp_path):
    """Bytes changed and files cut at random give frames and a warning, or an error that names the file."""
    data = film.read_bytes()
    rng = np.random.default_rng(0)
    given_some, refused = 0, []
    for trial in range(40):
        broken = bytearray(data[: int(rng.integers(20, len(data)))] if trial % 2 else data)
        for place in rng.integers(0, len(broken), 8):
            broken[place] = rng.integers(0, 256)
        path = tmp_path / f"broken{trial}.mp4"
        path.write_bytes(broken)
        try:
            given_some += len(read(path, tmp_path / f"w{trial}")[0]) > 0
        except DataError as error:
            refused.append(path.name in str(error))
    assert given_some > 0
    assert refused
    assert all(refused)


# memory


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_long_film_is_read_in_flat_memory(tmp_path):
    """Of 300 frames of 1280x720, 830 MB of pixels, few are held."""
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(300):
            frame = av.VideoFrame.from_ndarray(np.full((720, 1280, 3), grey(i), np.uint8), format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    run = Run(stage_id="v", seed=0, device="cpu", work=tmp_path, events=Events())
    resident, count = [], 0
    for batch in images_video(None, resolve(images_video.params, "images.video", {"path": str(path)}), run):
        count += len(batch)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert count == 300
    assert max(resident) - resident[10] < 60 << 20
