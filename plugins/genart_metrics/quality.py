"""metrics.quality: the numbers of generated pictures, and a sheet with those that are nearest to a training picture."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
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
    gen, real = FromStage(images, params.count, size), training_pictures(params, run, size)
    check_enough("generated", gen.count, params, run)
    seen = Seen(run.backbone(params.features), embedding, run, real.count + gen.count)
    real_features = seen.features(real.read())
    check_enough("training", len(real_features), params, run)
    gen_features = seen.features(gen.read())
    warn_of_few(min(len(real_features), len(gen_features)), run)
    measured = measure(real_features, gen_features, params.k)
    run.metric(**asdict(measured))
    run.note(", ".join(f"{name} {number}" for name, number, _ in measured.table()))
    share, index = metrics.closeness(gen_features, real_features)
    order = share.argsort(stable=True)[:PAIRS].tolist()
    counts = {"pictures": len(gen_features), "real": len(real_features)}
    about: dict[str, Any] = {**counts, "features": params.features, "k": params.k, **asdict(measured)}
    about["nearest"] = [
        {"picture": gen.names[i], "real": real.names[int(index[i])], "closeness": round(min(float(share[i]), 1e6), 4)} for i in order
    ]
    pairs = torch.stack([gen.again(order), real.again(index[order].tolist())], 1).flatten(0, 1)
    yield Batch.from_array(sheet(measured, pairs, *counts.values()), [about])


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

    def features(self, pictures: Iterable[Tensor]) -> Tensor:
        """Features of pictures that come in parts, (n, 3, H, W) uint8: (N, D). Only one batch of them is held."""
        parts, single = [], (picture for part in pictures for picture in part)
        while held := list(islice(single, BATCH)):
            images = to_unit(torch.stack(held).to(self.run.device))
            parts.append(metrics.embed(self.backbone, images, batch_size=BATCH, embedding=self.embedding))
            self.done += len(held)
            self.run.progress(self.done, self.total)
            self.run.check()
        return torch.cat(parts)


# the pictures


def check_enough(side: str, found: int, params: QualityParams, run: Run) -> None:
    """Refuse too few pictures of a side, "training" or "generated".

    Raises:
        DataError: if it has no more than k.
    """
    least = max(3, params.k + 1)
    if found < least:
        raise DataError(
            f"{run.stage_id}: {found} {side} picture{'s' * (found != 1)}, and k = {params.k} needs at least {least}",
            "give more pictures, or a smaller `k`" if found > 1 else "give more pictures",
        )


def warn_of_few(found: int, run: Run) -> None:
    """Warn of numbers that are measured from few pictures."""
    if found < FEW:
        run.warn(f"{found} pictures are few: take the numbers as a hint, above all the Fréchet distance, which is too large then")


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


class Pictures(ABC):
    """One side of the comparison, read as it is looked at rather than held.

    Attributes:
        count: of pictures that are compared, if all can be read.
        names: one for each that was read.
    """

    count: int
    names: list[str]

    @abstractmethod
    def read(self) -> Iterator[Tensor]:
        """Yield all, transparency over white, in parts: (n, 3, *size) uint8."""

    @abstractmethod
    def again(self, chosen: Sequence[int]) -> Tensor:
        """Read some of those that were read again, by their numbers: (P, 3, *size) uint8."""


class FromStage(Pictures):
    """At most `count` pictures of a stage, evenly spread."""

    def __init__(self, images: Images, count: int, size: Size) -> None:
        self.images, self.size = images.settled(), size
        self.places = spread_over(len(images), count)
        self.count, self.names = len(self.places), []

    def read(self) -> Iterator[Tensor]:
        """Yield all in parts."""
        wanted = set(self.places)
        for batch in self.images:
            chosen = [i for i in range(len(batch)) if batch.start + i in wanted]
            if chosen:
                self.names += [str(batch.meta[i].get("source", f"picture {batch.start + i + 1}")) for i in chosen]
                yield self._covering(batch.array[chosen])

    def again(self, chosen: Sequence[int]) -> Tensor:
        """Read some again."""
        return torch.cat([self._covering(self.images[self.places[i]].array) for i in chosen])

    def _covering(self, array: np.ndarray) -> Tensor:
        return covering(over_white(array) if array.shape[3] == 4 else array, self.size)


class FromFolder(Pictures):
    """At most `count` pictures of a folder, evenly spread; what cannot be read is skipped."""

    def __init__(self, params: QualityParams, run: Run, size: Size) -> None:
        self.folder, self.run, self.size = params.real, run, size
        files = picture_files(params.real)
        self.files = [files[i] for i in spread_over(len(files), params.count)]
        self.count, self.names, self.found = len(self.files), [], list[Path]()

    def read(self) -> Iterator[Tensor]:
        """Yield all, each by itself.

        Raises:
            DataError: if none can be read.
        """
        skipped = []
        for file in self.files:
            try:
                picture = self._decoded(file)
            except Unreadable as error:
                skipped.append(f"{file.name} ({error})")
                continue
            self.found.append(file)
            self.names.append(file.name)
            yield picture
        if not self.found:
            raise DataError(
                f"{self.run.stage_id}.real: {self.folder.name}: none can be read, such as {skipped[0]}",
                "it reads PNG, JPEG, WebP, GIF, BMP and TIFF, or takes a stage's id",
            )
        if skipped:
            self.run.warn(f"skipped {len(skipped)} of the training pictures, such as {skipped[0]}")

    def again(self, chosen: Sequence[int]) -> Tensor:
        """Read some again.

        Raises:
            DataError: if one was changed meanwhile.
        """
        try:
            return torch.cat([self._decoded(self.found[i]) for i in chosen])
        except Unreadable as error:
            raise DataError(f"{self.run.stage_id}.real: a training picture was changed while it was compared: {error}") from error

    def _decoded(self, file: Path) -> Tensor:
        try:
            array = np.asarray(decode(file, Want((self.size[1], self.size[0]))))
        except Unread as error:
            raise error.named(file.name) from error
        return torch.from_numpy(array.copy()).permute(2, 0, 1)[None]


def training_pictures(params: QualityParams, run: Run, size: Size) -> Pictures:
    """Those of a stage or a folder."""
    side = run.sides.get(str(params.real))
    return FromStage(side, params.count, size) if isinstance(side, Images) else FromFolder(params, run, size)


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
