"""What is fuzzed: each reader of what strangers give, as a function of bytes out of which nothing but a documented error may come."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic import ValidationError

from genart import provenance, recipe, report, show, streams, tags
from genart.artifacts import SEAL, ImagesWriter, Model, sealed, sha256_of_json
from genart.commands.cache import bytes_of
from genart.drafts import Draft
from genart.errors import GenartError, printable
from genart.events import Events
from genart.folders import Folder
from genart.nn import pictures
from genart.origin import recipe_of
from genart.params import canonical_json, parse_duration, plain_value, read_value
from genart.plan import content_hash, device_kind
from genart.plugins import Plugins
from genart.run import Run
from genart.stages import Stage
from genart.store import Store
from genart_images import archive
from genart_images.sets import read_set

from . import seeds

#: Seconds of the processor that one input may take.
LONGEST_SEC = 2.0
#: While fuzzing, larger pictures are refused: the limit itself has its own tests, and time is better spent on small ones.
PIXELS = 1 << 18
#: Exit codes that a file may end in: recipe, data, a broken plugin, resources, refused.
CODES = (2, 3, 4, 5, 7)
#: What a terminal would obey.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        run: gives it bytes; raises if it does what it must not.
        seeds: files to begin with, of our own making.
        share: of the time of a campaign.
        longest: bytes of an input.
        words: that inputs are likely to hold.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: float = 1.0
    longest: int = 2048
    words: tuple[bytes, ...] = ()


def attempt(target: Target, data: bytes) -> None:
    """Give bytes to a target.

    Raises:
        AssertionError: if it takes too long, or does what it must not.
    """
    began = time.process_time()
    with documented():
        target.run(data)
    took = time.process_time() - began
    assert took <= LONGEST_SEC, f"{took:.1f} s for {len(data)} bytes"


@contextlib.contextmanager
def documented() -> Iterator[None]:
    """Let pass what a file may cause: an error with a code and a message of its own."""
    try:
        yield
    except GenartError as error:
        if error.exit_code not in CODES or not error.message.strip():
            raise


@cache
def folder() -> Path:
    """A place in memory, with a file, a folder and a link that leads out."""
    place = Path(tempfile.mkdtemp(prefix="genart-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "inside" / "film").mkdir(parents=True)
    (place / "inside" / "a.png").write_bytes(seeds.pictures()[0])
    (place / "outside.png").write_bytes(b"")
    (place / "inside" / "out.png").symlink_to(place / "outside.png")
    return place


def written(data: bytes, name: str) -> Path:
    """A file of these bytes."""
    path = _place(name)
    path.write_bytes(data)
    return path


@cache
def _place(name: str) -> Path:
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@cache
def plugins() -> Plugins:
    """The bundled ones."""
    return Plugins()


# recipes


class Held(type(Path())):  # type: ignore[misc]
    """A recipe that lies in memory."""

    data = b""

    @property
    def parent(self) -> Path:
        """What its paths are relative to."""
        return folder() / "inside"

    def stat(self, **_: Any) -> os.stat_result:
        """Its size."""
        return os.stat_result((0o100644, 0, 0, 1, 0, 0, len(self.data), 0, 0, 0))

    def read_bytes(self) -> bytes:
        """Its text."""
        return self.data


def read_recipe(data: bytes) -> None:
    """A recipe is refused, or every stage of it can be given a key, comes after what it reads, and stays below the output folder."""
    path = Held("r.toml")
    path.data = data
    read = recipe.load(path, plugins())
    done: set[str] = set()
    for node in read.nodes:
        assert {source.node for source in node.sources} <= done, f"{node.id} comes before what it reads"
        assert node.id not in done
        done.add(node.id)
        assert node.save is None or stays_inside(node.save), node.save
        canonical_json({name: plain_value(getattr(node.params, name)) for name in type(node.params).model_fields})
    assert read == recipe.load(path, plugins())


def stays_inside(name: str) -> bool:
    """Whether a relative name leads below its folder, on any system: written without a look at how genart decides it."""
    if name[:1] in ("/", "\\", "") or ":" in name or CONTROL.search(name):
        return False
    depth = 0
    for part in re.split(r"[/\\]", name):
        plain = part.rstrip(" .") or part.strip()
        depth += -1 if part.strip() == ".." else 0 if plain in ("", ".") else 1
        if depth < 0:
            return False
    return depth > 0


@cache
def savers() -> tuple[Stage, ...]:
    """A stage of each kind of output."""
    return tuple(plugins().stage(name) for name in ("latent.grid", "video.assemble", "dcgan.train"))


def read_save(data: bytes) -> None:
    """Names that files give to files: none leaves its folder."""
    text = data.decode("utf-8", "replace")
    for stage in savers():
        with documented():
            clean = recipe._check_save("r.toml", Draft({"save": text}, 1, {}), stage, {}, plugins())
            assert clean is not None
            assert stays_inside(clean), clean
            assert os.path.normpath(f"/out/{clean}").startswith("/out/")
    with contextlib.suppress(ValidationError):
        told = provenance.FileTold(name=text, content="0" * 64)
        assert os.path.dirname(os.path.normpath(f"/out/{told.name}")) == "/out", told.name


def read_path(data: bytes) -> None:
    """Paths can be asked for whatever they are, and a page shows nothing outside of its folder."""
    text = data.decode("utf-8", "surrogateescape")
    inside = folder() / "inside"
    found = recipe.existing(inside, Path(text))
    assert found is None or (found.is_absolute() and found.exists())
    model = report._inside(inside.resolve(), text)
    assert model is None or f"{os.path.realpath(model)}/".startswith(f"{os.path.realpath(inside)}/"), model
    shown = report.Gallery(opened()).shown(report.OutputTold.model_construct(path=text, bytes=0))
    if shown.kind != "missing":
        assert os.path.realpath(inside / text).startswith(f"{os.path.realpath(inside)}/"), shown
        assert stays_inside(text), shown
        assert not (inside / text).is_symlink(), shown


@cache
def opened() -> Folder:
    """The folder of a page."""
    return Folder.open(folder() / "inside")


def read_words(data: bytes) -> None:
    """Words of a command line."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (recipe.Override.parse, recipe.seconds_of, bytes_of):
        with documented():
            read(text)
    with contextlib.suppress(ValueError):
        parse_duration(text)
    read_value(text, None)
    clean = printable(text)
    assert not CONTROL.search(clean)
    assert printable(clean) == clean
    assert len(clean) == len(text)


# pictures


def mended(data: bytes) -> bytes:
    """PNGs with checksums that fit, so that what is behind them is reached as well."""
    out = bytearray(data)
    at = data.find(tags.PNG_SIGNATURE)
    while at >= 0:
        at += len(tags.PNG_SIGNATURE)
        while at + 12 <= len(out):
            end = at + 8 + int.from_bytes(out[at : at + 4], "big")
            if end + 4 > len(out):
                break
            out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
            last, at = out[at + 4 : at + 8] == b"IEND", end + 4
            if last:
                break
        at = data.find(tags.PNG_SIGNATURE, at)
    return bytes(out)


WANTS = (
    pictures.Want(),
    pictures.Want(keep_alpha=True),
    pictures.Want((16, 16)),
    pictures.Want((16, 8), "letterbox", "#102030"),
    pictures.Want((7, 9), "stretch", keep_alpha=True),
    pictures.Want((5, 16), "letterbox", keep_alpha=True),
)


@contextlib.contextmanager
def small_pictures() -> Iterator[None]:
    """Meanwhile larger pictures are refused."""
    before, pictures.MAX_PIXELS = pictures.MAX_PIXELS, PIXELS
    try:
        yield
    finally:
        pictures.MAX_PIXELS = before


def read_picture(data: bytes) -> None:
    """A picture is unreadable, or what was wanted. The first byte chooses what is."""
    choice = data[0] if data else 0
    want = WANTS[choice % len(WANTS)]
    try:
        with small_pictures():
            array = pictures.decode_bytes(data[1:] if choice & 0x80 else mended(data[1:]), want)
    except pictures.Unreadable as error:
        if isinstance(error, pictures.Unread):  # the bytes are there: it is they that are wrong
            raise
        return
    assert array.dtype == "uint8"
    assert array.ndim == 3
    assert array.shape[2] == (4 if want.keep_alpha else 3)
    assert want.size is None or array.shape[:2] == want.size[::-1]


def read_stream(data: bytes) -> None:
    """What comes through a pipe: PNGs one after another, or Y4M."""
    choice = data[0] if data else 0
    raw = data[1:] if choice & 0x80 else mended(data[1:])
    with small_pictures():
        came = streams.read_pictures(streams.Bytes(io.BytesIO(raw).read), lambda message: None)
        assert came.count is None or 1 <= came.count <= streams.MAX_COUNT
        assert came.fps is None or 0 < came.fps <= streams.MAX_FPS
        for batch in came.batches:
            assert batch.array.dtype == "uint8"
            assert len(batch.meta) == len(batch) == 1
            json.dumps(batch.meta, allow_nan=False)


# many pictures in one file


def retarred(data: bytes) -> bytes:
    """A tar whose heads have sums that fit, so that what they say is read."""
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


def read_many(data: bytes) -> None:
    """An archive, or a file of a data set: its pictures are given, or skipped and named, or all of it is refused.

    The first byte says which it is, and whether the sums of a tar are mended.
    """
    choice, rest = data[0] if data else 0, data[1:]
    which = (choice & 0x7F) % 4
    run = Run(stage_id="s", seed=1, device="cpu", work=folder() / "work", events=Events())
    with small_pictures(), mock.patch.multiple(archive, FREE_BYTES=1 << 24, MAX_PICTURE_BYTES=1 << 20):
        if which == 0:
            path = written(rest if choice & 0x80 else retarred(rest), "many.archive")
            given = archive.read_archives(run, [path], pictures.Want())
        else:
            given = read_set(run, seeds.SET_FILES[which][0], laid_out(which, rest), "test", pictures.Want())
        for batch in given:
            assert batch.array.dtype == "uint8"
            assert len(batch.meta) == len(batch) >= 1
            assert not any(sign in meta.get("source", "") for meta in batch.meta for sign in "/\\")
            json.dumps(batch.meta, allow_nan=False)
    assert all(one["file"] and one["reason"] for one in run.skipped)


def laid_out(which: int, data: bytes) -> Path:
    """A folder of data sets with a few pictures, in one file of which are these bytes."""
    for name, content in {**seeds.set_files(), seeds.SET_FILES[which][1]: data}.items():
        written(content, f"sets/{name}")
    return folder() / "sets"


# what files say of themselves


def read_tags(data: bytes) -> None:
    """The text in a file is found or not, in bounds, or the file is damaged."""
    choice = data[0] if data else 0
    try:
        found = tags.scan(io.BytesIO(data[1:] if choice & 0x80 else mended(data[1:])))
    except tags.Damaged:
        return
    if found is not None:
        assert re.fullmatch("[0-9a-f]{64}", found.content)
        assert found.text is None or len(found.text) <= tags.MAX_TEXT


def read_provenance(data: bytes) -> None:
    """What a file says of itself, sealed as if genart had written it: refused, or shown without control characters, and followed."""
    text = data.decode("ascii", "replace").replace("\ufffd", "?")
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(text)
        if isinstance(told, dict):
            text = provenance.as_text(provenance.sealed(told, seeds.content()))
    png = seeds.pictures()[0]
    path = written(png[: tags.PNG_HEAD] + tags.png_chunk(text) + png[tags.PNG_HEAD :], "told.png")
    read, _ = provenance.read(path)
    lines = show.headlines("told.png", read) + [line for stage in read.stages for line in show.made_of(stage, plugins())]
    assert not any(CONTROL.search(printable(line)) for line in lines)
    made = recipe_of(read, plugins(), {})
    assert all(node.save is None for node in made.nodes)


def read_model(data: bytes) -> None:
    """A model file; the first byte says whether the rest is all of it or its header alone."""
    choice, rest = data[0] if data else 0, data[1:]
    if choice & 0x80:
        raw = rest
    elif choice & 0x40:
        raw = len(rest).to_bytes(8, "little") + rest + bytes(64)
    else:
        header = {"__metadata__": {"genart": rest.decode("utf-8", "replace")}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        raw = seeds.safetensors(header, bytes(8))
    path = written(raw, "m.safetensors")
    with contextlib.suppress(tags.Damaged), open(path, "rb") as file:
        tags.scan(file)
    model = Model.open(path)
    assert isinstance(model.family, str)


# the store


def read_store(data: bytes) -> None:
    """Damage of any file that the store, a work folder or an output folder keeps beside results: told as nothing there, never an error.

    The first byte says which file it is, and whether a manifest is sealed here, so that what is behind the seal is reached as well.
    """
    choice, rest = data[0] if data else 0, data[1:]
    which = (choice & 0x7F) % 8
    store, key = Store(folder() / "store"), seeds.KEY
    if which == 0:
        read_manifest(store, rest if choice & 0x80 else resealed(rest))
    elif which == 1:
        written(rest, f"store/ancestry/ab/{key}")
        found = store.key_of(key)
        assert_sealed(which, rest, found and {"key": found})
        store.find_by_ancestry(key)
    elif which == 2:
        written(rest, f"store/notes/ab/{key}")
        assert_sealed(which, rest, store.note(key))
    elif which == 3:
        written(rest, "store/history/slot.json")
        assert_sealed(which, rest, store.recall("slot"))
    elif which == 4:
        written(rest, "work/choices.json")
        run = Run(stage_id="s", seed=1, device="cpu", work=folder() / "work", events=None)  # type: ignore[arg-type]
        assert_sealed(which, rest, run.choices)
    elif which == 5:
        for name, size in zip(("pixels.bin", "meta.jsonl"), seeds.SEALED[which][1]["ends"], strict=True):
            written(bytes(size), f"pictures/{name}")
        written(rest, "pictures/sync.json")
        writer = ImagesWriter(folder() / "pictures")
        writer.close()
        assert_sealed(which, rest, {"runs": writer.runs, "count": writer.count, "ends": writer._ends} if writer.count else None)
    else:
        read_memory(store, which, rest)


def assert_sealed(which: int, rest: bytes, found: dict[str, Any] | None) -> None:
    """What is read of a sealed file is what was sealed, or nothing: nobody hits upon the SHA-256 of something else."""
    whole = seeds.SEALED[which][1]
    assert found == whole if rest == seeds.sealed_bytes(which) else found in (None, {}, whole), found


def resealed(manifest: bytes) -> bytes:
    """A manifest with the SHA-256 that fits it, if it can have one."""
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(manifest)
        if isinstance(told, dict):
            told.pop(SEAL, None)
            return json.dumps({**told, SEAL: sha256_of_json(told)}).encode()
    return manifest


def read_manifest(store: Store, rest: bytes) -> None:
    """An entry is one that can be taken at its word, or none."""
    written(rest, f"store/entries/ab/{seeds.KEY}/manifest.json")
    found = store.find(seeds.KEY)
    assert found is None or b"sha256" in rest
    if found is not None:
        assert found.key == seeds.KEY
        assert found.bytes >= 0
        assert re.fullmatch("[0-9a-f]{64}", found.digest("output"))
        assert stays_inside("/".join(name for about in found.manifest["outputs"].values() for name in about["files"]))
    assert all(entry.key == seeds.KEY for entry in store.entries())


def read_memory(store: Store, which: int, rest: bytes) -> None:
    """What was hashed before, and which devices were found: neither changes what a file is hashed to, or which devices there are."""
    if which == 6:
        content = folder() / "outside.png"
        slot = f"hashes/{seeds.sha256(str(content).encode())[:32]}.json"
        whole = rest == seeds.sealed_bytes(which)
        written(json.dumps(sealed(seeds.SEALED[which][1], slot)).encode() if whole else rest, f"store/{slot}")
        assert_sealed(which, rest, store.read(slot))
        assert content_hash(content, store.root) == hash_of_nothing()
    else:
        written(rest, "store/device.json")
        assert_sealed(which, rest, store.read("device.json"))
        assert device_kind("auto", store.root) in ("cpu", "cuda", "mps")


@cache
def hash_of_nothing() -> str:
    """What an empty file is hashed to where nothing is remembered."""
    return content_hash(folder() / "outside.png", folder() / "nothing")


def read_report(data: bytes) -> None:
    """What a run left of itself, run.json or a model: refused, or laid out for a page."""
    choice, rest = data[0] if data else 0, data[1:]
    place = folder() / "ran"
    if choice % 2:
        header = {"__metadata__": {"genart": rest.decode("utf-8", "replace")}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        written(seeds.safetensors(header, bytes(8)), "ran/m.safetensors")
        written(seeds.reports()[0][1:], "ran/run.json")
    else:
        written(rest, "ran/run.json")
    run = report.read_run(place)
    with Folder.open(place) as opened_place:
        gallery = report.Gallery(opened_place)
        for output in run.outputs:
            assert gallery.shown(output).kind in ("missing", "folder", "picture", "film", "file")
    report.graph_of(run.stages)
    for stage in run.stages:
        report.trained(stage, place, run.outputs, Store(folder() / "store"))


#: Readers by name.
TARGETS = {
    "recipe": Target(read_recipe, seeds.recipes, 2.0, 4096, tuple(word.encode() for word in seeds.TOML_WORDS)),
    "save": Target(read_save, seeds.paths, 1.0, 256, seeds.PATH_WORDS),
    "path": Target(read_path, seeds.paths, 0.5, 256, seeds.PATH_WORDS),
    "words": Target(read_words, seeds.words, 1.0, 512, (b".", b"=", b"1e9", b"m", b"GiB", b"'''", b"[[", b"\x1b[2J", b"\xe2\x80\xae")),
    "picture": Target(read_picture, seeds.any_pictures, 2.0, 4096, seeds.PICTURE_WORDS),
    "stream": Target(read_stream, seeds.any_streams, 1.5, 4096, seeds.PICTURE_WORDS + seeds.Y4M_WORDS),
    "many": Target(read_many, seeds.any_many, 1.5, 4096, seeds.PICTURE_WORDS + seeds.ARCHIVE_WORDS),
    "tags": Target(read_tags, seeds.any_tagged, 3.0, 4096, seeds.PICTURE_WORDS + seeds.JSON_WORDS),
    "film": Target(read_tags, seeds.films, 1.0, 4096, seeds.FILM_WORDS),
    "provenance": Target(read_provenance, seeds.provenances, 1.5, 4096, seeds.JSON_WORDS),
    "model": Target(read_model, seeds.models, 1.5, 2048, seeds.JSON_WORDS),
    "store": Target(read_store, seeds.store_files, 1.0, 2048, seeds.JSON_WORDS),
    "report": Target(read_report, seeds.reports, 0.5, 4096, seeds.JSON_WORDS),
}


def break_at_a_word(data: bytes) -> None:
    """A planted bug."""
    if data[:1] == b"F" and data[1:2] == b"U" and data[2:4] == b"ZZ":
        raise KeyError("planted")


#: What fuzzing must break: the proof that it can.
PLANTED = Target(break_at_a_word, lambda: [b"nothing", b"FAZ"], words=(b"ZZ",))
