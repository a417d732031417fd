"""`genart convert`: of a hostile pickle nothing is run and nothing comes out; weights come through to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from genart.nn import quarantine

from .conftest import CANARY, sampled
from .pickles import CALLS, calling, hostile, legacy, nested, saved, zipped

#: In the child: the quarantine itself, in the forked process, with the file at standard input; `{}` is for what a test breaks before.
IN_QUARANTINE = """
import os, sys
from genart.nn import quarantine
os.dup2(os.open("m.pth", os.O_RDONLY), 0)
os.dup2(os.open("m.safetensors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
sys.argv = ["quarantine", "0" * 64]
sys.stdin = open(0, closefd=False)
sys.stdout = open(1, "w", closefd=False)
{}
from tests.security.audit import install; install({!r})
quarantine.main()
"""
#: Torch's reader as it would be with a hole in it: it does whatever the file says.
BROKEN = """
import pickle, torch
def shut(shut_doors=quarantine.shut_doors):
    shut_doors()
    torch.load = lambda file, **_: pickle.load(file)
quarantine.shut_doors = shut
quarantine.DOORS = tuple(door for door in quarantine.DOORS if door != "pickle.")
"""


@pytest.fixture
def opened(watched: Callable, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Open a file in quarantine: opened(data, codes, broken="") -> (exit code, what it told)."""

    def run(data: bytes, codes: tuple[int, ...], broken: str = "") -> tuple[int, dict[str, Any]]:
        Path(watched.inside, "m.pth").write_bytes(data)
        plant = IN_QUARANTINE.format(broken, str(tmp_path / "acts"))
        outcome = watched("convert", codes=codes, plant=plant)
        return outcome.code, json.loads(outcome.err.splitlines()[-1])

    return run


@pytest.mark.parametrize("what", sampled(sorted(hostile()), 2))
def test_nothing_of_a_hostile_pickle_is_run(watched: Callable, opened: Callable, what: str) -> None:
    _, told = opened(hostile()[what], (7,))
    assert told["refused"]
    assert Path(watched.inside, "m.safetensors").read_bytes() == b"", "nothing is written before all is checked"
    assert {path.name for path in watched.inside.iterdir()} <= {"m.pth", "m.safetensors", "store"}


@pytest.mark.parametrize("call", sampled([call for call in CALLS if "pwned" in str(call)], 3, "{0[0]}.{0[1]}"))
def test_the_walls_hold_even_if_torchs_reader_has_a_hole(watched: Callable, call: Any) -> None:
    """The reader attempts what the file says; that nothing came of it is what counts."""
    Path(watched.inside, "m.pth").write_bytes(calling(*call))
    outcome = watched("convert", codes=(7,), plant=IN_QUARANTINE.format(BROKEN, "/dev/null"), audited=False)
    assert "refused" in outcome.err
    assert not Path(watched.inside, "pwned").exists()


def test_without_the_walls_such_a_reader_would_be_seen(watched: Callable) -> None:
    Path(watched.inside, "m.pth").write_bytes(calling("os", "system", ("touch pwned",)))
    open_doors = BROKEN + "quarantine.DOORS = ()\nquarantine.set_limits = lambda size: None\n"
    watched("convert", codes=(7,), plant=IN_QUARANTINE.format(open_doors, "/dev/null"), audited=False)
    assert Path(watched.inside, "pwned").exists()


def weights() -> dict[str, torch.Tensor]:
    """One tensor of each type, and what is odd about tensors."""
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    found = {f"{kind}".removeprefix("torch."): (100 * torch.randn(3, 5)).to(kind) for kind in kinds}
    shared = torch.randn(4, 4)
    odd = {"bool": torch.tensor([True, False]), "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5), "turned": torch.randn(2, 3).t()}
    values = {"numbers": torch.tensor([float("nan"), float("inf"), -0.0]), "one": shared, "the same": shared, "part": shared[1:3]}
    return {**found, **odd, **values, "parameter": torch.nn.Parameter(torch.randn(2))}


def bits(value: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor, in which NaN equals NaN."""
    return value.detach().contiguous().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("kind", [True, False], ids=["zip", "older"])
def test_weights_come_through_to_the_bit(watched: Callable, opened: Callable, kind: bool) -> None:
    state = weights()
    _, told = opened(saved({"model": state, "epoch": 3, "options": [{"lr": 0.1}], "note": "x"}, zipped=kind), (0,))
    assert told == {"left_out": 3}
    found = load_file(Path(watched.inside, "m.safetensors"))
    assert set(found) == {f"model.{name}" for name in state}
    for name, value in state.items():
        other = found[f"model.{name}"]
        assert other.dtype == value.dtype and other.shape == value.shape  # noqa: PT018
        assert torch.equal(bits(other), bits(value))


def test_names_of_dicts_are_joined_and_numbers_are_names() -> None:
    found, left_out = quarantine.tensors_of({"opt": {0: {"m": torch.zeros(1)}}, "a.b": torch.ones(1), "n": None})
    assert (list(found), left_out) == (["opt.0.m", "a.b"], 1)
    with pytest.raises(quarantine.Refused, match="nest"):
        quarantine.tensors_of(nested(quarantine.MAX_DEPTH + 1))


def test_the_command_converts_and_pins(watched: Callable, cli: Callable) -> None:
    state = weights()
    Path("m.pth").write_bytes(saved(state))
    done = cli("convert", "m.pth", "-o", "sub/m.safetensors", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["path"], told["tensors"], told["left_out"]) == ("sub/m.safetensors", len(state), 0)
    with safe_open("sub/m.safetensors", "pt") as file:
        assert json.loads(file.metadata()["state"]) == {"sha256": told["sha256"]}
    before = Path("sub/m.safetensors").read_bytes()
    Path("evil.pth").write_bytes(zipped(calling(*CALLS[0])))
    refused = cli("convert", "evil.pth", "-o", "sub/m.safetensors")
    assert refused.code == 7
    assert "evil.pth: it would call os.system" in refused.err
    assert "nothing of this one was run" in refused.err
    other = cli("convert", "m.pth", "-o", "sub/m.safetensors", "--sha256", "0" * 64)
    assert other.code == 7
    assert told["sha256"] in other.err
    assert [path.name for path in Path("sub").iterdir()] == ["m.safetensors"]
    assert Path("sub/m.safetensors").read_bytes() == before
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("m.pth", "-o", "m.pth"), 2),
        (("m.pth", "-o", "m"), 2),
        (("nothing.pth", "-o", "m.safetensors"), 2),
        ((".", "-o", "m.safetensors"), 2),
        (("fifo", "-o", "m.safetensors"), 2),
        (("/dev/zero", "-o", "m.safetensors"), 2),
        (("m.pth", "-o", "m.safetensors", "--sha256", "xyz"), 2),
        (("m.pth", "-o", "m.safetensors", "--sha256", "00000000"), 7),
        (("m.pth", "-o", "folder.safetensors"), 7),
        (("m.pth",), 2),
    ],
)
def test_a_wrong_command_is_told(watched: Callable, words: tuple[str, ...], code: int) -> None:
    import os

    Path(watched.inside, "m.pth").write_bytes(b"x")
    Path(watched.inside, "folder.safetensors").mkdir()
    os.mkfifo(watched.inside / "fifo")
    watched("convert", *words, codes=(code,))
    assert not Path(watched.inside, "m.safetensors").exists()


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.ckpt", "m.pkl", "m.bin", "m.safetensors", "m.png", "m"])
@pytest.mark.parametrize("data", ["pickle", "zip", "older"])
def test_run_and_apply_say_what_to_do_with_a_pickle(watched: Callable, name: str, data: str) -> None:
    from .conftest import recipe, run_words

    evil = calling(*CALLS[0])
    Path(watched.inside, name).write_bytes({"pickle": evil, "zip": zipped(evil), "older": legacy(evil)}[data])
    for words in (("apply", "toy.invert", "-i", name, "-o", "a", "-p", run_words()[3]), ("apply", "latent.walk", "-i", name, "-o", "a")):
        told = watched(*words, codes=(7,)).err
        assert f"{name} is a pickle" in told
        assert "genart convert" in told
    recipe(watched.inside, f'[[stage]]\nuses = "latent.model"\npath = "{name}"\n[[stage]]\nuses = "toy.draw"\nsave = "a"\n')
    assert "genart convert" in watched(*run_words(), codes=(7,)).err
    assert CANARY not in Path(watched.inside, name).read_text(errors="replace")
