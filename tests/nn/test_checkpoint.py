import copy

import pytest
import torch
from torch import nn

from genart.nn import checkpoint


def parts(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2, (0.5, 0.9), fused=True)
    return {"net": net, "opt": optimiser, "random": torch.Generator().manual_seed(seed), "sums": torch.zeros(2)}


def play(p, steps):
    for _ in range(steps):
        x = torch.randn(4, 3, 8, 8, generator=p["random"])
        p["opt"].zero_grad()
        loss = p["net"](x).square().mean() + p["net"][0].weight.square().sum()
        loss.backward()
        p["opt"].step()
        p["sums"] += loss.detach()


def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit():
    whole, killed, fresh = parts(0), parts(0), parts(1)
    play(whole, 6)
    play(killed, 3)
    tensors, state = checkpoint.pack(killed)
    checkpoint.unpack(fresh, {k: v.clone().contiguous() for k, v in tensors.items()}, copy.deepcopy(state))
    play(fresh, 3)
    expected, got = checkpoint.pack(whole)[0], checkpoint.pack(fresh)[0]
    assert expected.keys() == got.keys()
    for name in expected:
        assert torch.equal(expected[name], got[name]), name


def test_momenta_keep_the_memory_format_of_their_parameters():
    p, q = parts(0), parts(1)
    play(p, 1)
    tensors, state = checkpoint.pack(p)
    checkpoint.unpack(q, {k: v.contiguous() for k, v in tensors.items()}, state)
    weight = q["net"][0].weight
    assert q["opt"].state[weight]["exp_avg"].stride() == weight.stride()
    assert q["opt"].param_groups[0]["betas"] == (0.5, 0.9)


def test_a_missing_tensor_is_noticed():
    tensors, state = checkpoint.pack(parts(0))
    del tensors["net/0.weight"]
    with pytest.raises(KeyError):
        checkpoint.unpack(parts(1), tensors, state)


def test_all_finite():
    assert checkpoint.all_finite({"a": torch.ones(3), "step": torch.tensor(3)})
    for bad in (float("nan"), float("inf")):
        assert not checkpoint.all_finite({"a": torch.tensor([1.0, bad])})
