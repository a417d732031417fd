import pytest
import torch

from genart.nn import budget


@pytest.mark.parametrize(("wanted", "chosen"), [(1, 64), (500, 32), (900, 16), (10**9, 16)])
def test_the_largest_size_that_fits(wanted, chosen):
    rates = {16: 100.0, 32: 60.0, 64: 30.0}
    assert budget.largest_that_fits([16, 32, 64], rates.__getitem__, wanted, seconds=10) == chosen


@pytest.mark.parametrize(
    ("rates", "chosen"), [({8: 100, 16: 90, 32: 50}, 16), ({8: 100, 16: 90, 32: 86, 64: 80}, 32), ({8: 100, 16: 80}, 8)]
)
def test_a_larger_size_that_costs_next_to_nothing_is_taken_though_fewer_images_are_seen_than_wanted(rates, chosen):
    assert budget.largest_that_fits(list(rates), rates.__getitem__, 10**9, seconds=10) == chosen


def test_sizes_beyond_the_first_that_is_too_slow_are_not_measured():
    measured = []

    def rate(size):
        measured.append(size)
        return 100.0 / size

    budget.largest_that_fits([16, 32, 64, 128], rate, 30, seconds=10)
    assert measured == [16, 32, 64]
    budget.largest_that_fits([16], rate, 30, seconds=10)
    assert measured == [16, 32, 64], "one alone is not measured"


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [({8: 100, 16: 120}, 8), ({8: 100, 16: 150, 32: 160}, 16), ({8: 100, 32: 200}, 32), ({8: 100, 32: 190}, 8)],
    ids=["hardly faster", "once", "two doublings that pay", "two that do not"],
)
def test_a_larger_batch_must_see_many_more_images(rates, chosen):
    assert budget.batch_that_pays(list(rates), rates.__getitem__) == chosen


def test_a_single_batch_size_is_not_measured():
    assert budget.batch_that_pays([8], {}.__getitem__) == 8


def test_a_call_is_measured_after_a_warm_up():
    calls = []
    seconds = budget.seconds_per_call(lambda: calls.append(torch.zeros(1)), "cpu", seconds=0.001, warmup=3)
    assert seconds >= 0
    assert len(calls) >= 5
