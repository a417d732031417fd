"""Augmentation with Kornia: `augment`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from genart import Batch, Images, Params, Run, stage

from .ops import OPS, read_op

Op = Annotated[
    dict[str, Any],
    BeforeValidator(read_op),
    WithJsonSchema({"anyOf": [{"enum": list(OPS)}, {"type": "object", "required": ["op"], "properties": {"op": {"enum": list(OPS)}}}]}),
]


class AugmentParams(Params):
    """Parameters of `augment`."""

    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = Field(
        ({"op": "RandomHorizontalFlip"},),
        description='What is done, in order: names of Kornia\'s augmentations, or tables {op = "RandomAffine", degrees = 10, p = 0.5}.',
    )
    copies: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="Augmented pictures made of each one; they follow one another.")


@stage("augment", random=True, light=True, depends=("kornia",))
def augment(images: Images, params: AugmentParams, run: Run) -> Iterator[Batch]:
    """Vary pictures by chance: Kornia's flips, crops, affine maps, colour jitter and all its other operations on single pictures.

    Operations and their parameters have Kornia's names. What happens to a picture depends on its index and the seed alone, and an
    operation draws the same whatever comes before or after it. Transparency takes part in geometry and is left alone by colour.

    Example:
        [[stage]]
        uses = "augment"
        ops = [
          "RandomHorizontalFlip",
          {op = "RandomAffine", degrees = 10, scale = [0.9, 1.1], padding_mode = "reflection"},
          {op = "ColorJitter", brightness = 0.2, saturation = 0.2, p = 0.8},
        ]
        copies = 4
    """
    from .pipeline import augment_images

    return augment_images(run, images, list(params.ops), copies=params.copies)
