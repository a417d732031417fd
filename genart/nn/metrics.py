"""How near generated pictures are to real ones, as pure functions of features, and the features.

KID and the Fréchet distance compare two distributions, precision and recall tell likeness from variety, and `copied` finds memorised
pictures. All take features as (N, D) and compute in float64 on the CPU, since their sums cancel, in blocks, so that memory stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genart.errors import DataError

#: Rows of a matrix of distances or kernel values that are held at a time.
BLOCK = 1024
#: A squared distance below this share of the vectors' squared lengths is rounding of float32 features: it counts as none.
ROUNDING = 1e-10
#: A sample nearer to a real picture than this share of the distance between that one and the next real one is a copy.
#: Of fresh 32 px crops of the embedded photographs, where crops overlap, 1 % are; of crops moved by a pixel 80 to 100 %, more of fewer
#: real ones; of those with noise of 0.01 60 to 80 %, since noise changes a smooth picture's features more than its neighbours differ.
COPY = 0.25
#: Real pictures nearer to each other than this share of the mean distance between two are one picture, kept twice.
DUPLICATE = 0.005
#: Smallest side, in pixels, of what an embedding sees of a long and narrow picture.
SHORTEST = 16


# features


@dataclass(frozen=True)
class Embedding:
    """How a backbone's features become one vector: spatial means of some layers, each divided by a constant.

    Attributes:
        scales: the constant of each layer.
        least: longer side in pixels that smaller pictures are enlarged to.
        most: longer side in pixels that larger pictures are reduced to; if it equals `least`, pictures are stretched to that square.
    """

    scales: Mapping[str, float] = field(hash=False)
    least: int
    most: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture of some height and width is seen."""
        if self.least == self.most:
            return self.most, self.most
        longer = max(height, width)
        factor = min(max(longer, self.least), self.most) / longer
        return max(SHORTEST, round(height * factor)), max(SHORTEST, round(width * factor))


#: Of the embedded VGG19. Over 32 and 64 px crops of the embedded photographs, the root of the total variance of the four layers' means is
#: 916, 976, 7550 and 11100. Divided by these over the root of 30, rounded, each layer has a total variance of 30, so that none dominates
#: a distance, and x.y/D is near 0.15 in the kernel of KID, 0.3 of a picture with itself.
VGG19 = Embedding({"relu1_2": 167.0, "relu2_2": 178.0, "relu3_4": 1380.0, "relu4_1": 2030.0}, least=32, most=128)
#: Of Inception v3, whose last pooling gives the features as they are (Heusel et al. 2017).
INCEPTION = Embedding({"pool3": 1.0}, least=299, most=299)
#: Embeddings by the name of their backbone.
EMBEDDINGS = {"vgg19": VGG19, "inception": INCEPTION}


@torch.inference_mode()
def embed(backbone: Any, images: Tensor, *, batch_size: int = 32, embedding: Embedding = VGG19) -> Tensor:
    """Turn pictures into vectors of features.

    The last batch is filled up with black pictures, so that a picture's vector does not depend on how many there are.

    Args:
        backbone: a frozen network as `Run.backbone` gives, such as genart.nn.vgg.VGG.
        images: (N, 3, H, W) in [0, 1] on the backbone's device, H and W at least 1.
        batch_size: pictures at a time.
        embedding: that of the backbone.

    Returns:
        (N, D) float32 on the same device; D is 960 for `VGG19`, 2048 for `INCEPTION`.
    """
    parts = []
    size = embedding.size(images.shape[2], images.shape[3])
    for batch in images.split(batch_size):
        x = batch.float()
        if tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        features = backbone(F.pad(x, (0, 0, 0, 0, 0, 0, 0, batch_size - len(x))), tuple(embedding.scales))
        means = [features[layer].float().mean((2, 3)) / scale for layer, scale in embedding.scales.items()]
        parts.append(torch.cat(means, 1)[: len(batch)])
    return torch.cat(parts)


# distributions


def kid(real: Tensor, gen: Tensor) -> float:
    """Kernel distance between two sets of features: the unbiased estimate of the squared MMD (Binkowski et al. 2018, section 4, eq. 4).

    The kernel is (x.y/D + 1)^3. For equal distributions the estimate is 0 in the mean, whatever the number of pictures, and so it may be
    a little below 0.

    Args:
        real: (N, D), N at least 2.
        gen: (M, D), M at least 2.

    Raises:
        DataError: if there are fewer.
    """
    real, gen = _pair(real, gen, 2)
    n, m = len(real), len(gen)
    across = _kernel_sums(real, gen)[0].sum()
    return float(_sums_to_others(real).sum() / (n * (n - 1)) + _sums_to_others(gen).sum() / (m * (m - 1)) - 2 * across / (n * m))


def kid_error(real: Tensor, gen: Tensor) -> float:
    """Standard error of `kid` by the jackknife over pictures (Arvesen 1969): how far it varies if each one is left out in turn.

    Unlike a mean over random subsets (Binkowski et al. 2018, section 4) it draws nothing, and is the error of `kid` of all pictures. For
    equal distributions it is somewhat too large.

    Args:
        real: (N, D), N at least 3.
        gen: (M, D), M at least 3.

    Raises:
        DataError: if there are fewer.
    """
    real, gen = _pair(real, gen, 3)
    from_real, from_gen = _kernel_sums(real, gen)
    return float((_jackknife(_sums_to_others(real), from_real, len(gen)) + _jackknife(_sums_to_others(gen), from_gen, len(real))).sqrt())


def _jackknife(to_others: Tensor, across: Tensor, m: int) -> Tensor:
    """Variance that the N pictures of one set bring into KID.

    Args:
        to_others: sums of the kernel of each to the others of its set, (N,).
        across: sums of the kernel of each to all of the other set, (N,).
        m: pictures of the other set.
    """
    n = len(across)
    within = (to_others.sum() - 2 * to_others) / ((n - 1) * (n - 2))
    left_out: Tensor = within - 2 * (across.sum() - across) / ((n - 1) * m)
    return (left_out - left_out.mean()).square().sum() * (n - 1) / n


def frechet(real: Tensor, gen: Tensor) -> float:
    """Fréchet distance of the normal distributions that fit two sets of features (Heusel et al. 2017, eq. 6).

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). With centred features X and Y, C1 = X^T X / (n - 1) and C2 = Y^T Y / (m - 1), so
    the eigenvalues of C1 C2 are the squared singular values of X Y^T, over (n - 1)(m - 1): the trace of the root is their sum, exact for
    fewer pictures than features too. The distance itself is then too large by a bias that falls with the number of pictures: compare
    only distances of as many.

    Args:
        real: (N, D), N at least 2.
        gen: (M, D), M at least 2.

    Raises:
        DataError: if there are fewer.
    """
    real, gen = _pair(real, gen, 2)
    x, y = (_root_of_covariance(features) for features in (real, gen))
    means = (real.mean(0) - gen.mean(0)).square().sum()
    return max(0.0, float(means + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()))


def _root_of_covariance(features: Tensor) -> Tensor:
    """R of (min(N, D), D) with R^T R the covariance of (N, D)."""
    centred: Tensor = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    R: Tensor = torch.linalg.qr(centred, mode="r").R
    return R


# likeness and variety


@dataclass(frozen=True)
class Manifold:
    """Where generated pictures lie among real ones, and real ones among generated ones.

    Attributes:
        precision: share of the generated that lie among the real: how good they are, in [0, 1].
        recall: share of the real that lie among the generated: how varied these are, in [0, 1].
        density: as precision, but counts among how many neighbourhoods; about 1 for equal distributions, more for typical pictures.
        coverage: share of the real with a generated one near, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, gen: Tensor, k: int = 5) -> Manifold:
    """Precision and recall (Kynkaanniemi et al. 2019, eq. 1 and 2), density and coverage (Naeem et al. 2020, section 3).

    A picture's neighbourhood reaches to its k-th nearest of the same set.

    Args:
        real: (N, D), N at least k + 1.
        gen: (M, D), M at least k + 1.
        k: neighbours that make a neighbourhood.

    Raises:
        DataError: if there are fewer pictures.
    """
    real, gen = _pair(real, gen, k + 1)
    real_radii, gen_radii = _radii(real, k), _radii(gen, k)
    among_real = inside = 0
    among_gen = torch.zeros(len(real), dtype=torch.bool)
    closest = torch.full((len(real),), torch.inf, dtype=torch.float64)
    for distance, radii in zip(_distances(gen, real), gen_radii.split(BLOCK), strict=True):
        neighbour = distance <= real_radii
        among_real += int(neighbour.any(1).sum())
        inside += int(neighbour.sum())
        among_gen |= (distance <= radii[:, None]).any(0)
        closest = torch.minimum(closest, distance.amin(0))
    return Manifold(
        precision=among_real / len(gen),
        recall=float(among_gen.double().mean()),
        density=inside / (k * len(gen)),
        coverage=float((closest <= real_radii).double().mean()),
    )


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance of each of (N, D) to its k-th nearest other: (N,)."""
    return torch.cat([distance.kthvalue(k, 1).values for distance in _distances_to_others(features)])


# memorised pictures


def nearest(gen: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The real picture that is nearest to each generated one.

    Args:
        gen: (M, D).
        real: (N, D), N at least 1.

    Returns:
        Distances (M,) float64, and indices of the real pictures (M,) int64, on the CPU.

    Raises:
        DataError: if there is no real picture.
    """
    gen, real = _wide(gen), _wide(real)
    if not len(real):
        raise DataError("there is no real picture to compare with")
    found = [distance.min(1) for distance in _distances(gen, real)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def closeness(gen: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each generated picture to its nearest real one, as a share of the distance between that one and the next real one.

    Alaa et al. 2022 (section 3) call a sample authentic where this is above 1. Real pictures that are there twice, or nearly, are one
    (see DUPLICATE). Where all are one, the share is 0 for that picture itself and infinite for all others.

    Args:
        gen: (M, D).
        real: (N, D), N at least 1.

    Returns:
        Shares (M,) float64, at least 0, and indices of the nearest real pictures (M,) int64, on the CPU.

    Raises:
        DataError: if there is no real picture.
    """
    distance, index = nearest(gen, real)
    own = _distance_to_next(_wide(real))[index]
    return torch.where(distance == 0, 0.0, distance / own), index


def copied(gen: Tensor, real: Tensor) -> Tensor:
    """Which generated pictures are nearly a real one: `closeness` at most COPY.

    It is stricter than Alaa et al. 2022 (section 3), whose limit of 1 is passed by half of what a perfect generator draws. What vary by d
    numbers alone come as near by chance, a share of about COPY^d: 6 % for two, next to none for pictures.

    Args:
        gen: (M, D).
        real: (N, D), N at least 1.

    Returns:
        (M,) bool on the CPU.

    Raises:
        DataError: if there is no real picture.
    """
    return closeness(gen, real)[0] <= COPY


def _distance_to_next(real: Tensor) -> Tensor:
    """Distance of each of (N, D) to its nearest other that is not the same picture, 0 where there is none: (N,)."""
    mean_distance = (2 * (real - real.mean(0)).square().sum(1).mean()).sqrt()
    rows = [distance.masked_fill(distance <= DUPLICATE * mean_distance, torch.inf).amin(1) for distance in _distances_to_others(real)]
    return torch.nan_to_num(torch.cat(rows), posinf=0.0)


# sums and distances


def _wide(features: Tensor) -> Tensor:
    """Features as float64 on the CPU; not every device has float64."""
    return features.detach().cpu().double()


def _pair(real: Tensor, gen: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Both sets of features as float64, at least so many of each."""
    if min(len(real), len(gen)) < least:
        raise DataError(
            f"{len(real)} real and {len(gen)} generated pictures are too few to compare: at least {least} of each are needed",
            "give more pictures",
        )
    return _wide(real), _wide(gen)


def _kernel_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of (x.y/D + 1)^3 over the rows of y for each of x, and over those of x for each of y: (N,) and (M,)."""
    rows, columns = [], torch.zeros(len(y), dtype=y.dtype)
    for part in x.split(BLOCK):
        values = _kernel(part @ y.T / x.shape[1])
        rows.append(values.sum(1))
        columns += values.sum(0)
    return torch.cat(rows), columns


def _sums_to_others(x: Tensor) -> Tensor:
    """Sums of the kernel of each row of (N, D) to all others: (N,)."""
    return _kernel_sums(x, x)[0] - _kernel(x.square().mean(1))


def _kernel(product: Tensor) -> Tensor:
    shifted = product + 1
    return shifted * shifted * shifted


def _distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield distances from (N, D) to (M, D), block after block of N: (at most BLOCK, M)."""
    y_square = y.square().sum(1)
    for part in x.split(BLOCK):
        squares = part.square().sum(1)[:, None] + y_square
        distance = torch.addmm(squares, part, y.T, alpha=-2)
        yield distance.masked_fill_(distance <= ROUNDING * squares, 0.0).sqrt_()


def _distances_to_others(x: Tensor) -> Iterator[Tensor]:
    """Yield distances within (N, D), block after block, infinite from each to itself."""
    first = 0
    for distance in _distances(x, x):
        rows = torch.arange(len(distance))
        distance[rows, rows + first] = torch.inf
        first += len(distance)
        yield distance
