"""The code itself: what it may not so much as mention, and the few places that may; and that the reader of it sees what is planted."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.conftest import ROOT

from .dangers import dangers

FILES = [path.relative_to(ROOT).as_posix() for folder in ("genart", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]
#: Who may use what, and what for.
ALLOWED = {
    # its own modules, by a table
    "genart/__init__.py": {"importlib.import_module"},
    "genart/formats.py": {"importlib.import_module"},
    # what plugins register, by name; and files after -p
    "genart/plugins.py": {"importlib.import_module", "importlib.util.spec_from_file_location", "importlib.util.module_from_spec"},
    # loads each plugin in a process of its own
    "genart/plugin_doctor.py": {"subprocess"},
    # asks whether anything answers at the address of a cluster that the command line names
    "genart/on_ray.py": {"socket.create_connection"},
    # processes that train together meet at an address that their launcher names
    "genart/nn/team.py": {"socket.create_server"},
    # reaches the shared store that the command line names
    "genart/bucket.py": {"fsspec"},
    # reads archives in place, within limits, and unpacks nothing
    "plugins/genart_images/archive.py": {"tarfile", "zipfile"},
    # starts the quarantine
    "genart/convert.py": {"subprocess"},
    # leaves the network; opens pickles, weights_only
    "genart/nn/quarantine.py": {"ctypes", "torch.load", "torch.save"},
    # looks at the opcodes of a file whose SHA-256 is pinned, and runs none
    "genart/nn/efficientnet.py": {"pickletools"},
}
#: Rules of ruff's security group that are switched off in a line, and why that is right is written there.
QUIET = {
    ("genart/convert.py", "S603"),
    ("genart/plugin_doctor.py", "S603"),
    ("genart/forecast.py", "S311"),
    ("genart/nn/mailbox.py", "S108"),
    ("plugins/genart_images/samples.py", "S311"),
}
PLANTED = [
    "eval(text)",
    "exec(text)",
    "compile(text, 'x', 'exec')",
    "__import__(name)",
    "run = eval",
    "import builtins\nbuiltins.eval(text)",
    "import pickle",
    "import pickle as p\np.loads(data)",
    "from pickle import loads",
    "def f():\n    import pickle",
    "import marshal",
    "import shelve",
    "import joblib",
    "import yaml\nyaml.load(text)",
    "import os\nos.system('ls')",
    "from os import system",
    "from os import system as s\ns('ls')",
    "import os as o\no.popen('ls')",
    "import os\ngetattr(os, 'system')('ls')",
    "import os\nos.execvp('ls', [])",
    "import os\nos.spawnl(0, 'ls')",
    "import subprocess",
    "from subprocess import run",
    "run(['ls'], shell=True)",
    "import tarfile\ntarfile.open(path).extractall()",
    "archive.extractall(folder)",
    "import shutil\nshutil.unpack_archive(path)",
    "import numpy as np\nnp.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=True)",
    "from numpy import load\nload(path)",
    "import torch, io\ngetattr(torch, 'load')(path)",
    "import torch\ntorch.load(path, weights_only=True)",
    "import torch as t\nt.load(path)",
    "from torch import load",
    "import torch\ntorch.hub.load_state_dict_from_url(url)",
    "import torch\ntorch.jit.load(path)",
    "published.get_state_dict(progress=False)",
    "from torchvision.models import vgg19\nvgg19(weights='DEFAULT')",
    "import socket\nsocket.create_connection(where)",
    "from urllib.request import urlopen",
    "import http.client",
    "import requests",
    "import fsspec\nfsspec.open(path)",
    "import ctypes",
    "import importlib\nimportlib.import_module(name)",
    "from runpy import run_path",
]


@pytest.mark.parametrize("name", FILES)
def test_nothing_dangerous_is_mentioned(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert list(dangers(text, frozenset(ALLOWED.get(name, ())))) == []


@pytest.mark.parametrize("name", ALLOWED)
def test_no_leave_is_given_for_nothing(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for wanted in ALLOWED[name]:
        assert list(dangers(text, frozenset(ALLOWED[name]) - {wanted})), f"{name} does without {wanted}"


@pytest.mark.parametrize("text", PLANTED)
def test_what_is_planted_is_seen(text: str) -> None:
    assert list(dangers(text))


def test_a_reader_that_may_load_may_not_load_everything() -> None:
    assert list(dangers("import torch\ntorch.load(file)", frozenset({"torch.load"})))
    assert list(dangers("import torch\ntorch.load(file, weights_only=False)", frozenset({"torch.load"})))
    assert not list(dangers("import torch\ntorch.load(file, weights_only=True)", frozenset({"torch.load"})))


def test_what_is_harmless_is_let_be() -> None:
    lines = ["import re, os", "re.compile('x')", "model.eval()", "os.fsync(1)", "from urllib.parse import quote", "file.load()", "code = 1"]
    assert list(dangers("\n".join([*lines, "import numpy as np", "np.load(path, allow_pickle=False)"]))) == []


def test_the_linters_rules_of_security_are_on() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S") and rule[1:].isdigit()] == ["S101"]
    loose = {where for where, rules in lint["per-file-ignores"].items() if any(re.fullmatch(r"S\d*", rule) for rule in rules)}
    assert loose == {"tests/**", "bench/**", "docs/examples/*/tests/**"}


def test_no_line_is_spared_all_rules() -> None:
    quiet = set()
    for name in FILES:
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if "noqa" in line:
                rules = re.search(r"# noqa: ((?:[A-Z]+\d+,? ?)+)", line)
                assert rules, f"{name}: {line.strip()}"
                quiet |= {(name, rule) for rule in re.findall(r"S\d{3}\b", rules[1]) if rule.startswith("S")}
    assert {(name, rule) for name, rule in quiet if re.fullmatch(r"S\d{3}", rule)} == QUIET
