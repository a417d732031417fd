"""What genart writes for itself, damaged: 70 changes to the store and to the output folder of a finished run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .case import Case, Expected, Use

GROUP = "store, run.json"
#: The smallest entry's; entries of the other stages begin with other stages' names in theirs.
MANIFEST, RUN = "store/genart/entries/*/*/manifest.json", "out/run.json"
DEEP = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
Change = Callable[[Path], None]


def cases() -> Iterator[Case]:
    """All of them."""
    for number in range(40):
        yield Case(GROUP, f"a manifest cut at {number}/40", MANIFEST, "healed", _cut(number / 40), "run")
    for name, change in [*_manifests(), *_beside()]:
        yield Case(GROUP, name, MANIFEST, "healed", change, "run")
    for name, change in _working():
        yield Case(GROUP, name, MANIFEST, "healed", change, "run")
    for name, change, use, expected in _runs():
        yield Case(GROUP, name, RUN, expected, change, use)


def holding(data: bytes) -> Change:
    """The file holds this instead."""

    def change(path: Path) -> None:
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return change


def _cut(share: float) -> Change:
    def change(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return change


def told(**values: Any) -> Change:
    """The manifest says something else, under a sum that is right."""

    def change(path: Path) -> None:
        manifest = json.loads(path.read_bytes())
        del manifest["sha256"]
        manifest |= values
        manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps(manifest))

    return change


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _hollow(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def _manifests() -> Iterator[tuple[str, Change]]:
    outside = {"kind": "images", "digest": "0" * 64, "files": {"../../../../../../r.toml": "0" * 64}, "sizes": {}}
    yield "a manifest that nests", holding(DEEP)
    yield "a manifest that is a list", holding(b"[]")
    yield "a manifest with a key twice", holding(b'{"key": 1, "key": 2, "sha256": ""}')
    yield "a manifest of another key", told(key="0" * 64)
    yield "a manifest that names files elsewhere", told(outputs={"output": outside})
    yield "a manifest of no outputs", told(outputs={})
    yield "a manifest of outputs that are a list", told(outputs=[1])
    yield "a manifest that is a pipe", _pipe
    yield "a manifest that is a folder", _folder
    yield "a manifest that is a link", _link
    yield "a manifest of a terabyte", _hollow


def store_of(manifest: Path) -> Path:
    """The store that a manifest lies in."""
    return manifest.parents[3]


def _beside() -> Iterator[tuple[str, Change]]:
    """Chains, notes and hashes, which only make a run faster."""

    def every(folder: str, change: Change) -> Change:
        def all_(path: Path) -> None:
            for file in store_of(path).glob(f"{folder}/**/*"):
                if file.is_file():
                    change(file)

        return all_

    yield "chains that lead out of the store", every("ancestry", holding(b"../../../../r.toml"))
    yield "chains of rubbish", every("ancestry", holding(b"\xff\xfe"))
    yield "notes that nest", every("notes", holding(DEEP))
    yield "histories that nest", every("history", holding(DEEP))
    yield "a machine that nests", lambda path: holding(DEEP)(store_of(path) / "device.json")


def _working() -> Iterator[tuple[str, Change]]:
    """What an unfinished stage keeps, for all stages, whose results are gone."""

    def unfinished(name: str, data: bytes) -> Change:
        def change(path: Path) -> None:
            store = store_of(path)
            for chain in store.glob("ancestry/*/*"):
                holding(data)(store / "work" / chain.name / name)
            shutil.rmtree(store / "entries")

        return change

    rubbish = hashlib.sha256(b"rubbish").digest() + b"rubbish"
    yield "choices of rubbish", unfinished("choices.json", b"rubbish")
    yield "choices that nest", unfinished("choices.json", DEEP)
    yield "choices that are a number", unfinished("choices.json", b"1")
    yield "a mark that nests", unfinished("outputs/output/sync.json", DEEP)
    yield "a mark that is a list", unfinished("outputs/output/sync.json", b"[]")
    yield "a mark beyond the files", unfinished("outputs/output/sync.json", b'{"runs": [[9, 8, 8, 3]], "count": 9, "ends": [99999, 99]}')
    yield "a checkpoint of rubbish", unfinished("checkpoints/checkpoint-00000000.safetensors", b"rubbish")
    yield "a checkpoint of rubbish with its sum", unfinished("checkpoints/checkpoint-00000000.safetensors", rubbish)


def _runs() -> Iterator[tuple[str, Change, Use, Expected]]:
    yield "run.json that nests", holding(DEEP), "run", "healed"
    yield "run.json whose outputs are numbers", holding(b'{"outputs": [1, 2]}'), "run", "healed"
    yield "a report of rubbish", holding(b"rubbish"), "report", "data"
    yield "a report that nests", holding(DEEP), "report", "data"
    yield "a report of nothing", holding(b"{}"), "report", "data"
    yield "a report of a file elsewhere", holding(b'{"recipe": "x", "outputs": [{"path": "../r.toml"}]}'), "report", "ok"
