"""Starting is light: nothing heavy is imported where nothing is computed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from genart.plugins import Plugins

from .conftest import TOYS

HEAVY = ("torch", "torchvision", "kornia", "numpy", "PIL", "imageio", "av", "skimage", "scipy", "safetensors")
#: Prints, at exit, which of the heavy packages have been imported.
WATCH = f"import atexit; atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)); "

RECIPE = '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsave = "m.safetensors"\n[[stage]]\nuses = "toy.draw"\nsave = "x"\n'


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["check", "r.toml", "-p", TOYS],
        ["plan", "r.toml", "--why", "-p", TOYS, "--device", "cpu"],
        ["stages"],
        ["stages", "dcgan.train"],
        ["stages", "augment", "RandomAffine"],
        ["plugins"],
        ["schema"],
        ["cache", "info"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_what_computes_nothing_imports_nothing_heavy(genart_process, recipe, arguments):
    recipe(RECIPE)
    process = genart_process(*arguments, prelude=WATCH)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err.splitlines()[-1] == "HEAVY []"


def test_a_cached_run_imports_nothing_heavy(genart_process, recipe, run_toy):
    path = recipe(RECIPE)
    assert run_toy(path).code == 0
    process = genart_process("run", path, "-p", TOYS, "--out", "out", "--device", "cpu", prelude=WATCH)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "cached" in err
    assert err.splitlines()[-1] == "HEAVY []"


def test_the_watch_sees_what_is_imported(genart_process, recipe):
    """The check above can fail."""
    process = genart_process("run", recipe(RECIPE), "-p", TOYS, "--out", "out", "--device", "cpu", "--until", "toy.noise", prelude=WATCH)
    _, err = process.communicate()
    assert "'torch'" in err.splitlines()[-1]


def test_plugins_are_imported_only_for_recipes_that_use_them():
    Path("r.toml").write_text('[recipe]\nname = "x"\n[[stage]]\nuses = "images.samples"\n')
    from genart.recipe import load

    plugins = Plugins()
    load(Path("r.toml"), plugins)
    assert [name for name, plugin in plugins.plugins.items() if plugin.module is not None] == ["images"]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is that of torch on Linux")
@pytest.mark.parametrize(("own", "heard"), [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")])
def test_threads_that_wait_soon_leave_the_core_to_others(genart_process, recipe, monkeypatch, own, heard):
    """It has to be said before torch is loaded, and what is said already stays."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    arguments = ("run", recipe(RECIPE), "-p", TOYS, "--out", "out", "--device", "cpu", "--until", "toy.noise")
    process = genart_process(*arguments, OMP_DISPLAY_ENV="VERBOSE", **own)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", err)) == {heard}
