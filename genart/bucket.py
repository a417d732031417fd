"""Files under an address (s3://, gs://, file://), through fsspec: read within bounds, written whole or not at all.

Credentials come from where fsspec's file systems look for them, the environment and the provider's own files. An address holds none, and
nothing that is told holds any. Broken connections and busy servers are tried again by those file systems, several times and ever later.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import GenartError, RefusedError, ResourceError, UsageError

#: Schemes of addresses, and what to install for each.
SCHEMES = {"s3": "genart[s3]", "gs": "genart[gs]", "file": "fsspec"}
#: Bytes that are asked for at once, and how many such requests there are at the same time.
CHUNK_BYTES, CHUNKS_AT_ONCE = 8 << 20, 8
#: Name of the file that says what the address is for.
MARK = "store.json"
#: End of the name of a file that is being put together.
ASIDE = ".tmp"
#: Codes of object stores for what is not there, and for a range behind the end of what is there.
NO_BUCKET, NO_RANGE = ("NoSuchBucket",), ("InvalidRange", "416")
#: Options of fsspec's file systems: an upload in parts takes 50 MB of memory for each of those that go at once.
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 4}, "file": {"auto_mkdir": True}}
#: Words in codes and messages of stores that let nobody in, and of such as are full.
DENIED = re.compile(r"\b(401|403|Forbidden|AccessDenied|Unauthorized)\b")
FULL = re.compile(r"quota|storage ?full|insufficient ?storage|no space", re.IGNORECASE)
#: Names of errors, of whatever library, for what does not answer and for credentials that are not there.
SILENT = re.compile(r"Endpoint|Connect|Timeout|SSL|Resolv|gaierror")
NO_CREDENTIALS = re.compile(r"Credential|TokenRetrieval|RefreshError|ProfileNotFound")


def check_url(url: str, source: str = "--store") -> str:
    """Return the address of a store as it is used.

    Args:
        url: such as s3://BUCKET/PREFIX.
        source: where it was given, for errors.

    Raises:
        RefusedError: if there is a user name or a password in it.
        UsageError: if it is no address of a store.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{source}: this is no address", _EXPECTED) from None
    if {"@", ":"} & set(parts.netloc) or ("@" in url and parts.scheme != "file"):
        hint = "credentials come from the environment (AWS_ACCESS_KEY_ID, ...) or from the provider's own files, such as ~/.aws"
        raise RefusedError(f"{source}: an address with a user name or a password in it is refused", hint)
    if parts.scheme not in SCHEMES or re.search(r"[?#*\[\]\0]|//|/\.\.?(/|$)", url.partition("://")[2].lstrip("/")):
        raise UsageError(f"{source} {url}: this is no address of a store", _EXPECTED)
    if (parts.scheme == "file") == bool(parts.netloc) or not (parts.netloc or parts.path.strip("/")):
        raise UsageError(f"{source} {url}: this is no address of a store", _EXPECTED)
    return url.rstrip("/")


_EXPECTED = "expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER"


class Bucket:
    """Files by name, under one address.

    Args:
        files: a file system of fsspec.
        root: the path of the address in it.
        url: the address, for errors.
    """

    def __init__(self, files: Any, root: str, url: str) -> None:
        self.files, self.root, self.url = files, root.rstrip("/"), url
        #: files can be seen while they are written, so they are put together under another name
        self._renames = bool(getattr(files, "local_file", False))

    @classmethod
    def of(cls, url: str) -> Bucket:
        """The files under an address that `check_url` has seen; no server is asked yet.

        Raises:
            UsageError: if a library is missing.
            ResourceError: if a folder is not there: it may be that of a disk that is not mounted, so it is not made.
        """
        scheme, _, path = url.partition("://")
        try:
            import fsspec

            files = fsspec.filesystem(scheme, use_listings_cache=False, **OPTIONS.get(scheme, {}))
        except ImportError as error:
            missing = error.name or {"s3": "s3fs", "gs": "gcsfs"}.get(scheme, "fsspec")
            raise UsageError(
                f"a store on {scheme}:// needs {missing}, which is not installed", f"pip install '{SCHEMES[scheme]}'"
            ) from None
        if scheme == "file" and not files.isdir(path):
            raise ResourceError(f"the store {url}: there is no such folder", "make it first, or see whether it is mounted")
        return cls(files, path, url)

    # reading

    def read(self, names: Sequence[str], limit: int) -> list[bytes | None]:
        """The first bytes of each file, all asked for at once.

        Args:
            names: of the files.
            limit: bytes of each at most.

        Returns:
            None for a file that is not there.

        Raises:
            ResourceError: if the store cannot be read.
        """
        if not names:
            return []
        return list(self._ranges([(name, 0, limit) for name in names]))

    def stream(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes | None]]:
        """Yield files in pieces, in order, and never more of one than its size.

        Args:
            sizes: of each file in bytes, by name; an empty one yields nothing.

        Yields:
            (name, bytes): None instead of bytes if the file does not reach so far, or is not there.
        """
        spans = ((name, at, min(at + CHUNK_BYTES, size)) for name, size in sizes.items() for at in range(0, size, CHUNK_BYTES))
        while some := list(islice(spans, CHUNKS_AT_ONCE)):
            for (name, start, stop), data in zip(some, self._ranges(some), strict=True):
                yield name, data if data is not None and len(data) == stop - start else None

    def _ranges(self, spans: Sequence[tuple[str, int, int]]) -> Iterator[bytes | None]:
        names, starts, stops = map(list, zip(*spans, strict=True))
        with self._telling():
            found = self.files.cat_ranges([self._path(name) for name in names], starts, stops, on_error="return")
        for data in found:
            if isinstance(data, BaseException):
                if not is_absent(data) and _code(data) not in NO_RANGE:
                    raise self.told(data) from data
                yield None if is_absent(data) else b""
            else:
                yield bytes(data)

    def listing(self, folder: str) -> dict[str, tuple[int, float]]:
        """All files below a folder, as the store lists them: bytes, and seconds since 1970 when it was written, by name."""
        return {name: about for name, about in self._listed(self._path(folder)).items() if not name.endswith(ASIDE)}

    def sweep(self, older_than_sec: float) -> None:
        """Remove what killed processes were putting together under other names, where that is done, and is so old."""
        now = time.time()
        listed = self._listed(self.root) if self._renames else {}
        self.remove(*(name for name, (_, when) in listed.items() if name.endswith(ASIDE) and now - when > older_than_sec))

    def _listed(self, path: str) -> dict[str, tuple[int, float]]:
        with self._telling():
            try:
                if self._renames:
                    found = self.files.find(path, withdirs=False, detail=True)
                else:  # an object store asks once for what begins so; for a folder that is not there it would look again and again
                    above, _, last = path.rpartition("/")
                    found = self.files.find(above, withdirs=False, detail=True, prefix=f"{last}/")
            except FileNotFoundError as error:
                if not is_absent(error):
                    raise
                return {}
        head = len(self.root) + 1
        return {name[head:]: (int(about.get("size") or 0), _written(about)) for name, about in found.items() if name.startswith(f"{path}/")}

    # writing

    def check_place(self) -> None:
        """Find out, before anything is computed, that the store can be written.

        Raises:
            ResourceError: if not.
        """
        self.write({MARK: b'{"format": 1, "program": "genart"}\n'})

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write small files, each whole or not at all; what is there gives way."""
        with self._telling():
            if not self._renames:
                self.files.pipe({self._path(name): data for name, data in contents.items()})
                return
            for name, data in contents.items():
                with self._aside(name) as aside:
                    self.files.pipe_file(aside, data)
                    self.files.mv(aside, self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; where the store cannot tell both at once, the last of two writers wins.

        Returns:
            False if there is one.
        """
        path = self._path(name)
        with self._telling():
            try:
                if not self._renames:
                    self.files.pipe_file(path, data, mode="create")
                    return True
                with self._aside(name) as aside:
                    self.files.pipe_file(aside, data)
                    with suppress(PermissionError, NotImplementedError):  # no hard links here
                        self.files.link(aside, path)
                        return True
                    if self.files.exists(path):
                        return False
                    self.files.mv(aside, path)
                return True
            except FileExistsError:
                return False
            except Exception as error:
                if _code(error) == "ConditionalRequestConflict":  # another writes it at this moment
                    return False
                if _code(error) not in ("NotImplemented", "501"):
                    raise
        self.write({name: data})
        return True

    def put(self, sources: Mapping[str, Path]) -> None:
        """Copy files of this machine, each whole or not at all; what is there gives way.

        Args:
            sources: path of each, by the name that it gets.
        """
        with self._telling():
            if not self._renames:
                self.files.put([str(path) for path in sources.values()], [self._path(name) for name in sources])
                return
            for name, path in sources.items():
                with self._aside(name) as aside:
                    self.files.put_file(str(path), aside)
                    self.files.mv(aside, self._path(name))

    def remove(self, *names: str) -> None:
        """Remove files, as far as they are there."""
        with self._telling():
            for name in names:
                try:
                    self.files.rm_file(self._path(name))
                except FileNotFoundError as error:
                    if not is_absent(error):
                        raise

    def remove_many(self, names: Iterable[str]) -> None:
        """Remove many files in few requests; a store may keep some of them without a word."""
        names = list(names)
        if not names:
            return
        with self._telling():
            try:
                if not self._renames:
                    self.files.rm([self._path(name) for name in names])
                    return
            except FileNotFoundError as error:
                if not is_absent(error):
                    raise
        self.remove(*names)

    @contextmanager
    def _aside(self, name: str) -> Iterator[str]:
        """Yield a name beside that of a file, which is gone in the end."""
        folder, _, last = self._path(name).rpartition("/")
        aside = f"{folder}/.{last}.{os.urandom(8).hex()}{ASIDE}"
        try:
            yield aside
        finally:
            with suppress(FileNotFoundError):
                self.files.rm_file(aside)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    # errors

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (GenartError, AssertionError, AttributeError, NameError, TypeError):  # the last are bugs
            raise
        except Exception as error:
            raise self.told(error) from error

    def told(self, error: BaseException) -> ResourceError:
        """An error of a library in plain words."""
        kind, code, number = type(error).__name__, _code(error), getattr(error, "errno", None)
        first = " ".join(str(error).split())[:200]
        if code in NO_BUCKET or isinstance(error, FileNotFoundError):
            what = "folder" if self._renames and code not in NO_BUCKET else "bucket"
            words, hint = f"there is no such {what}", "make it first, or look at the address and at AWS_ENDPOINT_URL"
        elif NO_CREDENTIALS.search(kind):
            words, hint = (
                "there are no credentials for it",
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the provider asks for",
            )
        elif isinstance(error, PermissionError) or DENIED.search(f"{code} {first}"):
            words, hint = "access is denied", "see that the credentials in use may list, read, write and remove objects there"
        elif number in (errno.ENOSPC, errno.EDQUOT) or FULL.search(f"{code} {first}"):
            words, hint = "it is full, or its quota is used up", f"free some space (`genart cache gc --store {self.url}` helps)"
        elif isinstance(error, TimeoutError | ConnectionError) or SILENT.search(kind):
            words, hint = "nothing answers there", "look at the network and at AWS_ENDPOINT_URL"
        else:
            clean = re.sub(r"//[^/@\s]*@", "//", first)
            words, hint = f"{kind}: {clean}".rstrip(": "), "look at the address"
        return ResourceError(f"the store {self.url}: {words}", f"{hint}; what was made is kept on this machine, the same command goes on")


def is_absent(error: BaseException) -> bool:
    """True for a file that is not there in a store that is."""
    return isinstance(error, FileNotFoundError) and _code(error) not in NO_BUCKET


def _code(error: BaseException) -> str:
    """The code that an object store gave with an error; empty if there is none."""
    for one in (error.__cause__, error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return str(getattr(error, "code", "") or "")


def _written(about: Mapping[str, Any]) -> float:
    """When a listed file was written, under whatever name the file system tells it; 0 if it does not."""
    when = next((about[name] for name in ("LastModified", "mtime", "updated", "created") if about.get(name) is not None), 0.0)
    if isinstance(when, str):
        from datetime import datetime

        when = datetime.fromisoformat(when)
    return float(when.timestamp() if hasattr(when, "timestamp") else when)
