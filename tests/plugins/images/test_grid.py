"""`images.grid`: exact layout, several sheets, cells for mixed sizes, labels."""

import numpy as np
import pytest
import torch

from genart import Batch, DataError, Images, UsageError
from genart.params import ParamProblem, resolve
from genart.testing import run_stage, tiny_images
from genart_images import images_grid, sheet


def sheets(given, work, **params):
    images = run_stage(images_grid, given, work=work, **params)["output"]
    return [images[i].array[0] for i in range(images.count)]


def test_layout_is_exact(tmp_path):
    given = tiny_images(5, 8)
    (sheet,) = sheets(given, tmp_path, columns=3, gap=2, background="#102030")
    assert sheet.shape == (2 + 2 * 10, 2 + 3 * 10, 3)
    free = np.ones(sheet.shape[:2], bool)
    for i in range(5):
        top, left = 2 + i // 3 * 10, 2 + i % 3 * 10
        assert np.array_equal(sheet[top : top + 8, left : left + 8], given.array()[i])
        free[top : top + 8, left : left + 8] = False
    assert (sheet[free] == [0x10, 0x20, 0x30]).all()


def test_default_is_a_square_sheet(tmp_path):
    (sheet,) = sheets(tiny_images(9, 8), tmp_path, gap=0)
    assert sheet.shape == (24, 24, 3)


def test_count_takes_the_first(tmp_path):
    given = tiny_images(9, 8)
    (sheet,) = sheets(given, tmp_path, gap=0, count=2, columns=2)
    assert np.array_equal(sheet, np.concatenate([given.array()[0], given.array()[1]], 1))


def test_rows_make_further_sheets(tmp_path):
    given = tiny_images(7, 8)
    made = sheets(given, tmp_path, columns=2, rows=2, gap=1)
    assert [sheet.shape for sheet in made] == [(19, 19, 3), (10 + 9, 19, 3)]
    assert np.array_equal(made[1][1:9, 1:9], given.array()[4])
    assert (made[1][10:18, 10:18] == 255).all(), "the cell after the last picture is background"


def test_mixed_sizes_are_centred_in_cells_of_the_largest(tmp_path):
    given = Images.from_batches([Batch(torch.zeros(1, 3, 4, 8)), Batch(torch.zeros(1, 3, 6, 2))])
    (sheet,) = sheets(given, tmp_path, columns=2, gap=0)
    expected = np.full((6, 16, 3), 255, np.uint8)
    expected[1:5, :8] = 0
    expected[:, 8 + 3 : 8 + 5] = 0
    assert np.array_equal(sheet, expected)


def test_cells_of_a_given_size_fit_pictures_in(tmp_path):
    given = Images.from_batches([Batch(torch.zeros(1, 3, 4, 8)), Batch(torch.zeros(1, 3, 40, 20))])
    (sheet,) = sheets(given, tmp_path, columns=2, gap=0, resolution=16)
    expected = np.full((16, 32, 3), 255, np.uint8)
    expected[4:12, :16] = 0
    expected[:, 16 + 4 : 16 + 12] = 0
    assert np.array_equal(sheet, expected)


def test_transparency_shows_the_background(tmp_path):
    pixels = torch.zeros(1, 4, 2, 2)
    pixels[:, 3, 0] = 1.0
    (sheet,) = sheets(Images.from_batches([Batch(pixels)]), tmp_path, gap=0, background="#204060")
    assert sheet[0].tolist() == [[0, 0, 0]] * 2
    assert sheet[1].tolist() == [[0x20, 0x40, 0x60]] * 2


@pytest.mark.parametrize("background", ["white", "black"])
def test_labels_stand_below_their_pictures(tmp_path, background):
    given = tiny_images(4, 32)
    labelled = sheets(given, tmp_path / "a", columns=2, gap=1, label="number", background=background)[0]
    missing = sheets(given, tmp_path / "b", columns=2, gap=1, label="nothing", background=background)[0]
    strip = (labelled.shape[0] - 1) // 2 - 1 - 32
    assert strip >= 10
    plain = 255 if background == "white" else 0
    for i in range(4):
        top, left = 1 + i // 2 * (33 + strip), 1 + i % 2 * 33
        assert np.array_equal(labelled[top : top + 32, left : left + 32], given.array()[i])
        text = (slice(top + 32, top + 32 + strip), slice(left, left + 32))
        assert np.ptp(labelled[text]) > 128, "a number is drawn"
        assert (missing[text] == plain).all(), "no metadata, no text"


def test_a_label_too_long_is_cut_to_its_cell(tmp_path):
    given = Images.from_batches([Batch(torch.ones(2, 3, 20, 20), [{"source": "x" * 200}, {}])])
    (sheet,) = sheets(given, tmp_path, columns=2, gap=4, label="source")
    assert (sheet[:, :4] == 255).all()
    assert (sheet[:, 24:] == 255).all()
    assert sheet[24:, 4:24].min() < 128


def test_no_picture_and_too_large(tmp_path):
    with pytest.raises(DataError, match="no picture"):
        run_stage(images_grid, Images.from_batches([]), work=tmp_path)
    with pytest.raises(UsageError, match="too large"):
        run_stage(images_grid, tiny_images(40, 8), work=tmp_path, columns=40, gap=1000)


@pytest.mark.parametrize("params", [{}, {"columns": 2}, {"resolution": 8}])
def test_pictures_that_are_too_many_for_a_sheet_are_not_gathered(tmp_path, monkeypatch, params):
    monkeypatch.setattr(sheet, "MAX_SHEET_SIDE", 100)
    drawn = 0

    def batches(start, size):
        nonlocal drawn
        for i in range(1000):
            drawn += 1
            yield Batch.from_array(np.zeros((1, 8, 8, 3), np.uint8), start=i)

    with pytest.raises(UsageError, match=r"pictures make a sheet of \d+x10\d pixels"):
        run_stage(images_grid, Images(batches, count=1000), work=tmp_path, gap=1, **params)
    assert drawn <= 122


def test_a_sheet_that_its_labels_make_too_large_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "MAX_SHEET_SIDE", 80)
    monkeypatch.setattr(sheet, "_place", lambda *_, **__: pytest.fail("it is being made"))
    with pytest.raises(UsageError, match="4 pictures make a sheet of 64x92 pixels"):
        run_stage(images_grid, tiny_images(4, 32), work=tmp_path, gap=0, label="number")


def test_wrong_parameters():
    with pytest.raises(ParamProblem, match="expected a colour"):
        resolve(images_grid.params, "images.grid", {"background": "purplish"})
    with pytest.raises(ParamProblem, match="did you mean 'columns'"):
        resolve(images_grid.params, "images.grid", {"colums": 3})


def test_cells_tell_the_seeds_that_they_were_drawn_from(tmp_path):
    metas = [{"seed": 5}, {"seed": 6, "label": "rose", "origin": [{"stage": "x"}]}]
    given = Images.from_batches([Batch.from_array(np.zeros((2, 8, 8, 3), np.uint8), metas)])
    made = run_stage(images_grid, given, work=tmp_path)["output"]
    assert made[0].meta == [{"pictures": 2, "cells": [{"seed": 5}, {"seed": 6, "label": "rose"}]}]
    plain = run_stage(images_grid, tiny_images(2, 8), work=tmp_path / "plain")["output"]
    assert plain[0].meta == [{"pictures": 2}]
