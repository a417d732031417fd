"""The two networks, and what the shared loop needs to know of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genart import Images, Model, Run
from genart.nn import family
from genart.nn.family import GanFamily, Setup

from . import TrainParams


class Generator(nn.Module):
    """z (N, z_dim) to pictures (N, 3, resolution, resolution) in [-1, 1]."""

    def __init__(self, resolution: int, width: int, z_dim: int) -> None:
        super().__init__()
        self.resolution, self.z_dim = resolution, z_dim
        hidden = 8 * width
        self.layers = nn.Sequential(
            nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3 * resolution**2)
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw; this family knows no classes."""
        return torch.tanh(self.layers(z)).view(-1, 3, self.resolution, self.resolution)

    def first_layer(self) -> Tensor:
        """Weights that see z, for `latent.directions`."""
        return self.layers[0].weight


class Discriminator(nn.Module):
    """Pictures to logits (N,)."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        hidden = 8 * width
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * resolution**2, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge."""
        return self.layers(images).flatten()


class Dense(GanFamily):
    """Goodfellow et al. 2014."""

    name = "dense"
    module = Generator
    betas = (0.5, 0.999)

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class; they stand in the model's header."""
        return {"resolution": setup.resolution, "width": setup.width, "z_dim": setup.z_dim}

    def discriminator(self, setup: Setup) -> Discriminator:
        """A new D."""
        return Discriminator(setup.resolution, setup.width)


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train; loop, budget, checkpoints, watch, plots and metrics are those of all families."""
    return family.train(Dense(), images, params, run)
