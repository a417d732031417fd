"""`images.samples`: real photographs, the same crop for the same index and seed, whatever else changes."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genart.events import Events
from genart.nn.samples import ALIASES, COLOUR, FILES
from genart.params import ParamProblem, resolve
from genart.run import Run
from genart.testing import run_stage
from genart_images import images_samples
from genart_images.samples import Photo, data_folder, place


def cut(work, **params):
    return run_stage(images_samples, work=work, **{"crop": 16, "count": 20, **params})["output"]


def test_every_photograph_of_the_table_is_in_the_wheel():
    for name in FILES:
        assert (data_folder() / FILES[name]).is_file(), name
    for name in COLOUR:
        pixels = np.asarray(Photo.open(name).levels[0]).astype(int)
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 2, f"{name} is grey"


def test_default_is_whole_photographs(tmp_path):
    images = run_stage(images_samples, work=tmp_path)["output"]
    assert [batch.meta[0]["source"] for batch in images] == list(COLOUR.values())
    with Image.open(data_folder() / "coffee.png") as coffee:
        assert np.array_equal(images[2].array[0], np.asarray(coffee.convert("RGB")))


def test_shape_and_variety(tmp_path):
    images = cut(tmp_path, photos=["cat", "coffee"])
    assert images.array().shape == (20, 16, 16, 3)
    assert len({picture.tobytes() for picture in images.array()}) == 20
    assert [meta["source"] for batch in images for meta in batch.meta] == ["chelsea.png", "coffee.png"] * 10


def test_a_picture_does_not_change_when_the_count_grows(tmp_path):
    few, many = cut(tmp_path / "a", count=5), cut(tmp_path / "b", count=700, crop=16)
    assert np.array_equal(few.array(), many.array()[:5])
    assert few[3].meta == many[3].meta


def test_seed_decides(tmp_path):
    first, again, other = cut(tmp_path / "a", seed=1), cut(tmp_path / "b", seed=1), cut(tmp_path / "c", seed=2)
    assert np.array_equal(first.array(), again.array())
    assert not np.array_equal(first.array(), other.array())


@pytest.mark.parametrize("params", [{"crop": 16, "count": 9, "mirror": True}, {}], ids=["crops", "whole"])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, params):
    whole = run_stage(images_samples, work=tmp_path, **params)["output"]
    run = Run(stage_id="images.samples", seed=0, device="cpu", work=tmp_path, events=Events(), start=4)
    rest = run.stream(images_samples(None, resolve(images_samples.params, "images.samples", params), run))
    at = 4
    for batch in rest:
        for i in range(len(batch)):
            assert np.array_equal(batch.array[i], whole[at].array[0])
            assert batch.meta[i] == whole[at].meta[0]
            at += 1
    assert at == whole.count


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 1), st.floats(0.01, 1), st.integers())
def test_box_lies_inside_the_photograph(width, height, low, high, seed):
    scale = (min(low, high), max(low, high))
    (left, top, right, bottom), _ = place((width, height), scale, Random(seed), mirror=True)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == bottom - top
    side = right - left
    assert scale[0] * min(width, height) - 0.51 <= side <= max(1, scale[1] * min(width, height) + 0.51)


def test_box_in_the_metadata_is_what_is_seen(tmp_path):
    images = cut(tmp_path, photos="rocket", scale=[0.5, 0.5], crop=24, count=4)
    photo = Photo.open("rocket").levels[0]
    for i in range(4):
        meta = images[i].meta[0]
        reference = np.asarray(photo.resize((24, 24), Image.Resampling.LANCZOS, box=meta["box"])).astype(float)
        error = np.sqrt(np.mean((images[i].array[0] - reference) ** 2))
        assert error < 4, f"picture {i} differs from its box by {error:.1f} of 255"


def test_small_crops_of_large_pieces_do_not_alias(tmp_path):
    """A crop of a fine chequer is its mean grey; without averaging it would be black and white."""
    chequer = Image.fromarray(np.indices((512, 512)).sum(0).astype(np.uint8) % 2 * 255).convert("RGB")
    photo = Photo("chequer", (chequer, *(chequer.reduce(2**k) for k in range(1, 10))))
    for side in (130, 257, 512):
        picture = np.asarray(photo.cut((0, 0, side, side), 8)).astype(int)
        assert np.abs(picture - 127.5).max() < 6


def test_mirror_turns_some_and_only_mirrors(tmp_path):
    plain, mirrored = cut(tmp_path / "a", count=40), cut(tmp_path / "b", count=40, mirror=True)
    turned = [meta["mirrored"] for batch in mirrored for meta in batch.meta]
    assert 5 < sum(turned) < 35
    for i, was_turned in enumerate(turned):
        picture = mirrored.array()[i]
        assert np.array_equal(picture[:, ::-1] if was_turned else picture, plain.array()[i])


@pytest.mark.parametrize(
    ("params", "name", "words"),
    [
        ({"photos": "astronuat"}, "photos", "did you mean 'astronaut'"),
        ({"photos": ["cat", "dgo"]}, "photos", "no photograph 'dgo'"),
        ({"photos": []}, "photos", "at least one"),
        ({"photos": 3}, "photos", "list"),
        ({"scale": [0.6, 0.2]}, "scale", "must not be above"),
        ({"scale": [0.0, 0.2]}, "scale", "greater than 0"),
        ({"crop": 0}, "crop", "greater than or equal to 1"),
        ({"count": 30}, "count", "give `crop`"),
        ({"cuont": 30}, "cuont", "did you mean 'count'"),
    ],
)
def test_wrong_parameters(params, name, words):
    with pytest.raises(ParamProblem, match=words) as caught:
        resolve(images_samples.params, "images.samples", params)
    assert caught.value.name == name


def test_scikit_images_own_names_are_understood(tmp_path):
    for alias, name in ALIASES.items():
        assert resolve(images_samples.params, "images.samples", {"photos": alias}).photos == (name,)
