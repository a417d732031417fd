"""stylegan.train: the family's networks, and what is random in their pictures while they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genart import Images, Model, Run
from genart.nn import family, losses, shards
from genart.nn.family import GanFamily, Setup
from genart.nn.players import Game, Penalties, Seen

from . import TrainParams
from .networks import Discriminator, Generator


class Styled(Game):
    """Generated pictures have noise of their own, if G takes any, and some of them two styles (Karras et al. 2019, sections 3.1 and 3.2).

    Args:
        G: the generator.
        D: the discriminator.
        loss: the adversarial loss.
        penalties: gradient penalties of D.
        style_mixing: share of the pictures that have two styles, 0 to 1.
    """

    joint = True

    def __init__(self, G: Generator, D: Discriminator, loss: losses.Loss, penalties: Penalties, *, style_mixing: float = 0.0) -> None:
        super().__init__(G, D, loss, penalties)
        self.generator, self.style_mixing = G, style_mixing

    def generate(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Seen:
        """Pictures (N, 3, R, R), near [-1, 1]."""
        G = self.generator
        ws = self.mixed(z, labels, generator) if self.style_mixing else G.mapping(z, labels)
        return (G.synthesis(ws, G.fresh_noise(len(z), generator)),)

    def mixed(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Styles (N, layers, w_dim): those of z, and in some pictures, from a random layer on, those of another latent."""
        G, n = self.generator, len(z)
        other_z = shards.drawn(lambda n: torch.randn(n, z.shape[1], generator=generator), n)
        crossover = shards.drawn(lambda n: torch.randint(1, G.layers, (n,), generator=generator), n)
        crossover[shards.drawn(lambda n: torch.rand(n, generator=generator), n) >= self.style_mixing] = G.layers
        other = torch.arange(G.layers) >= crossover[:, None]
        return torch.where(other[:, :, None].to(z.device), G.mapping(other_z.to(z.device), labels)[:, None], G.mapping(z, labels)[:, None])


class StyleGAN(GanFamily):
    """Karras et al. 2019 and 2020, with the loss of Huang et al. 2024."""

    name = "stylegan"
    module = Generator
    widths: Mapping[str, Sequence[int]] = {"cpu": (8, 12, 16, 24, 32), "cuda": (32, 48, 64), "mps": (16, 24, 32)}
    width: Mapping[str, int] = {"cpu": 16, "cuda": 32, "mps": 16}
    batch_sizes: Mapping[str, Sequence[int]] = {"cpu": (16, 32), "cuda": (32, 64, 128), "mps": (16, 32, 64)}
    wanted_nimg = 40_000

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class."""
        return super().parameters(setup) | {"mapping_layers": own(setup).mapping_layers, "bounded": True, "noise": own(setup).noise}

    def discriminator(self, setup: Setup) -> Discriminator:
        """A new D."""
        return Discriminator(setup.resolution, setup.width, classes=setup.classes, stddev=own(setup).minibatch_stddev)

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> Styled:
        """The two networks, with what is random in their pictures."""
        assert isinstance(G, Generator)
        assert isinstance(D, Discriminator)
        return Styled(G, D, self.loss(setup), family.penalties(setup), style_mixing=own(setup).style_mixing)


def own(setup: Setup) -> TrainParams:
    """The stage's own parameters."""
    assert isinstance(setup.params, TrainParams)
    return setup.params


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a style-based GAN; see the stage."""
    return family.train(StyleGAN(), images, params, run)
