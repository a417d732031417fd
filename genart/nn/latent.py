"""Paths through latent space: interpolation, easing, closed loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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


INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"slerp": slerp, "lerp": lerp}


def place(frame: int, frames: int, keys: int, *, loop: bool) -> tuple[int, float]:
    """Where a frame lies between the keys, in exact arithmetic.

    Args:
        frame: its index; a loop takes any.
        frames: frames of the film.
        keys: key latents.
        loop: the path leads back to the first key, so that frame `frames` would be frame 0 and no frame comes twice.

    Returns:
        The key before it and the fraction, in [0, 1), of the way to the next.
    """
    if loop:
        key, rest = divmod(frame * keys, frames)
        return key % keys, rest / frames
    steps = max(1, frames - 1)
    key, rest = divmod(frame * (keys - 1), steps)
    return key, rest / steps


def walk(keys: Tensor, frame: int, frames: int, *, loop: bool = True, interpolation: str = "slerp", easing: str = "linear") -> Tensor:
    """Latent of one frame of a walk through the keys, a function of its arguments alone.

    Args:
        keys: (K, z_dim), K at least 2.
        frame: its index.
        frames: frames of the film.
        loop: close the path.
        interpolation: "slerp" or "lerp".
        easing: a name of `EASINGS`, applied between each key and the next.

    Returns:
        (z_dim,).
    """
    key, t = place(frame, frames, len(keys), loop=loop)
    if t == 0:
        return keys[key]
    return INTERPOLATIONS[interpolation](keys[key], keys[(key + 1) % len(keys)], EASINGS[easing](t))


def latent(z_dim: int, seed: int, truncation_psi: float = 1.0) -> Tensor:
    """Latent of a picture: (z_dim,) from N(0, truncation_psi²), drawn on the CPU so that every device draws the same."""
    return torch.randn(z_dim, generator=torch.Generator().manual_seed(seed)) * truncation_psi


def batch_size_for(resolution: int) -> int:
    """Latents that a generator takes at a time: about 2^18 pixels, 1 to 64 pictures."""
    return max(1, min(64, (1 << 18) // resolution**2))


@torch.inference_mode()
def pictures(
    G: torch.nn.Module, z: Tensor, size: int, device: str = "cpu", labels: Tensor | None = None, truncation_psi: float = 1.0
) -> Tensor:
    """Pictures of at most `size` latents, computed as a batch of exactly `size`.

    Convolutions of another batch size may differ in the last bit and so in a rounded pixel; padding keeps a picture the
    same wherever it stands and however many are asked for.

    Args:
        G: a generator in evaluation mode on `device`.
        z: (N, z_dim), N at most `size`.
        size: the batch size.
        device: "cpu", "cuda" or "mps"; autocast is used on "cuda".
        labels: (N,) classes; only for a G that knows any.
        truncation_psi: for a G with a space of styles: how far from the mean style (Karras et al. 2019, appendix B); others have their
            latents scaled when these are drawn.

    Returns:
        (N, 3, H, W) float32 in [0, 1] on the device.
    """

    def padded(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])]).to(device)

    known = () if labels is None else (padded(labels),)
    styled: Any = G
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        if truncation_psi != 1 and hasattr(G, "truncate"):
            images: Tensor = styled.synthesis(styled.truncate(styled.mapping(padded(z), *known), truncation_psi))
        else:
            images = G(padded(z), *known)
    return images[: len(z)].float().mul(0.5).add(0.5).clamp(0, 1)
