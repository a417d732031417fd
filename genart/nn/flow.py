"""Optical flow between the frames of a film, what of it can be trusted, and what flickers.

Flows are (1, 2, H, W) float32, x before y, in pixels. A flow "from a to b" lies on the pixels of a: a(p) is seen again at
b(p + flow(p)). To bring a picture from the frame before to the current one, warp it by the flow from the *current* frame to the one before.

The flow is that of Kroeger et al. 2016 ("Fast Optical Flow using Dense Inverse Search", arXiv 1603.03590) as OpenCV has it; its
reliability that of Ruder et al. 2016 ("Artistic style transfer for videos", arXiv 1604.08610).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .images import to_uint8

#: Shortest and longest side, in pixels, that the search works at. Below 12 pixels OpenCV refuses a picture or crashes, and up to a few
#: hundred the error falls when it is enlarged; beyond the longest a flow is smooth enough to be scaled up, and memory stays bounded.
LEAST_SIDE, MOST_SIDE = 256, 1024
#: Luma of ITU-R BT.601, as OpenCV's own conversion to grey.
LUMA = (0.299, 0.587, 0.114)

#: Share of bicubic interpolation in a sharp warp.
SHARP = 0.75

_search = threading.Lock()


def optical_flow(a: Tensor, b: Tensor) -> Tensor:
    """Find where the pixels of one frame went in another.

    Args:
        a: (1, 3, H, W) in [0, 1].
        b: the same size.

    Returns:
        (1, 2, H, W) float32 on a's device: the flow from a to b, in pixels.
    """
    with _one_thread_each():
        return _scaled_back(_dense_search(_grey(a), _grey(b)), a)


def both_flows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find the flow from a to b and that from b to a, at the same time where there are two cores; see `optical_flow`."""
    grey_a, grey_b = _grey(a), _grey(b)
    with _one_thread_each(), ThreadPoolExecutor(1) as other:
        backward = other.submit(_dense_search, grey_b, grey_a)  # it leaves the interpreter's lock
        forward = _dense_search(grey_a, grey_b)
        return _scaled_back(forward, a), _scaled_back(backward.result(), b)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let OpenCV use one thread per call: it cuts a picture into as many strips as it has threads, and the flow depends on the strips."""
    with _search:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)


def _grey(image: Tensor) -> np.ndarray:
    """Bring a frame to the search: (h, w) uint8, within the bounds on its sides."""
    grey = (image.detach().to("cpu", torch.float32) * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    size = working_size(grey.shape[2], grey.shape[3])
    if size != tuple(grey.shape[2:]):
        grey = F.interpolate(grey, size=size, mode="bicubic", align_corners=False, antialias=True)
    return to_uint8(grey)[0, 0].numpy()


def working_size(height: int, width: int) -> tuple[int, int]:
    """Size at which the flow of a frame is searched: its own, unless a side is too long or too short for it.

    The proportions stay, except those of a strip, whose shorter side is stretched to `LEAST_SIDE` / 4.
    """
    longest = max(height, width)
    factor = min(max(longest, LEAST_SIDE), MOST_SIDE) / longest
    return max(LEAST_SIDE // 4, round(height * factor)), max(LEAST_SIDE // 4, round(width * factor))


def _dense_search(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(h, w) uint8 twice -> (h, w, 2) float32."""
    # MEDIUM costs five times FAST (20 ms at 512 px on one core) and halves its error on a turned and enlarged photograph
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(search.calc(a, b, np.zeros((*a.shape, 2), np.float32)))  # what is handed over is where the search begins


def _scaled_back(found: np.ndarray, like: Tensor) -> Tensor:
    flow = torch.from_numpy(found).permute(2, 0, 1)[None].contiguous()
    return resized_flow(flow, (like.shape[2], like.shape[3])).to(like.device)


def resized_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a flow to frames of another size.

    Args:
        flow: (1, 2, H, W) in pixels.
        size: the new (height, width).

    Returns:
        (1, 2, height, width) in the new pixels.
    """
    height, width = flow.shape[2:]
    if (height, width) == tuple(size):
        return flow
    factor = torch.tensor([size[1] / width, size[0] / height], device=flow.device).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False, antialias=True) * factor


def warp(image: Tensor, flow: Tensor, interpolation: Literal["sharp", "bilinear"] = "sharp") -> Tensor:
    """Look a picture up where a flow points: out(p) = image(p + flow(p)); where nothing moves the picture is kept to the bit.

    Sharp is three parts of bicubic and one of bilinear interpolation, so that strokes live through many frames. Of 48 warps forth and back
    by half a pixel bilinear ones alone left 6 % of a photograph's fine detail, while PyTorch's bicubic ones (Keys' kernel with a = -0.75)
    rang it up to 195 %; the mixture leaves 39 % and never gains, as the kernel with a = -0.5 does not, at a quarter of its time.

    Args:
        image: (N, C, H, W), any range, which sharp may leave by a little. Beyond its border its edge goes on.
        flow: (N or 1, 2, H, W) in pixels.
        interpolation: "sharp", or "bilinear" for what must not overshoot.

    Returns:
        (N, C, H, W).
    """
    if image.device.type == "mps":  # not every version's grid_sample has bicubic and a clamped border there
        return warp(image.cpu(), flow.cpu(), interpolation).to(image.device)
    count, _, height, width = image.shape
    x, y = _target(flow)
    places = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).to(image.dtype).expand(count, -1, -1, -1)
    moved = F.grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=False)
    if interpolation == "sharp":
        bicubic = F.grid_sample(image, places, mode="bicubic", padding_mode="border", align_corners=False)
        moved = moved + SHARP * (bicubic - moved)
    return torch.where((flow == 0).all(1, keepdim=True), image, moved)


def _target(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates (x, y) that a flow points to, (N, H, W) each."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)
    return flow[:, 0] + x, flow[:, 1] + y[:, None]


def reliability(forward: Tensor, backward: Tensor) -> Tensor:
    """Say where the current frame shows what the frame before showed, as far as two flows tell (Ruder et al. 2016, section 4.2).

    0 where the flows there and back do not meet (eq. 5: disocclusion), where the flow has an edge (eq. 6: motion boundary), where it
    points out of the frame, and one pixel around all these; 1 elsewhere; with soft edges, unlike the paper's.

    Args:
        forward: (1, 2, H, W), the flow from the frame before to the current one (w in the paper).
        backward: (1, 2, H, W), the flow from the current frame to the one before (w^ in the paper).

    Returns:
        (1, 1, H, W) in [0, 1] on the current frame: how far a picture warped by `backward` can be trusted.
    """
    bad = disoccluded(forward, backward) | motion_boundary(backward) | points_outside(backward)
    wide = F.max_pool2d(bad.to(backward.dtype), 3, stride=1, padding=1)
    soft = F.avg_pool2d(F.pad(wide, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return 1 - torch.maximum(wide, soft)


def disoccluded(forward: Tensor, backward: Tensor) -> Tensor:
    """Where the flow back, followed by the flow there, does not return: |w~ + w^|^2 > 0.01 (|w~|^2 + |w^|^2) + 0.5 (eq. 5).

    Args:
        forward: (1, 2, H, W), from the frame before.
        backward: (1, 2, H, W), from the current frame.

    Returns:
        (1, 1, H, W) bool on the current frame.
    """
    there = warp(forward, backward, "bilinear")
    return _squares(there + backward) > 0.01 * (_squares(there) + _squares(backward)) + 0.5


def motion_boundary(flow: Tensor) -> Tensor:
    """Where a flow (1, 2, H, W) changes from pixel to pixel: |grad u|^2 + |grad v|^2 > 0.01 |w|^2 + 0.002 (eq. 6); (1, 1, H, W) bool."""
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return _squares(across) + _squares(down) > 0.01 * _squares(flow) + 0.002


def points_outside(flow: Tensor) -> Tensor:
    """Where a flow (1, 2, H, W) leaves the frame by more than half a pixel; (1, 1, H, W) bool."""
    height, width = flow.shape[2:]
    x, y = _target(flow)
    return ((x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5))[:, None]


def _squares(vectors: Tensor) -> Tensor:
    return vectors.square().sum(1, keepdim=True)


def warped_difference(previous: Tensor, current: Tensor, flow: Tensor, weight: Tensor) -> float:
    """How much a picture differs from the one before it, brought along with the motion.

    Args:
        previous: (1, C, H, W) in [0, 1].
        current: (1, C, H, W) in [0, 1].
        flow: (1, 2, H, W), from the current frame to the one before, in pixels of these pictures.
        weight: (1, 1, H, W) in [0, 1], as `reliability` gives it.

    Returns:
        The weighted mean of the absolute difference, in [0, 1]; 0 where no pixel has a weight.
    """
    difference = (current - warp(previous, flow).clamp(0, 1)).abs().mean(1, keepdim=True)
    return float((weight * difference).sum() / weight.sum().clamp_min(1e-6))


@torch.no_grad()
def flicker(frames: Iterable[Tensor], results: Iterable[Tensor]) -> float:
    """Mean warped difference between neighbouring pictures of a film, where the motion of the frames it was made of is reliable.

    Every pixel that can be compared counts alike, so that a cut, where hardly any can, weighs next to nothing. Two frames are held.

    Args:
        frames: (1, 3, H, W) in [0, 1] each, from which the flow is taken.
        results: (1, 3, H', W') in [0, 1] each, what was made of every frame; they may have another size.

    Returns:
        In [0, 1]; 0 for a film of fewer than two frames.

    Raises:
        ValueError: if there are more frames than results, or fewer.
    """
    total = share = 0.0
    for (before, old), (frame, new) in pairwise(zip(frames, results, strict=True)):
        forward, backward = both_flows(before, frame)
        size = (new.shape[2], new.shape[3])
        weight = F.interpolate(reliability(forward, backward).to(new.device), size=size, mode="bilinear", align_corners=False)
        reliable = float(weight.mean())
        total += reliable * warped_difference(old, new, resized_flow(backward.to(new.device), size), weight)
        share += reliable
    return total / share if share else 0.0
