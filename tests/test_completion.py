"""The tab key: what the shells ask, in the words in which they ask it, and in the shells themselves where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT
from .test_startup import WATCH

RECIPE = """[recipe]
name = "x"
[[stage]]
uses = "images.samples"
[[stage]]
uses = "images.resize"
id = "small"
resolution = 8
[[stage]]
uses = "images.resize"
"""


@pytest.fixture
def complete(genart_process):
    """Ask as bash does: complete("apply", "lat") -> what it offers."""

    def ask(*words: str) -> list[str]:
        asked = " ".join(("genart", *words))
        process = genart_process(prelude=WATCH, _GENART_COMPLETE="complete_bash", COMP_WORDS=asked, COMP_CWORD=str(len(words)))
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert err.splitlines() == ["HEAVY []"], "nothing is imported to complete a word"
        return out.split("\n")[:-1]

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["app"], ["apply"]),
        (["apply", "latent.s"], ["latent.sample"]),
        (["apply", "latent.walk", "-i", "m.safetensors", "--interp"], ["--interpolation"]),
        (["apply", "latent.walk", "--interpolation", "sl"], ["slerp"]),
        (["apply", "latent.walk", "--no-such", "sl"], []),
        (["apply", "images.resize", "--y4"], ["--y4m"]),
        (["apply", "no.such", "--frames"], []),
        (["apply", "images.resize", "--device", "c"], ["cpu", "cuda"]),
        (["stages", "images.r"], ["images.resize"]),
        (["stages", "augment", "RandomRot"], ["RandomRotation", "RandomRotation90"]),
        (["stages", "images.resize", "Random"], []),
        (["stages", "no.such", "Random"], []),
        (["plugins", "dc"], ["dcgan"]),
        (["run", "r.toml", "--until", ""], ["images.samples", "small", "images.resize"]),
        (["run", "r.toml", "--force", "sm"], ["small"]),
        (["plan", "r.toml", "--set", "small.r"], ["small.resolution="]),
        (["run", "nowhere.toml", "--until", ""], []),
        (["run", "broken.toml", "--until", ""], []),
        (["run", "half.toml", "--until", ""], ["images.samples", "images.resize"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bash_asks(complete, words, expected):
    Path("r.toml").write_text(RECIPE)
    Path("broken.toml").write_text(RECIPE + "[[stage]\nuses =")
    Path("half.toml").write_text('[[stage]]\nuses = "images.samples"\nid = ""\n[[stage]]\nuses = "images.resize"\nid = 7\n')
    assert [offer for offer in complete(*words) if offer] == expected


def test_zsh_and_fish_are_told_what_a_word_means(genart_process):
    out, err = genart_process(_GENART_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="genart apply latent.walk --loo").communicate()
    assert '"--loop":"Lead back to the first key' in out, err
    fish = {"_GENART_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    out, err = genart_process(**fish, _TYPER_COMPLETE_ARGS="genart apply latent.walk --loo").communicate()
    assert out.startswith("--loop\tLead back"), err


# in the shells


@pytest.fixture
def with_genart(tmp_path, monkeypatch):
    """Put `genart` on the path."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "genart"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from genart.cli import main; main()" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'plugins'}")
    Path("r.toml").write_text(RECIPE)


def shell(name: str):
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"not installed: apt-get install {name}")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


BASH = """
eval "$(_GENART_COMPLETE=source_bash genart)"
function=$(complete -p genart | sed 's/.*-F \\([^ ]*\\).*/\\1/')
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function genart; echo "${COMPREPLY[*]}"; }
ask genart apply latent.w
ask genart apply latent.walk --eas
ask genart apply latent.walk --easing smoo
ask genart run r.toml --until sm
"""

FISH = """
_GENART_COMPLETE=source_fish genart | source
complete -C 'genart apply latent.w'
complete -C 'genart apply latent.walk --eas'
complete -C 'genart apply latent.walk --easing smoo'
complete -C 'genart run r.toml --until sm'
"""

#: zsh completes only in a terminal: a second zsh in a pseudo-terminal, from which what it inserts is read.
ZSH = """
zmodload zsh/zpty
zpty asked 'TERM=dumb zsh -f -i'
zpty -w asked 'PS1=ready; autoload -Uz compinit; compinit -u -D; eval "$(_GENART_COMPLETE=source_zsh genart)"; unsetopt beep; echo SET-UP'
zpty -r -m asked seen '*SET-UP*SET-UP*ready*'
zpty -w -n asked $'genart apply latent.wa\\t --eas\\t smoothe\\tX'
zpty -r -m asked seen '*X*'
print -r -- "$seen"
zpty -d asked
"""


@shell("bash")
def test_bash(with_genart):
    answers = run("bash", "--norc", "-c", BASH).splitlines()
    assert answers == ["latent.walk", "--easing", "smooth smoother", "small"]


@shell("fish")
def test_fish(with_genart):
    answers = [line.partition("\t")[0] for line in run("fish", "--no-config", "-c", FISH).splitlines()]
    assert answers == ["latent.walk", "--easing", "smooth", "smoother", "small"]


@shell("zsh")
def test_zsh(with_genart):
    seen = run("zsh", "-f", "-c", ZSH)
    assert "genart apply latent.walk" in seen
    assert "--easing" in seen
    assert "smoother" in seen
