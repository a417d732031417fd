"""Folders, archives and data sets of strangers: read, moved within what was named, and nothing else."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import CANARY, recipe

#: One red pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class Stranger:
    """A pickle that would write a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("../outside/made",))


def folder_of_traps(inside: Path, outside: Path) -> Path:
    folder = inside / "in"
    (folder / "a\x1b]0;x\x07").mkdir(parents=True)
    for name in ("good.png", "a\x1b]0;x\x07/\u202egnp.png", "-rf.png", "$(id).png", "~.png"):
        (folder / name).write_bytes(PNG)
    os.mkfifo(folder / "pipe.png")
    os.symlink(outside, folder / "linked")
    os.symlink(outside / "secret.txt", folder / "secret.png")
    os.symlink("/dev/zero", folder / "zero.png")
    os.symlink("loop.png", folder / "loop.png")
    return folder


def test_a_folder_of_traps(watched: Callable) -> None:
    folder_of_traps(watched.inside, watched.outside)
    outcome = watched("data", "check", "in", "--quarantine", "aside", "--sheet", "odd.png", "--json", codes=(3,))
    kinds = {one["file"]: one["kind"] for one in json.loads(outcome.out)["odd"]}
    assert {kinds[name] for name in ("pipe.png", "secret.png", "zero.png", "loop.png")} == {"corrupt"}
    assert os.readlink(watched.inside / "aside/pictures/secret.png") == str(watched.outside / "secret.txt")
    watched("data", "restore", "aside", "in")
    assert os.readlink(watched.inside / "in/secret.png") == str(watched.outside / "secret.txt")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_traps(watched: Callable, kind: str) -> None:
    names = ["good.png", "../../outside/up.png", f"{watched.outside}/abs.png", "a/../../../outside/x.png", "\x1b[2J.png"]
    path = watched.inside / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, PNG)
    else:
        with tarfile.open(path, "w") as file:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(PNG)
                file.addfile(info, io.BytesIO(PNG))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "../outside/secret.txt"
            file.addfile(link)
    recipe(watched.inside, f'[[stage]]\nuses = "images.archive"\npath = "a.{kind}"\nsave = "p"\n')
    watched("run", "r.toml", "--device", "cpu", "--out", "out")
    saved = list((watched.inside / "out" / "p").glob("*.png"))
    assert len(saved) == len(names)
    assert not [path for path in saved if CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("MNIST", ["MNIST/processed/training.pt", "MNIST/processed/test.pt"]),
        ("CIFAR10", ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"]),
        ("CIFAR100", ["cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"]),
    ],
)
def test_a_data_set_that_is_a_pickle(watched: Callable, name: str, files: list[str]) -> None:
    for file in files:
        path = watched.inside / "sets" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Stranger()))
    recipe(watched.inside, f'[[stage]]\nuses = "images.torchvision"\nname = "{name}"\npath = "sets"\nsave = "p"\n')
    outcome = watched("run", "r.toml", "--device", "cpu", "--out", "out", codes=(3,))
    assert "a pickle" in outcome.err
