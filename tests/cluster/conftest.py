"""What tests of shared stores have in common: an S3 of this machine, and buckets of all kinds."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from genart.bucket import Bucket

from .s3 import S3


@pytest.fixture(scope="session")
def server() -> Iterator[S3]:
    """An S3."""
    found = S3()
    yield found
    found.close()


@pytest.fixture
def s3(server: S3, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bucket that is empty; the environment is that of who may use it."""
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    server.make(name)
    _forget()
    yield f"s3://{name}/a/b"
    _forget()


@pytest.fixture(params=["memory", "file", "s3"])
def bucket(request: pytest.FixtureRequest, home: Path) -> Bucket:
    """An empty bucket of each kind."""
    if request.param == "s3":
        return Bucket.of(request.getfixturevalue("s3"))
    return in_memory() if request.param == "memory" else in_folder(home)


def in_memory() -> Bucket:
    """A bucket that behaves as an object store does."""
    return Bucket(fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}", "s3://memory/a")


def in_folder(home: Path) -> Bucket:
    """A bucket that is a folder."""
    (home / "shared").mkdir(exist_ok=True)
    return Bucket.of(f"file://{home}/shared")


@pytest.fixture
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Be another machine from now on: machine("b") -> root of its store."""

    def be(name: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / name))
        return home / name / "genart"

    return be


def _forget() -> None:
    """Clients are kept for as long as a process lives, with the environment that they were made in."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert "AWS_PROFILE" not in os.environ
