"""Generators of three kinds, small enough to draw at once: plain, with classes, with styles."""

from __future__ import annotations

import torch

from genart.artifacts import Images, Model
from genart.events import Events
from genart.nn.layers import with_labels
from genart.params import resolve
from genart.run import Run

SIDE = 48
Z = 6


def weights(seed, *shape):
    return torch.nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


class Net(torch.nn.Module):
    """Any family's generator, of an odd picture size."""

    z_dim, resolution = Z, SIDE

    def __init__(self):
        super().__init__()
        self.weight = weights(0, Z, 3 * SIDE * SIDE)

    def first_layer(self):
        return self.weight.T

    def forward(self, z):
        return torch.tanh(z @ self.weight).view(-1, 3, SIDE, SIDE)


class Kinds(torch.nn.Module):
    """One that knows three classes."""

    def __init__(self):
        super().__init__()
        self.weight, self.classes = weights(0, 2 * Z, 3 * SIDE * SIDE), torch.nn.Embedding(3, Z)
        self.classes.weight = weights(1, 3, Z)

    def forward(self, z, labels=None):
        return torch.tanh(with_labels(z, labels, self.classes) @ self.weight).view(-1, 3, SIDE, SIDE)


class Styled(torch.nn.Module):
    """One with styles of 5 numbers for 4 layers."""

    w_dim, layers = 5, 4

    def __init__(self):
        super().__init__()
        self.to_w, self.weight = weights(0, Z, 5), weights(1, 4, 5, 3 * SIDE * SIDE)
        self.mean_w = torch.zeros(5)

    def first_layer(self):
        return self.weight.permute(0, 2, 1).flatten(0, 1)

    def mapping(self, z, labels=None):
        return torch.tanh(z @ self.to_w)

    def truncate(self, w, psi):
        return torch.lerp(self.mean_w, w, psi)

    def synthesis(self, ws):
        ws = ws[:, None].expand(-1, 4, -1) if ws.ndim == 2 else ws
        return torch.tanh(torch.einsum("nlw,lwp->np", ws, self.weight)).view(-1, 3, SIDE, SIDE)

    def forward(self, z, labels=None):
        return self.synthesis(self.mapping(z, labels))


NETS = {"plain": Net, "kinds": Kinds, "styled": Styled}


def model(kind="plain", **header):
    classes = {"classes": ["iris", "rose", "tulip"]} if kind == "kinds" else {}
    return Model(path=None, header={"family": kind, "parameters": {}, "z_dim": Z, "resolution": SIDE, **classes, **header})


def run_for(work, *, start=0, seed=0, sides=None, backbone=None):
    def rebuild(model, device):
        return NETS[model.family]().eval().requires_grad_(False)

    run = Run(stage_id="x", seed=seed, device="cpu", work=work, events=Events(), rebuild=rebuild, start=start, backbone=backbone)
    run.sides = sides or {}
    return run


def draw(work, stage, kind="plain", *, start=0, seed=0, sides=None, **params):
    """What a stage draws with a toy, in memory."""
    run = run_for(work, start=start, seed=seed, sides=sides)
    batches = run.stream(stage(model(kind), resolve(stage.params, stage.name, params), run))
    return Images.from_batches(list(batches), run.fps)


def metas(images):
    return [meta for batch in images for meta in batch.meta]
