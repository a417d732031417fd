"""`images.archive`: ZIP, tar and shards, read as folders are, and bounded."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart import DataError, RefusedError
from genart.nn.family import classes_of
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_images import archive, images_archive, images_folder, shards


def picture(value, size=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


#: Pictures in two classes, what passes for none, and names that lead out.
FILES = {
    "rose/b.png": picture(2),
    "rose/a.png": picture(1),
    "tulip/deep/c.png": picture(3),
    "notes.txt": b"nothing",
    ".hidden/d.png": picture(9),
    "__MACOSX/rose/a.png": b"resource fork",
}


def as_zip(files, path="a.zip", **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data, **options)
    return Path(path)


def as_tar(files, path="a.tar"):
    with tarfile.open(path, "w") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return Path(path)


def packed(pack):
    def make(files, path="a.tar.x"):
        data = as_tar(files).read_bytes()
        Path(path).write_bytes(pack(data))
        return Path(path)

    return make


KINDS = {
    "zip": as_zip,
    "tar": as_tar,
    "tar.gz": packed(gzip.compress),
    "tar.bz2": packed(bz2.compress),
    "tar.xz": packed(lzma.compress),
    "tar.xz of two streams": packed(lambda data: lzma.compress(data[:700]) + b"\0" * 8 + lzma.compress(data[700:])),
}


def read(paths, tmp_path, events=None, stage=images_archive, **params):
    observer = None if events is None else events.append
    paths = [str(path) for path in (paths if isinstance(paths, list) else [paths])]
    return run_stage(stage, work=tmp_path / "work", observer=observer, path=paths, **params)["output"]


def metas(images):
    return [meta for batch in images for meta in batch.meta]


def values(images):
    return [int(pixels[0, 0, 0]) for batch in images for pixels in batch.array]


def warnings(events):
    return [event["message"] for event in events if event["event"] == "warning"]


@pytest.mark.parametrize("kind", KINDS)
def test_classes_and_order(tmp_path, kind):
    images = read(KINDS[kind](FILES), tmp_path)
    zipped = kind == "zip"
    assert values(images) == ([1, 2, 3] if zipped else [2, 1, 3])
    assert sorted((meta["source"], meta["label"]) for meta in metas(images)) == [("a.png", "rose"), ("b.png", "rose"), ("c.png", "tulip")]


def test_a_zipped_folder_gives_what_the_folder_gives(tmp_path):
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    folder = read(tmp_path / "in", tmp_path, stage=images_folder, crop=4)
    zipped = read(as_zip(FILES), tmp_path, crop=4)
    assert np.array_equal(folder.array(), zipped.array())
    assert metas(folder) == metas(zipped)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_around_all_pictures_says_nothing(tmp_path, kind):
    inside = {f"flowers/{name}": data for name, data in FILES.items() if name[0] != "_"}
    assert {meta["label"] for meta in metas(read(KINDS[kind](inside | {"LICENSE": b"x"}), tmp_path))} == {"rose", "tulip"}


def test_what_surrounds_the_pictures_of_all_archives_counts_together(tmp_path):
    one = as_zip({"rose/a.png": picture(1)}, "1.zip")
    two = as_tar({"tulip/a.png": picture(2)}, "2.tar")
    images = read([one, two], tmp_path)
    assert [meta["label"] for meta in metas(images)] == ["rose", "tulip"]
    assert values(images) == [1, 2]


# shards


def shard(samples, path="s-0.tar"):
    return as_tar({name: data if isinstance(data, bytes) else data.encode() for name, data in samples}, path)


def test_shards_tell_classes_beside_the_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shard(
        [("0001.cls", "7"), ("0001.png", picture(1)), ("0002.png", picture(2)), ("0002.cls", " cat\n"), ("0002.txt", "a cat")], "s-08.tar"
    )
    shard([("0003.png", picture(3)), ("0003.json", json.dumps({"label": "dog", "width": 8}))], "s-09.tar")
    shard([("0004.json", json.dumps({"class": 7})), ("0004.jpg", picture(4))], "s-10.tar")
    images = read("s-{08..10}.tar", tmp_path)
    assert values(images) == [1, 2, 3, 4]
    assert [meta["label"] for meta in metas(images)] == ["7", "cat", "dog", "7"]
    labels, names = classes_of(images, None)
    assert (labels, names) == ([0, 1, 2, 0], ["7", "cat", "dog"])


@pytest.mark.parametrize(
    ("labels", "expected"), [("auto", ["one", "b"]), ("folder", ["a", "b"]), ("txt", ["words", None]), ("none", [None, None])]
)
def test_where_classes_are_from_can_be_chosen(tmp_path, labels, expected):
    path = shard([("a/1.cls", "one"), ("a/1.png", picture(1)), ("a/1.txt", "words"), ("b/2.png", picture(2)), ("b/2.json", "[]")])
    assert [meta.get("label") for meta in metas(read(path, tmp_path, labels=labels))] == expected


@pytest.mark.parametrize("words", ["", "{", '{"label": {"x": 1}}', "[" * 100_000, b"\xff\xfe"])
def test_what_names_no_class_is_none(tmp_path, words):
    path = shard([("1.json", words), ("1.png", picture(1))])
    assert [meta.get("label") for meta in metas(read(path, tmp_path))] == [None]


def test_many_pictures_of_one_sample_do_not_pile_up(tmp_path, monkeypatch):
    path = as_tar({f"photo.{i}.png": picture(i) for i in range(50)})
    done = held = 0
    data_of = archive._data

    def counted(entry):
        nonlocal held
        held = max(held, int(entry.path.name.split(".")[1]) - done)
        return data_of(entry)

    monkeypatch.setattr(archive, "_data", counted)
    for _ in archive._pictures(path, archive.Labels("auto", None), lambda *_: None, strict=False):
        done += 1
    assert done == 50
    assert 0 < held <= archive.MOST_WAITING


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s.tar", ["s.tar"]),
        ("s-{8..11}.tar", ["s-8.tar", "s-9.tar", "s-10.tar", "s-11.tar"]),
        (["a.zip", "s-{000..001}.tar"], ["a.zip", "s-000.tar", "s-001.tar"]),
    ],
)
def test_patterns(given, expected):
    assert list(shards(given)) == expected


@pytest.mark.parametrize("path", ["s-{3..2}.tar", "s-{0..999999999}.tar", []])
def test_wrong_patterns(path):
    with pytest.raises(ParamProblem):
        resolve(images_archive.params, "images.archive", {"path": path})


def test_a_missing_shard_is_named(cli):
    shard([("1.png", picture(1))], "s-0.tar")
    Path("r.toml").write_text('[recipe]\nname = "x"\n[[stage]]\nuses = "images.archive"\npath = "s-{0..1}.tar"\n')
    result = cli("check", "r.toml")
    assert result.code == 2
    assert "s-1.tar" in result.err


# in a pipeline


def test_the_content_is_the_key(cli):
    as_zip(FILES)
    Path("r.toml").write_text('[recipe]\nname = "x"\n[[stage]]\nuses = "images.archive"\npath = "a.zip"\nsave = "p"\n')
    assert cli("run", "r.toml", "--json").made() == ["images.archive"]
    os.utime("a.zip", (0, 0))
    assert cli("run", "r.toml", "--json").made() == []
    as_zip(FILES | {"rose/e.png": picture(5)})
    assert cli("run", "r.toml", "--json").made() == ["images.archive"]
    assert len(list(Path("out/x/p").glob("*.png"))) == 4


def test_apply_reads_an_archive(cli):
    as_zip(FILES)
    result = cli("apply", "images.grid", "-i", "a.zip", "-o", "sheet.png", "--quiet")
    assert result.code == 0, result.err
    assert Path("sheet.png").exists()


# damage


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_picture_is_skipped_and_named(tmp_path, kind):
    events = []
    files = {"a.png": picture(1), "cut.png": picture(3)[:40], "empty.png": b"", "b.png": picture(2)}
    assert sorted(values(read(KINDS[kind](files), tmp_path, events))) == [1, 2]
    (warning,) = warnings(events)
    assert warning.startswith("skipped 2 of 4 files")
    assert "empty.png (empty file)" in warning
    with pytest.raises(DataError, match=r"cut\.png|empty\.png"):
        read(KINDS[kind](files), tmp_path, strict=True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("tar")])
def test_what_lies_before_a_cut_is_read(tmp_path, kind):
    rng = np.random.default_rng(0)
    noise = {}
    for i in range(40):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(buffer, "PNG")
        noise[f"{i:02d}.png"] = buffer.getvalue()
    path = KINDS[kind](noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "tar.bz2":  # unpacked in blocks of 900 kB
        with pytest.raises(DataError):
            read(path, tmp_path)
        return
    events = []
    assert 5 < len(values(read(path, tmp_path, events))) < 40
    assert path.name in warnings(events)[0]
    with pytest.raises(DataError, match="strict"):
        read(path, tmp_path, strict=True)


def test_a_tar_that_ends_between_two_entries_is_no_whole_one(tmp_path):
    path = as_tar({"a.png": picture(1), "b.png": picture(2)})
    with tarfile.open(path) as file:
        cut = file.getmembers()[1].offset
    path.write_bytes(path.read_bytes()[:cut])
    events = []
    assert values(read(path, tmp_path, events)) == [1]
    assert "damaged, or ends early" in warnings(events)[0]


@pytest.mark.parametrize(
    "data", [b"", b"no archive at all" * 100, b"PK\3\4" + b"x" * 100, b"\x1f\x8b" + b"x" * 100, b"\xfd7zXZ\0" + b"x" * 99, picture(1)]
)
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip") as caught:
        read(tmp_path / "a.zip", tmp_path)
    assert str(tmp_path) not in caught.value.message


def test_no_picture(tmp_path):
    for make in KINDS.values():
        with pytest.raises(DataError, match="no picture"):
            read(make({"a.txt": b"x"}), tmp_path)


# strangers' archives


def test_links_devices_and_names_that_lead_out(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(99))
    with tarfile.open("l.tar", "w") as file:
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("f.png", tarfile.FIFOTYPE), ("d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            file.addfile(info)
        for name, value in (("../../up.png", 1), ("/root.png", 2), ("c/../../x.png", 3)):
            info = tarfile.TarInfo(name)
            info.size = len(picture(value))
            file.addfile(info, io.BytesIO(picture(value)))
    info = zipfile.ZipInfo("s.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("l.zip", "w") as file:
        file.writestr(info, str(secret))
        for name, value in (("../../up.png", 1), ("/root.png", 2), ("..\\x.png", 3), ("a\x1b[31m.png", 4)):
            file.writestr(name, picture(value))

    def there():
        return sorted(path for path in tmp_path.parent.rglob("*") if "work" not in path.relative_to(tmp_path.parent).parts[1:2])

    before = there()
    for path, expected in (("l.tar", {1, 2, 3}), ("l.zip", {1, 2, 3, 4})):
        images = read(Path(path), tmp_path)
        assert set(values(images)) == expected
        assert not [meta for meta in metas(images) if "/" in meta["source"] or ".." in str(meta)]
    assert there() == before


def test_encrypted_and_oddly_packed_pictures_are_skipped(tmp_path):
    events = []
    path = as_zip({"a.png": picture(1), "b.png": picture(2)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")  # b.png in the directory
    data[at + 8] |= 1
    path.write_bytes(data)
    assert values(read(path, tmp_path, events)) == [1]
    assert "b.png (encrypted)" in warnings(events)[0]
    with zipfile.ZipFile("x.zip", "w") as file:
        file.writestr("a.png", picture(1))
        file.writestr("b.png", picture(2), zipfile.ZIP_LZMA)
    events = []
    assert values(read(Path("x.zip"), tmp_path, events)) == [1]
    assert "not known here" in warnings(events)[0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tar"])
def test_what_unpacks_to_far_more_than_it_is_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archive, "FREE_BYTES", 100_000)
    files = {f"{i}.png": picture(i) + bytes(100_000) for i in range(30)}
    with pytest.raises(RefusedError, match="more than 100 times"):
        read(KINDS[kind](files), tmp_path)
    monkeypatch.setattr(archive, "FREE_BYTES", 10_000_000)
    assert len(values(read(KINDS[kind](files), tmp_path))) == 30


def test_limits(tmp_path, monkeypatch):
    files = {"a.png": picture(1), "b.png": picture(2) + bytes(5000)}
    for make in KINDS.values():
        with monkeypatch.context() as patch:
            patch.setattr(archive, "MAX_PICTURE_BYTES", 4000)
            patch.setattr(archive, "CHUNK", 1000)
            events = []
            assert values(read(make(files), tmp_path, events)) == [1]
            assert "b.png (0 MB, above the limit" in warnings(events)[0]
        with monkeypatch.context() as patch:
            patch.setattr(archive, "MAX_ENTRIES", 1)
            with pytest.raises(RefusedError, match="more than 1 entries"):
                read(make(files), tmp_path)


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path):
    """A PAX header is read whole by the library."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(10_000))
    with pytest.raises(DataError, match="a header of 4096 MB"):
        read(tmp_path / "a.tar", tmp_path)


def test_unpacking_xz_has_a_bound_on_memory(tmp_path, monkeypatch):
    path = KINDS["tar.xz"](FILES)
    monkeypatch.setattr(archive, "MAX_XZ_BYTES", 1 << 20)
    with pytest.raises(DataError, match="damaged"):
        read(path, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_is_said_plainly(tmp_path, kind):
    """Bytes are changed at random: what comes is pictures, or an error that people can read."""
    rng = np.random.default_rng(7)
    path = KINDS[kind](FILES)
    whole = path.read_bytes()
    outcomes = {0}
    for _ in range(20):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        with contextlib.suppress(DataError, RefusedError):  # and nothing else
            outcomes.add(len(values(read(path, tmp_path))))
    assert len(outcomes) > 1 or kind == "tar.bz2", "whose one block is checked as a whole"
