"""`genart convert`: the one way in for weights that come as a pickle (.pt, .pth, .ckpt, .bin), into safetensors.

A pickle is a program, and opening one may run it; nothing else in genart ever does. It is opened in a process of its own, walled off as
`genart.nn.quarantine` says, and only tensors come out of there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .artifacts import parse_safetensors_header
from .errors import RefusedError, UsageError, printable
from .folders import Folder
from .provenance import sweep
from .store import Store

#: Largest file that is opened.
MAX_BYTES = 8 << 30
#: What of the environment the process gets: what Windows needs to start one.
KEPT = ("SYSTEMROOT",)


@dataclass(frozen=True)
class Converted:
    """What came of a conversion.

    Attributes:
        path: the file that was written.
        tensors: how many are in it.
        left_out: values of the pickle that are no tensors.
        bytes: size of the file.
        sha256: of the pickle.
    """

    path: Path
    tensors: int
    left_out: int
    bytes: int
    sha256: str


def convert(source: Path, target: Path, store: Store, sha256: str | None = None) -> Converted:
    """Take the tensors out of a pickle of torch's.

    Args:
        source: the pickle.
        target: where the safetensors go; an older file there stays until the new one is whole.
        store: has a place for an empty folder.
        sha256: the pickle's hash, or at least its first 8 digits, if it is known.

    Raises:
        UsageError: if there is no such file, or the target has another suffix.
        RefusedError: if the file has another hash, or holds anything but tensors by name.
    """
    if target.suffix.lower() != ".safetensors":
        raise UsageError(f"-o {target}: what is converted is saved as safetensors", "-o NAME.safetensors")
    if not source.is_file():
        raise UsageError(f"{source}: no such file", "genart convert FILE -o NAME.safetensors")
    with open(source, "rb") as file, Folder.open(target.parent, make=True) as folder:
        _check_size(source, file)
        found = _check_hash(source, file, sha256)
        if folder.kind(target.name) == "folder":
            raise RefusedError(f"-o {target}: a folder of this name exists", "choose another name")
        sweep(folder, target.name)
        temporary = f".{target.name}.{os.getpid()}.tmp.safetensors"
        try:
            with folder.create(temporary) as out:
                left_out = _quarantined(source, file, out, store, found)
                tensors, size = _about(out)
                os.fsync(out.fileno())
            folder.rename(temporary, target.name)
            folder.sync()
        except BaseException:
            folder.remove(temporary)
            raise
    return Converted(target, tensors, left_out, size, found)


def _check_size(source: Path, file: BinaryIO) -> None:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise RefusedError(f"{source}: {size >> 30} GiB, above the limit of {MAX_BYTES >> 30}", "no weights that genart uses are so large")


def _check_hash(source: Path, file: BinaryIO, wanted: str | None) -> str:
    """The hash of a file, which is left at its beginning.

    Raises:
        RefusedError: if it is not the wanted one.
    """
    if wanted is not None and not re.fullmatch(r"[0-9a-f]{8,64}", wanted.lower()):
        raise UsageError(f"--sha256 {wanted}: expected 64 hexadecimal digits, or the first 8 or more of them")
    found = hashlib.sha256()
    while piece := file.read(1 << 20):
        found.update(piece)
    file.seek(0)
    if wanted is not None and not found.hexdigest().startswith(wanted.lower()):
        raise RefusedError(
            f"{source}: its SHA-256 is {found.hexdigest()}, not {wanted.lower()}", "it is another file, or damaged: get it again"
        )
    return found.hexdigest()


def _quarantined(source: Path, file: BinaryIO, out: BinaryIO, store: Store, sha256: str) -> int:
    """Let the other process convert, and return how many values it left out."""
    # the modules that this process found, and nothing of its environment
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    environment |= {name: os.environ[name] for name in KEPT if name in os.environ}
    command = [sys.executable, "-P", "-s", "-B", "-W", "ignore", "-m", "genart.nn.quarantine", sha256]
    with store.scratch() as empty:
        done = subprocess.run(command, stdin=file, stdout=out, stderr=subprocess.PIPE, cwd=empty, env=environment, check=False)  # noqa: S603  (a list of our own words, no shell)
    told = _last_line(done.stderr)
    if done.returncode != 0 or "left_out" not in told:
        why = told.get("refused") or ("it takes more time or room than it may" if done.returncode < 0 else "it cannot be read as weights")
        hint = "a file of weights holds tensors by name (a state dict); nothing of this one was run"
        raise RefusedError(f"{source}: {printable(str(why))[:300]}", hint)
    return int(told["left_out"])


def _last_line(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _about(out: BinaryIO) -> tuple[int, int]:
    """Number of tensors in what was written, and its size in bytes."""
    out.seek(0)
    header = parse_safetensors_header(out)
    return len([name for name in header if name != "__metadata__"]), os.fstat(out.fileno()).st_size
