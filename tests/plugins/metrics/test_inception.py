import json

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import Inception3

from genart.errors import DataError
from genart.nn import metrics
from genart_metrics.inception import inception

FILE = "inception_v3_google-0cc3c7bd"


def put(cache, state):
    """Put a state where converted weights are looked for."""
    save_file(state, cache / f"{FILE}.safetensors", {"state": json.dumps({"sha256": "0cc3c7bd" + "0" * 56})})


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder where torch keeps weights, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("weights were fetched unasked"))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def published():
    """Torchvision's network as its loader builds it, with weights of chance."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Inception3(transform_input=True, init_weights=False).eval()


def test_the_features_are_what_torchvisions_network_pools(cache):
    reference = published()
    put(cache, reference.state_dict())
    images = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    found = metrics.embed(inception(), images, batch_size=2, embedding=metrics.INCEPTION)
    assert found.shape == (2, 2048)
    pooled = []
    reference.avgpool.register_forward_hook(lambda module, given, result: pooled.append(result.flatten(1)))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        reference((torch.nn.functional.interpolate(images, (299, 299), mode="bilinear") - mean) / std)
    assert float(found.std()) > 0
    assert torch.allclose(found, pooled[0], rtol=1e-3, atol=1e-3 * float(found.max()))


def test_loading_draws_nothing(cache):
    put(cache, published().state_dict())
    before = torch.random.get_rng_state()
    network = inception()
    assert torch.equal(before, torch.random.get_rng_state())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_without_the_file_its_place_is_told_and_nothing_is_fetched(cache):
    with pytest.raises(DataError, match="not on this computer") as caught:
        inception()
    assert FILE in caught.value.hint
    assert 'features = "vgg19"' in caught.value.hint


def test_a_file_that_is_no_network_is_refused(cache):
    (cache / f"{FILE}.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(DataError, match="damaged"):
        inception()
    for name in ("Conv2d_1a_3x3.conv.weight", "x"):
        put(cache, {name: torch.zeros(1)})
        with pytest.raises(DataError, match="not the weights of torchvision's Inception v3"):
            inception()
