import pytest
import torch

from genart.artifacts import Batch, Images
from genart.errors import DataError, Interrupted
from genart.nn.latent import latent
from genart.params import resolve
from genart_latent import latent_project, latent_sample, latent_walk

from .toys import NETS, draw, metas, model, run_for

PLAIN = {"model": "train", "iterations": 60, "starts": 2, "backbone": "eye"}


class Eye:
    """A backbone that sees the picture itself, halved at each layer."""

    layers = ("relu1_2", "relu2_2")

    def stride(self, layer):
        return 2 ** (int(layer[4]) - 1)

    def __call__(self, images, layers):
        return {layer: torch.nn.functional.avg_pool2d(images, self.stride(layer)) + 0.1 for layer in layers}


def run(work, kind="plain", **more):
    return run_for(work, sides={"train": model(kind)}, backbone=lambda name, device: Eye(), **more)


def project(work, pictures, kind="plain", *, stop_at=None, start=0, **params):
    made = run(work, kind, start=start)
    if stop_at is not None:

        def progress(done, total=None, **values):
            if done >= stop_at:
                made._stop.signal = 2

        made.progress = progress
    batches = latent_project(pictures, resolve(latent_project.params, "latent.project", {**PLAIN, **params}), made)
    return Images.from_batches(list(batches))


@pytest.mark.parametrize("kind", ["plain", "kinds", "styled"])
def test_a_drawn_picture_finds_its_latent_again(tmp_path, kind):
    pictures = draw(tmp_path / "a", latent_sample, kind, count=1)
    found = project(tmp_path / "b", pictures, kind, iterations=150, starts=4)
    error = abs(found.array().astype(int) - pictures.array()).mean()
    others = draw(tmp_path / "c", latent_sample, kind, count=8, seed=9).array().astype(int)
    # less than exactly: on the sphere of latents there is none of this one's length
    assert error < 0.7 * min(abs(other - pictures.array()[0]).mean() for other in others)
    meta = metas(found)[0]
    assert meta["space"] == ("w" if kind == "styled" else "z")
    assert len(meta["latent"]) == (5 if kind == "styled" else 6)
    if kind == "kinds":
        assert meta["label"] == metas(pictures)[0]["label"]


def test_what_is_found_is_drawn_by_a_walk_again(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, "styled", count=2)
    found = project(tmp_path / "b", pictures, "styled")
    film = draw(tmp_path / "c", latent_walk, "styled", keys_from="found", sides={"found": found}, frames=6)
    assert (abs(film.array()[[0, 3]].astype(int) - found.array()) <= 1).all()
    assert metas(film)[3]["picture"] == 1


def test_a_stopped_projection_goes_on_to_the_byte(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, count=1)
    whole = project(tmp_path / "b", pictures)
    with pytest.raises(Interrupted):
        project(tmp_path / "c", pictures, stop_at=0.5)
    rest = project(tmp_path / "c", pictures)
    assert metas(rest) == metas(whole)
    assert (rest.array() == whole.array()).all()


def test_a_picture_does_not_depend_on_the_others(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, count=3)
    whole = project(tmp_path / "b", pictures, iterations=10)
    alone = Images(lambda at, size: pictures.batches(size, start=max(at, 2)), count=3)
    assert metas(project(tmp_path / "c", alone, iterations=10, start=2)) == metas(whole)[2:]


def test_a_class_is_kept(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, "kinds", count=1)
    found = project(tmp_path / "b", pictures, "kinds", iterations=3, **{"class": "tulip"})
    assert metas(found)[0]["label"] == "tulip"
    with pytest.raises(DataError, match="no class 'tulips'"):
        project(tmp_path / "c", pictures, "kinds", **{"class": "tulips"})


def test_what_cannot_be_is_refused(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, count=1)
    with pytest.raises(DataError, match="needs a family with a space of styles"):
        project(tmp_path / "b", pictures, space="w")
    with pytest.raises(DataError, match=r"a budget of 1e-06 s is too small for 1 pictures"):
        project(tmp_path / "c", pictures, iterations=None, budget=1e-6)


def test_a_budget_is_remembered(tmp_path):
    pictures = draw(tmp_path / "a", latent_sample, count=1)
    first = run(tmp_path / "b")
    values = resolve(latent_project.params, "latent.project", {**PLAIN, "iterations": None, "budget": "1s"})
    one = Images.from_batches(list(latent_project(pictures, values, first)))
    assert first.choices["iterations"] >= 1
    again = Images.from_batches(list(latent_project(pictures, values, run(tmp_path / "b"))))
    assert metas(one) == metas(again)


class Clock:
    """Stands for the module `time`: each look at the clock takes as long as it is told to."""

    def __init__(self, seconds=0.0):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self):
        self.now += self.seconds
        return self.now


def in_time(work, pictures, clock, monkeypatch, start_up=0.0, **params):
    """Project with a budget by a clock of its own, on a machine whose steps take 0.01 s: (run, pictures)."""
    monkeypatch.setattr("genart_latent.project.time", clock)
    monkeypatch.setattr("genart.nn.budget.seconds_per_call", lambda *_: 0.01)

    def backbone(name, device):
        clock.now += start_up
        return Eye()

    made = run_for(work, sides={"train": model("plain")}, backbone=backbone)
    values = resolve(latent_project.params, "latent.project", {**PLAIN, "iterations": None, "budget": "1s", **params})
    return made, Images.from_batches(list(latent_project(pictures, values, made)))


def test_a_budget_counts_the_start_up_once(tmp_path, monkeypatch):
    pictures = draw(tmp_path / "a", latent_sample, count=3)
    made, _ = in_time(tmp_path / "b", pictures, Clock(), monkeypatch, start_up=0.3)
    assert made.choices["iterations"] == int((0.9 - 0.3) / 0.01 / 3 + 1e-6)


def test_a_late_projection_ends_in_time_and_is_followed_by_a_remake(tmp_path, monkeypatch):
    pictures = draw(tmp_path / "a", latent_sample, count=2)
    clock = Clock(seconds=0.02)
    made, late = in_time(tmp_path / "b", pictures, clock, monkeypatch)
    assert clock.now < 1.0
    done = [made.choices[f"iterations of picture {i}, done"] for i in range(2)]
    assert 5 < min(done) <= max(done) < made.choices["iterations"]
    for seconds in (0.0, 1.0):
        again, remade = in_time(tmp_path / "b", pictures, Clock(seconds), monkeypatch)
        assert metas(remade) == metas(late)
        assert again.choices == made.choices


def test_a_projection_in_time_does_all_its_iterations(tmp_path, monkeypatch):
    pictures = draw(tmp_path / "a", latent_sample, count=2)
    made, _ = in_time(tmp_path / "b", pictures, Clock(), monkeypatch)
    assert {made.choices[f"iterations of picture {i}, done"] for i in range(2)} == {made.choices["iterations"]} == {45}


class Encoder(NETS["plain"]):
    """One with an encoder."""

    def encode(self, images, known):
        return torch.linalg.lstsq(self.weight.T, torch.atanh(images.flatten(1).clamp(-0.99, 0.99)).T).solution.T, None


def test_a_family_with_an_encoder_encodes(tmp_path, monkeypatch):
    monkeypatch.setitem(NETS, "plain", Encoder)
    z = latent(6, 3)
    picture = torch.tanh(0.1 * z @ Encoder().weight).view(1, 3, 48, 48) * 0.5 + 0.5
    found = project(tmp_path, Images.from_batches([Batch(picture)]))
    assert torch.allclose(torch.tensor(metas(found)[0]["latent"]), 0.1 * z, atol=0.02)
