"""How good a generator is, measured while it trains, at a cost that is known beforehand."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from . import metrics
from .budget import synchronize
from .data import Pictures
from .images import grid, to_signed, to_unit
from .players import Trainer

if TYPE_CHECKING:
    from genart.run import Run

#: Generated pictures in a measurement, and real ones that they are compared with, at most.
GENERATED, REALS = 256, 512
#: Larger pictures are reduced to this side before they are measured: a fifth of the cost of 64 px, and enough to tell better from worse.
SIDE = 32
#: Neighbours whose distance is a picture's own region, for recall.
NEIGHBOURS = 5
#: Pictures at a time.
BATCH = 64
#: Pairs of a sample and its nearest training picture on the sheet, and pairs in one row.
PAIRS, PAIRS_IN_ROW = 18, 3
#: Pictures are compared at this size where no features were measured, and where there are too many to measure those of all.
COARSE = 16
#: Training pictures nearest at that size, among which features tell which is nearest; samples of which it is told whether they are copies.
SHORTLIST, TRIED = 4, 64
#: Training pictures that are reduced at a time.
CHUNK = 2048


class Quality:
    """Compares what the average of G draws with the training pictures, by features of the embedded VGG19.

    Args:
        run: random streams and backbone.
        pictures: real pictures.
    """

    def __init__(self, run: Run, pictures: Pictures) -> None:
        self.run, self.pictures = run, pictures

    @cached_property
    def backbone(self) -> Any:
        """The network whose features are compared."""
        return self.run.backbone("vgg19")

    @cached_property
    def real(self) -> Tensor:
        """Features of real pictures: (at most REALS, D)."""
        return self._features_of(self.pictures.indices(0, min(REALS, len(self.pictures))))

    def _features_of(self, chosen: np.ndarray) -> Tensor:
        parts = [self.pictures.at(chosen[at : at + BATCH]) for at in range(0, len(chosen), BATCH)]
        return torch.cat([self._features(part) for part in parts])

    def _features(self, images: Tensor) -> Tensor:
        images = to_unit(images.float()).clamp(0, 1)
        if images.shape[-1] > SIDE:
            images = adaptive_avg_pool2d(images, SIDE)
        return metrics.embed(self.backbone, images, batch_size=BATCH)

    def _drawn(self, trainer: Trainer) -> Tensor:
        """Features of generated pictures, of the same latents every time: (GENERATED, D)."""
        return torch.cat([self._features(part) for part in self._samples(trainer, GENERATED).split(BATCH)])

    @torch.inference_mode()
    def _samples(self, trainer: Trainer, count: int) -> Tensor:
        """Generated pictures, of the same latents every time: (count, 3, R, R) in [-1, 1]."""
        z_dim: Any = trainer.G.z_dim
        z = torch.randn(GENERATED, int(z_dim), generator=self.run.generator("quality"))[:count].to(self.run.device)
        labels = self.pictures.labels_in_turn(count)
        kinds = [None] * len(z.split(BATCH)) if labels is None else labels.split(BATCH)
        return torch.cat([trainer.G_ema(part, kind) for part, kind in zip(z.split(BATCH), kinds, strict=True)])

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """KID (Binkowski et al. 2018) and recall (Kynkaanniemi et al. 2019) of the average of G, whose statistics are settled."""
        gen = self._drawn(trainer)
        if not bool(torch.isfinite(gen).all()):
            return {"kid": float("nan"), "recall": float("nan")}
        k = min(NEIGHBOURS, len(self.real) - 1)
        return {"kid": metrics.kid(self.real, gen), "recall": metrics.prdc(self.real, gen, k).recall}

    def copied_share(self, trainer: Trainer) -> float:
        """Share of the generated pictures that are nearly one of the training pictures, of all of them."""
        if len(self.pictures) <= REALS:
            return float(metrics.copied(self._drawn(trainer), self.real).float().mean())
        images = self._samples(trainer, TRIED)
        near = self._shortlists(_coarse(images)).unique().numpy()
        gen = self._features(images)
        nearest = near[metrics.nearest(gen, self._features_of(near))[1].numpy()]
        around = self._shortlists(_coarse(self.pictures.at(nearest))).unique().numpy()  # among them the next one to each
        return float(metrics.copied(gen, self._features_of(np.union1d(near, around))).float().mean())

    def _shortlists(self, coarse: Tensor) -> Tensor:
        """Indices of the training pictures that are nearest to each of some at a small size: (M, D) to (M, SHORTLIST) on the CPU."""
        distances = coarse.new_full((len(coarse), SHORTLIST), torch.inf)
        indices = torch.zeros(len(coarse), SHORTLIST, dtype=torch.int64, device=coarse.device)
        for at in range(0, len(self.pictures), CHUNK):
            chosen = np.arange(at, min(at + CHUNK, len(self.pictures)))
            more = torch.cdist(coarse, _coarse(self.pictures.at(chosen)))
            distances, kept = torch.cat([distances, more], 1).topk(SHORTLIST, largest=False)
            found = torch.from_numpy(chosen).to(indices.device).expand(len(coarse), -1)
            indices = torch.cat([indices, found], 1).gather(1, kept)
        return indices.cpu()

    def seconds(self, trainer: Trainer) -> tuple[float, float]:
        """Seconds that one measurement takes, and those that the real pictures take once."""
        z_dim: Any = trainer.G.z_dim
        few = torch.randn(BATCH, int(z_dim), generator=self.run.generator("quality")).to(self.run.device)
        drawn = to_signed(trainer.settled(few, few, None))
        self._features(drawn[:1])  # the backbone is loaded once, which says nothing about what a measurement takes
        synchronize(self.run.device)
        began = time.perf_counter()
        self._features(drawn)
        synchronize(self.run.device)
        each = (time.perf_counter() - began) / BATCH
        count = len(self.pictures)
        reals = count if count <= REALS else REALS + TRIED * (1 + 2 * SHORTLIST)  # the latter for `copied_share`
        return 1.5 * each * GENERATED, each * reals  # half more: drawing them, and the distances

    @torch.inference_mode()
    def nearest_sheet(self, trainer: Trainer, z: Tensor, labels: Tensor | None) -> Tensor:
        """Samples, each with the training picture that is nearest to it at its right: (1, 3, H, W) in [0, 1] on the CPU.

        Nearest of all by the pictures reduced to 16 px; and of the few that are, by the features of the backbone if any were measured.
        """
        images = trainer.G_ema(z[:PAIRS], None if labels is None else labels[:PAIRS]).float()
        shortlists = self._shortlists(_coarse(images)).numpy()
        index = shortlists[:, 0]
        if "real" in self.__dict__:
            features = self._features(images)
            near = [metrics.nearest(own[None], self._features_of(few))[1] for own, few in zip(features, shortlists, strict=True)]
            index = np.take_along_axis(shortlists, torch.cat(near)[:, None].numpy(), 1)[:, 0]
        pairs = torch.stack([to_unit(images), to_unit(self.pictures.at(index))], 1).flatten(0, 1)
        return grid(pairs.clamp(0, 1), 2 * PAIRS_IN_ROW)[None].cpu()


def _coarse(images: Tensor) -> Tensor:
    return adaptive_avg_pool2d(images.float(), COARSE).flatten(1)
