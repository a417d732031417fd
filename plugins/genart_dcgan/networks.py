"""The two networks of DCGAN (Radford et al. 2015, section 3 and figure 1), for any power-of-two resolution from 16 on."""

from __future__ import annotations

from itertools import pairwise, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from genart.nn.layers import Upsample, channels, class_vectors, of_class, projected_label, smoothed

#: Spread of the first class vectors of D and of G. With that of the other weights, what a class is told by comes after a hundred thousand
#: images only (Fashion-MNIST, 32 px).
CLASS_SPREAD = (0.4, 0.3)


class Generator(nn.Module):
    """G: z to pictures, through a dense layer to 4x4 and one doubling after another.

    Args:
        resolution: pixels along a side, a power of two from 16 on.
        width: channels at half the resolution.
        z_dim: numbers in a latent vector.
        upsample: "resize" or "transposed".
        classes: number of classes; 0 for none. A class scales and shifts the channels after each normalisation (de Vries et al. 2017,
            section 3): beside z it would be all that the first one leaves, and G would draw one picture for each class.
        smooth: with "resize", smooth the pictures, which are then free of checkerboard artefacts, and softer.
    """

    def __init__(
        self, resolution: int = 64, width: int = 64, z_dim: int = 64, upsample: str = "resize", classes: int = 0, *, smooth: bool = True
    ) -> None:
        super().__init__()
        self.resolution, self.z_dim = resolution, z_dim
        widths = channels(resolution, width)
        self.classes = nn.Embedding(classes, 2 * sum(widths)) if classes else None
        self.dense = nn.Linear(z_dim, 16 * widths[0], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths)
        self.ups = nn.ModuleList(Upsample(c_in, c_out, upsample) for c_in, c_out in pairwise(widths))
        self.to_rgb = Upsample(widths[-1], 3, upsample, bias=True, smooth=smooth and upsample == "resize")

    def first_layer(self) -> Tensor:
        """Weights of the first layer that see z, (out, z_dim)."""
        return self.dense.weight

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), labels: (N,) or None for each class in turn. Returns (N, 3, resolution, resolution) in [-1, 1]."""
        widths = [2 * norm.num_features for norm in self.norms]
        kinds = repeat(None) if self.classes is None else iter(class_vectors(z, labels, self.classes).split(widths, 1))
        x = self.dense(z).view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # channels last from the beginning
        x = F.relu_(of_class(self.norms[0](x), next(kinds)))
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = F.relu_(of_class(norm(up(x)), next(kinds)))
        return torch.tanh(self.to_rgb(x))


class Discriminator(nn.Module):
    """D: pictures to logits, through convolutions of stride 2; it mirrors G.

    Its batch normalisation always uses the batch's own statistics, so none are kept.

    Args:
        resolution: pixels along a side, a power of two from 16 on.
        width: channels at half the resolution.
        smooth: see the pictures smoothed, so that no gradient ever asks G for a pattern of a period of two pixels: the
            convolutions of stride 2 ask for one otherwise (Odena et al. 2016), and a G that smooths could not answer.
        classes: number of classes; 0 for none. What a class adds to the answer is a projection (Miyato and Koyama 2018).
        norm: "batch", "spectral" (Miyato et al. 2018) or "none".
    """

    def __init__(self, resolution: int = 64, width: int = 64, *, smooth: bool = False, classes: int = 0, norm: str = "batch") -> None:
        super().__init__()
        self.smooth = smooth
        widths = channels(resolution, width)[::-1]
        self.from_rgb = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.downs = nn.ModuleList(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=norm != "batch") for c_in, c_out in pairwise(widths))
        norms = [nn.BatchNorm2d(c, track_running_stats=False) if norm == "batch" else nn.Identity() for c in widths[1:]]
        self.norms = nn.ModuleList(norms)
        self.to_logit = nn.Conv2d(widths[-1], 1, 4)
        self.classes = nn.Embedding(classes, widths[-1]) if classes else None
        if norm == "spectral":
            for layer in [self.from_rgb, *self.downs, self.to_logit]:
                spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: (N, 3, resolution, resolution) in [-1, 1], labels: (N,) or None. Returns logits (N,)."""
        first = self.from_rgb
        kernel, padding = (smoothed(first.weight), 2) if self.smooth else (first.weight, 1)
        x = F.leaky_relu_(F.conv2d(images, kernel, first.bias, stride=2, padding=padding), 0.2)
        for down, norm in zip(self.downs, self.norms, strict=True):
            x = F.leaky_relu_(norm(down(x)), 0.2)
        logits: Tensor = self.to_logit(x).flatten()
        return logits + projected_label(x.mean((2, 3)), labels, self.classes)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights from N(0, 0.02) and scales from N(1, 0.02) (Radford et al. 2015, section 4); biases 0; classes that differ from the first."""
    for parameter_name, parameter in module.named_parameters():
        if parameter_name.endswith("bias"):
            parameter.zero_()
        elif parameter_name == "classes.weight":
            parameter.normal_(0.0, CLASS_SPREAD[isinstance(module, Generator)], generator=generator)
        else:
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.02, generator=generator)
