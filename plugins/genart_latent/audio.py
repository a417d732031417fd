"""latent.audio: a course through latent space that follows the curves of a sound."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from genart import Batch, Model, Run
from genart.nn import latent, sound

from ._audio import AudioParams
from .draw import Drawn, draw, open_space


def film(model: Model, params: AudioParams, run: Run) -> Iterator[Batch]:
    """Yield the frames of the film; see the stage.

    Raises:
        DataError: if the sound cannot be read, or the model does not know the class.
    """
    heard = sound.listen(sound.read_samples(params.path))
    count = params.frames or max(1, round(heard.seconds * params.fps))
    run.expect(count, params.fps)
    space = open_space(model, run, truncation_psi=params.truncation_psi)
    seeds = params.seeds or tuple(run.seed("z", i) for i in range(params.keys))
    label = getattr(params, "class") or space.class_of(seeds[0])
    kind = space.kind(label)
    keys = torch.stack([latent.latent(space.z_dim, seed) for seed in seeds])
    z_of = Following(heard, keys, params, run, np.arange(count) / params.fps)

    def course(i: int) -> Drawn:
        z, key = z_of(i)
        meta = {"frame": i, "time_sec": round(i / params.fps, 6), "seed": seeds[key]} | ({"label": label} if label else {})
        return Drawn(z * params.truncation_psi, kind, meta)

    yield from draw(space, course, count, run)


class Following:
    """Latents that follow a sound.

    Args:
        heard: the curves of the sound.
        keys: (K, z_dim), K at least 3.
        params: of the stage.
        run: for the seeds of what pitches and bands pull towards.
        times: (N,), of the frames, in seconds.
    """

    def __init__(self, heard: sound.Sound, keys: Tensor, params: AudioParams, run: Run, times: np.ndarray) -> None:
        self.keys, self.positions = keys, positions(heard, params, times)
        curves = [sound.at_times(sound.smoothed_over(curve, params.smooth), heard.times, times) for curve in (heard.chroma, heard.bands)]
        self.shares = np.concatenate([params.chroma * curves[0], params.bands * (2 * curves[1] - 1)], 1)
        self.pulls = torch.stack([latent.latent(keys.shape[1], run.seed("pull", i)) for i in range(self.shares.shape[1])])

    def __call__(self, i: int) -> tuple[Tensor, int]:
        """Latent of frame i, (z_dim,) of the length √z_dim, and the key before it."""
        whole = math.floor(self.positions[i])
        key = whole % len(self.keys)
        z = latent.spline(self.keys, key, float(self.positions[i] - whole), loop=True)
        z = z + torch.from_numpy(self.shares[i]).float() @ self.pulls
        return z * (math.sqrt(len(z)) / z.norm().clamp(min=1e-6)), key


def positions(heard: sound.Sound, params: AudioParams, times: np.ndarray) -> np.ndarray:
    """Where among the keys the film is at these times: (N,), rising, by `pace` a second on average; after the sound's end, steadily on."""
    driven = np.concatenate([[0.0], np.cumsum(heard.onsets)])
    steady: np.ndarray = params.pace * times
    if driven[-1] == 0:
        return steady
    known = np.concatenate([[0.0], heard.times])
    pushed = params.pace * heard.seconds * np.interp(times, known, driven) / driven[-1]
    moved: np.ndarray = (1 - params.onsets) * steady + params.onsets * pushed
    return moved
