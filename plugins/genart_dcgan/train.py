"""dcgan.train: the family's networks, as the shared training wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from genart import Images, Model, Run
from genart.nn import family, losses
from genart.nn.family import GanFamily, Setup
from genart.nn.layers import seeded
from genart.nn.players import Players, Trainer

from . import TrainParams
from .networks import Discriminator, Generator, initialise

#: Pixels along a side from which on checkerboard artefacts would be worse than soft edges.
SMOOTH_FROM = 64
#: Below it: the least width, and how many times as many images are to be seen before a wider network is worth it.
SMALL_WIDTH, SMALL_WANT = 32, 8


class DCGAN(GanFamily):
    """Radford et al. 2015."""

    name = "dcgan"
    module = Generator
    betas = (0.5, 0.999)

    def wanted_at(self, resolution: int) -> int:
        """Small pictures gain from being seen up to a million times before a wider network does (bench/families.py)."""
        return self.wanted_nimg * (1 if resolution >= SMOOTH_FROM else SMALL_WANT)

    def widths_at(self, resolution: int, device: str) -> Sequence[int]:
        """Of small pictures, whose layers are few, also the narrowest network is not too narrow."""
        widths = self.widths[device]
        return widths if resolution >= SMOOTH_FROM else [width for width in widths if width >= SMALL_WIDTH]

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class."""
        own_params = {"upsample": own(setup).upsample} | ({} if smooth(setup) else {"smooth": False})
        return super().parameters(setup) | own_params

    def discriminator(self, setup: Setup) -> nn.Module:
        """A new D."""
        params = own(setup)
        return Discriminator(setup.resolution, setup.width, smooth=smooth(setup), classes=setup.classes, norm=params.norm_D)

    def loss(self, setup: Setup) -> losses.Loss:
        """The adversarial loss, with label smoothing where it has labels."""
        params = own(setup)
        return losses.named(params.loss, params.label_smoothing) if params.loss == "bce" else super().loss(setup)

    def trainer(self, setup: Setup) -> Trainer:
        """The players, with the first weights of the paper."""
        generator = setup.run.generator
        G = seeded(lambda: Generator(**self.arguments(setup)), generator("init_G"))
        D = seeded(lambda: self.discriminator(setup), generator("init_D"))
        initialise(G, generator("init_G"))
        initialise(D, generator("init_D"))
        return Players(self.game(G, D, setup), self.rules(setup), setup.run.device)


def smooth(setup: Setup) -> bool:
    """Whether pictures are smoothed: not the smallest ones, whose finest lines are what one sees of them."""
    return own(setup).upsample == "resize" and setup.resolution >= SMOOTH_FROM


def own(setup: Setup) -> TrainParams:
    """The stage's own parameters."""
    assert isinstance(setup.params, TrainParams)
    return setup.params


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a DCGAN; see the stage."""
    return family.train(DCGAN(), images, params, run)
