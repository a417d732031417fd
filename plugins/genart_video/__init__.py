"""Films: pictures in, one encoded file out. This file declares; the others do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genart import Duration, Images, Params, Run, Video, stage

Format = Literal["gif", "mp4", "webm"]


class AssembleParams(Params):
    """Parameters of `video.assemble`."""

    format: Format | None = Field(
        None, description="Kind of file: gif, mp4 (H.264, plays in every browser) or webm (VP9); by default the suffix of `save`, else mp4."
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=240,
        description="Frames per second, by default the film's own, else 24. "
        "A GIF counts in 1/100 s, and players honour no less than 2 of them: it takes the nearest of 50, 33.3, 25, 20, ...",
    )
    scale: float = Field(1.0, gt=0, le=64, description="Enlargement of each picture, such as 4 for 64 px made 256 px; below 1 reduces.")
    filter: Literal["smooth", "nearest"] = Field(
        "smooth", description="How `scale` fills in: smooth (Lanczos), or nearest, which keeps hard pixels."
    )
    loop: int = Field(
        0, ge=-1, le=65535, description="How often a GIF plays again: 0 for ever, -1 not at all. Films loop where the player does."
    )
    hold: Duration | None = Field(None, description="How long the last picture stays, such as 2s, instead of one frame.")
    ping_pong: bool = Field(False, description="Play forward, then backward: a loop without a jump out of any film.")
    quality: int | None = Field(
        None,
        ge=1,
        le=63,
        description="Constant rate factor, 1 is best: mp4 to 51, by default 17; webm to 63, by default 28. A GIF has none.",
    )
    caption: str | None = Field(
        None,
        description='Text drawn on each picture, with {names} of its metadata, {frame} and {seconds}, such as "{kimg:.1f} kimg"; '
        'pictures that carry kimg show it by default; "" draws none.',
    )
    background: str = Field("#ffffff", pattern="^#[0-9a-fA-F]{6}$", description="Colour behind transparent pictures, #rrggbb.")


@stage("video.assemble", depends=("av", "pillow", "numpy"))
def assemble(images: Images, params: AssembleParams, run: Run) -> Video:
    """Encode pictures as a GIF, MP4 or WebM.

    GIFs get one palette fitted to the whole film, an ordered dither that stands still where the picture does, and only the
    pixels that change. A training's `progress` is captioned with its kimg count. Films of odd size are widened by one
    repeated row or column, since H.264 and VP9 store colour for blocks of two. Picture N of a closed walk is its picture 0 and
    is not among its frames, so the film loops as it is, without a stutter: nothing is repeated and nothing blended.

    ```toml
    [[stage]]
    uses = "video.assemble"
    from = "train.progress"
    scale = 4
    hold = "2s"
    save = "training.gif"
    ```
    """
    from . import formats

    return formats.assemble(images, params, run)
