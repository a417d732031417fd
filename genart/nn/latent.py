"""Paths through latent space from key to key: interpolation, easing, rests, closed loops; and pictures of what lies on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .images import to_unit

#: Easing by name: maps [0, 1] onto [0, 1], increasing, fixed at both ends.
EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "smoother": lambda t: t * t * t * (t * (6 * t - 15) + 10),
    "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
}


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Point at `t` on the straight line from a (t = 0) to b (t = 1), both of any shape."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Point at `t` on the great circle from a to b (Shoemake 1985, section 3.3).

    Gaussian vectors of many dimensions lie near a sphere: the straight line between two of them passes through lengths
    that the generator never saw, the great circle does not (White 2016). Lengths that differ are interpolated.

    Args:
        a: (z_dim,).
        b: (z_dim,).
        t: 0 gives a, 1 gives b.

    Returns:
        (z_dim,). Parallel and opposite vectors, which no single great circle joins, are interpolated linearly.
    """
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    omega = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(omega)
    if not float(sine) > 1e-4:
        return lerp(a, b, t)
    return (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / sine


#: Interpolations that two keys are enough for.
INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"slerp": slerp, "lerp": lerp}


def spline(keys: Tensor, key: int, t: float, *, loop: bool, sphere: bool = True) -> Tensor:
    """Point at `t` on a smooth curve from one key to the next: the centripetal Catmull-Rom spline (Yuksel et al. 2011).

    It passes through the keys and does not change its direction there at once; unlike a uniform one it makes no cusps and no loops of
    its own between keys at unequal distances. Each stretch depends on two keys on either side, so that further keys change no earlier one.

    Args:
        keys: (K, D).
        key: the key at t = 0.
        t: in [0, 1].
        loop: the curve is closed; an open one ends as if the keys beyond its ends lay straight on.
        sphere: the lengths of points follow a spline through the keys' lengths, as those of `slerp` do.

    Returns:
        (D,).
    """
    count = len(keys)

    def at(i: int) -> Tensor:
        if loop or 0 <= i < count:
            return keys[i % count]
        return 2 * keys[0] - keys[1] if i < 0 else 2 * keys[-1] - keys[-2]

    points = torch.stack([at(key + i) for i in (-1, 0, 1, 2)])
    steps = points.diff(dim=0).norm(dim=1).sqrt().clamp(min=1e-6)  # of the parameter, from each key to the next
    curve = _hermite(points, steps, t)
    if not sphere:
        return curve
    length = _hermite(points.norm(dim=1, keepdim=True), steps, t)
    brought: Tensor = curve * (length / curve.norm().clamp(min=1e-6))
    return brought


def _hermite(points: Tensor, steps: Tensor, t: float) -> Tensor:
    """Cubic from points[1] to points[2], (4, D) to (D,), with the tangents of a Catmull-Rom spline of these three steps."""
    slopes = points.diff(dim=0) / steps[:, None]
    whole = (points[2:] - points[:2]) / (steps[:2] + steps[1:])[:, None]
    start, end = steps[1] * (slopes[:-1] - whole + slopes[1:])
    cubic: Tensor = (
        (1 + 2 * t) * (1 - t) ** 2 * points[1] + t * (1 - t) ** 2 * start + t * t * (3 - 2 * t) * points[2] + t * t * (t - 1) * end
    )
    return cubic


def place(frame: int, frames: int, keys: int, *, loop: bool, hold: Sequence[int] = ()) -> tuple[int, float]:
    """Where a frame lies between the keys, in exact arithmetic.

    Args:
        frame: its index; a loop takes any.
        frames: frames of the film.
        keys: key latents.
        loop: the path leads back to the first key, so that frame `frames` would be frame 0 and no frame comes twice.
        hold: frames that the film rests at each key, or none.

    Returns:
        The key before it and the fraction, in [0, 1), of the way to the next.

    Raises:
        ValueError: if the rests leave no frame to move in.
    """
    segments = keys if loop else keys - 1
    moving = (frames if loop else max(1, frames - 1)) - sum(hold)
    if moving < 1:
        raise ValueError(f"the keys are held for {sum(hold)} of {frames} frames")
    left = (frame % frames if loop else frame) * segments  # in parts of a frame, of which a key's way to the next takes `moving`
    if not hold:
        key, rest = divmod(left, moving)
        return key, rest / moving
    for key in range(segments):
        held = hold[key] * segments
        if left <= held:
            return key, 0.0
        left -= held
        if left < moving:
            return key, left / moving
        left -= moving
    return (0 if loop else segments), 0.0


def walk(
    keys: Tensor,
    frame: int,
    frames: int,
    *,
    loop: bool = True,
    interpolation: str = "slerp",
    easing: str = "linear",
    hold: Sequence[int] = (),
    sphere: bool = True,
) -> Tensor:
    """Latent of one frame of a walk through the keys, a function of its arguments alone.

    Args:
        keys: (K, D), K at least 2.
        frame: its index.
        frames: frames of the film.
        loop: close the path.
        interpolation: "slerp", "lerp" or "spline".
        easing: a name of `EASINGS`, applied between each key and the next.
        hold: see `place`.
        sphere: see `spline`.

    Returns:
        (D,).
    """
    key, t = place(frame, frames, len(keys), loop=loop, hold=hold)
    if t == 0:
        return keys[key]
    if interpolation == "spline":
        return spline(keys, key, EASINGS[easing](t), loop=loop, sphere=sphere)
    return INTERPOLATIONS[interpolation](keys[key], keys[(key + 1) % len(keys)], EASINGS[easing](t))


def latent(z_dim: int, seed: int, truncation_psi: float = 1.0) -> Tensor:
    """Latent of a picture: (z_dim,) from N(0, truncation_psi²), drawn on the CPU so that every device draws the same."""
    return torch.randn(z_dim, generator=torch.Generator().manual_seed(seed)) * truncation_psi


def batch_size_for(resolution: int) -> int:
    """Latents that a generator takes at a time: about 2^18 pixels, 1 to 64 pictures."""
    return max(1, min(64, (1 << 18) // resolution**2))


@torch.inference_mode()
def pictures(
    G: torch.nn.Module,
    points: Tensor,
    size: int,
    device: str = "cpu",
    labels: Tensor | None = None,
    truncation_psi: float = 1.0,
    *,
    space: str = "z",
) -> Tensor:
    """Pictures of at most `size` latents, computed as a batch of exactly `size`.

    Convolutions of another batch size may differ in the last bit and so in a rounded pixel; padding keeps a picture the
    same wherever it stands and however many are asked for.

    Args:
        G: a generator in evaluation mode on `device`.
        points: N latents, N at most `size`: (N, z_dim), or in w (N, w_dim) or (N, layers, w_dim).
        size: the batch size.
        device: "cpu", "cuda" or "mps".
        labels: (N,) classes or (N, classes) shares of them; only for a G that knows any, and in w not needed.
        truncation_psi: for a G with a space of styles: how far from the mean style (Karras et al. 2019, appendix B); others have their
            latents scaled when these are drawn. In w, points are drawn as they are.
        space: "z", or "w" for a G with a space of styles.

    Returns:
        (N, 3, H, W) float32 in [0, 1] on the device.
    """

    def padded(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])]).to(device)

    known = () if labels is None else (padded(labels),)
    styled: Any = G
    if space == "w":
        images: Tensor = styled.synthesis(padded(points))
    elif truncation_psi != 1 and hasattr(G, "truncate"):
        images = styled.synthesis(styled.truncate(styled.mapping(padded(points), *known), truncation_psi))
    else:
        images = G(padded(points), *known)
    return to_unit(images[: len(points)].float()).clamp(0, 1)
