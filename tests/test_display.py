"""What people see of a run: what the live display draws, and the words for progress and numbers."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from genart.display import LiveDisplay, PlainDisplay, half_blocks, metrics_text, progress_text
from genart.events import Events

PROGRESS: dict[str, Any] = {"stage": "train", "done": 1200, "total": 4000, "unit": "images", "rate": 340.4, "eta_sec": 8.2}
METRIC: dict[str, Any] = {"stage": "train", "nimg": 1200, "loss_D": 0.6213, "loss_G": 1.4, "note": "a word"}
#: Two pictures of 2 x 2 pixels, red over blue and green over white.
STRIP = [[[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 255], [255, 255, 255], [255, 255, 255]]]


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """What was written, without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def frame(display: LiveDisplay, terminal: Terminal) -> str:
    """What is drawn below the lines now, as it is eight times a second."""
    assert display._bars is not None
    terminal.seek(0)
    terminal.truncate()
    display._bars._live.refresh()
    return terminal.getvalue()


def test_the_live_display_shows_progress_numbers_and_pictures(terminal: Terminal) -> None:
    with LiveDisplay(terminal) as display:
        events = Events(display)
        events.emit("stage_started", stage="train", reason="first run", resumed_at=None)
        assert "… train (first run)" in terminal.shown()
        assert "train" in frame(display, terminal)
        events.emit("progress", **PROGRESS)
        events.emit("metric", **METRIC)
        events.emit("preview", stage="train", strip=STRIP)
        drawn = frame(display, terminal)
        assert "1,200/4,000 images · 340 images/s · 8.2 s left" in terminal.shown()
        assert "loss_D 0.621 · loss_G 1.4" in terminal.shown()
        assert terminal.shown().index("images/s") < terminal.shown().index("▀▀▀▀")
        assert "38;2;255;0;0;48;2;0;0;255m▀" in drawn
        assert "38;2;0;255;0;48;2;255;255;255m▀" in drawn
        events.emit("stage_finished", stage="train", seconds=11.0)
        assert "✓ train 11 s" in terminal.shown()
        assert not re.search("images|▀|train", frame(display, terminal)), "nothing is being made"


def test_numbers_come_before_the_first_progress(terminal: Terminal) -> None:
    with LiveDisplay(terminal) as display:
        events = Events(display)
        for name in ("progress", "metric", "preview"):  # before any stage began there is nothing to show them in
            events.emit(name, **{"progress": PROGRESS, "metric": METRIC, "preview": {"stage": "train", "strip": STRIP}}[name])
        assert terminal.getvalue() == ""
        events.emit("stage_started", stage="train", reason="first run", resumed_at=None)
        events.emit("metric", **METRIC)
        events.emit("note", message="below")
    assert "loss_D 0.621" in terminal.shown()


def test_a_log_gets_a_line_of_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("genart.display.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    events = Events(PlainDisplay(stream))
    for second in range(40):
        now[0] = float(second)
        events.emit("metric", **METRIC)
        events.emit("progress", **PROGRESS)
    line = "    train: 1,200/4,000 images · 340 images/s · 8.2 s left  loss_D 0.621 · loss_G 1.4\n"
    assert stream.getvalue() == 2 * line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "1,200/4,000 images · 340 images/s · 8.2 s left"),
        ({"rate": 3.14}, "1,200/4,000 images · 3.1 images/s · 8.2 s left"),
        ({"total": None, "eta_sec": None}, "1,200 images · 340 images/s"),
        ({"rate": None, "eta_sec": None, "unit": "steps"}, "1,200/4,000 steps"),
        ({"eta_sec": 3725.0}, "1,200/4,000 images · 340 images/s · 1:02:05 left"),
    ],
)
def test_words_for_progress(change: dict[str, Any], text: str) -> None:
    assert progress_text(PROGRESS | change) == text


def test_words_for_numbers() -> None:
    assert metrics_text({"event": "metric", **METRIC}) == "loss_D 0.621 · loss_G 1.4"
    assert metrics_text({f"n{i}": float(i) for i in range(9)}) == "n0 0 · n1 1 · n2 2 · n3 3 · n4 4", "a line has room for five"


def test_two_pixels_in_each_cell() -> None:
    cells = list(half_blocks([*STRIP, *STRIP]).segments)
    assert [cell.text for cell in cells] == [*"▀▀▀▀", "\n", *"▀▀▀▀", "\n"]
    assert str(cells[0].style) == "rgb(255,0,0) on rgb(0,0,255)"
    assert str(cells[3].style) == "rgb(0,255,0) on rgb(255,255,255)"
