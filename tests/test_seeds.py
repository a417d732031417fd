"""Seeds: every path of labels has a stream of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genart.seeds import derive, derive_each

paths = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=6), max_size=4).map(tuple)
seeds = st.integers(-(2**70), 2**70)


@given(seeds, paths, seeds, paths)
def test_no_two_paths_share_a_seed(seed, path, other_seed, other):
    same = (seed, path) == (other_seed, other)
    assert (derive(seed, *path) == derive(other_seed, *other)) == same
    assert 0 <= derive(seed, *path) < 2**63


@given(seeds, st.text(max_size=6), st.lists(st.integers(-(2**70), 2**70), max_size=5))
def test_many_at_once_are_those_one_by_one(seed, label, indices):
    assert derive_each(seed, label, indices) == [derive(seed, label, index) for index in indices]


def test_lookalikes_differ():
    every = [
        derive(1),
        derive(1, 1),
        derive(1, "1"),
        derive(1, 1, 1),
        derive(1, "1,1"),
        derive(1, '1","1'),
        derive(11),
        derive(1, ""),
        derive(-1),
        derive(1, "a", 1),
        derive(1, "a1"),
    ]
    assert len(set(every)) == len(every)


def test_many_pictures_of_many_stages_never_collide():
    found = {derive(7, stage, label, i) for stage in ("a", "b") for label in ("", "z") for i in range(20_000)}
    assert len(found) == 80_000


def test_seeds_stay_what_they_are():
    """Recipes of yesterday give the pictures of yesterday."""
    assert derive(7, "train") == int.from_bytes(__import__("hashlib").sha256(b'[7,"train"]').digest()[:8], "big") >> 1
