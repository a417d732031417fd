"""Drawing with a trained generator of any family: samples, and walks between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

import genart


class _SampleParams(genart.Params):
    """Parameters of latent.sample."""

    count: Annotated[int, Field(ge=1, description="Number of pictures.")] = 16
    truncation_psi: Annotated[
        float, Field(gt=0, le=2, description="Scale of the latents: below 1 the pictures are more typical and less varied.")
    ] = 1.0


class _WalkParams(genart.Params):
    """Parameters of latent.walk."""

    frames: Annotated[int, Field(ge=1, description="Number of frames.")] = 96
    fps: Annotated[float, Field(gt=0, le=240, description="Frames per second of the film.")] = 24.0
    keys: Annotated[
        int | None, Field(ge=2, description="Number of key latents to pass through. Default: one per 16 frames, at least 3.")
    ] = None
    seeds: Annotated[
        tuple[int, ...] | None, Field(min_length=2, description="Seeds of the key latents, such as latent.sample writes into its pictures.")
    ] = None
    interpolation: Annotated[
        Literal["slerp", "lerp"], Field(description="Along the great circle or the straight line between two keys.")
    ] = "slerp"
    easing: Annotated[
        Literal["linear", "smooth", "smoother", "cosine"], Field(description="Speed between two keys; all but linear rest at the keys.")
    ] = "smooth"
    loop: Annotated[bool, Field(description="Lead back to the first key, so that the film repeats without a seam.")] = True
    truncation_psi: Annotated[
        float, Field(gt=0, le=2, description="Scale of the latents: below 1 the pictures are more typical and less varied.")
    ] = 1.0


_CLASS: Any = {  # `class` is a word of Python's own, so it cannot be written as an attribute
    "class": (
        str | None,
        Field(None, description="Class to draw, by the name of its folder, from a model that was trained on class folders. Default: any."),
    )
}


class SampleParams(create_model("_SampleParamsWithClass", __base__=_SampleParams, **_CLASS)):  # type: ignore[misc]
    """Parameters of latent.sample."""


class WalkParams(create_model("_WalkParamsWithClass", __base__=_WalkParams, **_CLASS)):  # type: ignore[misc]
    """Parameters of latent.walk."""


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


@genart.stage("latent.walk", random=True, pointwise=True)
def latent_walk(model: genart.Model, params: WalkParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw a film that moves through latent space from key to key.

    Example:
        [[stage]]
        uses = "latent.walk"
        frames = 96
        loop = true
    """
    from .draw import walk

    yield from walk(model, params, run)
