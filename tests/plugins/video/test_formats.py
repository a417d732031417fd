"""WebP, APNG, AV1 and ProRes: transparency, times, loops, codecs, and what they carry."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from genart import provenance
from genart_video import budget

from .test_assemble import decode, delays, film, psnr, smooth


def moving_hole(count: int = 4) -> np.ndarray:
    """Pictures with a transparent square that moves: (count, 32, 32, 4) uint8."""
    pictures = np.dstack([smooth(1, 32, 32)[0], np.full((32, 32), 255, np.uint8)])[None].repeat(count, 0)
    for i in range(count):
        pictures[i, 8:16, 4 * i : 4 * i + 8] = 0
    return pictures


@pytest.mark.parametrize("name", ["webp", "apng"])
def test_animations_keep_transparency(tmp_path: Path, name: str) -> None:
    pictures = moving_hole()
    frames = decode(film(tmp_path, pictures, format=name).path, "RGBA")
    assert np.array_equal(frames[..., 3], pictures[..., 3])
    seen = pictures[..., 3] == 255
    assert psnr(frames[seen][:, :3], pictures[seen][:, :3]) > (90 if name == "apng" else 30)
    opaque = decode(film(tmp_path / "b", pictures, format=name, background="#00ff00").path, "RGBA")
    assert (opaque[..., 3] == 255).all()


@pytest.mark.parametrize("name", ["webp", "apng"])
@pytest.mark.parametrize(("loop", "plays"), [(0, 0), (-1, 1), (2, 3)])
def test_animations_loop_and_last(tmp_path: Path, name: str, loop: int, plays: int) -> None:
    path = film(tmp_path, smooth(4), format=name, fps=10, loop=loop, hold="0.5s").path
    with Image.open(path) as file:
        file.load()
        assert file.info["loop"] == plays
    times = delays(path)
    assert sum(times) == pytest.approx(800, abs=5)
    assert times[0] == pytest.approx(100)


@pytest.mark.parametrize(
    ("name", "codec", "found", "pixels"),
    [
        ("mp4", "av1", "av1", "yuv420p"),
        ("webm", "av1", "av1", "yuv420p"),
        ("mov", None, "prores", "yuv422p10le"),
        ("mov", "h264", "h264", "yuv420p"),
    ],
)
def test_codecs(tmp_path: Path, name: str, codec: str | None, found: str, pixels: str) -> None:
    pictures = smooth()
    paths = [film(tmp_path / str(i), pictures, format=name, codec=codec).path for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with av.open(str(paths[0])) as container:
        stream = container.streams.video[0]
        assert found in (stream.codec_context.name, stream.codec_context.codec.canonical_name)
        assert stream.codec_context.pix_fmt == pixels
    assert psnr(decode(paths[0]), pictures) > 32


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="priorities of threads are Linux's")
@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_an_encoder_takes_no_core_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    found: list[int] = []
    monkeypatch.setattr(
        budget, "check", lambda *_: found.extend(os.sched_getscheduler(int(name)) for name in os.listdir("/proc/self/task"))
    )
    film(tmp_path, smooth(), format="mp4", codec=codec)
    assert len(found) > 4
    assert set(found) == {os.sched_getscheduler(0)} == {os.SCHED_OTHER}


def test_prores_keeps_transparency(tmp_path: Path) -> None:
    path = film(tmp_path, moving_hole(), format="mov").path
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name.startswith("yuva444p")
        alpha = frame.to_ndarray(format="rgba")[..., 3]
    assert (alpha[9:15, 1:7] < 8).all()
    assert (alpha[20:] > 247).all()


@pytest.mark.parametrize("name", ["gif", "webp", "apng", "mp4", "webm", "mov"])
def test_saved_films_are_whole_and_carry_their_provenance(tmp_path: Path, name: str) -> None:
    video = film(tmp_path, smooth(), format=name)
    target = tmp_path / f"out.{name}"
    provenance.save(video, target, {"stage": "a stage & its <name>"})
    assert np.array_equal(decode(target), decode(video.path))
    if name in ("mp4", "webm", "mov"):
        with av.open(str(target)) as container:
            told = {key.lower(): value for key, value in container.metadata.items()}
            assert json.loads(told["comment"])["stage"] == "a stage & its <name>"
    if name == "apng":
        with Image.open(target) as file:
            assert json.loads(file.text["genart"])["stage"] == "a stage & its <name>"
    if name == "webp":
        with Image.open(target) as file:
            assert b"genart" in file.info["xmp"]
