"""What fuzzing begins with: small files of every kind, made by our own writers each time; none is kept."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import struct
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from genart import tags
from genart.artifacts import Batch, digest_of
from genart.artifacts import sealed as sealed_file
from genart.provenance import PICTURES, as_text, sealed
from genart.streams import PngWriter, Y4mWriter

ROOT = Path(__file__).parents[2]
TOML_WORDS = (
    "[recipe]\n", "[[stage]]\n", "[sweep]\n", "name = ", "seed = ", "uses = ", "id = ", "from = ", "save = ", '"""', "'''", "{", "}",
    "[", "]", "images.samples", "images.folder", "dcgan.train", "latent.walk", "latent.sample", "style.transfer", "video.assemble",
    "train.progress", "path = ", "budget = ", "resolution = ", "count = ", "true", "inf", "nan", "1e999", "0x7f",
    "1979-05-27T07:32:00Z", "\\u0000", "..", '"train.lr" = [1e-4, 2e-4]', "show = ", "ops = [{ op = ", "report = true",
)  # fmt: skip
PICTURE_WORDS = (
    b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"iTXt", b"zTXt", b"genart\0",
    tags.PNG_SIGNATURE, b"\xff\xd8\xff\xe0", b"\xff\xc0", b"\xff\xda", b"\xff\xe1", b"Exif\0\0", b"ICC_PROFILE\0", b"RIFF", b"WEBP",
    b"VP8X", b"VP8L", b"VP8 ", b"ALPH", b"ANIM", b"ANMF", b"XMP ", b"GIF89a", b"\x21\xf9\x04", b"\x21\xfe", b"NETSCAPE2.0", b"II*\0",
    b"MM\0*", b"II+\0", b"BM", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"<genart:deflated>", b"</genart:deflated>",
    b"<genart:provenance>", b"</genart:provenance>",
)  # fmt: skip
PATH_WORDS = (b"..", b"/", b"\\", b"~", b":", b"run.json", b".png", b".gif", b"\x00", b"%2e", b"\xc2\x9b", b"\xe2\x80\xae")
Y4M_WORDS = (b"YUV4MPEG2 ", b"FRAME\n", b" W2 H2", b" F25:1", b" C420", b" C422", b" C444", b" Cmono", b" XCOLORRANGE=FULL", b" C420paldv")
FILM_WORDS = (
    b"ftyp", b"moov", b"mvhd", b"trak", b"udta", b"meta", b"ilst", b"data", b"\xa9cmt", b"keys", b"mdta", b"mdat", b"stsz", b"stco",
    b"stsc", b"dref", b"url ", b"alis", b"\x1a\x45\xdf\xa3", b"webm", b"\x18\x53\x80\x67", b"\x12\x54\xc3\x67", b"COMMENT", b"file:",
    b"http:", b"\xff\xff\xff\xff",
)  # fmt: skip
ARCHIVE_WORDS = (
    b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"ustar\0", b"ustar  \0", b"././@LongLink", b"a.png", b"a.cls", b"a.json", b"../a.png",
    b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\0\0\x08\3", b"\0\0\x08\1", b"\xff\xff\xff\x7f",
)  # fmt: skip
JSON_WORDS = (
    b'"', b"{}", b"[]", b"null", b"NaN", b"1e999", b"-1", b"9" * 64, b"\\u202e", b"\\u001b[2J", b"\\ud800", b'"__metadata__"',
    b'"stages"', b'"from"', b'"params"', b'"files"', b'"outputs"', b'"picture"', b'"index"', b'"sha256"', b'"runs"', b'"ends"',
    b"[" * 60,
)  # fmt: skip


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def safetensors(header: object, data: bytes = b"") -> bytes:
    """A model file with any header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# recipes and words


@cache
def recipes() -> list[bytes]:
    """Those of the project, without comments, and a few that hold what these do not."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").glob("*.toml"))]
    plain = ["\n".join(line for line in text.splitlines() if line and not line.startswith("#")) for text in texts]
    head = '[recipe]\nname = "a"\n'
    more = [
        head + '[[stage]]\nuses = "images.samples"\n',
        head
        + 'seed = 3\n[[stage]]\nuses = "images.folder"\npath = "film"\n[[stage]]\nuses = "images.resize"\nresolution = 16\nsave = "b"\n',
        head + '[[stage]]\nuses = "images.samples"\nid = "a"\n[[stage]]\nuses = "video.assemble"\nfrom = ["a", "a"]\nsave = "c/d.gif"\n',
        head + '[sweep]\n"s.count" = [1, 2]\nshow = "s"\n[[stage]]\nuses = "images.samples"\nid = "s"\n',
        'stage = [{uses = "images.samples"}]\n' + head,
        head + '[[stage]]\nuses = "images.samples"\n[[stage]]\nuses = "augment"\nid = "x"\nops = [{ op = "RandomHorizontalFlip" }]\n',
    ]
    return [text.encode() for text in (*plain, *more)]


def paths() -> list[bytes]:
    """Names of files."""
    told = (
        "a.png",
        "film/a.gif",
        "../a.png",
        "film\\..\\..\\a.png",
        "/etc/passwd",
        "..\\a.png",
        "c:a.png",
        "run.json",
        "~/a.png",
        "out.png",
        "film/../a.png",
        "m.safetensors",
    )
    return [text.encode() for text in told]


def words() -> list[bytes]:
    """Words of a command line."""
    told = ("train.budget=30s", "a.b=[1, 2]", "1h30m", "10m", "500MB", "2.5 GiB", "x=y", "\x1b[31mred", "\u202eright", "a.b='''", "9" * 400)
    return [text.encode() for text in told]


# pictures


def noise(height: int, width: int, channels: int) -> np.ndarray:
    """Any picture, the same each time."""
    return np.random.default_rng(height * width * channels).integers(0, 256, (height, width, channels), np.uint8)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@cache
def pictures() -> list[bytes]:
    """A PNG, an RGBA PNG, a JPEG and a WebP as genart saves them."""
    files = []
    for suffix, channels in ((".png", 3), (".png", 4), (".jpg", 3), (".webp", 4)):
        file = io.BytesIO()
        PICTURES[suffix](noise(4, 5, channels), file)
        files.append(file.getvalue())
    return files


def content() -> str:
    """Hash of what the first of these pictures shows."""
    found = tags.scan(io.BytesIO(pictures()[0]))
    assert found is not None
    return found.content


@cache
def strange_pictures() -> list[bytes]:
    """Pictures that genart does not save, and reads."""
    rgb, rgba = Image.fromarray(noise(6, 4, 3)), Image.fromarray(noise(6, 4, 4))
    deep = Image.fromarray(noise(6, 4, 1)[:, :, 0].astype(np.uint16) * 257)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    more = [rgb.rotate(90), rgb.rotate(180)]
    files = [encoded(rgb.quantize(4), "PNG"), encoded(deep, "PNG"), encoded(rgb.convert("1"), "PNG"), encoded(rgb.convert("LA"), "PNG")]
    files += [
        encoded(rgb, "PNG", icc_profile=profile),
        encoded(rgb, "PNG", exif=exif),
        encoded(rgba, "PNG", save_all=True, append_images=[rgba]),
    ]
    files += [encoded(rgb.convert("CMYK"), "JPEG"), encoded(rgb.convert("L"), "JPEG"), encoded(rgb, "JPEG", progressive=True, exif=exif)]
    files += [
        encoded(rgb, "GIF", save_all=True, append_images=more, loop=0, comment=b"c"),
        encoded(rgb.convert("P"), "GIF", transparency=1),
    ]
    files += [encoded(rgb, "WEBP"), encoded(rgba, "WEBP", save_all=True, append_images=[rgba], lossless=True)]
    files += [
        encoded(rgb, "BMP"),
        encoded(rgb.quantize(9), "BMP"),
        encoded(rgba, "TIFF"),
        encoded(deep, "TIFF"),
        encoded(rgb.convert("F"), "TIFF"),
    ]
    return files + [encoded(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits")]


def any_pictures() -> list[bytes]:
    """All of these, each with a byte before it that says what is wanted."""
    return [bytes([i]) + data for i, data in enumerate((*pictures(), *strange_pictures()))]


@cache
def any_streams() -> list[bytes]:
    """Streams as genart writes them, and Y4M of each colour space."""
    files = []
    for channels in (3, 4):
        file = io.BytesIO()
        PngWriter(file).write(Batch.from_array(np.stack([noise(2, 3, channels)] * 2), [{"seed": 1}] * 2), {"count": 2, "fps": 12.0})
        files.append(file.getvalue())
    file = io.BytesIO()
    Y4mWriter(file).write(Batch.from_array(np.stack([noise(2, 3, 3)] * 2)), {"fps": 25.0})
    files.append(file.getvalue())
    for name in (b"420", b"422", b"mono XCOLORRANGE=LIMITED", b"444 XCOLORRANGE=FULL"):
        files.append(b"YUV4MPEG2 W2 H2 F25:1 C" + name + b"\n" + 2 * (b"FRAME\n" + bytes(range(12))))
    return [b"\0" + data for data in files]


# many pictures in one file


def any_many() -> list[bytes]:
    """An archive of each kind, and files of data sets, each after the byte that says which one it is."""
    files = {"rose/a.png": pictures()[0], "rose/a.cls": b"3", "tulip/b.jpg": pictures()[2], "notes.txt": b"nothing"}
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in list(files.items())[:2]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    tar = tarred.getvalue()[:4095]  # whole, but for some of the zeros at its end
    archives = [zipped.getvalue(), tar, gzip.compress(tar, mtime=0), bz2.compress(tar), lzma.compress(tar)]
    return [b"\0" + data for data in archives] + [bytes([which]) + set_files()[name] for which, (_, name) in SET_FILES.items()]


#: Files of data sets, each in the place of the byte that chooses it.
SET_FILES = {
    1: ("MNIST", "MNIST/raw/t10k-images-idx3-ubyte"),
    2: ("MNIST", "MNIST/raw/t10k-labels-idx1-ubyte"),
    3: ("CIFAR10", "cifar-10-batches-bin/test_batch.bin"),
}


@cache
def set_files() -> dict[str, bytes]:
    """MNIST of three pictures and the test part of CIFAR10 of one, by the names of their files."""
    import torchvision.datasets  # noqa: F401 - takes seconds, which are not the first input's

    files = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\nbird\n", SET_FILES[3][1]: b"\1" + noise(32, 32, 3).tobytes()}
    for part in ("train", "t10k"):
        files[f"MNIST/raw/{part}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, 3, 4, 5) + noise(3, 4, 5).tobytes()
        files[f"MNIST/raw/{part}-labels-idx1-ubyte"] = classes(3, 0, 9)
    return files


def classes(*numbers: int) -> bytes:
    """The file in which MNIST has the classes of its pictures."""
    return struct.pack(">2I", 0x801, len(numbers)) + bytes(numbers)


# what files say of themselves


def told() -> dict[str, Any]:
    """Provenance with everything that it can hold."""
    stage = {
        "id": "a",
        "uses": "images.samples",
        "from": [],
        "params": {"count": 2},
        "plugin": {"version": "1", "source": "0" * 16},
        "outputs": {"output": "0" * 64},
    }
    walk = {
        **stage,
        "id": "b",
        "uses": "images.resize",
        "from": ["a"],
        "params": {"size": 4},
        "seed": 5,
        "files": {"path": {"name": "a.png", "content": "1" * 64}, "style": [{"stage": "a"}]},
        "weights": {"output": "2" * 64},
        "versions": {"pillow": "12"},
        "choices": {"batch": 3},
        "made_with": {"torch": "2", "cores": 2},
    }
    about = {"format": 1, "genart": "1", "recipe": "r", "seed": 3, "stage": "b", "device": "cpu", "torch": "2.9", "index": 1}
    return {**about, "stages": [stage, walk], "picture": {"seed": 7}}


def provenances() -> list[bytes]:
    """Texts of provenance."""
    whole = told()
    short = {**whole, "stages": whole["stages"][:1], "stage": "a"}
    plain = {**whole, "stages": [whole["stages"][0], {**whole["stages"][1], "files": {}}]}
    return [as_text(one).encode() for one in (whole, short, plain)]


@cache
def any_tagged() -> list[bytes]:
    """One file of each kind that carries a text, with one in it."""
    text = as_text(sealed(told(), "0" * 64))
    gif, bare = encoded(Image.fromarray(noise(4, 4, 3)).quantize(4), "GIF"), models()[0][1:]
    files = [put(data, text) for data in (*pictures(), gif)] + [put(data, "{}") for data in (*pictures(), gif)]
    return [b"\0" + data for data in (*files, *pictures(), gif, bare)]


def films() -> list[bytes]:
    """A small film of each container, with a text in it."""
    return [b"\0" + put(data, '{"a":1}') for data in bare_films()]


@cache
def bare_films() -> list[bytes]:
    """A small MP4, MOV and WebM."""
    import av

    files = []
    for container, codec in (("mp4", "libx264"), ("mov", "mpeg4"), ("webm", "libvpx-vp9")):
        file = io.BytesIO()
        with av.open(file, "w", format=container, container_options={"fflags": "+bitexact"}) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise(16, 32, 3), "rgb24")))
            out.mux(stream.encode(None))
        files.append(file.getvalue())
    return files


def put(data: bytes, text: str) -> bytes:
    """A file with a text in it."""
    out = io.BytesIO()
    tags.put(io.BytesIO(data), out, text)
    return out.getvalue()


def model_head() -> dict[str, Any]:
    """What a model says of itself."""
    history = [{"kimg": 0.1, "loss_D": 0.5, "diversity": 0.4, "kid": 0.1}, {"kimg": 0.2, "loss_D": 0.4}]
    trained = {"watchdog": [{"nimg": 100, "trouble": "t", "act": "a", "message": "m"}]}
    return {"family": "dcgan", "parameters": {"width": 2}, "z_dim": 4, "resolution": 16, "history": history, "trained": trained}


def models() -> list[bytes]:
    """A whole file, a header, and what genart puts in it."""
    inner = json.dumps({"model": model_head(), "provenance": told()})
    header = {"__metadata__": {"genart": inner}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return [b"\x80" + safetensors(header, bytes(8)), b"\x40" + json.dumps(header).encode(), b"\x00" + inner.encode()]


# the store


#: A key of results.
KEY = "ab" + "c" * 62


def manifest() -> dict[str, Any]:
    """What an entry says of itself: two pictures of four pixels, and a model."""
    pictures = {"pixels.bin": "0" * 64, "index.json": "1" * 64}
    outputs = {
        "output": {"kind": "images", "files": pictures, "sizes": {"pixels.bin": 24, "index.json": 60}, "digest": digest_of(pictures)},
        "model": {"kind": "model", "files": (files := {"model.safetensors": "2" * 64}), "sizes": dict.fromkeys(files, 9)},
    }
    outputs["model"] |= {"digest": digest_of(files), "family": "dcgan", "weights": "3" * 64}
    return {"format": 1, "key": KEY, "outputs": outputs, "stage": "a", "seconds": 1.5, "parts": {"params": {"count": 2}}}


#: Name and content of the sealed files beside results, each in the place of the byte that chooses it.
SEALED: dict[int, tuple[str, dict[str, Any]]] = {
    1: (f"ancestry/ab/{KEY}", {"key": KEY}),
    2: (f"notes/ab/{KEY}", {"outputs": {"output": {}}, "choices": {"lucky": 1}}),
    3: ("history/slot.json", {"params": {"count": 2}, "inputs": []}),
    4: ("choices.json", {"lucky": 1}),
    5: ("sync.json", {"runs": [[1, 2, 2, 3]], "count": 1, "ends": [12, 3]}),
    6: ("hashes/slot.json", {"files": {"": [0, 1, 2, 3, "0" * 64]}}),
    7: ("device.json", {"mark": ["2.9", "", False], "devices": ["mars"]}),
}


def sealed_bytes(which: int) -> bytes:
    """One of these files."""
    name, value = SEALED[which]
    return json.dumps(sealed_file(value, name)).encode()


def store_files() -> list[bytes]:
    """Small files of a store, each after the byte that says which one it is; manifests are sealed by their reader."""
    whole = [bytes([which]) + sealed_bytes(which) for which in SEALED]
    return [b"\0" + json.dumps(manifest()).encode(), *whole]


def reports() -> list[bytes]:
    """What run.json says, and what a model that was saved beside it does."""
    stage = {"id": "a", "uses": "dcgan.train", "reads": [], "gives": {"output": "model"}, "cached": False, "seconds": 1.0, "key": "ab"}
    saved = {"path": "m.safetensors", "stage": "a", "bytes": 3}
    run = {"recipe": "r", "seed": 1, "stages": [stage, {**stage, "id": "b", "reads": ["a.progress"]}], "outputs": [saved]}
    return [b"\0" + json.dumps(run).encode(), b"\1" + json.dumps({"model": model_head()}).encode()]
