"""How alike two files are: against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from genart.nn import compare
from genart.nn.pictures import Unreadable

GREY = np.full((8, 8, 4), 100, np.uint8)


def saved(array, name):
    Image.fromarray(array).save(name)
    return Path(name)


def film(name, shift=0, count=4):
    with av.open(name, "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv444p"
        for i in range(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 60 + 20 * i + shift, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return Path(name)


@pytest.mark.parametrize("step", [1, 5, 50])
def test_an_offset_has_the_psnr_of_the_textbook(step):
    found = compare.pictures(saved(GREY, "a.png"), saved(GREY + np.uint8(step), "b.png"))
    assert found.db == pytest.approx(20 * math.log10(255 / step))
    assert found.detail == ""


def test_alpha_counts():
    other = GREY.copy()
    other[..., 3] += 8
    assert compare.pictures(saved(GREY, "a.png"), saved(other, "b.png")).db == pytest.approx(10 * math.log10(4 * 255**2 / 64))


def test_equal_pictures_are_infinitely_alike():
    assert compare.pictures(saved(GREY, "a.png"), saved(GREY, "b.webp")).db > 30
    assert compare.pictures(saved(GREY, "a.png"), saved(GREY, "c.png")).db == math.inf


def test_sizes_must_agree():
    found = compare.pictures(saved(GREY, "a.png"), saved(GREY[:4], "b.png"))
    assert (found.db, found.detail) == (None, "8x8 and 8x4 pixels")


def test_films_are_compared_over_all_frames():
    one, same, other = film("a.mp4"), film("b.mp4"), film("c.mp4", shift=10)
    assert compare.pictures(one, same, "mp4").db == math.inf
    found = compare.pictures(one, other, "mp4")
    assert found.db == pytest.approx(20 * math.log10(255 / 10), abs=1)
    assert "worst in frame" in found.detail
    assert compare.pictures(one, film("d.mp4", count=3), "mp4").detail == "one has 3 frames, and the other more"


def test_animations_are_compared_frame_by_frame():
    frames = [Image.fromarray(GREY[..., :3] + np.uint8(20 * i)) for i in range(3)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    frames[0].save("b.gif", save_all=True, append_images=[frames[1], frames[0]])
    found = compare.pictures(Path("a.gif"), Path("b.gif"))
    assert found.db == pytest.approx(10 * math.log10(255**2 * 12 / (3 * 40**2)))
    assert found.detail.startswith("worst in frame 2")


@pytest.mark.parametrize("demuxer", [None, "mp4"])
def test_what_cannot_be_decoded_is_said(demuxer):
    Path("a.bin").write_bytes(b"no picture at all")
    with pytest.raises(Unreadable):
        compare.pictures(Path("a.bin"), Path("a.bin"), demuxer)


def test_huge_pictures_are_not_decoded(monkeypatch):
    monkeypatch.setattr(compare, "MAX_PIXELS", 63)
    with pytest.raises(Unreadable, match="too many"):
        compare.pictures(saved(GREY, "a.png"), saved(GREY, "b.png"))


def weights(name, **tensors):
    save_file(tensors, name)
    return Path(name)


def test_weights_are_compared_by_signal_to_noise():
    w = torch.linspace(-1, 1, 50)
    a, b = weights("a.safetensors", w=w, b=torch.ones(3)), weights("b.safetensors", w=w * 1.01, b=torch.ones(3))
    signal, noise = float(w.double().square().sum()) + 3, float((w.double() * 0.01).square().sum())
    found = compare.weights(a, b)
    assert found.db == pytest.approx(10 * math.log10(signal / noise), rel=1e-4)
    assert found.detail == "most in 'w'"
    assert compare.weights(a, a).db == math.inf


def test_other_tensors_cannot_be_compared():
    a = weights("a.safetensors", w=torch.ones(2))
    assert compare.weights(a, weights("b.safetensors", v=torch.ones(2))) == compare.Likeness(None, "they have other tensors")
    assert compare.weights(a, weights("c.safetensors", w=torch.ones(3))).detail == "'w' is (2,) and (3,)"


def test_no_signal_is_no_likeness():
    assert compare.decibels(0, 0) == math.inf
    assert compare.decibels(0, 1) == -math.inf
