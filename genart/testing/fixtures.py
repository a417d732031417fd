"""Fixtures for authors of plugins; pytest finds them where genart is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genart.artifacts import Images
from genart.formats import FORMATS
from genart.plugins import Plugins

from .stages import tiny_images


@pytest.fixture
def tiny_pictures() -> Images:
    """Six smooth coloured pictures of 16x16."""
    return tiny_images()


@pytest.fixture
def genart_plugins() -> Iterator[Callable[..., Plugins]]:
    """Plugins by their names, without those that happen to be installed too, as in `genart_plugins("sepia").stage("sepia.tone")`.

    The formats that `.bring_formats()` makes known are forgotten after the test.
    """
    yield lambda *names, files=(): Plugins(files, only=names)
    FORMATS.brought = ()


@pytest.fixture
def genart_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a store and a current directory of the test's own."""
    base = tmp_path_factory.mktemp("home")
    for name in ("cache", "work"):
        (base / name).mkdir()
    monkeypatch.setenv("HOME", str(base))
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.chdir(base / "work")
    return base
