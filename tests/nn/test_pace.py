import itertools

import pytest

from genart.nn.pace import PARTS, Pace


def test_as_long_as_nothing_changes_the_place_is_the_number_of_images():
    pace = Pace(1000)
    assert [pace.place(nimg) for nimg in (0, 1, 999, 1000, 1010)] == [0, 1, 999, 1000, 1000]
    assert pace.total == 1000
    assert next(nimg for nimg in range(1000) if pace.part_is_over(nimg)) == 1000 / PARTS


@pytest.mark.parametrize("total", [300, 1000, 20_000])
def test_after_a_change_the_place_goes_on_without_a_jump_and_ends_with_the_images(total):
    pace = Pace(1000)
    pace.change(125, total)
    places = [pace.place(nimg) for nimg in range(total + 1)]
    assert places[:126] == list(range(126)), "what is behind does not change"
    assert places == sorted(places)
    largest = max(b - a for a, b in itertools.pairwise(places))
    assert largest <= max(1.0, 875 / (total - 125)) + 1e-9
    assert places[-2] < 1000
    assert places[-1] == 1000


def test_changes_read_back_give_the_same_places():
    pace = Pace(1000, knots=[(125, 4000), (700, 2000)])
    again = Pace(1000)
    again.change(125, 4000)
    again.change(700, 2000)
    assert [again.place(n) for n in range(2001)] == [pace.place(n) for n in range(2001)]
    assert pace.part == again.part == 3


def test_the_last_part_is_not_followed_by_a_change():
    pace = Pace(1000)
    for part in range(1, PARTS):
        assert pace.part_is_over(125 * part)
        pace.change(125 * part, 1000)
    assert not any(pace.part_is_over(nimg) for nimg in range(875, 1001))


def test_what_is_over_is_not_changed():
    assert not Pace(16).part_is_over(16)


def test_a_change_leaves_an_image_at_least():
    pace = Pace(1000)
    pace.change(500, 20)
    assert pace.total == 501


def test_seconds_follow_what_each_part_of_the_plan_costs():
    pace = Pace(1000, [(0.5, 0.1), (0.5, 0.3)])
    assert pace.expected_sec(0, 1000) == pytest.approx(200)
    assert pace.expected_sec(250, 750) == pytest.approx(25 + 75)
    pace.change(500, 1500)  # twice as many images at the second price
    assert pace.expected_sec(500, 1500) == pytest.approx(300)
    assert pace.expected_sec(1500, 1500) == 0


@pytest.mark.parametrize(
    ("seconds", "slowness", "total"), [(300, 1.0, 1500), (300, 2.0, 1000), (150, 1.0, 1000), (75, 1.0, 750), (0, 1.0, 500)]
)
def test_what_fits_into_the_time_left(seconds, slowness, total):
    assert Pace(1000, [(0.5, 0.1), (0.5, 0.3)]).fitting(500, seconds, slowness) == pytest.approx(total, abs=1)
