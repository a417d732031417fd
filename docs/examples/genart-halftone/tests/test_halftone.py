import genart_halftone
import torch

from genart import Batch, Images
from genart.testing import check_stage, run_stage, tiny_images


def test_it_keeps_what_stages_promise(tmp_path):
    check_stage(genart_halftone.print_, tiny_images(size=24), work=tmp_path)


def test_darker_pictures_have_more_ink(tmp_path):
    greys = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 3, 48, 48)
    printed = run_stage(genart_halftone.print_, Images.from_batches([Batch(greys.clone())]), work=tmp_path)["output"]
    means = [float(printed[i].pixels.mean()) for i in range(5)]
    assert means == sorted(means)
    assert means[4] == 1
