"""progan.train: the family's networks, and how they grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from genart import Images, Model, Run
from genart.nn import family, losses
from genart.nn.family import GanFamily, Setup
from genart.nn.layers import pyramid
from genart.nn.players import Game, Penalties, Seen

from . import TrainParams
from .networks import Discriminator, Generator, level_at

#: The finest level gets so many times the images of each other one: what it learns is what one sees, and in the paper it is where two
#: thirds of the training go.
FINEST_SHARE = 6
#: Up to this size a level has batches of the size planned, and each finer one half of those of the one before, so that it has steps enough.
FULL_BATCH, SMALLEST_BATCH = 64, 4


class Phase(NamedTuple):
    """A level's part of the training."""

    level: int
    #: images seen when it begins, and how many it lasts
    begin: float
    nimg: float


class Growth(Game):
    """Both networks grow while they train (Karras et al. 2018, section 2 and figure 2).

    Args:
        G: the generator.
        D: the discriminator.
        loss: the adversarial loss.
        penalties: gradient penalties of D.
        total_nimg: images that the training is planned to see.
        fade: share of a coarse level's images during which each level fades in, 0 to 1.
        start: the place where the growth begins; where a model that is trained further was left.
    """

    joint = True

    def __init__(
        self,
        G: Generator,
        D: Discriminator,
        loss: losses.Loss,
        penalties: Penalties,
        *,
        total_nimg: int,
        fade: float = 0.5,
        start: float = 0.0,
    ) -> None:
        super().__init__(G, D, loss, penalties)
        self.generator, self.start = G, start
        first, last = math.ceil(start), len(G.blocks)
        unit = total_nimg / (last - first + FINEST_SHARE)
        self.fading = fade * unit
        begin = 0.0
        self.phases: list[Phase] = []
        for level in range(first, last + 1):
            phase = Phase(level, begin, unit * (FINEST_SHARE if level == last else 1))
            self.phases.append(phase)
            begin += phase.nimg

    def place(self, nimg: int) -> float:
        """Place of the growth after `nimg` images: a multiple of 1/1024, which survives in a model's weights."""
        phase = next(phase for phase in reversed(self.phases) if nimg >= phase.begin)
        alpha = min(1.0, (nimg - phase.begin) / self.fading) if self.fading else 1.0
        return max(self.start, phase.level - 1 + math.floor(alpha * 1024) / 1024)

    def size(self, nimg: int) -> int:
        """Pixels along a side after `nimg` images."""
        return 4 << level_at(self.place(nimg))[0]

    def batch_size(self, nimg: int, batch_size: int) -> int:
        """Pictures in the step after `nimg` images; `batch_size` is what the plan says."""
        smaller = max(1, self.size(nimg) // FULL_BATCH)
        return max(min(SMALLEST_BATCH, batch_size), batch_size // smaller)

    def phase(self, nimg: int) -> int:
        """Each level, and each fade-in, is one: an even number is a whole level, an odd one a fade-in towards it."""
        place = self.place(nimg)
        return 2 * math.ceil(place) - (place != math.ceil(place))

    def schedule(self, networks: Sequence[nn.Module], nimg: int) -> None:
        """Grow the networks to where they are to be after `nimg` images."""
        for network in networks:
            assert isinstance(network, Generator | Discriminator)
            network.grow(self.place(nimg))

    def probes(self, total_nimg: int) -> list[tuple[float, int]]:
        """Each level's share of the images, with the middle of its fade-in, where a step costs most; of the finest with its own middle."""
        whole = sum(phase.nimg for phase in self.phases)
        middles = [self.fading / 2] * (len(self.phases) - 1) + [self.phases[-1].nimg / 2]
        return [(phase.nimg / whole, math.ceil(phase.begin + middle)) for phase, middle in zip(self.phases, middles, strict=True)]

    def penalty_scale(self) -> float:
        """A picture of f times fewer pixels along a side has gradients f times as long; the penalties' weights are those of the finest."""
        return (4 << self.generator.level) ** 2 / self.generator.resolution**2

    def generate(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Seen:
        """Pictures of the level's own size."""
        return (self.generator.draw(z, labels),)

    def real(self, real_img: Tensor) -> Seen:
        """Real pictures reduced to the level's size; while it fades in, mixed with those of the level before (section 2)."""
        level, alpha = self.generator.level, self.generator.alpha
        (pictures,) = pyramid(real_img, [4 << level])
        if alpha < 1:
            coarse = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2.0, mode="nearest")
            pictures = torch.lerp(coarse, pictures, alpha)
        return (pictures,)


class ProGAN(GanFamily):
    """Karras et al. 2018."""

    name = "progan"
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

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> Growth:
        """The two networks, and how they grow."""
        params = setup.params
        assert isinstance(params, TrainParams)
        assert isinstance(G, Generator)
        assert isinstance(D, Discriminator)
        return Growth(
            G,
            D,
            self.loss(setup),
            family.penalties(setup),
            total_nimg=setup.total_nimg,
            fade=params.fade,
            start=grown(params, setup.run),
        )


def grown(params: TrainParams, run: Run) -> float:
    """Place where the growth begins: 0, or where the model `init` was left."""
    if params.init is None:
        return 0.0
    with safe_open(run.open_model(params.init).path, framework="pt") as tensors:
        return float(tensors.get_tensor("place"))


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a GAN that grows; see the stage."""
    return family.train(ProGAN(), images, params, run)
