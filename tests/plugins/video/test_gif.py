"""The palette, the dither and the blocks of a GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genart_video.gif import delay
from genart_video.palette import COARSE, FINE, LEVELS, SMOOTH, TEXTURED, Dither, Histogram, cells, centres, packed, split, unpacked

from .test_assemble import decode, film, psnr, smooth


def few_colours(count: int, frames: int = 4, size: int = 40) -> np.ndarray:
    """Random pictures of exactly `count` colours in all: (frames, size, size, 3) uint8."""
    rng = np.random.default_rng(count)
    colours = unpacked(rng.choice(1 << 24, count, replace=False).astype(np.uint32))
    index = np.concatenate([np.arange(count), rng.integers(0, count, frames * size * size - count)])
    return colours[index].reshape(frames, size, size, 3)


@pytest.mark.parametrize("count", [1, 2, 200, 255, 256])
def test_up_to_256_colours_are_lossless(tmp_path: Path, count: int) -> None:
    pictures = few_colours(count)
    assert np.array_equal(decode(film(tmp_path, pictures, format="gif").path), pictures)


def test_257_colours_are_nearly_lossless(tmp_path: Path) -> None:
    pictures = few_colours(257)
    assert 25 < psnr(decode(film(tmp_path, pictures, format="gif").path), pictures) < 60


def test_a_colour_of_the_last_frame_only_is_kept(tmp_path: Path) -> None:
    pictures = np.zeros((5, 8, 8, 3), np.uint8)
    pictures[4, 3, 3] = (1, 2, 3)
    assert np.array_equal(decode(film(tmp_path, pictures, format="gif").path), pictures)


def test_what_stands_still_costs_nothing(tmp_path: Path) -> None:
    still = np.repeat(smooth(1), 20, axis=0)
    moving = still.copy()
    for i in range(20):
        moving[i, 10:20, 2 * i : 2 * i + 8] = 255
    sizes = [film(tmp_path / str(i), x, format="gif").path.stat().st_size for i, x in enumerate((still[:1], still, moving, smooth(20)))]
    assert sizes[1] - sizes[0] < 20 * 40
    assert sizes[2] < sizes[3] / 3
    frames = decode(tmp_path / "1" / "film.gif")
    assert len(frames) == 20
    assert (frames == frames[0]).all()


def test_better_than_one_palette_by_pillow(tmp_path: Path) -> None:
    """Against Pillow with a median-cut palette for the whole film and error diffusion: a better PSNR in fewer bytes."""
    pictures = smooth(16, 96, 96)
    ours = film(tmp_path, pictures, format="gif").path
    theirs = tmp_path / "pillow.gif"
    palette = Image.fromarray(pictures.reshape(-1, 96, 3)).quantize(255)
    first, *rest = [Image.fromarray(picture).quantize(palette=palette) for picture in pictures]
    first.save(theirs, save_all=True, append_images=rest, duration=40, loop=0)
    assert psnr(decode(ours), pictures) > psnr(decode(theirs), pictures)
    assert ours.stat().st_size < theirs.stat().st_size


@pytest.mark.parametrize("bits", [FINE, COARSE])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20))
def test_cells(bits: int, colours: list[tuple[int, int, int]]) -> None:
    frame = np.array(colours, np.uint8)
    assert np.array_equal(unpacked(packed(frame)), frame)
    place = cells(packed(frame), bits)
    assert (place % LEVELS == 0).all()
    assert np.abs(centres(place // LEVELS, bits) - frame).max() <= (1 << (8 - bits)) / 2


def test_packed_reads_views() -> None:
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(unpacked(packed(frame[::2, 1::3]).ravel()), frame[::2, 1::3].reshape(-1, 3))


def test_split_separates_clusters() -> None:
    colours = np.array([[0, 0, 0], [2, 0, 0], [250, 250, 250], [0, 200, 0]], float)
    means = split(colours, np.array([1.0, 1.0, 5.0, 1.0]), 3)
    assert sorted(map(tuple, means.tolist())) == [(0, 200, 0), (1, 0, 0), (250, 250, 250)]
    assert len(split(colours, np.ones(4), 10)) == 4


def test_a_pattern_mixes_what_the_palette_lacks() -> None:
    palette = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    for grey in (64, 128, 192):
        index = Dither(palette, FINE, strength=1.0)(np.full((16, 16, 3), grey, np.uint8))
        assert palette[index].mean() == pytest.approx(grey, abs=12)
    assert len(np.unique(Dither(palette, FINE, strength=0.0)(np.full((16, 16, 3), 100, np.uint8)))) == 1


def test_gradients_are_mixed_more_than_texture() -> None:
    histogram, noise = Histogram(), Histogram()
    histogram.add_texture(smooth(1, 256, 256)[0])
    noise.add_texture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert TEXTURED <= noise.strength < TEXTURED + 0.02
    assert SMOOTH - 0.05 < histogram.strength <= SMOOTH


@given(st.floats(0.01, 240))
def test_delay(fps: float) -> None:
    assert 2 <= delay(fps) <= 65535
    if fps <= 50:
        assert abs(delay(fps) - 100 / fps) <= 0.5
