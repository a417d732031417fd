"""The plan: for each stage its key, and the reason to run it or to skip it."""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from . import __version__, seeds
from .errors import DataError, ResourceError, UsageError
from .formats import ARCHIVES, HEAD_BYTES, MODELS, Brought, is_plain
from .listing import files_below
from .params import canonical_json, input_paths, plain_value, reads_path, registered_names
from .plugins import Plugins
from .recipe import Node, Recipe
from .store import Entry, Store, sha256_of

DEVICES = ("auto", "cpu", "cuda", "mps")
#: A file of at least so many bytes, of which hardly any are on the disk, is hashed by what is there.
HOLLOW_BYTES = 1 << 30
#: Bytes read at once.
CHUNK = 1 << 20
#: Values that are remembered of a file.
REMEMBERED = 6
#: How archives begin, and what a tar has where.
PACKED, TAR, TAR_AT = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"), b"ustar", 257


@dataclass
class Step:
    """One stage of a recipe with its identity.

    Attributes:
        parts: everything that makes the result what it is, except its inputs.
        partial: hash of `parts`.
        ancestry: hash of `parts` and of the ancestries of its inputs: known before anything has run.
        entry: its result, once there is one.
        changes: why it must run, in words; empty when it is cached.
        forced: run even if cached.
        shaken: something before it is forced, so only the content of its inputs tells whether it is cached.
        damaged: a result was found that is not whole.
        note: what its last result was, if that is no longer there and somebody asked; see `Store.note`.
    """

    node: Node
    parts: dict[str, Any]
    partial: str
    ancestry: str
    entry: Entry | None = None
    changes: list[str] = field(default_factory=list)
    forced: bool = False
    shaken: bool = False
    damaged: bool = False
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The stage's seed."""
        return int(self.parts.get("seed", 0))


def hash_of(value: Any) -> str:
    """SHA-256 of plain values, as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Planner:
    """Works out keys and reasons for the stages of a recipe.

    Args:
        recipe: what is to be made.
        plugins: for the identity of code.
        store: for what is there already.
        device: "cpu", "cuda" or "mps".
    """

    def __init__(self, recipe: Recipe, plugins: Plugins, store: Store, device: str) -> None:
        self.recipe = recipe
        self.plugins = plugins
        self.store = store
        self.device = device
        self._examined: dict[Path, Examined] = {}

    def steps(self, force: Iterable[str] = (), *, force_all: bool = False) -> dict[str, Step]:
        """Return a step for every stage, by id, in order, with what is already known to be there.

        Raises:
            UsageError: `force` names a stage that does not exist.
        """
        forced = {name: self.recipe.ids_of(name) for name in force}
        for name, ids in forced.items():
            if not ids:
                raise UsageError(f"--force {name}: there is no such stage", f"stages: {', '.join(node.id for node in self.recipe.nodes)}")
        again = {node_id for ids in forced.values() for node_id in ids}
        steps: dict[str, Step] = {}
        for node in self.recipe.nodes:
            step = steps[node.id] = self._step(node, steps)
            step.forced = force_all or node.id in again
            before = [steps[source.node] for source in node.sources]
            step.shaken = any(step.forced or step.shaken for step in before)
        with self.store.foreseen([step.ancestry for step in steps.values() if not (step.forced or step.shaken)]):
            for step in steps.values():
                self.look(step, steps)
        return steps

    def _step(self, node: Node, steps: dict[str, Step]) -> Step:
        parts = self._parts(node)
        inputs = [[steps[source.node].ancestry, source.output] for source in node.sources]
        return Step(node, parts, hash_of(parts), hash_of({"parts": parts, "ancestors": inputs}))

    def _parts(self, node: Node) -> dict[str, Any]:
        stage = node.stage
        plugin = self.plugins.owner(stage.name)
        assert plugin is not None
        fields = type(node.params).model_fields
        params = {name: plain_value(getattr(node.params, name)) for name in fields if not reads_path(fields[name])}
        files: dict[str, list[str]] = {}
        readers: dict[str, dict[str, str]] = {}
        sides = {source.side for source in node.sources}
        for name, path in input_paths(node.params):
            # what another stage gives enters the key as an input; here stands only which value it is
            content = f"stage {str(path)!r}" if str(path) in sides else self.content(path)
            files.setdefault(name, []).append(content)
            if str(path) not in sides:
                readers |= self.readers(path)
        parts: dict[str, Any] = {
            "stage": stage.name,
            "code": self.plugins.identity(plugin),
            "params": params,
            "files": files,
            "device": self.device,
            "torch": torch_version(),
            "versions": {name: version_of(name) for name in stage.depends},
        }
        registered = {
            f"{hook}:{name}": self.plugins.identity(self.plugins.extension(hook, name, built_in)[1])
            for _, hook, name, built_in in registered_names(node.params)
        } | readers
        if registered:
            parts["registered"] = registered
        if stage.random:
            parts["seed"] = self.seed(node)
        return parts

    def seed(self, node: Node) -> int:
        """Seed of a stage that draws random numbers."""
        return seeds.derive(self.recipe.seed, node.written)

    def content(self, path: Path) -> str:
        """Content hash of a file or folder that a stage reads."""
        self._examined[path] = examined(path, self.store.root)
        return self._examined[path].content

    def changed(self, step: Step) -> Path | None:
        """A file or folder that a step's parameters name and whose content is not that of its key any more; None if there is none."""
        sides = {source.side for source in step.node.sources}
        known = {name: iter(contents) for name, contents in step.parts["files"].items()}
        for name, path in input_paths(step.node.params):
            content = next(known[name])
            if str(path) not in sides and content != self._content_now(path):
                return path
        return None

    def _content_now(self, path: Path) -> str | None:
        """Content hash of a file or folder; None if it cannot be read any more."""
        try:
            return self.content(path)
        except (OSError, DataError):
            return None
        finally:
            self._examined.pop(path, None)

    def readers(self, path: Path) -> dict[str, dict[str, str]]:
        """Code of the plugins that read pictures of a file or folder: of an archive, which is not looked into, of all that read any.

        Raises:
            UsageError: if two of them would read the same picture.
        """
        foreign = (self._examined.pop(path, None) or examined(path, self.store.root)).foreign(path)
        if not foreign:
            return {}
        brought = self.plugins.bring_formats()
        found: dict[str, Brought] = {}
        for (head, suffix), file in foreign.items():
            fitting = [one for one in brought if one.format.fits(head, suffix)]
            if len(fitting) > 1:
                raise UsageError(f"{file}: both {fitting[0]} and {fitting[1]} read it", "uninstall one of the two plugins")
            for one in brought if _is_archive(path, head, suffix) else fitting:
                found[f"genart_readers:{one.name}"] = one
        return {name: self.plugins.identity(self.plugins.plugins[one.plugin]) for name, one in found.items()}

    def key(self, step: Step, steps: dict[str, Step]) -> str | None:
        """Return the key of a step: its parts and the content of its inputs; None while an input is not there."""
        inputs: list[Any] = []
        for source in step.node.sources:
            entry = steps[source.node].entry
            if entry is None:
                return None
            inputs.append(entry.digest(source.output))
            code = self._rebuilding(entry, source.output)
            if code is not None:
                inputs.append(code)
        return hash_of({"parts": step.parts, "inputs": inputs})

    def _rebuilding(self, entry: Entry, output: str) -> dict[str, str] | None:
        """Identity of the code that rebuilds a model: whoever draws from it depends on that too."""
        family = entry.manifest["outputs"][output].get("family")
        owner = self.plugins.rebuilder(family) if family is not None else None
        return None if owner is None else self.plugins.identity(owner)

    def look(self, step: Step, steps: dict[str, Step]) -> None:
        """Find a step's result in the store, by its chain or by its inputs, and note the reason if it is not there."""
        step.changes = []
        if step.forced:
            step.changes = ["forced by --force"]
            return
        step.entry = None if step.shaken else self.store.find_by_ancestry(step.ancestry)
        key = self.key(step, steps)
        if step.entry is None or key not in (None, step.entry.key):  # its inputs tell more than its chain, where they are there
            step.entry = self.store.find(key) if key else None
            if step.entry is not None:
                self.store.alias(step.ancestry, step.partial, step.entry)
            else:
                key = key or (None if step.shaken else self.store.key_of(step.ancestry))
                step.damaged |= key is not None and self.store.is_wreck(key)
        if step.entry is None:
            step.changes = ["its stored result was damaged"] if step.damaged else self._reasons(step, steps)

    def slot(self, node: Node) -> str:
        """Name under which the newest identity of a recipe's stage is remembered."""
        return hashlib.sha256(json.dumps([self.recipe.name, node.id]).encode()).hexdigest()[:32]

    def identity(self, step: Step, steps: dict[str, Step]) -> dict[str, Any]:
        """What is remembered of a step to say later what changed."""
        inputs = [[str(source), steps[source.node].ancestry] for source in step.node.sources]
        entries = [(str(source), source.output, steps[source.node].entry) for source in step.node.sources]
        rebuilding = {name: code for name, output, entry in entries if entry and (code := self._rebuilding(entry, output))}
        return {**step.parts, "inputs": inputs, "rebuilding": rebuilding}

    def _reasons(self, step: Step, steps: dict[str, Step]) -> list[str]:
        before = self.store.recall(self.slot(step.node))
        if before is None:
            return ["never made before"]
        return list(differences(before, self.identity(step, steps))) or ["its result is no longer in the store"]


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterable[str]:
    """Say what changed between two identities of a stage, one line each."""
    if before.get("stage") != now["stage"]:
        yield f"stage {before.get('stage')} → {now['stage']}"
    for name in sorted({*before.get("params", {}), *now["params"]}):
        old, new = before.get("params", {}).get(name), now["params"].get(name)
        if old != new or type(old) is not type(new):
            yield f"parameter {name}: {json.dumps(old, ensure_ascii=False)} → {json.dumps(new, ensure_ascii=False)}"
    for name in sorted({*before.get("files", {}), *now["files"]}):
        if before.get("files", {}).get(name) != now["files"].get(name):
            yield f"content of {name} changed"
    code, new_code = before.get("code", {}), now["code"]
    if code.get("version") != new_code["version"]:
        yield f"plugin version {code.get('version')} → {new_code['version']}"
    elif code != new_code:
        yield f"code of the plugin '{now['stage'].partition('.')[0]}' changed"
    old, new = before.get("rebuilding", {}), now.get("rebuilding", {})
    yield from (f"code that rebuilds the model of '{name}' changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name])
    if before.get("seed") != now.get("seed"):
        yield "seed changed"
    registered, new_registered = before.get("registered", {}), now.get("registered", {})
    for name in sorted({*registered, *new_registered}):
        if registered.get(name) != new_registered.get(name):
            yield f"{_registered_words(name)} {'is gone' if name not in new_registered else 'changed' if name in registered else 'is new'}"
    for label in ("device", "torch"):
        if before.get(label) != now.get(label):
            yield f"{label} {before.get(label)} → {now.get(label)}"
    for name, version in now["versions"].items():
        if before.get("versions", {}).get(name) != version:
            yield f"{name} {before.get('versions', {}).get(name)} → {version}"
    old_inputs = before.get("inputs", [])
    if [name for name, _ in old_inputs] != [name for name, _ in now["inputs"]]:
        yield "input: from " + (", ".join(name for name, _ in now["inputs"]) or "nothing")
    else:
        yield from (f"input '{name}' changed" for (_, a), (name, b) in zip(old_inputs, now["inputs"], strict=True) if a != b)


def _registered_words(name: str) -> str:
    """What a plugin registered, such as "the reader 'farbfeld'", by the name under which its code is part of a key."""
    hook, _, what = name.partition(":")
    kind = hook.removeprefix("genart_")
    return f"the {kind.removesuffix('es') if kind.endswith('sses') else kind.removesuffix('s')} '{what}'"


# content of input files


def content_hash(path: Path, cache: Path) -> str:
    """Hash of a file's content, or of a folder's files by their relative names and contents, not by date.

    What was hashed before is remembered by size, inode and both times, and trusted only when older than two seconds.

    Args:
        path: file or folder; hidden files and linked folders are left out.
        cache: where the memory lies.
    """
    return examined(path, cache).content


@dataclass(frozen=True)
class Examined:
    """What there is to know of a file or folder.

    Attributes:
        content: its hash.
        files: of each file, by its name within the folder, what is remembered: size, inode, both times, hash, and its first bytes in hex
            unless no plugin reads it.
    """

    content: str
    files: dict[str, list[Any]]

    def foreign(self, path: Path) -> dict[tuple[bytes, str], Path]:
        """First bytes and end of the name of what a plugin may read, with one file that begins and is called so.

        Args:
            path: where they are.
        """
        base = path if path.is_dir() else path.parent
        named = ((name or path.name, bytes.fromhex(known[-1])) for name, known in self.files.items())
        return {(head, PurePath(name).suffix.lower()): base / name for name, head in named if head}


def examined(path: Path, cache: Path) -> Examined:
    """Look at a file or folder; see `content_hash`."""
    store, slot = Store(cache), f"hashes/{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    memory: dict[str, list[Any]] = (store.read(slot) or {}).get("files", {})
    fresh: dict[str, list[Any]] = {}
    base = path if path.is_dir() else path.parent
    for file in _files_below(path):
        name = file.relative_to(base).as_posix() if path.is_dir() else ""
        try:
            fresh[name] = _looked_at(file, memory.get(name))
        except FileNotFoundError:
            if not name:
                raise DataError(f"{path}: it is no longer there", "name a file or folder that stays") from None
        except OSError as error:
            raise unreadable(file, error) from None
    total = hashlib.sha256()
    for name, known in fresh.items():
        total.update(json.dumps([name, known[4]]).encode())
    newest = max((max(mark[2], mark[3]) for mark in fresh.values()), default=0)
    if fresh != memory and _settled(newest):
        store.write(slot, {"files": fresh})
    return Examined(total.hexdigest(), fresh)


def unreadable(file: Path, error: OSError) -> DataError:
    """The error that stops at an input file which the system does not let this user read."""
    return DataError(f"{file}: cannot be read: {error.strerror}", "make it readable, or move it away")


def _looked_at(file: Path, known: list[Any] | None) -> list[Any]:
    """What is remembered of a file, read anew unless that is known already."""
    stat = file.stat()
    mark = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    whole = known is not None and len(known) == REMEMBERED
    digest, head = known[4:] if known and whole and known[:4] == mark else (_digest(file, stat), _foreign_head(file))
    return [*mark, digest, head]


def _foreign_head(file: Path) -> str:
    """The first bytes of a file in hex; "" for one that no plugin reads."""
    with open(file, "rb") as handle:
        head = handle.read(HEAD_BYTES)
    suffix = file.suffix.lower()
    return "" if is_plain(head, suffix) or suffix in MODELS else head.hex()


def _is_archive(path: Path, head: bytes, suffix: str) -> bool:
    """True for a file that may hold pictures."""
    if path.is_dir():
        return False
    if suffix in ARCHIVES or head.startswith(PACKED):
        return True
    with open(path, "rb") as file:
        return file.read(TAR_AT + len(TAR))[TAR_AT:] == TAR


def _digest(file: Path, stat: os.stat_result) -> str:
    """SHA-256 of a file; of one that is nearly all hole, a terabyte perhaps, by the places and contents of what is there."""
    if stat.st_size < HOLLOW_BYTES or 512 * getattr(stat, "st_blocks", stat.st_size) > stat.st_size // 8:
        return sha256_of(file)
    total = hashlib.sha256(f"hollow {stat.st_size}".encode())
    with open(file, "rb") as handle:
        for start, end in _filled(handle.fileno(), stat.st_size):
            total.update(f"\0{start} {end}\0".encode())
            handle.seek(start)
            while piece := handle.read(min(CHUNK, end - handle.tell())):
                total.update(piece)
    return total.hexdigest()


def _filled(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are not hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but hole up to the end
                raise
            return
        end = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, end


def _settled(newest_ns: int) -> bool:
    import time

    return time.time_ns() - newest_ns > 2_000_000_000


def _files_below(path: Path) -> list[Path]:
    return [file for file in files_below(path) if file.is_file()] if path.is_dir() else [path]


# this machine


@functools.cache
def version_of(distribution: str) -> str:
    """Version of an installed distribution; read off its metadata, which as a whole takes a millisecond to parse.

    Raises:
        ResourceError: if the metadata is there and cannot be read.
    """
    found = re.search(r"^Version: *(\S+)", importlib.metadata.distribution(distribution).read_text("METADATA") or "", re.MULTILINE)
    try:
        return found[1] if found else importlib.metadata.version(distribution)
    except (AttributeError, TypeError):  # the library's own way of saying that it could not read it
        raise ResourceError(f"what is installed as {distribution} cannot be read", "install it again") from None


def torch_version() -> str:
    """Version of torch as major.minor, from package metadata."""
    return ".".join(version_of("torch").split(".")[:2])


def made_with() -> dict[str, Any]:
    """What a result may depend on beside what its key says: exact versions and the kind of machine, without any name of it."""
    return {
        "genart": __version__,
        "torch": version_of("torch"),
        "python": platform.python_version(),
        "system": f"{sys.platform} {platform.machine()}",
        "cores": os.cpu_count() or 1,
    }


def device_kind(wanted: str, cache: Path) -> str:
    """Return "cpu", "cuda" or "mps" for what the user wants; "auto" probes once and remembers.

    Raises:
        UsageError: an unknown name, or a device that is not there.
    """
    if wanted not in DEVICES:
        raise UsageError(f"--device {wanted}: expected one of {', '.join(DEVICES)}")
    if wanted == "cpu":
        return wanted
    mark = [version_of("torch"), os.environ.get("CUDA_VISIBLE_DEVICES", ""), _gpu_there()]
    store = Store(cache)
    remembered = store.read("device.json")
    if remembered is None or remembered["mark"] != mark:
        remembered = {"mark": mark, "devices": _probe()}
        store.write("device.json", remembered)
    devices = remembered["devices"]
    if wanted == "auto":
        return str(devices[0])
    if wanted not in devices:
        raise UsageError(f"--device {wanted}: this machine has {', '.join(devices)}")
    return wanted


def _gpu_there() -> bool:
    """A cheap sign of a GPU on Linux: NVIDIA's, AMD's, or that of the host of a Windows subsystem."""
    return any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def _probe() -> list[str]:
    if sys.platform == "linux" and not _gpu_there():
        return ["cpu"]  # known without loading torch
    import torch

    found = [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there]
    return [*found, "cpu"]


def safe_name(text: str) -> str:
    """Return the text as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
