"""Latents become pictures, in batches that do not depend on where a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from genart import Batch, DataError, Model, Run, did_you_mean
from genart.nn import latent

from . import SampleParams, WalkParams

#: Frames per key when nobody says how many keys.
FRAMES_PER_KEY = 16

#: Latent and metadata of picture i.
Latents = Callable[[int], tuple[torch.Tensor, dict[str, Any]]]


def sample(model: Model, params: SampleParams, run: Run) -> Iterator[Batch]:
    """Yield pictures of random latents; see the stage."""
    run.expect(params.count)
    z_dim = int(model.header["z_dim"])
    classes = model.header.get("classes", [])
    chosen = class_of(model, params)

    def latent_of(i: int) -> tuple[torch.Tensor, dict[str, Any]]:
        seed = run.seed("z", i)
        name = (chosen or classes[seed % len(classes)]) if classes else None
        return latent.latent(z_dim, seed, params.truncation_psi), {"seed": seed} | ({"label": name} if name else {})

    yield from draw(model, latent_of, params.count, run, params.truncation_psi)


def walk(model: Model, params: WalkParams, run: Run) -> Iterator[Batch]:
    """Yield the frames of a walk; see the stage."""
    run.expect(params.frames, params.fps)
    z_dim = int(model.header["z_dim"])
    seeds = key_seeds(params, run)
    classes = model.header.get("classes", [])
    name = (class_of(model, params) or classes[seeds[0] % len(classes)]) if classes else class_of(model, params)
    label = {"label": name} if name else {}
    keys = torch.stack([latent.latent(z_dim, seed, params.truncation_psi) for seed in seeds])

    def latent_of(i: int) -> tuple[torch.Tensor, dict[str, Any]]:
        z = latent.walk(keys, i, params.frames, loop=params.loop, interpolation=params.interpolation, easing=params.easing)
        key, t = latent.place(i, params.frames, len(keys), loop=params.loop)
        return z, {"frame": i, "seed": seeds[key], "to_seed": seeds[(key + 1) % len(keys)], "t": round(t, 6)} | label

    yield from draw(model, latent_of, params.frames, run, params.truncation_psi)


def class_of(model: Model, params: SampleParams | WalkParams) -> str | None:
    """The class that `class` names, or None if it names none.

    Raises:
        DataError: if the model does not know it.
    """
    wanted: str | None = getattr(params, "class")
    classes = model.header.get("classes", [])
    if wanted is not None and wanted not in classes:
        knows = f"it knows {', '.join(classes)}" if classes else "it was trained without class folders, and knows no classes"
        raise DataError(f"the model has no class '{wanted}'{did_you_mean(wanted, classes)}", knows)
    return wanted


def key_seeds(params: WalkParams, run: Run) -> tuple[int, ...]:
    """Seeds of the keys: as given, or as many as asked for, or one per so many frames."""
    if params.seeds is not None:
        return params.seeds
    count = params.keys or max(3, round(params.frames / FRAMES_PER_KEY))
    return tuple(run.seed("z", i) for i in range(count))


def draw(model: Model, latent_of: Latents, count: int, run: Run, truncation_psi: float = 1.0) -> Iterator[Batch]:
    """Yield pictures `run.start` to `count`, in batches that begin at multiples of the batch size; a `label` is a class."""
    G: Any = run.load(model)
    G = G.to(memory_format=torch.channels_last)
    size = latent.batch_size_for(int(model.header["resolution"]))
    classes = model.header.get("classes", [])
    for at in range(run.start - run.start % size, count, size):
        zs, meta = zip(*(latent_of(i) for i in range(at, min(at + size, count))), strict=True)
        skip = max(0, run.start - at)  # computed with their batch, kept already
        labels = torch.tensor([classes.index(m["label"]) for m in meta]) if classes else None
        images = latent.pictures(G, torch.stack(zs), size, run.device, labels, truncation_psi)
        yield Batch(images[skip:], meta[skip:], start=at + skip)
