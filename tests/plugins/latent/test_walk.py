import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from genart.artifacts import Batch, Images
from genart.errors import DataError, UsageError
from genart.nn import latent
from genart.params import ParamProblem, resolve
from genart.provenance import save
from genart_latent import latent_directions, latent_grid, latent_sample, latent_walk
from genart_latent.walk import course_of

from .toys import SIDE, draw, metas, model, run_for

#: Every kind of loop, with the toy that can walk it.
LOOPS = {
    "slerp": ("plain", {}),
    "lerp": ("plain", {"interpolation": "lerp"}),
    "spline": ("plain", {"interpolation": "spline"}),
    "circle": ("plain", {"interpolation": "circle"}),
    "small circle": ("plain", {"interpolation": "circle", "radius": 0.4}),
    "noise": ("plain", {"interpolation": "noise"}),
    "noise about one": ("plain", {"interpolation": "noise", "radius": 0.3, "seeds": [9]}),
    "hold": ("plain", {"hold": [0.1, 0.0, 0.2], "fps": 10}),
    "classes": ("kinds", {"classes": ["rose", "tulip"]}),
    "classes on a circle": ("kinds", {"interpolation": "circle", "classes": ["rose", "tulip", "iris"]}),
    "styles": ("styled", {"space": "w", "truncation_psi": 0.7}),
    "styles on a spline": ("styled", {"space": "w", "interpolation": "spline"}),
    "styles of a circle": ("styled", {"space": "w", "interpolation": "circle"}),
    "mixing": ("styled", {"mix_layers": [2, 3], "mix_seed": 4}),
    "direction": ("plain", {"direction": 1}),
    "direction in w": ("styled", {"direction": 1, "method": "pca"}),
    "direction of some layers": ("styled", {"direction": 0, "mix_layers": [0, 1]}),
}


def course(work, kind, params, frames=23):
    values = resolve(latent_walk.params, "latent.walk", {"frames": frames, **params})
    return course_of(model(kind), values, run_for(work))[1]


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_closes_to_the_bit(tmp_path, name):
    at = course(tmp_path, *LOOPS[name])
    for i in (0, 1, 11):
        now, later = at(i), at(i + 23)
        assert torch.equal(now.point, later.point)
        assert now.kind is None or torch.equal(now.kind, later.kind)


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_moves_and_has_no_seam(tmp_path, name):
    kind, params = LOOPS[name]
    film = draw(tmp_path, latent_walk, kind, frames=23, **params).array().astype(int)
    steps = [abs(film[i] - film[(i + 1) % 23]).mean() for i in range(23)]
    assert max(steps) > 0.5
    assert steps[-1] <= 1.05 * max(steps[:-1])


@pytest.mark.parametrize("name", ["slerp", "spline", "styles", "mixing", "classes"])
def test_frames_do_not_change_the_keys(tmp_path, name):
    kind, params = LOOPS[name]
    short, long = (course(tmp_path, kind, {**params, "keys": 4}, frames) for frames in (8, 40))
    for key in range(4):
        assert torch.equal(short(2 * key).point, long(10 * key).point)


@pytest.mark.parametrize("name", LOOPS)
def test_a_walk_does_not_depend_on_where_a_resume_begins(tmp_path, name):
    kind, params = LOOPS[name]
    whole, rest = (draw(tmp_path, latent_walk, kind, frames=23, start=start, **params) for start in (0, 17))
    assert (whole.array()[17:] == rest.array()).all()
    assert metas(whole)[17:] == metas(rest)


def test_a_film_rests_at_its_keys(tmp_path):
    film = draw(tmp_path, latent_walk, frames=20, seeds=[1, 2], hold=0.4, fps=10).array()
    assert all((film[i] == film[0]).all() for i in range(5))
    assert (film[5] != film[0]).any()
    assert (film[10:15] == film[10]).all()
    with pytest.raises(UsageError, match="rests for 2 keys"):
        draw(tmp_path, latent_walk, seeds=[1, 2], hold=[0.1, 0.2, 0.3])
    with pytest.raises(UsageError, match="held for 20 of 20 frames"):
        draw(tmp_path, latent_walk, frames=20, fps=10, seeds=[1, 2], hold=1.0)


def test_classes_blend_from_key_to_key(tmp_path):
    at = course(tmp_path, "kinds", {"classes": ["rose", "tulip"], "seeds": [5, 5], "easing": "linear"}, frames=8)
    assert at(0).kind.tolist() == [0, 1, 0]
    assert at(2).kind.tolist() == [0, 0.5, 0.5]
    assert at(4).kind.tolist() == [0, 0, 1]
    assert at(2).meta["label"] == "rose"
    assert at(2).meta["to_label"] == "tulip"
    film = draw(tmp_path, latent_walk, "kinds", classes=["rose", "tulip"], seeds=[5, 5], frames=8).array()
    rose = draw(tmp_path, latent_sample, "kinds", seeds=[5], **{"class": "rose"}).array()
    assert (film[0] == rose[0]).all()
    assert (film[4] != rose[0]).any()


def test_wrong_classes_are_told(tmp_path):
    with pytest.raises(DataError, match="no class 'rosy'; did you mean 'rose'"):
        draw(tmp_path, latent_walk, "kinds", classes=["rosy"])
    with pytest.raises(DataError, match="no class 'rose'"):
        draw(tmp_path, latent_walk, classes=["rose"])
    with pytest.raises(UsageError, match="3 classes for 2 keys"):
        draw(tmp_path, latent_walk, "kinds", classes=["rose", "iris", "tulip"], seeds=[1, 2])


def test_some_layers_keep_their_style(tmp_path):
    at = course(tmp_path, "styled", {"mix_layers": [1, 2], "mix_seed": 4})
    plain = course(tmp_path, "styled", {"space": "w"})
    for i in (0, 7):
        styles = at(i).point
        assert torch.equal(styles[1], plain(i).point)
        assert torch.equal(styles[2], plain(i).point)
        assert torch.equal(styles[0], at(0).point[3])
    with pytest.raises(UsageError, match="no layer 4: the model has 4, from 0"):
        draw(tmp_path, latent_walk, "styled", mix_layers=[2, 4])


@pytest.mark.parametrize("params", [{"space": "w"}, {"mix_layers": [0, 1]}, {"direction": 0, "method": "pca"}])
def test_what_needs_styles_is_refused_without(tmp_path, params):
    with pytest.raises(DataError, match="needs a family with a space of styles, and the model is of the family 'plain'"):
        draw(tmp_path, latent_walk, **params)


def test_a_direction_is_walked_in_its_own_space_alone(tmp_path):
    with pytest.raises(UsageError, match="lie in w of this model"):
        draw(tmp_path, latent_walk, "styled", direction=0, space="z")
    with pytest.raises(UsageError, match="no direction 6"):
        draw(tmp_path, latent_walk, direction=6)
    with pytest.raises(DataError, match="the family 'kinds' does not tell its first layer"):
        draw(tmp_path, latent_walk, "kinds", direction=0)


def test_a_direction_leads_about_its_key(tmp_path):
    at = course(tmp_path, "plain", {"direction": 2, "seeds": [3], "strength": 2.0}, frames=8)
    centre = latent.latent(6, 3)
    assert torch.equal(at(0).point, centre)
    assert torch.allclose((at(2).point + at(6).point) / 2, centre, atol=1e-5)
    assert float((at(2).point - centre).norm()) == pytest.approx(2.0, abs=1e-4)
    ends = course(tmp_path, "plain", {"direction": 2, "seeds": [3], "loop": False}, frames=8)
    assert (ends(0).meta["offset"], ends(7).meta["offset"]) == (-3.0, 3.0)


# keys from pictures


STAGE = {"id": "s", "uses": "latent.sample", "from": [], "params": {}, "plugin": {"version": "0", "source": "0"}, "outputs": {}}
ORIGIN = {"format": 1, "genart": "0", "recipe": "r", "seed": 0, "stage": "s", "device": "cpu", "torch": "2", "stages": [STAGE]}


def picture(path, meta):
    """A PNG with this metadata, as genart saves it."""
    save(Images.from_batches([Batch(torch.zeros(1, 3, 4, 4), [meta])]), path, ORIGIN)
    return path


def test_cells_of_a_sheet_are_keys(tmp_path):
    sheet = draw(tmp_path, latent_grid, count=6)
    cells = metas(sheet)[0]["cells"]
    film = draw(tmp_path, latent_walk, keys_from="sheet", cells=[4, 1], sides={"sheet": sheet}, frames=4)
    assert [meta["seed"] for meta in metas(film)] == [cells[4]["seed"]] * 2 + [cells[1]["seed"]] * 2
    file = picture(tmp_path / "sheet.png", {"cells": cells})
    again = draw(tmp_path, latent_walk, keys_from=str(file), cells=[4, 1], frames=4)
    assert (again.array() == film.array()).all()
    with pytest.raises(UsageError, match="no cell 6: there are 6, from 0 to 5"):
        draw(tmp_path, latent_walk, keys_from=str(file), cells=[6, 1])
    with pytest.raises(UsageError, match="at least 2 keys"):
        draw(tmp_path, latent_walk, keys_from=str(file), cells=[3])


def test_pictures_of_a_folder_are_keys_of_their_own_classes(tmp_path):
    (tmp_path / "picked").mkdir()
    for i, (seed, label) in enumerate([(5, "rose"), (6, "iris")]):
        picture(tmp_path / "picked" / f"{i}.png", {"seed": seed, "label": label})
    film = draw(tmp_path, latent_walk, "kinds", keys_from=str(tmp_path / "picked"), frames=4)
    assert [(meta["seed"], meta["label"], meta["to_label"]) for meta in metas(film)][::2] == [(5, "rose", "iris"), (6, "iris", "rose")]


def test_latents_of_projected_pictures_are_keys(tmp_path):
    for i in range(2):
        picture(tmp_path / f"{i}.png", {"latent": [float(i)] * 5, "space": "w"})
    at = course(tmp_path, "styled", {"keys_from": str(tmp_path)}, frames=4)
    assert torch.equal(at(0).point, torch.zeros(5))
    assert torch.equal(at(2).point, torch.ones(5))
    assert (at(0).meta["picture"], at(0).meta["to_picture"]) == (0, 1)
    with pytest.raises(DataError, match="a key is a style"):
        draw(tmp_path, latent_walk, "styled", keys_from=str(tmp_path), space="z")
    with pytest.raises(DataError, match="does not fit the model"):
        draw(tmp_path, latent_walk, "styled", keys_from=str(picture(tmp_path / "2.png", {"cells": [{"latent": [1.0, 2.0]}] * 2})))


@pytest.mark.parametrize("meta", [{"source": "cat", "box": [0, 0, 4, 4]}, {"palette": "ink"}])
def test_seeds_that_are_not_of_latents_are_refused(tmp_path, meta):
    for i in range(2):
        picture(tmp_path / f"{i}.png", {"seed": i, **meta})
    with pytest.raises(DataError, match="picture 0 was not drawn by a model") as caught:
        draw(tmp_path, latent_walk, keys_from=str(tmp_path))
    assert "latent.project" in caught.value.hint
    for i in range(2):  # what a projection kept of its photograph does not matter
        picture(tmp_path / f"{i}.png", {"latent": [float(i)] * 6, "space": "z", "source": "cat"})
    assert draw(tmp_path, latent_walk, keys_from=str(tmp_path), frames=2).count == 2


@pytest.mark.parametrize("kind", ["plain", "styled"])
@pytest.mark.parametrize("more", [{}, {"interpolation": "circle", "radius": 0.5}])
def test_a_walk_passes_the_pictures_of_a_truncated_sheet(tmp_path, kind, more):
    sheet = draw(tmp_path, latent_grid, kind, count=4, truncation_psi=0.5)
    cells = metas(sheet)[0]["cells"]
    assert {cell["truncation_psi"] for cell in cells} == {0.5}
    params = {"keys_from": "sheet", "sides": {"sheet": sheet}, "frames": 4, **more}
    seeds = [cell["seed"] for cell in cells]
    told = draw(tmp_path, latent_walk, kind, seeds=seeds, truncation_psi=0.5, frames=4, **more)
    assert (draw(tmp_path, latent_walk, kind, **params).array() == told.array()).all()
    if not more:
        samples = draw(tmp_path, latent_sample, kind, seeds=seeds, truncation_psi=0.5)
        assert (abs(told.array().astype(int) - samples.array()) <= 1).all()
        assert "truncation_psi" not in metas(draw(tmp_path, latent_sample, kind, count=1))[0]


def test_another_truncation_than_the_keys_have_is_warned_of(tmp_path):
    sheet = draw(tmp_path, latent_grid, count=4, truncation_psi=0.5)
    run = run_for(tmp_path, sides={"sheet": sheet})
    values = resolve(latent_walk.params, "latent.walk", {"keys_from": "sheet", "truncation_psi": 0.8})
    course_of(model(), values, run)
    assert run.warnings == ["pictures of `keys_from` were drawn with truncation_psi = 0.5: with 0.8 the walk passes others"]
    for params in ({}, {"cells": [1], "interpolation": "circle"}):  # of which two keys are new
        run = run_for(tmp_path, sides={"sheet": sheet})
        course_of(model(), resolve(latent_walk.params, "latent.walk", {"keys_from": "sheet", **params}), run)
        assert run.warnings == []


@pytest.mark.parametrize("psi", ["x", 0, 3.0, True])
def test_a_forged_truncation_is_refused(tmp_path, psi):
    for i in range(2):
        picture(tmp_path / f"{i}.png", {"seed": i, "truncation_psi": psi})
    with pytest.raises(DataError, match="truncation_psi"):
        draw(tmp_path, latent_walk, keys_from=str(tmp_path))


def test_a_loop_that_never_sees_its_key_does_not_name_it(tmp_path):
    whole = course(tmp_path, "plain", {"interpolation": "noise", "seeds": [9]})
    other = course(tmp_path, "plain", {"interpolation": "noise", "seeds": [8]})
    assert torch.equal(whole(3).point, other(3).point)
    assert whole(3).meta == {"frame": 3}
    near = course(tmp_path, "plain", {"interpolation": "noise", "seeds": [9], "radius": 0.5})
    assert near(3).meta == {"frame": 3, "seed": 9}


@pytest.mark.parametrize(
    "meta",
    [{}, {"seed": -1}, {"seed": "7"}, {"seed": True}, {"seed": 1 << 63}, {"seed": 7, "frame": 3}, {"latent": "x"}, {"latent": [[1.0]]}],
)
def test_forged_metadata_are_refused(tmp_path, meta):
    for i in range(2):
        picture(tmp_path / f"{i}.png", meta)
    with pytest.raises(DataError):
        draw(tmp_path, latent_walk, keys_from=str(tmp_path))


def test_a_picture_that_was_packed_anew_is_still_a_key(tmp_path):
    for i in range(2):
        file = picture(tmp_path / f"{i}.png", {"seed": i})
        with Image.open(file) as image:
            text = PngInfo()
            text.add_itxt("genart", image.text["genart"])
            image.resize((2, 2)).save(file, pnginfo=text)
    assert [meta["seed"] for meta in metas(draw(tmp_path, latent_walk, keys_from=str(tmp_path), frames=4))] == [0, 0, 1, 1]


def test_changed_metadata_are_refused(tmp_path):
    file = picture(tmp_path / "0.png", {"seed": 3})
    with Image.open(file) as image:
        text = PngInfo()
        text.add_itxt("genart", image.text["genart"].replace('"seed":3', '"seed":4'))
        image.save(file, pnginfo=text)
    with pytest.raises(DataError, match="was changed after it was written"):
        draw(tmp_path, latent_walk, keys_from=str(tmp_path))


def test_pictures_without_metadata_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "bare.png")
    with pytest.raises(DataError, match=r"bare\.png does not tell what it was drawn from"):
        draw(tmp_path, latent_walk, keys_from=str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture in this folder"):
        draw(tmp_path, latent_walk, keys_from=str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"interpolation": "circle", "loop": False}, "interpolation"),
        ({"keys_from": "a.png", "seeds": [1, 2]}, "keys_from"),
        ({"cells": [1, 2]}, "cells"),
        ({"mix_layers": [3, 1]}, "mix_layers"),
        ({"mix_layers": [1, 3], "space": "z"}, "mix_layers"),
        ({"mix_seed": 3}, "mix_seed"),
        ({"class": "a", "classes": ["a", "b"]}, "class"),
        ({"radius": 0.5}, "radius"),
        ({"radius": 0.5, "interpolation": "spline"}, "radius"),
        ({"easing": "linear", "interpolation": "circle"}, "easing"),
        ({"direction": 0, "hold": 0.5}, "direction"),
        ({"direction": 0, "interpolation": "lerp"}, "direction"),
        ({"direction": 0, "interpolation": "circle"}, "direction"),
        ({"direction": 0, "easing": "linear"}, "direction"),
        ({"strength": 2.0}, "strength"),
        ({"method": "pca"}, "method"),
    ],
)
def test_parameters_that_do_not_go_together(params, name):
    with pytest.raises(ParamProblem) as problem:
        resolve(latent_walk.params, "latent.walk", params)
    assert problem.value.name == name


@pytest.mark.parametrize(
    "params",
    [
        {"direction": 0, "easing": "linear", "loop": False, "strength": 2.0, "method": "pca"},
        {"interpolation": "noise", "radius": 0.5},
        {"interpolation": "spline", "easing": "smooth", "hold": 0.5},
    ],
)
def test_parameters_that_go_together(params):
    values = resolve(latent_walk.params, "latent.walk", params)
    told = {name: value for name, value in values.model_dump(mode="json").items() if value is not None}
    assert resolve(latent_walk.params, "latent.walk", told) == values, "what a file tells of them can be made again"


# sheets and directions


def test_a_grid_shows_the_samples_and_knows_their_seeds(tmp_path):
    sheet = draw(tmp_path, latent_grid, count=6, columns=3, gap=2)
    samples = draw(tmp_path, latent_sample, count=6).array()
    assert sheet.array().shape == (1, 2 * 50 + 2, 3 * 50 + 2, 3)
    assert (sheet.array()[0, 52 : 52 + SIDE, 2 : 2 + SIDE] == samples[3]).all()
    meta = metas(sheet)[0]
    assert [cell["cell"] for cell in meta["cells"]] == list(range(6))
    again = draw(tmp_path, latent_sample, seeds=[meta["cells"][3]["seed"]]).array()
    assert (again[0] == samples[3]).all()


def test_a_grid_writes_what_it_is_asked_to(tmp_path):
    plain, cells, seeds = (draw(tmp_path, latent_grid, "kinds", count=4, label=label).array() for label in (None, "cell", "class"))
    assert cells.shape[1] > plain.shape[1]
    assert (cells != seeds).any()


def test_directions_are_the_models_own(tmp_path):
    strips = draw(tmp_path, latent_directions, count=3, steps=5, latent_seed=1)
    again = draw(tmp_path, latent_directions, count=2, steps=5, latent_seed=1)
    assert (strips.array()[:10] == again.array()).all()
    middle = draw(tmp_path, latent_sample, seeds=[metas(strips)[0]["seed"]]).array()[0]
    assert (strips.array()[[2, 7, 12]] == middle).all()
    assert metas(strips)[0]["seed"] == 1
    assert [meta["offset"] for meta in metas(strips)[:5]] == [-3.0, -1.5, 0.0, 1.5, 3.0]
    with pytest.raises(UsageError, match="has 6 directions, not 7"):
        draw(tmp_path, latent_directions, count=7)


def test_principal_directions_of_styles_come_in_the_order_of_their_spread(tmp_path):
    strips = draw(tmp_path, latent_directions, "styled", count=5, method="pca", strength=0.5).array().astype(int)
    change = [abs(strips[7 * k] - strips[7 * k + 6]).mean() for k in range(5)]
    assert change[0] > change[-1]


def test_styles_are_changed_by_sefa_about_their_latent(tmp_path):
    strips = draw(tmp_path, latent_directions, "styled", count=5, method="sefa", latent_seed=1)
    middle = draw(tmp_path, latent_sample, "styled", seeds=[metas(strips)[0]["seed"]]).array()[0]
    assert (abs(strips.array()[3::7].astype(int) - middle) <= 1).all()
    assert (strips.array()[0] != strips.array()[6]).any()
