"""`images.resize`: both directions against references, transparency without dark edges, any split into batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genart import Batch, Images, UsageError
from genart.nn.samples import FILES
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_images import images_resize
from genart_images.resize import resize, size_for
from genart_images.samples import data_folder

FILTERS = ["bicubic", "bilinear", "area", "nearest"]


@pytest.fixture(scope="module")
def cat():
    """(1, 3, 128, 128) float32 in [0, 1]."""
    with Image.open(data_folder() / FILES["cat"]) as photo:
        pixels = np.asarray(photo.convert("RGB").crop((100, 40, 228, 168)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def psnr(a, b):
    return float(-10 * torch.log10(torch.mean((a - b) ** 2)))


def by_pillow(images, size, method):
    """Reference: Pillow's resampling of 32-bit floats, channel by channel."""
    planes = [Image.fromarray(plane.numpy()).resize((size[1], size[0]), method) for plane in images[0]]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))[None]


@pytest.mark.parametrize("size", [(256, 256), (384, 200)])
@pytest.mark.parametrize(("filter", "method"), [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)])
def test_enlarging_agrees_with_pillow(cat, size, filter, method):
    assert psnr(resize(cat, size, filter), by_pillow(cat, size, method)) > 42


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (48, 30)])
@pytest.mark.parametrize("filter", ["bicubic", "bilinear", "area"])
def test_reducing_agrees_with_pillow(cat, size, filter):
    reduced, reference = resize(cat, size, filter), by_pillow(cat, size, Image.Resampling.BOX)
    assert psnr(reduced, reference) > 28
    # The comparison can fail: taking every so-manieth pixel falls far below.
    assert psnr(resize(cat, size, "nearest"), reference) < psnr(reduced, reference) - 2


def test_area_is_the_mean_of_each_block(cat):
    blocks = cat.reshape(1, 3, 32, 4, 32, 4).mean((3, 5))
    assert torch.allclose(resize(cat, (32, 32), "area"), blocks, atol=1e-6)


def test_nearest_repeats_pixels(cat):
    assert torch.equal(resize(cat, (256, 256), "nearest"), cat.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("filter", ["bicubic", "bilinear", "area"])
def test_a_fine_chequer_reduces_to_grey(filter):
    chequer = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(2).float().expand(1, 3, 64, 64)
    assert (resize(chequer, (16, 16), filter) - 0.5).abs().max() < 0.06


@given(
    filter=st.sampled_from(FILTERS),
    channels=st.sampled_from([3, 4]),
    old=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    new=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    value=st.floats(0, 1, width=32),
)
def test_one_colour_stays_itself_at_any_size(filter, channels, old, new, value):
    images = torch.full((1, channels, *old), value)
    images[:, 3:] = 1
    result = resize(images, new, filter)
    assert result.shape == (1, channels, *new)
    assert torch.allclose(result[:, :3], torch.tensor(value), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (64, 64)])
@pytest.mark.parametrize("filter", FILTERS)
def test_hidden_colours_do_not_bleed_out_of_transparency(size, filter):
    images = torch.zeros(1, 4, 32, 32)
    images[:, 1] = 1.0  # green hides where it is transparent
    images[:, :3, 8:24, 8:24] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    images[:, 3, 8:24, 8:24] = 1.0
    result = resize(images, size, filter)
    seen = result[:, 3] > 0.02
    assert bool(seen.any())
    assert result[:, 0][seen].min() > 0.95
    assert result[:, 1][seen].max() < 0.05


@pytest.mark.parametrize(
    ("size", "resolution", "scale", "expected"),
    [
        ((100, 200), 50, None, (50, 100)),
        ((200, 100), 50, None, (100, 50)),
        ((100, 200), (30, 40), None, (40, 30)),
        ((100, 200), None, 0.5, (50, 100)),
        ((3, 3), None, 0.01, (1, 1)),
    ],
)
def test_sizes(size, resolution, scale, expected):
    assert size_for(size, resolution, scale) == expected


def test_stage_keeps_metadata_fps_and_order(tmp_path):
    film = Images.from_batches([tiny_images(5, 16)[i] for i in range(5)], fps=12.5)
    result = run_stage(images_resize, film, work=tmp_path, resolution=[20, 10])["output"]
    assert result.fps == 12.5
    assert result.array().shape == (5, 10, 20, 3)
    assert [meta["number"] for batch in result for meta in batch.meta] == list(range(5))


def test_bits_do_not_depend_on_how_pictures_are_batched(tmp_path):
    pixels = torch.rand(40, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    together = Images.from_batches([Batch(pixels)])
    apart = Images.from_batches([Batch(pixels[i : i + 3]) for i in range(0, 40, 3)])
    for at, params in enumerate([{"resolution": 17}, {"resolution": 120}, {"scale": 1.5, "filter": "bilinear"}]):
        a = run_stage(images_resize, together, work=tmp_path / f"a{at}", **params)["output"]
        b = run_stage(images_resize, apart, work=tmp_path / f"b{at}", **params)["output"]
        assert np.array_equal(a.array(), b.array())


def test_mixed_sizes_pass_through_one_by_one(tmp_path):
    mixed = Images.from_batches([Batch(torch.rand(2, 3, 8, 16)), Batch(torch.rand(1, 3, 20, 10))])
    result = run_stage(images_resize, mixed, work=tmp_path, resolution=4)["output"]
    assert [batch.array.shape for batch in result] == [(2, 4, 8, 3), (1, 8, 4, 3)]


def test_wrong_parameters(tmp_path):
    for params in ({"resolution": 8, "scale": 2.0}, {}):
        with pytest.raises(ParamProblem, match="either `resolution` or `scale`"):
            resolve(images_resize.params, "images.resize", params)
    with pytest.raises(ParamProblem, match="resolution"):
        resolve(images_resize.params, "images.resize", {"resolution": 0})
    with pytest.raises(UsageError, match="too large"):
        run_stage(images_resize, Images.from_batches([Batch(torch.zeros(1, 3, 1024, 1024))]), work=tmp_path, scale=64.0)
