"""Two plain formats: farbfeld pictures are read wherever genart reads pictures, and `video.assemble` writes YUV4MPEG2 films."""

from __future__ import annotations

import genart


@genart.hookimpl
def genart_readers() -> dict[str, genart.PictureFormat]:
    """Say how a farbfeld is known; what reads it is imported with the first one."""
    return {"farbfeld": genart.PictureFormat((b"farbfeld",), "genart_farbfeld.picture:READER", suffixes=(".ff",))}


@genart.hookimpl
def genart_writers() -> dict[str, str]:
    """Name the suffix and what writes it: `save = "film.y4m"`."""
    return {"y4m": "genart_farbfeld.film:WRITER"}
