"""DCGAN: a small convolutional GAN that trains on the pictures of a folder in minutes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

import genart

Resolution = Literal[16, 32, 64, 128, 256]


class TrainParams(genart.Params):
    """Parameters of dcgan.train."""

    resolution: Annotated[
        Resolution | None,
        Field(description="Pixels along a side; other pictures are scaled and cropped to it. Default: that of the pictures."),
    ] = None
    budget: Annotated[genart.Duration | None, Field(description="Time for the whole training. Default: 3m, unless kimg is given.")] = None
    kimg: Annotated[
        float | None, Field(gt=0, description="Thousands of real images to train on, instead of (or, as a limit, beside) a budget.")
    ] = None
    width: Annotated[
        int | None,
        Field(
            ge=4,
            le=512,
            description="Channels of the finest layer; coarser ones have up to 8 times as many. Default: what the budget allows.",
        ),
    ] = None
    batch_size: Annotated[int | None, Field(ge=2, le=1024, description="Pictures per step. Default: what suits the device.")] = None
    z_dim: Annotated[int, Field(ge=2, le=1024, description="Numbers in a latent vector.")] = 64
    upsample: Annotated[
        Literal["resize", "transposed"],
        Field(description="How G doubles: enlarge and convolve (no chequer pattern), or transposed convolutions."),
    ] = "resize"
    lr_G: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the generator.")] = 3e-4
    lr_D: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the discriminator.")] = 1e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5, description="D is taught that a real picture is real with 1 minus this.")] = 0.1
    skip_D_below: Annotated[float, Field(ge=0, description="D does not learn in steps where its loss is below this; 0 never skips.")] = 0.0
    ema_kimg: Annotated[
        float, Field(ge=0, description="Limit of the half-life, in thousands of images, of the average of G that is the result.")
    ] = 10.0
    mirror: Annotated[bool, Field(description="Flip half of the real pictures left to right.")] = False
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Field(description="Precision of matrix products; auto takes bf16 where the device gains from it.")
    ] = "auto"


@genart.stage("dcgan.train", outputs={"progress": genart.Images}, random=True)
def dcgan_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a DCGAN on pictures (Radford et al. 2015).

    The result is the average of the generator over the last images; `progress` is a film of the same latents during training.

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
