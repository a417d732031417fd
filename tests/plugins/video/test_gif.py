"""The palette, the dither and the blocks of a GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genart import Batch, DataError, Images, Run
from genart.events import Events
from genart.testing import run_stage, tiny_images
from genart_video import AssembleParams, assemble
from genart_video.frames import Frames
from genart_video.gif import delay
from genart_video.palette import COARSE, FINE, LEVELS, SMOOTH, TEXTURED, Dither, Histogram, cells, centres, packed, split, unpacked

from .test_assemble import decode, delays, film, psnr, smooth


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


@given(st.floats(0.02, 50), st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_frames_begin_at_the_nearest_moment_to_their_times(fps: float, times: list[int]) -> None:
    shown = now = 0
    for stays in times:
        wait = delay(shown, stays, fps)
        assert 2 <= wait <= 65535
        shown, now = shown + stays, now + wait
        assert abs(now - 100 * shown / fps) <= 0.5 + 1e-6


@pytest.mark.parametrize(("fps", "wait"), [(0.001, 65535), (240, 2)])
def test_a_frame_stays_as_long_as_a_gif_can_say_and_players_honour(fps: float, wait: int) -> None:
    assert delay(7, 1, fps) == wait


def scenes() -> np.ndarray:
    """Four scenes in quite different colours, all of them rich in shades: (8, 48, 64, 3) uint8."""
    rng = np.random.default_rng(5)
    tints = rng.uniform(0.2, 1, (4, 3)).repeat(2, axis=0)
    return (smooth(8) * tints[:, None, None, :]).astype(np.uint8)


def test_a_palette_for_each_frame_suits_scenes_of_different_colours(tmp_path: Path) -> None:
    pictures = scenes()
    shared, own = (decode(film(tmp_path / name, pictures, format="gif", palette=name).path) for name in ("global", "frame"))
    assert psnr(own, pictures) > psnr(shared, pictures) + 2


@pytest.mark.parametrize("palette", ["global", "frame"])
@pytest.mark.parametrize("dither", ["ordered", "diffusion", "none"])
def test_every_way_to_dither(tmp_path: Path, palette: str, dither: str) -> None:
    pictures = smooth(4)
    made = film(tmp_path, pictures, format="gif", palette=palette, dither=dither, colours=32)
    frames = decode(made.path)
    assert made.count == len(frames) == 4
    assert all(len(np.unique(packed(frame))) <= 32 for frame in frames[:1])
    assert psnr(frames, pictures) > 22


def test_dithers_differ_as_they_should(tmp_path: Path) -> None:
    """Seen from afar (in the mean of blocks of 8 x 8) mixed colours are nearer to the picture than unmixed ones."""
    pictures = smooth(2, 64, 64)

    def afar(frames: np.ndarray) -> np.ndarray:
        return frames.astype(float).reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4))

    errors = {
        name: np.abs(afar(decode(film(tmp_path / name, pictures, format="gif", dither=name, colours=16).path)) - afar(pictures)).mean()
        for name in ("ordered", "diffusion", "none")
    }
    assert errors["diffusion"] < errors["ordered"] < errors["none"]


@pytest.mark.parametrize("palette", ["global", "frame"])
def test_lossy_spares_bytes_and_keeps_to_its_bound(tmp_path: Path, palette: str) -> None:
    pictures = np.clip(smooth(1).astype(int) + np.random.default_rng(0).integers(-4, 5, (12, 48, 64, 3)), 0, 255).astype(np.uint8)
    plain, lossy = (film(tmp_path / str(n), pictures, format="gif", palette=palette, lossy=n).path for n in (0, 10))
    assert lossy.stat().st_size < plain.stat().st_size / 2
    assert psnr(decode(lossy), pictures) > psnr(decode(plain), pictures) - 4


def noisy(count: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 96, 96, 3), np.uint8)


@pytest.mark.parametrize(("name", "max_mb"), [("gif", 0.1), ("mp4", 0.12), ("webp", 0.12), ("apng", 0.3)])
def test_a_film_keeps_to_its_size(tmp_path: Path, name: str, max_mb: float) -> None:
    told: list[str] = []
    pictures = noisy()
    free = film(tmp_path / "free", pictures, format=name, fps=20).path
    assert free.stat().st_size > max_mb * 1e6
    images = Images.from_batches([Batch.from_array(pictures)], 20)

    def observe(record: dict) -> None:
        if record["event"] == "note":
            told.append(record["message"])

    made = run_stage(assemble, images, work=tmp_path / "kept", format=name, max_mb=max_mb, observer=observe)["output"]
    assert 0.2 * max_mb * 1e6 < made.path.stat().st_size <= max_mb * 1e6
    assert len(decode(made.path)) > 0
    assert len(told) == 1
    assert f"kept to {max_mb:g} MB by" in told[0]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {f"film.{name}"}


@pytest.mark.parametrize("given_fps", [None, 24.0])
def test_what_is_made_smaller_loses_frames_and_no_time(tmp_path: Path, given_fps: float | None) -> None:
    """The pictures of a training have no rate of their own, and a film has one."""
    made = film(tmp_path, noisy(), fps=given_fps, format="gif", max_mb=0.05)
    assert (made.count, made.fps) == (12, 12)
    assert sum(delays(made.path)) == 1000


def test_what_is_made_smaller_tells_the_same_seconds(tmp_path: Path) -> None:
    run = Run(stage_id="s", seed=0, device="cpu", work=tmp_path, events=Events())
    params = AssembleParams(fps=12, caption="{seconds}")
    assert Frames(tiny_images(), params, run, own_fps=24).caption.text({}, 48) == "2"
    assert Frames(tiny_images(), params, run).caption.text({}, 48) == "4"


def test_a_film_that_is_small_enough_stays_as_it_is(tmp_path: Path) -> None:
    pictures = smooth()
    paths = [film(tmp_path / str(i), pictures, format="gif", **kept).path for i, kept in enumerate(({}, {"max_mb": 1.0}))]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("max_mb", [0.001, 0.018])
def test_a_film_that_cannot_be_so_small(tmp_path: Path, max_mb: float) -> None:
    with pytest.raises(DataError, match=f"cannot be made as small as max_mb = {max_mb}") as caught:
        film(tmp_path, noisy(120), format="gif", max_mb=max_mb)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 3


def test_a_film_faster_than_players_go_loses_frames_instead_of_time(tmp_path: Path) -> None:
    made = film(tmp_path, smooth(20), fps=100, format="gif")
    assert (made.count, made.fps, delays(made.path)) == (10, 50, [20] * 10)
