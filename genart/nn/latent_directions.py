"""Directions in latent space along which pictures change most: no labels, no training.

"sefa" reads them off the first layer's weights (Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs");
"pca" takes the principal components of styles (Härkönen et al. 2020, "GANSpace", section 3.1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genart.errors import DataError, UsageError

from .latent_space import Space

#: Latents that the spread of styles is measured on, and the seed that they come from: directions belong to a model, not to a run.
SAMPLES, SEED = 4096, 2020


class Directions(NamedTuple):
    """Directions of a space, the strongest first.

    Attributes:
        vectors: (K, dim), orthonormal.
        spread: (K,), the standard deviation of latents along each: 1 in z.
    """

    vectors: Tensor
    spread: Tensor

    def step(self, direction: int, where: str) -> Tensor:
        """One standard deviation along a direction: (dim,).

        Raises:
            UsageError: if there is none of this number.
        """
        if direction >= len(self.vectors):
            raise UsageError(
                f"{where}: there is no direction {direction}", f"the model has {len(self.vectors)}, from 0 to {len(self.vectors) - 1}"
            )
        return self.vectors[direction] * self.spread[direction]


def with_signs(vectors: Tensor) -> Tensor:
    """Rows turned so that the number of largest size in each is positive: a direction and its opposite are the same to an eigenvalue."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def sefa(weight: Tensor) -> Tensor:
    """Directions that a layer answers to most: eigenvectors of AᵀA (Shen and Zhou 2021, eq. 5), largest eigenvalue first.

    Args:
        weight: A, (out, dim).

    Returns:
        (dim, dim) float32, orthonormal rows.
    """
    A = weight.detach().cpu().double()
    _, vectors = torch.linalg.eigh(A.T @ A)
    return with_signs(vectors.flip(1).T).float()


def principal(points: Tensor) -> Directions:
    """Principal components of points, (N, dim), N above dim, as Directions."""
    centred = (points - points.mean(0)).double()
    variances, vectors = torch.linalg.eigh(centred.T @ centred / (len(points) - 1))
    return Directions(with_signs(vectors.flip(1).T).float(), variances.flip(0).clamp(min=0).sqrt().float())


def space_of(method: str, styled: bool) -> str:
    """The space in which the directions of a method lie: "w" for a family that has it."""
    return "w" if styled or method == "pca" else "z"


def directions(space: Space, method: str) -> Directions:
    """Directions of a model.

    Args:
        space: w for a family that has it, else z; see `space_of`.
        method: "sefa" or "pca".

    Raises:
        DataError: if the family has no w and "pca" is asked for, or does not tell its first layer.
    """
    if method == "pca":
        space.need_styles("method = 'pca'")
        return principal(styles(space))
    if not hasattr(space.G, "first_layer"):
        raise DataError(
            f"the family '{space.family}' does not tell its first layer, which method = 'sefa' reads",
            "its generator needs a method first_layer that gives the weights (out, z_dim)",
        )
    vectors = sefa(space.G.first_layer())
    if space.name == "z":
        return Directions(vectors, torch.ones(len(vectors)))
    return Directions(vectors, (styles(space) @ vectors.T).std(0))


@torch.no_grad()
def styles(space: Space) -> Tensor:
    """Styles of many latents, of all classes in turn: (SAMPLES, w_dim) on the CPU, the same in every run."""
    z = torch.randn(SAMPLES, space.z_dim, generator=torch.Generator().manual_seed(SEED))
    return space.G.mapping(z.to(space.device)).float().cpu()  # type: ignore[no-any-return]
