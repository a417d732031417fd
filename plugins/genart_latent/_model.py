"""latent.model: a trained model at the beginning of a recipe."""

from __future__ import annotations

from pydantic import Field

import genart


class ModelParams(genart.Params):
    """Parameters of latent.model."""

    path: genart.InputPath = Field(description="A .safetensors file that genart saved.")


@genart.stage("latent.model", needs=genart.Needs(gpus=0))
def latent_model(_: None, params: ModelParams, run: genart.Run) -> genart.Model:
    """Begin with a model that was trained before.

    Example:
        [[stage]]
        uses = "latent.model"
        path = "painting.safetensors"

        [[stage]]
        uses = "latent.walk"
    """
    return run.adopt_model(params.path)
