"""msggan.train: the family's networks, and their pictures at every scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genart import Images, Model, Run
from genart.nn import family, losses
from genart.nn.family import GanFamily, Setup
from genart.nn.layers import pyramid
from genart.nn.players import Game, Penalties, Seen

from . import TrainParams
from .networks import Discriminator, Generator


class MultiScale(Game):
    """D sees a picture at every scale of G at once (Karnewar and Wang 2020, section 2).

    A gradient penalty is that of all scales together, as of one input; the paper takes the mean of the scales' own.
    """

    joint = True

    def __init__(self, G: Generator, D: Discriminator, loss: losses.Loss, penalties: Penalties) -> None:
        super().__init__(G, D, loss, penalties)
        self.generator = G
        self.sizes = [4 << level for level in reversed(range(len(G.to_rgb)))]

    def generate(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Seen:
        """Pictures of every scale, the largest first."""
        return self.generator.scales(z, labels)

    def real(self, real_img: Tensor) -> Seen:
        """Real pictures at every scale, the largest first."""
        return pyramid(real_img, self.sizes)


class MSGGAN(GanFamily):
    """Karnewar and Wang 2020."""

    name = "msggan"
    module = Generator
    widths: Mapping[str, Sequence[int]] = {"cpu": (8, 12, 16, 24, 32), "cuda": (32, 48, 64), "mps": (16, 24, 32)}
    width: Mapping[str, int] = {"cpu": 16, "cuda": 32, "mps": 16}
    # On a CPU small batches cost little more for each picture, and in minutes it is the number of steps that counts.
    batch_sizes: Mapping[str, Sequence[int]] = {"cpu": (8, 16), "cuda": (32, 64, 128), "mps": (16, 32, 64)}
    wanted_nimg = 40_000

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class."""
        return super().parameters(setup) | {"bounded": True}

    def discriminator(self, setup: Setup) -> Discriminator:
        """A new D."""
        return Discriminator(setup.resolution, setup.width, classes=setup.classes)

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> MultiScale:
        """The two networks, which see every scale."""
        assert isinstance(G, Generator)
        assert isinstance(D, Discriminator)
        return MultiScale(G, D, self.loss(setup), family.penalties(setup))


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train an MSG-GAN; see the stage."""
    return family.train(MSGGAN(), images, params, run)
