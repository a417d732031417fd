"""Training speed of dcgan.train against the standard PyTorch DCGAN loop and the machine's own limit.

    python bench/dcgan.py [--nimg 6400] [--jpegs 2000] [--device cpu]

From a folder of JPEGs to weights at 64 px, width 64, batch 64, transposed convolutions, no skipping of D. The tutorial's
loop is written from the paper (Radford et al. 2015) as the tutorials do it: ImageFolder, Resize, CenterCrop, Normalize, a
DataLoader with two workers, contiguous format, ordinary Adam, D not frozen in the step of G.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch
from PIL import Image
from rates import best_rate
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, transforms

from genart.nn.data import Pictures
from genart.nn.family import Setup
from genart.testing import run_stage

R, WIDTH, BATCH, Z = 64, 64, 64, 100


def make_folder(folder: Path, count: int) -> None:
    """Write `count` JPEG crops of 256 px out of scikit-image's photographs."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    photos = [
        Image.open(data / name).convert("RGB")
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")
    ]
    draw = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    for i in range(count):
        photo = photos[i % len(photos)]
        left, top = (int(draw.integers(0, side - 256)) for side in photo.size)
        photo.crop((left, top, left + 256, top + 256)).save(folder / "photos" / f"{i:05d}.jpg", quality=90)


def tutorial(folder: Path, nimg: int, device: str, weights: Path) -> float:
    """Train as the tutorials do, from the folder to weights; return images per second."""
    began = time.perf_counter()
    steps = [transforms.Resize(R), transforms.CenterCrop(R), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    loader = DataLoader(datasets.ImageFolder(str(folder), transforms.Compose(steps)), BATCH, shuffle=True, num_workers=2, drop_last=True)
    G, D = plain.networks(R, WIDTH)
    seen = 0
    for count in plain.steps(G, D, (images for _ in itertools.count() for images, _ in loader), device):
        seen += count
        if seen >= nimg:
            break
    save_file({name: value.contiguous() for name, value in G.state_dict().items()}, weights)
    return seen / (time.perf_counter() - began)


def ours(folder: Path, nimg: int, device: str, work: Path, precision: str) -> tuple[float, float]:
    """Train with images.folder and dcgan.train; return images per second from folder to weights, and in training alone."""
    from genart_dcgan import dcgan_train
    from genart_images import images_folder

    began = time.perf_counter()
    images = run_stage(images_folder, work=work / "folder", path=str(folder), resolution=R)["output"]
    read = time.perf_counter()
    settings: dict[str, Any] = {"width": WIDTH, "batch_size": BATCH, "z_dim": Z, "upsample": "transposed", "precision": precision}
    run_stage(dcgan_train, images, work=work / "train", device=device, kimg=nimg / 1000, **settings)
    ended = time.perf_counter()
    return nimg / (ended - began), nimg / (ended - read)


def flops_per_image(device: str) -> float:
    """Operations of one step of both players, per image, as torch counts them."""
    from genart_dcgan import TrainParams
    from genart_dcgan.train import DCGAN

    class Streams:
        device = "cpu"

        def generator(self, label: str, index: int | None = None) -> torch.Generator:
            return torch.Generator().manual_seed(0)

    run: Any = Streams()
    run.device = device
    pictures = Pictures(np.zeros((BATCH, R, R, 3), np.uint8), run.generator, device=device)
    plan = {"width": WIDTH, "z_dim": Z, "batch_size": BATCH, "precision": "fp32", "penalty_every": 1, "total_nimg": BATCH}
    players = DCGAN().trainer(Setup(TrainParams(upsample="transposed"), run, pictures, plan))
    with FlopCounterMode(display=False) as counter:
        players.step(0, pictures.batch(0, 0, BATCH), torch.randn(BATCH, Z, device=device), run.generator("step"), 0.0)
    return counter.get_total_flops() / BATCH


@torch.inference_mode()
def peaks(device: str) -> tuple[float, float]:
    """The machine's fp32 matrix-product rate: of torch.mm, and of the same product as a 1x1 convolution, channels last."""
    n = 2048
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    mm = best_rate(lambda: a @ b, 2 * n**3, device)
    convolution = nn.Conv2d(n, n, 1, bias=False, device=device).to(memory_format=torch.channels_last)
    x = torch.randn(1, n, 64, 32, device=device).to(memory_format=torch.channels_last)
    return mm, best_rate(lambda: convolution(x), 2 * n**3, device)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nimg", type=int, default=6400, help="images to train on")
    parser.add_argument("--jpegs", type=int, default=2000, help="pictures in the folder")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    per_image = flops_per_image(args.device)
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, work = Path(name) / "jpegs", Path(name)
        make_folder(folder, args.jpegs)
        # The peak is taken before, between and after, so that a busy moment of the machine does not flatter a share of it.
        limits = [peaks(args.device)]
        rates["tutorial loop, folder to weights"] = tutorial(folder, args.nimg, args.device, work / "tutorial.safetensors")
        for precision in ("fp32", "bf16"):
            limits.append(peaks(args.device))
            whole, training = ours(folder, args.nimg, args.device, work / precision, precision)
            rates |= {f"genart {precision}, folder to weights": whole, f"genart {precision}, training alone": training}
        limits.append(peaks(args.device))
    mm, convolution = (max(column) for column in zip(*limits, strict=True))
    base = rates["tutorial loop, folder to weights"]
    machine = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}; {args.nimg} images, {args.jpegs} JPEGs of 256 px; {per_image / 1e9:.2f} GFLOP/image")
    print(f"peak of fp32 matrix products in GFLOP/s: {mm / 1e9:.0f} by torch.mm, {convolution / 1e9:.0f} by a 1x1 convolution")
    print("| loop | images/s | ratio | GFLOP/s | of torch.mm | of 1x1 convolution |\n|---|---|---|---|---|---|")
    for label, rate in rates.items():
        flops = rate * per_image
        print(f"| {label} | {rate:.1f} | {rate / base:.2f} | {flops / 1e9:.0f} | {flops / mm:.0%} | {flops / convolution:.0%} |")


if __name__ == "__main__":
    main()
