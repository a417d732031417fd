"""What all families share, by way of the smallest of them."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images, Model
from genart.errors import DataError
from genart.nn import family, metrics, quality
from genart.nn.rebuild import BESIDE, rebuild
from genart.testing import run_stage, tiny_images
from genart_dcgan import dcgan_train
from genart_dcgan.networks import Generator
from genart_latent import latent_sample, latent_walk
from genart_msggan import msggan_train
from genart_msggan.networks import Generator as Msggan
from genart_progan import progan_train
from genart_progan.networks import Generator as Progan
from genart_stylegan import stylegan_train
from genart_stylegan.networks import Generator as Stylegan

TINY = {"width": 4, "batch_size": 8, "kimg": 0.08, "precision": "fp32", "evaluations": 0}


def labelled(names, size=16, seed=0):
    pictures = torch.rand(len(names), 3, size, size, generator=torch.Generator().manual_seed(seed))
    return Images.from_batches([Batch(pictures, [{"label": name} if name else {} for name in names])])


def train(work, given=None, observer=None, **params):
    return run_stage(dcgan_train, given or tiny_images(12), work=work, observer=observer, **{**TINY, **params})["output"]


def weights(model):
    return {name: value for name, value in load_file(model.path).items() if not name.startswith(BESIDE)}


# classes


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    return train(tmp_path_factory.mktemp("conditional"), labelled(["tulip", "rose"] * 8))


def rebuilt(model, device):
    return rebuild(Generator, model, device)


def draw(stage, model, work, **params):
    images = run_stage(stage, model, work=work, rebuild=rebuilt, **params)["output"]
    return images.array(), [meta for batch in images for meta in batch.meta]


def test_class_folders_make_a_conditional_model(conditional):
    assert conditional.header["classes"] == ["rose", "tulip"]
    assert conditional.header["parameters"]["classes"] == 2
    assert train_is_unconditional(conditional) is False


def train_is_unconditional(model):
    return "classes.weight" not in weights(model)


def test_a_class_can_be_asked_for(conditional, tmp_path):
    roses, meta = draw(latent_sample, conditional, tmp_path / "a", count=6, **{"class": "rose"})
    tulips, _ = draw(latent_sample, conditional, tmp_path / "b", count=6, **{"class": "tulip"})
    assert {m["label"] for m in meta} == {"rose"}
    assert (roses != tulips).any()
    any_kind, meta = draw(latent_sample, conditional, tmp_path / "c", count=40)
    assert {m["label"] for m in meta} == {"rose", "tulip"}
    first_tulip = next(i for i, m in enumerate(meta[:6]) if m["label"] == "tulip")
    assert (any_kind[first_tulip] == tulips[first_tulip]).all(), "the same seed and class give the same picture"
    _, meta = draw(latent_walk, conditional, tmp_path / "d", frames=5, keys=2, **{"class": "tulip"})
    assert {m["label"] for m in meta} == {"tulip"}


def test_a_class_that_is_not_there(conditional, tmp_path):
    with pytest.raises(DataError, match="no class 'tulp'; did you mean 'tulip'") as caught:
        draw(latent_sample, conditional, tmp_path, **{"class": "tulp"})
    assert "rose, tulip" in caught.value.hint
    plain = train(tmp_path / "plain")
    with pytest.raises(DataError, match="has no class 'tulip'") as caught:
        draw(latent_sample, plain, tmp_path / "x", **{"class": "tulip"})
    assert "without class folders" in caught.value.hint


@pytest.mark.parametrize("names", [["rose"] * 12, ["rose", "tulip", None] * 4, [None] * 12], ids=["one", "some", "none"])
def test_pictures_that_make_no_classes(tmp_path, names):
    warnings = []
    model = train(tmp_path, labelled(names), observer=lambda e: warnings.append(e["message"]) if e["event"] == "warning" else None)
    assert train_is_unconditional(model)
    assert bool(warnings) == (len(set(names)) == 3)
    assert not warnings or "4 of 12 pictures are in no class folder" in warnings[0]


# sizes


@pytest.mark.parametrize(("size", "told"), [(14, 1), (16, 0), (20, 0)])
def test_that_pictures_are_enlarged_is_told_and_what_to_do(size, told, tmp_path):
    warnings = []
    given = Images.from_batches([Batch(torch.rand(12, 3, size, size, generator=torch.Generator().manual_seed(0)))])
    train(tmp_path, given, observer=lambda e: warnings.append(e["message"]) if e["event"] == "warning" else None, resolution=16)
    assert [text.partition(", and a GAN")[0] for text in warnings] == ["the pictures, of 14x14 pixels, are enlarged to 16"] * told
    assert all('fit = "pad"' in text for text in warnings)


# going on from a model


def test_init_begins_where_the_other_ended(tmp_path):
    first = train(tmp_path / "a")
    again = train(tmp_path / "b", init=str(first.path), lr_G=1e-9, lr_D=1e-9)
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(again)[name], value, atol=1e-5, rtol=0) if "norms" not in name else None
    other = {name: value for name, value in load_file(first.path).items() if name.startswith(BESIDE)}
    assert other, "D is in the file too"
    kept = load_file(again.path)
    assert all(torch.allclose(kept[name], value, atol=1e-4) for name, value in other.items())
    assert any(not torch.equal(weights(train(tmp_path / "c", init=str(first.path)))[name], value) for name, value in weights(first).items())


def test_init_decides_width_and_z_dim(tmp_path):
    first = train(tmp_path / "a", width=8, z_dim=5)
    events = []
    again = train(tmp_path / "b", observer=events.append, init=str(first.path), z_dim=5)  # and the width of TINY
    assert again.header["parameters"] == first.header["parameters"]
    told = [event["message"] for event in events if event["event"] == "warning"]
    assert told == ["init keeps what it was made with: width = 8, not 4"]


def test_the_model_that_is_saved_draws_without_D(tmp_path):
    model = train(tmp_path)
    G = rebuilt(model, "cpu")
    assert not any(name.startswith("beside") for name in G.state_dict())


def test_inits_that_do_not_fit(tmp_path, conditional):
    first = train(tmp_path / "a")
    with pytest.raises(DataError, match="draws 16 px, and the pictures are 32 px"):
        train(tmp_path / "b", tiny_images(12, 32), init=str(first.path))
    with pytest.raises(DataError, match="knows 2 classes, and the pictures have none"):
        train(tmp_path / "c", init=str(conditional.path))
    other = run_stage_file(first, tmp_path / "other.safetensors", family="elsewhere")
    with pytest.raises(DataError, match="family 'elsewhere', not 'dcgan'"):
        train(tmp_path / "d", init=str(other))
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a genart model"):
        train(tmp_path / "e", init=str(tmp_path / "junk.safetensors"))


def run_stage_file(model, path, **changes):
    from safetensors.torch import save_file

    save_file(load_file(model.path), path, {"genart": json.dumps({"model": {**model.header, **changes}})})
    return path


BOUNDED = {
    "msggan": (msggan_train, Msggan, lambda G, z: G.scales(z)[0]),
    "progan": (progan_train, Progan, lambda G, z: G.draw(z)),
    "stylegan": (stylegan_train, Stylegan, lambda G, z: G.synthesis(G.mapping(z))),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_pictures_are_bounded_and_a_model_of_before_they_were_draws_and_learns_as_it_did(tmp_path, name):
    stage, module, drawn = BOUNDED[name]
    model = run_stage(stage, tiny_images(12), work=tmp_path / "a", **TINY)["output"]
    before = {key: value for key, value in model.header["parameters"].items() if key != "bounded"}
    assert model.header["parameters"] == before | {"bounded": True}
    older = run_stage_file(model, tmp_path / "older.safetensors", parameters=before)
    z = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        unbounded = drawn(rebuild(module, Model.open(older), "cpu"), z)
        torch.testing.assert_close(rebuild(module, model, "cpu")(z), unbounded.tanh())
    further = run_stage(stage, tiny_images(12), work=tmp_path / "b", init=str(older), **TINY)["output"]
    assert further.header["parameters"] == before


# the plan


def test_laziness_follows_what_penalties_cost(tmp_path, monkeypatch):
    """A penalty that doubles the cost of a step is taken each so-manieth step, so that it costs a fifth at most."""
    monkeypatch.setattr(family.Fitting, "step_sec", lambda self, nimg, seconds, *, penalised: 2.0 if penalised else 1.0)
    fitting = family.Fitting.__new__(family.Fitting)

    class Trainer:
        penalised = True

        def probes(self, total):
            return [(0.5, 0), (0.5, total)]

    class Any:
        def trainer(self, setup):
            return Trainer()

    fitting.family, fitting.setup = Any(), family.Setup(None, None, None, {})
    fitting.lead = family.Lead(SimpleNamespace(team=None))
    costs, every = fitting.costs({"penalty_every": 1, "total_nimg": 10}, 1.0, free_laziness=True)
    assert (costs, every) == ([(0.5, 1.125), (0.5, 1.125)], 8)
    costs, every = fitting.costs({"penalty_every": 2, "total_nimg": 10}, 1.0, free_laziness=False)
    assert (costs, every) == ([(0.5, 1.5), (0.5, 1.5)], 2)


@pytest.mark.parametrize(("fastest_px", "chosen"), [(16, 16), (32, 32), (256, 64)])
def test_a_free_resolution_is_the_largest_that_the_budget_allows(tmp_path, monkeypatch, fastest_px, chosen):
    """Steps are fast up to some resolution; the pictures have 70 px."""

    def step_sec(self, nimg, seconds, *, penalised):
        return 1e-7 if self.setup.resolution <= fastest_px else 1e3

    monkeypatch.setattr(family.Fitting, "step_sec", step_sec)
    model = train(tmp_path, tiny_images(12, 70), resolution="auto", budget="1h")
    assert model.header["resolution"] == chosen
    assert json.loads((tmp_path / "choices.json").read_text())["resolution"] == chosen


def test_a_free_resolution_without_a_budget_is_that_of_the_pictures(tmp_path):
    assert train(tmp_path / "a", tiny_images(12, 40), resolution="auto").header["resolution"] == 32
    small = train(tmp_path / "b", tiny_images(12, 20), resolution="auto")
    assert small.header["resolution"] == 16
    again = train(tmp_path / "c", tiny_images(12, 40), resolution="auto", init=str(small.path))
    assert again.header["resolution"] == 16, "a model that is trained further decides"


def test_loading_the_backbone_is_no_part_of_what_a_measurement_takes(monkeypatch):
    told = []
    run = SimpleNamespace(device="cpu", generator=lambda _: torch.Generator(), backbone=lambda _: told.append("loaded"))
    trainer = SimpleNamespace(G=SimpleNamespace(z_dim=2), settled=lambda few, *_: torch.zeros(len(few), 3, 8, 8))
    monkeypatch.setattr(metrics, "embed", lambda *_, **options: told.append("measured"))
    monkeypatch.setattr(quality, "time", SimpleNamespace(perf_counter=lambda: told.append("clock") or 0.0))
    quality.Quality(run, range(5)).seconds(trainer)
    assert told[told.index("clock") :] == ["clock", "measured", "clock"]
    assert "loaded" in told


def test_quality_is_measured_and_the_curves_are_drawn(tmp_path):
    events = []
    outputs = run_stage(dcgan_train, tiny_images(12, 32), work=tmp_path, observer=events.append, **{**TINY, "evaluations": 2})
    measured = [entry for entry in outputs["output"].header["history"] if "kid" in entry]
    assert [entry["kimg"] for entry in measured] == [0.04, 0.08]
    assert [event["kid"] for event in events if "kid" in event] == pytest.approx([entry["kid"] for entry in measured], abs=1e-4)
    assert outputs["plot"].array().shape == (1, 720, 960, 3)
    assert len({tuple(colour) for colour in outputs["plot"].array()[0, ::7, ::7].reshape(-1, 3).tolist()}) > 3
    assert outputs["nearest"].array().shape[1:] == (6 * 34 + 2, 6 * 34 + 2, 3)
