"""`images.folder`: any file, any damage, in order."""

import builtins
import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from genart import DataError
from genart.nn.pictures import Unreadable, Want, decode
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_images import images_folder
from tests.fuzz.crashes import nameless_profile

RAMP = np.linspace(0, 255, 24 * 16).astype(np.uint8).reshape(16, 24)
RGB = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], 2)
#: transparent left half, opaque right half
ALPHA = np.repeat(np.array([0, 255], np.uint8), 12)[None].repeat(16, 0)


def read(path, work, events=None, **params):
    observer = None if events is None else events.append
    return run_stage(images_folder, work=work, observer=observer, path=str(path), **params)["output"]


def pixels(path, **want):
    return decode(path, Want(**want)).astype(int)


def save(folder, name, array=RGB, mode=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(folder / name, **options)
    return folder / name


def number_pictures(folder, count, name="{:03d}.png"):
    for i in range(count):
        save(folder, name.format(i), np.full((4, 4, 3), i, np.uint8))


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows):
    """A PNG written by hand, for what Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


# kinds of file


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tif", {}, 0),
        ("a.tiff", {"compression": "tiff_lzw"}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 98, "subsampling": 0}, 8),
        ("a.jpeg", {"quality": 98, "progressive": True, "subsampling": 0}, 8),
        ("a.gif", {}, 60),
    ],
)
def test_formats(tmp_path, name, options, tolerance):
    save(tmp_path / "in", name, **options)
    images = read(tmp_path / "in", tmp_path / "work")
    assert images.array().shape == (1, 16, 24, 3)
    assert np.abs(images.array()[0].astype(int) - RGB).max() <= tolerance
    assert images[0].meta == [{"source": name}]
    batch = images[0].pixels
    assert batch.shape == (1, 3, 16, 24)
    assert float(batch.min()) >= 0
    assert float(batch.max()) <= 1


def test_the_kind_is_told_by_content_not_by_name(tmp_path):
    save(tmp_path, "a.png").rename(tmp_path / "a.jpg")
    save(tmp_path, "b.png").rename(tmp_path / "without_suffix")
    assert read(tmp_path, tmp_path / "work").count == 2
    assert np.array_equal(pixels(tmp_path / "a.jpg"), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_few_colours(tmp_path, mode):
    path = save(tmp_path, "a.png", RAMP, mode)
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(pixels(path), expected)
    assert (expected[..., 0] == expected[..., 1]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, name):
    deep = np.linspace(0, 65535, 24 * 16).astype(np.uint16).reshape(16, 24)
    path = save(tmp_path, name, deep)
    expected = np.rint(deep / 257)[..., None].repeat(3, 2)
    assert np.array_equal(pixels(path), expected)


def test_sixteen_bit_colour_is_scaled_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 24 * 16 * 3).astype(">u2").reshape(16, 24, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png(24, 16, 16, 2, rows))
    assert np.abs(pixels(tmp_path / "a.png") - deep / 257).max() <= 1


@pytest.mark.parametrize(("values", "white"), [((0.0, 0.25, 1.0), 1.0), ((0.0, 5.0, 20.0), 20.0)])
def test_floats(tmp_path, values, white):
    path = save(tmp_path, "a.tif", np.array([values], np.float32))
    assert pixels(path)[0, :, 0].tolist() == [round(value / white * 255) for value in values]


def test_floats_that_are_no_numbers_are_refused(tmp_path):
    path = save(tmp_path, "a.tif", np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(Unreadable, match="NaN"):
        decode(path, Want())


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    inks = np.zeros((16, 24, 4), np.uint8)
    inks[:, 12:, 0] = 255  # cyan
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(inks, "CMYK").save(folder / name, **({"quality": 98} if name == "a.jpg" else {}))
    result = pixels(folder / name)
    assert np.abs(result[:, :8] - 255).max() < 6
    assert np.abs(result[:, 16:] - [0, 255, 255]).max() < 6


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    for name in ("a.gif", "b.webp", "c.png"):
        options = {"lossless": True} if name == "b.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert (pixels(tmp_path / name) == 10).all(), name


# transparency


def transparent_files(folder):
    rgba = np.concatenate([np.full((16, 24, 3), 200, np.uint8), ALPHA[..., None]], 2)
    save(folder, "rgba.png", rgba)
    save(folder, "rgba.webp", rgba, lossless=True)
    save(folder, "rgba.tif", rgba)
    save(folder, "la.png", rgba, "LA")
    palette = Image.fromarray((ALPHA > 0).astype(np.uint8), "P")
    palette.putpalette([9, 9, 9, 200, 200, 200])
    palette.save(folder / "p.gif", transparency=0)
    palette.save(folder / "p.png", transparency=0)
    keyed = np.where(ALPHA[..., None] > 0, 200, 7).astype(np.uint8).repeat(3, 2)
    save(folder, "keyed.png", keyed, transparency=(7, 7, 7))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_transparency_is_laid_on_the_background(tmp_path):
    (tmp_path / "in").mkdir()
    transparent_files(tmp_path / "in")
    images = read(tmp_path / "in", tmp_path / "work", background="#204060")
    for i in range(images.count):
        picture, name = images[i].array[0], images[i].meta[0]["source"]
        assert (picture[:, :12] == [0x20, 0x40, 0x60]).all(), name
        assert (picture[:, 12:] == 200).all(), name
    assert images.count == 7


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_transparency_is_kept_for_every_picture(tmp_path):
    (tmp_path / "in").mkdir()
    transparent_files(tmp_path / "in")
    save(tmp_path / "in", "opaque.png", np.full((16, 24, 3), 200, np.uint8))
    images = read(tmp_path / "in", tmp_path / "work", alpha="keep")
    assert images.array().shape == (8, 16, 24, 4)
    for i in range(8):
        picture, name = images[i].array[0], images[i].meta[0]["source"]
        assert (picture[..., 3] == (255 if name == "opaque.png" else ALPHA)).all(), name
        assert (picture[:, 12:, :3] == 200).all(), name


def test_hidden_colours_do_not_bleed_when_resized(tmp_path):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[:, 16:] = (255, 0, 0, 255)
    path = save(tmp_path, "a.png", rgba)
    on_black = pixels(path, size=(8, 8), background="#000000")
    assert on_black[..., 1].max() <= 2


# orientation and colour profiles


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, name, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 16:] = (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {"quality": 98, "subsampling": 0} if name == "a.jpg" else {}
    path = save(tmp_path, name, np.ascontiguousarray(stored), exif=exif, **options)
    assert np.abs(pixels(path) - upright).max() < (40 if name == "a.jpg" else 1)
    assert pixels(path, size=(12, 8), fit="stretch")[1, 1].argmax() == 0


def test_damaged_exif_leaves_the_picture(tmp_path):
    path = save(tmp_path, "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert np.array_equal(pixels(path), RGB)


def swapped_profile():
    """sRGB with the primaries of red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    places = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def ink_profile():
    """A CMYK profile of which cyan is a middle green, bare paper white, and everything else black."""
    lab = {(0, 0, 0, 0): (255, 128, 128), (1, 0, 0, 0): (128, 78, 168)}
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = b"".join(bytes(lab.get(corner, (0, 128, 128))) for corner in corners)
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + bytes(range(256)) * 4 + table + bytes(range(256)) * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"inks\0" + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    body, table_of_tags = b"", b""
    for tag, data in ((b"desc", text), (b"wtpt", white), (b"A2B0", lut), (b"cprt", b"text\0\0\0\0none\0")):
        table_of_tags += tag + struct.pack(">II", 128 + 4 + 48 + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size = 128 + 4 + 48 + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"\0" * 4, 0x02100000, b"prtr", b"CMYK", b"Lab ", b"\0" * 12, b"acsp")
    header += b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", 4) + table_of_tags + body


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_icc_profile_of_rgb(tmp_path, name):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    options = {"lossless": True} if name == "a.webp" else {}
    profiled = save(tmp_path, name, red, icc_profile=swapped_profile(), **options)
    assert np.abs(pixels(profiled) - [0, 255, 0]).max() <= 2
    assert np.abs(pixels(save(tmp_path, "plain.png", red)) - [255, 0, 0]).max() == 0


def test_icc_profile_keeps_transparency(tmp_path):
    rgba = np.zeros((16, 24, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[..., 3] = ALPHA
    path = save(tmp_path, "a.png", rgba, icc_profile=swapped_profile())
    result = pixels(path, keep_alpha=True)
    assert (result[..., 3] == ALPHA).all()
    assert np.abs(result[:, 12:, :3] - [0, 255, 0]).max() <= 2


def test_icc_profile_of_inks(tmp_path):
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[:, 2:, 0] = 255
    picture = Image.frombytes("CMYK", (4, 4), inks.tobytes())
    picture.save(tmp_path / "a.tif", icc_profile=ink_profile())
    result = pixels(tmp_path / "a.tif")
    assert result[0, 0].min() > 245
    r, g, b = result[0, 3]
    assert min(g - r - 60, g - b - 30) > 0, f"cyan became {r, g, b}, not green"


@pytest.mark.parametrize("profile", [b"nonsense", ink_profile(), nameless_profile()], ids=["damaged", "of other colours", "nameless"])
def test_unusable_icc_profile_is_ignored(tmp_path, profile):
    assert np.array_equal(pixels(save(tmp_path, "a.png", icc_profile=profile)), RGB)


# sizes


def test_crop_takes_the_middle_square(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 255
    save(tmp_path / "in", "wide.png", wide)
    save(tmp_path / "in", "tall.png", np.ascontiguousarray(wide.transpose(1, 0, 2)))
    save(tmp_path / "in", "small.png", np.full((3, 4, 3), 255, np.uint8))
    images = read(tmp_path / "in", tmp_path / "work", crop=8)
    assert images.array().shape == (3, 8, 8, 3)
    assert images.array().min() >= 240, "but for what the filter sees beyond the edge, all is white"


def test_resolution_fits(tmp_path):
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, 10:30] = 255
    save(tmp_path / "in", "a.png", picture)

    def fit(name):
        return read(tmp_path / "in", tmp_path / name, resolution=[20, 20], fit=name, background="#ff0000").array()[0]

    assert (fit("crop") >= 250).mean() > 0.9
    stretched = fit("stretch")
    assert stretched[:, :4].max() < 10
    assert stretched[:, 7:13].min() > 245
    boxed = fit("letterbox")
    assert (boxed[:7] == [255, 0, 0]).all()
    assert (boxed[13:] == [255, 0, 0]).all()
    assert boxed[8:12, 7:13].min() > 245
    assert np.array_equal(fit("pad"), boxed), "it is too large, and reduced"
    kept = read(tmp_path / "in", tmp_path / "kept", resolution=20, fit="letterbox", alpha="keep").array()[0]
    assert (kept[:7, :, 3] == 0).all()
    assert (kept[8:12, :, 3] == 255).all()


@pytest.mark.parametrize("alpha", ["drop", "keep"])
def test_a_small_picture_is_padded_and_not_enlarged(alpha, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    save(tmp_path / "in", "a.png", picture)
    padded = read(tmp_path / "in", tmp_path / "w", resolution=20, fit="pad", alpha=alpha, background="#102030").array()[0]
    assert np.array_equal(padded[5:14, 4:16, :3], picture)
    around = np.ones((20, 20), bool)
    around[5:14, 4:16] = False
    outside = padded[around]
    assert (outside[:, 3] == 0).all() if alpha == "keep" else (outside == [0x10, 0x20, 0x30]).all()


def test_a_large_jpeg_is_reduced_well(tmp_path):
    """A JPEG decoded at a fraction of its size looks like one decoded whole and then reduced."""
    y, x = np.mgrid[0:960, 0:1280] / 960
    photo = (127.5 + 127.5 * np.stack([np.sin(9 * x), np.sin(7 * y), np.sin(5 * (x + y))], 2)).astype(np.uint8)
    path = save(tmp_path, "a.jpg", photo, quality=95)
    reference = np.asarray(Image.fromarray(photo[:, 160:1120]).resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels(path, size=(64, 64)) - reference).mean() < 1.5


def test_own_sizes_come_in_order_a_batch_of_one_size_each(tmp_path):
    sizes = [(4, 4), (4, 4), (6, 2), (4, 4)]
    for i, (height, width) in enumerate(sizes):
        save(tmp_path / "in", f"{i}.png", np.full((height, width, 3), i, np.uint8))
    images = read(tmp_path / "in", tmp_path / "work")
    assert [batch.array.shape[:3] for batch in images] == [(2, 4, 4), (1, 6, 2), (1, 4, 4)]
    assert [int(images[i].array[0, 0, 0, 0]) for i in range(4)] == [0, 1, 2, 3]


# order, labels, limits


def test_order_is_that_of_the_sorted_paths(tmp_path):
    number_pictures(tmp_path / "in", 130)
    numbers = read(tmp_path / "in", tmp_path / "work", crop=4).array()[:, 0, 0, 0]
    assert numbers.tolist() == list(range(130))
    again = read(tmp_path / "in", tmp_path / "again", crop=4)
    assert np.array_equal(again.array()[:, 0, 0, 0], numbers)


def test_class_folders_become_labels(tmp_path):
    save(tmp_path / "in" / "cats" / "deep", "a.png")
    save(tmp_path / "in" / "dogs", "a.png")
    save(tmp_path / "in", "z.png")
    images = read(tmp_path / "in", tmp_path / "work")
    assert [meta for batch in images for meta in batch.meta] == [
        {"source": "a.png", "label": "cats"},
        {"source": "a.png", "label": "dogs"},
        {"source": "z.png"},
    ]


def test_count_is_a_limit_and_changes_no_picture(tmp_path):
    number_pictures(tmp_path / "in", 40)
    (tmp_path / "in" / "099.png").write_bytes(b"")
    events = []
    images = read(tmp_path / "in", tmp_path / "work", events, crop=4, count=7)
    assert images.array()[:, 0, 0, 0].tolist() == list(range(7))
    assert not [event for event in events if event["event"] == "warning"]


def test_one_file(tmp_path):
    images = read(save(tmp_path, "a.png"), tmp_path / "work")
    assert np.array_equal(images.array()[0], RGB)


def test_other_files_are_passed_over(tmp_path):
    save(tmp_path / "in", "a.png")
    for name in ("notes.txt", "Thumbs.db", ".DS_Store", "labels.csv", "README", "BM_notes"):
        (tmp_path / "in" / name).write_text("BM, nothing to see")
    save(tmp_path / "in" / "__MACOSX", "b.png")
    (tmp_path / "in" / "._a.png").write_bytes(b"resource fork")
    events = []
    assert read(tmp_path / "in", tmp_path / "work", events).count == 1
    assert not [event for event in events if event["event"] == "warning"]


# damage


def bomb_png():
    return png(50_000, 50_000, 8, 2, b"\0" * 1000)


def bomb_bmp():
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)


def cut(name, **options):
    """The first 60 % of a picture of noise, which does not compress to nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, name, **options)
    return buffer.getvalue()[: int(0.6 * buffer.tell())]


DAMAGE = {
    "empty.png": (b"", "empty file"),
    "text.jpg": (b"this is no picture", "not a PNG"),
    "header.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "damaged"),
    "bomb.png": (bomb_png(), "50000x50000 is 2,500 megapixels"),
    "bomb.bmp": (bomb_bmp(), "50000x50000 is 2,500 megapixels"),
    "photo.heic": (b"\0\0\0\x18ftypheic", "not a PNG"),
    "cut.png": (cut("PNG"), ""),
    "cut.jpg": (cut("JPEG"), "truncated"),
    "cut.webp": (cut("WEBP"), ""),
    "cut.bmp": (cut("BMP"), "truncated"),
    "cut.tif": (cut("TIFF"), ""),
    "cut.gif": (cut("GIF"), ""),
    "zero.png": (png(0, 4, 8, 2, b""), ""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_pictures_are_skipped_and_named(tmp_path, name):
    data, reason = DAMAGE[name]
    number_pictures(tmp_path / "in", 3)
    (tmp_path / "in" / name).write_bytes(data)
    events = []
    images = read(tmp_path / "in", tmp_path / "work", events, crop=4)
    assert images.array()[:, 0, 0, 0].tolist() == [0, 1, 2]
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert warning.startswith("skipped 1 of 4 files")
    assert name in warning
    assert reason in warning


@pytest.mark.parametrize("name", DAMAGE)
def test_strict_stops_and_names_the_file(tmp_path, name):
    number_pictures(tmp_path / "in", 3)
    (tmp_path / "in" / name).write_bytes(DAMAGE[name][0])
    with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
        read(tmp_path / "in", tmp_path / "work", strict=True)
    assert str(tmp_path) not in caught.value.message
    assert caught.value.hint


def test_the_list_of_skipped_files_is_bounded(tmp_path):
    number_pictures(tmp_path / "in", 1)
    for i in range(30):
        (tmp_path / "in" / f"bad{i:02d}.png").write_bytes(b"")
    events = []
    read(tmp_path / "in", tmp_path / "work", events)
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert warning.startswith("skipped 30 of 31 files: bad00.png (empty file), ")
    assert warning.endswith("and 25 more")
    (note,) = [event["message"] for event in events if event["event"] == "note"]
    assert note.endswith("--json names every skipped file, and so does the run.json that a recipe's run writes")


def test_names_of_skipped_files_cannot_speak_to_a_terminal(tmp_path):
    number_pictures(tmp_path / "in", 1)
    (tmp_path / "in" / "bad\x1b[31m\nname.png").write_bytes(b"")
    events = []
    read(tmp_path / "in", tmp_path / "work", events)
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert warning.isprintable()


def test_no_usable_picture(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no picture"):
        read(empty, tmp_path / "work")
    (empty / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 pictures") as caught:
        read(empty, tmp_path / "work")
    assert "empty file" in caught.value.hint
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "nowhere", tmp_path / "work")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    number_pictures(tmp_path / "in", 2)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    os.mkfifo(tmp_path / "in" / "pipe")
    os.symlink(tmp_path / "gone.png", tmp_path / "in" / "link.png")
    (tmp_path / "in" / "class").mkdir()
    save(tmp_path / "in" / "class", "a.png", np.zeros((4, 4, 3), np.uint8))
    os.symlink("circle.png", tmp_path / "in" / "circle.png")
    events = []
    assert read(tmp_path / "in", tmp_path / "work", events).count == 3
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert "pipe.png (not a regular file)" in warning
    assert "circle.png (a link that leads nowhere)" in warning
    assert "link.png (a link that leads nowhere)" in warning


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOENT])
def test_a_picture_that_the_system_does_not_give_is_not_passed_over(tmp_path, monkeypatch, code):
    number_pictures(tmp_path / "in", 2)
    opened = builtins.open

    def failing(file, *arguments, **options):
        if str(file).endswith("001.png"):
            raise OSError(code, os.strerror(code), str(file))
        return opened(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", failing)
    with pytest.raises(DataError, match=f"001.png: {os.strerror(code).lower()}"):
        read(tmp_path / "in", tmp_path / "work")


def test_pillows_global_limit_is_neither_used_nor_changed(tmp_path, monkeypatch):
    save(tmp_path / "in", "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert read(tmp_path / "in", tmp_path / "work").count == 1
    assert Image.MAX_IMAGE_PIXELS == 1


def test_a_consumer_that_stops_early_leaves_no_thread(tmp_path):
    import threading

    from genart.events import Events
    from genart.run import Run

    number_pictures(tmp_path / "in", 60)
    run = Run(stage_id="f", seed=0, device="cpu", work=tmp_path / "work", events=Events())
    stream = images_folder(None, resolve(images_folder.params, "images.folder", {"path": str(tmp_path / "in")}), run)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "required"),
        ({"path": "x", "crop": 8, "resolution": 8}, "not both"),
        ({"path": "x", "resolution": [8, 0]}, "resolution"),
        ({"path": "x", "fit": "croop"}, "crop"),
        ({"path": "x", "background": "#12"}, "colour"),
        ({"path": "x", "cropp": 8}, "did you mean 'crop'"),
    ],
)
def test_wrong_parameters(params, words):
    with pytest.raises(ParamProblem, match=words):
        resolve(images_folder.params, "images.folder", params)


def test_an_empty_class_folder_is_named(tmp_path):
    for name in ("rose", "tulip"):
        number_pictures(tmp_path / "a" / name, 2)
    (tmp_path / "a" / "daisy").mkdir()
    events = []
    read(tmp_path / "a", tmp_path / "w", events)
    assert [e["message"] for e in events if e["event"] == "warning"] == ["no picture in the class folder daisy: nothing is learned of it"]
    number_pictures(tmp_path / "b", 2)
    (tmp_path / "b" / "daisy").mkdir()
    events = []
    read(tmp_path / "b", tmp_path / "w2", events)
    assert not [e for e in events if e["event"] == "warning"], "where there are no classes an empty folder means nothing"
