"""The two networks of the projected GAN: a light G (Liu et al. 2021, "FastGAN") and small D on projected features (Sauer et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from genart.nn.layers import MAX_WIDENING, Upsample, class_vectors, minibatch_stddev, of_class, projected_label
from genart.nn.players import Seen

from .features import Projection

#: Standard deviation of first weights.
STD = 0.02
#: Standard deviation of what the classes give each channel at first.
CLASS_SPREAD = 0.3
#: A layer is gated by the one that is so many times smaller (Liu et al. 2021, figure 3).
GATE = 16
#: Positions along a side at which a head answers (Sauer et al. 2021, section 3.2).
ANSWERS = 4


class Generator(nn.Module):
    """G: z to pictures through gated linear units, one doubling after another (Liu et al. 2021, section 3.1).

    Unlike theirs it adds no noise: the same z gives the same picture.

    Args:
        resolution: pixels along a side, a power of two from 16 on.
        width: channels of the finest layer.
        z_dim: numbers in a latent vector.
        classes: number of classes; 0 for none. A class scales and shifts the channels after each normalisation (de Vries et al. 2017,
            section 3): beside z it would be all that the first one leaves, and G would draw one picture for each class.
    """

    def __init__(self, resolution: int = 64, width: int = 32, z_dim: int = 64, classes: int = 0) -> None:
        super().__init__()
        self.resolution, self.z_dim = resolution, z_dim
        sizes = [4 << i for i in range(resolution.bit_length() - 2)]  # 4, 8, ..., resolution
        widths = [width * min(MAX_WIDENING, resolution // size) for size in sizes]
        self.dense = nn.Linear(z_dim, 16 * 2 * widths[0], bias=False)
        self.norm = nn.BatchNorm2d(2 * widths[0])
        self.ups = nn.ModuleList(Double(c_in, c_out, again=c_out > width) for c_in, c_out in pairwise(widths))
        by_size = dict(zip(sizes, widths, strict=True))
        self.gates = nn.ModuleDict({str(s): Gate(by_size[s // GATE], c) for s, c in by_size.items() if s // GATE >= 4})
        self.to_rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)
        # what the classes give each normalised layer, in the order of `forward`
        self.kinds = [2 * module.num_features for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        self.classes = nn.Embedding(classes, sum(self.kinds)) if classes else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, 0.0, CLASS_SPREAD)

    def first_layer(self) -> Tensor:
        """Weights of the first layer, which sees z: (out, z_dim)."""
        return self.dense.weight

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        kinds = repeat(None) if self.classes is None else iter(class_vectors(z, labels, self.classes).split(self.kinds, 1))
        x = self.dense(z).view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        x = gated(of_class(self.norm(x), next(kinds)))
        coarse = {4: x}
        for up in self.ups:
            x = up(x, kinds)
            size = x.shape[-1]
            if str(size) in self.gates:
                x = self.gates[str(size)](coarse[size // GATE], x)
            coarse[size] = x
        return torch.tanh(self.to_rgb(x))


def gated(x: Tensor) -> Tensor:
    """Gated linear unit: (N, 2C, H, W) to (N, C, H, W), half of the channels opening the other half (Dauphin et al. 2017, eq. 1).

    As torch's own, whose gradient is not channels last, so that all before it is several times slower.
    """
    values, gates = x.chunk(2, 1)
    return values * torch.sigmoid(gates)


class Double(nn.Module):
    """Doubles the size by a convolution and a gated linear unit: (N, c_in, H, W) to (N, c_out, 2H, 2W).

    Args:
        c_in: channels in.
        c_out: channels out.
        again: convolve once more at the new size.
    """

    def __init__(self, c_in: int, c_out: int, *, again: bool) -> None:
        super().__init__()
        self.up = Upsample(c_in, 2 * c_out, "resize")
        self.norm = nn.BatchNorm2d(2 * c_out)
        self.conv = nn.Conv2d(c_out, 2 * c_out, 3, padding=1, bias=False) if again else None
        self.conv_norm = nn.BatchNorm2d(2 * c_out) if again else None
        if self.conv is not None:
            nn.init.normal_(self.conv.weight, 0.0, STD)

    def forward(self, x: Tensor, kinds: Iterator[Tensor | None]) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, 2H, 2W); what the classes add to each normalised layer is taken from `kinds`."""
        x = gated(of_class(self.norm(self.up(x)), next(kinds)))
        return x if self.conv is None or self.conv_norm is None else gated(of_class(self.conv_norm(self.conv(x)), next(kinds)))


class Gate(nn.Module):
    """Skip-layer excitation: a coarse layer says how much of each channel a fine one gives (Liu et al. 2021, eq. 2).

    Args:
        c_coarse: channels of the coarse layer.
        c_fine: channels of the fine layer.
    """

    def __init__(self, c_coarse: int, c_fine: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(c_coarse, c_fine, 4)
        self.excite = nn.Conv2d(c_fine, c_fine, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, c_coarse, h, h) and (N, c_fine, H, W) to (N, c_fine, H, W)."""
        x = F.silu(self.squeeze(F.adaptive_avg_pool2d(coarse, 4)))
        return fine * torch.sigmoid(self.excite(x))


class Discriminator(nn.Module):
    """D: one small head for each scale of the projected features; the projections do not learn, but are kept here.

    Args:
        channels: of the features at each scale, fine to coarse.
        sizes: positions along a side of each scale.
        widths: channels of the projected features of each.
        classes: number of classes; 0 for none.
    """

    def __init__(self, channels: Sequence[int], sizes: Sequence[int], widths: Sequence[int], classes: int = 0) -> None:
        super().__init__()
        self.projection = Projection(channels, widths)
        self.heads = nn.ModuleList(Head(size, width, classes) for size, width in zip(sizes, widths, strict=True))

    def forward(self, seen: Seen | Tensor, labels: Tensor | None = None) -> Seen:
        """Answer for each scale.

        Args:
            seen: projected features, (N, widths[i], h, h) of each scale.
            labels: (N,) integers, or None.

        Returns:
            Logits (N, k, k) of each, k at most 4.
        """
        parts = (seen,) if isinstance(seen, Tensor) else seen
        return tuple(head(part, labels) for head, part in zip(self.heads, parts, strict=True))


class Head(nn.Module):
    """Answers for one scale, through spectrally normalised convolutions (Miyato et al. 2018).

    Args:
        size: positions along a side.
        width: channels in; doubled with each halving of the size, twice at most.
        classes: number of classes; 0 for none.
    """

    def __init__(self, size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.downs = nn.ModuleList()
        limit = 4 * width
        while size > ANSWERS:
            wider = min(2 * width, limit)
            self.downs.append(spectral_norm(nn.Conv2d(width, wider, 4, 2, 1)))
            width, size = wider, size // 2
        self.conv = spectral_norm(nn.Conv2d(width + 1, width, 3, padding=1))
        self.to_logit = spectral_norm(nn.Conv2d(width, 1, 1))
        self.classes = nn.Embedding(classes, width) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, width, size, size) and (N,) to logits (N, k, k)."""
        for down in self.downs:
            x = F.leaky_relu_(down(x), 0.2)
        x = F.leaky_relu_(self.conv(minibatch_stddev(x)), 0.2)
        logits: Tensor = self.to_logit(x)[:, 0]
        told = projected_label(x.mean((2, 3)), labels, self.classes)
        return logits + told[:, None, None] if isinstance(told, Tensor) else logits
