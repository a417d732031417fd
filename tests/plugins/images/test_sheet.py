"""`images.sheet`: the first picture of each stage or file, in its place, with its words below."""

import numpy as np
import pytest
import torch
from PIL import Image

from genart import Batch, DataError, Images
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_images import images_sheet


def sheet(work, sides, **params):
    images = run_stage(images_sheet, work=work, sides=sides, pictures=list(sides), **params)["output"]
    assert len(images) == 1
    return images[0]


def test_the_first_picture_of_each_stage_and_of_files(tmp_path):
    a, b = tiny_images(3, 8), tiny_images(2, 16)
    Image.new("RGB", (6, 4), "red").save(tmp_path / "red.png")
    made = sheet(tmp_path / "w", {"a": a, "b.progress": b, str(tmp_path / "red.png"): None}, columns=2, gap=1)
    pixels = made.array[0]
    assert pixels.shape == (1 + 2 * 17, 1 + 2 * 17, 3)
    assert np.array_equal(pixels[5:13, 5:13], a.array()[0]), "in the middle of a cell of the largest"
    assert np.array_equal(pixels[1:17, 18:34], b.array()[0])
    assert (pixels[24:28, 6:12] == [255, 0, 0]).all()
    assert made.meta == [{"pictures": 3}]


def test_labels_are_lines_and_make_small_cells_wider(tmp_path):
    sides = {"a": tiny_images(1, 8), "b": tiny_images(1, 8)}
    labels = [{"one.amount": 0.25, "two.mode": ["x", True]}, {"one.amount": 1, "two.mode": "y"}]
    made = sheet(tmp_path, sides, labels=labels, gap=2)
    assert made.meta == [{"pictures": 2, "cells": labels}]
    height, width = made.array[0].shape[:2]
    assert height == 2 + 8 + 2 * 14 + 2, "two lines"
    assert width > 2 * 40, "as wide as the words"
    plain = sheet(tmp_path / "plain", sides, labels=["a", "b"], gap=2).array[0]
    assert plain.shape[0] == 2 + 8 + 14 + 2
    for top in (10, 24):
        assert made.array[0][top : top + 14].min() < 128, "something is written in each line"


def test_a_parameter_is_called_by_its_own_name_unless_two_have_it(tmp_path):
    from genart_images.sheet import _texts

    assert _texts([{"a.x": 1, "b.x": 2, "b.y": False}]) == ["a.x 1\nb.x 2\ny false"]
    assert _texts(["words", {"a.x": [0.2, 0.6]}]) == ["words", "x 0.2, 0.6"]


def test_a_given_size_holds(tmp_path):
    made = sheet(tmp_path, {"a": tiny_images(1, 8)}, labels=["a label that is too long for a cell of this size"], resolution=32, gap=0)
    assert made.array[0].shape == (32 + 14, 32, 3)


def test_transparency_shows_the_background(tmp_path):
    pixels = torch.zeros(1, 4, 2, 2)
    made = sheet(tmp_path, {"a": Images.from_batches([Batch(pixels)])}, gap=0, background="#204060")
    assert (made.array[0] == [0x20, 0x40, 0x60]).all()


def test_nothing_to_show(tmp_path):
    with pytest.raises(DataError, match="'a' gave no picture"):
        sheet(tmp_path, {"a": Images.from_batches([])})
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        sheet(tmp_path, {str(tmp_path / "b.png"): None})


def test_wrong_parameters():
    with pytest.raises(ParamProblem, match="one for each of 2 pictures"):
        resolve(images_sheet.params, "images.sheet", {"pictures": ["a", "b"], "labels": ["x"]})
    with pytest.raises(ParamProblem, match="required"):
        resolve(images_sheet.params, "images.sheet", {})
