"""ProGAN: a GAN that begins with pictures of 4x4 pixels and grows, so that it learns the whole before the details."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

import genart
from genart.nn.train_params import RelativisticParams


class TrainParams(RelativisticParams):
    """Parameters of progan.train."""

    fade: Annotated[
        float, Field(ge=0, le=1, description="Share of a coarse level's images during which each one fades in; 0 adds its layers at once.")
    ] = 0.5


@genart.stage(
    "progan.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    depends=("kornia",),
    data_parallel=True,
)
def progan_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a GAN that grows from 4x4 pixels to the pictures' size (Karras et al. 2018).

    Few layers learn the composition on small pictures first; one layer after another then fades in and adds detail. The result is the
    exponential moving average (EMA) of the generator's weights; `progress` is a film of the same latents during training, `plot` its
    curves, and `nearest` shows samples beside the training pictures that are nearest to them. A training that its budget stops within the
    growth draws pictures of the size that it had reached, enlarged. The paper's own loss is `loss = "wgan"` with `gp_lambda = 10`,
    `r1_gamma = 0`, `r2_gamma = 0` and both learning rates 0.001.

    Example:
        [[stage]]
        uses = "progan.train"
        budget = "5m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"progan": "genart_progan.networks:Generator"}
