"""`images.torchvision`: data sets in torchvision's layout, with their classes, without a pickle and without a network."""

import bz2
import errno
import gzip
import inspect
import io
import json
import re
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets
from PIL import Image

from genart import DataError
from genart.nn import datasets
from genart.nn.family import classes_of
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_images import images_torchvision

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
GREYS = RNG.integers(0, 256, (4, 28, 28), np.uint8)


def read(name, root, tmp_path, events=None, **params):
    observer = None if events is None else events.append
    return run_stage(images_torchvision, work=tmp_path / "work", observer=observer, name=name, path=str(root), **params)["output"]


def labels(images):
    return [meta.get("label") for batch in images for meta in batch.meta]


def idx(array):
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def mnist(root, name, pictures=GREYS, classes=(3, 0, 9, 3)):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pictures))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array(classes, np.uint8)))


def cifar(root, name, classes=(2, 0, 1, 2)):
    about = datasets.CIFAR[name]
    (root / about.folder).mkdir(parents=True)
    (root / about.folder / about.names).write_text("airplane\nbird\ncat\n\n")
    files = [(file, i) for i, file in enumerate([*about.files["train"], *about.files["test"]])]
    for file, i in files:
        picture, label = PICTURES[i % 4], classes[i % 4]
        record = bytes([77] * (about.labels - 1) + [label]) + picture.transpose(2, 0, 1).tobytes()
        (root / about.folder / file).write_bytes(record)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, "PNG")  # whatever its name says: what a picture is, its first bytes tell


# the real thing


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    if not DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    root = tmp_path_factory.mktemp("sets")
    (root / "FashionMNIST" / "raw").mkdir(parents=True)
    for file in DEBIAN.glob("*.gz"):
        with gzip.open(file) as packed, open(root / "FashionMNIST" / "raw" / file.stem, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    return root


#: What brings 28 pixels to 32 by a border.
PADDED = ((0, 0), (2, 2), (2, 2), (0, 0))


def test_fashion_mnist(fashion, tmp_path):
    images = read("FashionMNIST", fashion, tmp_path, count=500)
    theirs = torchvision.datasets.FashionMNIST(fashion)
    assert images.array().shape == (500, 28, 28, 3)
    assert np.array_equal(images.array()[..., 0], theirs.data[:500].numpy())
    assert labels(images) == [theirs.classes[target] for target in theirs.targets[:500]]
    test = read("FashionMNIST", fashion, tmp_path, count=3, split="test", resolution=32)
    assert np.array_equal(test.array(), np.pad(read("FashionMNIST", fashion, tmp_path / "small", count=3, split="test").array(), PADDED))
    enlarged = read("FashionMNIST", fashion, tmp_path / "large", count=3, split="test", resolution=32, fit="crop").array()
    assert enlarged[:, :2].any(), "if told to"
    assert labels(test) == ["Ankle boot", "Pullover", "Trouser"]


def test_the_four_files_by_themselves_are_the_same_set(fashion, tmp_path):
    """As Debian keeps them, packed; and unpacked, or some of them."""
    wanted = read("FashionMNIST", fashion, tmp_path / "usual", count=500)
    packed = read("FashionMNIST", DEBIAN, tmp_path / "packed", count=500)
    mixed = tmp_path / "mixed"
    shutil.copytree(DEBIAN, mixed)
    with gzip.open(mixed / "train-images-idx3-ubyte.gz") as file:
        (mixed / "train-images-idx3-ubyte").write_bytes(file.read())
    (mixed / "train-images-idx3-ubyte.gz").unlink()
    for found in (packed, read("FashionMNIST", mixed, tmp_path / "some", count=500)):
        assert np.array_equal(found.array(), wanted.array())
        assert labels(found) == labels(wanted)


FLAT = ("FashionMNIST", "KMNIST", "MNIST")


def flat(root, name):
    mnist(root / "usual", name)
    folder = root / "flat"
    folder.mkdir()
    for file in (root / "usual" / name / "raw").iterdir():
        with gzip.open(folder / f"{file.name}.gz", "wb") as packed:
            packed.write(file.read_bytes())
    return folder


@pytest.mark.parametrize("name", FLAT)
def test_four_packed_files_are_read(name, tmp_path):
    images = read(name, flat(tmp_path, name), tmp_path)
    assert np.array_equal(images.array()[..., 0], GREYS)
    assert len(set(labels(images))) == 3


@pytest.mark.parametrize("how", ["one is missing", "cut short", "no gzip at all", "far too large"])
def test_four_packed_files_of_which_one_is_bad(how, tmp_path, monkeypatch):
    folder = flat(tmp_path, "MNIST")
    file = folder / "t10k-labels-idx1-ubyte.gz"
    if how == "one is missing":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(file.read_bytes()[:-9])
    elif how == "no gzip at all":
        file.write_bytes(b"labels")
    else:
        monkeypatch.setattr(datasets, "MOST_IDX_BYTES", GREYS.nbytes)  # that of the pictures is larger by its head
    with pytest.raises(DataError, match="not there, or not whole" if how == "one is missing" else "MNIST is damaged"):
        read("MNIST", folder, tmp_path)


def test_a_full_disk_is_not_taken_for_damage(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = flat(tmp_path, "MNIST")
    monkeypatch.setattr(datasets, "_unpacked", full)
    with pytest.raises(OSError, match="No space left"):
        read("MNIST", folder, tmp_path)


def test_classes_reach_training_as_those_of_folders_do(fashion, tmp_path):
    images = read("FashionMNIST", fashion, tmp_path, count=100)
    numbers, names = classes_of(images, None)
    assert names == sorted(torchvision.datasets.FashionMNIST.classes)
    assert [names[number] for number in numbers] == labels(images)


# every set, from files made here


def of_folders(base, *classes):
    def make(root):
        for i, name in enumerate(classes):
            save(root / base / name / "1.jpeg", PICTURES[i])

    return make


def make_dtd(root):
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    (folder / "labels" / "train1.txt").write_text("zigzagged/z.jpg\nbanded/b.jpg\n")
    save(folder / "images" / "zigzagged" / "z.jpg", PICTURES[0])
    save(folder / "images" / "banded" / "b.jpg", PICTURES[1])


def make_food(root):
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "train.json").write_text(json.dumps({"pizza": ["pizza/1"], "apple_pie": ["apple_pie/2"]}))
    save(folder / "images" / "pizza" / "1.jpg", PICTURES[0])
    save(folder / "images" / "apple_pie" / "2.jpg", PICTURES[1])


def make_flowers(root):
    folder = root / "flowers-102"
    for i in (1, 2):
        save(folder / "jpg" / f"image_{i:05d}.jpg", PICTURES[i - 1])
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([[2, 1]])})
    scipy.io.savemat(folder / "setid.mat", {"trnid": np.array([[1, 2]]), "valid": np.array([[1]]), "tstid": np.array([[2]])})


def make_stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    pictures = np.stack([PICTURES.repeat(3, 1).repeat(3, 2)[i] for i in (0, 1)])
    pictures.transpose(0, 3, 2, 1).tofile(folder / "train_X.bin")  # columns first
    np.array([3, 1], np.uint8).tofile(folder / "train_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\n")


def make_svhn(root):
    scipy.io.savemat(root / "train_32x32.mat", {"X": PICTURES[:2].transpose(1, 2, 3, 0), "y": np.array([[7], [10]], np.uint8)})


def make_usps(root):
    lines = [
        f"{label} " + " ".join(f"{i + 1}:{value / 127.5 - 1:.6f}" for i, value in enumerate(GREYS[k, :16, :16].ravel()))
        for k, label in enumerate((4, 1))
    ]
    (root / "usps.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))


#: How a tiny one is made, the labels of its first part, and whether its pictures are those above to the bit.
SETS = {
    "CIFAR10": (lambda root: cifar(root, "CIFAR10"), ["cat", "airplane", "bird", "cat", "cat"]),
    "CIFAR100": (lambda root: cifar(root, "CIFAR100"), ["cat"]),
    "Country211": (of_folders("country211/train", "AD", "DE"), ["AD", "DE"]),
    "DTD": (make_dtd, ["zigzagged", "banded"]),
    "EuroSAT": (of_folders("eurosat/2750", "Forest", "River"), ["Forest", "River"]),
    "FashionMNIST": (lambda root: mnist(root, "FashionMNIST"), ["Dress", "T-shirt/top", "Ankle boot", "Dress"]),
    "Flowers102": (make_flowers, ["hard-leaved pocket orchid", "pink primrose"]),
    "Food101": (make_food, ["pizza", "apple_pie"]),
    "Imagenette": (of_folders("imagenette2/train", "n01440764", "n02102040"), ["tench", "English springer"]),
    "KMNIST": (lambda root: mnist(root, "KMNIST"), ["tsu", "o", "wo", "tsu"]),
    "MNIST": (lambda root: mnist(root, "MNIST"), ["3 - three", "0 - zero", "9 - nine", "3 - three"]),
    "STL10": (make_stl10, ["car", "airplane"]),
    "SVHN": (make_svhn, ["7", "0"]),
    "USPS": (make_usps, ["3", "0"]),
}


@pytest.fixture
def unchecked(monkeypatch):
    """Some sets compare their files with known MD5s, which those made here have not."""
    for module in ("svhn", "stl10", "flowers102"):
        whole = getattr(torchvision.datasets, module).check_integrity
        monkeypatch.setattr(getattr(torchvision.datasets, module), "check_integrity", lambda path, md5=None: Path(path).exists())
        assert whole is not None
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)


def test_every_set_is_tested():
    assert set(SETS) == set(datasets.SPLITS)


@pytest.mark.parametrize("name", SETS)
def test_a_tiny_set(tmp_path, unchecked, name):
    make, expected = SETS[name]
    root = tmp_path / "root"
    root.mkdir()
    make(root)
    images = read(name, root, tmp_path)
    assert labels(images) == expected
    own = images.array()
    if own.shape[1:] == PICTURES.shape[1:]:
        assert np.array_equal(own[0], PICTURES[0])
    elif own.shape[1] == 28:
        assert np.array_equal(own[..., 0], GREYS)
    elif own.shape[1] == 96:
        assert np.array_equal(own[0, ::3, ::3], PICTURES[0])
    else:
        assert np.abs(own[0, ..., 0].astype(int) - GREYS[0, :16, :16]).max() <= 1
    assert read(name, root, tmp_path, resolution=[20, 16], alpha="keep").array().shape[1:] == (16, 20, 4)


@pytest.mark.parametrize("name", SETS)
def test_no_loader_unpickles(name):
    """CIFAR is read by our own reader; what MNIST's could unpickle is refused before."""
    if name in datasets.CIFAR:
        return
    source = inspect.getsource(inspect.getmodule(getattr(torchvision.datasets, name)))
    calls = re.findall(r"pickle|torch\.load|allow_pickle", source)
    assert calls == (["torch.load"] if "MNIST" in name else [])


@pytest.mark.parametrize("name", datasets.OF_FILES)
def test_files_are_decoded_by_our_reader(tmp_path, unchecked, monkeypatch, name):
    def forbidden(*arguments, **options):
        raise AssertionError("Pillow's open tries every format it has, without a bound")

    SETS[name][0](tmp_path / "root")
    monkeypatch.setattr(Image, "open", forbidden)
    assert read(name, tmp_path / "root", tmp_path).count == 2


def test_a_damaged_file_is_skipped_and_named(tmp_path):
    of_folders("eurosat/2750", "Forest", "River")(tmp_path / "root")
    (tmp_path / "root/eurosat/2750/Forest/1.jpeg").write_bytes(b"no picture")
    events = []
    assert labels(read("EuroSAT", tmp_path / "root", tmp_path, events)) == ["River"]
    assert "picture 0 (not a PNG" in next(event["message"] for event in events if event["event"] == "warning")
    with pytest.raises(DataError, match="picture 0"):
        read("EuroSAT", tmp_path / "root", tmp_path, strict=True)


# what is not there


@pytest.fixture
def no_network(monkeypatch):
    tried = []

    def refused(*arguments, **options):
        tried.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return tried


@pytest.mark.parametrize("name", SETS)
def test_a_recipe_opens_no_connection(tmp_path, no_network, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"empty: {name} is not there") as caught:
        read(name, tmp_path / "empty", tmp_path)
    assert f"genart data download {name}" in caught.value.hint
    assert str(tmp_path) not in caught.value.message
    assert no_network == []


@pytest.mark.parametrize("name", SETS)
def test_without_a_network_downloading_says_so(cli, no_network, name):
    result = cli("data", "download", name, "sets")
    assert result.code == 5
    assert result.err.splitlines()[-2].startswith(f"genart: {name} cannot be fetched: ")
    assert "needs a network" in result.err
    assert result.out == ""
    assert no_network


def test_what_is_there_is_not_fetched_again(cli, no_network, tmp_path):
    mnist(Path("sets"), "MNIST")
    cifar(Path("sets"), "CIFAR10")
    for name in ("MNIST", "CIFAR10"):
        result = cli("data", "download", name, "sets", "--json")
        assert (result.code, json.loads(result.out)["splits"]) == (0, ["train", "test"])
    assert no_network == []


def test_an_unknown_set_is_named(cli):
    result = cli("data", "download", "CIFAR01", "sets")
    assert result.code == 2
    assert "did you mean 'CIFAR10'" in result.err
    assert not Path("sets").exists()


# pickles


class Trap:
    """A pickle that tells when it is loaded."""

    loaded = False

    def __reduce__(self):
        return (setattr, (Trap, "loaded", True))


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"])
def test_a_pickle_is_refused_unread(tmp_path, name):
    import pickle

    buffer = io.BytesIO()
    pickle.dump(Trap(), buffer)
    theirs = getattr(torchvision.datasets, name)
    folder = tmp_path / "root" / (theirs.base_folder if name.startswith("CIFAR") else f"{name}/processed")
    folder.mkdir(parents=True)
    for file in ("training.pt", "test.pt", "data_batch_1", "test_batch", "train", "test", "meta", "batches.meta"):
        (folder / file).write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="a pickle"):
        read(name, tmp_path / "root", tmp_path)
    assert not Trap.loaded
    pickle.loads(buffer.getvalue())
    assert Trap.loaded, "the trap works"
    Trap.loaded = False


# damage


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "CIFAR100", "USPS"])
@pytest.mark.parametrize("data", [b"", b"x", bytes(5000)])
def test_damaged_files_are_said_plainly(tmp_path, name, data):
    root = tmp_path / "root"
    root.mkdir()
    SETS[name][0](root)
    for file in (path for path in root.rglob("*") if path.is_file() and path.suffix != ".txt"):
        file.write_bytes(data)
    with pytest.raises(DataError, match=name) as caught:
        read(name, root, tmp_path)
    assert str(tmp_path) not in caught.value.message


def test_a_class_without_a_name_is_skipped(tmp_path):
    cifar(tmp_path / "root", "CIFAR10", classes=(2, 200, 1, 2))
    events = []
    assert labels(read("CIFAR10", tmp_path / "root", tmp_path, events)) == ["cat", "bird", "cat", "cat"]
    assert "its class 200 has no name" in next(event["message"] for event in events if event["event"] == "warning")


@pytest.mark.parametrize(
    ("classes", "expected", "why"),
    [
        ((3, 200, 9, 3), ["3 - three", "9 - nine", "3 - three"], "its class 200 has no name"),
        ((3, 0), ["3 - three", "0 - zero"], "no class"),
    ],
)
def test_pictures_whose_class_is_not_there_are_skipped(tmp_path, classes, expected, why):
    mnist(tmp_path / "root", "MNIST", classes=classes)
    events = []
    assert labels(read("MNIST", tmp_path / "root", tmp_path, events)) == expected
    assert why in next(event["message"] for event in events if event["event"] == "warning")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "MNIST"}, "required"),
        ({"name": "ImageNet", "path": "x"}, "expected"),
        ({"name": "MNIST", "path": "x", "split": "val"}, "one of train, test, the parts of MNIST"),
        ({"name": "MNIST", "path": "x", "crop": 8, "resolution": 8}, "not both"),
    ],
)
def test_wrong_parameters(params, words):
    with pytest.raises(ParamProblem, match=words):
        resolve(images_torchvision.params, "images.torchvision", params)


def test_the_content_is_the_key(cli):
    mnist(Path("sets"), "MNIST")
    Path("r.toml").write_text('[recipe]\nname = "x"\n[[stage]]\nuses = "images.torchvision"\nname = "MNIST"\npath = "sets"\nsave = "p"\n')
    assert cli("run", "r.toml", "--json").made() == ["images.torchvision"]
    assert cli("run", "r.toml", "--json").made() == []
    shutil.rmtree("sets")
    mnist(Path("sets"), "MNIST", 255 - GREYS)
    assert cli("run", "r.toml", "--json").made() == ["images.torchvision"]
