"""Pictures in, sized and laid out: `images.samples`, `.folder`, `.archive`, `.torchvision`, `.video`, `.resize`, `.grid` and `.sheet`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from genart import Batch, Duration, Images, InputPath, Needs, Params, PictureInput, Run, stage
from genart.nn.datasets import OF_IDX, SPLITS
from genart.nn.samples import COLOUR, FILES, read_names

if TYPE_CHECKING:
    from genart.nn.pictures import Want

#: Largest side of a picture, in pixels, that a parameter may ask for.
MAX_SIDE = 16384
COLOURS = {"white": "#ffffff", "black": "#000000", "grey": "#808080"}


def _read_colour(value: str) -> str:
    colour = COLOURS.get(value, value).lower()
    if not re.fullmatch(r"#[0-9a-f]{6}", colour):
        raise ValueError(f"expected a colour such as '#336699', or one of {', '.join(COLOURS)}")
    return colour


Colour = Annotated[str, AfterValidator(_read_colour)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Photos = Annotated[
    tuple[str, ...],
    BeforeValidator(read_names),
    WithJsonSchema({"anyOf": [{"enum": list(FILES)}, {"type": "array", "minItems": 1, "items": {"enum": list(FILES)}}]}),
]


class SamplesParams(Params):
    """Parameters of `images.samples`."""

    photos: Photos = Field(tuple(COLOUR), description="Names of the photographs to cut from: one, or a list.")
    crop: Side | None = Field(None, description="Side of a square crop in pixels; left out, the photographs come whole.")
    count: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Number of pictures; 1000 crops, or every whole photograph, by default."
    )
    scale: tuple[Fraction, Fraction] = Field(
        (0.2, 0.6), description="Smallest and largest side of the piece that a crop shows, as fractions of the photograph's shorter side."
    )
    mirror: bool = Field(False, description="Mirror every other crop, chosen at random.")

    @field_validator("count")
    @classmethod
    def _enough_photos(cls, count: int | None, info: ValidationInfo) -> int | None:
        photos = info.data.get("photos", ())
        if count is not None and info.data.get("crop", 0) is None and count > len(photos):
            raise ValueError(f"there are {len(photos)} whole photographs; give `crop` to cut more pictures out of them")
        return count

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the first fraction must not be above the second")
        return scale


@stage("images.samples", random=True, pointwise=True, light=True, depends=("scikit-image", "pillow"), needs=Needs(gpus=0))
def images_samples(_: None, params: SamplesParams, run: Run) -> Iterator[Batch]:
    """Cut pictures out of the photographs that come with scikit-image: no network, no set-up.

    Picture i is cut from photograph i of the list, in turn, again and again, at a place and size of its own seed; more pictures change
    none of the first ones.

    Example:
        [[stage]]
        uses = "images.samples"
        photos = ["cat", "coffee"]
        crop = 64
        count = 4000
    """
    from .samples import crops, whole

    photos = list(params.photos)
    if params.crop is None:
        return whole(run, photos[: params.count])
    return crops(run, photos, count=params.count or 1000, crop=params.crop, scale=params.scale, mirror=params.mirror)


# What the stages that read pictures have in common.
Crop = Annotated[Side | None, Field(description="Side in pixels of the square that the middle of each picture is brought to.")]
Size = Annotated[
    Side | tuple[Side, Side] | None,
    Field(description="Size that each picture is brought to: one side for a square, or [width, height]."),
]
Fit = Annotated[
    Literal["crop", "letterbox", "pad", "stretch"],
    Field(
        description="How a picture of another size is brought to `resolution`: cut, padded with `background`, padded and never enlarged, "
        "or distorted."
    ),
]
Alpha = Annotated[
    Literal["drop", "keep"], Field(description="Transparency: laid on `background`, or kept as a fourth channel of every picture.")
]
Background = Annotated[
    Colour, Field(description="Colour behind transparency and of what is padded (which is transparent when alpha is kept).")
]


def one_or_more(value: Any) -> Any:
    """Read one path as a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Paths = Annotated[
    tuple[InputPath, ...],
    Field(min_length=1),
    BeforeValidator(one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
]


def one_size(resolution: int | tuple[int, int] | None, info: ValidationInfo) -> int | tuple[int, int] | None:
    """Refuse `resolution` beside `crop`."""
    if resolution is not None and info.data.get("crop") is not None:
        raise ValueError("give `crop` or `resolution`, not both")
    return resolution


class SourceParams(Params):
    """Parameters of all stages that read many still pictures."""

    crop: Crop = None
    resolution: Size = None
    fit: Fit = "crop"
    count: Annotated[int, Field(ge=1)] | None = Field(None, description="Take the first so many pictures; all by default.")
    alpha: Alpha = "drop"
    background: Background = "#ffffff"
    strict: bool = Field(False, description="Stop at the first picture that cannot be read, rather than skip and list it.")

    _one_size = field_validator("resolution")(one_size)


class FolderPath(Params):
    """Where `images.folder` reads."""

    path: Paths = Field(description="A folder, read with all folders in it, or one picture, or a list of such.")


class FolderParams(SourceParams, FolderPath):
    """Parameters of `images.folder`."""


def size_and_fit(params: SourceParams | VideoParams) -> tuple[tuple[int, int] | None, str]:
    """Width and height to bring pictures to, or None for their own, and how; a crop is a square."""
    if params.crop is not None:
        return (params.crop, params.crop), "crop"
    size = params.resolution
    return ((size, size) if isinstance(size, int) else size), params.fit


def wanted(params: SourceParams) -> Want:
    """What every picture is to be brought to."""
    from genart.nn.pictures import Want

    size, fit = size_and_fit(params)
    return Want(size, fit, params.background, keep_alpha=params.alpha == "keep")


@stage("images.folder", depends=("pillow",), needs=Needs(gpus=0))
def images_folder(_: None, params: FolderParams, run: Run) -> Iterator[Batch]:
    """Read a folder of pictures: PNG, JPEG, WebP, GIF, BMP and TIFF of any size, depth and colour space, and what plugins read.

    Greyscale, palette, 16-bit, CMYK and transparent pictures become 8-bit sRGB (through their ICC profile if they carry one), turned as
    their EXIF orientation says. Of an animation the first frame is read. The order is that of the sorted paths, and that of the list where
    `path` is one; in a folder of class folders each picture's metadata holds its class as `label`. Pictures that cannot be read, or have
    more than 100 megapixels, are skipped and listed at the end. Without `crop` or `resolution` the pictures keep their sizes.

    Example:
        [[stage]]
        uses = "images.folder"
        path = "paintings"
        crop = 64
    """
    from .folder import read_folder

    return read_folder(run, params.path, wanted(params), count=params.count, strict=params.strict)


#: Names that one pattern may stand for.
MAX_SHARDS = 100_000


def shards(value: Any) -> Any:
    """Read one path as a list of one, and shards-{0000..0009}.tar as ten paths."""
    return tuple(path for one in one_or_more(value) for path in (_numbered(one) if isinstance(one, str) else [one]))


def _numbered(text: str) -> list[str]:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if found is None:
        return [text]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < MAX_SHARDS:
        raise ValueError(f"{found[0]} must go up, by less than {MAX_SHARDS:,}")
    return [text[: found.start()] + str(i).zfill(len(found[1])) + text[found.end() :] for i in range(first, last + 1)]


class ArchivePath(Params):
    """Where `images.archive` reads."""

    path: Annotated[
        tuple[InputPath, ...],
        Field(min_length=1),
        BeforeValidator(shards),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
    ] = Field(description="A ZIP or tar archive, or a list of such; shards-{0000..0009}.tar stands for ten.")
    labels: Literal["auto", "folder", "txt", "none"] = Field(
        "auto",
        description="Where a picture's class is from: a .cls or .json beside it, else its folder; its folder; a .txt beside it; nowhere.",
    )


class ArchiveParams(SourceParams, ArchivePath):
    """Parameters of `images.archive`."""


@stage("images.archive", depends=("pillow",), needs=Needs(gpus=0))
def images_archive(_: None, params: ArchiveParams, run: Run) -> Iterator[Batch]:
    """Read the pictures in ZIP and tar archives (.tar, .tar.gz, .tar.bz2, .tar.xz) and WebDataset shards, without unpacking them to disk.

    Pictures are read as images.folder reads them, and class folders become classes; one folder around all of them says nothing. In shards
    the class of `0001.jpg` is what `0001.cls` says, or `0001.json` under the key label, class or cls. Those of a ZIP come in the order of
    their sorted paths, those of a tar in the order in which they lie in it. Links, hidden and encrypted files are passed over; an archive
    that unpacks to far more than it is is refused, and of a damaged one the pictures before the damage are read.

    Example:
        [[stage]]
        uses = "images.archive"
        path = "shards-{0000..0009}.tar"
        crop = 64
    """
    from .archive import read_archives

    return read_archives(run, params.path, wanted(params), labels=params.labels, count=params.count, strict=params.strict)


class SetPath(Params):
    """What `images.torchvision` reads, and where."""

    name: Literal[tuple(SPLITS)] = Field(description="Name of the data set, as torchvision writes it.")  # type: ignore[valid-type]
    path: InputPath = Field(
        description="The folder that holds it, torchvision's `root`; `genart data download NAME FOLDER` fills one. Of MNIST and its kind "
        "also a folder of their four files, packed or not."
    )
    split: str | None = Field(None, description="Part of the set, such as train, val or test; by default the one to train on.")

    @field_validator("split")
    @classmethod
    def _known_split(cls, split: str | None, info: ValidationInfo) -> str | None:
        splits = SPLITS.get(info.data.get("name", ""), {})
        if split is not None and splits and split not in splits:
            raise ValueError(f"expected one of {', '.join(splits)}, the parts of {info.data['name']}")
        return split


class TorchvisionParams(SourceParams, SetPath):
    """Parameters of `images.torchvision`."""

    fit: Literal["auto", "crop", "letterbox", "pad", "stretch"] = Field(  # type: ignore[assignment]
        "auto",
        description="How a picture of another size is brought to `resolution`: cut, padded with `background`, padded and never enlarged, "
        "or distorted. By default MNIST and its kind, drawn on black, are padded; others are cut.",
    )
    background: Background = "#000000"


@stage("images.torchvision", depends=("pillow", "torchvision"), needs=Needs(gpus=0))
def images_torchvision(_: None, params: TorchvisionParams, run: Run) -> Iterator[Batch]:
    """Read a public data set, such as Fashion-MNIST or CIFAR-10, with its classes, from the files that torchvision keeps of it.

    `genart data download FashionMNIST FOLDER` fetches the files; a recipe opens no connection. Each picture's metadata holds the name of
    its class as `label`, as in a folder of class folders. Data sets whose files are pickles are not read: CIFAR is read from the binary
    version that its authors offer.

    Example:
        [[stage]]
        uses = "images.torchvision"
        name = "FashionMNIST"
        path = "data"
        resolution = 32
    """
    from .sets import read_set

    split = params.split or next(iter(SPLITS[params.name]))
    want = wanted(params)
    if params.fit == "auto":
        want = replace(want, fit="pad" if params.name in OF_IDX else "crop")
    return read_set(run, params.name, params.path, split, want, count=params.count, strict=params.strict)


class VideoParams(Params):
    """Parameters of `images.video`."""

    path: InputPath = Field(description="A film: MP4, MOV, MKV, WebM, GIF, animated WebP or APNG.")
    start: Duration | None = Field(None, description="Where in the film to begin; at its beginning by default.")
    end: Duration | None = Field(None, description="Where in the film to stop; at its end by default.")
    fps: Annotated[float, Field(gt=0, le=240)] | None = Field(
        None, description="Frames per second to bring the film to by leaving frames out or repeating them; its own by default."
    )
    every: Annotated[int, Field(ge=1)] = Field(1, description="Take each n-th frame only; the film plays no faster for it.")
    count: Annotated[int, Field(ge=1)] | None = Field(None, description="Take the first so many frames; all by default.")
    crop: Crop = None
    resolution: Size = None
    fit: Fit = "crop"
    alpha: Alpha = "drop"
    background: Background = "#ffffff"

    _one_size = field_validator("resolution")(one_size)

    @field_validator("end")
    @classmethod
    def _after_start(cls, end: float | None, info: ValidationInfo) -> float | None:
        if end is not None and end <= (info.data.get("start") or 0):
            raise ValueError("it must come after `start`")
        return end


@stage("images.video", pointwise=True, light=True, depends=("av", "pillow"), needs=Needs(gpus=0))
def images_video(_: None, params: VideoParams, run: Run) -> Iterator[Batch]:
    """Read the frames of a film: MP4, MOV, MKV, WebM, GIF, animated WebP and APNG, however long.

    The frames come upright, in the proportions that the film is shown in, in the colours that its matrix and range say, and at a regular
    rate: where a film has another, each picture is what is on the screen at its moment. Of a damaged film the frames before the damage are
    given, and a warning tells. Nothing that a file says of other files or addresses is followed. Sound is left out.

    Example:
        [[stage]]
        uses = "images.video"
        path = "holiday.mp4"
        start = "2s"
        fps = 12
        resolution = [512, 288]
    """
    from .video import Timing, read_video

    size, fit = size_and_fit(params)
    return read_video(
        run,
        params.path,
        Timing(params.start or 0.0, params.end, params.fps, params.every, params.count),
        size=size,
        fit=fit,
        background=params.background,
        keep_alpha=params.alpha == "keep",
    )


class ResizeParams(Params):
    """Parameters of `images.resize`."""

    resolution: Side | tuple[Side, Side] | None = Field(
        None, description="Size to bring the pictures to: their shorter side, which keeps the proportions, or [width, height]."
    )
    scale: Annotated[float, Field(gt=0, le=64)] | None = Field(
        None, validate_default=True, description="Factor to enlarge (above 1) or reduce (below 1) by, instead of `resolution`."
    )
    filter: Literal["bicubic", "bilinear", "area", "nearest"] = Field(
        "bicubic", description="Kornia's interpolation; bicubic and bilinear are antialiased when they reduce."
    )

    @field_validator("scale")
    @classmethod
    def _one_of_two(cls, scale: float | None, info: ValidationInfo) -> float | None:
        # a wrong resolution is missing from the data, and was complained about
        if "resolution" in info.data and (scale is None) == (info.data["resolution"] is None):
            raise ValueError("give either `resolution` or `scale`")
        return scale


@stage("images.resize", pointwise=True, light=True, depends=("kornia",))
def images_resize(images: Images, params: ResizeParams, run: Run) -> Iterator[Batch]:
    """Enlarge or reduce pictures, antialiased; transparent ones without dark edges.

    Example:
        [[stage]]
        uses = "images.resize"
        resolution = 256
    """
    from .resize import resize_images

    return resize_images(run, images, resolution=params.resolution, scale=params.scale, interpolation=params.filter)


# What the stages that lay pictures out have in common.
Columns = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    Field(description="Pictures side by side; by default a sheet that is about square."),
]
Gap = Annotated[int, Field(ge=0, le=1000, description="Pixels between the pictures and around them.")]
Ground = Annotated[Colour, Field(description="Colour between the pictures.")]
Cell = Annotated[
    Side | tuple[Side, Side] | None,
    Field(description="Size of a cell that pictures are fitted into: a side or [width, height]; by default the largest picture's."),
]


class GridParams(Params):
    """Parameters of `images.grid`."""

    columns: Columns = None
    rows: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Rows on one sheet; with it, the pictures that do not fit go on to further sheets."
    )
    count: Annotated[int, Field(ge=1)] | None = Field(None, description="Lay out the first so many pictures; all by default.")
    gap: Gap = 2
    background: Ground = "#ffffff"
    resolution: Cell = None
    label: str | None = Field(None, description="Name of the metadata to write under each picture, such as seed, source or label.")


def cell_of(resolution: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Width and height of a cell, or None for the largest picture's."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


@stage("images.grid", depends=("pillow", "kornia"), needs=Needs(gpus=0))
def images_grid(images: Images, params: GridParams, run: Run) -> Iterator[Batch]:
    """Lay pictures out on a contact sheet, or on several.

    Example:
        [[stage]]
        uses = "images.grid"
        columns = 8
        count = 64
        label = "seed"
    """
    from .sheet import sheets

    return sheets(
        run,
        images,
        columns=params.columns,
        rows=params.rows,
        count=params.count,
        gap=params.gap,
        background=params.background,
        cell=cell_of(params.resolution),
        label=params.label,
    )


class SheetParams(Params):
    """Parameters of `images.sheet`."""

    pictures: tuple[PictureInput, ...] = Field(
        min_length=1, description="What to lay out: files, or ids of stages, of each of which the first picture is taken."
    )
    labels: tuple[str | dict[str, Any], ...] = Field(
        (), description="What to write under each picture: a text, or a table whose names and values are written line by line."
    )
    columns: Columns = None
    gap: Gap = 8
    background: Ground = "#ffffff"
    resolution: Cell = None

    @field_validator("labels")
    @classmethod
    def _one_each(cls, labels: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        pictures = info.data.get("pictures")
        if labels and pictures is not None and len(labels) != len(pictures):
            raise ValueError(f"expected one for each of {len(pictures)} pictures, got {len(labels)}")
        return labels


@stage("images.sheet", depends=("pillow", "kornia"), needs=Needs(gpus=0))
def images_sheet(_: None, params: SheetParams, run: Run) -> Iterator[Batch]:
    """Lay the first pictures of several stages, or files, side by side, with words of your own under each.

    The sheet's metadata hold what is written under the cells. A sweep ends in such a sheet.

    Example:
        [[stage]]
        uses = "images.samples"
        id = "before"
        photos = "cat"

        [[stage]]
        uses = "images.resize"
        id = "after"
        scale = 0.1

        [[stage]]
        uses = "images.sheet"
        pictures = ["before", "after"]
        labels = ["as it was", "a tenth"]
        resolution = 256
    """
    from .sheet import labelled_sheet

    return labelled_sheet(
        run,
        params.pictures,
        params.labels,
        columns=params.columns,
        gap=params.gap,
        background=params.background,
        cell=cell_of(params.resolution),
    )
