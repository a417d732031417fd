"""A training killed every so often equals its twin that never was: `python -m tests.faults.twin --minutes M [--every SECONDS]`.

The killed one is trained for about M minutes and then the twin; all that they leave and tell is compared. Ends with 1 if they differ.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .campaign import saved
from .forge import Forge, Outcome
from .kills import WORDS, photos
from .logs import difference, told
from .scenarios import write_recipe

#: A training in which everything is under way that a checkpoint has to keep; 16 px, so that it sees hundreds of images a second.
TRAINING = (
    photos(16, 400)
    + """
[[stage]]
uses = "{stage}"
id = "train"
kimg = {kimg}
width = 8
batch_size = 16
mirror = true
r1_gamma = 0.1
penalty_every = 4
evaluations = 0
lr_decay = 0.5
save = "model.safetensors"

[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.mp4"

[[stage]]
uses = "images.resize"
from = "train.plot"
scale = 1
save = "plot"
"""
)
#: Images of the training that tells how fast the machine is, and the share of its speed that is left of a training that is killed.
REHEARSED_KIMG, LEFT = 4.0, 0.85
#: Processes in a row that may end without having got any further.
PATIENCE = 20


def rehearsed(forge: Forge, folder: Path, stage: str) -> float:
    """Thousands of images per second of an undisturbed training."""
    folder.mkdir()
    write_recipe(folder, TRAINING.format(stage=stage, kimg=REHEARSED_KIMG))
    began = time.monotonic()
    done = forge.run(folder, *WORDS)
    assert done.code == 0, done.err
    return REHEARSED_KIMG / (time.monotonic() - began)


def lives(forge: Forge, folder: Path, every: float | None) -> Iterator[Outcome]:
    """Run the command, killed after so many seconds, if any, again and again until it has ended.

    Raises:
        RuntimeError: if it gets no further, or ends in an error.
    """
    plant = f"from tests.faults import moments; moments.kill_after_sec({every})" if every else ""
    newest, since = "", 0
    while True:
        life = forge.run(folder, *WORDS, plant=plant)
        yield life
        if life.code == 0:
            return
        reached = max((path.name for path in folder.glob("store/genart/work/*/checkpoints/checkpoint-*.safetensors")), default="")
        newest, since = reached, since + 1 if reached == newest else 0
        if life.code != -9 or since > PATIENCE:
            raise RuntimeError(f"after {reached or 'no checkpoint'} it ended with {life.code}: {life.err[-800:]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two kills")
    parser.add_argument("--stage", default="dcgan.train")
    options = parser.parse_args(arguments)
    forge = Forge()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        rate = rehearsed(forge, work / "rehearsal", options.stage)
        recipe = TRAINING.format(stage=options.stage, kimg=max(1.0, round(LEFT * rate * options.minutes * 60, 1)))
        print(f"{rate * 1000:.0f} images a second; {recipe[recipe.index('kimg') :].splitlines()[0]}", flush=True)
        outs, minutes = {}, {}
        for name in ("killed", "twin"):
            (work / name).mkdir()
            write_recipe(work / name, recipe)
            began = time.monotonic()
            outs[name] = [life.out for life in lives(forge, work / name, options.every if name == "killed" else None)]
            minutes[name] = (time.monotonic() - began) / 60
            print(f"{name}: {minutes[name]:.1f} minutes, {len(outs[name]) - 1} kills", flush=True)
        killed, twin = (saved(work / name) for name in ("killed", "twin"))
        tables = {name: told(out) for name, out in outs.items()}
        wrong = [f"other bytes in {name}" for name in sorted({*killed, *twin}) if killed.get(name) != twin.get(name)]
        wrong += difference(tables["killed"], tables["twin"])
    forge.close()
    print(f"{len(twin)} files, {sum(map(len, twin.values()))} bytes, {len(tables['twin'])} numbers told: {'; '.join(wrong) or 'the same'}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
