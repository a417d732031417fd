"""Reading a folder of pictures: images.folder and its array against torchvision's ImageFolder with a DataLoader.

    python bench/folder.py [--count 20000] [--size 64] [--epochs 2] [--workers 2]

JPEG crops of 96 px are written to a temporary folder. genart decodes them once into its array and then reads shuffled batches from it;
ImageFolder decodes them in every epoch, in worker processes. Both hand out float32 batches, (64, 3, size, size) in [0, 1]. Each runs
in a process of its own; memory is the largest resident size of that process, and of all its workers together, less that of a process
that has only imported its libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

BATCH, SOURCE_SIZE = 64, 96


def make_folder(folder: Path, count: int) -> None:
    """Write `count` JPEG crops of scikit-image's photographs into one class folder."""
    from genart.nn.samples import COLOUR
    from genart_images.samples import Photo, place

    (folder / "crops").mkdir(parents=True)
    photos = [Photo.open(name) for name in COLOUR]
    for i in range(count):
        photo = photos[i % len(photos)]
        box, _ = place(photo.size, (0.2, 0.6), Random(i), mirror=False)
        photo.cut(box, SOURCE_SIZE).save(folder / "crops" / f"{i:06d}.jpg", quality=90)


def genart_epochs(folder: Path, size: int, epochs: int, workers: int) -> Iterator[tuple[str, int]]:
    """Decode into the array, then read shuffled batches."""
    import torch

    from genart.artifacts import ImagesWriter, StoredImages
    from genart.events import Events
    from genart.nn.images import to_unit
    from genart.params import resolve
    from genart.run import Run
    from genart_images import images_folder

    torch.set_num_threads(1)  # as the DataLoader's workers do; threads that wait for each other stall on a busy machine
    yield "ready", 0
    with tempfile.TemporaryDirectory() as work:
        run = Run(stage_id="folder", seed=0, device="cpu", work=Path(work), events=Events())
        params = resolve(images_folder.params, "images.folder", {"path": str(folder), "crop": size})
        writer = ImagesWriter(Path(work) / "images")
        for batch in run.stream(images_folder(None, params, run)):
            writer.append(batch)
        writer.finish()
        array = StoredImages(Path(work) / "images").array()
        yield "decode", len(array)
        for epoch in range(epochs):
            order = torch.randperm(len(array)).numpy()
            for at in range(0, len(order), BATCH):
                pictures = torch.from_numpy(array[order[at : at + BATCH]])
                batch = to_unit(pictures.permute(0, 3, 1, 2).contiguous())
                assert batch.shape[1:] == (3, size, size)
            yield f"epoch {epoch + 1}", len(array)


def torchvision_epochs(folder: Path, size: int, epochs: int, workers: int) -> Iterator[tuple[str, int]]:
    """Decode in every epoch, as the PyTorch tutorials do."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    yield "ready", 0
    steps = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()])
    data = datasets.ImageFolder(str(folder), steps)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    for epoch in range(epochs):
        for batch, _ in loader:
            assert batch.shape[1:] == (3, size, size)
        yield f"epoch {epoch + 1}", len(data)


def private_memory() -> float:
    """Memory of this process and its children in MB, shared pages divided among those who share them (Linux); else 0."""
    total = 0
    for process in (os.getpid(), *_children(os.getpid())):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        # file pages are the kernel's cache, given back whenever anybody needs them
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:"))
    return total / 1024


def _children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def measure(which: str, folder: Path, size: int, epochs: int, workers: int) -> dict[str, dict[str, float]]:
    """Run one side; return seconds, pictures per second and peak memory in MB by phase."""
    steps = {"genart": genart_epochs, "torchvision": torchvision_epochs}[which](folder, size, epochs, workers)
    next(steps)
    start = private_memory()
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], private_memory() - start)

    threading.Thread(target=watch, daemon=True).start()
    table, began = {}, time.perf_counter()
    for phase, count in steps:
        seconds = time.perf_counter() - began
        table[phase] = {"seconds": seconds, "rate": count / seconds, "memory": peak[0]}
        peak[0], began = 0.0, time.perf_counter()
    done.set()
    return table


def in_process(which: str, options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Measure one side in a process of its own."""
    command = [sys.executable, __file__, "--only", which, "--folder", str(folder)]
    command += [f"--{name}={getattr(options, name)}" for name in ("size", "epochs", "workers")]
    result: dict[str, dict[str, float]] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="number of JPEG files")
    parser.add_argument("--size", type=int, default=64, help="side in pixels that they are brought to")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the DataLoader")
    parser.add_argument("--only", choices=["genart", "torchvision"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.folder, options.size, options.epochs, options.workers)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        make_folder(folder, options.count)
        ours, theirs = (in_process(which, options, folder) for which in ("genart", "torchvision"))
    print(f"{options.count} JPEG files of {SOURCE_SIZE} px, brought to {options.size} px, batches of {BATCH}, {options.workers} workers")
    print(f"{'':28}{'seconds':>9}{'images/s':>11}{'memory MB':>11}")
    for name, table in (("images.folder", ours), ("ImageFolder + DataLoader", theirs)):
        for phase, row in table.items():
            print(f"{name:18.18}{phase:>10}{row['seconds']:9.2f}{row['rate']:11.0f}{row['memory']:11.0f}")
    last = f"epoch {options.epochs}"
    first = (ours["decode"]["seconds"] + ours["epoch 1"]["seconds"]) / theirs["epoch 1"]["seconds"]
    memory = max(row["memory"] for row in ours.values()) / max(1.0, max(row["memory"] for row in theirs.values()))
    print(f"decoding and first epoch take {first:.2f} times as long as ImageFolder's first epoch; memory is {memory:.2f} times its")
    print(f"from the second epoch on: {ours[last]['rate'] / theirs[last]['rate']:.1f} times as many images per second (aim: at least 5)")


if __name__ == "__main__":
    main()
