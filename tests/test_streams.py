"""Pictures in a pipe: PNGs and Y4M, forwards and back, whole, damaged and forged; and `genart apply` between two pipes."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from genart import streams
from genart.artifacts import Batch
from genart.errors import DataError, StageError
from genart.pipes import PipedImages, reader_of
from genart.provenance import as_text
from genart.streams import Bytes, Pictures, PngWriter, Y4mWriter, read_pictures

from .conftest import TOYS

RNG = np.random.default_rng(5)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), 255 - 127 * (x / width + y / height)], 2).astype(np.uint8)


def png(array: np.ndarray, about: object = None, *, raw: str | None = None, packed: bool = True, **options: object) -> bytes:
    info = PngInfo()
    if about is not None or raw is not None:
        info.add_itxt("genart", json.dumps(about) if raw is None else raw, zip=packed)
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG", pnginfo=info, **options)
    return data.getvalue()


def read(data: bytes) -> tuple[list[Batch], Pictures, list[str]]:
    warned: list[str] = []
    pictures = read_pictures(Bytes(io.BytesIO(data).read), warned.append)
    return list(pictures.batches), pictures, warned


def written(writer: type, arrays: list[np.ndarray], **about: object) -> bytes:
    data = io.BytesIO()
    out = writer(data)
    for i, array in enumerate(arrays):
        out.write(Batch.from_array(array[None], [{"seed": i}], start=i), about)
    return data.getvalue()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.square(a.astype(float) - b.astype(float)).mean())))


# bytes


@given(st.binary(max_size=300), st.lists(st.integers(0, 40), max_size=40), st.integers(1, 7))
def test_bytes_come_in_order_however_they_arrive(data, wanted, step):
    file = io.BytesIO(data)
    source = Bytes(lambda count: file.read(min(count, step)))
    got = b""
    for count in wanted:
        ahead = source.peek(count)
        assert source.take(count) == ahead
        got += ahead
    assert got == data[: sum(wanted)]
    rest = io.BytesIO()
    source.copy_to(rest)
    assert got + rest.getvalue() == data


# PNG


def test_pngs_go_through_a_pipe_unchanged():
    arrays = [noise(5, 7, 3), noise(5, 7, 4), noise(64, 64, 3)]
    batches, pictures, warned = read(written(PngWriter, arrays, recipe="r", count=3, fps=12.5))
    assert [batch.start for batch in batches] == [0, 1, 2]
    assert all((batch.array[0] == array).all() for batch, array in zip(batches, arrays, strict=True))
    assert [batch.meta[0] for batch in batches] == [{"seed": i, "origin": [{"recipe": "r"}]} for i in range(3)]
    assert (pictures.count, pictures.fps, warned) == (3, 12.5, [])


def test_provenance_grows_by_one_stage_in_each_pipe():
    (first,), _, _ = read(written(PngWriter, [noise(2, 2, 3)], stage="a"))
    data = io.BytesIO()
    PngWriter(data).write(first, {"stage": "b"})
    (second,), _, _ = read(data.getvalue())
    assert second.meta == [{"seed": 0, "origin": [{"stage": "a"}, {"stage": "b"}]}]


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 7, 4), (300, 200, 3)])
def test_what_is_written_is_a_png_for_others_too(shape):
    (array,) = noise(*shape)[None]
    with Image.open(io.BytesIO(written(PngWriter, [array]))) as image:
        assert image.format == "PNG"
        image.verify()
    with Image.open(io.BytesIO(written(PngWriter, [array]))) as image:
        assert (np.asarray(image) == array).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_pngs_of_every_kind_are_read(mode):
    data = io.BytesIO()
    Image.fromarray(np.full((4, 6), 255, np.uint8 if mode != "I;16" else np.uint16)).convert(mode).save(data, "PNG")
    (batch,), _, _ = read(data.getvalue())
    assert batch.array.shape == (1, 4, 6, 4 if mode.endswith("A") else 3)


def test_what_other_programs_say_in_a_png_is_left_alone():
    info = PngInfo()
    info.add_text("Software", "x" * 2_000_000, zip=True)  # more than Pillow would read
    data = io.BytesIO()
    Image.fromarray(noise(4, 4, 3)).save(data, "PNG", pnginfo=info)
    batches, _, warned = read(data.getvalue() * 2)
    assert [batch.meta for batch in batches] == [[{}], [{}]]
    assert warned == []


DEEP = "[" * 100_000 + "]" * 100_000
FORGED = {
    "no JSON": {"raw": "{'a': 1}"},
    "no object": {"raw": "[1]"},
    "a number beyond JSON": {"raw": '{"picture": {"seed": NaN}}'},
    "a picture that is a list": {"raw": '{"picture": [1]}'},
    "an origin that is a text": {"raw": '{"picture": {"origin": "abc"}}'},
    "too long": {"raw": json.dumps({"picture": {"a": "x" * streams.MAX_TEXT}}), "packed": False},
    "a bomb": {"raw": json.dumps({"picture": {"a": "0" * 30_000_000}})},
    "too deep": {"raw": DEEP, "packed": False},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_metadata_are_left_out_and_the_picture_is_read(name):
    array = noise(4, 4, 3)
    batches, pictures, warned = read(png(array, **FORGED[name]) + png(array, **FORGED[name]))
    assert [batch.meta for batch in batches] == [[{}], [{}]]
    assert (batches[0].array[0] == array).all()
    assert warned == ["picture 1 of standard input says of itself what genart does not write; such metadata are left out"]
    assert (pictures.count, pictures.fps) == (None, None)


@pytest.mark.parametrize("name", ["count", "fps"])
@pytest.mark.parametrize("value", [-1, 0, 1e400, "12", None, True, 10**30, [3]])
def test_unbelievable_numbers_are_not_believed(name, value):
    text = as_text({name: value, "index": 3}) if value != 1e400 else f'{{"{name}": 1e400, "index": 3}}'
    _, pictures, _ = read(png(noise(2, 2, 3), raw=text))
    assert getattr(pictures, name) is None


def test_the_origin_of_a_picture_is_bounded():
    (batch,), _, _ = read(png(noise(2, 2, 3), {"stage": "z", "picture": {"origin": [{"stage": str(i)} for i in range(100)]}}))
    assert len(batch.meta[0]["origin"]) == streams.MAX_ORIGIN
    assert batch.meta[0]["origin"][-1] == {"stage": "z"}


GOOD = png(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


@given(st.integers(1, len(GOOD) - 1))
def test_a_png_that_is_cut_off_is_refused_wherever_it_ends(length):
    source = read_pictures(Bytes(io.BytesIO(GOOD + GOOD[:length]).read), lambda _: None)
    next(source.batches)
    with pytest.raises(DataError, match=r"picture 2 of standard input is (cut off|no PNG)"):
        next(source.batches)


@given(st.integers(8, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_gives_a_picture(place, change):
    data = bytearray(GOOD)
    data[place] ^= change
    with pytest.raises(DataError, match="picture 1 of standard input"):
        read(bytes(data))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input is empty"),
        (b"\xff\xd8\xff\xe0 a JPEG", "standard input is neither PNG nor Y4M"),
        (b"GIF89a", "standard input is neither PNG nor Y4M"),
        (GOOD + b"\n", "picture 2 of standard input is no PNG"),
        (streams.PNG + chunk(b"IDAT", b""), "begins without a header"),
        (streams.PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), "50000x50000 is above the limit"),
        (streams.PNG + struct.pack(">I4s", 0xFFFFFFFF, b"IHDR"), "above the limit of 1024 MB"),
        (streams.PNG + struct.pack(">I4s", 0x3FFFFF00, b"IHDR"), "is cut off"),
        (
            streams.PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
            "picture 1 of standard input is",
        ),
    ],
    ids=range(9),
)
def test_what_is_no_stream_of_pictures_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        read(data)


def test_a_stream_that_ends_before_it_said_is_noticed():
    whole = [png(noise(2, 2, 3), {"index": i, "count": 3}) for i in range(3)]
    assert len(read(b"".join(whole))[0]) == 3
    assert len(read(b"".join(whole + whole))[0]) == 6, "streams may follow one another"
    for cut in (whole[:2], whole[:1] + whole):
        with pytest.raises(DataError, match=r"standard input ended after \d of 3 pictures"):
            read(b"".join(cut))


# Y4M


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (720, 721), (1, 1)])
def test_y4m_goes_through_a_pipe_nearly_unchanged(size):
    arrays = [smooth(max(2, size[0]), max(2, size[1]))[: size[0], : size[1]].copy(), np.full((*size, 3), 255, np.uint8)]
    data = written(Y4mWriter, arrays, fps=24000 / 1001)
    assert data.startswith(f"YUV4MPEG2 W{size[1]} H{size[0]} F24000:1001 Ip A1:1 C444 XCOLORRANGE=LIMITED\n".encode())
    batches, pictures, _ = read(data)
    assert all(psnr(batch.array[0], array) > 46 for batch, array in zip(batches, arrays, strict=True))
    assert pictures.fps == pytest.approx(23.976, abs=1e-3)
    assert pictures.notes == [f"Y4M names no colour matrix: read as {'BT.709' if min(size) >= 720 else 'BT.601'}, limited range"]


def test_the_colours_of_y4m_are_those_of_bt_601():
    """ITU-R BT.601: pure red is Y 81, Cb 90, Cr 240 in limited range."""
    data = written(Y4mWriter, [np.full((2, 2, 3), (255, 0, 0), np.uint8)])
    frame = np.frombuffer(data[-12:], np.uint8).astype(int)
    assert np.abs(frame - np.repeat([81, 90, 240], 4)).max() <= 1
    (batch,), _, _ = read(data)
    assert np.abs(batch.array.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("planes", streams.PLANES)
@pytest.mark.parametrize("extent", ["FULL", "LIMITED"])
def test_every_layout_of_y4m_gives_the_same_grey(planes, extent):
    width, height = 5, 3
    head = streams._Y4m(width, height, planes, None, full_range=extent == "FULL")
    luma = 128 if extent == "FULL" else round(16 + 128 * 219 / 255)
    frame = b"".join(bytes([128 if i else luma]) * (h * w) for i, (h, w) in enumerate(head.sides))
    tag = "" if planes == "420jpeg" else f" C{planes}"
    (batch,), pictures, _ = read(f"YUV4MPEG2 W{width} H{height}{tag} XCOLORRANGE={extent}\nFRAME Ip\n".encode() + frame)
    assert batch.array.shape == (1, height, width, 3)
    assert np.abs(batch.array.astype(int) - 128).max() <= 1
    assert pictures.fps is None


HEAD = b"YUV4MPEG2 W2 H2 F25:1 C444\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"YUV4MPEG2 H2 F25:1\n", "says no width and height"),
        (b"YUV4MPEG2 W0 H2\n", "says no width and height"),
        (b"YUV4MPEG2 W-2 H2\n", "says no width and height"),
        (b"YUV4MPEG2 W999999 H999999\n", "999999x999999 is above the limit"),
        (b"YUV4MPEG2 W2 H2 C420p10\n", "C420p10 is not read"),
        (b"YUV4MPEG2 W2 H2 C\xff\x1b[1m\n", "is not read"),
        (b"YUV4MPEG2 W2 H2", "is cut off or longer"),
        (b"YUV4MPEG2" + b" W2" * 1000, "is cut off or longer"),
        (HEAD, "ends after its Y4M header"),
        (HEAD + b"FRAME\n" + bytes(11), "picture 1 of standard input is cut off"),
        (HEAD + b"FRAME", "picture 1 of standard input does not begin with FRAME"),
        (HEAD + b"FRAME\n" + bytes(13), "picture 2 of standard input does not begin with FRAME"),
    ],
    ids=range(12),
)
def test_bad_y4m_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        read(data)


def test_y4m_takes_neither_transparency_nor_another_size():
    with pytest.raises(DataError, match="Y4M knows no transparency"):
        written(Y4mWriter, [noise(2, 2, 4)])
    with pytest.raises(DataError, match="picture 2 has 3x2 pixels, and those before it 2x2"):
        written(Y4mWriter, [noise(2, 2, 3), noise(2, 3, 3)])


# reading as they come


def piped(count: int, folder: Path, *, keep: bool) -> tuple[PipedImages, list[int]]:
    taken: list[int] = []

    def coming():
        for i in range(count):
            taken.append(i)
            yield Batch.from_array(np.full((1, 2, 2, 3), i, np.uint8), [{"number": i}], start=i)

    return PipedImages(Pictures(coming(), None, 5.0), folder, keep=keep), taken


def test_pictures_are_read_when_they_are_asked_for(tmp_path):
    images, taken = piped(3, tmp_path / "x", keep=False)
    batches = iter(images)
    assert taken == []
    next(batches)
    assert taken == [0]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_a_stage_that_asks_first_gets_the_whole_sequence(tmp_path, keep):
    images, _ = piped(4, tmp_path / "x", keep=keep)
    assert len(images) == images.count == 4
    assert int(images[2].array[0, 0, 0, 0]) == 2
    assert [batch.meta[0]["number"] for batch in images.batches(1, start=1)] == [1, 2, 3]
    assert images.array().shape == (4, 2, 2, 3)


def test_kept_pictures_can_be_read_again_at_any_moment(tmp_path):
    images, _ = piped(4, tmp_path / "x", keep=True)
    first = iter(images.batches(1))
    seen = [next(first).start, next(first).start]
    assert [batch.start for batch in images.batches(1)] == [0, 1, 2, 3]
    assert [*seen, *(batch.start for batch in first)] == [0, 1, 2, 3]


def test_pictures_that_are_not_kept_are_gone(tmp_path):
    images, _ = piped(4, tmp_path / "x", keep=False)
    next(iter(images))
    with pytest.raises(StageError, match="more than once"):
        len(images)


def test_waiting_for_pictures_looks_at_signals():
    out, into = os.pipe()
    looked: list[int] = []

    def check():
        looked.append(1)
        os.write(into, b"x")

    with os.fdopen(out) as file:
        assert reader_of(file, check)(10) == b"x"
    os.close(into)
    assert looked == [1]


# between two pipes


@pytest.fixture
def pipe(cli, monkeypatch, capsys, tmp_path):
    """`genart apply WORDS -p toys.py` with bytes on standard input: -> (exit code, bytes on standard output, errors)."""

    def call(*words: object, given: bytes | None = b"") -> tuple[int, bytes, str]:
        (tmp_path / "stdin").write_bytes(given or b"")
        with (
            open(tmp_path / "stdin") as stdin,
            open(tmp_path / "stdout", "w") as stdout,
            monkeypatch.context() as patched,
        ):
            if given is not None:
                patched.setattr(sys, "stdin", stdin)
            patched.setattr(sys, "stdout", stdout)
            result = cli("apply", *words, "-p", TOYS, "--device", "cpu")
        return result.code, (tmp_path / "stdout").read_bytes(), result.err

    return call


def pngs(count: int = 3, grey: int = 40, **about: object) -> bytes:
    return b"".join(png(np.full((4, 4, 3), grey + i, np.uint8), {"index": i, **about} if about else None) for i in range(count))


def test_a_filter_takes_and_gives_pngs(pipe, store, toy_log):
    code, out, err = pipe("toy.invert", given=pngs(stage="before", fps=5))
    assert code == 0, err
    batches, pictures, _ = read(out)
    assert [int(batch.array[0, 0, 0, 0]) for batch in batches] == [215, 214, 213]
    assert pictures.fps == 5
    assert toy_log() == ["invert 0", "invert 1", "invert 2"]
    before, own = batches[0].meta[0]["origin"]
    assert before == {"stage": "before"}
    assert [stage["uses"] for stage in own["stages"]] == ["apply.stream", "toy.invert"]
    assert own["stages"][-1]["params"]["amount"] == 1.0
    assert not any((store / name).exists() for name in ("entries", "work", "ancestry")), "nothing is stored"
    assert not list(store.glob("scratch/*"))


@pytest.mark.parametrize("way", ["zip", "len", "first", "index"])
def test_a_filter_may_read_its_input_again(pipe, way):
    code, out, err = pipe("toy.twice", "--way", way, given=pngs())
    assert code == 0, err
    assert [int(batch.array[0, 0, 0, 0]) for batch in read(out)[0]] == [40, 41, 42]


def test_what_is_no_filter_reads_a_pipe_to_its_end_and_is_found_again(pipe):
    code, _, err = pipe("toy.train", "-o", "m.safetensors", given=pngs())
    assert code == 0, err
    assert "cached" in pipe("toy.train", "-o", "n.safetensors", given=pngs())[2]
    assert "cached" not in pipe("toy.train", "-o", "n.safetensors", given=pngs(grey=90))[2]
    code, out, err = pipe("toy.draw", "--count", "2", given=Path("m.safetensors").read_bytes())
    assert code == 0, err
    assert len(read(out)[0]) == 2
    code, again, _ = pipe("toy.draw", "-i", "m.safetensors", "--count", "2", "-o", "-", given=None)
    assert [(a.array == b.array).all() for a, b in zip(read(again)[0], read(out)[0], strict=True)] == [True, True]


def test_a_model_and_a_film_go_out(pipe):
    code, out, err = pipe("toy.train", given=pngs())
    assert code == 0, err
    Path("m.safetensors").write_bytes(out)
    assert pipe("toy.draw", "-i", "m.safetensors", "--count", "1", "-o", "a.png")[0] == 0
    code, out, err = pipe("toy.film", given=pngs())
    assert code == 0, err
    assert out.startswith(b"GIF89a")
    assert b'"toy.film"' in out


def test_a_stage_without_input_writes_what_it_makes_and_what_it_has_made(pipe, toy_log):
    outs = [pipe("toy.noise", "--count", "3", "--fps", "12", "-o", "-", given=None) for _ in range(2)]
    assert [code for code, _, _ in outs] == [0, 0]
    assert outs[0][1] == outs[1][1], "from the store come the same bytes"
    assert toy_log() == ["noise 0", "noise 1", "noise 2"]
    batches, pictures, _ = read(outs[0][1])
    assert (pictures.count, pictures.fps) == (3, 12)
    assert all("seed" in batch.meta[0] for batch in batches)


def test_several_inputs_may_be_merged_with_a_pipe(pipe):
    Path("a.png").write_bytes(png(np.full((4, 4, 3), 200, np.uint8)))
    code, _, err = pipe("toy.invert", "-i", "a.png", "-i", "-", "-o", "x", given=pngs(2))
    assert code == 0, err
    assert [int(np.asarray(Image.open(path))[0, 0, 0]) for path in sorted(Path("x").iterdir())] == [55, 215, 214]


def test_a_redirected_output_is_for_words_unless_pictures_came_in(pipe):
    code, out, _ = pipe("toy.noise", "--count", "1", given=None)
    assert (code, out) == (0, b"1 picture of 8x8 pixels\n")
    code, out, _ = pipe("toy.invert", "--json", given=pngs(1))
    assert (code, json.loads(out.splitlines()[-1])["event"]) == (0, "result")
    code, out, err = pipe("toy.noise", "-o", "-", "--json", given=None)
    assert (code, json.loads(out)["event"]) == (2, "error")
    assert "-o -: with --json, standard output is for the events" in err


def test_y4m_in_and_out(pipe):
    code, out, err = pipe("toy.invert", "--y4m", given=written(Y4mWriter, [smooth(8, 8)], fps=10))
    assert code == 0, err
    assert "Y4M names no colour matrix: read as BT.601" in err
    (batch,), pictures, _ = read(out)
    assert psnr(batch.array[0], 255 - smooth(8, 8)) > 40
    assert pictures.fps == 10


def test_a_stage_that_prints_does_not_break_the_stream(pipe, monkeypatch):
    monkeypatch.setenv("TOY_PRINT", "1")
    code, out, err = pipe("toy.invert", given=pngs(1))
    assert code == 0, err
    assert len(read(out)[0]) == 1
    assert "the toy prints" in err


def test_pictures_of_changing_size_are_passed_on_as_they_are(pipe):
    given = pngs(1) + png(np.zeros((6, 5, 4), np.uint8))
    code, out, err = pipe("toy.invert", given=given)
    assert code == 0, err
    assert [batch.array.shape for batch in read(out)[0]] == [(1, 4, 4, 3), (1, 6, 5, 4)]
    code, _, err = pipe("toy.train", "-o", "m.safetensors", given=given)
    assert code == 3
    assert "the pictures differ in size (4x4, 5x6)" in err
    assert pipe("toy.invert", "--y4m", given=given)[0] == 3


@pytest.mark.parametrize(
    ("words", "given", "code", "message"),
    [
        (["toy.invert"], b"", 3, "standard input is empty"),
        (["toy.train"], b"", 3, "standard input is empty"),
        (["toy.draw"], b"", 3, "standard input is empty"),
        (["toy.invert"], GOOD[:40], 3, "picture 1 of standard input is cut off"),
        (["toy.train"], GOOD + GOOD[:40], 3, "picture 2 of standard input is cut off"),
        (["toy.invert"], GOOD + GOOD[:40], 3, "stage 'toy.invert': picture 2 of standard input is cut off"),
        (["toy.train"], b"\xff\xd8\xff\xe0 JPEG.....", 3, "standard input is neither PNG, Y4M nor a model"),
        (["toy.train"], bytes(8) + b"{", 2, "-i -: toy.train takes pictures"),
        (["toy.draw"], GOOD, 2, "-i -: toy.draw takes a model"),
        (["toy.draw"], bytes([9, 0, 0, 0, 0, 0, 0, 0]) + b"{nonsense", 3, "not a genart model"),
        (["toy.invert", "--amount", "3"], GOOD, 2, "--amount: expected less than or equal to 1"),
        (["toy.train", "--steps", "0"], GOOD, 2, "--steps: expected greater than or equal to 1"),
        (["toy.crash", "--at", "1"], GOOD * 3, 4, "stage 'toy.crash' failed: ValueError"),
        (["toy.invert"], HEAD.replace(b"W2", b"W"), 3, "the Y4M header of standard input says no width and height"),
    ],
    ids=range(14),
)
def test_bad_input_has_its_code_and_its_words(pipe, words, given, code, message):
    got, _, err = pipe(*words, "-q", given=given)
    assert (got, message in err) == (code, True), err
    assert len(err.splitlines()) <= 3


def test_forged_metadata_are_a_warning(pipe):
    code, out, err = pipe("toy.invert", given=png(noise(4, 4, 3), **FORGED["no JSON"]))
    assert code == 0
    assert "says of itself what genart does not write" in err
    assert "origin" not in read(out)[0][0].meta[0]["origin"][0]


def test_terminals_are_refused(cli, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result = cli("apply", "toy.noise", "-o", "-", "-p", TOYS)
    assert (result.code, result.out) == (2, "")
    assert "-o -: images are not for a terminal" in result.err
    assert "write them into a pipe or a file" in result.err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    result = cli("apply", "toy.invert", "-i", "-", "-p", TOYS)
    assert result.code == 2
    assert "-i -: standard input is a terminal" in result.err


def test_a_filter_says_nothing_unless_something_is_wrong(pipe):
    code, _, err = pipe("toy.noise", "--count", "3", "-o", "-", given=None)
    assert (code, err) == (0, "")
