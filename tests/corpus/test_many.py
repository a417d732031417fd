"""A folder of many pictures, some of them bad: the others are used, the bad ones listed, and all of that twice the same."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result

from .case import Case
from .make import corpus
from .png import chunk, ihdr, png

RECIPE = '[recipe]\nname = "many"\n[[stage]]\nuses = "images.folder"\npath = "in"\ncrop = 4\nid = "in"\n'
SHEET = '[[stage]]\nuses = "images.grid"\ncolumns = 100\nsave = "sheet.png"\n'


def picture(number: int) -> bytes:
    """A small picture of its own."""
    pixels = b"".join(b"\0" + struct.pack(">I", number * 2654435761 % 2**32)[:3] * 4 for _ in range(4))
    return png(head=ihdr(4, 4), pixels=chunk(b"IDAT", zlib.compress(pixels, 0)))


def bad_ones() -> Iterator[Case]:
    """Cases of bad pictures, of each group in turn, small ones."""
    groups: dict[str, list[Case]] = {}
    for case in corpus():
        small = isinstance(case.content, bytes) and len(case.content) < 10_000
        if case.expected == "skip" and case.use == "folder" and small and case.group != "names":
            groups.setdefault(case.group, []).append(case)
    for row in itertools.zip_longest(*groups.values()):
        yield from (case for case in row if case is not None)


def folder(where: Path, count: int, bad: int) -> set[str]:
    """Fill a folder with pictures, each n-th of which is bad; return the names of these."""
    cases, names = bad_ones(), set()
    where.mkdir()
    for number in range(count):
        if number % (count // bad) == count // bad - 1:
            case = next(cases)
            name = f"{number:05d}.{case.file.rpartition('.')[2]}"
            (where / name).write_bytes(case.content)  # type: ignore[arg-type]
            names.add(name)
        else:
            (where / f"{number:05d}.png").write_bytes(picture(number))
    return names


@pytest.mark.parametrize(("count", "bad"), [pytest.param(400, 20, id="400"), pytest.param(10_000, 100, id="10000", marks=pytest.mark.slow)])
def test_all_good_pictures_are_used_and_all_bad_ones_listed(cli: Callable[..., Result], tmp_path: Path, count: int, bad: int) -> None:
    names = folder(Path("in"), count, bad)
    Path("r.toml").write_text(RECIPE + SHEET)
    done = cli("run", "r.toml", "--out", "first", "--json")
    assert done.code == 0, done.err
    told = _stage("first")["skipped"]
    assert {one["file"] for one in told} == names
    assert all(one["reason"] for one in told)
    assert [(one["file"], one["reason"]) for one in done.events if one["event"] == "skipped"] == [
        (one["file"], one["reason"]) for one in told
    ]
    (warning,) = _stage("first")["warnings"]
    assert warning.startswith(f"skipped {bad} of {count} files: ")
    (finished,) = (path for path in _outputs() if path[1] == count - bad)
    again = cli("run", "r.toml", "--out", "second", "--force", "--json")
    assert again.code == 0, again.err
    assert _stage("second")["skipped"] == told
    assert Path("first/sheet.png").read_bytes() == Path("second/sheet.png").read_bytes()
    assert finished in _outputs()
    cached = cli("run", "r.toml", "--out", "third", "--json")
    assert cached.made() == []
    assert _stage("third")["skipped"] == told


def test_strict_stops_at_the_first(cli: Callable[..., Result]) -> None:
    first = min(folder(Path("in"), 100, 5))
    Path("r.toml").write_text(RECIPE + "strict = true\n" + SHEET)
    done = cli("run", "r.toml", "--out", "out")
    assert done.code == 3
    assert f": {first}: " in done.err.replace("\n", " ")
    assert not Path("out").exists()


def _stage(out: str) -> dict[str, Any]:
    """What run.json says of the folder's stage."""
    stages: list[dict[str, Any]] = json.loads(Path(out, "run.json").read_bytes())["stages"]
    return next(stage for stage in stages if stage["id"] == "in")


def _outputs() -> list[tuple[str, int]]:
    """Key and number of pictures of each stored sequence."""
    from genart.artifacts import StoredImages
    from genart.store import Store

    found = []
    for entry in Store.of_user().entries():
        artifact = entry.artifact("output")
        assert isinstance(artifact, StoredImages)
        found.append((entry.digest("output"), len(artifact)))
    return found
