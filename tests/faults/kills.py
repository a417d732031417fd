"""Real runs killed at random moments, once or ten times over: `python -m tests.faults.kills [--count N] [--chains N]`.

Each ends, by the same command, in the bytes of an undisturbed run. Prints a table; ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .campaign import Attack
from .forge import Forge, Outcome
from .moments import OFTEN, Moment, Rehearsal, drawn
from .scenarios import Scenario

#: Kills of a chain, and how far into the command each may come: far enough to get on, not so far that it is over before the last.
DEPTH, CHAIN_SHARE = 10, 0.3
#: A resume begins within this share of a command.
RESUMING = 0.15
WORDS = ("run", "r.toml", "--device", "cpu", "--out", "out", "--json")


def photos(crop: int, count: int, name: str = "photos") -> str:
    """Pieces of embedded photographs."""
    return f'\n[[stage]]\nuses = "images.samples"\nid = "{name}"\nphotos = ["coffee", "rocket"]\ncrop = {crop}\ncount = {count}\n'


def training(stage: str, *settings: str) -> str:
    """A small training of 20 steps whose model, timelapse and sheets are saved."""
    lines = "\n".join(("kimg = 0.32", "width = 4", "batch_size = 16", "mirror = true", *settings))
    saves = """
[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.mp4"

[[stage]]
uses = "images.resize"
from = "train.nearest"
scale = 0.5
save = "nearest"
"""
    return photos(16, 24) + f'\n[[stage]]\nuses = "{stage}"\nid = "train"\n{lines}\nsave = "model.safetensors"\n' + saves


TRANSFER = (
    photos(48, 2)
    + """
[[stage]]
uses = "style.transfer"
id = "paint"
style_photos = "tissue"
iterations = 16
precision = "bf16"  # else the fastest convolutions are measured, and one may be as good as the other
save = "painted"

[[stage]]
uses = "video.assemble"
from = "paint.progress"
save = "painting.gif"
"""
)
FILM = (
    photos(16, 24)
    + """
[[stage]]
uses = "dcgan.train"
id = "gan"
kimg = 0.16
width = 4
batch_size = 16
evaluations = 0

[[stage]]
uses = "latent.walk"
frames = 300
loop = true

[[stage]]
uses = "video.assemble"
save = "film.mp4"
"""
)


@dataclass(frozen=True)
class RanUntil:
    """Everything up to a stage is in the store already: it is not what is killed."""

    stage: str

    def __call__(self, forge: Forge, folder: Path) -> None:
        """Make it."""
        done = forge.run(folder, *WORDS, "--until", self.stage)
        assert done.code == 0, done.err


RUNS = (
    Scenario("dcgan", WORDS, training("dcgan.train", "evaluations = 0", "r1_gamma = 0.1", "penalty_every = 4"), RanUntil("photos")),
    Scenario("progan in a fade-in", WORDS, training("progan.train", "evaluations = 0", "fade = 1.0"), RanUntil("photos")),
    Scenario("msggan", WORDS, training("msggan.train", "evaluations = 0", 'loss = "wgan"', "gp_lambda = 10"), RanUntil("photos")),
    Scenario("style.transfer", WORDS, TRANSFER, RanUntil("photos")),
    Scenario("film of 300 frames", WORDS, FILM, RanUntil("gan")),
)


@dataclass
class Tally:
    """What came of it.

    Attributes:
        kills: that hit.
        missed: moments after the command's end.
        runs: runs that were killed, once or more, and ended in time.
        failures: what was wrong, by moment and seed.
    """

    kills: int = 0
    missed: int = 0
    runs: int = 0
    failures: list[str] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        self.kills, self.missed, self.runs = self.kills + other.kills, self.missed + other.missed, self.runs + other.runs
        self.failures += other.failures
        return self


class Killer(Attack):
    """A real run, what it leaves undisturbed, and kills of it at random moments."""

    def __init__(self, scenario: Scenario, forge: Forge, work: Path) -> None:
        super().__init__(scenario, forge, work)
        done = forge.run(self.fresh("rehearsal"), *scenario.words, plant=OFTEN.format(every=1))
        assert done.code == 0, done.err
        self.rehearsal = Rehearsal(done.cpu_sec, len(done.out.splitlines()), self.calls)

    def kill(self, folder: Path, moment: Moment, every: int = 1) -> Outcome:
        """Run the command and kill it at a moment, unless it ends before."""
        plant = f"{OFTEN.format(every=every)}; {moment.plant(self.rehearsal)}"
        return self.forge.run(folder, *self.scenario.words, fault=moment.fault(self.rehearsal), plant=plant)

    def chain(self, moments: Iterator[Moment], depth: int, name: str, every: int = 1) -> Tally:
        """Kill one run `depth` times, each time where the next of the moments says, then let it end."""
        folder, tally, wrong = self.fresh("case"), Tally(runs=1), []
        while tally.kills < depth and tally.missed < 2 * depth:
            moment = next(moments)
            outcome = self.kill(folder, moment, every)
            if outcome.code == 0:
                tally.missed += 1
                continue
            tally.kills += 1
            wrong += [f"{moment}: {text}" for text in self.wrong_after_fault(outcome, moment, folder, first=False)]
        wrong += list(self.wrong_in_the_end(folder))
        tally.failures = [f"{self.scenario.name}, {name}: {text}" for text in wrong]
        return tally

    def once(self, seed: int) -> Tally:
        """One kill anywhere; in a third of the cases another one while the run is taken up again."""
        rng = random.Random(f"{self.scenario.name} {seed}")
        moments = [drawn(rng), drawn(rng, RESUMING)]
        return self.chain(iter(moments * 3), 2 if rng.random() < 1 / 3 else 1, f"seed {seed}", rng.choice((1, 2, 5)))

    def often(self, seed: int) -> Tally:
        """Ten kills of one run."""
        rng = random.Random(f"{self.scenario.name} chain {seed}")
        return self.chain(iter(lambda: drawn(rng, CHAIN_SHARE), None), DEPTH, f"chain {seed}")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="runs that are killed once or twice")
    parser.add_argument("--chains", type=int, default=50, help=f"runs that are killed {DEPTH} times")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--run", action="append", choices=[scenario.name for scenario in RUNS])
    options = parser.parse_args()
    scenarios = [scenario for scenario in RUNS if not options.run or scenario.name in options.run]
    forge, total = Forge(), Tally()
    print(f"{'run':22}{'runs':>8}{'kills':>8}{'missed':>8}{'failed':>8}{'s':>8}", flush=True)
    for number, scenario in enumerate(scenarios):
        began, tally = time.monotonic(), Tally()
        with tempfile.TemporaryDirectory() as work:
            killer = Killer(scenario, forge, Path(work))
            for case in range(number, options.count, len(scenarios)):
                tally += killer.once(options.seed + case)
            for case in range(number, options.chains, len(scenarios)):
                tally += killer.often(options.seed + case)
        numbers = (tally.runs, tally.kills, tally.missed, len(tally.failures), round(time.monotonic() - began))
        print(f"{scenario.name:22}" + "".join(f"{number:8}" for number in numbers), flush=True)
        print("\n".join(tally.failures), end="\n" if tally.failures else "", flush=True)
        total += tally
    print(f"{total.kills} kills of {total.runs} runs, {len(total.failures)} failures")
    forge.close()
    raise SystemExit(bool(total.failures))


if __name__ == "__main__":
    main()
