"""Statistics of features that say in what manner a picture is painted: everything but where things are.

A statistic maps features to terms that blend linearly between styles. To add one, add it to the table and to the parameter.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Terms = tuple[Tensor, ...]


def gram(features: Tensor) -> Terms:
    """Gram matrix (Gatys et al. 2016, eq. 3), divided by the number of positions so that size doesn't matter.

    Args:
        features: (1, C, H, W).

    Returns:
        One term: G_ij = mean over positions of F_i F_j, (C, C).
    """
    flat = features[0].flatten(1)
    return ((flat @ flat.T) / flat.shape[1],)


def mean_covariance(features: Tensor) -> Terms:
    """Mean and covariance of the features over positions.

    Unlike in the Gram matrix, which mixes the two, a feature's strength cannot stand in for its variation.

    Args:
        features: (1, C, H, W).

    Returns:
        Mean (C,) and covariance (C, C).
    """
    flat = features[0].flatten(1)
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    return mean, (centred @ centred.T) / flat.shape[1]


STATISTICS: dict[str, Callable[[Tensor], Terms]] = {"gram": gram, "mean_covariance": mean_covariance}
