"""The DCGAN that tutorials train, written from the paper (Radford et al. 2015, sections 3 and 4): what bench/families.py compares with.

Batches of 64, latents of 100 numbers, first weights from N(0, 0.02), Adam at 0.0002 with a first moment of 0.5, binary cross-entropy,
ordinary memory format, D not frozen in the step of G, and samples drawn with the batch's own statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH, Z = 64, 100


def networks(resolution: int, width: int) -> tuple[nn.Module, nn.Module]:
    """G and D for a power of two from 16 on; `width` is the number of channels at half the resolution."""
    widths = [width * resolution // 2 // size for size in (4 << i for i in range(resolution.bit_length() - 3))]

    def up(c_in: int, c_out: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
        return [nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(True)]

    def down(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2, inplace=True)]

    ups = [layer for c_in, c_out in pairwise(widths) for layer in up(c_in, c_out)]
    downs = [layer for c_out, c_in in reversed(list(pairwise(widths))) for layer in down(c_in, c_out)]
    G = nn.Sequential(*up(Z, widths[0], 1, 0), *ups, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())
    first = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    D = nn.Sequential(*first, *downs, nn.Conv2d(widths[0], 1, 4, 1, 0, bias=False), nn.Sigmoid())
    for module in [*G.modules(), *D.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return G, D


def steps(G: nn.Module, D: nn.Module, batches: Iterable[Tensor], device: str) -> Iterator[int]:
    """Train as long as somebody asks for the next step; yields the number of real images of each.

    Args:
        G: the generator.
        D: the discriminator.
        batches: (N, 3, R, R) in [-1, 1].
        device: "cpu", "cuda" or "mps".
    """
    history = []
    G.to(device), D.to(device)
    bce = nn.BCELoss()
    opt_G, opt_D = (torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (G, D))
    for images in batches:
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
        yield len(real)


def train(G: nn.Module, D: nn.Module, batches: Iterable[Tensor], seconds: float, device: str) -> int:
    """Train with `batches` without end until the time is over, their making included; returns the number of real images seen."""
    began, seen = time.monotonic(), 0
    for count in steps(G, D, batches, device):
        seen += count
        if time.monotonic() - began > seconds:
            break
    return seen


@torch.no_grad()
def samples(G: nn.Module, count: int, device: str) -> Tensor:
    """Pictures of random latents: (count, 3, R, R) float32 in [0, 1] on the CPU."""
    parts = [G(torch.randn(BATCH, Z, 1, 1, device=device)).cpu() for _ in range(-(-count // BATCH))]
    return torch.cat(parts)[:count] * 0.5 + 0.5


class Files(Dataset[Tensor]):
    """Pictures as the tutorials read them: one at a time with Pillow, scaled, cropped and normalised.

    Args:
        array: (N, H, W, 3) uint8.
        resolution: pixels along a side of what it gives.
    """

    def __init__(self, array: np.ndarray, resolution: int) -> None:
        steps = [
            transforms.Resize(resolution),
            transforms.CenterCrop(resolution),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
        self.array, self.transform = array, transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        picture: Tensor = self.transform(Image.fromarray(self.array[index]))
        return picture


def loaded(array: np.ndarray, resolution: int) -> Iterator[Tensor]:
    """Batches without end from a DataLoader with two workers."""
    loader = DataLoader(Files(array, resolution), min(BATCH, len(array)), shuffle=True, num_workers=2, drop_last=True)
    while True:
        yield from loader


def in_memory(array: np.ndarray) -> Iterator[Tensor]:
    """Batches without end of pictures (N, R, R, 3) uint8 that lie in memory as floats: reading costs nothing."""
    pictures = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)
    size = min(BATCH, len(pictures))
    while True:
        order = torch.randperm(len(pictures))
        yield from (pictures[order[at : at + size]] for at in range(0, len(order) - size + 1, size))
