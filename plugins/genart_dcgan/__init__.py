"""DCGAN: a small convolutional GAN that trains on the pictures of a folder in minutes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

import genart
from genart.nn.train_params import GanParams


class TrainParams(GanParams):
    """Parameters of dcgan.train."""

    lr_G: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the generator.")] = 1.2e-3
    lr_D: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the discriminator.")] = 4e-4
    loss: Annotated[genart.LossName, Field(description="What the two play for.")] = "bce"
    upsample: Annotated[
        Literal["resize", "transposed"],
        Field(description="How G doubles: enlarge and convolve (no checkerboard artefacts), or transposed convolutions."),
    ] = "resize"
    norm_D: Annotated[
        Literal["batch", "spectral", "none"],
        Field(description="Normalisation in D; gradient penalties want spectral or none, since batch normalisation joins the pictures."),
    ] = "batch"
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description='With loss = "bce", D is taught that a real picture is real with 1 minus this.')
    ] = 0.1


@genart.stage(
    "dcgan.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    depends=("kornia",),
    data_parallel=True,
)
def dcgan_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a DCGAN on pictures (Radford et al. 2015).

    The result is the exponential moving average (EMA) of the generator's weights; `progress` is a film of the same latents during training,
    `plot` its curves, and `nearest` shows samples beside the training pictures that are nearest to them.

    Example:
        [[stage]]
        uses = "dcgan.train"
        budget = "3m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"dcgan": "genart_dcgan.networks:Generator"}
