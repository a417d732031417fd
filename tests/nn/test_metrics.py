import math

import numpy as np
import pytest
import torch
from PIL import Image

from genart.errors import DataError
from genart.nn import metrics, vgg
from genart.nn.samples import COLOUR, data_folder


def normal(count, dim, seed=0, mean=0.0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def kernel(a, b):
    return (float(a @ b) / len(a) + 1) ** 3


# kid


def naive_kid(real, gen):
    """Binkowski et al. 2018, eq. 4, pair by pair."""
    n, m = len(real), len(gen)
    xx = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(gen[i], gen[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in real for b in gen) / (n * m)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_kid_is_the_sum_over_pairs(block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    real, gen = normal(7, 5), normal(4, 5, 1, mean=0.5)
    assert metrics.kid(real, gen) == pytest.approx(naive_kid(real, gen), rel=1e-10)
    assert metrics.kid(real, gen) == pytest.approx(metrics.kid(gen, real), rel=1e-10)


def test_kid_is_unbiased_and_its_error_is_that_of_repetition():
    values = torch.tensor([metrics.kid(normal(30, 4, 2 * i), normal(40, 4, 2 * i + 1, mean=0.3)) for i in range(200)])
    errors = torch.tensor([metrics.kid_error(normal(30, 4, 2 * i), normal(40, 4, 2 * i + 1, mean=0.3)) for i in range(200)])
    large = metrics.kid(normal(5000, 4, 1001), normal(5000, 4, 1002, mean=0.3))
    assert float(values.mean()) == pytest.approx(large, abs=4 * float(values.std()) / 200**0.5)
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.25)


def test_kid_of_equal_distributions_is_zero_in_the_mean_for_few_pictures_too():
    values = torch.tensor([metrics.kid(normal(6, 16, 2 * i), normal(6, 16, 2 * i + 1)) for i in range(300)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 300**0.5
    assert (values < 0).any()


def test_the_jackknife_is_the_one_by_hand():
    real, gen = normal(6, 3), normal(5, 3, 1)
    left_out = [
        [metrics.kid(torch.cat([real[:i], real[i + 1 :]]), gen) for i in range(6)],
        [metrics.kid(real, torch.cat([gen[:i], gen[i + 1 :]])) for i in range(5)],
    ]
    variance = sum((len(v) - 1) / len(v) * sum((x - sum(v) / len(v)) ** 2 for x in v) for v in left_out)
    assert metrics.kid_error(real, gen) == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_float32_features_lose_nothing_to_cancellation():
    real, gen = (normal(50, 8, i).float() + 30 for i in (0, 1))
    assert metrics.kid(real, gen) == pytest.approx(metrics.kid(real.double(), gen.double()), rel=1e-12)


# Fréchet


def closed_form(real, gen):
    """Heusel et al. 2017, eq. 6, with the root of a symmetric product by its eigenvalues."""
    c1, c2 = (torch.cov(x.T) for x in (real, gen))
    values, vectors = torch.linalg.eigh(c1)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    trace = torch.linalg.eigvalsh(root @ c2 @ root).clamp_min(0).sqrt().sum()
    return float((real.mean(0) - gen.mean(0)).square().sum() + c1.trace() + c2.trace() - 2 * trace)


@pytest.mark.parametrize(("n", "m", "dim"), [(50, 40, 6), (50, 4, 6), (5, 40, 6), (6, 5, 20), (2, 2, 3)])
def test_frechet_is_its_closed_form_for_few_pictures_too(n, m, dim):
    real, gen = normal(n, dim), 1.5 * normal(m, dim, 1, mean=0.4)
    assert metrics.frechet(real, gen) == pytest.approx(closed_form(real, gen), rel=1e-6)


def test_frechet_at_its_limits():
    x = normal(40, 7)
    assert metrics.frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet(x, x + 2) == pytest.approx(28, rel=1e-9), "only the mean moved"
    assert metrics.frechet(x, x - x.mean(0)) == pytest.approx(float(x.mean(0).square().sum()), rel=1e-9)
    assert metrics.frechet(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(4 * float(x.var(0).sum()), rel=1e-9)
    assert metrics.frechet(x.new_zeros(5, 7), x.new_zeros(5, 7)) == 0


# precision and recall


def naive_prdc(real, gen, k):
    """Counted picture by picture."""
    d = [[float((g - r).norm()) for r in real] for g in gen]
    radius = lambda xs: [sorted(float((a - b).norm()) for b in xs)[k] for a in xs]  # noqa: E731
    rr, rg = radius(real), radius(gen)
    n, m = len(real), len(gen)
    return metrics.Manifold(
        precision=sum(any(d[j][i] <= rr[i] for i in range(n)) for j in range(m)) / m,
        recall=sum(any(d[j][i] <= rg[j] for j in range(m)) for i in range(n)) / n,
        density=sum(d[j][i] <= rr[i] for i in range(n) for j in range(m)) / (k * m),
        coverage=sum(min(d[j][i] for j in range(m)) <= rr[i] for i in range(n)) / n,
    )


@pytest.mark.parametrize("block", [2, 1024])
def test_prdc_is_the_count(block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    real, gen = normal(15, 2), normal(11, 2, 1, mean=0.7)
    assert vars(metrics.prdc(real, gen, 3)) == pytest.approx(vars(naive_prdc(real, gen, 3)))


def test_prdc_tells_likeness_from_variety():
    real = normal(400, 8)
    same, few, far = (metrics.prdc(real, gen) for gen in (normal(400, 8, 1), 0.1 * normal(400, 8, 2), normal(400, 8, 3, mean=20.0)))
    assert min(same.precision, same.recall, same.coverage) > 0.8
    assert same.density == pytest.approx(1, abs=0.1)
    assert few.precision == 1
    assert few.recall < 0.05
    assert few.density > 1
    assert few.coverage < 0.2
    assert vars(far) == dict.fromkeys(vars(far), 0)


def test_a_set_compared_with_itself_is_perfect():
    x = normal(20, 3)
    one = metrics.prdc(x, x, 5)
    assert (one.precision, one.recall, one.coverage) == (1, 1, 1)
    equal = metrics.prdc(torch.ones(8, 3) / 3, torch.ones(9, 3) / 3)
    assert (equal.precision, equal.recall, equal.coverage) == (1, 1, 1), "rounding does not part equal pictures"


@pytest.mark.parametrize(
    ("measure", "least"), [(metrics.kid, 2), (metrics.kid_error, 3), (metrics.frechet, 2), (lambda a, b: metrics.prdc(a, b, 4), 5)]
)
def test_too_few_pictures_are_refused(measure, least):
    measure(normal(least, 3), normal(least, 3, 1))
    for real, gen in ((least - 1, 9), (9, least - 1)):
        with pytest.raises(DataError, match=f"{real} real and {gen} generated .* at least {least}"):
            measure(normal(real, 3), normal(gen, 3, 1))


# copies


@pytest.mark.parametrize("block", [3, 1024])
def test_the_nearest_is_found(block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    real, gen = normal(9, 4), normal(7, 4, 1)
    distance, index = metrics.nearest(gen, real)
    table = torch.cdist(gen, real)
    assert torch.equal(index, table.argmin(1))
    assert torch.allclose(distance, table.amin(1))
    exact, where = metrics.nearest(real[[4, 2]], real)
    assert (exact.tolist(), where.tolist()) == ([0, 0], [4, 2])
    with pytest.raises(DataError, match="no real picture"):
        metrics.nearest(gen, real[:0])


def test_closeness_is_the_share_of_the_way_to_the_next_real_one():
    real = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 10.0]])
    share, index = metrics.closeness(torch.tensor([[1.0, 0.0], [0.0, 7.0], [4.0, 0.0]]), real)
    assert share.tolist() == pytest.approx([1 / 4, 3 / 10, 0])
    assert index.tolist() == [0, 2, 1]


@pytest.mark.parametrize("dim", [8, 64, 960])
def test_fresh_samples_are_no_copies_and_noisy_copies_are(dim):
    real, fresh = normal(300, dim), normal(300, dim, 1)
    assert metrics.copied(fresh, real).double().mean() < 0.01
    assert metrics.copied(real, real).all()
    noisy = real + 0.05 * normal(300, dim, 2)
    assert metrics.copied(noisy, real).double().mean() > 0.95
    half = torch.cat([noisy[:100], fresh[:100]])
    assert metrics.copied(half, real).double().mean() == pytest.approx(0.5, abs=0.03)


def test_data_that_vary_by_two_numbers_are_copied_by_chance_as_often_as_told():
    share = metrics.copied(normal(2000, 2, 1), normal(500, 2)).double().mean()
    assert float(share) == pytest.approx(metrics.COPY**2, abs=0.02)


def test_real_pictures_that_are_there_twice_are_one():
    real, fresh = normal(200, 16), normal(200, 16, 1)
    twice = torch.cat([real, real[:150], real[:50] + 1e-3 * normal(50, 16, 3)])
    assert metrics.copied(real, twice).all()
    assert torch.equal(metrics.copied(fresh, twice), metrics.copied(fresh, real))


def test_one_real_picture_is_copied_by_itself_alone():
    one = normal(1, 5)
    for real in (one, one.repeat(6, 1)):
        assert metrics.copied(torch.cat([one, one + 1e-3]), real).tolist() == [True, False]


# features


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


def crops(count, seed, size=32):
    """Crops of the embedded colour photographs at half their size: (N, 3, size, size) in [0, 1]."""
    rng = np.random.default_rng(seed)
    photos = [Image.open(data_folder() / file).convert("RGB").reduce(2) for file in COLOUR.values()]
    found = []
    for i in range(count):
        photo = photos[i % len(photos)]
        left, top = rng.integers(photo.width - size), rng.integers(photo.height - size)
        found.append(np.asarray(photo.crop((left, top, left + size, top + size))))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 255


def test_no_layer_dominates(network):
    features = metrics.embed(network, crops(96, 0))
    assert features.shape == (96, 960)
    assert features.dtype == torch.float32
    variances = [float(part.var(0).sum()) for part in features.split([64, 128, 256, 512], 1)]
    assert min(variances) > 15, variances
    assert max(variances) < 60, variances
    products = features @ features.T / 960
    assert 0.1 < float(products.mean()) < 0.5


def test_copies_of_photographs_are_found_and_fresh_crops_are_not(network):
    """Of crops moved by a pixel most, of fresh ones, some of which overlap a real one nearly, hardly any."""
    real = crops(96, 0)
    moved = torch.cat([real[..., 1:], real[..., -1:]], 3)
    noisy = real + 0.01 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    features = metrics.embed(network, real)
    share = {name: float(metrics.copied(metrics.embed(network, images), features).double().mean()) for name, images in
             {"same": real, "moved": moved[:48], "noisy": noisy[:48].clamp(0, 1), "fresh": crops(96, 1)}.items()}  # fmt: skip
    assert share["same"] == 1
    assert share["moved"] > 0.8, share
    assert share["noisy"] > 0.6, share
    assert share["fresh"] < 0.04, share


def test_features_do_not_depend_on_how_many_pictures_there_are(network):
    images = crops(7, 2)
    features = metrics.embed(network, images, batch_size=4)
    assert torch.equal(features[4:6], metrics.embed(network, images[4:6], batch_size=4))
    assert metrics.embed(network, images[:0], batch_size=4).shape == (0, 960)
    assert torch.allclose(features, metrics.embed(network, images, batch_size=7), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((64, 48), (64, 48)), ((16, 16), (32, 32)), ((8, 16), (16, 32)), ((256, 128), (128, 64)), ((1, 1), (32, 32)), ((1000, 20), (128, 16))],
)
def test_pictures_are_seen_at_a_size_that_the_layers_bear(size, seen):
    shapes = []

    def backbone(images, layers):
        shapes.append(tuple(images.shape))
        return dict.fromkeys(layers, images)

    assert metrics.VGG19.size(*size) == seen
    assert metrics.embed(backbone, torch.zeros(3, 3, *size), batch_size=2).shape == (3, 12)
    assert shapes == [(2, 3, *seen)] * 2
    assert metrics.INCEPTION.size(*size) == (299, 299)
