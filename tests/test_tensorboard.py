"""TensorBoard event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import pytest

from genart import tensorboard
from genart.errors import UsageError
from genart.events import Events

pytest.importorskip("tensorboard", reason="tensorboard is not installed")

# its own imports are older than some of Python's rules
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_metrics_with_images_seen_become_curves(tmp_path):
    events = Events(tensorboard.TensorBoard(tmp_path / "tensorboard"))
    events.emit("run_started", out=str(tmp_path), recipe="x", seed=0, stages=[])
    events.emit("metric", stage="style", iteration=3, loss=1.0)
    for nimg in (100, 200):
        events.emit("metric", stage="train", nimg=nimg, loss_D=nimg / 1000, kid=0.5)
    events.emit("watchdog", stage="train", trouble="D wins", act="D-skip", message="it wins", nimg=200)
    events.emit("run_finished", seconds=1.0, saved=[])
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["train"], "only what counts images has curves"
    assert scalars(tmp_path / "tensorboard" / "train") == {"loss_D": [(100, 0.1), (200, 0.2)], "kid": [(100, 0.5), (200, 0.5)]}


def test_a_resume_hides_what_came_after_its_checkpoint(tmp_path):
    for begin in (0, 100):
        events = Events(tensorboard.TensorBoard(tmp_path / "tensorboard"))
        events.emit("run_started", out=str(tmp_path), recipe="x", seed=0, stages=[])
        for nimg in range(begin, 300, 100):
            events.emit("metric", stage="train", nimg=nimg, loss_D=float(begin + nimg))
        events.emit("error", message="killed", hint=None, exit_code=1)
    assert scalars(tmp_path / "tensorboard" / "train")["loss_D"] == [(0, 0.0), (100, 200.0), (200, 300.0)]


def test_without_tensorboard_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        tensorboard.TensorBoard(tmp_path)


def test_without_numbers_nothing_is_made(tmp_path):
    events = Events(tensorboard.TensorBoard(tmp_path / "tensorboard"))
    events.emit("run_started", out=str(tmp_path), recipe="x", seed=0, stages=[])
    events.emit("run_finished", seconds=1.0, saved=[])
    assert not list(tmp_path.iterdir())
