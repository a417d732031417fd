import contextlib
import json

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images
from genart.nn import ema, gan, losses, quality
from genart.nn.data import RealBatch
from genart.nn.players import Penalties, Players, Rules
from genart.nn.rebuild import rebuild
from genart.run import Checkpoints
from genart_progan import progan_train
from genart_progan.networks import Discriminator, Generator
from genart_progan.train import Growth
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

TINY = {"width": 4, "batch_size": 8, "kimg": 0.32, "precision": "fp32"}  # 40 steps: 5 at 4 px, 5 at 8 px, 30 at 16 px


def attempt(work, given=None, **options):
    """Train in `work`; returns the model."""
    return trainings.attempt(progan_train, work, given, **{**TINY, **options})[0]


def growth(resolution=32, *, total_nimg=9000, start=0.0, loss="wgan", **options):
    G, D = Generator(resolution, 2, 8), Discriminator(resolution, 2)
    return Growth(G, D, losses.named(loss), Penalties(gp_lambda=10.0), total_nimg=total_nimg, start=start, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def test_the_schedule_grows_from_4_px_to_all():
    game = growth()  # a ninth at 4, 8 and 16 px each, and the rest at 32 px
    assert [game.place(nimg) for nimg in (0, 999, 1000, 1250, 1500, 1999, 2250, 3250, 3500, 9000, 9500)] == [
        *(0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.5, 2.5, 3.0, 3.0, 3.0)
    ]
    places = [game.place(nimg) for nimg in range(0, 9001, 7)]
    assert places == sorted(places)
    assert all(float(torch.tensor(place)) == place for place in places), "float32 holds each exactly"
    assert [growth(fade=0.0).place(nimg) for nimg in (999, 1000, 3000)] == [0.0, 1.0, 3.0]
    assert [growth(fade=1.0).place(nimg) for nimg in (1500, 3500, 4000)] == [0.5, 2.5, 3.0]


def test_what_is_measured_for_a_budget_stands_for_the_whole():
    probes = growth().probes(9000)
    assert probes == [(1 / 9, 250), (1 / 9, 1250), (1 / 9, 2250), (6 / 9, 6000)]
    assert [growth().size(nimg) for _, nimg in probes] == [4, 8, 16, 32]


def test_a_model_that_goes_on_does_not_shrink():
    assert growth(start=3.0).place(0) == 3.0
    half = growth(start=1.5)
    assert [half.place(nimg) for nimg in (0, 300, 9000)] == [1.5, 1.5, 3.0]
    assert sum(share for share, _ in half.probes(9000)) == pytest.approx(1)


def test_finer_levels_have_smaller_batches():
    game = growth(256, total_nimg=12_000)
    assert [game.batch_size(nimg, 32) for nimg in (0, 4500, 5999, 7000)] == [32, 32, 16, 8]
    assert game.batch_size(7000, 8) == 4
    assert game.batch_size(7000, 3) == 3


def test_levels_and_fade_ins_are_phases_of_their_own():
    game = growth()
    nimgs = (0, 999, 1001, 1499, 1500, 1999, 2250, 2500, 3250, 3500, 9000)
    assert [game.phase(nimg) for nimg in nimgs] == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6]
    assert growth(start=3.0).phase(0) == 6


def test_a_state_of_an_earlier_level_is_no_result(tmp_path, monkeypatch):
    """However near to the real ones its small pictures were: the whole network is the result, and of its states the best."""
    kids = iter([0.1, 0.1, 0.2, 0.9, 0.9, 0.6, 0.9, 0.5, 0.8, 0.7])
    monkeypatch.setattr(quality.Quality, "measure", lambda self, trainer: {"kid": next(kids), "recall": 0.0})
    monkeypatch.setattr(quality.Quality, "copied_share", lambda self, trainer: 0.0)
    model = attempt(tmp_path, evaluations=10)
    measured = [entry for entry in model.header["history"] if "kid" in entry]
    assert next(kids, None) is None, "each was asked for"
    kept = [act["message"] for act in model.header["trained"]["watchdog"] if act["act"] == "kept the best"]
    assert kept == [f"the result is the state of {measured[7]['kimg']:.1f} kimg, whose KID was the best"]
    assert float(load_file(model.path)["place"]) == 2.0


def test_real_pictures_are_those_of_the_level():
    game = growth()
    real = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    means = real.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5))
    game.schedule((game.G, game.D), 2500)
    assert (game.generator.level, game.generator.alpha) == (2, 1.0)
    torch.testing.assert_close(game.real(real)[0], means)
    game.schedule((game.G, game.D), 2250)
    blocks = means.unflatten(2, (8, 2)).unflatten(4, (8, 2))
    torch.testing.assert_close(game.real(real)[0], (0.5 * blocks + 0.5 * blocks.mean((3, 5), keepdim=True)).flatten(4, 5).flatten(2, 3))
    game.schedule((game.G, game.D), 9000)
    assert game.real(real)[0] is real


def test_a_training_gives_a_model_that_can_be_rebuilt(tmp_path):
    model = attempt(tmp_path)
    assert model.family == "progan"
    assert model.header["trained"]["nimg"] == 320
    assert len(model.header["history"]) == 40
    G = rebuild(Generator, model, "cpu")
    assert (G.level, G.alpha) == (2, 1.0)
    assert G(torch.randn(3, 64, generator=torch.Generator().manual_seed(0))).shape == (3, 3, 16, 16)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


@pytest.mark.parametrize(("every", "kills"), [(1, (8,)), (1, (6, 6)), (3, (12, 4)), (100, (12,))])
def test_after_kills_within_a_fade_in_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, whole, every, kills):
    turns = []
    monkeypatch.setattr(Checkpoints, "due", lambda self: turns.append(1) or len(turns) % every == 0)
    for step in kills:
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                attempt(tmp_path)
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


def test_a_deadline_within_the_growth_draws_what_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(gan.Training, "elapsed_sec", property(lambda self: 0.0 if self.log.nimg < 56 else 1e6))
    model = attempt(tmp_path, budget="1h", evaluations=0)
    stopped = json.loads((tmp_path / "choices.json").read_text())["ended_at"]
    assert stopped == 56, "while 8 px fade in, from 40 to 60"
    G = rebuild(Generator, model, "cpu")
    assert G.level == 1
    assert G.alpha == pytest.approx((stopped - 40) / 20, abs=1e-3)
    images = G(torch.randn(2, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(images, images[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert [bool(layer.bias.any()) for layer in G.to_rgb] == [True, True, False], "16 px had not begun to learn"


def test_a_model_that_is_trained_further_goes_on_full_grown(tmp_path):
    model = attempt(tmp_path / "first")
    further = attempt(tmp_path / "further", init=str(model.path), kimg=0.016)
    assert float(load_file(further.path)["place"]) == 2
    last, first = ((tmp_path / name / "outputs" / "progress" / "pixels.bin").read_bytes() for name in ("first", "further"))
    side = 6 * 16 + 7 * 2
    assert first[: side * side * 3] == last[-side * side * 3 :], "the same latents give the same pictures"


def test_pictures_of_two_classes(tmp_path):
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pictures[4:] /= 2
    given = Images.from_batches([Batch(pictures, [{"label": "light" if i < 4 else "dark"} for i in range(8)])])
    model = attempt(tmp_path, given)
    assert model.header["classes"] == ["dark", "light"]
    G = rebuild(Generator, model, "cpu")
    z = torch.ones(2, 64)
    assert float((G(z, torch.tensor([0, 0])) - G(z, torch.tensor([0, 1]))).abs().max()) > 1e-4


def test_mixed_precision_and_every_penalty(tmp_path):
    model = attempt(tmp_path, precision="bf16", loss="wgan", r1_gamma=1.0, r2_gamma=1.0, gp_lambda=1.0, augment="always")
    assert all(bool(torch.isfinite(value).all()) for value in load_file(model.path).values())


@pytest.mark.parametrize("nimg", [0, 3250, 9000])
def test_a_training_step_stays_on_the_device(monkeypatch, nimg):
    monkeypatch.setattr(Players, "autocast", lambda self: contextlib.nullcontext())  # there is none for the meta device
    players = Players(growth(), Rules(batch_size=4), "meta")
    players.schedule(nimg)
    told = players.step(0, RealBatch(torch.randn(4, 3, 32, 32, device="meta")), torch.randn(4, 8, device="meta"), torch.Generator())
    ema.update(players.G_ema, players.G, 0.5)
    drawn = players.G_ema.eval()(torch.randn(4, 8, device="meta"))
    assert {tensor.device.type for tensor in (told, drawn, *players.G_ema.state_dict().values())} == {"meta"}
    assert drawn.shape == (4, 3, 32, 32)


def test_a_penalty_weighs_as_it_does_on_the_finest_pictures():
    """The gradient of what D says of a picture reduced f-fold is f times as long: so its square has f² times less weight."""
    game = growth()
    scales = []
    for nimg in (0, 1500, 2500, 9000):
        game.schedule((game.G, game.D), nimg)
        scales.append(game.penalty_scale())
    assert scales == [1 / 64, 1 / 16, 1 / 4, 1.0]
