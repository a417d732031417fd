"""A training that is killed again and again and its twin, for some seconds each: equal, unless a resume forgets something."""

from __future__ import annotations

import re
from typing import Any

import pytest

from . import twin
from .forge import Forge
from .moments import OFTEN

pytestmark = pytest.mark.slow

#: A resume that begins the random streams of the steps anew.
FORGETS = """
from genart.nn.gan import Training
resume = Training._resume
def forgetful(training):
    resume(training)
    training.log.step = 0
Training._resume = forgetful
"""


def trained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plant: str = "") -> tuple[Any, str]:
    """Exit code and last line of `python -m tests.faults.twin`, with a checkpoint at each tenth step."""
    run = Forge.run
    often = OFTEN.format(every=10)
    monkeypatch.setattr(
        Forge, "run", lambda self, *words, **more: run(self, *words, **{**more, "plant": f"{often}\n{plant}\n{more.get('plant', '')}"})
    )
    with pytest.raises(SystemExit) as end:
        twin.main(["--minutes", "0.15", "--every", "3"])
    told = capsys.readouterr().out
    kills = re.search(r"^killed: .* (\d+) kills$", told, re.MULTILINE)
    assert kills is not None
    assert int(kills[1]) >= 1, told
    return end.value.code, told.splitlines()[-1]


def test_a_training_that_is_killed_every_so_often_equals_its_twin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = trained(monkeypatch, capsys)
    assert not code, told
    assert told.endswith(": the same")


def test_a_stream_that_a_resume_forgets_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = trained(monkeypatch, capsys, FORGETS)
    assert code
    assert "other bytes in out/model.safetensors" in told
