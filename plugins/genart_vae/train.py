"""vae.train: the bound on the likelihood, and a step that raises it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from genart import Images, Model, Run
from genart.nn import checkpoint, family, shards
from genart.nn.data import RealBatch
from genart.nn.family import Family, Setup
from genart.nn.images import to_unit
from genart.nn.layers import seeded
from genart.nn.players import Trainer

from . import TrainParams
from .networks import Autoencoder, Posterior

#: Variance of the rounding to 8 bits, in steps of [-1, 1]: no reconstruction needs to be nearer.
ROUNDING = (2 / 255) ** 2 / 12


def negative_bound(error: Tensor, divergence: Tensor, numbers: int, beta: float) -> Tensor:
    """What training lowers: the evidence lower bound, negative (Kingma and Welling 2014, eq. 3), per value of a picture, up to a constant.

    Pictures are taken to be normal around what is decoded, of one variance everywhere. It is the best one, the error itself (Rybkin et al.
    2021, the optimal sigma-VAE): with a variance of 1, as often used, next to nothing of a picture is worth its place in the latents.

    Args:
        error: mean squared error of a value, a scalar.
        divergence: of the latents from the prior, in nats, the mean over pictures.
        numbers: values of a picture.
        beta: weight of the divergence (Higgins et al. 2017, eq. 4); 1 gives the bound.

    Returns:
        A scalar whose gradient is that of log(error) / 2 + beta * divergence / numbers.
    """
    variance = shards.mean(error.detach()).clamp_min(ROUNDING)
    return error / (2 * variance) + beta * divergence / numbers


class Autoencoding:
    """The autoencoder, its optimiser and its average, on their device; a `Trainer` of the loop.

    Args:
        G: the autoencoder, taken over.
        device: "cpu", "cuda" or "mps".
        batch_size: pictures per step.
        lr: Adam's learning rate.
        beta: weight of the divergence, after
        warm_up_nimg: so many images, over which it rises from 0 (Bowman et al. 2016, section 3.1).
        bfloat16: compute matrix products in bfloat16; weights stay float32.
    """

    told: tuple[str, ...] = ("loss_rec", "loss_kl")
    penalised = False

    def __init__(
        self, G: Autoencoder, device: str, *, batch_size: int, lr: float, beta: float, warm_up_nimg: float, bfloat16: bool
    ) -> None:
        self.device, self.lr, self.beta, self.warm_up_nimg, self.bfloat16 = device, lr, beta, warm_up_nimg, bfloat16
        self._batch_size, self._weight = batch_size, 0.0
        self.autoencoder = G.to(device=device).to(memory_format=torch.channels_last).train()
        self.G: nn.Module = self.autoencoder
        self.G_ema: nn.Module = copy.deepcopy(G).requires_grad_(False).train(False)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr, fused=device in ("cpu", "cuda"))

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that a checkpoint holds, by name."""
        return {"G": self.G, "G_ema": self.G_ema, "opt_G": self.opt_G}

    def batch_size(self, nimg: int) -> int:
        """Pictures in the step after `nimg` images."""
        return self._batch_size

    def phase(self, nimg: int) -> int:
        """All of the training is of one kind."""
        return 0

    def schedule(self, nimg: int) -> None:
        """Set the weight of the divergence."""
        self._weight = self.beta * min(1.0, nimg / self.warm_up_nimg) if self.warm_up_nimg else self.beta

    def probes(self, total_nimg: int) -> list[tuple[float, int]]:
        """Every step costs the same."""
        return [(1.0, total_nimg)]

    def step(self, step: int, real: RealBatch, z: Tensor, generator: torch.Generator, augment_p: float = 0.0) -> Tensor:
        """One step on the bound, with one sample of each picture's latent (Kingma and Welling 2014, algorithm 1).

        Args:
            step: its number.
            real: pictures and labels.
            z: (N, z_dim), the noise of the sample.
            generator: not used: nothing else is random.
            augment_p: not used: there is nobody to augment for.

        Returns:
            (2,) float32 on the device: mean squared error of a value in [-1, 1], and divergence in nats per number of z, as estimated with
            that sample.
        """
        G = self.autoencoder
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            posterior: Posterior = G.encoder(real.images)
            latents = posterior.sample(z)
            decoded: Tensor = G.decoder(latents)
        _, log_prior = G.to_noise(latents, real.labels)  # in float32, or it would not lead back
        error, divergence = (decoded - real.images).square().mean(), (posterior.log_density(z) - log_prior).mean()
        self.opt_G.zero_grad(set_to_none=True)
        torch.autograd.backward(negative_bound(error, divergence, real.images[0].numel(), self._weight))
        self.opt_G.step()
        return torch.stack([error.detach(), divergence.detach() / G.z_dim])

    def rates(self, scale_G: float, scale_D: float, *, sparing: bool = False) -> None:
        """Set the learning rate to a multiple of its own; there is no D."""
        for group in self.opt_G.param_groups:
            group["lr"] = self.lr * scale_G

    def unsure(self, loss_D: float) -> float:
        """There is no D that could be sure of anything."""
        return 1.0

    @torch.inference_mode()
    def settled(self, settle_z: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures of the average of the networks, which have nothing to settle: (N, 3, R, R) float32 in [0, 1]."""
        images: Tensor = self.G_ema(z, labels)
        return to_unit(images)


class VAE(Family):
    """Kingma and Welling 2014."""

    name = "vae"
    module = Autoencoder

    def trainer(self, setup: Setup) -> Trainer:
        """All networks in one, with their seeded first weights."""
        params, plan = setup.params, setup.plan
        assert isinstance(params, TrainParams)
        return Autoencoding(
            seeded(lambda: Autoencoder(**self.arguments(setup)), setup.run.generator("init_G")),
            setup.run.device,
            batch_size=plan["batch_size"],
            lr=params.lr,
            beta=params.beta,
            warm_up_nimg=params.warm_up * setup.total_nimg,
            bfloat16=plan["precision"] == "bf16",
        )


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a VAE; see the stage."""
    return family.train(VAE(), images, params, run)
