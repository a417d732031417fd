"""Kornia's operations on single pictures and their parameters, as a table, so that a recipe is checked without Kornia.

`kornia_table.json` is read off Kornia (genart_augment.catalogue). Names and types are checked here, values by Kornia itself before the
first picture.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from genart.errors import did_you_mean

TABLE = Path(__file__).parent / "kornia_table.json"
TYPES: dict[str, Any] = {"number": float, "integer": int, "true | false": bool, "text": str, "list": list}
#: The operations that a container holds.
INNER = "ops"


@dataclass(frozen=True)
class Operation:
    """An operation that a recipe can name.

    Attributes:
        name: Kornia's.
        kind: an augmentation that draws, a function that does the same to each picture, or a container of others.
        of: Kornia's module.
        summary: what it does.
        parameters: by name: the types that they may have, and a default; without one they are required.
    """

    name: str
    kind: Literal["random", "function", "container"]
    of: str
    summary: str
    parameters: dict[str, dict[str, Any]]

    @functools.cached_property
    def model(self) -> type[BaseModel]:
        """The parameters as a pydantic model."""
        fields: dict[str, Any] = {}
        for name, about in self.parameters.items():
            choices = about.get("choices")
            kinds = [Literal[tuple(choices)] if choices else TYPES[kind] for kind in about["types"]]
            either = functools.reduce(lambda a, b: a | b, kinds)
            fields[name] = (either | None, about["default"]) if "default" in about else (either, ...)
        if self.kind == "container":
            fields[INNER] = (list, ...)
        return create_model(self.name, __config__=ConfigDict(strict=True, extra="forbid", protected_namespaces=()), **fields)


@functools.cache
def operations() -> dict[str, Operation]:
    """All operations by name."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Operation(name, **about) for name, about in table.items()}


def read_op(value: Any) -> Any:
    """Read one operation, a name or a table `{op = name, parameter = value, ...}`, as a table.

    Raises:
        ValueError: for a name, a parameter or a type that is not in the table, with the nearest one.
    """
    op = {"op": value} if isinstance(value, str) else value
    if not isinstance(op, dict) or not isinstance(op.get("op"), str):
        raise ValueError('expected a name such as "RandomAffine", or a table such as {op = "RandomAffine", degrees = 10}')
    name = op["op"]
    if name not in operations():
        raise ValueError(f"there is no augmentation '{name}' in Kornia's list{did_you_mean(name, operations())}")
    operation = operations()[name]
    given = {key: item for key, item in op.items() if key != "op"}
    known = [*operation.parameters, *([INNER] if operation.kind == "container" else [])]
    for parameter in given:
        if parameter not in known:
            takes = ", ".join(known) or "none"
            raise ValueError(f"no parameter '{parameter}' in {name}{did_you_mean(parameter, known)} (it takes {takes})")
    try:
        operation.model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = first["loc"][0] if first["loc"] else ""
        if first["type"] == "missing":
            raise ValueError(f"`{where}` is missing: {name} needs it") from None
        allowed = operation.parameters.get(str(where), {})
        kinds = " or ".join(allowed.get("choices") or allowed.get("types") or ["list of operations"])
        raise ValueError(f"{name}.{where}: expected {kinds}, got {json.dumps(given.get(str(where)))}") from None
    if operation.kind == "container":
        if not given[INNER]:
            raise ValueError(f"there is no operation in {name}: ops = [...]")
        op = {**op, INNER: [read_op(item) for item in given[INNER]]}
    return op


# what D may see

#: Changes of what D sees that are genart's own (`genart.nn.diffaugment`).
NAMED = ("translation", "cutout", "scale", "rotate", "mirror", "color")
#: Augmentations that let gradients through to what G draws, keep the size of pictures, and apply each row of what was drawn to its own
#: picture; as the tests prove.
DIFFERENTIABLE = frozenset(
    (
        "ColorJiggle",
        "ColorJitter",
        "RandomAffine",
        "RandomAutoContrast",
        "RandomBoxBlur",
        "RandomBrightness",
        "RandomChannelShuffle",
        "RandomContrast",
        "RandomErasing",
        "RandomGaussianBlur",
        "RandomGaussianIllumination",
        "RandomGaussianNoise",
        "RandomGrayscale",
        "RandomHorizontalFlip",
        "RandomHue",
        "RandomInvert",
        "RandomLinearCornerIllumination",
        "RandomLinearIllumination",
        "RandomPerspective",
        "RandomPlanckianJitter",
        "RandomRGBShift",
        "RandomRotation",
        "RandomRotation90",
        "RandomSaltAndPepperNoise",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomSnow",
        "RandomSolarize",
        "RandomThinPlateSpline",
        "RandomTranslate",
        "RandomVerticalFlip",
    )
)
FLAT, RESIZES = "is not differentiable: no gradient passes to G", "changes the size of pictures"
#: Why others are not offered, as far as there is more to say than that they are not.
REASONS = {
    **dict.fromkeys(("RandomClahe", "RandomEqualize", "RandomPosterize"), FLAT),
    **dict.fromkeys(("CenterCrop", "LongestMaxSize", "PadTo", "RandomCrop", "RandomResizedCrop", "Resize", "SmallestMaxSize"), RESIZES),
    "RandomGamma": "is not differentiable where a picture is black",
    "RandomMedianBlur": "is not differentiable where pixels are equal",
}
SUCH_AS = "RandomAffine, ColorJitter, RandomGaussianBlur and RandomPerspective can be used"


def read_change(value: Any) -> Any:
    """Read one change of what D sees: a name of genart's, or an augmentation as `read_op` reads it, without `p`.

    Returns:
        The name, or the table.

    Raises:
        ValueError: for anything else, with the reason, and what there is.
    """
    if isinstance(value, str) and value in NAMED:
        return value
    name = value.get("op") if isinstance(value, dict) else value
    if isinstance(name, str) and name not in operations():
        near = did_you_mean(name, [*NAMED, *sorted(DIFFERENTIABLE)])
        raise ValueError(f"there is no change '{name}'{near} (it takes {', '.join(NAMED)}, and augmentations of Kornia)")
    table = read_op(value)
    if name not in DIFFERENTIABLE:
        reason = REASONS.get(str(name), "is none of those that D may see")
        raise ValueError(f"{name} {reason}; {SUCH_AS}")
    if "p" in table:
        raise ValueError(f"{name} takes no `p` here: `augment` says how often it is done")
    return table
