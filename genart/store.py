"""The store: content-addressed results of stages, each whole or absent, verified when read.

    <root>/entries/ab/<key>/manifest.json, <output>/...      finished results
    <root>/work/<ancestry>/...                               what a stage keeps between a kill and its resume
    <root>/scratch/<host>.<pid>/...                          what came through a pipe, while it is needed
    <root>/ancestry/ab/<ancestry>                            ancestry key -> key: a result found without its inputs
    <root>/remakes/<hash>/...                                a store of its own for a file that is being made again
    <root>/notes/ab/<ancestry>                               what a result was, for provenance, also after it was collected
    <root>/similar/ab/<partial>/<key>                        results that differ in their inputs alone
    <root>/history/<recipe and stage>.json                   what the last run of a stage was made of, for --why

An entry is put together under <root>/tmp, fsynced, then renamed, so it exists only when it is whole. Nothing needs a
lock for correctness: two processes that make the same result make the same bytes, and the first rename wins. The lock
around `work` only saves them doing it twice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts import Artifact, Model, StoredImages, Video, digest_of, result_files, sync_folder, write_atomically
from .errors import ResourceError
from .tags import SAFETENSORS

CHUNK = 1 << 20


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
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for out in self.manifest["outputs"].values() for size in out["sizes"].values())

    def artifact(self, output: str) -> Artifact:
        """Open one output."""
        folder, kind = self.folder / output, self.manifest["outputs"][output]["kind"]
        if kind == "images":
            return StoredImages(folder)
        if kind == "model":
            return Model.open(folder / "model.safetensors")
        about = json.loads((folder / "video.json").read_text(encoding="utf-8"))
        return Video(folder / about["file"], about["fps"], about["count"])

    def damaged(self) -> list[str]:
        """Names of files that are missing or differ from the manifest; reads every byte."""
        bad = []
        for output, about in self.manifest["outputs"].items():
            for name, wanted in about["files"].items():
                path = self.folder / output / name
                try:
                    if sha256_of(path) != wanted:
                        bad.append(f"{output}/{name}")
                except OSError:
                    bad.append(f"{output}/{name}")
        return bad


class Store:
    """All results below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()

    @classmethod
    def of_user(cls) -> Store:
        """The store in the user's cache directory; XDG_CACHE_HOME moves it."""
        from platformdirs import user_cache_path

        return cls(user_cache_path("genart", appauthor=False))

    # finding

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key if it is there, without reading its files."""
        folder = self._place("entries", key)
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(manifest, dict) and manifest.get("key") == key and manifest.pop("sha256", None) == _sha256_of_json(manifest)
        return Entry(folder, manifest) if whole else None

    def find_by_ancestry(self, ancestry: str) -> Entry | None:
        """Return the result that this chain of stages gave before, whether or not its inputs are still stored."""
        try:
            key = self._place("ancestry", ancestry).read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
        return self.find(key) if key.isalnum() else None

    def has_similar(self, partial: str) -> bool:
        """True if a result exists that could differ from this one in its inputs alone."""
        try:
            names = os.listdir(self._place("similar", partial))
        except OSError:
            return False
        return any(self.find(name) for name in names)

    def verified(self, entry: Entry) -> bool:
        """Check every file of an entry, once per process; a damaged entry is thrown away.

        Returns:
            False if it was damaged: make it again.
        """
        if entry.key in self._verified:
            return True
        if entry.damaged():
            self.discard(entry.key)
            return False
        self._verified.add(entry.key)
        with contextlib.suppress(OSError):
            os.utime(entry.folder)  # last used, for gc
        return True

    def _place(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    # making

    def check_places(self) -> None:
        """Raise OSError, as a commit would, if the store cannot be written."""
        for kind in ("work", "tmp", "entries", "ancestry", "notes", "similar", "history"):
            check_place(self.root / kind)

    def work(self, ancestry: str) -> Path:
        """Folder of a stage between its start and its commit."""
        return self.root / "work" / ancestry

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
        entry = self.find(key)
        if entry is None or replace or entry.damaged():
            if entry is not None:
                self.discard(key)
            entry = self._build(key, kinds, work, about)
        try:
            self.alias(ancestry, partial, entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._verified.add(key)
        return entry

    def forget(self, ancestry: str) -> None:
        """Remove what a fault left of a stage's work, or of its lock, after its result was stored; unless another process is at it."""
        if not (self.work(ancestry).exists() or self._lock_path(ancestry).exists()):
            return

        def busy() -> None:
            raise BlockingIOError

        with contextlib.suppress(BlockingIOError), self.lock(ancestry, busy, busy):
            shutil.rmtree(self.work(ancestry), ignore_errors=True)

    def alias(self, ancestry: str, partial: str, entry: Entry) -> None:
        """Note that a chain leads to an entry."""
        for folder in (self._place("ancestry", ancestry).parent, self._place("notes", ancestry).parent, self._place("similar", partial)):
            folder.mkdir(parents=True, exist_ok=True)
        note = {name: entry.manifest[name] for name in ("outputs", "choices", "made_with") if name in entry.manifest}
        self.write(self._place("notes", ancestry), json.dumps(note, sort_keys=True).encode())
        self.write(self._place("ancestry", ancestry), entry.key.encode())
        (self._place("similar", partial) / entry.key).touch()

    def note(self, ancestry: str) -> dict[str, Any]:
        """Outputs and choices of the result that a chain gave last, also if it is no longer stored; empty if it never gave one."""
        try:
            note = json.loads(self._place("notes", ancestry).read_bytes())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _build(self, key: str, kinds: dict[str, str], work: Path, about: dict[str, Any]) -> Entry:
        with self._temporary() as temporary:
            try:
                return self._built(key, kinds, work, about, temporary / key)
            finally:
                shutil.rmtree(temporary / key, ignore_errors=True)  # of a disk that is full, it would take the last of the room

    def _built(self, key: str, kinds: dict[str, str], work: Path, about: dict[str, Any], building: Path) -> Entry:
        shutil.rmtree(building, ignore_errors=True)
        outputs: dict[str, Any] = {}
        for output, kind in kinds.items():
            source, target = work / "outputs" / output, building / output
            target.mkdir(parents=True)
            for path in result_files(source):
                _link_or_copy(path, target / path.name)
            files = {path.name: _sync_and_hash(path) for path in sorted(target.iterdir())}
            sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
            outputs[output] = {"kind": kind, "digest": digest_of(files), "files": files, "sizes": sizes}
            if kind == "model":  # known without opening the file, because keys ask for it
                outputs[output] |= _about_model(target / "model.safetensors")
            sync_folder(target)
        manifest = {"key": key, "outputs": outputs, **about}
        written = {**manifest, "sha256": _sha256_of_json(manifest)}
        write_atomically(building / "manifest.json", json.dumps(written, sort_keys=True, allow_nan=False, indent=1).encode())
        target = self._place("entries", key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(building, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            found = self.find(key)
            if found is not None:  # another process was first with the same bytes
                shutil.rmtree(building, ignore_errors=True)
                return found
            self.discard(key)  # a wreck without a readable manifest
            os.rename(building, target)
        sync_folder(target.parent)
        return Entry(target, manifest)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield this process's folder for what is half-built or doomed; it goes when it is empty."""
        folder = self.root / "tmp" / f"{socket.gethostname()}.{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def write(self, path: Path, data: bytes) -> None:
        """Write a small file of the store's own, whole or not at all; what a kill leaves of it, the next run sweeps away."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._temporary() as temporary:
            write_atomically(path, data, through=temporary)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder that is removed in the end; what a kill leaves of it, the next run sweeps away."""
        folder = self.root / "scratch" / f"{socket.gethostname()}.{os.getpid()}" / os.urandom(4).hex()
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()

    def sweep_temporary(self) -> None:
        """Remove what processes of this machine that are gone left half-built, and what this one did but for its scratch folders."""
        for folder in (*self.root.glob("tmp/*"), *self.root.glob("scratch/*")):
            host, _, pid = folder.name.rpartition(".")
            own = folder.parent.name == "tmp" and pid == str(os.getpid())
            if host == socket.gethostname() and pid.isdigit() and (own or not is_alive(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)

    def discard(self, key: str) -> None:
        """Remove an entry; it disappears at once or not at all."""
        self._verified.discard(key)
        with self._temporary() as temporary:
            doomed = temporary / f"doomed-{key}-{os.urandom(4).hex()}"
            try:
                os.rename(self._place("entries", key), doomed)
            except FileNotFoundError:
                return
            shutil.rmtree(doomed, ignore_errors=True)

    def _lock_path(self, ancestry: str) -> Path:
        return self.root / "work" / f"{ancestry}.lock"

    @contextlib.contextmanager
    def lock(self, ancestry: str, waiting: Callable[[], None], check: Callable[[], None]) -> Iterator[None]:
        """Hold the work folder of a chain; wait while another live process has it. A dead holder's lock is gone by itself.

        Args:
            ancestry: key of the chain.
            waiting: called once when another process holds it.
            check: called again and again meanwhile; may raise.
        """
        try:
            import fcntl
        except ImportError:  # no flock here: correctness does not need it
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
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return
            if path.exists() and not told:
                waiting()
                told = True
            check()
            time.sleep(0.1)

    # remembering what was, for --why

    def remember(self, slot: str, parts: dict[str, Any]) -> None:
        """Note what the newest result of a recipe's stage is made of."""
        path = self.root / "history" / f"{slot}.json"
        self.write(path, json.dumps(parts, sort_keys=True, allow_nan=False).encode())

    def recall(self, slot: str) -> dict[str, Any] | None:
        """Return what `remember` noted last."""
        try:
            return dict(json.loads((self.root / "history" / f"{slot}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def last_seconds(self, stage: str, params: dict[str, Any]) -> float | None:
        """Seconds that a stage took most recently, preferably with these parameters, or None if it never ran."""
        found = [
            (e.manifest["parts"]["params"] == params, e.folder.stat().st_mtime, e.manifest["seconds"])
            for e in self.entries()
            if e.manifest["stage"] == stage
        ]
        return float(max(found)[2]) if found else None

    def work_bytes(self) -> int:
        """Size of what unfinished stages keep."""
        return sum(path.stat().st_size for path in self.root.glob("work/**/*") if path.is_file())

    # looking after it

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order."""
        for folder in sorted(self.root.glob("entries/??/*")):
            entry = self.find(folder.name)
            if entry is not None:
                yield entry

    def sweep_wrecks(self) -> int:
        """Remove what lies in the place of an entry without being one; return how many there were."""
        wrecks = [folder.name for folder in self.root.glob("entries/??/*") if self.find(folder.name) is None]
        for key in wrecks:
            self.discard(key)
        return len(wrecks)

    def collect(self, max_bytes: int, *, older_than_sec: float = 0.0) -> tuple[int, int]:
        """Remove entries, the longest unused first, until the store fits; and work that no run came back to for a week.

        Args:
            max_bytes: what may stay.
            older_than_sec: remove everything unused for longer than this as well (0: no such limit).

        Returns:
            (entries removed, bytes freed).
        """
        self.sweep_temporary()
        self.sweep_wrecks()
        now = time.time()
        found = sorted(((e.folder.stat().st_mtime, e.bytes, e.key) for e in self.entries()), reverse=True)
        kept = removed = freed = 0
        for used, size, key in found:
            if kept + size > max_bytes or (older_than_sec and now - used > older_than_sec):
                self.discard(key)
                removed, freed = removed + 1, freed + size
            else:
                kept += size
        for folder in (*self.root.glob("work/*"), *self.root.glob("remakes/*")):
            if now - folder.stat().st_mtime > 7 * 86400:
                shutil.rmtree(folder, ignore_errors=True) if folder.is_dir() else folder.unlink(missing_ok=True)
        self._drop_dead_links()
        return removed, freed

    def _drop_dead_links(self) -> None:
        for path in self.root.glob("ancestry/??/*"):
            if self.find_by_ancestry(path.name) is None:
                path.unlink(missing_ok=True)
        for path in self.root.glob("similar/??/*/*"):
            if self.find(path.name) is None:
                path.unlink(missing_ok=True)
        if not any(self.entries()):
            shutil.rmtree(self.root / "notes", ignore_errors=True)


def _stands_at(path: Path, handle: int) -> bool:
    """True if an open file is still the one under this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _about_model(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        return {"family": Model.open(path).family, "weights": SAFETENSORS.scan(file).content}


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, target)


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
        locked = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
        number = errno.EROFS if locked else errno.EACCES
        raise OSError(number, os.strerror(number), str(place))


def is_alive(pid: int) -> bool:
    """True if a process of this machine has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
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
        errno.ENAMETOOLONG: ("a name or a path is too long for this system", "choose another place with --out"),
        errno.ENOTDIR: ("a file stands where a folder is needed", "choose another place with --out"),
        errno.EEXIST: ("a file stands where a folder is needed", "choose another place with --out"),
    }
    if error.errno not in words:
        return None
    message, hint = words[error.errno]
    name = f": {error.filename}" if error.filename else ""
    return ResourceError(f"{message}{name}", hint)
