"""`augment.preview`: a sheet of an operation."""

import pytest
import torch

from genart import Batch, DataError, Images, UsageError
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_augment import preview


def sheet(work, given=None, **params):
    return run_stage(preview, tiny_images(2, 40) if given is None else given, work=work, **params)["output"]


def test_a_column_for_each_value(tmp_path):
    grey = Images.from_batches([Batch(torch.full((1, 3, 40, 40), 0.5))])
    made = sheet(tmp_path, grey, op={"op": "adjust_gamma", "gamma": 1.0}, vary="gamma", values=[0.5, 1.0, 2.0])
    assert made.count == 1
    (picture,) = made[0].array
    assert picture.shape[1] == 4 + 4 * 44
    middles = [int(picture[24, 4 + at * 44 + 20, 0]) for at in range(4)]
    assert middles == [128, 181, 128, 64]
    assert made[0].meta[0]["values"] == ["gamma = 0.5", "gamma = 1.0", "gamma = 2.0"]


def test_a_column_for_each_draw_and_rows_for_pictures(tmp_path):
    made = sheet(tmp_path, op={"op": "RandomAffine", "degrees": 90, "p": 1.0}, columns=3)
    (picture,) = made[0].array
    tiles = [picture[4:44, 4 + at * 44 : 44 + at * 44].tobytes() for at in range(4)]
    assert len(set(tiles)) == 4
    assert picture.shape[0] > 2 * 44


def test_sizes_may_differ(tmp_path):
    (picture,) = sheet(tmp_path, op={"op": "resize", "size": 8}, vary="size", values=[8, 80])[0].array
    assert picture.shape[1] == 4 + 3 * 84


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"op": "RandomAfine"}, "did you mean 'RandomAffine'"),
        ({"op": "invert", "vary": "p"}, "give both, or neither"),
        ({"op": "invert", "values": [1.0]}, "give both, or neither"),
    ],
)
def test_wrong_parameters_are_refused(params, says):
    with pytest.raises(ParamProblem, match=says):
        resolve(preview.params, "augment.preview", params)


def test_wrong_values_and_no_pictures(tmp_path):
    with pytest.raises(UsageError, match="vary: no parameter 'gama' in adjust_gamma; did you mean 'gamma'"):
        sheet(tmp_path / "a", op={"op": "adjust_gamma", "gamma": 1.0}, vary="gama", values=[1.0])
    with pytest.raises(DataError, match="there is no picture"):
        sheet(tmp_path / "b", Images.from_batches([]), op="invert")
