"""Statistics of features that say in what manner a picture is painted: everything but where things are.

What a statistic needs of the features is gathered in pieces that add up, so that a picture larger than memory gives, tile by tile, the
same as the whole one: moments are sums over positions, and samples are features at drawn positions. To add a statistic, give a
`Statistic` to the hook genart_statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Terms = tuple[Tensor, ...]
Needs = Literal["second", "moments", "samples"]

#: Keeps a term finite whose target is nothing: a black picture, a flat style.
EPSILON = 1e-8
#: Positions that a statistic of samples draws at most, per layer.
SAMPLES = 2048
#: Directions of the sliced Wasserstein distance, per layer.
DIRECTIONS = 128


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    """Squared distance to a target, as a share of the target's own energy: 0 when equal, 1 when `value` is nothing."""
    return (value - target).square().sum() / (target.square().sum() + EPSILON)


# what is gathered


class _SecondMoment(torch.autograd.Function):
    """Sum over positions of F_i F_j, with one matrix product for its gradient instead of autograd's two.

    Features in bfloat16 are multiplied as such, in chunks whose sums are added in float32: the processor adds up exactly but rounds each
    result to 8 bits, and the more results, the less of that is left.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, P, C): no copy, since the channels come last in memory
        ctx.save_for_backward(flat)
        ctx.shape = features.shape
        if flat.dtype == torch.float32:
            return flat.mT @ flat
        batch, positions, channels = flat.shape
        chunks = max(1, min(32, positions // max(channels, 256)))
        even = positions // chunks * chunks
        parts = flat[:, :even].reshape(batch * chunks, even // chunks, channels)
        total = torch.bmm(parts.mT, parts).view(batch, chunks, channels, channels).sum(1, dtype=torch.float32)
        if even < positions:
            rest = flat[:, even:]
            total += (rest.mT @ rest).float()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (flat,) = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        symmetric = (gradients[0] + gradients[0].mT).to(flat.dtype)
        return (flat @ symmetric).view(batch, height, width, channels).permute(0, 3, 1, 2)


def second_moment(features: Tensor) -> Tensor:
    """Sum over positions of F_i F_j: (N, C, H, W) -> (N, C, C) float32."""
    return _SecondMoment.apply(features)  # type: ignore[no-any-return]


def gram(features: Tensor) -> Terms:
    """Gram matrix (Gatys et al. 2016, eq. 3), divided by the number of positions so that size doesn't matter.

    Args:
        features: (N, C, H, W).

    Returns:
        One term: G_ij = mean over positions of F_i F_j, (N, C, C) float32.
    """
    return (second_moment(features) / (features.shape[2] * features.shape[3]),)


def _exact(x: Tensor) -> Tensor:
    """In float64; on the CPU where the device has none, as Apple's."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@dataclass(frozen=True)
class Probe:
    """How the features of one layer are measured in one region of a picture, whole or in pieces whose results add up.

    Attributes:
        needs: "second" (the second moment), "moments" (the mean too), or "samples".
        weight: (H, W) not negative, of the whole layer: how much each position counts; None for all alike.
        total: sum of the weights.
        positions: (P, 2) rows and columns of the samples.
    """

    needs: Needs
    weight: Tensor | None
    total: float
    positions: Tensor | None = None

    @classmethod
    def of(cls, needs: Needs, size: tuple[int, int], weight: Tensor | None, generator: torch.Generator, count: int = SAMPLES) -> Probe:
        """Make the probe of a layer of `size`; samples are drawn where the weight is, as often as it is large.

        Args:
            needs: what of the features.
            size: height and width of the layer.
            weight: (H, W), or None.
            generator: draws the positions.
            count: of samples at most.
        """
        total = float(size[0] * size[1]) if weight is None else float(_exact(weight).sum().clamp_min(EPSILON))
        if needs != "samples":
            return cls(needs, weight, total)
        chances = torch.ones(size) if weight is None else weight.cpu()
        count = max(1, min(count, int((chances > 0).sum())))
        flat = chances.flatten().clamp_min(0)
        drawn = torch.multinomial(flat if float(flat.sum()) > 0 else torch.ones_like(flat), count, generator=generator).sort().values
        return cls(needs, weight, total, torch.stack([drawn // size[1], drawn % size[1]], 1))

    def __call__(self, features: Tensor, top: int = 0, left: int = 0) -> Terms:
        """Measure a piece of a layer.

        Args:
            features: (1, C, h, w).
            top: row of the layer that its first row is.
            left: column likewise.

        Returns:
            Share of this piece in: the second moment (C, C); or the mean (C,) and the second moment; or the samples (C, P), 0 where
            they lie elsewhere. All in float32.
        """
        height, width = features.shape[2:]
        if self.needs == "samples":
            return (self._samples(features, top, left),)
        if self.weight is None:
            second = second_moment(features)[0] / self.total
            mean = features.float().sum((0, 2, 3)) / self.total if self.needs == "moments" else None
        else:
            weight = self.weight[top : top + height, left : left + width]
            second = second_moment(features * weight.sqrt().to(features.dtype))[0] / self.total
            mean = (features.float() * weight).sum((0, 2, 3)) / self.total if self.needs == "moments" else None
        return (second,) if mean is None else (mean, second)

    def _samples(self, features: Tensor, top: int, left: int) -> Tensor:
        assert self.positions is not None
        height, width = features.shape[2:]
        rows, columns = (self.positions - torch.tensor([top, left])).unbind(1)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        at = torch.where(inside, rows * width + columns, 0).to(features.device)
        drawn: Tensor = features[0].flatten(1)[:, at].float() * inside.to(features.device)
        return drawn


# statistics


@dataclass(frozen=True)
class Statistic:
    """A way to compare features with those of a style.

    Attributes:
        needs: what of the features it compares: "second" for terms (second,), "moments" for (mean, second), "samples" for (samples,).
        loss: of the picture's terms and the prepared ones of the style; about 1 for a picture without any features.
        prepare: makes of the style's terms, and a generator, what `loss` is given; by default the terms as they are.
    """

    needs: Needs
    loss: Callable[[Terms, Terms], Tensor]
    prepare: Callable[[Terms, torch.Generator], Terms] = lambda terms, _: terms


def gram_loss(value: Terms, target: Terms) -> Tensor:
    """Distance of Gram matrices (Gatys et al. 2016, eq. 4), as a share of the target's energy."""
    return relative_error(value[0], target[0])


def _covariance(terms: Terms) -> Tensor:
    mean, second = terms
    return second - mean[:, None] * mean


def mean_covariance_loss(value: Terms, target: Terms) -> Tensor:
    """Distances of mean and covariance: unlike in the Gram matrix, a feature's strength cannot stand in for its variation."""
    return (relative_error(value[0], target[0]) + relative_error(_covariance(value), _covariance(target))) / 2


def w2_prepare(terms: Terms, _: torch.Generator) -> Terms:
    """Mean, square root of the covariance, and its trace."""
    values, vectors = torch.linalg.eigh(_exact(_covariance(terms)))
    values = values.clamp_min(0)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.mT
    return terms[0], root.to(terms[0]), values.sum().to(terms[0])


def w2_loss(value: Terms, target: Terms) -> Tensor:
    """Squared Wasserstein distance of Gaussians (Givens & Shortt 1984), as a share of the target's energy.

    |m - n|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2), where the trace of a root is the sum of the roots of the eigenvalues.
    """
    mean, root, trace = target
    covariance = _covariance(value)
    # in float32 the roots of what is rounded add up to more than nothing, and the solver fails on matrices of low rank
    inner = _exact(root) @ _exact(covariance) @ _exact(root)
    if not bool(torch.isfinite(inner).all()):
        return inner.sum().to(covariance) * torch.nan
    eigenvalues = torch.linalg.eigvalsh((inner + inner.mT) / 2)
    # a root is infinitely steep at 0: what is below a millionth of the largest eigenvalue is left out of the gradient
    floor = 1e-6 * float(eigenvalues[-1].detach().clamp_min(EPSILON))
    roots = torch.where(eigenvalues > floor, eigenvalues.clamp_min(floor).sqrt(), eigenvalues.detach().clamp_min(0).sqrt())
    overlap = roots.sum().to(covariance)
    distance = (value[0] - mean).square().sum() + covariance.diagonal().sum() + trace - 2 * overlap
    return distance / (mean.square().sum() + trace + EPSILON)


def sliced_prepare(terms: Terms, generator: torch.Generator) -> Terms:
    """Random directions (K, C) and the style's samples along them, sorted (K, P)."""
    channels = terms[0].shape[0]
    directions = F.normalize(torch.randn(DIRECTIONS, channels, generator=generator), dim=1).to(terms[0])
    return directions, (directions @ terms[0]).sort(1).values


def sliced_loss(value: Terms, target: Terms) -> Tensor:
    """Sliced Wasserstein distance (Heitz et al. 2021, eq. 4 and 5) over directions drawn once, so that the loss stays one function."""
    directions, wanted = target
    sorted_ = (directions @ value[0]).sort(1).values
    if wanted.shape[1] != sorted_.shape[1]:  # another number of samples: the same quantiles of them
        wanted = F.interpolate(wanted[None], sorted_.shape[1], mode="linear", align_corners=True)[0]
    return relative_error(sorted_, wanted)


def nearest_prepare(terms: Terms, _: torch.Generator) -> Terms:
    """Directions of the style's samples from their mean."""
    return (F.normalize(terms[0] - terms[0].mean(1, keepdim=True), dim=0),)


def nearest_loss(value: Terms, target: Terms) -> Tensor:
    """Mean cosine distance of each sample to the nearest one of the style (Kolkin et al. 2022, eq. 2)."""
    (wanted,) = target
    ours = F.normalize(value[0] - value[0].mean(1, keepdim=True), dim=0)
    with torch.no_grad():
        nearest = wanted[:, (ours.mT @ wanted).argmax(1)]
    return 1 - (ours * nearest).sum(0).mean()


GRAM = Statistic("second", gram_loss)
MEAN_COVARIANCE = Statistic("moments", mean_covariance_loss)
W2 = Statistic("moments", w2_loss, w2_prepare)
SLICED = Statistic("samples", sliced_loss, sliced_prepare)
NEAREST = Statistic("samples", nearest_loss, nearest_prepare)
