"""Hostile pickles, written opcode by opcode, so that none of what they call is needed, or imported, to make them."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

TOUCH = "touch pwned"
#: What pickles call, as (module, name, arguments): each would run, write, remove, fetch or load something.
CALLS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("os", "system", (TOUCH,)),
    ("posix", "system", (TOUCH,)),
    ("nt", "system", (TOUCH,)),
    ("os", "popen", (TOUCH,)),
    ("os", "execv", ("/bin/sh", ["sh", "-c", TOUCH])),
    ("os", "remove", ("canary",)),
    ("builtins", "eval", ("open('pwned', 'w')",)),
    ("builtins", "exec", ("open('pwned', 'w')",)),
    ("builtins", "compile", ("1", "x", "eval")),
    ("builtins", "__import__", ("antigravity",)),
    ("builtins", "open", ("pwned", "w")),
    ("builtins", "getattr", ("x", "join")),
    ("__builtin__", "eval", ("1",)),
    ("subprocess", "Popen", (["touch", "pwned"],)),
    ("subprocess", "check_output", (["touch", "pwned"],)),
    ("runpy", "run_path", ("canary",)),
    ("runpy", "_run_code", ("open('pwned', 'w')", {})),
    ("importlib", "import_module", ("antigravity",)),
    ("logging", "FileHandler", ("pwned",)),
    ("uuid", "_get_command_stdout", ("touch", "pwned")),
    ("imaplib", "IMAP4_stream", (TOUCH,)),
    ("pydoc", "pipepager", ("x", TOUCH)),
    ("timeit", "timeit", ("open('pwned', 'w')",)),
    ("cProfile", "run", ("open('pwned', 'w')",)),
    ("bdb", "Bdb", ()),
    ("code", "interact", ()),
    ("pty", "spawn", (["touch", "pwned"],)),
    ("ctypes", "CDLL", ("libc.so.6",)),
    ("socket", "create_connection", (("127.0.0.1", 9),)),
    ("urllib.request", "urlopen", ("http://127.0.0.1:9/",)),
    ("webbrowser", "open", ("http://127.0.0.1:9/",)),
    ("shutil", "rmtree", (".",)),
    ("marshal", "loads", (b"",)),
    ("pickle", "loads", (b"cos\nsystem\n(S'touch pwned'\ntR.",)),
    ("_pickle", "loads", (b"cos\nsystem\n(S'touch pwned'\ntR.",)),
    ("operator", "attrgetter", ("system",)),
    ("functools", "partial", (1,)),
    ("types", "FunctionType", ()),
    ("torch", "load", ("canary",)),
    ("torch.hub", "load", ("a/b", "c")),
    ("torch.jit", "load", ("canary",)),
    ("torch.utils.cpp_extension", "load_inline", ("a", "b")),
    ("torch.serialization", "add_safe_globals", ([],)),
    ("numpy", "load", ("canary",)),
    ("genart.cli", "main", (["run", "r.toml"],)),
]


def calling(module: str, name: str, arguments: tuple[Any, ...]) -> bytes:
    """A pickle of {"w": module.name(*arguments)}."""
    given = pickle.dumps(arguments, 2)[2:-1]
    return b"\x80\x02}X\x01\x00\x00\x00wc" + f"{module}\n{name}\n".encode() + given + b"Rs."


def zipped(data: bytes, more: dict[str, bytes] | None = None, *, compress: int = zipfile.ZIP_STORED) -> bytes:
    """A file of torch's newer kind around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, content in {"data.pkl": data, "byteorder": b"little", "version": b"3\n", **(more or {})}.items():
            archive.writestr(name if name.startswith(("/", "..")) else f"archive/{name}", content)
    return file.getvalue()


def legacy(data: bytes) -> bytes:
    """A file of torch's older kind around a pickle."""
    head = [
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
    ]
    return b"".join(pickle.dumps(part, 2) for part in head) + data + pickle.dumps([], 2)


def tarred(data: bytes) -> bytes:
    """A file of torch's oldest kind."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def saved(value: Any, *, zipped: bool = True) -> bytes:
    """What torch makes of a value."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def changed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """Bytes with something done to them."""
    array = bytearray(data)
    change(array)
    return bytes(array)


def twice(data: bytes, other: bytes) -> bytes:
    """A zip with two files of one name: readers differ in which they take."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (data, other):
            archive.writestr("archive/data.pkl", content)
    return file.getvalue()


def rebuilt(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, numel: int = 4) -> bytes:
    """A zip whose one tensor has this shape over four numbers."""
    at = pickle.dumps
    head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
    place = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + at(numel, 2)[2:-1] + b"tQ"
    rest = at(offset, 2)[2:-1] + at(size, 2)[2:-1] + at(stride, 2)[2:-1] + b"\x89ccollections\nOrderedDict\n)RtRs."
    return zipped(head + place + rest, {"data/0": bytes(16)})


def nested(depth: int) -> Any:
    """Dicts within dicts."""
    value: Any = torch.zeros(1)
    for _ in range(depth):
        value = {"a": value}
    return value


def wide(levels: int) -> Any:
    """Few dicts that stand for very many."""
    value: Any = {"a": 1}
    for _ in range(levels):
        value = dict.fromkeys(map(str, range(10)), value)
    return {"t": torch.zeros(1), "v": value}


def object_array() -> bytes:
    """An array of numpy's whose items are pickled."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


@cache
def hostile() -> dict[str, bytes]:
    """Files by what is wrong with them."""
    evil, good = calling(*CALLS[0]), saved({"a": torch.arange(4.0)})
    files = {f"{module}.{name}": calling(module, name, arguments) for module, name, arguments in CALLS}
    files |= {f"zip: {module}.{name}": zipped(calling(module, name, arguments)) for module, name, arguments in CALLS[::4]}
    files |= {f"older: {module}.{name}": legacy(calling(module, name, arguments)) for module, name, arguments in CALLS[::5]}
    files |= {f"protocol {protocol}": pickle.dumps({"w": Runs()}, protocol) for protocol in range(6)}
    files |= _containers(evil, good) | _lengths() | _values()
    return files


class Runs:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> Any:
        import os

        return os.system, (TOUCH,)


def _containers(evil: bytes, good: bytes) -> dict[str, bytes]:
    return {
        "a program (TorchScript)": zipped(evil, {"constants.pkl": evil, "code/__torch__.py": b"import os"}),
        "a tar": tarred(evil),
        "an object array": object_array(),
        "an HDF5 head": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "a web page": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "nothing": b"",
        "one byte": b"\x80",
        "a zip without a pickle": zipped(b"", {"x": b""})[:-3],
        "a zip with two pickles": twice(good, evil),
        "a zip with a wrong checksum": changed(zipped(evil), lambda data: data.__setitem__(14, data[14] ^ 1)),
        "a zip that says it is encrypted": changed(zipped(evil), lambda data: data.__setitem__(6, data[6] | 1)),
        "a zip that is compressed": zipped(evil, compress=zipfile.ZIP_DEFLATED),
        "a zip with names outside": zipped(evil, {"/etc/x": b"x", "../x": b"x"}),
        "a zip with another name within": changed(zipped(evil), lambda data: data.__setitem__(slice(30, 38), b"ARCHIVE/")),
        "weights and a pickle behind them": saved({"a": torch.arange(4.0)}, zipped=False)[:-40] + evil,
        "weights cut in the middle": good[: len(good) // 2],
        "an XML that nests": b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>",
    }


def _lengths() -> dict[str, bytes]:
    return {
        "bytes longer than all memory": b"\x80\x04\x8e" + struct.pack("<Q", 226 << 30) + b"x.",
        "a text longer than all memory": b"\x80\x04\x8d" + struct.pack("<Q", 226 << 30) + b"x.",
        "a number longer than all memory": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "a frame longer than all memory": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
        "a place in the memo beyond all": b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",
        "a storage longer than all memory": rebuilt((4,), (1,), numel=226 << 28),
        "a shape larger than all memory": rebuilt((2**31, 2**31), (2**31, 1)),
        "a shape of one number again and again": rebuilt((10**6, 10**6), (0, 0)),
        "a shape below nothing": rebuilt((-4,), (1,)),
        "a place before the beginning": rebuilt((4,), (1,), offset=-(2**40)),
        "a place after the end": rebuilt((4,), (1,), offset=2**40),
        "lists that nest": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "an item set where no dict is": b"\x80\x02]X\x01\x00\x00\x00aK\x01s.",
        "items taken from an empty stack": b"\x80\x02tR.",
    }


def _values() -> dict[str, bytes]:
    number = torch.zeros(1)
    itself: dict[str, Any] = {"t": number}
    itself["a"] = itself
    return {
        "a list": saved([number]),
        "a number": saved(1),
        "a text": saved("x"),
        "a tensor alone": saved(number),
        "no tensor": saved({"a": 1}),
        "tensors in a list alone": saved({"a": [number]}),
        "a whole network": saved(torch.nn.ReLU()),
        "a name that is empty": saved({"": number}),
        "a name that a terminal obeys": saved({"\x1b[2J": number}),
        "a name that turns the direction": saved({"\u202ea": number}),
        "a name too long": saved({"a" * 300: number}),
        "a name that is a tuple": saved({(1, 2): number}),
        "the name of the header": saved({"__metadata__": number}),
        "two of one name": saved({"a": {"b": number}, "a.b": number}),
        "a dict within itself": saved(itself),
        "dicts that nest": saved(nested(20)),
        "few dicts that stand for many": saved(wide(8)),
        "too many tensors": saved({str(i): number for i in range(10_001)}, zipped=False),
        "complex numbers": saved({"a": torch.zeros(2, dtype=torch.complex64)}),
        "a sparse tensor": saved({"a": torch.eye(3).to_sparse()}),
        "a tensor without numbers": saved({"a": torch.zeros(2, device="meta")}),
    }
