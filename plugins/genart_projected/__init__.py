"""Projected GAN: D judges what a network that knows photographs sees, so that G learns in minutes what a picture looks like."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

import genart
from genart.nn.train_params import GanParams


class TrainParams(GanParams):
    """Parameters of projected.train."""

    enough_pictures: ClassVar[int] = 200  # the frozen network knows what pictures look like
    lr_G: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the generator.")] = 2e-3
    lr_D: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the discriminator.")] = 2e-3
    loss: Annotated[genart.LossName, Field(description="What the two play for.")] = "hinge"
    augment: Annotated[
        Literal["none", "always", "adaptive"],
        Field(
            description="Change what D sees, real and generated pictures alike: never, always, or the more the more D overfits. "
            "Only pictures that are never changed have their features remembered, which saves time."
        ),
    ] = "none"
    backbone: genart.BackboneName = Field(
        "efficientnet-lite0", description="Frozen network whose features D judges: efficientnet-lite0, or vgg19, which is slower."
    )
    features_px: Annotated[
        int | None,
        Field(
            ge=32,
            le=512,
            description="Pixels along a side at which the frozen network sees pictures; more of them show it finer detail, at a cost. "
            "Default: those of the pictures, but at least 64.",
        ),
    ] = None


@genart.stage(
    "projected.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    depends=("kornia",),
    data_parallel=True,
)
def projected_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a projected GAN on pictures (Sauer et al. 2021).

    D sees the features of a network that was trained on photographs, at several scales and mixed at random, instead of pixels. So brush
    strokes come within minutes, from few pictures. The result is the exponential moving average (EMA) of the generator's weights;
    `progress` is a film of the same latents during training, `plot` its curves, and `nearest` shows samples beside the training pictures
    that are nearest to them.

    Example:
        [[stage]]
        uses = "projected.train"
        budget = "3m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"projected": "genart_projected.networks:Generator"}


@genart.hookimpl
def genart_backbones() -> dict[str, str]:
    """Register the network that comes with the plugin."""
    return {"efficientnet-lite0": "genart_projected.features:efficientnet_lite0"}
