"""Artifacts: pictures go through the disk unchanged, whatever kills the writer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genart.artifacts import (
    Batch,
    Images,
    ImagesWriter,
    JoinedImages,
    Model,
    StoredImages,
    digest_of,
    read_safetensors_header,
    result_files,
    write_atomically,
)
from genart.errors import DataError, StageError
from genart.testing import tiny_images

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from([3, 4]))
batches = st.lists(st.tuples(st.integers(0, 4), shapes, st.booleans(), st.integers(0, 255)), max_size=6)


def make(described) -> list[Batch]:
    """Batches from (count, shape, with metadata, value)."""
    made = []
    for count, shape, has_meta, value in described:
        array = ((np.arange(count * np.prod(shape)) + value) % 256).astype(np.uint8).reshape(count, *shape)
        made.append(Batch.from_array(array, [{"n": i, "text": "ä\n\u2028"} for i in range(count)] if has_meta else None))
    return made


def flat(images) -> list[tuple[bytes, tuple[int, ...], str]]:
    """Every picture with its shape and metadata; checks the numbering on the way."""
    found = []
    for batch in images:
        for i, array, meta in zip(batch.index, batch.array, batch.meta, strict=True):
            assert i == (found[-1][3] + 1 if found else batch.start)
            found.append((array.tobytes(), array.shape, json.dumps(meta), i))
    return [picture[:3] for picture in found]


def pictures(described) -> list[tuple[bytes, tuple[int, ...], str]]:
    return [(a.tobytes(), a.shape, json.dumps(m)) for b in make(described) for a, m in zip(b.array, b.meta, strict=True)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def fresh(scratch: Path) -> Path:
    shutil.rmtree(scratch / "w", ignore_errors=True)
    return scratch / "w"


@settings(max_examples=80, deadline=None)
@given(described=batches, size=st.none() | st.integers(1, 5), start=st.integers(0, 8))
def test_what_is_written_is_read(scratch, described, size, start):
    writer = ImagesWriter(fresh(scratch))
    for batch in make(described):
        assert writer.append(batch).start + len(batch) == writer.count or not len(batch)
    assert flat(writer.kept()) == pictures(described)
    writer.finish(fps=12.5)
    writer.finish()
    stored = StoredImages(writer.folder)
    assert (len(stored), stored.fps) == (len(pictures(described)), 12.5)
    assert flat(stored.batches(size)) == pictures(described)
    assert flat(stored.batches(size, start=start)) == pictures(described)[start:]
    assert all(len(b) <= (size or 1 << 30) for b in stored.batches(size))
    if len({p[1] for p in pictures(described)}) == 1:
        assert stored.array().tobytes() == b"".join(p[0] for p in pictures(described))
        assert not stored.array().flags.writeable
    elif pictures(described):
        with pytest.raises(DataError, match="differ in size"):
            stored.array()
    else:
        assert len(stored.array()) == 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.tuples(st.integers(0, 3), shapes, st.booleans(), st.integers(0, 255))),
        st.tuples(st.just("sync"), st.none()),
        st.tuples(st.just("truncate"), st.integers(0, 12)),
        st.tuples(st.just("kill"), st.sampled_from(["whole", "cut", "long"])),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_a_killed_writer_goes_on_at_its_last_mark(scratch, steps):
    """Against a model: a list of pictures, and how many of them a kill leaves."""
    writer = ImagesWriter(fresh(scratch))
    model: list = []
    marked: list = []
    has_mark = False
    for step, value in steps:
        if step == "append":
            writer.append(make([value])[0])
            model = model + pictures([value])
        elif step == "sync":
            writer.sync()
            marked, has_mark = model, True
        elif step == "truncate":
            if value > len(model):
                with pytest.raises(StageError):
                    writer.truncate(value)
                continue
            writer.truncate(value)
            if value < len(model) and has_mark:
                marked = model[:value]
            model = model[:value]
        else:
            writer._flush()
            writer.close()
            for name in ("pixels.bin", "meta.jsonl"):
                path = writer.folder / name
                if value == "long":
                    path.write_bytes(path.read_bytes() + b"half a pict")
            if value == "cut" and marked:  # the disk lost what had been synced: start again
                path = writer.folder / "pixels.bin"
                mark = json.loads((writer.folder / "sync.json").read_text())
                path.write_bytes(path.read_bytes()[: mark["ends"][0] - 1])
                marked, has_mark = [], False
            writer = ImagesWriter(writer.folder)
            assert flat(writer.kept()) == marked[: writer.count]
            assert writer.count == len(marked)
            model = marked
        assert writer.count == len(model)
    writer.finish()
    assert flat(StoredImages(writer.folder)) == model
    meta = {"meta.jsonl"} if any(picture[2] != "{}" for picture in model) else set()
    assert {path.name for path in result_files(writer.folder)} == {"pixels.bin", "index.json"} | meta


def test_a_link_to_the_store_is_not_written_to(scratch):
    writer = ImagesWriter(fresh(scratch))
    writer.append(make([(2, (2, 2, 3), True, 0)])[0])
    writer.finish()
    stored = scratch / "stored.bin"
    stored.unlink(missing_ok=True)
    stored.hardlink_to(writer.folder / "pixels.bin")
    before = stored.read_bytes()
    again = ImagesWriter(writer.folder)
    again.append(make([(1, (2, 2, 3), True, 9)])[0])
    again.close()
    assert stored.read_bytes() == before


def test_metadata_that_is_no_json_leaves_the_writer_whole(scratch):
    writer = ImagesWriter(fresh(scratch))
    writer.append(make([(2, (2, 2, 3), True, 0)])[0])
    for meta in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            writer.append(Batch(torch.zeros(1, 3, 2, 2), [meta]))
    writer.append(make([(1, (2, 2, 3), True, 5)])[0])
    writer.finish()
    assert flat(StoredImages(writer.folder)) == pictures([(2, (2, 2, 3), True, 0), (1, (2, 2, 3), True, 5)])


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8))
def test_pixels_are_clamped_and_rounded_to_the_nearest(values):
    x = torch.tensor(values)
    array = Batch(x.expand(1, 3, 1, len(values))).array
    assert np.abs(array[0, 0, :, 0] - np.clip(np.array(values) * 255, 0, 255)).max() <= 0.5 + 1e-3


@given(st.integers(0, 255))
def test_eight_bits_survive_the_way_through_floats(value):
    stored = Batch.from_array(np.full((1, 1, 1, 3), value, np.uint8))
    assert Batch(stored.pixels).array[0, 0, 0, 0] == value


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_colour(wrong):
    with pytest.raises(StageError, match="NaN"):
        Batch(torch.tensor([0.5, wrong, 0.5]).reshape(1, 3, 1, 1)).array  # noqa: B018


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 2, 2, 2), (1, 1, 2, 2), (1, 2, 2, 3)])
def test_what_is_no_picture(shape):
    with pytest.raises(StageError, match="pictures must be"):
        Batch(torch.zeros(shape)).array  # noqa: B018


def test_pixels_are_a_copy():
    array = np.zeros((1, 2, 2, 3), np.uint8)
    array.flags.writeable = False
    batch = Batch.from_array(array)
    batch.pixels.fill_(1)
    assert array.sum() == 0


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(batches, min_size=1, max_size=3), start=st.integers(0, 20), size=st.none() | st.integers(1, 3))
def test_joined_sequences_are_one(parts, start, size):
    whole = [picture for part in parts for picture in pictures(part)]
    joined = JoinedImages(Images.from_batches(make(part), fps) for part, fps in zip(parts, (None, 5.0, 7.0), strict=False))
    assert (len(joined), joined.count) == (len(whole), len(whole))
    assert joined.fps == (5.0 if len(parts) > 1 else None)
    assert flat(joined.batches(size, start=start)) == whole[start:]
    assert flat(joined.settled()) == whole
    for i in (0, len(whole) - 1, -1):
        if whole:
            assert flat([joined[i]]) == [whole[i]]
    with pytest.raises(IndexError):
        joined[len(whole)]


def test_joined_arrays():
    a, b = tiny_images(2), tiny_images(3)
    assert JoinedImages([a, b]).array().shape == (5, 16, 16, 3)
    with pytest.raises(DataError, match="16x16, 8x8"):
        JoinedImages([a, tiny_images(1, size=8)]).array()


def test_large_pictures_come_in_small_batches(scratch):
    writer = ImagesWriter(fresh(scratch))
    for _ in range(3):
        writer.append(Batch.from_array(np.zeros((1, 1024, 1400, 3), np.uint8)))
    writer.finish()
    assert [len(batch) for batch in StoredImages(writer.folder)] == [1, 1, 1]


def test_write_atomically_leaves_the_old_file_when_it_fails(home, monkeypatch):
    path = Path("x")
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "full")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as context:
            context.setattr(f"os.{name}", fail)
            with pytest.raises(OSError):
                write_atomically(path, b"new")
        assert [p.name for p in Path().iterdir()] == ["x"]
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        (2**60).to_bytes(8, "little") + b"{}",
        (50).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"\xff\xff\xff\xff",
    ],
)
def test_files_that_are_no_models(home, data):
    path = Path("m.safetensors")
    path.write_bytes(data)
    with pytest.raises(ValueError):
        read_safetensors_header(path)
    with pytest.raises(DataError, match="not a genart model"):
        Model.open(path)


def test_a_model_of_somebody_else(home):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, "m.safetensors", {"genart": "{}"})
    with pytest.raises(DataError, match="not a genart model"):
        Model.open(Path("m.safetensors"))


def test_a_model_that_the_system_does_not_give_is_not_called_something_else(home, monkeypatch):
    def fail(path):
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr("genart.artifacts.read_safetensors_header", fail)
    with pytest.raises(DataError, match=r"m\.safetensors: this model cannot be read: too many open files"):
        Model.open(Path("m.safetensors"))


def test_digests_tell_names_and_contents_apart():
    every = [{}, {"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"}]
    assert len({digest_of(files) for files in every}) == len(every)
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})


@pytest.mark.parametrize("kernel", [True, False])
@settings(max_examples=40)
@given(st.lists(batches, max_size=4))
def test_stored_sequences_appended_as_they_are_give_what_their_batches_would(tmp_path_factory, kernel, described):
    folder = tmp_path_factory.mktemp("extended")
    whole, joined = ImagesWriter(folder / "whole"), ImagesWriter(folder / "joined")
    with pytest.MonkeyPatch.context() as patched:
        if not kernel:
            patched.setattr("os.copy_file_range", _refused, raising=False)
        for number, some in enumerate(described):
            part = ImagesWriter(folder / str(number))
            for batch in make(some):
                whole.append(batch)
                part.append(batch)
            part.finish(durable=False)
            assert not (folder / str(number) / "sync.json").exists()
            joined.extend(StoredImages(folder / str(number)))
        joined.append(make([(1, (1, 1, 3), True, 7)])[0])
        whole.append(make([(1, (1, 1, 3), True, 7)])[0])
    whole.finish(3.0)
    joined.finish(3.0)
    for name in ("pixels.bin", "meta.jsonl", "index.json", "sync.json"):
        assert (folder / "joined" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def _refused(*arguments):
    raise OSError(18, "Invalid cross-device link")
