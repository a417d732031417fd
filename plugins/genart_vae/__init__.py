"""VAE: an autoencoder that draws, takes pictures apart into latents, and leads from one picture to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

import genart
from genart.nn import train_params


class TrainParams(train_params.TrainParams):
    """Parameters of vae.train."""

    lr: Annotated[float, Field(gt=0, le=1000, description="Learning rate of encoder, prior and decoder.")] = 2e-3
    beta: Annotated[
        float,
        Field(
            ge=0, le=1000, description="Weight of the divergence from the prior: more of it makes samples better and reconstructions worse."
        ),
    ] = 1.0
    warm_up: Annotated[
        float, Field(ge=0, le=1, description="Share of the training during which the weight of the divergence rises from 0 to beta.")
    ] = 0.2


class ReconstructParams(genart.Params):
    """Parameters of vae.reconstruct."""

    model: Annotated[genart.ModelInput, Field(description="What vae.train gave: a .safetensors file, or the id of its stage.")]


class WalkParams(genart.Params):
    """Parameters of vae.walk."""

    model: Annotated[genart.ModelInput, Field(description="What vae.train gave: a .safetensors file, or the id of its stage.")]
    frames: Annotated[int, Field(ge=1, description="Number of frames.")] = 96
    fps: Annotated[float, Field(gt=0, le=240, description="Frames per second of the film.")] = 24.0
    interpolation: Annotated[
        Literal["slerp", "lerp"], Field(description="Along the great circle or the straight line between two pictures' latents.")
    ] = "slerp"
    easing: Annotated[
        Literal["linear", "smooth", "smoother", "cosine"],
        Field(description="Speed between two pictures; all but linear rest at the pictures."),
    ] = "smooth"
    loop: Annotated[bool, Field(description="Lead back to the first picture, so that the film repeats without a seam.")] = True


@genart.stage(
    "vae.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    data_parallel=True,
)
def vae_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a variational autoencoder on pictures (Kingma and Welling 2014).

    It learns steadily and covers all of the pictures, but draws them softer than a GAN. The result is the average of its networks over
    the last images: the decoder with its prior, with which the latent stages draw, and the encoder, for vae.reconstruct and vae.walk.
    `progress` is a film of the same latents during training, `plot` its curves, and `nearest` shows samples beside the training pictures
    that are nearest to them.

    Example:
        [[stage]]
        uses = "vae.train"
        budget = "3m"
    """
    from .train import train

    return train(images, params, run)


@genart.stage("vae.reconstruct", pointwise=True)
def vae_reconstruct(images: genart.Images, params: ReconstructParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Encode each picture and decode it again, at the size that the model draws.

    What comes back is what the model has understood of a picture.

    Example:
        [[stage]]
        uses = "images.samples"
        id = "photographs"
        crop = 64

        [[stage]]
        uses = "vae.train"
        id = "train"

        [[stage]]
        uses = "vae.reconstruct"
        from = "photographs"
        model = "train"
    """
    from .draw import reconstruct

    yield from reconstruct(images, params, run)


@genart.stage("vae.walk")
def vae_walk(images: genart.Images, params: WalkParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw a film that leads from picture to picture through latent space.

    The film passes through the given pictures, two or more, in their order, as vae.reconstruct would give them back. Where the model was
    trained on class folders, a picture that names none of its classes belongs to the one that it fits best.

    Example:
        [[stage]]
        uses = "images.samples"
        id = "photographs"
        crop = 64

        [[stage]]
        uses = "vae.train"
        id = "train"

        [[stage]]
        uses = "images.samples"
        id = "keys"
        crop = 64
        count = 6

        [[stage]]
        uses = "vae.walk"
        from = "keys"
        model = "train"
    """
    from .draw import walk

    yield from walk(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"vae": "genart_vae.networks:Autoencoder"}
