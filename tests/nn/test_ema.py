import torch
from torch import nn

from genart.nn import ema


def test_half_life_ramps_up_with_the_images_seen_and_stops_at_its_limit():
    assert ema.half_life(0, 10) == 0
    assert ema.half_life(20_000, 10) == 1000
    assert ema.half_life(10**9, 10) == 10_000


def test_decay_is_a_half_after_one_half_life():
    assert ema.decay(1000, 1000) == 0.5
    assert ema.decay(32, 0) == 0
    assert abs(ema.decay(10, 500) ** 50 - 0.5) < 1e-12


def test_the_start_is_forgotten_in_a_short_training():
    average, live = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 100.0)
    nn.init.constant_(live.weight, 1.0)
    for nimg in range(32, 3200, 32):
        ema.update(average, live, ema.decay(32, ema.half_life(nimg, 10)))
    assert abs(average.weight.item() - 1) < 1e-3


def test_update_moves_towards_the_module():
    average, live = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 0.0)
    nn.init.constant_(live.weight, 8.0)
    ema.update(average, live, 0.75)
    assert average.weight.item() == 2.0
    assert live.weight.item() == 8.0


def test_settled_statistics_are_those_of_the_latents():
    G = nn.Sequential(nn.BatchNorm1d(3))
    G[0].running_mean.fill_(7)
    z = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5
    ema.settle_statistics(G, z, batch_size=16)
    assert not G.training
    assert G[0].momentum == 0.1
    torch.testing.assert_close(G[0].running_mean, z.mean(0))
    torch.testing.assert_close(G(z).mean(0), torch.zeros(3), atol=1e-4, rtol=0)


def test_settled_statistics_do_not_depend_on_the_past():
    G = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    z = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    ema.settle_statistics(G, z)
    first = G[1].running_var.clone()
    G.train()
    G(z * 100)
    ema.settle_statistics(G, z)
    assert torch.equal(first, G[1].running_var)
