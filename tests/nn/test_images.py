"""Ranges change exactly and contact sheets put every pixel where they say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genart.nn.images import grid, to_signed, to_uint8, to_unit

EVERY_BYTE = torch.arange(256, dtype=torch.uint8)


def test_ends_of_the_ranges():
    assert to_unit(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.5, 1.0]
    assert to_signed(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]
    assert to_unit(EVERY_BYTE)[[0, 255]].tolist() == [0.0, 1.0]
    assert to_signed(EVERY_BYTE)[[0, 255]].tolist() == [-1.0, 1.0]
    assert to_uint8(torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5])).tolist() == [0, 0, 128, 255, 255]


def test_every_byte_survives_every_way_round():
    assert torch.equal(to_uint8(to_unit(EVERY_BYTE)), EVERY_BYTE)
    assert torch.equal(to_uint8(to_unit(to_signed(EVERY_BYTE))), EVERY_BYTE)
    assert torch.equal(to_uint8(to_unit(to_signed(to_unit(EVERY_BYTE)))), EVERY_BYTE)
    assert torch.equal(to_uint8(EVERY_BYTE), EVERY_BYTE)


def test_ranges_do_not_touch_their_input_and_keep_its_type():
    given_signed = torch.linspace(-1, 1, 5, dtype=torch.float64)
    before = given_signed.clone()
    assert to_unit(given_signed).dtype == to_signed(given_signed).dtype == torch.float64
    assert torch.equal(given_signed, before)
    assert to_unit(EVERY_BYTE).dtype == to_signed(EVERY_BYTE).dtype == torch.float32


@given(
    count=st.integers(1, 9),
    columns=st.integers(1, 5) | st.none(),
    gap=st.integers(0, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_grid_layout_is_exact(count, columns, gap, height, width):
    images = torch.arange(count * 3 * height * width, dtype=torch.float32).reshape(count, 3, height, width)
    sheet = grid(images, columns, gap, background=-1.0)
    across = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // across)
    assert sheet.shape == (3, gap + rows * (height + gap), gap + across * (width + gap))
    seen = torch.zeros_like(sheet[0], dtype=torch.bool)
    for i in range(count):
        top, left = gap + i // across * (height + gap), gap + i % across * (width + gap)
        assert torch.equal(sheet[:, top : top + height, left : left + width], images[i])
        seen[top : top + height, left : left + width] = True
    assert bool((sheet[:, ~seen] == -1).all())


def test_grid_of_bytes_on_a_colour():
    sheet = grid(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), gap=1, background=(10, 20, 30))
    assert sheet.dtype == torch.uint8
    assert sheet[:, 0, 0].tolist() == [10, 20, 30]
    assert sheet[:, 1, 1].tolist() == [0, 0, 0]


def test_grid_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        grid(torch.zeros(0, 3, 4, 4))
