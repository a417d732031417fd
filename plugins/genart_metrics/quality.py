"""metrics.quality: the numbers of generated pictures, and a sheet with those that are nearest to a training picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from genart import Batch, DataError, Images, Run
from genart.nn import metrics
from genart.nn.data import over_white
from genart.nn.images import grid, to_uint8, to_unit
from genart.nn.pictures import Unread, Unreadable, Want, decode, picture_files

from . import QualityParams

#: Pictures that a network looks at at a time.
BATCH = 32
#: Fewer pictures than this are compared with a warning.
FEW = 100
#: Pairs on the sheet, and pairs side by side.
PAIRS, PAIRS_IN_ROW = 24, 3
#: Of the sheet, in pixels: least side of a picture, height of a line of text, and the width that the table needs.
TILE, LINE, WIDTH = 72, 18, 480
#: Columns of the table, in pixels from the left.
COLUMNS = (8, 130, 230)

Size = tuple[int, int]


@dataclass(frozen=True)
class Quality:
    """What was measured; the Fréchet distance, precision and so on as in genart.nn.metrics.

    Attributes:
        kid_x1000: a thousand times KID.
        kid_error_x1000: its standard error.
        copies: share of the generated pictures that are nearly a training picture, in [0, 1].
    """

    kid_x1000: float
    kid_error_x1000: float
    frechet: float
    precision: float
    recall: float
    density: float
    coverage: float
    copies: float

    def table(self) -> list[tuple[str, str, str]]:
        """Name, number and meaning of each measure."""
        return [
            ("KID x 1000", f"{self.kid_x1000:.3g} ± {self.kid_error_x1000:.2g}", "distance to the training pictures, 0 is best"),
            ("Frechet distance", f"{self.frechet:.4g}", "the same, of normal distributions"),
            ("precision", f"{self.precision:.2f}", "share that lies among training pictures"),
            ("recall", f"{self.recall:.2f}", "share of training pictures that are reached"),
            ("density", f"{self.density:.2f}", "as precision; about 1 is best"),
            ("coverage", f"{self.coverage:.2f}", "share of training pictures with one near"),
            ("copies", f"{self.copies:.1%}", "share that nearly is a training picture"),
        ]


def quality(images: Images, params: QualityParams, run: Run) -> Iterator[Batch]:
    """Compare, tell the numbers, and yield the one sheet; see the stage.

    Raises:
        DataError: if there are too few pictures, or the training pictures cannot be read.
    """
    run.expect(1)
    embedding = metrics.EMBEDDINGS[params.features]
    size = common_size(images, params, run, embedding)
    gen, gen_names = pictures_of(images, params.count, size)
    real, real_names = real_pictures(params, run, size)
    check_counts(len(real), len(gen), params, run)
    backbone = run.backbone(params.features)
    seen = Seen(backbone, embedding, run, len(real) + len(gen))
    real_features, gen_features = seen.features(real), seen.features(gen)
    measured = measure(real_features, gen_features, params.k)
    run.metric(**asdict(measured))
    run.note(", ".join(f"{name} {number}" for name, number, _ in measured.table()))
    share, index = metrics.closeness(gen_features, real_features)
    order = share.argsort(stable=True)[:PAIRS].tolist()
    about: dict[str, Any] = {"pictures": len(gen), "real": len(real), "features": params.features, "k": params.k, **asdict(measured)}
    about["nearest"] = [
        {"picture": gen_names[i], "real": real_names[int(index[i])], "closeness": round(min(float(share[i]), 1e6), 4)} for i in order
    ]
    pairs = torch.stack([gen[order], real[index[order]]], 1).flatten(0, 1)
    yield Batch.from_array(sheet(measured, pairs, len(gen), len(real)), [about])


def measure(real: Tensor, gen: Tensor, k: int) -> Quality:
    """All measures of two sets of features, (N, D) and (M, D)."""
    return Quality(
        kid_x1000=1000 * metrics.kid(real, gen),
        kid_error_x1000=1000 * metrics.kid_error(real, gen),
        frechet=metrics.frechet(real, gen),
        **asdict(metrics.prdc(real, gen, k)),
        copies=float(metrics.copied(gen, real).double().mean()),
    )


class Seen:
    """Pictures as a backbone sees them, with progress over both sides.

    Args:
        backbone: gives the features.
        embedding: makes vectors of them.
        run: the device, and who is told of progress.
        total: pictures of both sides.
    """

    def __init__(self, backbone: Any, embedding: metrics.Embedding, run: Run, total: int) -> None:
        self.backbone, self.embedding, self.run, self.total = backbone, embedding, run, total
        self.done = 0

    def features(self, pictures: Tensor) -> Tensor:
        """Features of (N, 3, H, W) uint8: (N, D)."""
        parts = []
        for at in range(0, len(pictures), BATCH):
            part = pictures[at : at + BATCH]
            images = to_unit(part.to(self.run.device))
            parts.append(metrics.embed(self.backbone, images, batch_size=BATCH, embedding=self.embedding))
            self.done += len(part)
            self.run.progress(self.done, self.total)
            self.run.check()
        return torch.cat(parts)


# the pictures


def check_counts(real: int, gen: int, params: QualityParams, run: Run) -> None:
    """Refuse too few pictures, and warn of few.

    Raises:
        DataError: if one side has no more than k.
    """
    least = max(3, params.k + 1)
    for name, found in (("training", real), ("generated", gen)):
        if found < least:
            raise DataError(
                f"{run.stage_id}: {found} {name} picture{'s' * (found != 1)}, and k = {params.k} needs at least {least}",
                "give more pictures, or a smaller `k`" if found > 1 else "give more pictures",
            )
    if min(real, gen) < FEW:
        run.warn(f"{min(real, gen)} pictures are few: take the numbers as a hint, above all the Fréchet distance, which is too large then")


def common_size(images: Images, params: QualityParams, run: Run, embedding: metrics.Embedding) -> Size:
    """The smaller of both sides' first pictures, in height and width each, no larger than the embedding looks at.

    Raises:
        DataError: if one side has no picture.
    """
    side = run.sides.get(str(params.real))
    sizes = [_first_size(images, "the stage before", run)]
    if isinstance(side, Images):
        sizes.append(_first_size(side, f"the stage '{params.real}'", run))
    height, width = (min(size[axis] for size in sizes) for axis in (0, 1))
    factor = min(1.0, embedding.most / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _first_size(images: Images, name: str, run: Run) -> Size:
    first = next(iter(images.settled().batches(1)), None)
    if first is None:
        raise DataError(f"{run.stage_id}: {name} gave no picture")
    height, width = first.array.shape[1:3]
    return int(height), int(width)


def spread_over(total: int, count: int) -> list[int]:
    """At most `count` indices, evenly spread over `total`."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def pictures_of(images: Images, count: int, size: Size) -> tuple[Tensor, list[str]]:
    """At most `count` pictures, evenly spread, as (N, 3, *size) uint8, transparency over white, and a name of each."""
    wanted = set(spread_over(len(images), count))
    pictures, names = [], []
    for batch in images.settled():
        chosen = [i for i in range(len(batch)) if batch.start + i in wanted]
        if chosen:
            array = batch.array[chosen]
            pictures.append(covering(over_white(array) if array.shape[3] == 4 else array, size))
            names += [str(batch.meta[i].get("source", f"picture {batch.start + i + 1}")) for i in chosen]
    return torch.cat(pictures) if pictures else torch.empty(0, 3, *size, dtype=torch.uint8), names


def real_pictures(params: QualityParams, run: Run, size: Size) -> tuple[Tensor, list[str]]:
    """The training pictures, of a stage or a folder: as `pictures_of`.

    Raises:
        DataError: if a folder has none that can be read.
    """
    side = run.sides.get(str(params.real))
    if isinstance(side, Images):
        return pictures_of(side, params.count, size)
    files = picture_files(params.real)
    pictures, names, skipped = [], [], []
    for i in spread_over(len(files), params.count):
        try:
            array = np.asarray(decode(files[i], Want((size[1], size[0]))))
        except Unread as error:
            raise error.named(files[i].name) from error
        except Unreadable as error:
            skipped.append(f"{files[i].name} ({error})")
            continue
        pictures.append(torch.from_numpy(array.copy()).permute(2, 0, 1))
        names.append(files[i].name)
    if not pictures:
        raise DataError(
            f"{run.stage_id}.real: {params.real.name}: none can be read, such as {skipped[0]}",
            "it reads PNG, JPEG, WebP, GIF, BMP and TIFF, or takes a stage's id",
        )
    if skipped:
        run.warn(f"skipped {len(skipped)} of the training pictures, such as {skipped[0]}")
    return torch.stack(pictures), names


def covering(array: np.ndarray, size: Size) -> Tensor:
    """Scale pictures to cover a size and crop the middle: (N, H, W, 3) uint8 to (N, 3, *size) uint8."""
    images = torch.tensor(array).permute(0, 3, 1, 2)
    height, width = images.shape[2:]
    if (height, width) == size:
        return images
    factor = max(size[0] / height, size[1] / width)
    scaled = max(size[0], round(height * factor)), max(size[1], round(width * factor))
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    images = to_uint8(interpolate(to_unit(images), scaled, mode="bilinear", antialias=True))
    return images[:, :, top : top + size[0], left : left + size[1]]


# the sheet


def sheet(measured: Quality, pairs: Tensor, gen: int, real: int) -> np.ndarray:
    """The numbers, and below them samples, each with its nearest training picture at its right: (1, H, W, 3) uint8.

    Args:
        measured: the numbers.
        pairs: (2 * P, 3, h, w) uint8, sample and training picture in turn.
        gen: generated pictures that were compared.
        real: training pictures that were compared.
    """
    factor = math.ceil(TILE / max(pairs.shape[2:]))
    pictures = grid(pairs.repeat_interleave(factor, 2).repeat_interleave(factor, 3), 2 * PAIRS_IN_ROW, background=255)
    rows = [(f"{gen} generated pictures against {real} training pictures", "", ""), *measured.table()]
    rows.append(("Samples, each with its nearest training picture at its right:", "", ""))
    text = drawn(rows, max(WIDTH, pictures.shape[2]))
    below = torch.full((3, pictures.shape[1], text.shape[1]), 255, dtype=torch.uint8)
    below[:, :, : pictures.shape[2]] = pictures
    return np.concatenate([text, below.permute(1, 2, 0).numpy()])[None]


def drawn(rows: Sequence[tuple[str, str, str]], width: int) -> np.ndarray:
    """Draw a table of three columns, the last one grey: (H, width, 3) uint8 on white."""
    strip = Image.new("RGB", (width, LINE * len(rows) + 8), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(LINE - 5)
    for i, row in enumerate(rows):
        for x, word, fill in zip(COLUMNS, row, ("black", "black", "#606060"), strict=True):
            draw.text((x, 4 + i * LINE), word, fill=fill, font=font)
    return np.array(strip)
