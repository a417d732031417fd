import contextlib

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images
from genart.nn import ema, latent, losses
from genart.nn.data import RealBatch
from genart.nn.layers import seeded
from genart.nn.players import Penalties, Players, Rules
from genart.nn.rebuild import rebuild
from genart.run import Checkpoints
from genart_stylegan import stylegan_train
from genart_stylegan.networks import Discriminator, Generator
from genart_stylegan.train import Styled
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

TINY = {"width": 4, "batch_size": 8, "kimg": 0.16, "precision": "fp32", "evaluations": 0, "noise": True}  # 20 steps


def attempt(work, given=None, **options):
    """Train in `work`; returns the model."""
    return trainings.attempt(stylegan_train, work, given, **{**TINY, **options})[0]


def game(**options):
    G, D = seeded(lambda: (Generator(16, 4, 8, w_dim=6), Discriminator(16, 4)), torch.Generator().manual_seed(0))
    return Styled(G, D, losses.named("relativistic_paired"), Penalties(r1_gamma=0.1, r2_gamma=0.1), **options)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def test_a_training_gives_a_model_that_can_be_rebuilt_and_truncated(tmp_path):
    model = attempt(tmp_path)
    assert model.family == "stylegan"
    assert model.header["trained"]["nimg"] == 160
    G = rebuild(Generator, model, "cpu")
    z = normal(3, 64)
    typical, plain, mean = (latent.pictures(G, z, 4, truncation_psi=psi) for psi in (0.5, 1.0, 1e-6))
    assert typical.shape == (3, 3, 16, 16)
    assert float((typical - plain).abs().max()) > 1e-4
    torch.testing.assert_close(mean[0], mean[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(G.mean_w, G.mapping(normal(4096, 64)).mean(0), atol=0.2, rtol=0.2)
    assert float(G.mean_w.abs().max()) > 0.25, "the mean style comes with the model"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


@pytest.mark.parametrize(("every", "kills"), [(1, (8,)), (3, (14, 4)), (100, (12,))])
def test_after_kills_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, whole, every, kills):
    turns = []
    monkeypatch.setattr(Checkpoints, "due", lambda self: turns.append(1) or len(turns) % every == 0)
    for step in kills:
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                attempt(tmp_path)
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


def test_a_share_of_the_pictures_has_two_styles():
    mixing = game(style_mixing=0.25)
    G, z = mixing.generator, normal(400, 8)
    with torch.no_grad():
        ws, w = mixing.mixed(z, None, torch.Generator().manual_seed(1)), G.mapping(z)
    own = (ws == w[:, None]).all(2)
    assert ws.shape == (400, G.layers, 6)
    assert bool(own[:, 0].all()), "the coarsest layer keeps the style of z"
    assert bool((own[:, 1:] <= own[:, :-1]).all()), "from one layer on it is the other's"
    assert float((~own[:, -1]).float().mean()) == pytest.approx(0.25, abs=0.06)
    crossovers = own.sum(1)[~own[:, -1]]
    assert set(crossovers.tolist()) == set(range(1, G.layers))
    for i in (~own[:, -1]).nonzero().flatten().tolist()[:5]:
        assert bool((ws[i, ~own[i]] == ws[i, -1]).all()), "one other style, not several"


@torch.no_grad()
def test_what_is_random_in_training_comes_from_the_generator_alone():
    styled = game()
    styled.generator.conv.noise_strength.fill_(1.0)
    (a,), (b,), (c,) = (styled.generate(normal(4, 8), None, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    plain = game(style_mixing=0.0)
    (drawn,) = plain.generate(normal(4, 8), None, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.clamp(-1, 1), plain.G(normal(4, 8)))


def test_every_parameter_of_both_learns():
    players = Players(game(style_mixing=1.0), Rules(8, 1e-3, 1e-3, (0.0, 0.99)), "cpu")
    before = [{name: value.detach().clone() for name, value in net.named_parameters()} for net in (players.G, players.D)]
    for step in range(2):
        told = players.step(step, RealBatch(normal(8, 3, 16, 16)), normal(8, 8, seed=step), torch.Generator().manual_seed(step))
    assert bool(torch.isfinite(told).all())
    still = [
        name
        for net, old in zip((players.G, players.D), before, strict=True)
        for name, value in net.named_parameters()
        if torch.equal(value, old[name])
    ]
    assert still == ["to_logit.bias"], "a relativistic loss does not see what is added to every answer"


def test_a_model_that_is_trained_further_keeps_its_shape(tmp_path):
    model = attempt(tmp_path / "first", mapping_layers=3)
    further = attempt(tmp_path / "further", init=str(model.path), kimg=0.016)
    assert further.header["parameters"] == model.header["parameters"]
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


def test_mixed_precision_every_penalty_and_no_stddev(tmp_path):
    model = attempt(tmp_path, precision="bf16", gp_lambda=1.0, augment="always", minibatch_stddev=False, style_mixing=1.0)
    assert all(bool(torch.isfinite(value).all()) for value in load_file(model.path).values())


def test_a_training_step_stays_on_the_device(monkeypatch):
    monkeypatch.setattr(Players, "autocast", lambda self: contextlib.nullcontext())  # there is none for the meta device
    players = Players(game(), Rules(batch_size=4), "meta")
    told = players.step(0, RealBatch(torch.randn(4, 3, 16, 16, device="meta")), torch.randn(4, 8, device="meta"), torch.Generator())
    ema.update(players.G_ema, players.G, 0.5)
    ema.settle_statistics(players.G_ema, torch.randn(4, 8, device="meta"))
    drawn = players.G_ema(torch.randn(4, 8, device="meta"))
    assert {tensor.device.type for tensor in (told, drawn, *players.G_ema.state_dict().values())} == {"meta"}
    assert drawn.shape == (4, 3, 16, 16)
