"""Models: 120 files of safetensors that lie, and of formats that run code when they are read."""

from __future__ import annotations

import io
import itertools
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from .case import Case, Expected, zeros

HEAD: dict[str, Any] = {"family": "toy", "parameters": {"shape": [3, 4, 4]}, "z_dim": 1, "resolution": 4}
PIXELS = struct.pack("<48f", *([0.5] * 48))
MEBI = 1 << 20

Found = Iterator[tuple[str, Expected, bytes]]


#: Those that are known as pickles by their first bytes, whatever they are called.
KNOWN_AS_PICKLES = ("torch's ZIP", "the old format of torch")


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int = 0, end: int = 192, shape: object = (3, 4, 4), dtype: str = "F32") -> dict[str, Any]:
    """A row of the table of tensors."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def meta(head: object = None) -> dict[str, str]:
    """The metadata of a model that genart saved."""
    return {"genart": json.dumps({"model": HEAD if head is None else head})}


def model(head: object = None, data: bytes = PIXELS, **tensors: object) -> bytes:
    """A model file with this header, and these tensors instead of its own."""
    return safetensors({"__metadata__": meta(head), **(tensors or {"w": tensor()})}, data)


def changed(**values: object) -> bytes:
    """A model whose header differs; what is changed to None is left out."""
    return model({name: value for name, value in {**HEAD, **values}.items() if value is not None})


def cases() -> Iterator[Case]:
    """All of them."""
    for number, (name, expected, content) in enumerate(itertools.chain(_lengths(), _tables(), _heads(), _weights(), _cuts(), _flips())):
        yield Case("models", name, f"m{number:03d}.safetensors", expected, content, "model")
    for number, (name, content, suffix) in enumerate(_pickles()):
        # by its name it is no model, unless that lies
        yield Case(
            "models",
            f"{name} called {suffix}",
            f"k{number:02d}.{suffix}",
            "refused" if suffix == "pt" or name in KNOWN_AS_PICKLES else "data",
            content,
            "model",
        )


def _lengths() -> Found:
    whole = model()
    yield "as it should be", "ok", whole
    for length in (0, 1, 7, len(whole), 100 * MEBI + 1, 1 << 31, 1 << 63, (1 << 64) - 1):
        yield f"a header of {length:,} bytes", "data", safetensors({}, length=length)
    for name, text in {
        "bad UTF-8": b'{"\xff\xfe": 1}',
        "no JSON": b"{nope",
        "a list": b"[]",
        "a number": b"1e999",
        "nesting": b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "spaces": b"{" + b" " * (8 * MEBI) + b"}",
        "a key twice": b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":1}',
        "NaN": b'{"__metadata__":NaN}',
        "nothing": b"",
    }.items():
        yield f"a header of {name}", "data", safetensors(text)


def _tables() -> Found:
    yield "no tensors", "data", safetensors({"__metadata__": meta()})
    yield "two that overlap", "data", model(None, bytes(292), w=tensor(), v=tensor(100, 292))
    yield "a gap", "data", model(None, bytes(8) + PIXELS, w=tensor(8, 200))
    yield "beyond the file", "data", model(w=tensor(0, 10**12, [10**12 // 4]))
    yield "ends before it begins", "data", model(w=tensor(192, 0))
    yield "below nothing", "data", model(w=tensor(-192, 0))
    yield "a shape that overflows", "data", model(w=tensor(shape=[2**40, 2**40]))
    yield "a shape below nothing", "data", model(w=tensor(shape=[-3, 4, 4]))
    yield "a shape in words", "data", model(w=tensor(shape="3x4x4"))
    yield "a shape of 10,000 sides", "data", model(w=tensor(shape=[1] * 10_000))
    yield "a type that nobody has", "data", model(w=tensor(dtype="PY"))
    yield "a type of half the size", "data", model(w=tensor(dtype="F16"))
    yield "integers", "either", model(w=tensor(dtype="I32"))
    yield "two of no size in one place", "data", model(w=tensor(), v=tensor(0, 0, [0]), u=tensor(0, 0, [0]))
    yield "a hundred thousand", "data", model(None, b"", **{f"t{number}": tensor(0, 0, [0]) for number in range(100_000)})
    yield "a name of a megabyte", "data", model(**{"w" * MEBI: tensor()})
    yield "a row that is a list", "data", model(w=[])
    yield "a row without a type", "data", model(w={"shape": [1], "data_offsets": [0, 4]})
    yield "data behind the last", "data", model(None, PIXELS + b"rubbish")
    yield "data missing", "data", model(None, PIXELS[:-1])


def _heads() -> Found:
    yield "no metadata", "data", safetensors({"w": tensor()}, PIXELS)
    for text in ("{", "[]", "null", "1", '{"model": []}', '{"model": {}}', "[" * 30_000):
        yield f"metadata {text[:20]}", "data", safetensors({"__metadata__": {"genart": text}, "w": tensor()}, PIXELS)
    yield "metadata of another program", "data", safetensors({"__metadata__": {"format": "pt"}, "w": tensor()}, PIXELS)
    for family in (["toy"], {}, 1, "", "os:system", "../../toy", "__import__('os')", "\x1b[2J"):
        yield f"the family {family!r}", "data", changed(family=family)
    for shape in ([-1], [3, 10**6, 10**6], "eval", [3.5], [], [2, 2], [10**30], [3, 30_000, 30_000]):
        yield f"the parameter {shape!r}", "data", changed(parameters={"shape": shape})
    yield "a parameter too many", "data", changed(parameters={"shape": [3, 4, 4], "evil": 1})
    yield "a parameter too few", "data", changed(parameters={})
    for z_dim in (0, -1, 10**12, "1", True):
        yield f"z_dim {z_dim!r}", "data", changed(z_dim=z_dim)
    for resolution in (0, 10**9, "4"):
        yield f"resolution {resolution!r}", "data", changed(resolution=resolution)


def _weights() -> Found:
    yield "another shape", "data", model(w=tensor(shape=[48]))
    yield "another name", "data", model(v=tensor())
    yield "one too many", "data", model(None, PIXELS * 2, w=tensor(), v=tensor(192, 384))
    yield "NaN", "data", model(None, struct.pack("<48f", *([float("nan")] * 48)))
    yield "infinity", "data", model(None, struct.pack("<48f", *([float("inf")] * 48)))


def _cuts() -> Found:
    whole = model()
    for at in [0, 4, 8, 9, 40, 120, len(whole) - 192, len(whole) - 1]:
        yield f"cut at {at}", "data", whole[:at]


def _flips() -> Found:
    """Bytes changed by chance in the header, so that it is no JSON or no table any more: its brackets and colons."""
    chance, whole = random.Random(6), model()
    end = len(whole) - len(PIXELS)
    marks = [at for at in range(8, end) if whole[at] in b'{}[]:"']
    for at in chance.sample(marks, 10):
        yield f"a bracket changed at {at}", "data", whole[:at] + b"\xff" + whole[at + 1 :]


def pickled(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a function with a text."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


def _pickles() -> Iterator[tuple[str, bytes, str]]:
    calls = [
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("subprocess", "Popen"),
        ("runpy", "run_path"),
        ("os", "popen"),
    ]
    for module, name in [*calls, ("logging", "FileHandler"), ("_pyrepl.pager", "pipe_pager")]:
        for suffix in ("safetensors", "pt"):
            yield f"a pickle of {module}.{name}", pickled(module, name, "touch pwned"), suffix
    for name, content in _containers():
        yield name, content, "safetensors"


def _containers() -> Iterator[tuple[str, bytes]]:
    call = pickled("posix", "system", "touch pwned")
    yield "torch's ZIP", zipped({"archive/data.pkl": call, "archive/version": b"3"})
    yield (
        "an array of objects",
        b"\x93NUMPY\1\0\x46\0" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n" + call,
    )
    yield "arrays in a ZIP", zipped({"w.npy": b"\x93NUMPY\1\0\x02\0{}" + call})
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200)
    yield "ONNX with weights elsewhere", b"\x08\x07:\x20\n\x1e*\x1cr\x1a\n\x08location\x12\x0e../../etc/passwd"
    yield "a bomb of zlib", zeros(64 * MEBI)
    yield "a pickle behind a header's length", struct.pack("<Q", len(call)) + call
    yield "the old format of torch", b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3." + call


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP of these files, nothing compressed, of no date."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return data.getvalue()
