"""Every kind of file carries a text: put in, found again, nothing else changed, and no bytes make the reader stumble."""

from __future__ import annotations

import contextlib
import io
import json
import random
import string
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from genart import tags

TEXT = '{"a":"<b> & \\"c\\" ]]> %s","n":1.5}' % ("x" * 700)


def put(source, path, text):
    """Copy a file with a text to a path."""
    with open(path, "w+b") as out:
        tags.put(source, out, text)


def frames(count=3, mode="RGB"):
    rng = np.random.default_rng(1)
    channels = len(mode)
    return [Image.fromarray(rng.integers(0, 256, (16, 16, channels), np.uint8), mode) for _ in range(count)]


def picture(kind, mode="RGB", **options):
    file = io.BytesIO()
    frames(mode=mode)[0].save(file, kind, **options)
    return file.getvalue()


def animation(kind, mode="RGB", **options):
    file = io.BytesIO()
    first, *rest = frames(mode=mode)
    first.save(file, kind, save_all=True, append_images=rest, **options)
    return file.getvalue()


def film(container, codec, tmp_path):
    path = tmp_path / f"made.{container}"
    with av.open(str(path), "w", format=container, container_options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in frames():
            out.mux(stream.encode(av.VideoFrame.from_image(frame.resize((64, 64)))))
        out.mux(stream.encode(None))
    return path.read_bytes()


def model():
    import torch
    from safetensors.torch import save

    head = {"genart": json.dumps({"model": {"family": "toy", "parameters": {}}})}
    return save({"w": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}, head)


MAKERS = {
    "png": lambda tmp: picture("PNG"),
    "rgba.png": lambda tmp: picture("PNG", "RGBA"),
    "apng.png": lambda tmp: animation("PNG", "RGBA"),
    "jpg": lambda tmp: picture("JPEG", quality=90),
    "progressive.jpg": lambda tmp: picture("JPEG", progressive=True),
    "webp": lambda tmp: picture("WEBP", lossless=True, xmp=b"-"),
    "rgba.webp": lambda tmp: picture("WEBP", "RGBA", lossless=True, xmp=b"-"),
    "animated.webp": lambda tmp: animation("WEBP", "RGBA", lossless=True),
    "gif": lambda tmp: animation("GIF", loop=0, comment=b"a comment of somebody else's"),
    "mp4": lambda tmp: film("mp4", "libx264", tmp),
    "mov": lambda tmp: film("mov", "libx264", tmp),
    "webm": lambda tmp: film("webm", "libvpx-vp9", tmp),
    "safetensors": lambda tmp: model(),
}


@pytest.fixture(params=MAKERS)
def made(request, tmp_path):
    """(suffix, bytes without a text, bytes with one)."""
    suffix = request.param.rpartition(".")[2]
    bare = MAKERS[request.param](tmp_path)
    put(io.BytesIO(bare), tmp_path / "with", TEXT)
    return suffix, bare, (tmp_path / "with").read_bytes()


def decoded(suffix, data):
    if suffix == "safetensors":
        from safetensors.numpy import load

        return [load(data)[name] for name in ("w", "b")]
    if suffix in tags.DEMUXERS:
        with av.open(io.BytesIO(data)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]


def test_a_text_goes_in_and_comes_out_and_changes_nothing_else(made):
    suffix, bare, tagged = made
    assert tags.format_of(io.BytesIO(bare)).name == suffix
    before, after = tags.scan(io.BytesIO(bare)), tags.scan(io.BytesIO(tagged))
    assert before.text is None
    assert json.loads(after.text) == json.loads(TEXT)
    assert after.content == before.content
    old, new = decoded(suffix, bare), decoded(suffix, tagged)
    assert len(old) == len(new) > 0
    assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))


def test_independent_readers_find_it(made):
    suffix, _, data = made
    if suffix == "safetensors":
        from safetensors import safe_open

        Path("m.safetensors").write_bytes(data)
        with safe_open("m.safetensors", "np") as file:
            assert json.loads(file.metadata()["genart"])["provenance"] == json.loads(TEXT)
    elif suffix in tags.DEMUXERS:
        with av.open(io.BytesIO(data)) as container:
            assert {key.lower(): value for key, value in container.metadata.items()}["comment"] == TEXT
    elif suffix == "gif":
        assert b'{"a":' in data
        image = Image.open(io.BytesIO(data))
        assert image.info["comment"] == b"a comment of somebody else's"
    elif suffix == "png":
        image = Image.open(io.BytesIO(data))
        image.load()
        assert image.text["genart"] == TEXT
    else:
        packet = Image.open(io.BytesIO(data)).info["xmp"]
        root = ElementTree.fromstring(packet.decode("utf-8").partition("?>")[2].rpartition("<?")[0])
        assert root.find(f".//{{{tags.XMP_NAMESPACE}}}provenance").text == TEXT


def test_another_picture_has_another_content(made, tmp_path):
    suffix, bare, tagged = made
    if suffix == "png":
        return  # a changed byte breaks a chunk's sum: see below
    changed = bytearray(bare)
    changed[-3 if suffix == "safetensors" else len(bare) // 2] ^= 0x55
    try:
        assert tags.scan(io.BytesIO(bytes(changed))).content != tags.scan(io.BytesIO(tagged)).content
    except tags.Damaged:
        assert suffix != "safetensors"


def test_a_broken_chunk_of_a_png_is_found():
    data = bytearray(picture("PNG"))
    data[60] ^= 1
    with pytest.raises(tags.Damaged, match="IDAT"):
        tags.scan(io.BytesIO(bytes(data)))


def test_long_texts_fit_and_the_longest_are_refused(made, tmp_path):
    suffix, bare, _ = made
    long = json.dumps({"a": "".join(random.Random(3).choices("abc", k=100_000))})
    put(io.BytesIO(bare), tmp_path / "long", long)
    assert json.loads(tags.scan(io.BytesIO((tmp_path / "long").read_bytes())).text) == json.loads(long)
    if suffix == "jpg":
        noise = json.dumps({"a": "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=200_000))})
        with pytest.raises(tags.Damaged, match="too long"):
            put(io.BytesIO(bare), tmp_path / "longer", noise)


def test_two_texts_are_not_one(made, tmp_path):
    suffix, _, tagged = made
    if suffix in ("safetensors", "webp", *tags.DEMUXERS):
        return  # there the second takes the place of the first
    put(io.BytesIO(tagged), tmp_path / "twice", TEXT)
    with pytest.raises(tags.Damaged, match="2 provenances"):
        tags.scan(io.BytesIO((tmp_path / "twice").read_bytes()))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_damaged_or_another(made, share):
    suffix, _, data = made
    whole = tags.scan(io.BytesIO(data))
    if suffix == "webm" and share > 0.99:
        return  # of a WebM the index alone is missing then
    try:
        found = tags.scan(io.BytesIO(data[: int(len(data) * share)]))
    except tags.Damaged:
        return
    assert found is None or found.content != whole.content


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), junk=st.binary(min_size=1, max_size=40))
def test_no_bytes_make_the_reader_stumble(made, at, junk):
    _, _, data = made
    place = int(at * len(data))
    with contextlib.suppress(tags.Damaged):
        tags.scan(io.BytesIO(data[:place] + junk + data[place + len(junk) :]))


@pytest.mark.parametrize("data", [b"", b"x", b"plain text, not a picture", b"\0" * 64, b"BM" + b"\0" * 60])
def test_other_files_carry_nothing(data, tmp_path):
    assert tags.scan(io.BytesIO(data)) is None
    with pytest.raises(tags.Damaged, match="cannot carry"):
        put(io.BytesIO(data), tmp_path / "x", TEXT)


def test_a_compressed_text_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    put(io.BytesIO(picture("PNG")), tmp_path / "bomb.png", json.dumps({"a": "x" * 200_000}))
    monkeypatch.setattr(tags, "MAX_TEXT", 100_000)
    with pytest.raises(tags.Damaged, match="too long"):
        tags.scan(io.BytesIO((tmp_path / "bomb.png").read_bytes()))
