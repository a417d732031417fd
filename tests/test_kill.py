"""kill -9 in the middle of a real training, the same command again: the bytes of the undisturbed run."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import tree

RECIPE = """
[[stage]]
uses = "images.samples"
id = "photos"
photos = ["coffee", "rocket"]
crop = 16
count = 48

[[stage]]
uses = "dcgan.train"
id = "train"
kimg = 1.2
width = 4
batch_size = 16
save = "model.safetensors"

[[stage]]
uses = "latent.walk"
frames = 9

[[stage]]
uses = "video.assemble"
save = "walk.gif"

[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "training.mp4"
"""
#: A checkpoint at every step, so that a kill at any moment has one to go on from.
OFTEN = "import genart.run; genart.run.Checkpoints.due = lambda self: True; "


def newest_checkpoint(store: Path) -> int:
    found = [int(path.stem.rpartition("-")[2]) for path in store.glob("work/*/checkpoints/checkpoint-*.safetensors")]
    return max(found, default=-1)


@pytest.mark.parametrize("moments", [(1,), pytest.param((20, 45), marks=pytest.mark.slow), (70,)], ids=str)
def test_a_killed_training_ends_in_the_same_bytes(genart_process, recipe, store, moments):
    path = recipe(RECIPE)
    undisturbed = genart_process("run", path, "--out", "a", "--quiet", XDG_CACHE_HOME=os.path.abspath("other"))
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    for moment in moments:
        process = genart_process("run", path, "--out", "b", "--quiet", prelude=OFTEN)
        while newest_checkpoint(store) < moment and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
        assert newest_checkpoint(store) >= moment
    again = genart_process("run", path, "--out", "b", "--quiet", prelude=OFTEN)
    assert again.wait() == 0, again.stderr.read()
    assert sorted(tree(Path("b"))) == ["model.safetensors", "training.mp4", "walk.gif"]
    assert tree(Path("a")) == tree(Path("b"))
