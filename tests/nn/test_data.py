import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from genart.nn import data
from genart.seeds import derive


def generator(label, index=None):
    return torch.Generator().manual_seed(derive(3, label, index or 0))


def coloured(count, size=8):
    array = np.zeros((count, size, size, 3), np.uint8)
    array[..., 0] = np.arange(count)[:, None, None]
    array[:, :, : size // 2, 1] = 255
    return array


@given(st.integers(2, 50), st.integers(0, 500), st.integers(1, 120))
def test_the_order_is_one_permutation_after_another_however_it_is_cut(count, first, size):
    pictures = data.Pictures(coloured(count), generator)
    whole = pictures.indices(0, first + size)
    assert np.array_equal(whole[first:], pictures.indices(first, size))
    for epoch in range(len(whole) // count):
        assert sorted(whole[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_differ():
    pictures = data.Pictures(coloured(40), generator)
    assert not np.array_equal(pictures.indices(0, 40), pictures.indices(40, 40))


def test_a_batch_is_channels_last_and_signed():
    batch = data.Pictures(coloured(200), generator).batch(0, 0, 64).images
    assert batch.shape == (64, 3, 8, 8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch[:, 1].min() == -1
    assert batch[:, 1].max() == 1


def test_mirroring_flips_about_half_and_repeats():
    pictures = data.Pictures(coloured(200), generator, mirror=True)
    real = pictures.batch(5, 0, 100)
    batch = real.images
    flipped = (batch[:, 1, 0, 0] < 0).float().mean()
    assert 0.3 < flipped < 0.7
    assert torch.equal(batch, pictures.batch(5, 0, 100).images)
    assert torch.equal(batch, pictures.version(real.versions.numpy()))
    assert not torch.equal(batch, pictures.batch(6, 0, 100).images)
    assert pictures.array[:, 0, 0, 1].min() == 255, "the pictures themselves stay as they are"


def test_all_identical():
    same = np.repeat(coloured(1), 600, 0)
    assert data.all_identical(same)
    same[-1, 0, 0, 0] = 1
    assert not data.all_identical(same)


@given(st.integers(5, 70), st.integers(5, 70), st.sampled_from([16, 32]))
def test_square_gives_the_asked_size(height, width, resolution):
    grey = np.full((2, height, width, 3), 77, np.uint8)
    out = data.square(grey, resolution)
    assert out.shape == (2, resolution, resolution, 3)
    assert (out == 77).all()


def test_over_white():
    rgba = np.zeros((1, 1, 3, 4), np.uint8)
    rgba[0, 0, :, 3] = (0, 255, 128)
    assert data.over_white(rgba)[0, 0, :, 0].tolist() == [255, 0, 127]


@given(st.integers(1, 4000), st.integers(2, 70), st.integers(1, 64))
def test_snapshot_places(steps, count, step):
    total = steps * step
    places = data.snapshot_places(total, count, step)
    assert places[0] == 0
    assert places[-1] == total
    assert len(places) <= count
    assert places == sorted(set(places))
    assert all(place % step == 0 for place in places)


def test_labels_follow_their_pictures():
    array = coloured(10)
    pictures = data.Pictures(array, generator, mirror=True, labels=[i % 3 for i in range(10)], classes=["a", "b", "c"])
    batch = pictures.batch(0, 3, 20)
    assert batch.labels.tolist() == [int(v) % 10 % 3 for v in batch.versions]
    assert pictures.labels_in_turn(5).tolist() == [0, 1, 2, 0, 1]
    assert data.Pictures(array, generator).batch(0, 0, 4).labels is None
