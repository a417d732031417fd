"""Whatever happens to a file of the store, it is noticed before the file is used, told once, and made good."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from genart.artifacts import read_sealed
from genart.store import Store
from tests.faults.forge import Forge
from tests.faults.scenarios import run_words, write_recipe

from .damage import Bench, Harm, put

#: Whole commands in the normal run, of the 390 or so of the full one.
SAMPLE = 40


@pytest.fixture(scope="module")
def bench(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A store with three results."""
    return Bench(forge, tmp_path_factory.mktemp("bench"))


def suffer(bench: Bench, places: list[tuple[str, str, Harm]]) -> None:
    failures = [f"{inside}, {name}: {text}" for inside, name, harm in places for text in bench.wrong_after(inside, harm)]
    assert failures == []


def test_a_command_makes_good_what_is_damaged(bench: Bench) -> None:
    suffer(bench, random.Random(1).sample(list(bench.places()), SAMPLE))


@pytest.mark.slow
def test_a_command_makes_good_whatever_is_damaged(bench: Bench) -> None:
    places = list(bench.places())
    assert len(places) > 380
    suffer(bench, places)


def turn(file: BinaryIO, bits: Iterable[int]) -> None:
    for bit in bits:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def each_bit_turned(path: Path) -> Iterator[int]:
    """Yield the number of each bit of a file while it is the wrong way round; what says the same in other signs may pass."""
    with open(path, "r+b", buffering=0) as file:
        for bit in range(8 * path.stat().st_size):
            turn(file, [bit])
            yield bit
            turn(file, [bit])


def entries_of(bench: Bench, folder: Path) -> list[tuple[Store, str, Path]]:
    return [(Store(folder / "store" / "genart"), path.name, path) for path in bench.entries(folder)]


def test_every_cut_of_every_file_is_noticed(bench: Bench) -> None:
    tried = 0
    for store, key, folder in entries_of(bench, bench.fresh()):
        for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
            data = path.read_bytes()
            put(path, data)
            for length in reversed(range(len(data))):
                os.truncate(path, length)
                entry = store.find(key)
                assert entry is None or entry.damaged(), (path, length)
                tried += 1
            path.write_bytes(data)
            assert not store.find(key).damaged()
    assert tried > 5_000


def test_every_bit_of_a_manifest_counts(bench: Bench) -> None:
    store, key, folder = entries_of(bench, bench.fresh())[0]
    path, manifest = folder / "manifest.json", store.find(key).manifest
    for bit in each_bit_turned(path):
        entry = store.find(key)
        assert entry is None or entry.manifest == manifest, bit
    assert store.find(key) is not None


def test_every_bit_of_a_small_sealed_file_counts(bench: Bench) -> None:
    root = bench.fresh() / "store" / "genart"
    store, tried = Store(root), 0
    for kind in ("ancestry", "notes", "history"):
        path = sorted(path for path in root.glob(f"{kind}/**/*") if path.is_file())[0]
        name, data = path.relative_to(root).as_posix(), path.read_bytes()
        value = store.read(name)
        assert value
        for bit in each_bit_turned(path):
            assert store.read(name) in (None, value), (name, bit)
            tried += 1
        for length in reversed(range(len(data))):
            os.truncate(path, length)
            assert store.read(name) is None, (name, length)
        path.write_bytes(data)
        assert store.read(name) == value
        assert read_sealed(path, "another name") is None
    assert tried > 5_000


@pytest.mark.parametrize("flips", [1_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_any_bit_of_a_large_result_counts(forge: Forge, tmp_path: Path, flips: int) -> None:
    """Half a megabyte of pixels; a bit here or there, and at once ten of them."""
    write_recipe(tmp_path, '[[stage]]\nuses = "toy.noise"\ncount = 12\nsize = 120\nsave = "noise"\n')
    assert forge.run(tmp_path, *run_words()).code == 0
    (entry,) = Store(tmp_path / "store" / "genart").entries()
    path, draw = entry.folder / "output" / "pixels.bin", random.Random(7)
    assert path.stat().st_size > 500_000
    with open(path, "r+b", buffering=0) as file:
        for number in range(flips):
            bits = {draw.randrange(8 * path.stat().st_size) for _ in range(1 if number % 2 else 10)}
            turn(file, bits)
            assert entry.damaged() == ["output/pixels.bin"], (number, bits)
            turn(file, bits)
    assert entry.damaged() == []
