"""Trainings and other stages that keep checkpoints, killed wherever it matters, and compared with ones that never were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.campaign import saved
from tests.faults.forge import Forge
from tests.faults.kills import WORDS, photos
from tests.faults.logs import difference, told
from tests.faults.scenarios import write_recipe

from .recorder import PHASES

#: Pictures that all have been seen ten times after ten steps of eight: augmentation may adapt from then on.
FEW = photos(16, 8)
SAVES = """
[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.apng"
"""


def training(stage: str, *settings: str, kimg: float = 0.16) -> str:
    """A training of 20 steps on 8 pictures, whose timelapse is saved."""
    lines = "\n".join((f"kimg = {kimg}", "width = 4", "batch_size = 8", 'precision = "fp32"', "mirror = true", "lr_decay = 0.5", *settings))
    return f'{FEW}\n[[stage]]\nuses = "{stage}"\nid = "train"\n{lines}\nsave = "model.safetensors"\n{SAVES}'


@dataclass(frozen=True)
class Case:
    """Where the processes of one run die, each in its turn: unit and phase, see `Recorder`."""

    kills: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        """A name for tests."""
        return ",".join(f"{unit}{'-' if phase else ''}{phase}" for unit, phase in self.kills)


@dataclass(frozen=True)
class Work:
    """A stage that is resumed.

    Attributes:
        name: in tables.
        recipe: its stages.
        stage: id of the stage.
        until: stage up to which everything is made beforehand.
        every: a checkpoint comes after each so-manieth unit.
        options: for `recorder.install`.
        special: units at the end of which it is killed, for what is under way then.
    """

    name: str
    recipe: str
    stage: str = "train"
    until: str = "photos"
    every: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    special: tuple[int, ...] = ()

    def sample(self) -> Case:
        """One run, killed before the first checkpoint, inside the writing of the second, and where it is special, or between two."""
        inside = PHASES[sum(map(ord, self.name)) % (len(PHASES) - 1)]
        later = ((unit, "") for unit in sorted(self.special) or (3 * self.every + 1,))
        return Case(((self.every - 2, ""), (2 * self.every - 1, inside), *later))

    def every_case(self, units: int) -> Iterator[Case]:
        """At the end of each unit, in each phase of each checkpoint, while the result is made, and two or three of them in turn."""
        yield from (Case(((unit, ""),)) for unit in range(units))
        for unit in range(self.every - 1, units, self.every):
            yield from (Case(((unit, phase),)) for phase in PHASES if phase != "unlink" or unit >= 3 * self.every - 1)
        if self.stage in ("train", "learn"):
            yield Case(((units - 1, "result"),))
        yield from (Case(((unit, ""), (min(unit + self.every + 1, units - 1), ""))) for unit in range(0, units - 1, 2))
        yield from (Case(((unit, ""), (unit, "")) * 2) for unit in range(1, units, 5))
        yield from (Case(((unit, "half"), (unit, "rename"), (unit, "renamed"))) for unit in range(self.every - 1, units, self.every))


PROJECT = (
    FEW
    + """
[[stage]]
uses = "dcgan.train"
id = "gan"
kimg = 0.08
width = 4
batch_size = 8
evaluations = 0

[[stage]]
uses = "images.samples"
id = "keys"
photos = ["coffee", "rocket"]
crop = 16
count = 2

[[stage]]
uses = "latent.project"
id = "project"
model = "gan"
starts = 2
iterations = 8
save = "projected"
"""
)
TRANSFER = (
    photos(48, 2)
    + """
[[stage]]
uses = "style.transfer"
id = "paint"
style_photos = "tissue"
iterations = 8
scales = 2
precision = "bf16"
optimizer = "{optimizer}"
save = "painted"

[[stage]]
uses = "video.assemble"
from = "paint.progress"
save = "painting.apng"
"""
)
LEARN = (
    photos(48, 4)
    + """
[[stage]]
uses = "style.learn"
id = "learn"
style_photos = "tissue"
style_resolution = 32
resolution = 32
width = 8
batch_size = 1
iterations = 12
save = "style.safetensors"

[[stage]]
uses = "video.assemble"
from = "learn.progress"
save = "learning.apng"
"""
)
SMALL = {"small": True}
WORKS = (
    # from the 16th of 25 steps on augmentation adapts in each fourth; in each fourth there are penalties
    Work("dcgan", training("dcgan.train", "evaluations = 0", "r1_gamma = 0.1", "penalty_every = 4", kimg=0.2), special=(22, 17)),
    Work("dcgan measured", training("dcgan.train", "evaluations = 5"), options=SMALL, special=(10,)),
    # after 15 steps two snapshots have looked collapsed: it goes back to the state after the seventh
    Work("dcgan collapsed", training("dcgan.train", "evaluations = 0"), options={"collapse": (60, 130)}, special=(15, 18)),
    # levels of 4, 8 and 16 px have 5, 5 and 30 steps, each fades in during four of them
    Work("progan", training("progan.train", "evaluations = 0", "fade = 0.8", kimg=0.32), special=(7, 12)),
    Work("msggan", training("msggan.train", "evaluations = 0", 'loss = "wgan"', "gp_lambda = 10", "penalty_every = 3")),
    Work("stylegan", training("stylegan.train", "evaluations = 0", "style_mixing = 0.9", "penalty_every = 4"), special=(14,)),
    Work("projected", training("projected.train", "evaluations = 0", "features_px = 64"), options=SMALL),
    Work("vae", training("vae.train", "evaluations = 0", "warm_up = 0.9")),
    Work("style.learn", LEARN, "learn"),
    Work("style.transfer, lbfgs", TRANSFER.format(optimizer="lbfgs"), "paint"),
    Work("style.transfer, adam", TRANSFER.format(optimizer="adam"), "paint"),
    Work("latent.project", PROJECT, "project", "keys", options=SMALL),
)


@dataclass
class Traces:
    """What a run left: files; all that its processes told; all that they saw in each unit and kept after it."""

    files: dict[str, bytes]
    told: dict[str, set[str]]
    seen: dict[str, set[str]]


def traces(folder: Path, outs: Sequence[str]) -> Traces:
    """Gather what the processes of a run left in a folder."""
    seen: dict[str, set[str]] = {}
    path = folder / "notes.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        note = json.loads(line)
        kind = "checkpoint" if "checkpoint" in note else "unit"
        about = f"{kind} {note.pop(kind)}"
        for name, value in _flat(note):
            seen.setdefault(f"{about}: {name}", set()).add(json.dumps(value))
    files = {name: data for name, data in saved(folder).items() if name != "notes.jsonl"}
    return Traces(files, told(outs), seen)


def _flat(note: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in note.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


class Matrix:
    """A stage and what an undisturbed run of it leaves.

    Args:
        work: the stage.
        forge: runs commands.
        folder: for everything.
        plant: Python that is run before each command: a bug that ought to be found.
    """

    def __init__(self, work: Work, forge: Forge, folder: Path, plant: str = "") -> None:
        self.work, self.forge, self.folder, self.plant = work, forge, folder, plant
        self.initial, self.units = folder / "initial", []
        self.initial.mkdir(parents=True)
        write_recipe(self.initial, work.recipe)
        done = forge.run(self.initial, *WORDS, "--until", work.until)
        assert done.code == 0, done.err
        whole = self._fresh("undisturbed")
        self.undisturbed = traces(whole, [self._run(whole)[1]])
        ends = (values for name, values in self.undisturbed.seen.items() if name.startswith("unit ") and name.endswith(": done"))
        self.units = [json.loads(next(iter(values))) for values in ends]
        assert any(name.startswith("checkpoint ") for name in self.undisturbed.seen)

    def alone(self) -> dict[str, bytes]:
        """Files of a run of which nothing is noted and no checkpoint is kept."""
        folder = self._fresh("alone")
        options = {name: value for name, value in self.work.options.items() if name in ("small", "collapse")}
        done = self.forge.run(folder, *WORDS, plant=_install({**options, "stage": "", "every": 1 << 30}))
        assert done.code == 0, done.err
        return {name: data for name, data in saved(folder).items() if name != "notes.jsonl"}

    def _fresh(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.initial, folder)
        return folder

    def _run(self, folder: Path, kill: tuple[int, str] | None = None) -> tuple[int, str]:
        options: dict[str, Any] = {"stage": self.work.stage, "every": self.work.every, "units": self.units, **self.work.options}
        if kill is not None:
            options |= {"kill_unit": kill[0], "phase": kill[1]}
        done = self.forge.run(folder, *WORDS, plant="\n".join((self.plant, _install(options))))
        assert done.code == (0 if kill is None else -9), f"{kill}: it ended with {done.code}: {done.err[-800:]}"
        return done.code, done.out

    def wrong(self, case: Case) -> list[str]:
        """What differs after these kills."""
        folder = self._fresh("case")
        try:
            outs = [self._run(folder, kill)[1] for kill in (*case.kills, None)]
        except AssertionError as error:
            return [f"{self.work.name}, {case}: {error}"]
        ours, theirs = traces(folder, outs), self.undisturbed
        files = [
            f"other bytes in {name}" for name in sorted({*ours.files, *theirs.files}) if ours.files.get(name) != theirs.files.get(name)
        ]
        found = [*files, *difference(ours.told, theirs.told), *difference(ours.seen, theirs.seen)]
        return [f"{self.work.name}, {case}: {text}" for text in found]


def _install(options: dict[str, Any]) -> str:
    return f"from tests.resume import recorder; recorder.install(**{options!r})"
