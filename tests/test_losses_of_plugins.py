"""A loss that a plugin brings, by the hook genart_losses."""

from __future__ import annotations

import json
from pathlib import Path

LOSS = """
import genart
from genart.nn import losses
import torch

COSH = losses.Loss(
    D=lambda real, gen: (real - 1).cosh().log().mean() + gen.cosh().log().mean(),
    G=lambda gen, real: (gen - 1).cosh().log().mean(),
)

@genart.hookimpl
def genart_losses():
    return {"cosh": "genart_local.softer:COSH"}
"""
RECIPE = """
[recipe]
name = "loss"

[[stage]]
uses = "images.samples"
crop = 16
count = 16

[[stage]]
uses = "dcgan.train"
id = "train"
kimg = 0.032
batch_size = 8
width = 4
z_dim = 4
loss = "{loss}"
save = "model.safetensors"
"""


def test_a_loss_of_a_plugin_trains_and_belongs_to_the_key(home: Path, cli) -> None:
    Path("softer.py").write_text(LOSS)
    Path("r.toml").write_text(RECIPE.format(loss="cosh"))
    words = ("run", "r.toml", "-p", "softer.py", "--json", "--device", "cpu")
    first = cli(*words)
    assert first.code == 0, first.err
    assert first.made() == ["images.samples", "train"]
    assert cli(*words).made() == []
    Path("softer.py").write_text(LOSS.replace("(gen - 1)", "(gen - 2)"))
    rows = json.loads(cli("plan", "r.toml", "-p", "softer.py", "--why", "--json", "--device", "cpu").out)["stages"]
    assert [row["why"] for row in rows if row["status"] == "run"] == [["the loss 'cosh' changed"]]
    assert cli(*words).made() == ["train"]
    header = json.loads(cli("show", "out/loss/model.safetensors", "--json").out)
    assert header["provenance"]["stages"][1]["params"]["loss"] == "cosh"


def test_an_unknown_loss_is_told_with_those_that_there_are(home: Path, cli) -> None:
    Path("softer.py").write_text(LOSS)
    Path("r.toml").write_text(RECIPE.format(loss="hinges"))
    result = cli("run", "r.toml", "-p", "softer.py")
    assert result.code == 2
    assert "r.toml:17: loss: there is no loss 'hinges'; did you mean 'hinge'?" in result.err
    assert "cosh" in result.err
    assert "wgan" in result.err
