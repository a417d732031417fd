"""All stages of `procedural`: the same seed and index give the same picture, whatever else changes; palettes are kept to; input is kept."""

import numpy as np
import pytest
from PIL import Image

import genart_procedural as stages
from genart import Batch, DataError, Images
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_procedural import flow, mosaic, reaction, warp
from genart_procedural._palettes import PALETTES

#: Sources and parameters that make every kind of picture they know, small.
SOURCES = {
    "ribbons": (stages.procedural_flow, {"lines": "ribbons", "width": 0.03}),
    "threads": (stages.procedural_flow, {"lines": "threads", "density": 0.2, "length": 0.4}),
    "voronoi": (stages.procedural_cells, {"shape": "voronoi", "points": 90}),
    "pebbles": (stages.procedural_cells, {"shape": "pebbles", "points": 90}),
    "delaunay": (stages.procedural_cells, {"shape": "delaunay", "points": 90}),
    "warp": (stages.procedural_warp, {}),
    "reaction": (stages.procedural_reaction, {"steps": 400, "cells": 64}),
}
FILMS = {"warp": (stages.procedural_warp, {}), "reaction": (stages.procedural_reaction, {"steps": 300, "cells": 48})}
FILTERS = {
    "strokes": (stages.procedural_strokes, {}),
    "dabs": (stages.procedural_strokes, {"manner": "pointillist"}),
    "voronoi": (stages.procedural_mosaic, {"points": 40}),
    "pebbles": (stages.procedural_mosaic, {"points": 40, "shape": "pebbles", "gap": 0.1}),
    "delaunay": (stages.procedural_mosaic, {"points": 40, "shape": "delaunay", "gap": 0.1}),
}
sources = pytest.mark.parametrize("name", SOURCES)
films = pytest.mark.parametrize("name", FILMS)
filters = pytest.mark.parametrize("name", FILTERS)


def drawn(work, name, **params):
    stage, own = SOURCES[name]
    return run_stage(stage, work=work, **{"resolution": 48, "count": 3, **own, **params})["output"]


def filtered(work, name, given, **params):
    stage, own = FILTERS[name]
    return run_stage(stage, given, work=work, **{**own, **params})["output"]


def metas(images):
    return [meta for batch in images for meta in batch.meta]


# from nothing


@sources
def test_shape_variety_and_metadata(tmp_path, name):
    images = drawn(tmp_path, name, resolution=[64, 40])
    assert images.array().shape == (3, 40, 64, 3)
    assert len({picture.tobytes() for picture in images.array()}) == 3
    assert all(picture.std() > 8 for picture in images.array()), "an empty picture"
    for meta in metas(images):
        assert meta["palette"] in PALETTES
        assert isinstance(meta["seed"], int)


@sources
def test_a_picture_does_not_change_when_the_count_grows(tmp_path, name):
    few, many = drawn(tmp_path / "a", name, count=1), drawn(tmp_path / "b", name, count=3)
    assert np.array_equal(few[0].array, many[0].array)
    assert metas(few)[0] == metas(many)[0]


@sources
def test_seed_decides(tmp_path, name):
    first, again, other = (drawn(tmp_path / f"{k}", name, count=1, seed=seed).array() for k, seed in enumerate((1, 1, 2)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@sources
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, name):
    stage, own = SOURCES[name]
    whole = drawn(tmp_path / "a", name)
    kept = Images.from_batches([Batch.from_array(whole.array()[:2])])
    rest = run_stage(stage, work=tmp_path / "b", kept=kept, resolution=48, count=3, **own)["output"]
    assert np.array_equal(rest.array(), whole.array()[2:])


def reduced(picture):
    return np.asarray(Image.fromarray(picture).reduce(picture.shape[0] // 24)).astype(float)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "reaction"])
def test_a_picture_of_another_size_is_the_same_picture(tmp_path, name):
    """As near as averaging lets it be, and far nearer than another picture."""
    fixed = {"palette": "harbour", "count": 2}
    small, large = (reduced_all(drawn(tmp_path / f"{side}", name, resolution=side, **fixed)) for side in (96, 192))
    same = np.abs(small - large).mean((1, 2, 3))
    other = np.abs(small[0] - large[1]).mean()
    assert same.max() < 0.4 * other, f"{same} against {other}"


def reduced_all(images):
    return np.stack([reduced(picture) for picture in images.array()])


@sources
def test_colours_are_those_of_the_palette(tmp_path, name):
    """From greys comes nothing but grey, give or take a breath; so a palette of one's own rules everything."""
    array = drawn(tmp_path, name, palette=["#f0f0f0", "#909090", "#202020"]).array().astype(int)
    assert (array.max(3) - array.min(3)).max() < 22
    assert {meta["palette"] for meta in metas(drawn(tmp_path / "b", name, palette=["#f0f0f0", "#202020"], count=1))} == {"own"}


@sources
def test_palette_from_a_picture(tmp_path, name):
    red = np.zeros((20, 30, 3), np.uint8)
    red[:, :10], red[:, 10:20], red[:, 20:] = (250, 220, 215), (200, 40, 30), (90, 10, 10)
    side = Images.from_batches([Batch.from_array(red[None])])
    stage, own = SOURCES[name]
    params = {**own, "resolution": 48, "palette_from": "photo"}
    array = run_stage(stage, work=tmp_path, sides={"photo": side}, **params)["output"].array().astype(int)
    assert array[..., 0].mean() > array[..., 1].mean() + 20
    assert (array[..., 0] >= array[..., 2] - 12).all()


def test_palette_from_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        drawn(tmp_path / "w", "warp", palette_from=str(tmp_path / "a.png"))
    with pytest.raises(DataError, match="gave no picture"):
        run_stage(stages.procedural_warp, work=tmp_path / "w", sides={"x": Images.from_batches([])}, palette_from="x")


LOOKS = [
    (flow, stages.procedural_flow, {"taper": 0.5, "scale": 0.7, "lines": "threads", "field": "drift"}),
    (mosaic, stages.procedural_cells, {"points": 77, "arrangement": "rings", "shape": "pebbles"}),
    (warp, stages.procedural_warp, {"scale": 0.5, "bands": 3}),
    (reaction, stages.procedural_reaction, {"pattern": "maze"}),
]


@pytest.mark.parametrize(("module", "stage", "given"), LOOKS, ids=[stage.name for _, stage, _ in LOOKS])
def test_to_give_one_parameter_changes_no_other(module, stage, given):
    def look(**params):
        found = module.look_of(resolve(stage.params, stage.name, params), np.random.default_rng(5))
        look, *more = found if isinstance(found, tuple) else (found,)
        return {**vars(look), **({"arrangement": more[0]} if more else {})}

    free = look()
    for name, value in given.items():
        fixed = look(**{name: value})
        assert fixed[name] == value
        assert {k: v for k, v in fixed.items() if k not in (name, "gap")} == {k: v for k, v in free.items() if k not in (name, "gap")}


@films
def test_a_film_has_frames_and_a_killed_one_goes_on(tmp_path, name):
    stage, own = FILMS[name]
    params = {**own, "frames": 5, "fps": 12.0, "resolution": 40, "palette": "ember"}
    whole = run_stage(stage, work=tmp_path / "a", **params)["output"]
    assert whole.array().shape == (5, 40, 40, 3)
    assert whole.fps == 12.0
    assert len({frame.tobytes() for frame in whole.array()}) == 5
    kept = Images.from_batches([Batch.from_array(whole.array()[:3])])
    rest = run_stage(stage, work=tmp_path / "b", kept=kept, **params)["output"]
    assert np.array_equal(rest.array(), whole.array()[3:])


def test_a_film_of_growth_ends_in_the_still_picture(tmp_path):
    stage, own = FILMS["reaction"]
    film = run_stage(stage, work=tmp_path / "a", frames=4, resolution=40, **own)["output"]
    still = run_stage(stage, work=tmp_path / "b", resolution=40, **own)["output"]
    assert np.array_equal(film[3].array, still[0].array)


# from pictures


@filters
def test_pictures_keep_their_metadata_transparency_and_size(tmp_path, name):
    given = tiny_images(3, 40, channels=4)
    alpha = np.linspace(0, 255, 40 * 40).astype(np.uint8).reshape(40, 40)
    array = given.array().copy()
    array[..., 3] = alpha
    given = Images.from_batches([Batch.from_array(array.copy(), metas(given))])
    made = filtered(tmp_path, name, given)
    assert metas(made) == metas(given)
    assert (made.array()[..., 3] == alpha).all()
    assert np.array_equal(given.array(), array), "the input was changed"
    assert not np.array_equal(made.array()[..., :3], array[..., :3])


@filters
def test_pictures_of_several_sizes_and_a_killed_run(tmp_path, name):
    shapes = [(32, 48), (20, 20), (48, 32)]
    given = Images.from_batches([Batch.from_array(noise(*shape, seed=k)[None]) for k, shape in enumerate(shapes)])
    made = filtered(tmp_path / "a", name, given)
    assert [batch.array.shape[1:3] for batch in made] == shapes
    stage, own = FILTERS[name]
    kept = Images.from_batches([made[0], made[1]])
    rest = run_stage(stage, given, work=tmp_path / "b", kept=kept, **own)["output"]
    assert np.array_equal(rest[0].array, made[2].array)


def noise(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@filters
def test_stills_are_each_their_own_and_frames_are_alike(tmp_path, name):
    pair = [Batch.from_array(np.stack([noise(40, 40)] * 2))]
    stills = filtered(tmp_path / "a", name, Images.from_batches(pair)).array()
    frames = filtered(tmp_path / "b", name, Images.from_batches(pair, 25.0))
    assert not np.array_equal(stills[0], stills[1])
    assert np.array_equal(*frames.array())
    assert frames.fps == 25.0


@pytest.mark.parametrize(
    ("stage", "params", "name", "words"),
    [
        (stages.procedural_flow, {"palette": "harbor"}, "palette", "did you mean 'harbour'"),
        (stages.procedural_flow, {"palette": ["#ffffff"]}, "palette", "2 to 32 colours"),
        (stages.procedural_flow, {"palette": ["#ffffff", "red"]}, "palette", "#336699"),
        (stages.procedural_flow, {"palette": 3}, "palette", "name of a palette"),
        (stages.procedural_flow, {"palette": "ink", "palette_from": "a.png"}, "palette_from", "not both"),
        (stages.procedural_flow, {"resolution": 8}, "resolution", "16"),
        (stages.procedural_flow, {"resolution": 9999}, "resolution", "4096"),
        (stages.procedural_flow, {"lines": "ribbon"}, "lines", "ribbons"),
        (stages.procedural_cells, {"points": 2}, "points", "8"),
        (stages.procedural_warp, {"frames": 12, "count": 2}, "frames", "leave out `count`"),
        (stages.procedural_reaction, {"pattern": "corals"}, "pattern", "did you mean 'coral'"),
        (stages.procedural_mosaic, {"background": "white"}, "background", "#336699"),
        (stages.procedural_strokes, {"manner": "cubist"}, "manner", "pointillist"),
        (stages.procedural_strokes, {"brushes": []}, "brushes", "at least 1"),
        (stages.procedural_strokes, {"brushes": [0.1]}, "brushes", "0.5"),
    ],
)
def test_wrong_parameters(stage, params, name, words):
    with pytest.raises(ParamProblem, match=words) as caught:
        resolve(stage.params, stage.name, params)
    assert caught.value.name == name
