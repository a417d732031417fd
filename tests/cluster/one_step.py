"""One step of many trainings in this process or, launched by torchrun's variables, in several: gradients and numbers, a file for each.

python -m tests.cluster.one_step FOLDER [sockets]

Processes of one machine share memory, unless they are to speak through sockets.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from genart.events import Events
from genart.launch import launched
from genart.nn import mailbox, shards
from genart.nn.data import Pictures
from genart.nn.family import Family, Setup, first_plan
from genart.nn.team import Team, shared_among, shared_step
from genart.plugins import Plugins
from genart.run import Run

#: Where each family is, and its name there.
FAMILIES = {"dcgan": "DCGAN", "progan": "ProGAN", "msggan": "MSGGAN", "stylegan": "StyleGAN", "projected": "Projected", "vae": "VAE"}
RESOLUTION, PICTURES = 32, 40
#: A case: family, size of the batch, parameters.
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "dcgan": ("dcgan", 16, {}),
    "dcgan-batch-norm-in-D-penalised": ("dcgan", 16, {"norm_D": "batch", "r1_gamma": 1.0, "r2_gamma": 1.0}),
    "dcgan-wgan": ("dcgan", 16, {"loss": "wgan", "norm_D": "none", "gp_lambda": 10.0}),
    "dcgan-average": ("dcgan", 16, {"loss": "relativistic_average", "augment": "always"}),
    "dcgan-skips": ("dcgan", 16, {"skip_D_below": 100.0}),
    "progan": ("progan", 16, {}),
    "progan-odd-groups": ("progan", 8, {}),
    "msggan": ("msggan", 16, {"augment": "always"}),
    "stylegan": ("stylegan", 16, {"style_mixing": 0.9, "minibatch_stddev": True}),
    "stylegan-paired": ("stylegan", 16, {"r1_gamma": 1.0, "r2_gamma": 1.0}),
    "projected": ("projected", 16, {}),
    "projected-one-group": ("projected", 12, {}),
    "vae": ("vae", 16, {}),
}

#: Of them, those that are computed through sockets as well: between them they say all that is said.
SPOKEN = ("dcgan", "dcgan-batch-norm-in-D-penalised", "dcgan-average", "vae")


class Smooth(torch.nn.Module):
    """A backbone without kinks: through those of a real one a difference in the last bit becomes one of percents."""

    layers = ("relu1", "relu2", "relu3")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(c, 8, 4, s, 1) for c, s in ((3, 4), (8, 2), (8, 2)))
        self.requires_grad_(False)

    def stride(self, layer: str) -> int:
        """Pixels of the picture from one place to the next."""
        return 4 * 2 ** self.layers.index(layer)

    def forward(self, x: torch.Tensor, layers: Any) -> dict[str, torch.Tensor]:
        """(N, 3, H, W) to features by layer."""
        found = {}
        for layer, conv in zip(self.layers, self.convs, strict=True):
            found[layer] = x = torch.tanh(conv(x))
        return found


def stepped(name: str, batch_size: int, given: dict[str, Any], work: Path, team: Team | None) -> dict[str, torch.Tensor]:
    """Gradients of G and D after one step, and what the step told."""
    plugins = Plugins()
    family: Family = getattr(importlib.import_module(f"genart_{name}.train"), FAMILIES[name])()
    params = importlib.import_module(f"genart_{name}").TrainParams(**given, mirror=True, kimg=1.0, batch_size=batch_size, precision="fp32")
    run = Run(
        stage_id="train", seed=7, device="cpu", work=work, events=Events(),
        backbone=lambda name, device: Smooth(), extension=plugins.load_extension,
    )  # fmt: skip
    array = np.random.default_rng(1).integers(0, 256, (PICTURES, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    labels = [index % 3 for index in range(PICTURES)]
    pictures = Pictures(array, run.generator, mirror=True, labels=labels, classes=["a", "b", "c"])
    plan = first_plan(family, pictures, {}, params, run) | {"width": 8}
    trainer = family.trainer(Setup(params, run, pictures, plan))
    shard = shared_among(team, trainer, plan["total_nimg"]) if team is not None else shards.ALONE
    assert team is None or shard.size == team.size
    assert team is None or (shard.mailbox is not None) == mailbox.usable()
    trainer.schedule(600)
    real = pictures.batch(0, 0, batch_size, shard)
    z = shard.own(torch.randn(batch_size, plan["z_dim"], generator=run.generator("z", 0)))
    if team is not None:
        told = shared_step(trainer, shard, 0, real, z, run.generator("step", 0), 0.7)
    else:
        told = trainer.step(0, real, z, run.generator("step", 0), 0.7)
    found = {"told": told}
    for kind in ("G", "D"):
        module = getattr(trainer, kind, None)
        if module is not None:
            found |= {f"{kind}/{key}": p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}
            found |= {f"{kind}/{key}": b.float() for key, b in module.named_buffers() if "running" in key}
    return found


def main(folder: Path) -> None:
    """All cases."""
    if "sockets" in sys.argv:
        mailbox.FOLDER = "/nowhere"
    launch = launched()
    team = Team(launch, "cpu") if launch is not None else None
    for case in SPOKEN if "sockets" in sys.argv else CASES:
        name, batch_size, given = CASES[case]
        with tempfile.TemporaryDirectory() as work:
            found = stepped(name, batch_size, given, Path(work), team)
        if team is None or team.leads:
            save_file({key: value.contiguous() for key, value in found.items()}, folder / f"{case}.safetensors")
    if team is not None:
        team.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
