import genart_dense
import torch

from genart.testing import check_stage, run_stage, tiny_images

SMALL = {"kimg": 0.048, "batch_size": 8, "width": 4, "z_dim": 4, "resolution": 16, "evaluations": 0}


def test_it_keeps_what_stages_promise(tmp_path):
    check_stage(genart_dense.dense_train, tiny_images(8), work=tmp_path, **SMALL)


def test_its_models_are_rebuilt_and_walked_through(genart_plugins, tmp_path):
    plugins = genart_plugins("dense", "latent")
    model = run_stage(genart_dense.dense_train, tiny_images(8), work=tmp_path / "train", **SMALL)["output"]
    pictures = plugins.rebuild(model, "cpu")(torch.zeros(2, 4))
    assert pictures.shape == (2, 3, 16, 16)
    walk = run_stage(plugins.stage("latent.walk"), model, work=tmp_path / "walk", rebuild=plugins.rebuild, frames=5)["output"]
    assert walk.count == 5
