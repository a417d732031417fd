import pytest
import torch
from genart_pearson_loss import PEARSON, conjugate

from genart.nn.losses import Loss
from genart.testing import run_stage, tiny_images


def test_genart_finds_the_loss(genart_plugins):
    plugins = genart_plugins("pearson")
    assert isinstance(plugins.load_extension("genart_losses", "pearson"), Loss)


def test_a_perfect_D_measures_the_divergence():
    """Of p = (0.8, 0.2) and q = (0.5, 0.5): sum (p - q)²/q = 0.36, reached where T = 2 (p/q - 1)."""
    p, q = torch.tensor([0.8, 0.2]), torch.tensor([0.5, 0.5])
    T = 2 * (p / q - 1)
    bound = (p * T).sum() - (q * conjugate(T)).sum()
    assert float(bound) == pytest.approx(0.36)


def test_a_family_trains_with_it(genart_plugins, tmp_path):
    plugins = genart_plugins("pearson", "dcgan")
    stage = plugins.stage("dcgan.train")
    options = {"kimg": 0.032, "batch_size": 8, "width": 4, "z_dim": 4, "resolution": 16}
    outputs = run_stage(stage, tiny_images(8), work=tmp_path, extension=plugins.load_extension, loss="pearson", **options)
    assert outputs["output"].header["family"] == "dcgan"


def test_both_sides_pull_the_right_way():
    logits = torch.zeros(4, requires_grad=True)
    PEARSON.G(logits, logits.detach()).backward()
    assert (logits.grad < 0).all()
