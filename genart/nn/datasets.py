"""Public data sets by torchvision's names: where their files lie, in torchvision's layout, and how they are fetched. Light until asked.

Only those whose loaders give pictures with classes, in the same order everywhere, without a pickle. CIFAR is read from its authors' binary
version, since torchvision's is a pickle.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from genart.errors import DataError, ResourceError

if TYPE_CHECKING:
    import numpy as np

    from .pictures import Want

_TRAIN = {"train": {"train": True}, "test": {"train": False}}


def _named(*splits: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": split} for split in splits}


#: Arguments of torchvision's class for each part of a set, the usual one first.
SPLITS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "CIFAR10": _TRAIN,
    "CIFAR100": _TRAIN,
    "Country211": _named("train", "valid", "test"),
    "DTD": _named("train", "val", "test"),
    "EuroSAT": {"all": {}},
    "FashionMNIST": _TRAIN,
    "Flowers102": _named("train", "val", "test"),
    "Food101": _named("train", "test"),
    "Imagenette": _named("train", "val"),
    "KMNIST": _TRAIN,
    "MNIST": _TRAIN,
    "STL10": _named("train", "test", "unlabeled"),
    "SVHN": _named("train", "test", "extra"),
    "USPS": _TRAIN,
}
#: Sets of picture files, which are decoded by our own bounded reader.
OF_FILES = ("Country211", "DTD", "EuroSAT", "Flowers102", "Food101", "Imagenette")

#: Sets of four files, and these; they are often kept in a folder by themselves, as their authors publish them.
OF_IDX = ("FashionMNIST", "KMNIST", "MNIST")
IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
#: The largest of them has 47 MB; a file that unpacks to more is none of them.
MOST_IDX_BYTES = 64 << 20


@dataclass(frozen=True)
class Binary:
    """A version of CIFAR of fixed records: label bytes, then red, green and blue planes (www.cs.toronto.edu/~kriz/cifar.html).

    Attributes:
        folder: where its files lie below the root.
        pickled: the folder of the version that is a pickle.
        files: of each split.
        names: the file with the names of the classes, a line each.
        labels: bytes before the pixels, of which the last is the class.
        archive: the file that it is fetched as.
        md5: of that, as its authors give it.
    """

    folder: str
    pickled: str
    files: Mapping[str, Sequence[str]]
    names: str
    labels: int
    archive: str
    md5: str


CIFAR = {
    "CIFAR10": Binary(
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "batches.meta.txt",
        1,
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
    ),
    "CIFAR100": Binary(
        "cifar-100-binary",
        "cifar-100-python",
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt",
        2,
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
    ),
}
CIFAR_SIDE = 32
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"


class Labelled(Protocol):
    """Pictures with classes: `data[i]` is a picture, as Pillow's or as an array, and the number of its class."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[Any, Any]: ...


class Set:
    """One part of a data set.

    Args:
        name: torchvision's.
        root: the folder that torchvision would be given.
        split: one of SPLITS[name].
        want: what each picture is brought to.

    Raises:
        DataError: if it is not there, damaged, or in a form that is a pickle.
    """

    def __init__(self, name: str, root: Path, split: str, want: Want) -> None:
        self.want = want
        self._data = _opened(name, root, split, want)
        self.classes: Sequence[str] = [_class_name(one) for one in getattr(self._data, "classes", ())]

    def __len__(self) -> int:
        return len(self._data)

    def read(self, index: int) -> tuple[np.ndarray, str | None]:
        """A picture, (H, W, 3 or 4) uint8, and its class, or None.

        Raises:
            Unreadable: if it cannot be used.
        """
        import numpy as np

        from .pictures import Unreadable, from_array

        try:
            picture, label = self._data[index]
        except IndexError as error:  # its files list fewer classes than pictures
            raise Unreadable("it has no class") from error
        if not isinstance(picture, np.ndarray):
            picture = from_array(np.asarray(picture), self.want)
        label = int(label)
        if label < 0:  # of a picture without a class
            return picture, None
        if self.classes and label >= len(self.classes):
            raise Unreadable(f"its class {label} has no name")
        return picture, self.classes[label] if self.classes else str(label)


def _class_name(name: Any) -> str:
    return name if isinstance(name, str) else str(name[0])  # Imagenette has several for one class, the usual one first


def _opened(name: str, root: Path, split: str, want: Want) -> Labelled:
    if name in CIFAR:
        return _Cifar(name, root, split, want)
    if (root / name / "processed").exists():
        raise DataError(
            f"{root.name}/{name}/processed: an old form of this set, which is a pickle and is never loaded",
            f"remove it; {fetch_hint(name)}",
        )
    from torchvision import datasets

    from .pictures import Unreadable, decode

    loader = {"loader": lambda path: decode(Path(path), want)} if name in OF_FILES else {}
    try:
        with _laid_out(name, root) as place:
            data: Labelled = getattr(datasets, name)(place, **SPLITS[name][split], **loader)
    except (RuntimeError, FileNotFoundError) as error:
        raise missing(name, root) from error
    except Unreadable:
        raise
    except Exception as error:  # its readers raise nearly anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:  # the system's: a full disk, or no permission
            raise
        raise DataError(f"{root.name}: {name} is damaged ({type(error).__name__})", f"remove it; {fetch_hint(name)}") from error
    return data


@contextmanager
def _laid_out(name: str, root: Path) -> Iterator[Path]:
    """A folder in torchvision's layout: `root`, or, where that holds the four files of an IDX set itself, one of copies for the moment."""
    packed = {file: root / f"{file}.gz" for file in IDX_FILES}
    if name not in OF_IDX or (root / name).exists() or not all((root / file).is_file() or packed[file].is_file() for file in IDX_FILES):
        yield root
        return
    with TemporaryDirectory(prefix="genart-") as folder:
        raw = Path(folder) / name / "raw"
        raw.mkdir(parents=True)
        for file in IDX_FILES:
            if (root / file).is_file():
                shutil.copyfile(root / file, raw / file)
            else:
                (raw / file).write_bytes(_unpacked(packed[file]))
        yield Path(folder)


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        data = file.read(MOST_IDX_BYTES + 1)
    if len(data) > MOST_IDX_BYTES:
        raise ValueError("it is far too large")
    return data


def missing(name: str, root: Path) -> DataError:
    """The error that a set is not there."""
    return DataError(f"{root.name}: {name} is not there, or not whole, in the layout of torchvision", fetch_hint(name))


def fetch_hint(name: str) -> str:
    """How to get a set."""
    return f"no recipe opens a connection; fetch it yourself with: genart data download {name} FOLDER"


class _Cifar:
    """CIFAR from its binary version, mapped into memory."""

    def __init__(self, name: str, root: Path, split: str, want: Want) -> None:
        import numpy as np

        about = CIFAR[name]
        folder = root / about.folder
        files = [folder / file for file in about.files[split]]
        if not all(file.is_file() for file in files) or not (folder / about.names).is_file():
            if (root / about.pickled).is_dir():
                raise DataError(
                    f"{root.name}/{about.pickled}: this version of {name} is a pickle, which is never loaded",
                    f"there is a binary version of the same pictures; fetch it with: genart data download {name} FOLDER",
                )
            raise missing(name, root)
        self.classes = (folder / about.names).read_text("utf-8", "replace").split()
        record = about.labels + 3 * CIFAR_SIDE**2
        for file in files:
            if file.stat().st_size % record or not file.stat().st_size:
                raise DataError(
                    f"{root.name}/{about.folder}/{file.name}: damaged: no whole number of pictures", f"remove it; {fetch_hint(name)}"
                )
        self._parts = [np.memmap(file, np.uint8, "r").reshape(-1, record) for file in files]
        self._labels, self._want = about.labels, want

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        from .pictures import Unreadable, from_array

        for part in self._parts:
            if index < len(part):
                break
            index -= len(part)
        label = int(part[index, self._labels - 1])
        if label >= len(self.classes):
            raise Unreadable(f"its class {label} has no name")
        planes = part[index, self._labels :].reshape(3, CIFAR_SIDE, CIFAR_SIDE)
        return from_array(planes.transpose(1, 2, 0).copy(), self._want), label


def download(name: str, root: Path) -> None:
    """Fetch all parts of a set into a folder, in the layout of torchvision, checked by MD5; what is there already is kept.

    Raises:
        ResourceError: if it cannot be fetched.
    """
    from urllib.error import URLError

    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    root.mkdir(parents=True, exist_ok=True)
    try:
        if name in CIFAR:
            about = CIFAR[name]
            if not (root / about.folder).is_dir():
                download_and_extract_archive(CIFAR_URL + about.archive, str(root), md5=about.md5)
            return
        for arguments in SPLITS[name].values():
            getattr(datasets, name)(root, download=True, **arguments)
    except (URLError, RuntimeError, ConnectionError, TimeoutError) as error:
        reason = str(getattr(error, "reason", error)).strip().partition("\n")[0]
        raise ResourceError(
            f"{name} cannot be fetched: {reason}", "it needs a network; or fetch it elsewhere and copy the folder here"
        ) from error
