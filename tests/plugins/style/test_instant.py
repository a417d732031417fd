import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab, rgb_to_yuv
from PIL import Image

from genart.artifacts import Batch, Images
from genart.errors import DataError, ResourceError
from genart.nn.flow import flicker
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_style import instant as module
from genart_style import memory
from genart_style._instant import style_instant
from genart_style.scene import Region, Style

from .made import pictures, waves


def painted(given, work, **params):
    """The pictures that the stage gives, (H, W, C) uint8 each."""
    output = run_stage(style_instant, given, work=work, **params)["output"]
    return [array for batch in output for array in batch.array]


def kind(name, style):
    return {"picture": {"style": str(style)}, "photo": {"style_photos": "tissue"}, "preset": {"preset": 19}}[name]


@pytest.mark.parametrize("name", ["picture", "photo", "preset"])
def test_pictures_are_painted_each_for_itself_at_its_own_size(tmp_path, style, name):
    arrays = [waves(40, 48, 1), waves(40, 48, 2), waves(37, 61, 3), waves(40, 48, 1)]
    results = painted(pictures(*arrays), tmp_path / "a", **kind(name, style))
    assert [r.shape for r in results] == [a.shape for a in arrays]
    assert np.array_equal(results[0], results[3]), "what is beside a picture doesn't matter"
    assert np.array_equal(results[1], painted(pictures(arrays[1]), tmp_path / "b", **kind(name, style))[0])
    assert np.abs(results[0].astype(int) - arrays[0]).mean() > 10, "it was painted over"


def test_metadata_and_speed_stay(tmp_path):
    given = Images.from_batches([Batch.from_array(waves(20, 20)[None], [{"seed": 3}])], fps=12)
    output = run_stage(style_instant, given, work=tmp_path, preset=1)["output"]
    assert output.fps == 12
    assert output[0].meta == [{"seed": 3}]


def test_styles_are_told_apart_and_blended(tmp_path, style):
    given = pictures(waves(40, 48))
    ends = [painted(given, tmp_path / "a", preset=k)[0].astype(int) for k in (3, 19)]
    middle = painted(given, tmp_path / "b", preset=[3, 19], style_weights=[1.0, 1.0])[0]
    alone = painted(given, tmp_path / "c", preset=[3, 19], style_weights=[0.0, 2.0])[0]
    assert np.abs(ends[0] - ends[1]).mean() > 10
    assert np.array_equal(alone, ends[1])
    assert min(np.abs(middle - end).mean() for end in ends) > 3
    both = painted(given, tmp_path / "d", style=str(style), style_photos="hubble", style_weights=[1.0, 0.0])[0]
    assert np.array_equal(both, painted(given, tmp_path / "e", style=str(style))[0])


def test_a_stage_can_be_the_style(tmp_path, style):
    given, side = pictures(waves(40, 48)), pictures(np.asarray(Image.open(style)))
    found = painted(given, tmp_path / "a", style="made", sides={"made": side})[0]
    assert np.array_equal(found, painted(given, tmp_path / "b", style=str(style))[0])


def test_strength_goes_from_the_picture_to_the_painting(tmp_path):
    array = waves(40, 48)
    none, half, full = (painted(pictures(array), tmp_path / str(s), preset=3, strength=s)[0].astype(int) for s in (0.0, 0.5, 1.0))
    assert np.array_equal(none, array)
    assert np.abs(half - (array + full) / 2).max() <= 1


def test_luminance_alone_can_be_painted(tmp_path):
    array = waves(40, 48)
    found = painted(pictures(array), tmp_path, preset=3, preserve_color="luminance")[0]
    yuv = [rgb_to_yuv(torch.from_numpy(a).permute(2, 0, 1) / 255) for a in (array, found)]
    assert float((yuv[0][1:] - yuv[1][1:]).abs().max()) < 0.01
    assert float((yuv[0][0] - yuv[1][0]).abs().mean()) > 0.03


def test_colours_can_be_matched(tmp_path):
    array = waves(64, 64)
    found = painted(pictures(array), tmp_path / "a", preset=3, preserve_color="match")[0]
    plain = painted(pictures(array), tmp_path / "b", preset=3)[0]
    means = [rgb_to_lab(torch.from_numpy(a).permute(2, 0, 1) / 255).mean((1, 2)) for a in (array, found, plain)]
    assert float((means[1] - means[0]).norm()) < 0.4 * float((means[2] - means[0]).norm())


def test_transparency_is_kept_and_what_it_hides_does_not_matter(tmp_path):
    rgba = waves(40, 48, channels=4)
    rgba[..., 3] = np.where(np.arange(48) < 24, 255, 0)
    other = rgba.copy()
    other[:, 24:, :3] = 0
    a, b = painted(pictures(rgba, other), tmp_path, style_photos="tissue", resolution=48)
    assert np.array_equal(a[..., 3], rgba[..., 3])
    assert np.array_equal(a, b)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 90), (15, 17)])
def test_pictures_of_a_few_pixels_are_painted_too(tmp_path, height, width):
    for i, params in enumerate(({"preset": 7}, {"style_photos": "tissue", "scales": 3})):
        (found,) = painted(pictures(waves(height, width)), tmp_path / str(i), **params)
        assert found.shape == (height, width, 3)


def test_the_resolution_is_the_longer_side(tmp_path):
    (found,) = painted(pictures(waves(30, 60)), tmp_path, preset=0, resolution=100)
    assert found.shape == (50, 100, 3)


@pytest.mark.parametrize(("params", "bytes_per_pixel"), [({}, 190), ({"preserve_color": "match"}, 240), ({"temporal": True}, 190)], ids=str)
def test_a_picture_too_large_for_the_memory_is_refused_before_it_is_begun(tmp_path, monkeypatch, params, bytes_per_pixel):
    free = 200 * 100 * bytes_per_pixel
    monkeypatch.setattr(memory, "available", lambda device: free)
    given = pictures(waves(30, 60))
    (found,) = painted(given, tmp_path / "w", preset=0, resolution=200, **params)
    assert found.shape == (100, 200, 3)
    with pytest.raises(ResourceError, match=r"style\.instant: painting 202x101 pixels takes about 0\.0 GB of memory"):
        painted(given, tmp_path / "v", preset=0, resolution=202, **params)


@pytest.mark.parametrize(
    ("size", "scales", "expected"),
    [
        ((300, 383), None, [(300, 383)]),
        ((384, 767), None, [(384, 767)]),
        ((600, 768), None, [(300, 384), (600, 768)]),
        ((2048, 1024), None, [(512, 256), (1024, 512), (2048, 1024)]),
        ((100, 64), 3, [(25, 16), (50, 32), (100, 64)]),
        ((5, 40), 2, [(16, 20), (16, 40)]),
    ],
)
def test_sizes_go_from_coarse_to_fine(size, scales, expected):
    assert module.ladder(size, scales) == expected


def test_more_sizes_make_larger_strokes(tmp_path):
    rng = np.random.default_rng(1)
    array = np.clip(waves(192, 192) + rng.normal(0, 20, (192, 192, 3)), 0, 255).astype(np.uint8)
    fine, broad = (painted(pictures(array), tmp_path / str(n), preset=8, scales=n)[0].astype(float).mean(2) for n in (1, 2))

    def alike(grey, distance):
        return np.corrcoef(grey[:, distance:].ravel(), grey[:, :-distance].ravel())[0, 1]

    assert alike(broad, 8) > alike(fine, 8) + 0.04


def test_the_start_of_a_transfer_is_what_the_stage_gives(tmp_path, style):
    content, one, other = as_tensors([waves(40, 48), np.array(Image.open(style)), waves(48, 48, 9)])
    Image.fromarray(waves(48, 48, 9)).save(tmp_path / "other.png")
    for i, shares in enumerate(((1.0,), (0.25, 0.75))):
        styles = [str(style), str(tmp_path / "other.png")][: len(shares)]
        region = Region(None, tuple(Style(picture, share, "") for picture, share in zip((one, other), shares, strict=False)))
        found = Batch(module.stylized(content, [region], "cpu")).array[0].astype(int)
        given = painted(pictures(waves(40, 48)), tmp_path / str(i), style=styles, style_weights=list(shares))[0]
        assert np.abs(found - given).max() <= i, "two are blended up to rounding"


def test_each_region_of_the_start_of_a_transfer_is_in_its_own_style(style):
    content, one, other = as_tensors([waves(40, 48), np.array(Image.open(style)), waves(48, 48, 9)])
    left, right = torch.zeros(2, 1, 1, 40, 48)
    left[..., :24], right[..., 24:40] = 1, 0.5
    regions = [Region(left, (Style(one, 1.0, ""),)), Region(right, (Style(other, 1.0, ""),))]
    found = module.stylized(content, regions, "cpu")
    alone = [module.stylized(content, [region], "cpu") for region in regions]
    assert torch.equal(found[..., :24], alone[0][..., :24])
    assert torch.allclose(found[..., 24:40], (alone[1] + content)[..., 24:40] / 2, atol=1e-6)
    assert torch.equal(found[..., 40:], content[..., 40:])


# films


def film(count=8, size=64):
    """A textured picture that moves by a pixel a frame, with some noise, as a camera's."""
    rng = np.random.default_rng(2)
    wide = np.clip(waves(size, size + count, 4) + rng.normal(0, 25, (size, size + count, 1)), 0, 255)
    return [np.clip(wide[:, i : i + size] + rng.normal(0, 3, (size, size, 3)), 0, 255).astype(np.uint8) for i in range(count)]


def as_tensors(arrays):
    return [torch.from_numpy(array).permute(2, 0, 1)[None] / 255 for array in arrays]


@pytest.mark.parametrize("name", ["picture", "preset"])
def test_a_film_does_not_flicker(tmp_path, style, name):
    frames = film()
    alone, film_ = (painted(pictures(*frames), tmp_path / str(t), temporal=t, **kind(name, style)) for t in (False, True))
    before, after = (flicker(as_tensors(frames), as_tensors(results)) for results in (alone, film_))
    assert after < 0.5 * before
    assert np.array_equal(alone[0], film_[0])


def test_a_killed_film_goes_on_to_the_byte(tmp_path):
    frames = film(6, 48)
    whole = painted(pictures(*frames), tmp_path / "a", preset=19, temporal=True)
    rest = painted(pictures(*frames), tmp_path / "b", preset=19, temporal=True, kept=pictures(*whole[:3]))
    assert len(rest) == 3
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[3:], strict=True))


def test_a_loop_leads_back_to_its_beginning(tmp_path):
    frames = film(6, 48)
    frames += frames[::-1]
    looped, straight = (painted(pictures(*frames), tmp_path / str(k), preset=19, temporal=True, loop=k) for k in (True, False))
    steps = [np.abs(results[-1].astype(int) - results[0]).mean() for results in (looped, straight)]
    assert steps[0] < steps[1]


# what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "give a style"),
        ({"preset": 26}, "expected numbers from 0 to 25, got 26"),
        ({"preset": [3, -1]}, "expected numbers from 0 to 25"),
        ({"preset": "3"}, "expected numbers from 0 to 25"),
        ({"preset": True}, "expected numbers from 0 to 25"),
        ({"preset": 3, "style": "a.png"}, "not both"),
        ({"preset": [1, 2], "style_weights": [1.0]}, "one weight for each of 2"),
        ({"preset": [1, 2], "style_weights": [0.0, 0.0]}, "at least one weight above 0"),
        ({"style_photos": "tisue"}, "tissue"),
        ({"preset": 1, "strength": 1.5}, "less than or equal to 1"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(ParamProblem, match=message):
        resolve(style_instant.params, "style.instant", params)


def test_a_style_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "style.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"style\.png cannot be read"):
        painted(pictures(waves(20, 20)), tmp_path / "w", style=str(tmp_path / "style.png"))
