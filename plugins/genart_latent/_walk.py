"""Declares latent.walk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

import genart

from ._params import Fps, Frames, Seed, with_class

#: Interpolations that are closed courses of their own, rather than from key to key.
COURSES = ("circle", "noise")


def one_or_more(value: Any) -> Any:
    """Read one value as a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_SECONDS = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "array", "items": {"type": "number", "minimum": 0}}]}
Seconds = Annotated[
    tuple[Annotated[float, Field(ge=0, le=3600)], ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_SECONDS)
]


class _WalkParams(genart.Params):
    """Parameters of latent.walk."""

    frames: Frames = 96
    fps: Fps = 24.0
    keys: Annotated[
        int | None,
        Field(
            ge=2,
            description="Number of key latents to pass through; on a noise loop, of different pictures. "
            "Default: one per 16 frames, at least 3.",
        ),
    ] = None
    seeds: Annotated[
        tuple[Seed, ...] | None,
        Field(min_length=1, description="Seeds of the key latents, such as latent.sample writes into its pictures."),
    ] = None
    keys_from: Annotated[
        genart.PictureInput | None,
        Field(
            description="Pictures whose latents are the keys: the id of a stage such as latent.grid, latent.sample or latent.project, "
            "or a PNG or a folder of PNGs that was saved from one."
        ),
    ] = None
    cells: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None,
        Field(min_length=1, description="Which pictures of `keys_from` in which order, or cells of its sheet, from 0. Default: all."),
    ] = None
    loop: Annotated[bool, Field(description="Lead back to the first key, so that the film repeats without a seam.")] = True
    interpolation: Annotated[
        Literal["slerp", "lerp", "spline", "circle", "noise"] | None,
        Field(
            description="Between two keys along the great circle, the straight line or a smooth curve through all keys; or a loop: "
            "a circle through the first two keys, or simplex noise. Default: slerp, in w lerp."
        ),
    ] = None
    radius: Annotated[
        float, Field(gt=0, le=1, description="Of a circle or a noise loop: below 1 it stays around the first key, the nearer the smaller.")
    ] = 1.0
    easing: Annotated[
        Literal["linear", "smooth", "smoother", "cosine"] | None,
        Field(description="Speed between two keys; all but linear rest at the keys. Default: smooth, on a spline linear."),
    ] = None
    hold: Annotated[
        Seconds, Field(description="Seconds that the film rests at each key: one number, or one for each key. `frames` includes them.")
    ] = (0.0,)
    space: Annotated[
        Literal["z", "w"] | None,
        Field(
            description="Where the walk goes: among latents, or among the styles of a family that has them (stylegan). "
            "Default: w for latents, style mixing and directions that lie there, else z."
        ),
    ] = None
    truncation_psi: Annotated[
        float | None,
        Field(
            gt=0,
            le=2,
            description="Scale of the latents: below 1 the pictures are more typical and less varied. "
            "Default: what the pictures of `keys_from` were drawn with, else 1.",
        ),
    ] = None
    mix_layers: Annotated[
        tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None,
        Field(description="Style mixing: first and last layer that walk, from 0, the coarsest; the others keep the style of `mix_seed`."),
    ] = None
    mix_seed: Annotated[Seed | None, Field(description="Seed of the style that the other layers keep. Default: the first key's.")] = None
    direction: Annotated[
        int | None,
        Field(ge=0, description="Instead of passing keys, sway about the first one along this direction of latent.directions, from 0."),
    ] = None
    method: Annotated[
        Literal["sefa", "pca"], Field(description="How directions are found: from the first layer, or from many styles (w only).")
    ] = "sefa"
    strength: Annotated[float, Field(gt=0, le=100, description="How far along the direction, in standard deviations.")] = 3.0
    classes: Annotated[
        tuple[str, ...] | None,
        Field(min_length=1, description="Classes of the keys in turn: what is drawn blends from one to the next."),
    ] = None

    @field_validator("keys_from")
    @classmethod
    def _one_source(cls, keys_from: Any, info: ValidationInfo) -> Any:
        if keys_from is not None and (info.data.get("seeds") is not None or info.data.get("keys") is not None):
            raise ValueError("give `keys_from`, or `keys` or `seeds`, not both")
        return keys_from

    @field_validator("cells")
    @classmethod
    def _of_something(cls, cells: Any, info: ValidationInfo) -> Any:
        if cells is not None and info.data.get("keys_from", 0) is None:
            raise ValueError("they are cells of `keys_from`, which is not given")
        return cells

    @field_validator("interpolation")
    @classmethod
    def _closed(cls, interpolation: str | None, info: ValidationInfo) -> str | None:
        if interpolation in COURSES and not info.data.get("loop", True):
            raise ValueError(f"a {interpolation} is a loop: leave out `loop = false`")
        return interpolation

    @field_validator("radius")
    @classmethod
    def _of_a_course(cls, radius: float, info: ValidationInfo) -> float:
        if radius != 1 and info.data.get("interpolation", COURSES[0]) not in COURSES:
            raise ValueError("it is that of a circle or a noise loop: give `interpolation` beside it")
        return radius

    @field_validator("easing")
    @classmethod
    def _between_keys(cls, easing: str | None, info: ValidationInfo) -> str | None:
        if easing is not None and info.data.get("interpolation") in COURSES:
            raise ValueError(f"a {info.data['interpolation']} has one speed: leave it out")
        return easing

    @field_validator("mix_layers")
    @classmethod
    def _ordered(cls, layers: tuple[int, int] | None, info: ValidationInfo) -> tuple[int, int] | None:
        if layers is not None and layers[0] > layers[1]:
            raise ValueError("the first layer must not be above the last")
        if layers is not None and info.data.get("space") == "z":
            raise ValueError("styles are mixed in w: leave out space = 'z'")
        return layers

    @field_validator("mix_seed")
    @classmethod
    def _mixing(cls, seed: int | None, info: ValidationInfo) -> int | None:
        if seed is not None and info.data.get("mix_layers", 0) is None:
            raise ValueError("give `mix_layers` beside it")
        return seed

    @field_validator("direction")
    @classmethod
    def _passing_no_keys(cls, direction: int | None, info: ValidationInfo) -> int | None:
        if direction is None:
            return direction
        if info.data.get("interpolation") is not None or any(info.data.get("hold", ())):
            raise ValueError("it leads about one key and passes no others: leave out `interpolation` and `hold`")
        if info.data.get("easing") is not None and info.data.get("loop", True):
            raise ValueError("a loop along it swings like a pendulum: leave out `easing`, or give `loop = false`")
        return direction

    @field_validator("method", "strength")
    @classmethod
    def _of_a_direction(cls, value: Any, info: ValidationInfo) -> Any:
        if value != cls.model_fields[str(info.field_name)].default and info.data.get("direction", 0) is None:
            raise ValueError("give `direction` beside it")
        return value

    @field_validator("class", check_fields=False)
    @classmethod
    def _one_class(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and info.data.get("classes") is not None:
            raise ValueError("give `class` or `classes`, not both")
        return name


class WalkParams(with_class("_WalkParamsWithClass", _WalkParams)):  # type: ignore[misc]
    """Parameters of latent.walk."""


@genart.stage("latent.walk", random=True, pointwise=True)
def latent_walk(model: genart.Model, params: WalkParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw a film that moves through latent space from key to key.

    Keys are new latents, or given by seeds, by cells of a latent.grid, or by pictures of latent.project. A loop closes to the bit. Keys
    are the same whatever the number of frames.

    Example:
        [[stage]]
        uses = "latent.walk"
        frames = 96
        loop = true
    """
    from .walk import walk

    yield from walk(model, params, run)
