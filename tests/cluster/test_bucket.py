"""Files under an address: the same promises for an object store, for S3 itself, and for a folder."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from genart import bucket as module
from genart.bucket import Bucket, check_url
from genart.errors import RefusedError, ResourceError, UsageError

from .conftest import in_folder
from .s3 import SECRET


def test_what_is_written_is_read(bucket: Bucket) -> None:
    bucket.write({"a/b/one": b"1", "a/two": b"", "a/three": b"333"})
    assert bucket.read(["a/three", "a/none", "a/two", "a/b/one"], 100) == [b"333", None, b"", b"1"]
    bucket.write({"a/three": b"4"})
    assert bucket.read(["a/three"], 100) == [b"4"]
    assert bucket.read([], 100) == []


def test_no_more_is_read_than_was_asked_for(bucket: Bucket) -> None:
    bucket.write({"a": b"0123456789"})
    assert bucket.read(["a"], 4) == [b"0123"]


def test_files_come_in_pieces_in_order(bucket: Bucket, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4)
    monkeypatch.setattr(module, "CHUNKS_AT_ONCE", 3)
    Path("one").write_bytes(b"0123456789")
    Path("two").write_bytes(b"abcd")
    Path("empty").write_bytes(b"")
    bucket.put({"x/one": Path("one"), "y/two": Path("two"), "y/empty": Path("empty")})
    pieces = list(bucket.stream({"x/one": 10, "y/empty": 0, "y/two": 4}))
    assert pieces == [("x/one", b"0123"), ("x/one", b"4567"), ("x/one", b"89"), ("y/two", b"abcd")]
    assert list(bucket.stream({"x/one": 3})) == [("x/one", b"012")], "no more than its size"
    assert [data for _, data in bucket.stream({"x/one": 13})] == [b"0123", b"4567", None, None], "it is shorter than that"
    assert list(bucket.stream({"none": 2})) == [("none", None)]
    sizes = bucket.stream({"x/one": 1 << 60})
    assert [next(sizes)[1] for _ in range(3)] == [b"0123", b"4567", None], "a size that is not true costs nothing"


def test_the_first_stands(bucket: Bucket) -> None:
    assert bucket.create("a/b", b"first")
    assert not bucket.create("a/b", b"second")
    assert bucket.read(["a/b"], 100) == [b"first"]


def test_of_many_at_once_one_is_first(bucket: Bucket) -> None:
    if not isinstance(bucket.url, str) or bucket.url.startswith("s3://memory"):
        return  # a dictionary of this process, which asks and then writes
    won: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if bucket.create("a/b", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in won] == bucket.read(["a/b"], 100)


def test_listing_and_removing(bucket: Bucket) -> None:
    assert bucket.listing("a") == {}
    bucket.write({"a/b/c": b"1", "a/d": b"22", "ab/c": b"3"})
    listed = bucket.listing("a")
    assert {name: size for name, (size, _) in listed.items()} == {"a/b/c": 1, "a/d": 2}
    bucket.write({"a/new": b""})
    assert abs(bucket.listing("a")["a/new"][1] - os.stat(Path.cwd()).st_mtime) < 3600, "in seconds since 1970"
    bucket.remove("a/d", "a/none")
    bucket.remove_many(["a/new", "a/nothing"])
    bucket.remove_many([])
    assert list(bucket.listing("a")) == ["a/b/c"]
    assert list(bucket.listing("ab")) == ["ab/c"]


def test_nothing_is_left_aside(bucket: Bucket, home: Path) -> None:
    Path("one").write_bytes(b"1")
    bucket.put({"x/one": Path("one")})
    bucket.write({"x/two": b"2"})
    bucket.create("x/three", b"3")
    bucket.create("x/three", b"4")
    assert sorted(bucket._listed(bucket.root)) == ["x/one", "x/three", "x/two"]


def test_what_a_killed_process_left_aside_is_swept_when_it_is_old(home: Path) -> None:
    (home / "shared" / "x").mkdir(parents=True)
    bucket = Bucket.of(f"file://{home}/shared")
    for name, age in (("old", 90000), ("new", 10)):
        path = home / "shared" / "x" / f".{name}.0123.tmp"
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert bucket.listing("x") == {}
    bucket.sweep(86400)
    assert [path.name for path in (home / "shared" / "x").iterdir()] == [".new.0123.tmp"]


def test_a_folder_that_cannot_link_takes_the_first_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "shared").mkdir()
    bucket = Bucket.of(f"file://{home}/shared")

    def link(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert bucket.create("a", b"1")
    assert not bucket.create("a", b"2")
    assert bucket.read(["a"], 9) == [b"1"]


def test_nothing_half_written_is_to_be_seen_in_a_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = in_folder(home)
    Path("one").write_bytes(b"new, and longer")
    bucket.write({"a": b"old"})

    def put_file(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:5])
        raise OSError(errno.ENOSPC, "full")

    def pipe_file(target: str, data: bytes) -> None:
        Path(target).write_bytes(data[:5])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(bucket.files, "put_file", put_file)
    monkeypatch.setattr(bucket.files, "pipe_file", pipe_file)
    for do in (
        lambda: bucket.put({"a": Path("one"), "b": Path("one")}),
        lambda: bucket.put({"b": Path("one")}),
        lambda: bucket.write({"a": b"new, and longer"}),
        lambda: bucket.create("b", b"new, and longer"),
    ):
        with pytest.raises(ResourceError, match="it is full"):
            do()
        assert bucket.read(["a", "b"], 100) == [b"old", None]
        assert [path.name for path in (home / "shared").iterdir()] == ["a"]


def test_a_place_that_is_gone_is_told_when_it_is_written_to(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise FileNotFoundError("b/a")

    for name in ("pipe", "pipe_file"):
        monkeypatch.setattr(bucket.files, name, fail)
    with pytest.raises(ResourceError, match="there is no such " + ("folder" if bucket._renames else "bucket")):
        bucket.write({"a": b"1"})


def test_a_bug_of_ours_is_not_taken_for_a_store_that_fails(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise TypeError("what never is")

    monkeypatch.setattr(bucket.files, "cat_ranges", fail)
    with pytest.raises(TypeError, match="what never is"):
        bucket.read(["a"], 1)


# addresses


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "file:///shared/x@y", "s3://bucket/a/"])
def test_addresses(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


NO_ADDRESSES = """
bucket /shared s3:bucket s3:// s3:///a file:// file:/// file://shared/a http://h/a memory://a s3://b/a?x=1 s3://b/a#x s3://b/../a s3://b/a/..
s3://b//a s3://b/a* github://a/b s3://[b/a simplecache::s3://b/a
"""


@pytest.mark.parametrize("url", ["", *NO_ADDRESSES.split()])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="this is no address") as caught:
        check_url(url)
    assert caught.value.hint == "expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER"


@pytest.mark.parametrize("form", ["s3://me:{}@b/a", "s3://{}@b", "me:{}@b", "s3://me:{}/a", "http://me:{}@h/a", "file://me:{}@h/a"])
def test_an_address_with_credentials_is_refused_and_not_repeated(form: str) -> None:
    with pytest.raises(RefusedError, match="an address with a user name or a password in it is refused") as caught:
        check_url(form.format(SECRET))
    assert SECRET not in str(caught.value)


# errors


class Told(Exception):
    """An error as a library of an object store gives it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.response = {"Error": {"Code": code}}


def caused(error: BaseException, code: str) -> BaseException:
    error.__cause__ = Told(code)
    return error


class EndpointConnectionError(Exception):
    """As botocore calls it."""


class NoCredentialsError(Exception):
    """As botocore calls it."""


class DefaultCredentialsError(Exception):
    """As google.auth calls it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (caused(FileNotFoundError("x"), "NoSuchBucket"), "there is no such bucket"),
        (caused(PermissionError("x"), "AccessDenied"), "access is denied"),
        (PermissionError(errno.EACCES, "x"), "access is denied"),
        (OSError("Forbidden: b/a\nbecause of this"), "access is denied"),
        (NoCredentialsError(), "there are no credentials for it"),
        (DefaultCredentialsError(), "there are no credentials for it"),
        (EndpointConnectionError("x"), "nothing answers there"),
        (ConnectionResetError("x"), "nothing answers there"),
        (TimeoutError("x"), "nothing answers there"),
        (OSError(errno.ENOSPC, "x"), "it is full, or its quota is used up"),
        (OSError(errno.EDQUOT, "x"), "it is full, or its quota is used up"),
        (caused(OSError(errno.EIO, "x"), "QuotaExceeded"), "it is full, or its quota is used up"),
        (caused(OSError(errno.EIO, "x"), "XMinioStorageFull"), "it is full, or its quota is used up"),
        (OSError(errno.EIO, f"odd at http://me:{SECRET}@host/\nmore"), "OSError: [Errno 5] odd at http://host/ more"),
    ],
)
def test_errors_in_plain_words(bucket: Bucket, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(bucket.files, "cat_ranges", fail)
    with pytest.raises(ResourceError) as caught:
        bucket.read(["a"], 1)
    assert caught.value.message == f"the store {bucket.url}: {words}"
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2
    monkeypatch.setattr(bucket.files, "cat_ranges", lambda *arguments, **named: [error])
    with pytest.raises(ResourceError, match="the store"):
        bucket.read(["a"], 1)


@pytest.mark.parametrize(
    ("scheme", "words", "hint"),
    [("s3", "a store on s3:// needs s3fs", "pip install 'genart[s3]'"), ("gs", "a store on gs:// needs gcsfs", "pip install 'genart[gs]'")],
)
def test_a_library_that_is_missing(scheme: str, words: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("s3", "gs"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    with pytest.raises(UsageError, match=f"{words}, which is not installed") as caught:
        Bucket.of(f"{scheme}://bucket/a")
    assert caught.value.hint == hint


def test_fsspec_itself_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match="needs fsspec, which is not installed"):
        Bucket.of("file:///shared")


def test_a_store_that_does_not_know_how_to_take_the_first(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some that speak S3 do not."""
    if bucket._renames:
        return
    real, asked = bucket.files.pipe_file, []

    def pipe_file(path: str, data: bytes, mode: str = "overwrite") -> None:
        asked.append(mode)
        if mode == "create":
            raise caused(OSError(errno.ENOSYS, "not there"), "NotImplemented")
        real(path, data)

    monkeypatch.setattr(bucket.files, "pipe_file", pipe_file)
    assert bucket.create("a", b"1")
    assert asked[0] == "create"
    assert bucket.read(["a"], 9) == [b"1"]


def test_what_another_writes_at_this_moment_is_the_others(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    if bucket._renames:
        return

    def pipe_file(*arguments: object, **named: object) -> None:
        raise caused(OSError(errno.EIO, "conflict"), "ConditionalRequestConflict")

    monkeypatch.setattr(bucket.files, "pipe_file", pipe_file)
    assert not bucket.create("a", b"1")


def test_a_folder_that_is_not_there_is_not_made(home: Path) -> None:
    with pytest.raises(ResourceError, match="there is no such folder"):
        Bucket.of(f"file://{home}/not-mounted")
    assert not (home / "not-mounted").exists()
