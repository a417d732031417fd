"""The small files beside the results: memories, choices, marks, checkpoints, run.json. Damaged, they count for nothing."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import tree
from tests.faults.forge import Forge
from tests.faults.scenarios import NOISE, run_words, write_recipe

from .damage import OF_FILES, Harm, Place, snapshot, wrong_with

#: Whole commands in the normal run, of the 210 or so of the full one.
SAMPLE = 30
#: Remembers the hash of a file that has only just been written, too.
SETTLED = "import genart.plan; genart.plan._settled = lambda newest: True; "
#: Kills the process after so many checkpoints, or pictures.
KILLED_AFTER_CHECKPOINTS = """
import os, genart.run
def save(self, *arguments, count=[], real=genart.run.Checkpoints.save):
    real(self, *arguments)
    count.append(1)
    if len(count) == 3:
        os.kill(os.getpid(), 9)
genart.run.Checkpoints.save = save
"""
KILLED_AFTER_PICTURES = """
import os, genart.runner, genart.artifacts
genart.runner.SYNC_EVERY = 0.0
def sync(self, count=[], real=genart.artifacts.ImagesWriter.sync):
    real(self)
    count.append(1)
    if len(count) == 3:
        os.kill(os.getpid(), 9)
genart.artifacts.ImagesWriter.sync = sync
"""
READING = '[[stage]]\nuses = "toy.read"\npath = "a.txt"\nsave = "grey"\n'
PICTURES = NOISE.replace("count = 3", "count = 6\nsave = 'noise'")
TRAINING = (
    NOISE
    + '[[stage]]\nuses = "toy.train"\nid = "train"\nsteps = 5\nsave = "m.safetensors"\n'
    + '[[stage]]\nuses = "toy.film"\nfrom = "train.progress"\nsave = "x.gif"\n'
)


@dataclass(frozen=True)
class Scene:
    """What stands there before the damage.

    Attributes:
        stages: of the recipe.
        plant: Python run before the first command.
        device: where it runs.
        kept: the output folder stays.
        files: what is damaged, from the folder on, as patterns.
        without: harms that make no sense.
    """

    stages: str
    plant: str = ""
    device: str = "cpu"
    kept: bool = False
    files: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


#: A checkpoint tells its size by nothing but itself, and stages name no one whose it is.
UNTRIED = frozenset({"a sparse terabyte", "another's"})
SCENES = {
    "memories": Scene(READING, SETTLED, "auto", files=("hashes/*", "device.json", "history/*", "ancestry/*/*", "notes/*/*")),
    "pictures": Scene(PICTURES, KILLED_AFTER_PICTURES, files=("work/*/outputs/output/sync.json",)),
    "training": Scene(
        TRAINING,
        KILLED_AFTER_CHECKPOINTS,
        files=("work/*/choices.json", "work/*/outputs/progress/sync.json", "work/*/checkpoints/checkpoint-00000002.safetensors"),
        without=UNTRIED,
    ),
    "run.json": Scene(NOISE + 'save = "noise"\n', kept=True, files=("../../out/run.json",), without=frozenset({"folder", "full folder"})),
}


class Stand:
    """A scene that is set once and copied for each case."""

    def __init__(self, scene: Scene, forge: Forge, work: Path) -> None:
        self.scene, self.forge, self.work = scene, forge, work
        self.words = run_words("--device", scene.device)
        undisturbed, self.whole = self.set(work / "undisturbed"), self.set(work / "whole")
        done = forge.run(undisturbed, *self.words)
        assert done.code == 0, done.err
        self.wanted = tree(undisturbed / "out")
        done = forge.run(self.whole, *self.words, plant=scene.plant)
        assert done.code == (-9 if "kill" in scene.plant else 0), done
        if not scene.kept:
            shutil.rmtree(self.whole / "out", ignore_errors=True)

    def set(self, folder: Path) -> Path:
        folder.mkdir()
        write_recipe(folder, self.scene.stages)
        (folder / "a.txt").write_text("twelve bytes")
        return folder

    def cases(self) -> Iterator[tuple[str, str, Harm]]:
        """(file from the store's root on, name of the harm, harm)."""
        for pattern in self.scene.files:
            found = sorted((self.whole / "store" / "genart").glob(pattern))
            assert found, pattern
            inside = os.path.relpath(found[0], self.whole / "store" / "genart")
            yield from ((inside, name, harm) for name, harm in OF_FILES.items() if name not in self.scene.without)

    def wrong_after(self, inside: str, harm: Harm) -> list[str]:
        """Damage a file in a copy, run the recipe, and return what does not hold."""
        folder, outside = self.work / "case", self.work / "outside"
        for old in (folder, outside):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self.whole, folder, symlinks=True)
        outside.mkdir()
        (outside / "precious").write_bytes(b"of somebody else")
        harm(Place(folder / "store" / "genart" / inside, folder / "r.toml", outside))
        before = snapshot(outside)
        done = self.forge.run(folder, *self.words)
        wrong = wrong_with(done, folder, self.wanted)
        return wrong if snapshot(outside) == before else [*wrong, "it touched what lies outside"]


def failures_of(stand: Stand, cases: list[tuple[str, str, Harm]]) -> list[str]:
    return [f"{inside}, {name}: {text}" for inside, name, harm in cases for text in stand.wrong_after(inside, harm)]


@pytest.mark.parametrize("name", SCENES)
def test_damaged_small_files_change_nothing(forge: Forge, tmp_path: Path, name: str) -> None:
    stand = Stand(SCENES[name], forge, tmp_path)
    cases = list(stand.cases())
    assert failures_of(stand, random.Random(2).sample(cases, min(len(cases), SAMPLE // len(SCENES)))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_no_damage_to_any_small_file_changes_anything(forge: Forge, tmp_path: Path, name: str) -> None:
    stand = Stand(SCENES[name], forge, tmp_path)
    assert failures_of(stand, list(stand.cases())) == []


def test_work_is_not_mixed_with_what_was_chosen_otherwise(forge: Forge, tmp_path: Path) -> None:
    """The choices of a killed training are lost, and what is chosen now is another: it begins anew instead of going on."""
    stand = Stand(SCENES["training"], forge, tmp_path)
    write_recipe(tmp_path / "undisturbed", TRAINING)
    other = tmp_path / "other"
    done = forge.run(stand.set(other), *stand.words, TOY_CHOICE="0.5")
    assert done.code == 0, done.err
    assert tree(other / "out") != stand.wanted
    (choices,) = stand.whole.glob("store/genart/work/*/choices.json")
    choices.write_bytes(choices.read_bytes()[:-1])
    done = forge.run(stand.whole, *stand.words, TOY_CHOICE="0.5")
    assert (done.code, done.err.count("it begins anew")) == (0, 1), done.err
    assert tree(stand.whole / "out") == tree(other / "out")


def test_a_folder_in_the_place_of_run_json_is_the_users(forge: Forge, tmp_path: Path) -> None:
    stand = Stand(SCENES["run.json"], forge, tmp_path)
    (stand.whole / "out" / "run.json").unlink()
    (stand.whole / "out" / "run.json" / "x").mkdir(parents=True)
    done = forge.run(stand.whole, *stand.words)
    assert done.code == 5, done
    assert "a folder stands where a file is needed: " in done.err
    assert (stand.whole / "out" / "run.json" / "x").is_dir()


@pytest.mark.parametrize("gone", ["newest", "all"])
def test_a_damaged_checkpoint_costs_no_more_than_it_held(forge: Forge, tmp_path: Path, gone: str) -> None:
    stand = Stand(SCENES["training"], forge, tmp_path)
    checkpoints = sorted(stand.whole.glob("store/genart/work/*/checkpoints/*"))
    assert [path.name[11:19] for path in checkpoints] == ["00000001", "00000002"]
    for path in checkpoints if gone == "all" else checkpoints[1:]:
        path.write_bytes(path.read_bytes()[:-1])
    log = tmp_path / "log"
    done = forge.run(stand.whole, *stand.words, TOY_LOG=str(log))
    assert done.code == 0, done.err
    steps = [line for line in log.read_text().splitlines() if line.startswith("train")]
    assert steps == [f"train {i}" for i in range(0 if gone == "all" else 2, 5)]
    assert tree(stand.whole / "out") == stand.wanted
