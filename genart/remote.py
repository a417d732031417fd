"""A store that machines share under an address, beside the store of each machine: `--store s3://BUCKET/PREFIX`.

    <address>/entries/ab/<key>/manifest.json                 a finished result; written last, and never over another's
    <address>/entries/ab/<key>/<content>/<output>/...        its files, by the content of all of them
    <address>/ancestry/ab/<ancestry>                         ancestry key -> key, and what the result was
    <address>/similar/ab/<partial>/<key>                     results that differ in their inputs alone

Each machine works in its own store, which is the cache too; work, locks and what is being read stay there. A result is put there first
and then under the address, so a broken connection loses nothing. Nothing is locked under the address: what is written is written whole,
the first manifest of a key stands, and files of other content lie beside its own. What comes from there is no more than bytes: names
lead nowhere else, sizes are bounded by the manifest, contents are compared with their SHA-256 before anybody sees them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts import MAX_RECORD_BYTES, digest_of, remove, sealed, unsealed, write_atomically
from .bucket import Bucket, check_url
from .errors import ResourceError
from .store import HASH, Entry, Store, note_of, place_of, sealed_manifest, unsealed_manifest

#: Variable of the environment that names the address, where the command line does not.
VARIABLE = "GENART_STORE"
MANIFEST = "manifest.json"
#: Seconds for which files that belong to no result may be those of one that is being written.
GRACE_SEC = 86400.0
#: Manifests that are asked for at once.
AT_ONCE = 256


def store_for(url: str | None) -> Store:
    """The user's store, or that beside the shared one at an address.

    Args:
        url: as given on the command line; else the variable GENART_STORE says it, if it is set.

    Raises:
        GenartError: if it is no address, or a library is missing.
    """
    own = Store.of_user()
    source = "--store" if url is not None else VARIABLE
    url = url if url is not None else os.environ.get(VARIABLE) or None
    return own if url is None else RemoteStore(own.root, Bucket.of(check_url(url, source)))


@dataclass(frozen=True)
class Held:
    """A result under an address, as its listing has it.

    Attributes:
        key: of the result.
        files: (bytes, seconds since 1970) of each file, by name.
    """

    key: str
    files: Mapping[str, tuple[int, float]]

    @property
    def manifest(self) -> str:
        """Name of its manifest."""
        return _manifest_of(self.key)

    @property
    def written(self) -> float:
        """When the newest of its files was written."""
        return max(when for _, when in self.files.values())

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(size for size, _ in self.files.values())


class Shared:
    """The results under an address; what `genart cache --store` looks after.

    Args:
        bucket: the files there.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._foreseen: dict[str, bytes | None] = {}

    @classmethod
    def at(cls, url: str) -> Shared:
        """The results under an address.

        Raises:
            GenartError: if it is no address, or a library is missing.
        """
        return cls(Bucket.of(check_url(url)))

    @property
    def place(self) -> str:
        """Where results are, for people."""
        return self.bucket.url

    def work_bytes(self) -> int:
        """Size of what unfinished stages keep: it stays on their machines."""
        return 0

    # finding

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Small files; None where there is none. What was foreseen is asked for once."""
        unknown = [name for name in names if name not in self._foreseen]
        found = dict(zip(unknown, self.bucket.read(unknown, MAX_RECORD_BYTES), strict=True))
        return [found[name] if name in found else self._foreseen.pop(name) for name in names]

    @contextlib.contextmanager
    def foreseen(self, names: Sequence[str], known: Mapping[str, bytes | None] | None = None) -> Iterator[None]:
        """Ask at once for small files that are going to be read meanwhile; some may be known already."""
        self._foreseen = {**dict(zip(names, self.bucket.read(names, MAX_RECORD_BYTES), strict=True)), **(known or {})}
        try:
            yield
        finally:
            self._foreseen = {}

    def manifests(self, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        """The manifests of keys; None where there is none, or it is damaged."""
        contents = self.read([_manifest_of(key) for key in keys])
        return [unsealed_manifest(_json(data), key) for key, data in zip(keys, contents, strict=True)]

    def chain(self, ancestry: str) -> dict[str, Any]:
        """What is noted of a chain: {"key": ..., "note": ...}; empty if nothing is."""
        name = place_of("ancestry", ancestry)
        return _chain(self.read([name])[0], name) or {}

    def similar(self, partial: str) -> list[str]:
        """Keys of results that differ in their inputs alone."""
        names = (name.rpartition("/")[2] for name in self.bucket.listing(place_of("similar", partial)))
        return sorted(filter(HASH.fullmatch, names))

    def entries(self) -> Iterator[Entry]:
        """All results, in no order; their files are not here."""
        keys = [held.key for held in self.held() if held.manifest in held.files]
        for at in range(0, len(keys), AT_ONCE):
            some = keys[at : at + AT_ONCE]
            yield from (Entry(Path(), found) for found in self.manifests(some) if found is not None)

    def held(self) -> list[Held]:
        """What lies under the address for each key, be it whole or not."""
        files: dict[str, dict[str, tuple[int, float]]] = {}
        for name, about in self.bucket.listing("entries").items():
            parts = name.split("/")
            if len(parts) > 3 and HASH.fullmatch(parts[2]):
                files.setdefault(parts[2], {})[name] = about
        return [Held(key, found) for key, found in sorted(files.items())]

    # files

    def pieces(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a result in pieces, in order, each file's content compared with its hash.

        Yields:
            ("output/name", bytes); a file without content once, with none.

        Raises:
            Damaged: at the first file that is missing or differs; what was yielded of it is not to be used.
        """
        places = _places(manifest)
        sizes = {place: manifest["outputs"][output]["sizes"][name] for place, (output, name) in places.items()}
        pieces = self.bucket.stream(sizes)
        for place, (output, name) in places.items():
            whole, left = hashlib.sha256(), sizes[place]
            if not left:
                yield f"{output}/{name}", b""
            while left:
                _, data = next(pieces)
                if data is None:
                    raise Damaged(f"{output}/{name}")
                whole.update(data)
                left -= len(data)
                yield f"{output}/{name}", data
            if whole.hexdigest() != manifest["outputs"][output]["files"][name]:
                raise Damaged(f"{output}/{name}")

    def damaged(self, entry: Entry) -> list[str]:
        """Name of the first file that is missing or differs from the manifest; reads every byte up to there."""
        try:
            for _ in self.pieces(entry.manifest):
                pass
        except Damaged as damage:
            return [str(damage)]
        return []

    # writing

    def put(self, entry: Entry, ancestry: str, partial: str, *, replace: bool) -> dict[str, Any]:
        """Put a result under the address: its files, what leads to it, and its manifest last.

        Args:
            entry: the result; its files are held.
            ancestry: key of its chain.
            partial: its key without inputs.
            replace: one that is there already gives way.

        Returns:
            The manifest that stands there then, which may be another's.
        """
        manifest, name = entry.manifest, _manifest_of(entry.key)
        self.bucket.put({place: entry.folder / output / file for place, (output, file) in _places(manifest).items()})
        self.note(entry, ancestry, partial)
        data = sealed_manifest(manifest)
        if not replace and self.bucket.create(name, data):
            return manifest
        stands = None if replace else self.manifests([entry.key])[0]
        if stands is None:  # what lies there is a wreck
            self.bucket.write({name: data})
        elif not _same(entry, stands):
            self.note(Entry(entry.folder, stands), ancestry, partial)
        return stands or manifest

    def note(self, entry: Entry, ancestry: str, partial: str) -> None:
        """Note that a chain leads to a result."""
        name = place_of("ancestry", ancestry)
        told = json.dumps(sealed({"key": entry.key, "note": note_of(entry)}, name), sort_keys=True)
        self.bucket.write({name: told.encode(), f"{place_of('similar', partial)}/{entry.key}": b"{}"})

    # removing

    def discard(self, key: str) -> None:
        """Remove a result: it is gone with its manifest. Its files stay for a day, since others may be writing the same again."""
        self.bucket.remove(_manifest_of(key))

    def discard_damaged(self, manifest: Mapping[str, Any]) -> None:
        """Remove a result that was found damaged, unless another has taken its place meanwhile."""
        key = str(manifest["key"])
        if self.manifests([key])[0] == manifest:
            self.discard(key)

    def forget_parts(self, partial: str, keys: Sequence[str]) -> None:
        """Remove results that are parts of another, and all that leads to them; see `Store.forget_parts`."""
        found = self.manifests(keys)
        self.bucket.remove_many(map(_manifest_of, keys))
        names = [place for manifest in found if manifest for place in _places(manifest)]
        names += [place_of("ancestry", key) for key in keys] + [f"{place_of('similar', partial)}/{key}" for key in keys]
        self.bucket.remove_many(names)

    def sweep_wrecks(self) -> int:
        """Remove manifests that are none; return how many there were."""
        listed = [held.key for held in self.held() if held.manifest in held.files]
        wrecks = 0
        for at in range(0, len(listed), AT_ONCE):
            some = listed[at : at + AT_ONCE]
            for key, data in zip(some, self.read([_manifest_of(key) for key in some]), strict=True):
                if data is not None and unsealed_manifest(_json(data), key) is None:
                    self.discard(key)
                    wrecks += 1
        return wrecks

    def collect(self, max_bytes: int, *, older_than_sec: float | None = None) -> tuple[int, int]:
        """Remove results, the oldest first, until the rest fits; and files that have belonged to none for a day.

        When a result was used last is not known there: its age counts, since it was put there.

        Args:
            max_bytes: what may stay.
            older_than_sec: remove everything older than this as well; None for no such limit.

        Returns:
            (results removed, bytes freed).
        """
        now = time.time()
        self.bucket.sweep(GRACE_SEC)
        kept = removed = freed = 0
        for held in sorted(self.held(), key=lambda held: held.written, reverse=True):
            whole = held.manifest in held.files
            age = now - held.written
            old = older_than_sec is not None and age > older_than_sec
            if (whole and (kept + held.bytes > max_bytes or old)) or (not whole and age > GRACE_SEC):
                self.bucket.remove(held.manifest)
                self.bucket.remove_many(name for name in held.files if name != held.manifest)
                removed, freed = removed + whole, freed + held.bytes
            else:
                spare = self._spare(held, now) if whole else {}
                self.bucket.remove_many(spare)
                freed += sum(spare.values())
                kept += held.bytes - sum(spare.values())
        self._drop_dead_links()
        return removed, freed

    def _spare(self, held: Held, now: float) -> dict[str, int]:
        """Old files beside those of a result, with their sizes: another's of the same key, whose manifest does not stand."""
        folders = {name.split("/")[3] for name in held.files if name != held.manifest}
        if len(folders) < 2:
            return {}
        manifest = self.manifests([held.key])[0]
        own = {held.manifest, *(_places(manifest) if manifest is not None else ())}
        return {name: size for name, (size, when) in held.files.items() if name not in own and now - when > GRACE_SEC}

    def _drop_dead_links(self) -> None:
        """Remove what leads to results that are gone; what they were stays noted, unless there is none left."""
        alive = {held.key for held in self.held()}
        self.bucket.remove_many(name for name in self.bucket.listing("similar") if name.rpartition("/")[2] not in alive)
        if not alive:
            self.bucket.remove_many(self.bucket.listing("ancestry"))


class Damaged(Exception):
    """A file of a result is missing, or is not what its manifest says; holds its name."""


class RemoteStore(Store):
    """The store of this machine, and a shared one beside it.

    Args:
        root: of the former.
        bucket: the files of the latter.
    """

    def __init__(self, root: Path, bucket: Bucket) -> None:
        super().__init__(root)
        self.bucket = bucket
        self.shared = Shared(bucket)
        #: keys of results that are the same here and there
        self._agreed: set[str] = set()

    @property
    def place(self) -> str:
        """Where results are, for people."""
        return self.bucket.url

    @property
    def address(self) -> str:  # type: ignore[override]
        """Of the shared store."""
        return self.bucket.url

    # finding

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key if it is here or there. Of two that differ, others build upon the one that is there."""
        here = self._here(key)
        if (here is not None and key in self._agreed) or not HASH.fullmatch(key):
            return here
        there = self.shared.manifests([key])[0]
        if there is None:
            return here
        if here is not None and not _same(here, there):
            self._remove_here(key)
            here = None
        self._agreed.add(key)
        return here or Entry(self._place("entries", key), there)

    def find_by_ancestry(self, ancestry: str) -> Entry | None:
        """Return the result that this chain of stages gave before, here or there."""
        known = self.key_of(ancestry)
        entry = self.find(known) if known else None
        if entry is None:
            told = self.shared.chain(ancestry).get("key")
            entry = self.find(told) if told and told != known else None
        return entry

    def note(self, ancestry: str) -> dict[str, Any]:
        """What the result of a chain was; see `Store.note`."""
        return super().note(ancestry) or self.shared.chain(ancestry).get("note", {})

    def similar(self, partial: str) -> Iterator[Entry]:
        """Results that differ in their inputs alone, here or there."""
        keys = {*self.shared.similar(partial)}
        with contextlib.suppress(OSError):
            keys.update(os.listdir(self._place("similar", partial)))
        with self.shared.foreseen([_manifest_of(key) for key in sorted(keys) if HASH.fullmatch(key)]):
            yield from filter(None, map(self.find, sorted(keys)))

    @contextlib.contextmanager
    def foreseen(self, ancestries: Iterable[str]) -> Iterator[None]:
        """Ask at once for all that planning is going to look up: first for chains, then for results."""
        known = {ancestry: self.key_of(ancestry) for ancestry in ancestries}
        names = [place_of("ancestry", ancestry) for ancestry, key in known.items() if key is None]
        contents = dict(zip(names, self.shared.read(names), strict=True))
        told = [found["key"] for name, data in contents.items() if (found := _chain(data, name))]
        keys = sorted({*filter(None, known.values()), *told} - self._agreed)
        with self.shared.foreseen([_manifest_of(key) for key in keys], contents):
            yield

    # reading

    def verified(self, entry: Entry) -> bool:
        """Check every file of an entry, and fetch it if it is not here; see `Store.verified`."""
        if entry.key in self._verified:
            return True
        here = self._here(entry.key)
        if here is not None and not _same(here, entry.manifest):  # it was replaced: look again
            return False
        return (here is not None and super().verified(here)) or self._fetch(entry)

    def hold(self, entry: Entry) -> Entry | None:
        """Hold an entry, and fetch it if it is not here; see `Store.hold`."""
        if entry.key not in self._held:
            here = self._here(entry.key)
            if not (self._fetch(entry) if here is None else _same(here, entry.manifest)):
                return None
        return super().hold(entry)

    def _fetch(self, entry: Entry) -> bool:
        """Bring an entry here, if it is whole there."""
        with self._temporary() as temporary:
            building = temporary / f"{entry.key}-{os.urandom(4).hex()}"
            try:
                self._fill(building, entry.manifest)
                write_atomically(building / MANIFEST, sealed_manifest(entry.manifest))
                if not _same(self._put(Entry(building, entry.manifest), durable=True), entry.manifest):
                    return False
            except Damaged:
                self._agreed.discard(entry.key)
                self.shared.discard_damaged(entry.manifest)
                return False
            finally:
                remove(building)
        self._verified.add(entry.key)
        return True

    def _fill(self, building: Path, manifest: Mapping[str, Any]) -> None:
        for output in manifest["outputs"]:
            (building / output).mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            name, file = "", None
            for piece, data in self.shared.pieces(manifest):
                if file is None or piece != name:
                    stack.close()
                    name, file = piece, stack.enter_context(open(building / piece, "xb"))
                    stack.callback(_sync, file)
                file.write(data)

    # making

    def check_places(self) -> None:
        """Raise an error, as a commit would, if the store cannot be written, here or there."""
        super().check_places()
        self.bucket.check_place()

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
        """Make an entry of what a stage left, here, then put it there; see `Store.commit`.

        Raises:
            ResourceError: if it cannot be put there; it is here, and the next run puts it there.
        """
        entry = super().commit(key, ancestry=ancestry, partial=partial, kinds=kinds, work=work, about=about, replace=replace)
        self._agreed.discard(key)
        there = None if replace else self.shared.manifests([key])[0]
        self._agree(entry, there or self._put_there(entry, ancestry, partial, replace=replace))
        return entry

    def commit_part(self, key: str, *, shelf: str, kinds: dict[str, str], work: Path, about: dict[str, Any]) -> Entry:
        """Make an entry of some pictures of a result, here, then put it there; see `Store.commit_part`.

        Raises:
            ResourceError: if it cannot be put there.
        """
        entry = super().commit_part(key, shelf=shelf, kinds=kinds, work=work, about=about)
        self._agreed.discard(key)
        self._agree(entry, self.shared.manifests([key])[0] or self._put_there(entry, key, shelf))
        return entry

    def trust(self, key: str) -> None:
        """What other machines have found whole is a copy of their own: see for oneself."""

    def share(self, ancestry: str, partial: str, entry: Entry) -> None:
        """Put a result that was here already there too, unless it is there."""
        if entry.key not in self._agreed and self.verified(entry):
            self._agree(entry, self._put_there(entry, ancestry, partial))

    def _put_there(self, entry: Entry, ancestry: str, partial: str, *, replace: bool = False) -> dict[str, Any]:
        before = entry.key in self._held
        held = self.hold(entry)
        if held is None:
            raise ResourceError(f"the result {entry.key[:12]} was taken away before it was shared", "run the same command again")
        try:
            return self.shared.put(held, ancestry, partial, replace=replace)
        finally:
            if not before:
                self.let_go(entry.key)

    def _agree(self, entry: Entry, there: Mapping[str, Any]) -> None:
        """Note that a result is the same here and there, if it is: else the next to look for it takes that which is there."""
        if _same(entry, there):
            self._agreed.add(entry.key)

    def discard(self, key: str) -> None:
        """Remove an entry, there and here."""
        self._agreed.discard(key)
        self.shared.discard(key)
        self._remove_here(key)

    def forget_parts(self, shelf: str) -> None:
        """Remove all entries that are parts of a result, here and there; see `Store.forget_parts`."""
        super().forget_parts(shelf)
        self.shared.forget_parts(shelf, self.shared.similar(shelf))


def _same(entry: Entry, manifest: Mapping[str, Any]) -> bool:
    """True if an entry has the content of which a manifest tells; seconds and versions may differ."""
    return bool(entry.manifest["outputs"] == manifest["outputs"])


def _manifest_of(key: str) -> str:
    return f"{place_of('entries', key)}/{MANIFEST}"


def _places(manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """(output, name) of each file of a result, by its name under the address: files of another content lie elsewhere."""
    content = digest_of({output: str(about["digest"]) for output, about in manifest["outputs"].items()})
    folder = f"{place_of('entries', manifest['key'])}/{content}"
    return {f"{folder}/{output}/{name}": (output, name) for output, about in manifest["outputs"].items() for name in about["files"]}


def _json(data: bytes | None) -> Any:
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def _chain(data: bytes | None, name: str) -> dict[str, Any] | None:
    """What `Shared.note` wrote under this name; None if it is damaged, or is no such thing."""
    found = unsealed(_json(data), name)
    if found is None or not HASH.fullmatch(str(found.get("key"))) or not isinstance(found.get("note"), dict):
        return None
    return found


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
