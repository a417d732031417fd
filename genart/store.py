"""The store: content-addressed results of stages, each whole or absent, verified when read.

    <root>/entries/ab/<key>/manifest.json, <output>/...      finished results
    <root>/work/<ancestry>/...                               what a stage keeps between a kill and its resume
    <root>/work/<ancestry>.<host>.<pid>/...                  the same, of one process alone, where locks exclude nobody
    <root>/scratch/<host>.<pid>/...                          what came through a pipe, and what is being read, while it is needed
    <root>/ancestry/ab/<ancestry>                            ancestry key -> key: a result found without its inputs
    <root>/remakes/<hash>/...                                a store of its own for a file that is being made again
    <root>/notes/ab/<ancestry>                               what a result was, for provenance, also after it was collected
    <root>/similar/ab/<partial>/<key>                        results that differ in their inputs alone
    <root>/history/<recipe and stage>.json                   what the last run of a stage was made of, for --why

An entry is put together under <root>/tmp, fsynced, then renamed, so it exists only when it is whole. A part of a result, which is read
once and then forgotten, is not fsynced: its hashes tell whether it is whole. Nothing needs a
lock for correctness: two processes that make the same result make the same bytes, and the first rename wins. The lock
around `work` only saves them doing it twice; where it excludes nobody, each process has a work folder of its own. What is
read is held by hard links meanwhile, so a clean-up at the same time takes nothing away. Small files are sealed with a SHA-256.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts import (
    SEAL,
    Artifact,
    Model,
    StoredImages,
    Video,
    digest_of,
    open_regular,
    read_json,
    read_sealed,
    remove,
    result_files,
    sha256_of_json,
    sync_folder,
    write_atomically,
    write_sealed,
)
from .errors import RefusedError, ResourceError
from .tags import SAFETENSORS

#: Version of entries; a manifest without one is of the first.
FORMAT = 1
HASH = re.compile(r"[0-9a-f]{64}")
#: Seconds for which unfinished work stays when nobody comes back to it; and what a process of another machine, which may still be alive,
#: builds or reads.
KEPT_SEC, FOREIGN_SEC = 7 * 86400.0, 30 * 86400.0


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Entry:
    """One finished result of a stage."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def key(self) -> str:
        """The key it is stored under."""
        return str(self.manifest["key"])

    def digest(self, output: str) -> str:
        """Content hash of one output."""
        return str(self.manifest["outputs"][output]["digest"])

    @property
    def content(self) -> str:
        """Hash of all that it holds: of the same key a store that is not shared may have another."""
        return digest_of({output: self.digest(output) for output in self.manifest["outputs"]})

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for out in self.manifest["outputs"].values() for size in out["sizes"].values())

    def artifact(self, output: str) -> Artifact:
        """Open one output.

        Raises:
            RefusedError: if it names a film that is not among its files.
        """
        folder, kind = self.folder / output, self.manifest["outputs"][output]["kind"]
        if kind == "images":
            return StoredImages(folder)
        if kind == "model":
            return Model.open(folder / "model.safetensors")
        about = json.loads((folder / "video.json").read_text(encoding="utf-8"))
        if about["file"] not in self.manifest["outputs"][output]["files"]:  # a stranger's store
            raise RefusedError(f"the stored result {self.key[:12]} names a film that is not its own", "make its stage again with --force")
        return Video(folder / about["file"], about["fps"], about["count"])

    def damaged(self) -> list[str]:
        """Names of files that are missing or differ from the manifest; reads every byte."""
        bad = []
        for output, about in self.manifest["outputs"].items():
            linked = (self.folder / output).is_symlink()
            for name, wanted in about["files"].items():
                if linked or _sha256_inside(self.folder / output / name, about["sizes"][name]) != wanted:
                    bad.append(f"{output}/{name}")
        return bad

    @property
    def used(self) -> float:
        """When it was used last; 0 if it has just been removed."""
        try:
            return self.folder.stat().st_mtime
        except OSError:
            return 0.0


class Store:
    """All results below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()
        self._held: dict[str, Entry] = {}
        self._own_work: dict[str, Path] = {}

    @classmethod
    def of_user(cls) -> Store:
        """The store in the user's cache directory; XDG_CACHE_HOME moves it."""
        from platformdirs import user_cache_path

        return cls(user_cache_path("genart", appauthor=False))

    #: of a store that is shared beside it; None: there is none
    address: str | None = None

    @property
    def place(self) -> str:
        """Where results are, for people."""
        return str(self.root)

    # finding

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key if it is there, without reading its files."""
        return self._here(key)

    def _here(self, key: str) -> Entry | None:
        folder = self._place("entries", key)
        try:
            manifest = unsealed_manifest(read_json(folder / "manifest.json"), key)
        except OSError:
            return None
        return Entry(folder, manifest) if manifest is not None and not folder.is_symlink() else None

    def is_wreck(self, key: str) -> bool:
        """True if something lies in the place of an entry that is none."""
        return os.path.lexists(self._place("entries", key)) and self._here(key) is None

    def find_by_ancestry(self, ancestry: str) -> Entry | None:
        """Return the result that this chain of stages gave before, whether or not its inputs are still stored."""
        key = self.key_of(ancestry)
        return self.find(key) if key else None

    def key_of(self, ancestry: str) -> str | None:
        """The key of the result that this chain of stages gave before, whether or not that is still stored."""
        found = self.read(place_of("ancestry", ancestry))
        return str(found["key"]) if found else None

    def has_similar(self, partial: str) -> bool:
        """True if a result exists that could differ from this one in its inputs alone."""
        return any(self.similar(partial))

    def similar(self, partial: str) -> Iterator[Entry]:
        """Results that differ in their inputs alone, or parts of one result."""
        with contextlib.suppress(OSError):
            yield from filter(None, map(self.find, sorted(os.listdir(self._place("similar", partial)))))

    def verified(self, entry: Entry) -> bool:
        """Check every file of an entry, once per process; a damaged entry is thrown away.

        Returns:
            False if it was damaged: make it again.
        """
        if entry.key in self._verified:
            return True
        if entry.damaged():
            self._remove_here(entry.key)
            return False
        self._verified.add(entry.key)
        with contextlib.suppress(OSError):
            os.utime(entry.folder)  # last used, for gc
        return True

    def trust(self, key: str) -> None:
        """Take an entry to be whole, as another process of the same run has found or made it; it is not read for that again."""
        self._verified.add(key)

    def hold(self, entry: Entry) -> Entry | None:
        """Return an entry under names of this process's own until `release`: a clean-up meanwhile takes nothing of it away.

        Where there are no hard links it is read in its place.

        Returns:
            None if it is gone already.
        """
        if entry.key not in self._held:
            folder = self._scratch()
            try:
                for output, about in entry.manifest["outputs"].items():
                    (folder / output).mkdir(parents=True)
                    for name in about["files"]:
                        os.link(entry.folder / output / name, folder / output / name)
            except FileNotFoundError:
                self._drop_scratch(folder)
                self._verified.discard(entry.key)
                return None
            except OSError:
                self._drop_scratch(folder)
                return entry
            self._held[entry.key] = Entry(folder, entry.manifest)
        return self._held[entry.key]

    def release(self) -> None:
        """Let go of everything held."""
        while self._held:
            self._drop_scratch(self._held.popitem()[1].folder)

    def let_go(self, key: str) -> None:
        """Let go of one entry, if it is held."""
        if key in self._held:
            self._drop_scratch(self._held.pop(key).folder)

    def _place(self, kind: str, key: str) -> Path:
        return self.root / place_of(kind, key)

    # making

    def check_places(self) -> None:
        """Raise OSError, as a commit would, if the store cannot be written."""
        for kind in ("work", "tmp", "entries", "ancestry", "notes", "similar", "history"):
            check_place(self.root / kind)

    @contextlib.contextmanager
    def foreseen(self, ancestries: Iterable[str]) -> Iterator[None]:
        """Say which chains will be looked for meanwhile; a store that is far away asks for all of them at once."""
        yield

    def share(self, ancestry: str, partial: str, entry: Entry) -> None:
        """See that others who use this store have a result that was there already; here it is theirs anyway."""

    def work(self, ancestry: str) -> Path:
        """Folder of a stage between its start and its commit."""
        return self._own_work.get(ancestry, self.root / "work" / ancestry)

    def _kept_work(self, ancestry: str) -> list[Path]:
        """Folders in which processes that are gone kept a stage's work."""
        own = [folder for folder in self.root.glob(f"work/{ancestry}.*.*") if not is_in_use(folder.name.removeprefix(f"{ancestry}."))]
        return [folder for folder in (self.root / "work" / ancestry, *sorted(own)) if os.path.lexists(folder)]

    def commit(
        self,
        key: str,
        *,
        ancestry: str,
        partial: str,
        kinds: dict[str, str],
        work: Path,
        about: dict[str, Any],
        replace: bool = False,
    ) -> Entry:
        """Make an entry of what a stage left under `work/outputs`, then forget the work.

        Args:
            key: its key.
            ancestry: key of its chain.
            partial: its key without inputs.
            kinds: kind of each output.
            work: the stage's work folder.
            about: more for the manifest.
            replace: an entry that is there already gives way.
        """
        entry = self._here(key)
        if entry is None or replace or entry.damaged():
            entry = self._build(key, kinds, work, about, replace=entry is not None)
        try:
            self.alias(ancestry, partial, entry)
        finally:
            self._drop(work)
        self._verified.add(key)
        return entry

    def commit_part(self, key: str, *, shelf: str, kinds: dict[str, str], work: Path, about: dict[str, Any]) -> Entry:
        """Make an entry of some pictures of a result out of what a stage left under `work/outputs`.

        It is found by its shelf alone, and nothing waits for the disk: whatever a power cut leaves of it is no entry, or a damaged one.

        Args:
            key: its key.
            shelf: key under which all parts of the result are found.
            kinds: kind of each output.
            work: where the stage worked; its outputs are taken out of it.
            about: more for the manifest.
        """
        entry = self.find(key)
        if entry is not None and entry.damaged():
            self.discard(key)
            entry = None
        if entry is None:
            entry = self._put(self._built(key, kinds, work, about, work / "entry", durable=False), durable=False)
        self._shelve(shelf, entry)
        return entry

    def forget(self, ancestry: str) -> None:
        """Remove what a fault left of a stage's work, or of its lock, after its result was stored; unless another process is at it."""
        if not (self._kept_work(ancestry) or self._lock_path(ancestry).exists()):
            return
        with contextlib.suppress(BlockingIOError), self.lock(ancestry, _busy, _busy):
            self.drop_work(ancestry)
            for folder in self._kept_work(ancestry):
                self._drop(folder)

    def drop_work(self, ancestry: str) -> None:
        """Remove what a stage kept of its work; unless it is gone at once, what is left of it is all of it."""
        self._drop(self.work(ancestry))

    def _drop(self, folder: Path) -> None:
        """Remove a folder at once or not at all: half of a stage's work would be taken for that of one that was stopped."""
        with contextlib.suppress(OSError), self._temporary() as temporary:
            doomed = temporary / f"doomed-{folder.name}-{os.urandom(4).hex()}"
            os.rename(folder, doomed)
            remove(doomed)

    def alias(self, ancestry: str, partial: str, entry: Entry) -> None:
        """Note that a chain leads to an entry."""
        self.write(place_of("notes", ancestry), note_of(entry))
        self.write(place_of("ancestry", ancestry), {"key": entry.key})
        self._shelve(partial, entry)

    def _shelve(self, partial: str, entry: Entry) -> None:
        """Note that an entry is one of those that differ in their inputs alone."""
        shelf = self._place("similar", partial)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with contextlib.suppress(FileExistsError):
            try:
                handle = os.open(shelf / entry.key, flags)
            except FileNotFoundError:
                shelf.mkdir(parents=True, exist_ok=True)
                handle = os.open(shelf / entry.key, flags)
            os.close(handle)

    def note(self, ancestry: str) -> dict[str, Any]:
        """Outputs and choices of the result that a chain gave last, also if it is no longer stored; empty if it never gave one."""
        return self.read(place_of("notes", ancestry)) or {}

    def _build(self, key: str, kinds: dict[str, str], work: Path, about: dict[str, Any], *, replace: bool) -> Entry:
        with self._temporary() as temporary:
            try:
                entry = self._built(key, kinds, work, about, temporary / key, durable=True)
                if replace:
                    self._remove_here(key)
                return self._put(entry, durable=True)
            finally:
                remove(temporary / key)  # of a disk that is full, it would take the last of the room

    def _built(self, key: str, kinds: dict[str, str], work: Path, about: dict[str, Any], building: Path, *, durable: bool) -> Entry:
        shutil.rmtree(building, ignore_errors=True)
        outputs: dict[str, Any] = {}
        for output, kind in kinds.items():
            source, target = work / "outputs" / output, building / output
            if durable:
                target.mkdir(parents=True)
                for path in result_files(source):
                    _link_or_copy(path, target / path.name)
            else:
                _move(source, target)
            names = sorted(target.iterdir())
            files = {path.name: _sync_and_hash(path) if durable else sha256_of(path) for path in names}
            sizes = {path.name: path.stat().st_size for path in names}
            outputs[output] = {"kind": kind, "digest": digest_of(files), "files": files, "sizes": sizes}
            if kind == "model":  # known without opening the file, because keys ask for it
                outputs[output] |= _about_model(target / "model.safetensors")
            if durable:
                sync_folder(target)
        manifest = {"format": FORMAT, "key": key, "outputs": outputs, **about}
        if durable:
            write_atomically(building / "manifest.json", sealed_manifest(manifest))
        else:
            (building / "manifest.json").write_bytes(sealed_manifest(manifest))
        return Entry(building, manifest)

    def _put(self, entry: Entry, *, durable: bool) -> Entry:
        """Bring an entry to its place, unless another process was first with the same bytes."""
        target = self._place("entries", entry.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.rename(entry.folder, target)
                break
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            found = self._here(entry.key)
            if found is not None:
                remove(entry.folder)
                return found
            self._remove_here(entry.key)  # a wreck
        if durable:
            sync_folder(target.parent)
        return Entry(target, entry.manifest)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield this process's folder for what is half-built or doomed; it goes when it is empty."""
        folder = self.root / "tmp" / own_name()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write a small file of the store's own, whole or not at all; what a kill leaves of it, the next run sweeps away.

        Args:
            name: of the file, from the root on.
            value: JSON-serialisable.
        """
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._temporary() as temporary:
            write_sealed(path, value, name, through=temporary)

    def read(self, name: str) -> dict[str, Any] | None:
        """What `write` put under this name; None if it is not there, was damaged, or cannot be read."""
        try:
            return read_sealed(self.root / name, name)
        except OSError:
            return None

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder that is removed in the end; what a kill leaves of it, the next run sweeps away."""
        folder = self._scratch()
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            self._drop_scratch(folder)

    def _scratch(self) -> Path:
        return self.root / "scratch" / own_name() / os.urandom(4).hex()

    def _drop_scratch(self, folder: Path) -> None:
        remove(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()

    def sweep_temporary(self) -> None:
        """Remove what processes of this machine that are gone left half-built, and what this one did but for its scratch folders."""
        for folder in (*self.root.glob("tmp/*"), *self.root.glob("scratch/*")):
            if (folder.parent.name == "tmp" and folder.name == own_name()) or not is_in_use(folder.name):
                remove(folder)

    def discard(self, key: str) -> None:
        """Remove an entry; it disappears at once or not at all."""
        self._remove_here(key)

    def _remove_here(self, key: str) -> None:
        self._verified.discard(key)
        with self._temporary() as temporary:
            doomed = temporary / f"doomed-{key}-{os.urandom(4).hex()}"
            try:
                os.rename(self._place("entries", key), doomed)
            except FileNotFoundError:
                return
            remove(doomed)

    def forget_parts(self, shelf: str) -> None:
        """Remove all entries that are parts of a result.

        Args:
            shelf: under which they were committed.
        """
        place = self._place("similar", shelf)
        with contextlib.suppress(OSError):
            for key in os.listdir(place):
                self._remove_here(key)
                remove(place / key)
            place.rmdir()

    def _lock_path(self, ancestry: str) -> Path:
        return self.root / "work" / f"{ancestry}.lock"

    @contextlib.contextmanager
    def lock(self, ancestry: str, waiting: Callable[[], None], check: Callable[[], None]) -> Iterator[None]:
        """Hold the work folder of a chain; wait while another live process has it. A dead holder's lock is gone by itself.

        Where locks exclude nobody, `work` is a folder of this process alone meanwhile, which takes over what a dead one kept.

        Args:
            ancestry: key of the chain.
            waiting: called once when another process holds it.
            check: called again and again meanwhile; may raise.
        """
        try:
            import fcntl
        except ImportError:  # no flock here
            with self._apart(ancestry):
                yield
            return
        path = self._lock_path(ancestry)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = False
        while True:
            with open(path, "ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    held = _stands_at(path, file.fileno())  # else the last holder removed it, and the lock is another file's
                except BlockingIOError:
                    held = False
                except OSError:  # a file system without locks
                    held = True
                if held:
                    try:
                        with contextlib.nullcontext() if _excludes(path) else self._apart(ancestry):
                            yield
                    finally:
                        path.unlink(missing_ok=True)
                    return
            if path.exists() and not told:
                waiting()
                told = True
            check()
            time.sleep(0.1)

    @contextlib.contextmanager
    def _apart(self, ancestry: str) -> Iterator[None]:
        """Make the work folder of a chain one of this process alone; what it keeps there is anybody's afterwards."""
        folder, common = (self.root / "work" / name for name in (f"{ancestry}.{own_name()}", ancestry))
        for kept in self._kept_work(ancestry):
            with contextlib.suppress(OSError):  # of many who want it the first gets it
                os.rename(kept, folder)
                break
        self._own_work[ancestry] = folder
        try:
            yield
        finally:
            del self._own_work[ancestry]
            with contextlib.suppress(OSError):
                os.rename(folder, common)

    # remembering what was, for --why

    def remember(self, slot: str, parts: dict[str, Any]) -> None:
        """Note what the newest result of a recipe's stage is made of."""
        self.write(f"history/{slot}.json", parts)

    def recall(self, slot: str) -> dict[str, Any] | None:
        """Return what `remember` noted last."""
        return self.read(f"history/{slot}.json")

    def work_bytes(self) -> int:
        """Size of what unfinished stages keep."""
        return sum(_size_of(Path(folder, name)) for folder, _, names in os.walk(self.root / "work") for name in names)

    # looking after it

    def damaged(self, entry: Entry) -> list[str]:
        """Names of files of an entry that are missing or differ from its manifest; reads every byte."""
        return entry.damaged()

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order."""
        for folder in sorted(self.root.glob("entries/??/*")):
            entry = self._here(folder.name)
            if entry is not None:
                yield entry

    def sweep_wrecks(self) -> int:
        """Remove what lies in the place of an entry without being one; return how many there were."""
        wrecks = [folder.name for folder in self.root.glob("entries/??/*") if self._here(folder.name) is None]
        for key in wrecks:
            self._remove_here(key)
        return len(wrecks)

    def collect(self, max_bytes: int, *, older_than_sec: float | None = None) -> tuple[int, int]:
        """Remove entries, the longest unused first, until the store fits; and what nobody came back to, see `_forget_old`.

        Args:
            max_bytes: what may stay.
            older_than_sec: remove everything unused for longer than this as well; None for no such limit.

        Returns:
            (entries removed, bytes freed).
        """
        self.sweep_temporary()
        self.sweep_wrecks()
        now = time.time()
        found = sorted(((e.used, e.bytes, e.key) for e in self.entries()), reverse=True)
        kept = removed = freed = 0
        for used, size, key in found:
            if kept + size > max_bytes or (older_than_sec is not None and now - used > older_than_sec):
                self._remove_here(key)
                removed, freed = removed + 1, freed + size
            else:
                kept += size
        self._forget_old(now)
        self._drop_dead_links()
        return removed, freed

    def _forget_old(self, now: float) -> None:
        """Remove work that was not touched for a week and that nobody holds, and what other machines left half-built for a month."""
        for kind, name in (("work", ""), ("remakes", "remake-")):
            for path in self.root.glob(f"{kind}/*"):
                if now - _touched(path) > KEPT_SEC:
                    self._drop_unheld(path, name + path.name.partition(".")[0], now - KEPT_SEC)
        for path in (*self.root.glob("tmp/*"), *self.root.glob("scratch/*")):
            if path.name.rpartition(".")[0] != socket.gethostname() and now - _touched(path) > FOREIGN_SEC:
                remove(path)

    def _drop_unheld(self, path: Path, ancestry: str, before: float) -> None:
        """Remove a folder, if a lock can be had and nothing in it was touched since; of a lock that nobody holds, having it is enough."""
        with contextlib.suppress(OSError), self.lock(ancestry, _busy, _busy):
            for folder in {path, self.work(ancestry)} - {self._lock_path(ancestry)}:
                if _touched(folder) < before:
                    self._drop(folder)

    def _drop_dead_links(self) -> None:
        for path in self.root.glob("ancestry/??/*"):
            found = self.read(place_of("ancestry", path.name))
            if not found or self._here(str(found["key"])) is None:
                remove(path)
        for path in self.root.glob("similar/??/*/*"):
            if self._here(path.name) is None:
                remove(path)
        if not any(self.entries()):
            for path in self.root.glob("notes/??/*"):
                remove(path)


def place_of(kind: str, key: str) -> str:
    """Place of what is kept under a key, from the root on."""
    return f"{kind}/{key[:2]}/{key}"


def note_of(entry: Entry) -> dict[str, Any]:
    """What is noted of a result for when it is no longer stored."""
    return {name: entry.manifest[name] for name in ("outputs", "choices", "made_with") if name in entry.manifest}


def sealed_manifest(manifest: dict[str, Any]) -> bytes:
    """A manifest as it is stored."""
    written = {**manifest, SEAL: sha256_of_json(manifest)}
    return json.dumps(written, sort_keys=True, allow_nan=False, indent=1).encode()


def unsealed_manifest(manifest: Any, key: str) -> dict[str, Any] | None:
    """The manifest that `sealed_manifest` sealed, if this is it, of this key, and as a store writes it."""
    if not isinstance(manifest, dict) or manifest.pop(SEAL, None) != sha256_of_json(manifest):
        return None
    return manifest if _is_manifest(manifest, key) else None


def _is_manifest(manifest: dict[str, Any], key: str) -> bool:
    """True for a manifest as `Store` writes it: what reads it takes it at its word."""
    outputs, parts = manifest.get("outputs"), manifest.get("parts", {})
    return (
        manifest.get("key") == key
        and manifest.get("format", 1) == FORMAT
        and isinstance(manifest.get("stage"), str)
        and type(manifest.get("seconds", 0)) in (int, float)
        and isinstance(parts, dict)
        and isinstance(parts.get("params", {}), dict)
        and isinstance(outputs, dict)
        and "output" in outputs
        and all(_is_name(name) and isinstance(about, dict) and _is_output(about) for name, about in outputs.items())
    )


def _is_output(about: dict[str, Any]) -> bool:
    files, sizes, kind = about.get("files"), about.get("sizes"), about.get("kind")
    return (
        isinstance(files, dict)
        and isinstance(sizes, dict)
        and files.keys() == sizes.keys()
        and {"images": "pixels.bin", "model": "model.safetensors", "video": "video.json"}.get(str(kind)) in files
        and all(_is_name(name) and isinstance(hash_, str) and HASH.fullmatch(hash_) for name, hash_ in files.items())
        and all(type(size) is int and size >= 0 for size in sizes.values())
        and about.get("digest") == digest_of(files)
    )


def _is_name(name: str) -> bool:
    """True for a name that leads to no other folder."""
    return not name.startswith(".") and not set(name) & set("/\\\0") and bool(name)


def _excludes(path: Path) -> bool:
    """True if a lock that this process holds keeps out whoever else wants it, which is not so on every file system."""
    import fcntl

    try:
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def own_name() -> str:
    """Name of this process among all that may use the store, as in the names of folders that are its own."""
    return f"{socket.gethostname()}.{os.getpid()}"


def is_in_use(name: str) -> bool:
    """False for the name of a process that is known to be gone; of other machines nothing is known."""
    host, _, pid = name.rpartition(".")
    return not (host == socket.gethostname() and pid.isdigit()) or is_alive(int(pid))


def _busy() -> None:
    """Do not wait for a lock.

    Raises:
        BlockingIOError: always.
    """
    raise BlockingIOError


def _touched(path: Path) -> float:
    """When a file, or anything in a folder, was changed last, in seconds since 1970; 0 if it is gone."""
    inside = (Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files))
    return max(map(_changed, (path, *inside)))


def _changed(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _size_of(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _sha256_inside(path: Path, size: int) -> str | None:
    """SHA-256 of a file of an entry; None if it is missing, cannot be read, has another size, or is no file."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if os.fstat(file.fileno()).st_size == size else None
    except (OSError, ValueError):
        return None


def _stands_at(path: Path, handle: int) -> bool:
    """True if an open file is still the one under this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _about_model(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        return {"family": Model.open(path).family, "weights": SAFETENSORS.scan(file).content}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, target)


def _move(source: Path, target: Path) -> None:
    """Bring an output to its place, without what does not belong to the result."""
    kept = set(result_files(source))
    for path in source.iterdir():
        if path not in kept:
            remove(path)
    target.parent.mkdir(exist_ok=True)
    os.rename(source, target)


def _sync_and_hash(path: Path) -> str:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_place(folder: Path) -> None:
    """Find out that a folder can neither be written nor made.

    Raises:
        ResourceError: if it is relative to a current directory that is gone.
        OSError: as writing would.
    """
    try:
        place = folder.absolute()
    except FileNotFoundError:
        raise ResourceError(f"{folder}: the current directory is gone", "change to one that is there") from None
    while True:
        try:
            mode = place.stat().st_mode
            break
        except FileNotFoundError:
            if place.is_symlink():  # it leads nowhere: what is made of it, writing will tell
                return
            place = place.parent
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        try:
            locked = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
        except FileNotFoundError:  # it went a moment ago: writing will tell
            return
        number = errno.EROFS if locked else errno.EACCES
        raise OSError(number, os.strerror(number), str(place))


def is_alive(pid: int) -> bool:
    """True if a process of this machine has this id."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has so large an id
        return False
    except OSError:
        return True
    return True


def resource_error(error: OSError) -> ResourceError | None:
    """Say an operating system error about space, permission or limits in plain words, or None if it is another."""
    words = {
        errno.ENOSPC: ("the disk is full", "free some space (`genart cache gc` helps), then run the same command again"),
        errno.EDQUOT: ("the disk quota is used up", "free some space (`genart cache gc` helps), then run the same command again"),
        errno.EROFS: ("the file system is read-only", "choose another place with --out, or move the store with XDG_CACHE_HOME"),
        errno.EACCES: ("permission denied", "choose another place with --out, or move the store with XDG_CACHE_HOME"),
        errno.EPERM: ("operation not permitted", "choose another place with --out, or move the store with XDG_CACHE_HOME"),
        errno.EMFILE: ("too many open files", "raise the limit with `ulimit -n`"),
        errno.ENFILE: ("too many open files on this machine", "close other programs"),
        errno.EFBIG: ("a file grew past the limit of this system", "raise it with `ulimit -f`, or make fewer or smaller pictures"),
        errno.EIO: ("the disk reports an input/output error", "check the disk; the same command goes on where it stopped"),
        errno.ENOMEM: ("out of memory", "use a smaller resolution, width or batch"),
        errno.EAGAIN: ("the system has no thread or memory to give", "close other programs, or raise `ulimit -u` or `ulimit -v`"),
        errno.ELOOP: ("links lead in a circle", "choose another place with --out"),
        errno.ENAMETOOLONG: ("a name or a path is too long for this system", "choose another place with --out"),
        errno.ENOTDIR: ("a file stands where a folder is needed", "choose another place with --out"),
        errno.EEXIST: ("a file stands where a folder is needed", "choose another place with --out"),
        errno.EISDIR: ("a folder stands where a file is needed", "choose another place with --out"),
    }
    if error.errno not in words:
        return None
    message, hint = words[error.errno]
    name = f": {error.filename}" if error.filename else ""
    return ResourceError(f"{message}{name}", hint)
