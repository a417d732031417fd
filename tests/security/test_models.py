"""Model files from strangers: refused in one line that names them, and nothing of them is run, loaded as pickle, or believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from .conftest import recipe, run_words

HEAD = {"family": "toy", "parameters": {"shape": [3, 4, 4]}, "z_dim": 1, "resolution": 4}


class Runs:
    """Unpickled, it runs a command."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], tuple(self.call[1:])


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def model(head: object = HEAD, tensors: dict[str, torch.Tensor] | None = None) -> bytes:
    """A model file of the toy family with another header or other tensors."""
    return save({"w": torch.zeros(3, 4, 4)} if tensors is None else tensors, {"genart": json.dumps({"model": head})})


def tensor(start: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def meta(head: object = HEAD) -> dict[str, str]:
    return {"genart": json.dumps({"model": head})}


def pickled(*call: Any, protocol: int = 2) -> bytes:
    return pickle.dumps({"w": Runs(*call)}, protocol)


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name}", content)
    return data.getvalue()


def object_array() -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([Runs(os.system, "touch pwned")], dtype=object), allow_pickle=True)
    return data.getvalue()


@cache
def hostile() -> dict[str, bytes]:
    """Files by what is wrong with them."""
    whole = model()
    files = {f"cut at {at}": whole[:at] for at in (0, 1, 4, 7, 8, 9, 12, 40, 100, len(whole) - 200, len(whole) - 4, len(whole) - 1)}
    files |= {f"pickle, protocol {protocol}": pickled(os.system, "touch pwned", protocol=protocol) for protocol in range(6)}
    calls = [
        (eval, "1"),
        (exec, "1"),
        (os.popen, "id"),
        (__import__, "antigravity"),
        (open, "pwned", "w"),
        (os.execv, "/bin/true", ["true"]),
    ]
    files |= {f"pickle that calls {call[0].__name__}": pickled(*call) for call in calls}
    files |= {
        "torch's zip": zipped(**{"data.pkl": pickled(os.system, "touch pwned"), "version": b"3"}),
        "an object array": object_array(),
        "a web page": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "an HDF5 head": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "a length beyond the file": safetensors({}, length=10**6),
        "a length beyond all files": safetensors({}, length=2**63 - 1),
        "a negative length": safetensors({}, length=2**64 - 1),
        "no header": safetensors(b""),
        "a header that is no JSON": safetensors(b"{nope"),
        "a header that is a list": safetensors([]),
        "a header in bad UTF-8": safetensors(b'{"\xff\xfe": 1}'),
        "a header that nests": safetensors(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        "no metadata": save({"w": torch.zeros(3, 4, 4)}),
        "metadata of another program": save({"w": torch.zeros(3)}, {"format": "pt"}),
        "our metadata, no JSON": save({"w": torch.zeros(3)}, {"genart": "{"}),
        "our metadata, a list": save({"w": torch.zeros(3)}, {"genart": "[]"}),
        "our metadata, nested": save({"w": torch.zeros(3)}, {"genart": "[" * 30_000 + "]" * 30_000}),
        "no family": model({**HEAD, "family": None}),
        "a family that is a list": model({**HEAD, "family": ["toy"]}),
        "a family that is a module": model({**HEAD, "family": "os:system"}),
        "a family that is a path": model({**HEAD, "family": "../../toy"}),
        "a family that nobody has": model({**HEAD, "family": "__import__('os')"}),
        "parameters that are a list": model({**HEAD, "parameters": []}),
        "a parameter too many": model({**HEAD, "parameters": {"shape": [3, 4, 4], "evil": 1}}),
        "a parameter of another type": model({**HEAD, "parameters": {"shape": "eval"}}),
        "a parameter of a huge network": model({**HEAD, "parameters": {"shape": [3, 10**6, 10**6]}}),
        "a parameter below nothing": model({**HEAD, "parameters": {"shape": [-1]}}),
        "a resolution that is a text": model({**HEAD, "resolution": "4"}),
        "z_dim beyond all memory": model({**HEAD, "z_dim": 10**12}),
        "another shape": model(tensors={"w": torch.zeros(2, 2)}),
        "another name": model(tensors={"v": torch.zeros(3, 4, 4)}),
        "no tensor": model(tensors={}),
        "tensors that overlap": safetensors(
            {"__metadata__": meta(), "w": tensor(0, 192, [3, 4, 4]), "v": tensor(100, 292, [3, 4, 4])}, bytes(292)
        ),
        "a gap between tensors": safetensors({"__metadata__": meta(), "w": tensor(8, 200, [3, 4, 4])}, bytes(200)),
        "a tensor beyond the file": safetensors({"__metadata__": meta(), "w": tensor(0, 10**9, [3, 4, 4])}, bytes(192)),
        "a shape that overflows": safetensors({"__metadata__": meta(), "w": tensor(0, 192, [2**40, 2**40])}, bytes(192)),
        "a shape below nothing": safetensors({"__metadata__": meta(), "w": tensor(0, 192, [-3, 4, 4])}, bytes(192)),
        "a type that nobody has": safetensors({"__metadata__": meta(), "w": tensor(0, 192, [3, 4, 4], "PY")}, bytes(192)),
        "a hundred thousand tensors": safetensors(
            {"__metadata__": meta(), **{f"t{number}": tensor(0, 0, [0]) for number in range(100_000)}}
        ),
    }
    return files


@pytest.mark.parametrize("what", sorted(hostile()))
def test_a_hostile_model_is_refused(watched: Callable, what: str) -> None:
    path = Path(watched.inside, "m.safetensors")
    path.write_bytes(hostile()[what])
    recipe(
        watched.inside, '[[stage]]\nuses = "latent.model"\npath = "m.safetensors"\n[[stage]]\nuses = "toy.draw"\ncount = 1\nsave = "a"\n'
    )
    outcome = watched(*run_words(), codes=(3, 7))
    assert "m.safetensors" in outcome.err or "'toy.draw'" in outcome.err or "latent.model" in outcome.err
    assert len(outcome.err.splitlines()) < 12
    assert not Path(watched.inside, "out", "a").exists()


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.ckpt", "m.pkl", "m.bin", "m.npy", "m"])
def test_a_pickle_is_refused_under_any_name(watched: Callable, name: str) -> None:
    Path(watched.inside, name).write_bytes(pickled(os.system, "touch pwned"))
    outcome = watched("apply", "latent.walk", "-i", name, "--frames", "1", "-o", "a", codes=(2, 3, 7))
    assert name in outcome.err


def test_weights_that_are_not_numbers_are_told(watched: Callable) -> None:
    Path(watched.inside, "m.safetensors").write_bytes(model(tensors={"w": torch.full((3, 4, 4), float("nan"))}))
    recipe(
        watched.inside, '[[stage]]\nuses = "latent.model"\npath = "m.safetensors"\n[[stage]]\nuses = "toy.draw"\ncount = 1\nsave = "a"\n'
    )
    outcome = watched(*run_words(), codes=(3, 4, 8))
    assert "NaN" in outcome.err
