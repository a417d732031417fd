"""What is minimised, whole and in tiles, and the statistics that it compares."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from genart.nn import vgg
from genart_style import memory
from genart_style.objective import Anchor, Objective, StyleTerm, Weights, content_features, gather, total_variation
from genart_style.scene import Look, Region, Style, at_scale
from genart_style.statistics import GRAM, MEAN_COVARIANCE, NEAREST, SLICED, W2, Probe, gram, relative_error, second_moment
from genart_style.tiles import halo_of, tiles

STATISTICS = {"gram": GRAM, "mean_covariance": MEAN_COVARIANCE, "w2": W2, "sliced": SLICED, "nearest": NEAREST}
LAYERS = ("relu1_1", "relu2_1", "relu3_1")
CONTENT = ("relu3_2",)


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


def seeded(label):
    return torch.Generator().manual_seed(sum(label.encode()))


def picture(height=48, width=64, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def look_with(network, statistic, tile=None, layers=LAYERS):
    strides = {layer: network.stride(layer) for layer in (*layers, *CONTENT)}
    return Look(network, strides, layers, statistic, tile, halo_of(network, (*layers, *CONTENT)), seeded)


def objective_of(network, statistic, content, style, *, tile=None, weights=None, regions=None, alpha=None, anchor=None):
    look = look_with(network, statistic, tile)
    size = (content.shape[2], content.shape[3])
    regions = regions or [Region(None, (Style(style, 1.0, "style"),))]
    targets = [look.target([(s.picture, s.share) for s in region.styles], "style") for region in regions]
    pieces = tiles(size, tile, stride=look.stride, halo=look.halo)
    kept = content_features(network, content, pieces, CONTENT, look.strides)
    terms = look.terms(targets, regions, size, alpha)
    return Objective(network, look.strides, pieces, kept, terms, weights or Weights(0.5, 1.0, 0.1), anchor)


# statistics


@given_that(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_gram_is_its_closed_form(channels, height, width, seed):
    features = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    expected = np.zeros((channels, channels))
    for y in range(height):
        for x in range(width):
            f = features[0, :, y, x].double().numpy()
            expected += np.outer(f, f) / (height * width)
    assert np.allclose(gram(features)[0][0].numpy(), expected, atol=1e-5)


def test_gram_of_a_batch_is_that_of_each_picture():
    features = torch.rand(3, 4, 5, 6)
    assert torch.allclose(gram(features)[0][1], gram(features[1:2])[0][0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_of_the_second_moment_is_autograds(dtype):
    features = torch.rand(2, 3, 4, 5, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_(True)
    slope = torch.rand(2, 3, 3, dtype=dtype)
    (ours,) = torch.autograd.grad((second_moment(features) * slope).sum(), features)
    flat = features.flatten(2)
    (theirs,) = torch.autograd.grad(((flat @ flat.mT) * slope).sum(), features)
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_the_second_moment_in_bfloat16_is_near():
    features = torch.rand(1, 64, 40, 50).contiguous(memory_format=torch.channels_last)
    exact, rounded = second_moment(features), second_moment(features.bfloat16())
    assert rounded.dtype == torch.float32
    assert float(relative_error(rounded, exact)) < 1e-5


def test_moments_are_numpys():
    features = torch.rand(1, 4, 5, 7)
    mean, second = Probe.of("moments", (5, 7), None, seeded("a"))(features)
    flat = features[0].flatten(1).numpy()
    assert np.allclose(mean, flat.mean(1), atol=1e-6)
    assert np.allclose(second - torch.outer(mean, mean), np.cov(flat, bias=True), atol=1e-6)


@pytest.mark.parametrize("needs", ["second", "moments", "samples"])
def test_what_is_measured_of_pieces_adds_up(needs):
    features, weight = torch.rand(1, 4, 6, 8), torch.rand(6, 8)
    probe = Probe.of(needs, (6, 8), weight, seeded("a"), count=20)
    whole = probe(features)
    parts = [probe(features[..., a : a + 3, b : b + 4], a, b) for a in (0, 3) for b in (0, 4)]
    for k, term in enumerate(whole):
        assert torch.allclose(torch.stack([part[k] for part in parts]).sum(0), term, atol=1e-6)


def test_samples_are_drawn_where_the_weight_is():
    weight = torch.zeros(6, 8)
    weight[2:4, 1:5] = 1
    rows, columns = Probe.of("samples", (6, 8), weight, seeded("a"), count=8).positions.unbind(1)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == list(itertools.product((2, 3), range(1, 5)))


@pytest.mark.parametrize("name", STATISTICS)
def test_a_picture_in_its_own_style_has_no_loss_and_a_strange_one_does(name, network):
    own, other = picture(seed=1), picture(seed=2) * torch.tensor([1.0, 0.2, 0.1]).view(1, 3, 1, 1)
    loss = objective_of(network, STATISTICS[name], own, own, weights=Weights(0, 1, 0))
    near, _ = loss(own)
    far, _ = objective_of(network, STATISTICS[name], own, other, weights=Weights(0, 1, 0))(own)
    assert near < 1e-3 + (0.2 if name in ("sliced", "nearest") else 0), "samples of one picture are not drawn at the same places"
    assert far > 3 * near
    assert far > 0.05


def test_w2_is_its_closed_form_where_covariances_are_diagonal():
    mean, other = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0])
    spread, wanted = torch.tensor([4.0, 9.0]), torch.tensor([1.0, 16.0])
    value = (mean, torch.diag(spread) + torch.outer(mean, mean))
    target = W2.prepare((other, torch.diag(wanted) + torch.outer(other, other)), seeded("a"))
    expected = (mean - other).square().sum() + ((spread.sqrt() - wanted.sqrt()) ** 2).sum()
    assert float(W2.loss(value, target)) == pytest.approx(float(expected / (other.square().sum() + wanted.sum())), rel=1e-4)


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_w2_of_a_style_with_itself_is_nothing_at_any_rank(rank):
    basis, strengths = torch.randn(64, rank, generator=seeded("a")), torch.rand(rank, 300, generator=seeded("b"))
    features = (basis @ strengths).relu_() if rank == 64 else basis @ strengths
    terms = Probe.of("moments", (10, 30), None, seeded("c"))(features.view(1, 64, 10, 30))
    target = W2.prepare(terms, seeded("d"))
    value = [term.requires_grad_(True) for term in terms]
    loss = W2.loss(tuple(value), target)
    assert abs(loss.item()) < 1e-5
    assert max(float(gradient.abs().max()) for gradient in torch.autograd.grad(loss, value)) < 0.1


def test_w2_leaves_what_hardly_varies_out_of_its_gradient():
    target = W2.prepare((torch.zeros(4), torch.eye(4)), seeded("a"))
    value = [torch.zeros(4, requires_grad=True), torch.diag(torch.tensor([1, 1, 1, 1e-10])).requires_grad_(True)]
    loss = W2.loss(tuple(value), target)
    assert loss.item() == pytest.approx(0.25, abs=1e-4)
    assert torch.autograd.grad(loss, value)[1].diagonal().tolist() == pytest.approx([0, 0, 0, 0.25], abs=1e-5)


def test_sliced_compares_different_numbers_of_samples():
    samples = torch.rand(4, 400)
    target = SLICED.prepare((samples,), seeded("a"))
    assert float(SLICED.loss((samples[:, torch.randperm(400)],), target)) < 1e-9
    assert float(SLICED.loss((samples[:, ::2],), target)) < 0.01
    assert float(SLICED.loss((samples + 1,), target)) > 0.5


def test_nearest_sees_only_directions_from_the_mean():
    samples = torch.rand(6, 50)
    target = NEAREST.prepare((samples,), seeded("a"))
    assert float(NEAREST.loss((samples,), target)) == pytest.approx(0, abs=1e-5)
    assert float(NEAREST.loss((3 * samples + 2,), target)) == pytest.approx(0, abs=1e-5)
    assert float(NEAREST.loss((torch.rand(6, 50),), target)) > 0.05


@pytest.mark.parametrize("name", ["gram", "mean_covariance", "w2"])
def test_a_blend_is_what_one_picture_of_both_parts_has(name, network):
    a, b = picture(32, 32, 1), picture(32, 32, 2)
    look = look_with(network, STATISTICS[name], layers=("relu1_1",))
    blend = look.target([(a, 0.5), (b, 0.5)], "x")
    features = [network(x, ["relu1_1"])["relu1_1"] for x in (a, b)]
    joined = Probe.of(STATISTICS[name].needs, (32, 64), None, seeded("a"))(torch.cat(features, 3))
    for ours, theirs in zip(blend[0], STATISTICS[name].prepare(joined, seeded("b")), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-2 * float(theirs.abs().max()))


def test_a_region_counts_by_its_area_times_its_share(network):
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., :8] = 1
    look = look_with(network, GRAM, layers=("relu1_1",))
    target = [look.target([(picture(32, 32), 1.0)], "x")] * 2
    regions = [Region(weight, (), 1.0), Region(1 - weight, (), 0.5)]
    assert [term.share for term in look.terms(target, regions, (32, 32), None)] == pytest.approx([0.4, 0.6])


# losses


def test_losses_at_their_limits():
    target = torch.rand(3, 3)
    assert float(relative_error(target, target)) == 0
    assert float(relative_error(torch.zeros(3, 3), target)) == pytest.approx(1, rel=1e-5)
    assert float(total_variation(torch.full((1, 3, 5, 5), 0.3))) == pytest.approx(2 / 255, rel=1e-4), "both directions, at the bottom"
    ramp = torch.linspace(0, 1, 5).expand(1, 3, 5, 5)
    assert float(total_variation(ramp)) == pytest.approx(0.25 + 1 / 255, rel=1e-3)
    assert float(total_variation(torch.rand(1, 3, 1, 1))) == 0


@pytest.mark.parametrize("name", STATISTICS)
def test_the_gradient_is_that_of_the_loss(name, network):
    content, style = picture(seed=3), picture(seed=4)
    anchor = Anchor(picture(seed=5), torch.rand(1, 1, 48, 64, generator=seeded("w")))
    objective = objective_of(network, STATISTICS[name], content, style, weights=Weights(0.5, 1.0, 0.1, 2.0), anchor=anchor)
    x, direction = picture(seed=6), torch.randn(1, 3, 48, 64, generator=seeded("d"))
    total, gradient = objective(x)
    expected = (objective(x + 1e-3 * direction)[0] - objective(x - 1e-3 * direction)[0]) / 2e-3
    tolerance = {"nearest": 0.1, "w2": 0.1}.get(name, 0.05)  # neighbours change on the way; roots of small numbers are steep
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=tolerance)
    parts = objective_of(network, STATISTICS[name], content, style, weights=Weights(0.5, 1.0, 0.1, 2.0), anchor=anchor)
    assert parts(x)[0] == pytest.approx(total, rel=1e-6)
    named = parts.losses
    assert total == pytest.approx(0.5 * named["content"] + named["style"] + 0.1 * named["tv"] + 2 * named["temporal"], rel=1e-5)


# tiles


@given_that(st.integers(16, 300), st.integers(16, 300), st.integers(16, 200), st.sampled_from([1, 4, 16]), st.integers(0, 90))
def test_tiles_cover_every_position_once(height, width, side, stride, halo):
    seen = torch.zeros(height // stride, width // stride)
    for tile in tiles((height, width), side, stride=stride, halo=halo):
        shown = tile.cut(torch.zeros(1, 1, height, width))
        features = torch.zeros(shown.shape[2] // stride, shown.shape[3] // stride)
        own = tile.own(features, stride)
        row, column = tile.place(stride)
        seen[row : row + own.shape[0], column : column + own.shape[1]] += 1
        assert own.numel() > 0
    assert torch.equal(seen, torch.ones_like(seen))


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("size", [(96, 128), (101, 135)], ids=str)
def test_the_gradient_in_tiles_is_the_gradient(name, size, network):
    content, style, x = (picture(*size, seed=seed) for seed in (1, 2, 3))
    region = torch.linspace(0, 1, size[1]).expand(1, 1, *size)
    regions = [Region(region, (Style(style, 1.0, "a"),)), Region(1 - region, (Style(content.flip(3), 1.0, "b"),))]
    alpha = torch.ones(1, 1, *size)
    alpha[..., : size[0] // 3, :] = 0.25
    results = []
    for tile in (None, 48):
        objective = objective_of(network, STATISTICS[name], content, style, tile=tile, regions=regions, alpha=alpha)
        assert (len(objective.tiles) > 1) == (tile is not None)
        results.append((objective(x), objective.losses))
    (whole, gradient), losses = results[0]
    (total, pieced), losses_tiled = results[1]
    assert total == pytest.approx(whole, rel=1e-4)
    assert losses_tiled == pytest.approx(losses, rel=1e-3)
    assert float((gradient - pieced).abs().max()) < 2e-3 * float(gradient.abs().max())
    assert float((gradient - pieced).norm() / gradient.norm()) < 1e-3


def test_without_a_halo_the_gradient_in_tiles_would_differ(network):
    """The comparison above can fail."""
    content, style, x = (picture(96, 128, seed=seed) for seed in (1, 2, 3))
    whole = objective_of(network, GRAM, content, style)
    tiled = objective_of(network, GRAM, content, style, tile=48)
    tiled.tiles = tiles((96, 128), 48, stride=4, halo=0)
    tiled.content = content_features(network, content, tiled.tiles, CONTENT, tiled.strides)
    gradient, pieced = whole(x)[1], tiled(x)[1]
    assert float((gradient - pieced).norm() / gradient.norm()) > 2e-2


def test_recomputed_features_give_the_same_gradient(network):
    content, style, x = (picture(seed=seed) for seed in (1, 2, 3))
    plain = objective_of(network, GRAM, content, style)
    again = objective_of(network, GRAM, content, style)
    again.extract = lambda image, layers: network(image, layers, checkpointing=True)
    assert torch.allclose(plain(x)[1], again(x)[1], rtol=1e-5, atol=1e-9)


def test_gathering_computes_no_gradient(network):
    (term,) = gather(
        network,
        picture().requires_grad_(True),
        tiles((48, 64)),
        [("relu1_1", Probe.of("second", (48, 64), None, seeded("a")))],
        {"relu1_1": 1},
    )
    assert not term[0].requires_grad


def test_a_style_term_of_a_small_region_counts_by_its_area(network):
    left = torch.zeros(1, 1, 48, 64)
    left[..., :16] = 1
    regions = [Region(left, (Style(picture(), 1.0, "a"),)), Region(1 - left, (Style(picture(), 1.0, "b"),))]
    terms: list[StyleTerm] = objective_of(network, GRAM, picture(), picture(), regions=regions).style
    assert sum(term.share for term in terms) == pytest.approx(1)
    assert [term.share for term in terms if term.layer == "relu1_1"] == pytest.approx([0.25 / 3, 0.75 / 3])


def test_layers_count_by_their_weights(network):
    look = look_with(network, GRAM)
    weighted = replace(look, weights=(3.0, 0.0, 1.0))
    targets = [look.target([(picture(), 1.0)], "style")]
    terms = weighted.terms(targets, [Region(None, ())], (48, 64), None)
    assert [(term.layer, term.share) for term in terms] == [("relu1_1", 0.75), ("relu2_1", 0.0), ("relu3_1", 0.25)]


def test_a_style_is_reduced_to_the_pictures_area_but_for_a_trifle():
    def sizes(style, size, scale=1.0):
        return tuple(at_scale(Style(picture(*style), 1.0, "x", scale), size, 16).shape[2:])

    assert sizes((100, 200), (50, 100)) == (50, 100)
    assert sizes((100, 200), (50, 100), 0.5) == (25, 50)
    assert sizes((100, 200), (98, 196)) == (100, 200)
    assert sizes((30, 40), (300, 400)) == (30, 40), "never enlarged"
    assert sizes((100, 1000), (16, 16)) == (16, 160), "never below what the layers need"


# memory


def test_the_fastest_plan_that_fits_is_chosen():
    per_pixel = {False: 2000.0, True: 1200.0}
    size, base = (1536, 2048), 5e8

    def plan(limit):
        return memory.fitting(size, limit, base, per_pixel, 80, 16, adam=False)

    assert plan(20e9) == memory.Plan(planned_mb=pytest.approx(9055, rel=0.01))
    assert plan(9e9).checkpointing
    tight, tighter = plan(5e9), plan(2.4e9)
    assert tight.tile is not None
    assert tight.history == 20
    assert tighter.history < 20
    assert plan(1e9) is None
    for limit in (20e9, 9e9, 5e9, 2.4e9):
        assert plan(limit).planned_mb * 1e6 <= limit
    assert memory.fitting(size, 2.4e9, base, per_pixel, 80, 16, adam=True).history == 20


def test_what_a_network_keeps_is_counted(network):
    """Block 1 of VGG19 keeps two maps of 64 channels, block 2 two of 128 at a quarter of the positions, and so on."""
    plain = memory.bytes_kept(network, ["relu5_1"], "cpu", checkpointing=False) / (1 + memory.TRANSIENT[False])
    assert 1100 < plain < 1900
    shallow = memory.bytes_kept(network, ["relu1_2"], "cpu", checkpointing=False) / (1 + memory.TRANSIENT[False])
    assert 512 <= shallow < 620
