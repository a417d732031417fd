"""The driver of a film without flicker: every picture continues the one before it, carried along with the motion.

After Ruder et al. 2016 ("Artistic style transfer for videos", arXiv 1604.08610): the previous result is warped onto the current frame by
the optical flow of the film itself, with a weight that is 0 where the flow is not reliable. How a picture is painted is left to the
caller, so that optimisation and feed-forward networks share this. Unlike the paper's, a film may be closed to a loop, a picture is not
trusted where the frames themselves disagree, and every picture depends only on what is kept: a killed run goes on to the byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from genart import Batch, Images, Run
from genart.nn.flow import both_flows, reliability, resized_flow, warp

from .scene import over_mean

#: Frames painted ahead of a loop's beginning, at most, and the frames at its end that are led back to them.
PREROLL = 12
#: Below this mean weight of what is carried a frame is taken for a new scene.
SCENE_CUT = 0.2
#: A pixel and its neighbourhood that differ by this much, mean over the colours, from what the flow brings there are half trusted.
DISAGREEMENT = 0.1
#: Side of the neighbourhood: odd, and wide enough for a film's grain to cancel out.
NEIGHBOURHOOD = 5


@dataclass(frozen=True)
class Carried:
    """What a picture can take from the one before it.

    Attributes:
        image: (1, 3, H, W) in [0, 1], the previous result warped onto this frame, at that result's size.
        weight: (1, 1, H, W) in [0, 1], how far it can be trusted.
    """

    image: Tensor
    weight: Tensor

    def over(self, image: Tensor) -> Tensor:
        """Lay what is carried over another picture (1, 3, H, W) of its size, as far as it can be trusted."""
        return image + self.weight * (self.image - image)


#: Paints one frame, a batch of one picture as it comes, with what is carried onto it (None at the start of a scene): (1, 3 or 4, H', W')
#: in [0, 1]. The batch's index is the frame's; frames painted ahead of a loop count up to -1, so that they are told from the loop's own.
Paint = Callable[[Batch, Carried | None], Tensor]


@dataclass(frozen=True)
class Goal:
    """Where a picture near the end of a loop is led to: (1, 3, H, W), and how far, in (0, 1]."""

    image: Tensor
    share: float


@dataclass(frozen=True)
class Painted:
    """A frame and what was painted of it, both as they are kept in 8 bits.

    Attributes:
        given: the frame, a batch of one.
        frame: (1, 3, H, W), its colours made opaque, in which motion is seen.
        output: the result, a batch of one.
        result: (1, 3, H', W'), its colours.
    """

    given: Batch
    frame: Tensor
    output: Batch
    result: Tensor


def walk(images: Images, run: Run, paint: Paint, *, loop: bool, repaint: bool = False) -> Iterator[Batch]:
    """Paint the frames of a film one after another.

    A frame that equals the one before keeps its picture. A frame's transparency is kept where `paint` gives none.

    Of a loop the last few frames are painted ahead, beginning from nothing, so that the first frame has a past; when the end is reached,
    the pictures are led back to those painted ahead, and the last one is that from which the first was carried.

    Args:
        images: the film; of a loop, made to its end before the first picture is painted.
        run: says where to begin and on which device; keeps what was painted ahead.
        paint: paints one frame. It must depend on nothing but its arguments and the run's random streams.
        loop: True if the last frame leads to the first.
        repaint: True if a frame that equals the one before is painted all the same: something else that `paint` looks at may have changed.

    Yields:
        One picture at a time, in 8 bits, with the frame's metadata.
    """
    count = len(images) if loop else images.count
    run.expect(count, images.fps)
    ahead = _painted_ahead(images, run, paint, count, repaint=repaint) if loop and count is not None else []
    before = _before_first(images, run, ahead)
    for batch in images.batches(1, start=run.start):
        place = batch.start - (count or 0) + len(ahead)
        goal = Goal(_read(ahead[place], run.device), (place + 1) / len(ahead)) if ahead and place >= 0 else None
        before = step(batch, before, goal, paint, run.device, repaint=repaint)
        yield before.output


def preroll_count(count: int) -> int:
    """How many pictures `walk` paints ahead of a loop of `count` frames: a quarter of it, at least one, at most `PREROLL`."""
    return min(PREROLL, max(1, count // 4)) if count > 1 else 0


def _painted_ahead(images: Images, run: Run, paint: Paint, count: int, *, repaint: bool) -> list[Path]:
    """Paint a loop's last frames beforehand; those which are there already, from before a kill, are left as they are."""
    number = preroll_count(count)
    paths = [run.file(f"preroll-{i:03d}.png") for i in range(number)]
    for i, path in enumerate(paths):
        run.check()
        if path.exists():
            continue
        before = _as_painted(images[count - number + i - 1], _read(paths[i - 1], run.device), run.device) if i else None
        frame = images[count - number + i]
        numbered = Batch.from_array(frame.array, frame.meta, start=i - number)
        _write(path, step(numbered, before, None, paint, run.device, repaint=repaint).output)
        run.progress(0, count)
    return paths


def _before_first(images: Images, run: Run, ahead: list[Path]) -> Painted | None:
    """What comes before the first frame to paint: the last picture of a killed run, a loop's end, or nothing."""
    if run.start:
        return _as_painted(images[run.start - 1], run.made(run.start - 1).pixels[:, :3].to(run.device), run.device)
    return _as_painted(images[len(images) - 1], _read(ahead[-1], run.device), run.device) if ahead else None


def _as_painted(given: Batch, result: Tensor, device: str) -> Painted:
    """Take up a picture that was painted before: (1, 3, H, W) as it is kept."""
    frame, alpha = opaque(given, device)
    return _kept(given, frame, alpha, result)


def step(batch: Batch, before: Painted | None, goal: Goal | None, paint: Paint, device: str, *, repaint: bool = False) -> Painted:
    """Paint one frame, unless it is known already how it comes out.

    Args:
        batch: the frame, one picture.
        before: the frame before it and its picture; None at the beginning.
        goal: where it is led to, near the end of a loop.
        paint: paints it.
        device: where to compute.
        repaint: see `walk`.
    """
    frame, alpha = opaque(batch, device)
    if goal is not None and goal.share == 1:
        return _kept(batch, frame, alpha, goal.image)
    unchanged = not repaint and before is not None and np.array_equal(before.given.array, batch.array)
    if before is not None and unchanged and (goal is None or torch.equal(goal.image, before.result)):
        return _kept(batch, frame, alpha, before.result)
    carried = carry(before.frame, before.result, frame) if before is not None else None
    if goal is not None:
        carried = led(carried, goal)
    return _kept(batch, frame, alpha, paint(batch, carried))


def _kept(given: Batch, frame: Tensor, alpha: Tensor | None, result: Tensor) -> Painted:
    """Bring a picture to the 8 bits it is kept in, with the frame's transparency: what follows sees it as a resumed run would."""
    if alpha is not None and result.shape[1] == 3:
        size = (result.shape[2], result.shape[3])
        sized = F.interpolate(alpha, size=size, mode="bilinear", align_corners=False, antialias=True)
        result = torch.cat([result, sized.to(result.device)], 1)
    output = Batch.from_array(given.with_pixels(result).array, given.meta, start=given.start)
    return Painted(given, frame, output, output.pixels[:, :3].to(frame.device))


def carry(before: Tensor, result: Tensor, frame: Tensor) -> Carried | None:
    """Carry the previous result onto the current frame.

    Args:
        before: (1, 3, H, W) in [0, 1], the frame before.
        result: (1, 3, H', W') in [0, 1], what was painted of it.
        frame: (1, 3, H, W) in [0, 1], the current one.

    Returns:
        What can be taken from it; None at the start of a scene: if the frames differ in size or hardly anything of them agrees.
    """
    if before.shape != frame.shape:
        return None
    size = (result.shape[2], result.shape[3])
    before, frame = _at_most(before, size), _at_most(frame, size)
    forward, backward = both_flows(before, frame)
    weight = reliability(forward, backward) * agreement(warp(before, backward), frame)
    if float(weight.mean()) < SCENE_CUT:
        return None
    if weight.shape[2:] != size:
        weight = F.interpolate(weight, size=size, mode="bilinear", align_corners=False, antialias=True)
    return Carried(warp(result, resized_flow(backward, size)).clamp(0, 1), weight.clamp(0, 1))


def _at_most(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce a frame that is larger than the result: its flow is needed no finer."""
    if frame.shape[2] * frame.shape[3] <= size[0] * size[1]:
        return frame
    return F.interpolate(frame, size=size, mode="bilinear", align_corners=False, antialias=True)


def agreement(moved: Tensor, frame: Tensor) -> Tensor:
    """Say where a frame shows what the flow brings there, whatever the flow itself says: plain surfaces agree on any motion.

    Args:
        moved: (1, 3, H, W) in [0, 1], the frame before, warped.
        frame: (1, 3, H, W) in [0, 1], the current one.

    Returns:
        (1, 1, H, W): 1 where they differ by less than half of `DISAGREEMENT`, falling to 0 at one and a half of it.
    """
    difference = (moved - frame).abs().mean(1, keepdim=True)
    edge = NEIGHBOURHOOD // 2
    around = F.avg_pool2d(F.pad(difference, (edge,) * 4, mode="replicate"), NEIGHBOURHOOD, stride=1)
    return (1.5 - around / DISAGREEMENT).clamp(0, 1)


def led(carried: Carried | None, goal: Goal) -> Carried:
    """Blend what is carried with what was painted ahead of the same frame, which can be trusted everywhere.

    Args:
        carried: from the frame before; None where a scene starts.
        goal: the picture painted ahead and its share.

    Returns:
        The mean of both, weighted by the trust in each: the carried weight times (1 - share), and the share.
    """
    if carried is None:
        return Carried(goal.image, torch.full_like(goal.image[:, :1], goal.share))
    trust = carried.weight * (1 - goal.share)
    weight = trust + goal.share
    return Carried((trust * carried.image + goal.share * goal.image) / weight, weight)


def opaque(batch: Batch, device: str) -> tuple[Tensor, Tensor | None]:
    """Lay a frame over its own mean colour, so that no motion is seen of what transparency hides.

    Args:
        batch: one picture.
        device: where to.

    Returns:
        (1, 3, H, W), and (1, 1, H, W) alpha or None.
    """
    pixels = batch.pixels.to(device)
    return over_mean(pixels[:, :3], pixels[:, 3:])


def _write(path: Path, picture: Batch) -> None:
    """Keep a picture's colours as a PNG that is there whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        Image.fromarray(np.ascontiguousarray(picture.array[0, ..., :3])).save(file, "PNG", compress_level=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read(path: Path, device: str) -> Tensor:
    """Read what `_write` kept: (1, 3, H, W)."""
    with Image.open(path) as picture:
        return Batch.from_array(np.asarray(picture)[None]).pixels.to(device)
