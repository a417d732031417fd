"""`halftone.print`: pictures as newspapers print them, in dots of one ink."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import Field

from genart import Batch, Images, Params, Run, stage


class PrintParams(Params):
    """Parameters of `halftone.print`."""

    cell: float = Field(6.0, ge=2, le=256, description="Distance from dot to dot, in pixels.")
    angle: float = Field(45.0, ge=0, le=90, description="Degrees by which the screen is turned.")
    ink: tuple[float, float, float] = Field((0.05, 0.05, 0.12), description="Colour of the dots: red, green, blue from 0 to 1.")


@stage("halftone.print", pointwise=True)
def print_(images: Images, params: PrintParams, run: Run) -> Iterator[Batch]:
    """Print pictures in dots of one ink, larger where they are darker.

    Example:
        [[stage]]
        uses = "halftone.print"
        cell = 5
        angle = 30
    """
    import torch

    run.expect(images.count, images.fps)
    for batch in images:
        pixels = batch.pixels
        height, width = pixels.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        turn = math.radians(params.angle)
        u = (x * math.cos(turn) + y * math.sin(turn)) * math.pi / params.cell
        v = (y * math.cos(turn) - x * math.sin(turn)) * math.pi / params.cell
        screen = (1 + u.cos() * v.cos()) / 2  # from 0, between the dots, to 1, in their middles
        darkness = 1 - pixels[:, :3].mean(1, keepdim=True)
        # a step as wide as a pixel, so that the dots have smooth edges
        dots = ((screen - (1 - darkness)) * params.cell / 2 + darkness).clamp(0, 1)
        ink = torch.tensor(params.ink).view(3, 1, 1)
        yield batch.with_pixels(torch.cat([1 + dots * (ink - 1), pixels[:, 3:]], 1))
