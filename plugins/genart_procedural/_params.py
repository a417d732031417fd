"""Parameters that several stages have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

import genart

from ._palettes import PALETTES

#: Smallest and largest side of a picture in pixels, and colours in a palette.
MIN_SIDE, MAX_SIDE, MAX_COLOURS = 16, 4096, 32
_HEX = "^#[0-9a-fA-F]{6}$"

#: Distributions whose version may change what is drawn.
DEPENDS = ("numpy", "scipy", "opencv-python-headless")


def read_palette(value: Any) -> Any:
    """Read a palette: "any", a name of the table, or a list of two or more colours.

    Raises:
        ValueError: for another name, with the nearest one, or what is no colour.
    """
    names = ("any", *PALETTES)
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"there is no palette '{value}'{genart.did_you_mean(value, names)}")
        return value
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= MAX_COLOURS:
        raise ValueError(f"expected the name of a palette, or a list of 2 to {MAX_COLOURS} colours such as '#336699'")
    return tuple(_read_colour(colour) for colour in value)


def _read_colour(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(_HEX, value):
        raise ValueError("expected colours such as '#336699'")
    return value.lower()


_PALETTE = {
    "anyOf": [
        {"enum": ["any", *PALETTES]},
        {"type": "array", "minItems": 2, "maxItems": MAX_COLOURS, "items": {"type": "string", "pattern": _HEX}},
    ]
}
PaletteName = Annotated[str | tuple[str, ...], BeforeValidator(read_palette), WithJsonSchema(_PALETTE)]
Colour = Annotated[str, AfterValidator(_read_colour), WithJsonSchema({"type": "string", "pattern": _HEX})]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
Share = Annotated[float, Field(ge=0, le=1)]


class SourceParams(genart.Params):
    """What every stage has that draws from nothing."""

    count: Annotated[int, Field(ge=1)] = Field(1, description="Number of pictures, each different.")
    resolution: Side | tuple[Side, Side] = Field(512, description="Size of the pictures: one side for a square, or [width, height].")
    palette: PaletteName = Field(
        "any",
        description=f"Colours: {', '.join(PALETTES)}, any (another for each picture), or a list such as ['#f4f0e6', '#b8553d'], "
        "of which the first is the ground.",
    )
    palette_from: genart.PictureInput | None = Field(
        None, description="Take the palette from a picture instead: a file, or the id of a stage, of which the first picture is taken."
    )

    @field_validator("palette_from")
    @classmethod
    def _one_palette(cls, picture: Any, info: ValidationInfo) -> Any:
        if picture is not None and info.data.get("palette", "any") != "any":
            raise ValueError("give `palette` or `palette_from`, not both")
        return picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution


class FilmParams(SourceParams):
    """What those have besides that can draw a film."""

    frames: Annotated[int, Field(ge=2)] | None = Field(None, description="Draw a film of so many frames instead of still pictures.")
    fps: Annotated[float, Field(gt=0, le=240)] = Field(24.0, description="Frames per second of the film.")

    @field_validator("frames")
    @classmethod
    def _one_film(cls, frames: int | None, info: ValidationInfo) -> int | None:
        if frames is not None and info.data.get("count", 1) != 1:
            raise ValueError("a film is of one picture: leave out `count`")
        return frames
