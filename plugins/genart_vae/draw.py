"""Pictures become latents and pictures again, in batches that do not depend on where a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genart import Batch, DataError, Images, Run
from genart.nn import latent
from genart.nn.data import over_white, square
from genart.nn.images import to_signed, to_unit

from . import ReconstructParams, WalkParams
from .networks import Autoencoder


class Coder:
    """An autoencoder at work.

    It computes batches of a fixed size, as `latent.pictures` does, so that a picture is the same wherever it stands.

    Args:
        path: the model.
        run: for the model and the device.

    Raises:
        DataError: if the model is of another family.
    """

    def __init__(self, path: Path, run: Run) -> None:
        model = run.open_model(path)
        if model.family != "vae":
            raise DataError(
                f"{run.stage_id}: {path} is a model of the family '{model.family}', which cannot encode pictures",
                "give a model of vae.train",
            )
        G: Any = run.load(model)
        self.G: Autoencoder = G.to(memory_format=torch.channels_last)
        self.device = run.device
        self.classes: list[str] = model.header.get("classes", [])
        self.size = latent.batch_size_for(self.G.resolution)

    def encode(self, batch: Batch) -> Tensor:
        """Means of the latents of at most `size` pictures, squares cut out of them and laid over white: (N, z_dim)."""
        array = batch.array if batch.array.shape[3] == 3 else over_white(batch.array)
        images = to_signed(torch.from_numpy(square(array, self.G.resolution)).permute(0, 3, 1, 2))
        z: Tensor = self.G.encoder(self._padded(images)).mean
        return z[: len(batch)]

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, z_dim), N at most `size`, to pictures (N, 3, R, R) float32 in [0, 1] on the CPU."""
        return self._pictures(self.G.decoder(self._padded(z)), len(z))

    def keys(self, z: Tensor, names: Sequence[str | None]) -> Tensor:
        """Where walks go: latents as noise of the prior, with the vectors of their classes beside it.

        Args:
            z: (N, z_dim), N at most `size`.
            names: the class of each, as far as it is known; others get the one whose pictures are likeliest to have such a latent.

        Returns:
            (N, z_dim or 2 * z_dim) on the CPU.
        """
        known = [self.classes.index(name) if name in self.classes else None for name in names]
        labels = self.G.likeliest(z, known) if self.classes else None
        return self.G.with_kinds(self.G.to_noise(z, labels)[0], labels).cpu()

    def draw(self, noise: Tensor) -> Tensor:
        """What `keys` gave, or lies between, N at most `size`, to pictures (N, 3, R, R) float32 in [0, 1] on the CPU."""
        return self._pictures(self.G.draw(self._padded(noise)), len(noise))

    def _padded(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows[-1:].expand(self.size - len(rows), *rows.shape[1:])]).to(self.device)

    @staticmethod
    def _pictures(drawn: Tensor, count: int) -> Tensor:
        return to_unit(drawn[:count]).clamp(0, 1).cpu()


def reconstruct(images: Images, params: ReconstructParams, run: Run) -> Iterator[Batch]:
    """Yield each picture as the autoencoder gives it back; see the stage."""
    coder = Coder(params.model, run)
    run.expect(images.count, images.fps)
    run.apart(coder.size)
    for batch in images.batches(coder.size):
        yield batch.with_pixels(coder.decode(coder.encode(batch)))


def walk(images: Images, params: WalkParams, run: Run) -> Iterator[Batch]:
    """Yield the frames of a walk from picture to picture; see the stage.

    Raises:
        DataError: if there are fewer than two pictures.
    """
    coder = Coder(params.model, run)
    run.expect(params.frames, params.fps)
    parts = [coder.keys(coder.encode(batch), [meta.get("label") for meta in batch.meta]) for batch in images.batches(coder.size)]
    if (count := sum(map(len, parts))) < 2:
        raise DataError(f"{run.stage_id}: a walk leads between at least 2 pictures, got {count}", "look at the stage before it")
    keys = torch.cat(parts)
    for at in range(0, params.frames, coder.size):
        frames = range(at, min(at + coder.size, params.frames))
        noise = [
            latent.walk(keys, i, params.frames, loop=params.loop, interpolation=params.interpolation, easing=params.easing) for i in frames
        ]
        places = [latent.place(i, params.frames, count, loop=params.loop) for i in frames]
        meta = [
            {"frame": i, "picture": key, "to_picture": (key + 1) % count, "t": round(t, 6)}
            for i, (key, t) in zip(frames, places, strict=True)
        ]
        yield Batch(coder.draw(torch.stack(noise)), meta, start=at)
