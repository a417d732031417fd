"""The networks of a convolutional VAE (Kingma and Welling 2014), for any power-of-two resolution from 8 on.

Beside encoder and decoder there is a learnt prior: pictures do not fill the latent space as a normal distribution would, and a decoder
draws mush where no picture lies. The prior is a flow between that space and one that they do fill, in which samples are drawn and walks
go. None has batch normalisation: a picture's latent and a latent's picture depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genart.nn.layers import Upsample, channels, with_labels

#: Slope of the leaky rectifiers below zero.
SLOPE = 0.2
#: Steps of the prior's flow, and channels within one.
STEPS, HIDDEN = 6, 256


class Posterior(NamedTuple):
    """The distribution of the latents of pictures, q(z|x): normal, each number of z by itself.

    Attributes:
        mean: (N, z_dim) float32.
        log_var: (N, z_dim) float32, the logarithm of the variance.
    """

    mean: Tensor
    log_var: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents, differentiable in mean and variance: (N, z_dim) of N(0, 1) to (N, z_dim) (Kingma and Welling 2014, section 2.4)."""
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_density(self, noise: Tensor) -> Tensor:
        """Logarithm of the density at what `sample` gives for the noise, but for the constant of a normal distribution: (N,)."""
        return -0.5 * (noise.square() + self.log_var).sum(1)


class Coupling(nn.Module):
    """One step of the prior's flow: half of the numbers stay, and tell how the others are changed (Dinh et al. 2017, section 3.2).

    Args:
        z_dim: numbers in a latent vector.
        kind_dim: numbers in a class's vector; 0 for none.
    """

    def __init__(self, z_dim: int, kind_dim: int) -> None:
        super().__init__()
        self.kept = z_dim // 2
        changed = z_dim - self.kept
        last = nn.Linear(HIDDEN, 2 * changed)
        nn.init.zeros_(last.weight)  # the flow begins as no change
        nn.init.zeros_(last.bias)
        layers = [nn.Linear(self.kept + kind_dim, HIDDEN), nn.LeakyReLU(SLOPE), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(SLOPE)]
        self.net = nn.Sequential(*layers, last)

    def change(self, kept: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the scale, within (-1, 1), and shift of the other numbers."""
        scale, shift = self.net(torch.cat([kept, kinds], 1)).chunk(2, 1)
        return torch.tanh(scale), shift

    def forward(self, z: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """(N, z_dim) to (N, z_dim), and the logarithm of the Jacobian's determinant (N,)."""
        kept, others = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self.change(kept, kinds)
        return torch.cat([kept, others * log_scale.exp() + shift], 1), log_scale.sum(1)

    def inverse(self, z: Tensor, kinds: Tensor) -> Tensor:
        """What `forward` gave, back: (N, z_dim) to (N, z_dim)."""
        kept, others = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self.change(kept, kinds)
        return torch.cat([kept, (others - shift) * (-log_scale).exp()], 1)


class Prior(nn.Module):
    """The distribution of the latents of all pictures, p(z), or of those of a class: a flow from N(0, 1) (Dinh et al. 2017).

    A VAE with a learnt flow as its prior is that of Chen et al. 2017 (section 3), whose flow is autoregressive; this one is fast both ways.

    Args:
        z_dim: numbers in a latent vector.
        kind_dim: numbers in a class's vector; 0 for none.
    """

    def __init__(self, z_dim: int, kind_dim: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Coupling(z_dim, kind_dim) for _ in range(STEPS))

    def to_noise(self, z: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Latents to what is N(0, 1), and how likely they are.

        Args:
            z: (N, z_dim).
            kinds: vectors of their classes, (N, kind_dim).

        Returns:
            (N, z_dim), and the logarithm of the latents' density, but for the constant of a normal distribution: (N,).
        """
        log_density = torch.zeros(len(z), device=z.device)
        for step in self.steps:
            z, log_det = step(z, kinds)
            z, log_density = z.flip(1), log_density + log_det
        return z, log_density - 0.5 * z.square().sum(1)

    def to_latent(self, noise: Tensor, kinds: Tensor) -> Tensor:
        """What is N(0, 1) to latents: (N, z_dim) to (N, z_dim)."""
        step: Any
        for step in reversed(self.steps):
            noise = step.inverse(noise.flip(1), kinds)
        return noise


class Encoder(nn.Module):
    """Pictures to the distribution of their latents, through convolutions of stride 2 down to 4x4.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at half the resolution.
        z_dim: numbers in a latent vector.
    """

    def __init__(self, resolution: int, width: int, z_dim: int) -> None:
        super().__init__()
        widths = channels(resolution, width)[::-1]
        downs = [nn.Conv2d(c_in, c_out, 4, 2, 1) for c_in, c_out in pairwise([3, *widths])]
        for down in downs:
            nn.init.kaiming_normal_(down.weight, SLOPE)
        self.downs = nn.ModuleList(downs)
        self.to_posterior = nn.Linear(16 * widths[-1], 2 * z_dim)

    def forward(self, images: Tensor) -> Posterior:
        """images: (N, 3, resolution, resolution) in [-1, 1]."""
        x = images
        for down in self.downs:
            x = F.leaky_relu_(down(x), SLOPE)
        return Posterior(*self.to_posterior(x.flatten(1)).float().chunk(2, 1))


class Decoder(nn.Module):
    """Latents to pictures, through a dense layer to 4x4 and one doubling after another; it mirrors the encoder.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at half the resolution.
        z_dim: numbers in a latent vector.
    """

    def __init__(self, resolution: int, width: int, z_dim: int) -> None:
        super().__init__()
        widths = channels(resolution, width)
        self.dense = nn.Linear(z_dim, 16 * widths[0])
        nn.init.kaiming_normal_(self.dense.weight, SLOPE)
        ups = [Upsample(c_in, c_out, "resize", bias=True) for c_in, c_out in pairwise(widths)]
        for up in ups:
            nn.init.kaiming_normal_(up.weight, SLOPE, "fan_out")  # a transposed convolution's first dimension is what comes in
        self.ups = nn.ModuleList(ups)
        self.to_rgb = Upsample(widths[-1], 3, "resize", bias=True, smooth=True)

    def forward(self, z: Tensor) -> Tensor:
        """z: (N, z_dim). Returns (N, 3, resolution, resolution) float32, near [-1, 1], which nothing enforces."""
        x = self.dense(z).view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        x = F.leaky_relu_(x, SLOPE)
        for up in self.ups:
            x = F.leaky_relu_(up(x), SLOPE)
        pictures: Tensor = self.to_rgb(x).float()
        return pictures


class Autoencoder(nn.Module):
    """Encoder, prior and decoder, averaged as one. Called as a generator is, it draws what N(0, 1) becomes by the prior.

    Args:
        resolution: pixels along a side, a power of two from 8 on.
        width: channels at half the resolution.
        z_dim: numbers in a latent vector.
        classes: number of classes; 0 for none. The prior is told a class; encoder and decoder see what it is.
    """

    def __init__(self, resolution: int = 64, width: int = 32, z_dim: int = 64, classes: int = 0) -> None:
        super().__init__()
        self.resolution, self.z_dim = resolution, z_dim
        self.classes = nn.Embedding(classes, z_dim) if classes else None
        self.encoder = Encoder(resolution, width, z_dim)
        self.prior = Prior(z_dim, z_dim if classes else 0)
        self.decoder = Decoder(resolution, width, z_dim)

    def with_kinds(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, z_dim), and beside it the vectors of the classes (N,), or of each class in turn: (N, z_dim or 2 * z_dim)."""
        return with_labels(z, labels, self.classes)

    def to_noise(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents of pictures (N, z_dim) to what `forward` draws them from, (N, z_dim), and the logarithm of their density (N,)."""
        return self.prior.to_noise(z, self.with_kinds(z, labels)[:, self.z_dim :])

    def encode(self, images: Tensor, known: Sequence[int | None]) -> tuple[Tensor, Tensor | None]:
        """Latents with which `forward` draws pictures again, and their classes.

        Args:
            images: (N, 3, resolution, resolution) in [-1, 1].
            known: the class of each, as far as it is known; others get the one whose pictures are likeliest to have such a latent.

        Returns:
            (N, z_dim) of N(0, 1), and (N,), or None for a network that knows no classes.
        """
        z = self.encoder(images).mean
        labels = None if self.classes is None else self.likeliest(z, known)
        return self.to_noise(z, labels)[0], labels

    def likeliest(self, z: Tensor, known: Sequence[int | None]) -> Tensor:
        """The classes (N,) of latents of pictures (N, z_dim), where they are not known."""
        assert self.classes is not None
        kinds = range(self.classes.num_embeddings)
        likely = torch.stack([self.to_noise(z, torch.full((len(z),), kind, device=z.device))[1] for kind in kinds]).argmax(0).tolist()
        chosen = [kind if one is None else one for one, kind in zip(known, likely, strict=True)]
        return torch.tensor(chosen, device=z.device)

    def first_layer(self) -> Tensor:
        """Weights of the decoder's first layer as the prior's noise reaches them where all of it is 0: (out, z_dim)."""
        middle = self.decoder.dense.weight.new_zeros(1, self.z_dim)

        def latent(noise: Tensor) -> Tensor:
            return self.prior.to_latent(noise, self.with_kinds(noise)[:, self.z_dim :])

        slopes: Tensor = torch.func.jacrev(latent)(middle)[0, :, 0]
        return self.decoder.dense.weight @ slopes

    def draw(self, noise: Tensor) -> Tensor:
        """Pictures of what `with_kinds` gives, (N, 3, resolution, resolution) float32, near [-1, 1]."""
        pictures: Tensor = self.decoder(self.prior.to_latent(noise[:, : self.z_dim], noise[:, self.z_dim :]))
        return pictures

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim) of N(0, 1), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        return self.draw(self.with_kinds(z, labels)).clamp(-1, 1)
