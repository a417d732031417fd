"""Declares latent.sample and latent.grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import Seed, TruncationPsi, with_class


class _SampleParams(genart.Params):
    """Parameters of latent.sample."""

    count: Annotated[int, Field(ge=1, description="Number of pictures.")] = 16
    seeds: Annotated[
        tuple[Seed, ...] | None,
        Field(min_length=1, description="Seeds of the pictures, such as a latent.grid shows: `count` is theirs then. Default: new ones."),
    ] = None
    truncation_psi: TruncationPsi = 1.0


class SampleParams(with_class("_SampleParamsWithClass", _SampleParams)):  # type: ignore[misc]
    """Parameters of latent.sample."""


class _GridParams(_SampleParams):
    """Parameters of latent.grid."""

    count: Annotated[int, Field(ge=1, le=10_000, description="Number of pictures.")] = 48
    columns: Annotated[int | None, Field(ge=1, le=1000, description="Pictures side by side; by default a sheet that is about square.")] = (
        None
    )
    gap: Annotated[int, Field(ge=0, le=1000, description="Pixels between the pictures and around them.")] = 2
    label: Annotated[
        Literal["seed", "cell", "class"] | None,
        Field(description="What to write under each picture: its seed, the number of its cell from 0, or its class. Default: nothing."),
    ] = None


class GridParams(with_class("_GridParamsWithClass", _GridParams)):  # type: ignore[misc]
    """Parameters of latent.grid."""


@genart.stage("latent.sample", random=True, pointwise=True)
def latent_sample(model: genart.Model, params: SampleParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw pictures from random latents, each with a seed of its own.

    Example:
        [[stage]]
        uses = "latent.sample"
        count = 64
    """
    from .draw import sample

    yield from sample(model, params, run)


@genart.stage("latent.grid", random=True, depends=("pillow",))
def latent_grid(model: genart.Model, params: GridParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw a contact sheet to choose from: the pictures of latent.sample, with their seeds in the sheet's metadata.

    The seeds stay in a PNG that is saved: latent.walk passes through the cells that `cells` counts when `keys_from` names the sheet.

    Example:
        [[stage]]
        uses = "latent.grid"
        count = 48
        label = "cell"
    """
    from .grid import sheet

    yield from sheet(model, params, run)
