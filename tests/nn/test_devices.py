"""Device handling without a GPU: a whole training step on torch's meta device, where mixing devices is an error as on any other."""

import contextlib

import pytest
import torch

from genart.nn import ema, losses
from genart.nn.data import RealBatch
from genart.nn.players import Game, Players, Rules
from genart_dcgan.networks import Discriminator, Generator


@pytest.fixture
def players(monkeypatch):
    monkeypatch.setattr(Players, "autocast", lambda self: contextlib.nullcontext())  # there is none for the meta device
    game = Game(Generator(16, 4, 8), Discriminator(16, 4), losses.named("bce"))
    return Players(game, Rules(batch_size=4), "meta")


def test_a_training_step_stays_on_the_device(players):
    told = players.step(0, RealBatch(torch.randn(4, 3, 16, 16, device="meta")), torch.randn(4, 8, device="meta"), torch.Generator())
    ema.update(players.G_ema, players.G, 0.5)
    drawn = players.G_ema.eval()(torch.randn(4, 8, device="meta"))
    everything = [told, drawn, *players.G_ema.parameters(), *players.G_ema.buffers(), *players.D.parameters()]
    assert {tensor.device.type for tensor in everything} == {"meta"}
    assert (tuple(told.shape), tuple(drawn.shape)) == ((5,), (4, 3, 16, 16))


def test_a_latent_on_the_wrong_device_is_noticed(players):
    with pytest.raises(RuntimeError, match="device"):
        players.step(0, RealBatch(torch.randn(4, 3, 16, 16, device="meta")), torch.randn(4, 8), torch.Generator())
