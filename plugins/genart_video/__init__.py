"""Films: pictures in, one encoded file or finished frames out. This file declares; the others do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from genart import Batch, Duration, FilmName, Images, InputPath, Needs, Params, PictureInput, Pieces, Run, Video, stage

Codec = Literal["h264", "vp9", "av1", "prores"]

#: Codecs of each container; the first is its default.
CODECS: dict[str, tuple[str, ...]] = {"mp4": ("h264", "av1"), "webm": ("vp9", "av1"), "mov": ("prores", "h264")}
#: Formats that tell how often they play again, and all.
LOOPING = ("gif", "webp", "apng")
FORMATS = (*LOOPING, *CODECS)
#: The worst `quality` of each codec, and of WebP; others have none.
WORST_QUALITY = {"h264": 51, "vp9": 63, "av1": 63, "webp": 63}


def _one_or_more(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Titles = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), WithJsonSchema(_TEXTS)]
Inputs = Annotated[tuple[PictureInput, ...], BeforeValidator(_one_or_more), WithJsonSchema(_TEXTS)]


class FramesParams(Params):
    """Parameters of `video.frames`, which `video.assemble` shares."""

    fps: float | None = Field(
        None,
        gt=0,
        le=240,
        description="Frames per second. A film keeps its speed: frames are left out or repeated, each at its time. "
        "Pictures that are no film are shown at this rate. By default the film's own, else 24.",
    )
    speed: float = Field(1.0, gt=0, le=1000, description="How fast it plays: 2 is twice as fast, 0.5 half as fast.")
    seconds: Duration | None = Field(
        None,
        description="Length in which longer films are played, `ping_pong`, `hold` and `loop_fade` and all, by showing fewer of their "
        "pictures, evenly chosen: for timelapses.",
    )
    scale: float = Field(1.0, gt=0, le=64, description="Enlargement of each picture, such as 4 for 64 px made 256 px; below 1 reduces.")
    filter: Literal["smooth", "nearest"] = Field(
        "smooth", description="How `scale` fills in: smooth (Lanczos), or nearest, which keeps hard pixels."
    )
    crossfade: Duration | None = Field(None, description="How long the parts of a merged film (a list in `from`) fade into each other.")
    loop_fade: Duration | None = Field(
        None, description="How long the film's end fades into its beginning, so that it loops without a jump."
    )
    ping_pong: bool = Field(False, description="Play forward, then backward: a loop without a jump out of any film.")
    hold: Duration | None = Field(None, description="How long the last picture stays, such as 2s, instead of one frame.")
    beside: Inputs = Field(
        (), description="Ids of other stages whose pictures are shown beside these, at the same time, or picture files that stand still."
    )
    columns: int | None = Field(None, ge=1, le=64, description="Pictures in a row of the montage that `beside` makes; by default all.")
    gap: int = Field(0, ge=0, le=1024, description="Pixels between the pictures of a montage, in the colour of `background`.")
    title: Titles = Field((), description="Text on top of the picture; with `beside` one text for each picture.")
    caption: str | None = Field(
        None,
        description='Text drawn on each picture, with {names} of its metadata, {frame} and {seconds}, such as "{kimg:.1f} kimg"; '
        'pictures that carry kimg show it and the losses by default; "" draws none.',
    )
    background: str | None = Field(
        None,
        pattern="^#[0-9a-fA-F]{6}$",
        description="Colour behind transparent pictures, #rrggbb. By default transparency is kept where the format can, else white.",
    )

    @field_validator("ping_pong")
    @classmethod
    def _one_way_to_loop(cls, ping_pong: bool, info: ValidationInfo) -> bool:
        if ping_pong and info.data.get("loop_fade") is not None:
            raise ValueError("`ping_pong` and `loop_fade` both make a loop; give one of them")
        return ping_pong

    @field_validator("columns", "gap")
    @classmethod
    def _montage_only(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and "beside" in info.data and not info.data["beside"]:
            raise ValueError(f"`{info.field_name}` is for the montage that `beside` makes; give both, or neither")
        return value

    @field_validator("title")
    @classmethod
    def _title_for_each(cls, title: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        shown = 1 + len(info.data.get("beside", ()))
        if len(title) > shown:
            raise ValueError(f"{len(title)} titles for {shown} picture{'s' * (shown > 1)} side by side")
        return title


class AssembleParams(FramesParams):
    """Parameters of `video.assemble`."""

    format: FilmName | None = Field(
        None,
        description="Kind of file: gif; webp or apng, which keep transparency; mp4, which plays everywhere; webm; mov for editors; "
        "or one that a plugin writes. By default the suffix of `save`, else mp4.",
    )
    codec: Codec | None = Field(
        None, description="How pictures are coded: mp4 as h264 or av1, webm as vp9 or av1, mov as prores or h264; the first is the default."
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=63,
        description="Constant rate factor, 1 is best: h264 to 51, by default 17; vp9 and av1 to 63, by default 28; "
        "webp to 63, by default 20. GIF, APNG and ProRes have none.",
    )
    loop: int = Field(
        0, ge=-1, le=65535, description="How often an animation plays again: 0 for ever, -1 not at all. Films loop where the player does."
    )
    palette: Literal["global", "frame"] = Field(
        "global",
        description="Colours of a GIF: one palette for the whole film, or one for each frame, which suits scenes of different colours.",
    )
    colours: int = Field(256, ge=4, le=256, description="Colours in a palette of a GIF.")
    dither: Literal["ordered", "diffusion", "none"] = Field(
        "ordered",
        description="How a GIF mixes colours that its palette lacks: ordered stands still where the picture does; "
        "diffusion (Floyd and Steinberg) has no pattern but crawls, and makes larger files; none shows steps.",
    )
    lossy: int = Field(
        0, ge=0, le=255, description="How much a pixel of a GIF may differ, of 255, before it is painted anew: 8 to 24 spare many bytes."
    )
    max_mb: float | None = Field(
        None,
        gt=0,
        description="Size that the file keeps to, in megabytes. A GIF becomes lossier, then has fewer colours, fewer pixels, fewer frames, "
        "as little of each as is enough; other formats are compressed more, then reduced.",
    )
    audio: InputPath | None = Field(
        None, description="A sound file to go with the film (mp4, webm, mov), cut to its length or followed by silence."
    )

    @field_validator("codec")
    @classmethod
    def _codec_fits(cls, codec: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("format") or "mp4"
        if codec is not None and codec not in CODECS.get(name, ()):
            fitting = f"it takes {' or '.join(CODECS[name])}" if name in CODECS else "it has no choice of codecs"
            raise ValueError(f"format {name} cannot hold {codec}; {fitting}")
        return codec

    @field_validator("quality")
    @classmethod
    def _codec_has_it(cls, quality: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("format") or "mp4"
        coder = info.data.get("codec") or CODECS.get(name, (name,))[0]
        if quality is None or name not in FORMATS:
            return quality
        if coder not in WORST_QUALITY:
            raise ValueError(f"{coder} has no `quality`; {', '.join(WORST_QUALITY)} have")
        if quality > WORST_QUALITY[coder]:
            raise ValueError(f"the worst of {coder} is {WORST_QUALITY[coder]}")
        return quality

    @field_validator("loop", "palette", "colours", "dither", "lossy")
    @classmethod
    def _format_has_it(cls, value: Any, info: ValidationInfo) -> Any:
        name, param = info.data.get("format") or "mp4", str(info.field_name)
        having = LOOPING if param == "loop" else ("gif",)
        if name in FORMATS and name not in having and value != cls.model_fields[param].default:
            raise ValueError(f"format {name} has no `{param}`; it is for {', '.join(having)}")
        return value

    @field_validator("audio")
    @classmethod
    def _can_sound(cls, audio: Any, info: ValidationInfo) -> Any:
        name = info.data.get("format") or "mp4"
        if audio is not None and name not in CODECS:
            raise ValueError(f"format {name} has no sound; mp4, webm and mov have")
        return audio


def _pieces() -> Pieces:
    from .pieces import FilmPieces

    return FilmPieces()


@stage("video.assemble", depends=("av", "pillow", "numpy"), needs=Needs(gpus=0), pieces=_pieces)
def assemble(images: Images, params: AssembleParams, run: Run) -> Video:
    """Encode pictures as a GIF, an animated WebP or APNG, or as MP4, WebM or ProRes.

    GIFs get one palette fitted to the whole film, an ordered dither that stands still where the picture does, and only the
    pixels that change. A GIF counts in 1/100 s: each frame begins at the nearest one to its time, so that the film keeps its rate, up to
    the 50 frames per second that players honour. A training's `progress` is captioned with its kimg count and losses. Films of
    odd size are widened by one repeated row or column, since they store colour for blocks of two. Picture N of a closed walk is its
    picture 0 and is not among its frames, so the film loops as it is, without a stutter: nothing is repeated and nothing blended.

    ```toml
    [[stage]]
    uses = "video.assemble"
    from = "train.progress"
    scale = 4
    seconds = "20s"
    hold = "2s"
    max_mb = 8
    save = "training.gif"
    ```
    """
    from . import formats

    return formats.assemble(images, params, run)


@stage("video.frames", depends=("pillow", "numpy"), needs=Needs(gpus=0))
def make_frames(images: Images, params: FramesParams, run: Run) -> Iterator[Batch]:
    """Make the frames of a film as video.assemble would, and give them as pictures: a PNG sequence for editors, or for other stages.

    Saved into a folder they are numbered PNGs without any loss, with their transparency and metadata.

    ```toml
    [[stage]]
    uses = "video.frames"
    title = "a walk"
    ping_pong = true
    save = "frames"
    ```
    """
    from . import formats

    yield from formats.frames(images, params, run)
