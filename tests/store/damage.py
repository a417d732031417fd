"""Ways in which a file or folder of the store can be damaged, and what has to hold after the next command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genart.artifacts import SEAL, sha256_of_json
from genart.store import Store
from tests.conftest import tree
from tests.faults.forge import Forge, Outcome
from tests.faults.scenarios import NOISE, run_words, write_recipe

#: Every result is saved, so that each is read by a run whose output folder has gone.
RECIPE = (
    NOISE.rstrip()
    + """
save = "noise"

[[stage]]
uses = "toy.train"
id = "train"
steps = 2
save = "model.safetensors"

[[stage]]
uses = "toy.film"
from = "train.progress"
save = "film.gif"
"""
)
DEEP = 100_000


@dataclass(frozen=True)
class Place:
    """A file, or folder, that is to be damaged.

    Attributes:
        path: of it.
        other: another one of its kind.
        outside: a folder that belongs to nobody.
    """

    path: Path
    other: Path
    outside: Path


Harm = Callable[[Place], None]


def put(path: Path, data: bytes) -> None:
    """Give a file another content; as a new file, because its old one may be that of others too."""
    path.unlink()
    path.write_bytes(data)


def flipped(data: bytes, bit: int) -> bytes:
    """The data with one bit turned."""
    at, mask = bit // 8, 1 << bit % 8
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def cut(share: float, less: int = 0) -> Harm:
    """Keep the beginning."""

    def harm(place: Place) -> None:
        data = place.path.read_bytes()
        put(place.path, data[: max(0, int(len(data) * share) - less)])

    return harm


def flip(share: float) -> Harm:
    """Turn a bit at this share of the file."""

    def harm(place: Place) -> None:
        data = place.path.read_bytes()
        put(place.path, flipped(data, min(len(data) * 8 - 1, int(len(data) * 8 * share))))

    return harm


def instead(make: Harm) -> Harm:
    """Remove what is there, and put something else."""

    def harm(place: Place) -> None:
        if place.path.is_dir():
            shutil.rmtree(place.path)
        else:
            place.path.unlink()
        make(place)

    return harm


def link_to_a_copy(place: Place) -> None:
    """The content is right, but it lies outside, where anybody may change it."""
    copy = place.outside / "copy"
    if place.path.is_dir():
        shutil.copytree(place.path, copy)
        shutil.rmtree(place.path)
    else:
        copy.write_bytes(place.path.read_bytes())
        place.path.unlink()
    place.path.symlink_to(copy)


#: What may become of a file, by name.
OF_FILES: dict[str, Harm] = {
    "empty": cut(0),
    "half": cut(0.5),
    "one byte short": cut(1, 1),
    "one byte more": lambda place: put(place.path, place.path.read_bytes() + b"\n!"),
    "flipped at its head": flip(0),
    "flipped in its middle": flip(0.5),
    "flipped at its end": flip(1),
    "zeros": lambda place: put(place.path, bytes(place.path.stat().st_size)),
    "gone": instead(lambda place: None),
    "folder": instead(lambda place: place.path.mkdir()),
    "full folder": instead(lambda place: (place.path / "x").mkdir(parents=True)),
    "pipe": instead(lambda place: os.mkfifo(place.path)),
    "link to nothing": instead(lambda place: place.path.symlink_to(place.outside / "nothing")),
    "link to itself": instead(lambda place: place.path.symlink_to(place.path)),
    "link to a copy outside": link_to_a_copy,
    "link to a folder outside": instead(lambda place: place.path.symlink_to(place.outside)),
    "link to endless zeros": instead(lambda place: place.path.symlink_to("/dev/zero")),
    "another's": lambda place: put(place.path, place.other.read_bytes()),
    "deep": lambda place: put(place.path, b"[" * DEEP),
    "a long number": lambda place: put(place.path, b'{"sha256": ' + b"9" * DEEP + b"}"),
    "a list": lambda place: put(place.path, b"[1, 2]"),
    "nothing": lambda place: put(place.path, b"null"),
    "a sparse terabyte": lambda place: os.truncate(place.path, 1 << 40),
}
#: What may become of an entry's folder, or of that of an output in it.
OF_FOLDERS: dict[str, Harm] = {
    "gone": instead(lambda place: None),
    "empty": instead(lambda place: place.path.mkdir()),
    "file": instead(lambda place: place.path.write_bytes(b"x")),
    "pipe": instead(lambda place: os.mkfifo(place.path)),
    "link to nothing": instead(lambda place: place.path.symlink_to(place.outside / "nothing")),
    "link to a copy outside": link_to_a_copy,
    "another's": instead(lambda place: shutil.copytree(place.other, place.path)),
}


def forged(change: Callable[[dict[str, Any]], Any]) -> Harm:
    """Change a manifest and seal it again: only what it says can give it away."""

    def harm(place: Place) -> None:
        manifest = json.loads(place.path.read_bytes())
        del manifest[SEAL]
        change(manifest)
        put(place.path, json.dumps({**manifest, SEAL: sha256_of_json(manifest)}).encode())

    return harm


def first_output(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of its output."""
    return dict.__getitem__(manifest["outputs"], "output")


def rename_file(name: str) -> Callable[[dict[str, Any]], None]:
    """A file of the output has another name."""

    def change(manifest: dict[str, Any]) -> None:
        about = first_output(manifest)
        old = sorted(about["files"])[0]
        about["files"][name], about["sizes"][name] = about["files"].pop(old), about["sizes"].pop(old)

    return change


#: Manifests that are sealed and wrong.
OF_MANIFESTS: dict[str, Harm] = {
    "of a later version": forged(lambda manifest: manifest.update(format=2)),
    "of no version at all": forged(lambda manifest: manifest.update(format=None)),
    "without outputs": forged(lambda manifest: manifest.pop("outputs")),
    "with no output": forged(lambda manifest: manifest["outputs"].clear()),
    "outputs are a list": forged(lambda manifest: manifest.update(outputs=[])),
    "output is a number": forged(lambda manifest: manifest["outputs"].update(output=1)),
    "an output that leads out": forged(lambda manifest: manifest["outputs"].update({"../..": first_output(manifest)})),
    "a file that leads out": forged(rename_file("../../../x")),
    "an absolute file": forged(rename_file("/etc/passwd")),
    "a file of no name": forged(rename_file("")),
    "a hidden file": forged(rename_file("..")),
    "a file with a zero": forged(rename_file("a\0b")),
    "no files": forged(lambda manifest: first_output(manifest).update(files={}, sizes={})),
    "hash is a number": forged(lambda manifest: first_output(manifest)["files"].update({"x": 1})),
    "size is infinite": forged(lambda manifest: first_output(manifest)["sizes"].update({"x": float("inf")})),
    "size is huge": forged(lambda manifest: first_output(manifest).update(sizes=dict.fromkeys(first_output(manifest)["sizes"], -1))),
    "digest of something else": forged(lambda manifest: first_output(manifest).update(digest="0" * 64)),
    "another key": forged(lambda manifest: manifest.update(key="0" * 64)),
    "without a stage": forged(lambda manifest: manifest.pop("stage")),
    "seconds are words": forged(lambda manifest: manifest.update(seconds="long")),
    "parts are a list": forged(lambda manifest: manifest.update(parts=[])),
    "parameters are a list": forged(lambda manifest: manifest["parts"].update(params=[])),
    "of no kind": forged(lambda manifest: first_output(manifest).update(kind="poem")),
}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies outside, with its times, so that every touch is seen."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    } | {".": (b"", folder.lstat().st_mtime_ns)}


class Bench:
    """A store with three results, that is copied, damaged and used, again and again.

    Args:
        forge: runs commands.
        work: a folder for everything.
    """

    def __init__(self, forge: Forge, work: Path) -> None:
        self.forge, self.work = forge, work
        self.whole = work / "whole"
        self.whole.mkdir()
        write_recipe(self.whole, RECIPE)
        done = forge.run(self.whole, *run_words())
        assert done.code == 0, done.err
        self.wanted = tree(self.whole / "out")
        shutil.rmtree(self.whole / "out")
        self.outside = work / "outside"

    def fresh(self) -> Path:
        """A copy of it all, in which everything will be read."""
        folder = self.work / "case"
        for old in (folder, self.outside):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self.whole, folder, symlinks=True)
        self.outside.mkdir()
        (self.outside / "precious").write_bytes(b"of somebody else")
        return folder

    def entries(self, folder: Path) -> list[Path]:
        """Folders of the entries, in an order that every copy has."""
        return sorted((folder / "store" / "genart" / "entries").glob("??/*"))

    def places(self) -> Iterator[tuple[str, str, Harm]]:
        """Every way to damage an entry: (path from the store on, name of the harm, harm)."""
        for entry in self.entries(self.whole):
            inside = entry.relative_to(self.whole).as_posix()
            yield from ((inside, name, harm) for name, harm in OF_FOLDERS.items())
            yield from ((f"{inside}/manifest.json", name, harm) for name, harm in OF_MANIFESTS.items())
            for path in sorted(entry.rglob("*")):
                table = OF_FOLDERS if path.is_dir() else OF_FILES
                yield from ((path.relative_to(self.whole).as_posix(), name, harm) for name, harm in table.items())

    def other_of(self, folder: Path, inside: str) -> Path:
        """The counterpart in another entry; if that has none, its manifest."""
        path = folder / inside
        entries = self.entries(folder)
        here = next(i for i, entry in enumerate(entries) if entry == path or entry in path.parents)
        other = entries[(here + 1) % len(entries)] / path.relative_to(entries[here])
        if path.is_dir():
            return other if other.is_dir() else entries[(here + 1) % len(entries)]
        return other if other.is_file() else entries[(here + 1) % len(entries)] / "manifest.json"

    def wrong_after(self, inside: str, harm: Harm) -> list[str]:
        """Damage one place of a copy, run the recipe, and return what does not hold."""
        folder = self.fresh()
        harm(Place(folder / inside, self.other_of(folder, inside), self.outside))
        before = snapshot(self.outside)
        done = self.forge.run(folder, *run_words())
        wrong = wrong_with(done, folder, self.wanted)
        told = done.err.count("was damaged and is made again")
        if told != 1 and not is_lost(inside, harm):
            wrong.append(f"told {told} times: {done.err}")
        if snapshot(self.outside) != before:
            wrong.append("it touched what lies outside")
        return wrong


def is_lost(inside: str, harm: Harm) -> bool:
    """True for an entry that is gone as a whole, of which there is nothing to tell."""
    return harm is OF_FOLDERS["gone"] and len(Path(inside).parent.name) == 2


def wrong_with(done: Outcome, folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """What does not hold after a command that has met damage."""
    if done.code or "Traceback" in done.err:
        return [f"it ended with {done.code}: {done.err[-1500:]}"]
    wrong = [] if tree(folder / "out") == wanted else ["other outputs"]
    return wrong + wrong_in(folder / "store" / "genart")


def wrong_in(root: Path) -> list[str]:
    """What is wrong in a store at rest: damaged entries, wrecks, temporary files."""
    store = Store(root)
    wrong = [f"damaged: {entry.key} {entry.damaged()}" for entry in store.entries() if entry.damaged()]
    wrong += [f"a wreck: {path.name}" for path in root.glob("entries/??/*") if store.find(path.name) is None]
    left = [path for path in root.rglob("*") if path.name.endswith(".tmp") or path.parent.name in ("tmp", "scratch", "work")]
    return wrong + [f"left: {path.relative_to(root)}" for path in left]
