"""Training speed of dcgan.train against the standard PyTorch DCGAN loop and the machine's own limit.

    python bench/dcgan.py [--nimg 6400] [--jpegs 2000] [--device cpu]

From a folder of JPEGs to weights at 64 px, width 64, batch 64, transposed convolutions, no skipping of D. The tutorial's
loop is written from the paper (Radford et al. 2015) as the tutorials do it: ImageFolder, Resize, CenterCrop, Normalize, a
DataLoader with two workers, contiguous format, ordinary Adam, D not frozen in the step of G.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
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


def tutorial_networks() -> tuple[nn.Module, nn.Module]:
    """The networks of the tutorials, first weights included."""

    def up(c_in: int, c_out: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
        return [nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(True)]

    def down(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2, inplace=True)]

    w = WIDTH
    widths = [8 * w, 4 * w, 2 * w, w]
    ups = [layer for c_in, c_out in pairwise(widths) for layer in up(c_in, c_out)]
    downs = [layer for c_out, c_in in reversed(list(pairwise(widths))) for layer in down(c_in, c_out)]
    G = nn.Sequential(*up(Z, 8 * w, 1, 0), *ups, nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh())
    first = [nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    D = nn.Sequential(*first, *downs, nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False), nn.Sigmoid())
    for module in [*G.modules(), *D.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return G, D


def tutorial(folder: Path, nimg: int, device: str, weights: Path) -> float:
    """Train as the tutorials do, from the folder to weights; return images per second."""
    began = time.perf_counter()
    steps = [transforms.Resize(R), transforms.CenterCrop(R), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    loader = DataLoader(datasets.ImageFolder(str(folder), transforms.Compose(steps)), BATCH, shuffle=True, num_workers=2, drop_last=True)
    G, D = (network.to(device) for network in tutorial_networks())
    bce = nn.BCELoss()
    opt_G, opt_D = (torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (G, D))
    seen, history = 0, []
    while seen < nimg:
        for images, _ in loader:
            real = images.to(device)
            label = torch.ones(len(real), device=device)
            D.zero_grad()
            loss_real = bce(D(real).flatten(), label)
            loss_real.backward()
            fake = G(torch.randn(len(real), Z, 1, 1, device=device))
            loss_fake = bce(D(fake.detach()).flatten(), label * 0)
            loss_fake.backward()
            opt_D.step()
            G.zero_grad()
            loss_G = bce(D(fake).flatten(), label)
            loss_G.backward()
            opt_G.step()
            history.append((loss_real.item() + loss_fake.item(), loss_G.item()))
            seen += len(real)
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


def best_rate(call: Callable[[], object], flops: float, device: str) -> float:
    """Highest rate of ten calls, in FLOP/s."""
    from genart.nn.budget import synchronize

    times = []
    for _ in range(10):
        began = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return flops / min(times)


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
