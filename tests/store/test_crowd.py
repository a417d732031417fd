"""Many processes on one store: every one ends well, with the same bytes, whatever the others do, and whether locks work or not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import tree
from tests.faults.forge import Forge
from tests.faults.scenarios import NOISE, TRAIN, run_words, write_recipe

from .crowd import DIES_WITH_THE_LOCK, NO_LOCKS, Ending, Member, gather
from .damage import wrong_in

#: Two recipes that begin alike; marks are made after each picture, and the second writes while the first reads.
SMALL = (
    NOISE.rstrip()
    + """
save = "noise"

[[stage]]
uses = "toy.invert"
save = "pictures"

[[stage]]
uses = "toy.film"
save = "film.gif"
"""
)
RECIPES = {"train": TRAIN, "small": SMALL}
EAGER = "import genart.runner; genart.runner.SYNC_EVERY = 0.0\n"
#: A process that empties the store again and again.
CLEANS_UP = """
from genart.store import Store
for _ in range(100):
    Store.of_user().collect(0)
"""
GC = Member(("cache", "gc", "--max-size", "0"), CLEANS_UP)


class Hall:
    """A folder with two recipes, and what an undisturbed run of each leaves."""

    def __init__(self, forge: Forge, work: Path) -> None:
        self.forge, self.work = forge, work
        self.wanted = {}
        for name in RECIPES:
            folder = self.prepared(work / f"undisturbed-{name}")
            done = forge.run(folder, *self.member(name, 0).words)
            assert done.code == 0, done.err
            self.wanted[name] = tree(folder / "out-0")

    def prepared(self, folder: Path) -> Path:
        """A folder with both recipes and no store."""
        folder.mkdir()
        for name, stages in RECIPES.items():
            write_recipe(folder, stages)
            (folder / "r.toml").rename(folder / f"{name}.toml")
        return folder

    def member(self, recipe: str, number: int, plant: str = "") -> Member:
        """A command that runs a recipe into an output folder of its own."""
        words = ("run", f"{recipe}.toml", *run_words()[2:-1], f"out-{number}")
        return Member(words, EAGER + plant)

    def wrong(self, folder: Path, recipes: list[str], endings: list[Ending]) -> list[str]:
        """What does not hold of commands that ran these recipes."""
        wrong = []
        for number, (recipe, ending) in enumerate(zip(recipes, endings, strict=True)):
            if ending.code:
                wrong.append(f"{number} ended with {ending.code}: {ending.err[-1500:]}")
            elif tree(folder / f"out-{number}") != self.wanted[recipe]:
                wrong.append(f"{number} ({recipe}) made other bytes")
        return wrong + wrong_in(folder / "store" / "genart")

    def storm(
        self, name: str, count: int, *, different: bool = False, warm: bool = False, plant: str = "", gc: int = 0, dying: int = 0
    ) -> list[str]:
        """Run so many commands at once on a store of their own.

        Args:
            name: of a folder.
            count: processes that run a recipe.
            different: they run two recipes in turn, and not all the same.
            warm: the results are there already.
            plant: Python that each process runs first.
            gc: processes that empty the store meanwhile.
            dying: processes more that are killed with the lock of a training.
        """
        folder = self.prepared(self.work / name)
        recipes = [("train", "small")[number % 2 if different else 0] for number in range(count)]
        if warm:
            for number, recipe in enumerate(sorted(set(recipes))):
                assert self.forge.run(folder, *self.member(recipe, 1000 + number).words).code == 0
        members = [self.member(recipe, number, plant) for number, recipe in enumerate(recipes)]
        members += [Member(GC.words, plant + GC.plant)] * gc
        members += [self.member("train", 2000 + number, plant + DIES_WITH_THE_LOCK) for number in range(dying)]
        endings = gather(self.forge, folder, members)
        wrong = [f"clean-up ended with {one.code}: {one.err[-1500:]}" for one in endings[count : count + gc] if one.code]
        if dying:  # what a killed process left goes with the next run
            wrong += [f"it was to be killed: {one.code} {one.err}" for one in endings[count + gc :] if one.code not in (-9, 0)]
            for recipe in sorted(set(recipes)):
                assert self.forge.run(folder, *self.member(recipe, 3000).words).code == 0
        return wrong + self.wrong(folder, recipes, endings[:count])


@pytest.fixture(scope="module")
def hall(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Hall:
    """Two recipes."""
    return Hall(forge, tmp_path_factory.mktemp("hall"))


LOCKS = pytest.mark.parametrize("plant", ["", NO_LOCKS], ids=["locks", "no-locks"])


@LOCKS
def test_two_at_once(hall: Hall, plant: str) -> None:
    assert hall.storm(f"two-{len(plant)}", 2, plant=plant) == []


@LOCKS
def test_eight_at_once(hall: Hall, plant: str) -> None:
    assert hall.storm(f"eight-{len(plant)}", 8, different=True, plant=plant) == []


@LOCKS
def test_clean_ups_take_nothing_away_from_who_reads(hall: Hall, plant: str) -> None:
    assert hall.storm(f"gc-{len(plant)}", 3, different=True, warm=True, plant=plant, gc=2) == []


@LOCKS
def test_killed_holders_of_a_lock_stop_nobody(hall: Hall, plant: str) -> None:
    assert hall.storm(f"dying-{len(plant)}", 3, plant=plant, dying=2) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 8, 32])
@LOCKS
def test_storms(hall: Hall, plant: str, count: int, seed: int) -> None:
    """Cold and warm, the same recipe and different ones, with and without clean-ups and killed processes."""
    draw = random.Random(seed)
    for different in (False, True):
        for warm in (False, True):
            options = {"gc": draw.choice([0, 0, 1, 2]), "dying": draw.choice([0, 0, 1, 3])}
            name = f"storm-{len(plant)}-{count}-{seed}-{different}-{warm}"
            assert hall.storm(name, count, different=different, warm=warm, plant=plant, **options) == [], options
