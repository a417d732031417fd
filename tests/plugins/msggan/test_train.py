import contextlib

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images
from genart.nn import ema, losses
from genart.nn.data import RealBatch
from genart.nn.players import Penalties, Players, Rules
from genart.nn.rebuild import rebuild
from genart.run import Checkpoints
from genart_msggan import msggan_train
from genart_msggan.networks import Discriminator, Generator
from genart_msggan.train import MultiScale
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

TINY = {"width": 4, "batch_size": 8, "kimg": 0.16, "precision": "fp32"}  # 20 steps


def attempt(work, given=None, **options):
    """Train in `work`; returns the model."""
    return trainings.attempt(msggan_train, work, given, **{**TINY, **options})[0]


def game(resolution=16, loss="non_saturating", **penalties):
    return MultiScale(Generator(resolution, 2, 8), Discriminator(resolution, 2), losses.named(loss), Penalties(**penalties))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def test_real_and_generated_pictures_come_at_the_same_scales():
    played = game(32)
    real = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scales = played.real(real)
    drawn = played.generate(torch.ones(2, 8), None, torch.Generator())
    assert [part.shape for part in scales] == [part.shape for part in drawn]
    assert scales[0] is real
    torch.testing.assert_close(scales[-1], real.unflatten(2, (4, 8)).unflatten(4, (4, 8)).mean((3, 5)))


def test_a_training_gives_a_model_that_can_be_rebuilt(tmp_path):
    model = attempt(tmp_path)
    assert model.family == "msggan"
    assert model.header["trained"]["nimg"] == 160
    assert len(model.header["history"]) == 20
    G = rebuild(Generator, model, "cpu")
    assert G(torch.randn(3, 64, generator=torch.Generator().manual_seed(0))).shape == (3, 3, 16, 16)
    assert all(bool(layer.bias.any()) for layer in G.to_rgb), "every scale learns from the beginning"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


@pytest.mark.parametrize(("every", "kills"), [(1, (6,)), (3, (14, 4)), (100, (12,))])
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
    model = attempt(tmp_path, precision="bf16", loss="wgan", r1_gamma=1.0, r2_gamma=1.0, gp_lambda=10.0, augment="always")
    assert all(bool(torch.isfinite(value).all()) for value in load_file(model.path).values())


def test_a_training_step_stays_on_the_device(monkeypatch):
    monkeypatch.setattr(Players, "autocast", lambda self: contextlib.nullcontext())  # there is none for the meta device
    players = Players(game(32, r1_gamma=1.0, gp_lambda=1.0), Rules(batch_size=4), "meta")
    told = players.step(0, RealBatch(torch.randn(4, 3, 32, 32, device="meta")), torch.randn(4, 8, device="meta"), torch.Generator())
    ema.update(players.G_ema, players.G, 0.5)
    drawn = players.G_ema.eval()(torch.randn(4, 8, device="meta"))
    assert {tensor.device.type for tensor in (told, drawn, *players.G_ema.state_dict().values())} == {"meta"}
    assert drawn.shape == (4, 3, 32, 32)
