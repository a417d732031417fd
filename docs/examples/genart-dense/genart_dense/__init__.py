"""`dense.train`: the first GAN, of dense layers alone (Goodfellow et al. 2014)."""

from __future__ import annotations

import genart
from genart.nn.train_params import GanParams


class TrainParams(GanParams):
    """Parameters of `dense.train`: those of every family."""


@genart.stage("dense.train", outputs={"progress": genart.Images, "plot": genart.Images, "nearest": genart.Images}, random=True)
def dense_train(images: genart.Images, params: TrainParams, run: genart.Run) -> genart.Model:
    """Train a GAN of dense layers, which knows nothing of neighbourhoods (Goodfellow et al. 2014).

    Example:
        [[stage]]
        uses = "dense.train"
        budget = "2m"
    """
    from .train import train

    return train(images, params, run)


@genart.hookimpl
def genart_generators() -> dict[str, str]:
    """How to rebuild a model: with this all stages of `latent.*` draw from it."""
    return {"dense": "genart_dense.train:Generator"}
