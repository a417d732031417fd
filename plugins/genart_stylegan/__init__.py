"""StyleGAN: a generator that draws every scale of a picture in a style, which can be mixed, truncated and walked through."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

import genart
from genart.nn.train_params import RelativisticParams


class TrainParams(RelativisticParams):
    """Parameters of stylegan.train."""

    enough_pictures: ClassVar[int] = 1000  # it changes nothing of what D sees unless asked
    # How much better D is says little of whether it overfits where answers count only against each other: "adaptive" soon does all it can.
    augment: Annotated[
        Literal["none", "always", "adaptive"],
        Field(description="Change what D sees, real and generated pictures alike: never, always, or the more the more D overfits."),
    ] = "none"
    mapping_layers: Annotated[int, Field(ge=1, le=16, description="Layers between a latent and its style.")] = 2
    noise: Annotated[
        bool,
        Field(
            description="Noise at every scale of G, for detail that no latent decides (Karras et al. 2019); for long trainings: "
            "within minutes G learns to draw with little else."
        ),
    ] = False
    style_mixing: Annotated[
        float, Field(ge=0, le=1, description="Share of the generated training pictures whose coarse and fine scales get different styles.")
    ] = 0.0
    minibatch_stddev: Annotated[
        bool, Field(description="D sees how much the pictures of a batch differ, against a generator that repeats itself.")
    ] = True


@genart.stage(
    "stylegan.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    depends=("kornia",),
    data_parallel=True,
)
def stylegan_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a style-based GAN (Karras et al. 2019, 2020) for the calm loss of Huang et al. (2024).

    A latent becomes a style, and the style decides at every scale what is drawn: `truncation_psi` of the latent stages draws styles nearer
    to the mean one, more typical and less varied. The result is the exponential moving average (EMA) of the generator's weights; `progress`
    is a film of the same latents during training, `plot` its curves, and `nearest` shows samples beside the training pictures that are
    nearest to them.

    Example:
        [[stage]]
        uses = "stylegan.train"
        budget = "5m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"stylegan": "genart_stylegan.networks:Generator"}
