"""Augmentation with Kornia: `augment`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from genart import Batch, Images, Params, Run, stage
from genart.nn.kornia_table import operations, read_op

NAMES = list(operations())

Op = Annotated[
    dict[str, Any],
    BeforeValidator(read_op),
    WithJsonSchema({"anyOf": [{"enum": NAMES}, {"type": "object", "required": ["op"], "properties": {"op": {"enum": NAMES}}}]}),
]


class AugmentParams(Params):
    """Parameters of `augment`."""

    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = Field(
        ({"op": "RandomHorizontalFlip"},),
        description='What is done, in order: names of Kornia\'s augmentations, or tables {op = "RandomAffine", degrees = 10, p = 0.5}.',
    )
    film: Literal["each", "once", "smooth"] = Field(
        "each",
        description="What pictures draw: each its own, all the same (once), or values that move from one to the next (smooth): for films. "
        "What cannot move, such as whether an operation is done, is then the same for all.",
    )
    period: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        24, description='With film = "smooth", pictures from one drawn value to the next.'
    )
    copies: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="Augmented pictures made of each one; they follow one another.")


@stage("augment", random=True, pointwise=True, light=True, depends=("kornia",), operations=operations)
def augment(images: Images, params: AugmentParams, run: Run) -> Iterator[Batch]:
    """Vary pictures by chance, or change them all alike: every operation of Kornia on single pictures.

    Augmentations (`RandomAffine`), functions (`adjust_gamma`, `canny`, `dilation`, `rgb_to_lab`), policies (`RandAugment`) and containers
    (`ImageSequential`, `PatchSequential`, with `ops` of their own) and their parameters have Kornia's names; the page "Operations" of the
    documents lists them. What happens to a picture depends on its index and the seed alone, and an operation draws the same whatever comes
    before or after it: among several of one name, the first, the second and so on. Transparency takes part in geometry and is left alone by
    colour.

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

    return augment_images(run, images, list(params.ops), copies=params.copies, film=params.film, period=params.period)


class PreviewParams(Params):
    """Parameters of `augment.preview`."""

    op: Op = Field(description="The operation: a name, or a table with its parameters.")
    vary: str | None = Field(None, description="The parameter whose values are shown; without it, what the operation draws.")
    values: tuple[Any, ...] = Field((), description="Values of `vary`, a column for each.")
    columns: Annotated[int, Field(ge=1, le=64)] = Field(6, description="Columns where nothing is varied: so many draws.")
    count: Annotated[int, Field(ge=1, le=64)] = Field(3, description="Pictures, a row for each.")

    @model_validator(mode="after")
    def _both_or_neither(self) -> PreviewParams:
        if (self.vary is None) != (not self.values):
            raise ValueError("`vary` names a parameter and `values` lists its values: give both, or neither")
        return self


@stage("augment.preview", random=True, light=True, depends=("kornia",), operations=operations)
def preview(images: Images, params: PreviewParams, run: Run) -> Iterator[Batch]:
    """Draw a contact sheet of an operation over values of one of its parameters, or over what it draws.

    Example:
        [[stage]]
        uses = "augment.preview"
        op = {op = "adjust_gamma", gamma = 1.0}
        vary = "gamma"
        values = [0.5, 0.7, 1.0, 1.4, 2.0]
        save = "gamma.png"
    """
    from .contact import contact_sheet

    yield from contact_sheet(run, images, params)
