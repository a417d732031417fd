"""Declares latent.directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import Seed, TruncationPsi, with_class


class _DirectionsParams(genart.Params):
    """Parameters of latent.directions."""

    count: Annotated[int, Field(ge=1, le=4096, description="Number of directions, the strongest first.")] = 8
    steps: Annotated[int, Field(ge=2, le=999, description="Pictures along each direction; an odd number shows the latent itself.")] = 7
    method: Annotated[
        Literal["sefa", "pca"],
        Field(description="From the first layer's weights, or the principal components of many styles (stylegan only)."),
    ] = "sefa"
    strength: Annotated[float, Field(gt=0, le=100, description="How far each way, in standard deviations of the latents.")] = 3.0
    latent_seed: Annotated[
        Seed | None, Field(description="Seed of the latent that is changed. Default: that of the first latent.sample.")
    ] = None
    truncation_psi: TruncationPsi = 1.0


class DirectionsParams(with_class("_DirectionsParamsWithClass", _DirectionsParams)):  # type: ignore[misc]
    """Parameters of latent.directions."""


@genart.stage("latent.directions", random=True, pointwise=True)
def latent_directions(model: genart.Model, params: DirectionsParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw one latent changed along the directions in which a model's pictures change most, found without training.

    Direction after direction, each from one end to the other: an images.grid of `steps` columns shows one in each row. Directions are the
    same in every run, so their numbers can be given to latent.walk as `direction`. They lie in w for stylegan, else in z.

    Example:
        [[stage]]
        uses = "latent.directions"
        count = 8
        steps = 7

        [[stage]]
        uses = "images.grid"
        columns = 7
        label = "direction"
    """
    from .directions import strips

    yield from strips(model, params, run)
