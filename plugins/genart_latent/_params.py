"""Parameters that several stages have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model

import genart

Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
TruncationPsi = Annotated[
    float, Field(gt=0, le=2, description="Scale of the latents: below 1 the pictures are more typical and less varied.")
]
Frames = Annotated[int, Field(ge=1, description="Number of frames.")]
Fps = Annotated[float, Field(gt=0, le=240, description="Frames per second of the film.")]

ONE_CLASS = "Class to draw, by the name of its folder, from a model that was trained on class folders. Default: any."


def with_class(name: str, base: type[genart.Params]) -> Any:
    """A model of parameters with `class` beside its own: a word of Python's, so it cannot be written as an attribute."""
    fields: dict[str, Any] = {"class": (str | None, Field(None, description=ONE_CLASS))}
    return create_model(name, __base__=base, **fields)
