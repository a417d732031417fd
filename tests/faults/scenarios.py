"""Commands that put something on disk, each with what stands there before, and what is left of it to be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .forge import TOYS, Forge

NOISE = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 3
"""
RUN = (
    NOISE
    + """
[[stage]]
uses = "toy.invert"
save = "pictures"

[[stage]]
uses = "toy.film"
save = "film.gif"
"""
)
TRAIN = (
    NOISE
    + """
[[stage]]
uses = "toy.train"
id = "train"
steps = 3
save = "model.safetensors"

[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.gif"
"""
)
FILM = (
    NOISE
    + """
[[stage]]
uses = "video.assemble"
save = "film.mp4"
"""
)


@dataclass(frozen=True)
class Scenario:
    """A command and what was there before it.

    Attributes:
        name: in tables.
        words: of the command line, without `-p`.
        recipe: text of `r.toml`, without its first table.
        before: brings the folder to where the command begins; called with (forge, folder).
        after: words of the commands that follow, undisturbed, after the command: what they leave is compared too.
    """

    name: str
    words: tuple[str, ...]
    recipe: str = RUN
    before: Callable[[Forge, Path], None] | None = None
    after: tuple[tuple[str, ...], ...] = ()

    def prepare(self, forge: Forge, folder: Path) -> None:
        """Make the folder as the command finds it."""
        folder.mkdir(parents=True)
        write_recipe(folder, self.recipe)
        if self.before is not None:
            self.before(forge, folder)


def write_recipe(folder: Path, stages: str, seed: int = 3) -> None:
    """Write `r.toml`."""
    (folder / "r.toml").write_text(f'[recipe]\nname = "fault"\nseed = {seed}\n{stages}')


def run_words(*more: str) -> tuple[str, ...]:
    """Words that run the recipe."""
    return ("run", "r.toml", "-p", str(TOYS), "--device", "cpu", "--out", "out", *more)


def ran(seed: int, stages: str = RUN) -> Callable[[Forge, Path], None]:
    """The recipe ran before, with another seed, and its outputs are there."""

    def before(forge: Forge, folder: Path) -> None:
        write_recipe(folder, stages, seed)
        done = forge.run(folder, *run_words())
        assert done.code == 0, done.err
        write_recipe(folder, stages)

    return before


def stopped(forge: Forge, folder: Path) -> None:
    """A training was killed after its second checkpoint."""
    from .forge import BY_HANDLE, BY_PATH, Fault

    rehearsal = folder.with_name(f"{folder.name}.rehearsal")
    rehearsal.mkdir()
    write_recipe(rehearsal, TRAIN)
    done = forge.run(rehearsal, *run_words(), watch=(*BY_PATH, *BY_HANDLE))
    renames = [call for call in done.calls if call.name.startswith("rename") and "checkpoint-" in call.told]
    killed = forge.run(folder, *run_words(), fault=Fault(renames[2], "KILL"))
    assert killed.code == -9, killed
    assert list(folder.glob("store/genart/work/*/checkpoints/checkpoint-*"))


SCENARIOS = (
    Scenario("first run", run_words()),
    Scenario("run over older outputs", run_words(), before=ran(seed=4)),
    Scenario("cached run", run_words(), before=ran(seed=3)),
    Scenario("training", run_words(), TRAIN),
    Scenario("training resumed", run_words(), TRAIN, before=stopped),
    Scenario("film", run_words(), FILM),
    Scenario("cache clean-up", ("cache", "gc", "--max-size", "0"), before=ran(seed=3), after=(run_words(),)),
    Scenario(
        "one stage",
        ("apply", "toy.invert", "-i", "in", "-o", "made", "-p", str(TOYS), "--device", "cpu"),
        before=lambda forge, folder: saved_pictures(forge, folder),
    ),
)


def saved_pictures(forge: Forge, folder: Path) -> None:
    """A folder `in` of pictures."""
    done = forge.run(folder, "apply", "toy.noise", "--count", "3", "-o", "in", "-p", TOYS, "--device", "cpu")
    assert done.code == 0, done.err
