"""`genart plugins doctor` on plugins that are broken in different ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genart import hookspecs
from genart import plugin_doctor as doctor
from genart.plugins import Plugins

BROKEN = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "crashes": ("import os; os.abort()", "its import ends Python: SIGABRT"),
    "vanishes": ("import os; os._exit(7)", "its import ends Python with 7"),
    "newer": ("GENART_API = 99", "it is written for plugin interface 99, this genart has 1; upgrade genart"),
    "older": ("GENART_API = 0", "upgrade the plugin"),
    "odd": ("GENART_API = 'new'", "GENART_API must be a number"),
    "syntax": ("def", "SyntaxError"),
}


def distribution(site: Path, name: str, code: str) -> None:
    """Install a plugin of one module."""
    site.mkdir(exist_ok=True)
    (site / f"{name}_plugin.py").write_text(code)
    info = site / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[genart]\n{name} = {name}_plugin\n")


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of this process and its children."""
    folder = home / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{':'.join(sys.path[1:])}")
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the plugins that the test installs, and one that works."""
    discover = Plugins._discover
    names = ("metrics", "good", "first", "second", "other", *BROKEN)
    monkeypatch.setattr(Plugins, "_discover", lambda self, entry: discover(self, entry) if entry.name in names else None)


def test_every_trouble_is_told_apart_and_hurts_nobody_else(site: Path, few: None, cli) -> None:
    for name, (code, _) in BROKEN.items():
        distribution(site, name, code)
    found = doctor.examine()
    told = {item.name: item for item in found.plugins}
    for name, (_, problem) in BROKEN.items():
        assert problem in (told[name].problem or ""), name
    assert told["metrics"].problem is None
    assert told["metrics"].stages == ["metrics.quality"]
    assert found.broken
    assert found.together is None


def test_sound_plugins_and_heavy_ones(site: Path, few: None, cli) -> None:
    distribution(site, "good", "import torch\n")
    found = doctor.examine()
    assert not found.broken
    assert any("good: its import loads torch" in line for line in found.advice)
    result = cli("plugins", "doctor", "--json")
    assert result.code == 0
    assert {item["name"] for item in result.events[0]["plugins"]} == {"good", "metrics"}


def test_two_that_only_fail_together_are_found(site: Path, few: None, cli) -> None:
    distribution(site, "first", "import sys; sys.modules['clash'] = sys")
    distribution(site, "other", "")
    distribution(site, "second", "import sys\nif 'clash' in sys.modules: raise ImportError('two of a kind')")
    found = doctor.examine()
    assert [item.problem for item in found.plugins] == [None] * 4
    assert found.together == "second: ImportError: two of a kind"
    assert found.culprits == ["first", "second"]
    result = cli("plugins", "doctor")
    assert result.code == 4
    assert "the cause is first with second" in result.out


def test_what_will_stop_working_is_told(site: Path, few: None, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site, "first", "GENART_API = 1")
    distribution(site, "second", "GENART_API = 2")
    distribution(site, "other", "")
    monkeypatch.setattr(hookspecs, "PLUGIN_API", 2)
    monkeypatch.setitem(hookspecs.DEPRECATED, 2, "genart_old becomes genart_new")
    note = "written for plugin interface 1: genart_old becomes genart_new"
    lines = [line.rstrip() for line in cli("plugins").out.splitlines()]
    assert lines[lines.index("first first-plugin 1.0") + 1] == f"  {note}"
    assert sum(note in line for line in lines) == 1
    assert {row["name"]: row["notes"] for row in cli("plugins", "--json").events[0]} == {
        "first": [note],
        "metrics": [],
        "other": [],
        "second": [],
    }

    newer = f"from genart import hookspecs, plugin_doctor; hookspecs.PLUGIN_API = 2; hookspecs.DEPRECATED[2] = {hookspecs.DEPRECATED[2]!r}"
    run = subprocess.run
    command = ["-c", f"import sys; {newer}; plugin_doctor.main(sys.argv[1])"]  # the doctor's processes see the same genart
    monkeypatch.setattr(subprocess, "run", lambda words, **more: run([words[0], *command, words[-1]], **more))
    told = cli("plugins", "doctor")
    assert told.code == 0, told.out
    assert [line for line in told.out.splitlines() if "interface" in line] == [f"first: {note}"]


def test_an_import_without_end(site: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site, "good", "import time; time.sleep(1000)")
    monkeypatch.setattr(doctor, "PATIENCE", 3.0)
    told = {item.name: item.problem for item in doctor.examine().plugins}
    assert told["good"] == "its import does not end within 3 s"


def test_a_file_is_examined_too(home: Path, few: None, cli) -> None:
    Path("own.py").write_text("raise ValueError('mine')")
    result = cli("plugins", "doctor", "-p", "own.py", "--json")
    assert result.code == 4
    assert {item["name"]: item["problem"] for item in result.events[0]["plugins"]}["own"] == "ValueError: mine"
