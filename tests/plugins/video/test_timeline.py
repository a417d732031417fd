"""Which picture is shown when: rates, thinning, fades, loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genart import DataError
from genart_video.timeline import Endless, joined, length, picked, step_of, there_and_back


@pytest.mark.parametrize(
    ("own", "fps", "speed", "shown"),
    [
        (24, 24, 1, [0, 1, 2, 3, 4, 5]),
        (24, 12, 1, [0, 2, 4]),
        (12, 24, 1, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        (25, 10, 1, [0, 2, 5]),
        (24, 24, 2, [0, 2, 4]),
        (24, 12, 0.5, [0, 1, 2, 3, 4, 5]),
        (30, 20, 1, [0, 1, 3, 4]),
    ],
)
def test_a_film_keeps_its_speed(own: float, fps: float, speed: float, shown: list[int]) -> None:
    step = step_of(own, fps, speed)
    assert picked(6, step, length(6, step)).tolist() == shown
    assert [Endless(step).at(i)[0] for i in range(len(shown))] == shown


@given(st.integers(1, 300), st.floats(0.5, 240), st.floats(0.5, 240))
def test_each_picture_is_shown_at_its_time(count: int, own: float, fps: float) -> None:
    step = step_of(own, fps, 1.0)
    shown = picked(count, step, length(count, step))
    times = np.arange(len(shown)) / fps
    assert (np.diff(shown) >= 0).all()
    assert 0 == shown[0] <= shown[-1] < count
    assert np.abs(times - shown / own).max() <= 1 / own + 1e-3
    assert abs(len(shown) / fps - count / own) <= 1 / fps + 1e-3


@given(st.integers(2, 500), st.integers(2, 50))
def test_thinned_films_keep_their_ends(count: int, most: int) -> None:
    track = joined([(count, Fraction(1))], 0, most)
    assert len(track) == min(count, most)
    assert (track.first[0], track.first[-1]) == (0, count - 1)
    steps = np.diff(track.first)
    assert steps.max() - steps.min() <= 1


def test_parts_fade_into_each_other() -> None:
    track = joined([(4, Fraction(1)), (5, Fraction(1))], 3, None)
    assert len(track) == 6
    assert track.first.tolist() == [0, 1, 2, 3, 7, 8]
    assert track.second[1:4].tolist() == [4, 5, 6]
    assert track.share.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 0, 0])


def test_an_end_fades_into_its_beginning() -> None:
    track = joined([(10, Fraction(1))], 0, None).loop(2)
    assert track.first.tolist() == [8, 9, 2, 3, 4, 5, 6, 7]
    assert track.second.tolist()[:2] == [0, 1]
    assert track.share.tolist()[:3] == pytest.approx([1 / 3, 2 / 3, 0])


def test_thinned_parts_keep_their_fades() -> None:
    track = joined([(100, Fraction(1)), (200, Fraction(1))], 4, 56)
    assert len(track) == 56
    assert (track.share > 0).sum() == 4
    assert track.first[0] == 0
    assert track.first[-1] == 299


def test_films_too_short_for_their_fades() -> None:
    with pytest.raises(DataError, match="part 2 of the film has 3 frames"):
        joined([(9, Fraction(1)), (3, Fraction(1)), (9, Fraction(1))], 2, None)
    with pytest.raises(DataError, match="too short for a `loop_fade`"):
        joined([(5, Fraction(1))], 0, None).loop(3)


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3, 2, 1])])
def test_there_and_back(count: int, expected: list[int]) -> None:
    assert there_and_back(count).tolist() == expected
