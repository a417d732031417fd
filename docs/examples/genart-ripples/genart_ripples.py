"""`ripples.draw`: circular waves from a few places, and the colours of where they meet."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from genart import Batch, Params, Run, stage


class DrawParams(Params):
    """Parameters of `ripples.draw`."""

    count: int = Field(4, ge=1, description="Number of pictures.")
    resolution: int = Field(128, ge=8, le=4096, description="Pixels along a side.")
    sources: int = Field(3, ge=1, le=32, description="Places from which waves go out.")
    wavelength: float = Field(0.08, gt=0, description="Distance from crest to crest, as a share of the side.")


@stage("ripples.draw", random=True, pointwise=True)
def draw(nothing: None, params: DrawParams, run: Run) -> Iterator[Batch]:
    """Draw waves that go out from a few places by chance and meet.

    Example:
        [[stage]]
        uses = "ripples.draw"
        count = 12
        sources = 5
    """
    import torch

    axis = torch.linspace(0, 1, params.resolution)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    for span in run.spans(params.count, 1):
        g = run.generator("places", span.start)  # a stream of its own for each picture
        places = torch.rand(params.sources, 2, generator=g)
        shades = torch.rand(3, generator=g) * 0.6 + 0.7
        waves = sum(torch.sin(torch.hypot(y - v, x - u) * 6.283 / params.wavelength) for v, u in places.tolist())
        level = (waves / params.sources + 1) / 2
        pixels = torch.stack([level ** float(shade * 2) for shade in shades])
        yield Batch(pixels[None], [{"seed": run.seed("places", span.start)}], start=span.start)
