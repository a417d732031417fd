"""projected.train: the family's networks, and the frozen one through whose eyes D sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from genart import Images, Model, Run
from genart.nn import family, losses
from genart.nn.family import GanFamily, Setup
from genart.nn.players import Game, Penalties, Seen

from . import TrainParams
from .features import MEMORY, Frozen, Remembered
from .networks import Discriminator, Generator

#: The frozen network was trained on larger pictures: smaller ones are enlarged to this.
SMALLEST_PX = 64
#: Features are remembered where training sees each picture at least so often: computing all at the start must not delay a budget's end.
OFTEN = 4


class ProjectedGame(Game):
    """D judges projected features of a frozen network, which both players' steps share (Sauer et al. 2021, eq. 4).

    Args:
        G: the generator.
        D: the discriminator, with the projections.
        loss: the adversarial loss.
        penalties: gradient penalties of D.
        frozen: the frozen network.
    """

    def __init__(self, G: nn.Module, D: Discriminator, loss: losses.Loss, penalties: Penalties, frozen: Frozen) -> None:
        super().__init__(G, D, loss, penalties)
        self.projection, self.frozen = D.projection, frozen
        self.remembered: Remembered | None = None

    def see(self, pictures: Seen) -> Seen:
        """(N, 3, R, R) in [-1, 1] to projected features of each scale, fine to coarse."""
        seen: Seen = self.projection(self.frozen(pictures[0]))
        return seen

    def see_real(self, pictures: Seen, versions: Tensor | None) -> Seen:
        """The same; those of pictures that augmentation left alone are remembered."""
        return self.see(pictures) if versions is None or self.remembered is None else self.remembered(versions)

    def remember(self, setup: Setup) -> None:
        """Remember the features of real pictures, if they fit into memory and are used often."""
        pictures = setup.pictures
        versions = len(pictures) * (2 if setup.params.mirror else 1)
        size = sum(width * h * h for width, h in zip(self.frozen.widths, self.frozen.sizes, strict=True))
        itemsize = torch.bfloat16.itemsize if setup.plan["precision"] == "bf16" else torch.float32.itemsize
        if versions * size * itemsize <= MEMORY and OFTEN * versions <= setup.total_nimg:
            self.remembered = Remembered(pictures, lambda images: self.see((images,)), versions)


class Projected(GanFamily):
    """Sauer et al. 2021."""

    name = "projected"
    module = Generator
    widths: Mapping[str, Sequence[int]] = {"cpu": (12, 16, 24, 32), "cuda": (32, 48, 64), "mps": (16, 24, 32)}
    width: Mapping[str, int] = {"cpu": 16, "cuda": 48, "mps": 24}
    batch_sizes: Mapping[str, Sequence[int]] = {"cpu": (32, 64), "cuda": (64, 128), "mps": (32, 64)}
    wanted_nimg = 20_000

    def __init__(self) -> None:
        self._frozen: Frozen | None = None

    def frozen(self, setup: Setup) -> Frozen:
        """The frozen network, loaded once, in the plan's precision."""
        params, device = own(setup), setup.run.device
        if self._frozen is None:
            backbone = setup.run.backbone(params.backbone)
            backbone.precision = torch.bfloat16 if setup.plan["precision"] == "bf16" else torch.float32
            self._frozen = Frozen(backbone, params.features_px or max(setup.resolution, SMALLEST_PX), device)
        return self._frozen

    def discriminator(self, setup: Setup) -> Discriminator:
        """A new D."""
        frozen = self.frozen(setup)
        return Discriminator(frozen.channels, frozen.sizes, frozen.widths, setup.classes)

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> ProjectedGame:
        """The two networks, and what D sees by."""
        assert isinstance(D, Discriminator)
        game = ProjectedGame(G, D, self.loss(setup), family.penalties(setup), self.frozen(setup))
        game.remember(setup)
        return game


def own(setup: Setup) -> TrainParams:
    """The stage's own parameters."""
    assert isinstance(setup.params, TrainParams)
    return setup.params


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a projected GAN; see the stage."""
    return family.train(Projected(), images, params, run)
