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


@pytest.mark.parametrize(("options", "place"), [({}, "cpu"), ({"capturable": True}, "meta")])
def test_a_step_counter_lies_where_torch_keeps_it(options, place):
    """A device stands for CUDA's and Apple's: read from there, each step would wait for it."""
    optimiser = torch.optim.Adam(nn.Linear(2, 3, device="meta").parameters(), **options)
    tensors = {"opt/0/step": torch.tensor(3.0), "opt/0/exp_avg": torch.zeros(3, 2)}
    checkpoint.unpack({"opt": optimiser}, tensors, {"opt": optimiser.state_dict()["param_groups"]})
    (state,) = optimiser.state.values()
    assert (state["step"].device.type, state["exp_avg"].device.type) == (place, "meta")


def test_a_missing_tensor_is_noticed():
    tensors, state = checkpoint.pack(parts(0))
    del tensors["net/0.weight"]
    with pytest.raises(KeyError):
        checkpoint.unpack(parts(1), tensors, state)


def test_all_finite():
    assert checkpoint.all_finite({"a": torch.ones(3), "step": torch.tensor(3)})
    for bad in (float("nan"), float("inf")):
        assert not checkpoint.all_finite({"a": torch.tensor([1.0, bad])})


def test_what_is_written_is_a_safetensors_file_and_reads_back(tmp_path):
    from safetensors import safe_open

    from genart.nn.checkpoint import read, written

    stream = torch.Generator().manual_seed(0)
    tensors = {
        "a": torch.randn(3, 5, generator=stream),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "half": torch.randn(2, 2, generator=stream).to(torch.bfloat16),
        "count": torch.tensor(7, dtype=torch.int64),
        "flag": torch.tensor([True, False]),
        "none": torch.empty(0, 3),
        "turned": torch.randn(4, 6, generator=stream).t(),
    }
    data = bytearray(b"".join(written(tensors, {"step": 3})))
    (tmp_path / "x.safetensors").write_bytes(data)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert {name: file.get_tensor(name).shape for name in file.keys()} == {name: value.shape for name, value in tensors.items()}  # noqa: SIM118
        assert all(torch.equal(file.get_tensor(name), value) for name, value in tensors.items())
    back, state = read(bytearray(8) + data, 8)
    assert state == {"step": 3}
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value), name


def test_writing_copies_no_tensor_of_the_cpu():
    from genart.nn.checkpoint import written

    big = torch.zeros(1000)
    parts = written({"big": big}, {})
    big[0] = 1
    assert bytes(parts[1])[:4] == torch.ones(1).numpy().tobytes()
