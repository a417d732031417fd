"""MSG-GAN: a GAN whose two networks meet at every scale of the pictures at once, a calmer way to larger ones."""

from __future__ import annotations

import genart
from genart.nn.train_params import RelativisticParams


class TrainParams(RelativisticParams):
    """Parameters of msggan.train."""


@genart.stage(
    "msggan.train",
    outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images},
    random=True,
    depends=("kornia",),
    data_parallel=True,
)
def msggan_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train an MSG-GAN, whose networks meet at every scale at once (Karnewar and Wang 2020).

    The generator draws each picture at 4x4, 8x8 and so on up to the full size, and the discriminator judges all of them together. The
    result is the exponential moving average (EMA) of the generator's weights; `progress` is a film of the same latents during training,
    `plot` its curves, and `nearest` shows samples beside the training pictures that are nearest to them.

    Example:
        [[stage]]
        uses = "msggan.train"
        budget = "5m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """Register the family for rebuilding."""
    return {"msggan": "genart_msggan.networks:Generator"}
