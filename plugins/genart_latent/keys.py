"""The keys of a walk: by seed, by a picked cell or picture, or by the latent that a picture was projected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genart import DataError, Images, Run, UsageError, picture_meta
from genart.nn.latent_space import Space
from genart.nn.pictures import picture_files

from ._walk import COURSES, WalkParams

#: Frames per key when nobody says how many keys.
FRAMES_PER_KEY = 16
#: What other stages write beside a seed of theirs: where a photograph was cut out, or the colours of a drawing.
FOREIGN = {"box", "palette", "source"}
#: Pictures that carry their metadata.
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Key(NamedTuple):
    """A latent that a walk passes through.

    Attributes:
        latent: (z_dim,) or (w_dim,).
        space: "z" or "w", where it lies.
        label: name of its class; None for a model without classes.
        meta: what the metadata of frames call it: `{"seed": 7}` or `{"picture": 0}`.
    """

    latent: Tensor
    space: str
    label: str | None
    meta: dict[str, Any]


Record = Mapping[str, Any]


def records(params: WalkParams, run: Run) -> list[Record]:
    """What is known of each key: its seed, or its latent with the space where it lies, and perhaps its class.

    Raises:
        DataError: if the pictures of `keys_from` carry neither seed nor latent.
        UsageError: if a cell does not exist, or one key is given where two are needed.
    """
    if params.keys_from is not None:
        found = _picked(_cells(_metadata(params.keys_from, run)), params.cells, f"{run.stage_id}.cells")
    else:
        found = [{"seed": seed} for seed in params.seeds or _seeds(range(key_count(params)), run)]
    free = params.direction is not None or params.interpolation in COURSES
    if free and len(found) < 3:  # a circle takes up to three latents, of which not all need be given
        alike = {"truncation_psi": found[0].get("truncation_psi", 1.0)}
        found += [{"seed": seed} | alike for seed in _seeds(range(len(found), 3), run)]
    if len(found) < 2:
        raise UsageError(
            f"{run.stage_id}: a walk leads between at least 2 keys, got 1",
            "give more keys, a `direction`, or a circle or noise loop about one",
        )
    return found


def truncation_of(found: Sequence[Record], params: WalkParams, run: Run) -> float:
    """Scale of the latents: as told, or as the pictures of `keys_from` were drawn; where these differ, they are warned of.

    Raises:
        DataError: if a picture tells of a scale that there cannot be.
    """
    if params.keys_from is None:
        return params.truncation_psi or 1.0
    written = [record.get("truncation_psi", 1.0) for record in found if "latent" not in record]
    for i, psi in enumerate(written):
        if not isinstance(psi, int | float) or isinstance(psi, bool) or not 0 < psi <= 2:
            raise DataError(f"{run.stage_id}: picture {i} tells of a truncation_psi of {psi!r}, expected a number above 0, up to 2")
    chosen = params.truncation_psi or float(next(iter(written), 1.0))
    others = sorted({f"{psi:g}" for psi in written if psi != chosen})
    if others:
        run.warn(f"pictures of `keys_from` were drawn with truncation_psi = {', '.join(others)}: with {chosen:g} the walk passes others")
    return chosen


def key_count(params: WalkParams) -> int:
    """As many keys as asked for, or one per so many frames, and one for each class."""
    return int(params.keys or 0) or max(3, round(params.frames / FRAMES_PER_KEY), len(params.classes or ()))


def _seeds(indices: Sequence[int], run: Run) -> list[int]:
    return [run.seed("z", i) for i in indices]


def _metadata(path: Path, run: Run) -> list[Record]:
    """Metadata of the pictures of a stage, a file or a folder."""
    side = run.sides.get(str(path))
    if isinstance(side, Images):
        return [meta for batch in side.settled() for meta in batch.meta]
    files = [file for file in picture_files(path) if file.suffix.lower() in PICTURES]
    if not files:
        raise DataError(
            f"{run.stage_id}.keys_from: {path.name}: no picture in this folder", "save pictures of latent.sample or latent.project there"
        )
    return [_written_in(file, run) for file in files]


def _written_in(file: Path, run: Run) -> Record:
    """The picture's metadata out of a file that genart saved."""
    try:
        return picture_meta(file)
    except DataError as error:
        raise DataError(
            f"{run.stage_id}.keys_from: {file.name} does not tell what it was drawn from: {str(error).partition(': ')[2]}",
            "give a picture that genart saved, with its metadata",
        ) from None


def _cells(metas: Sequence[Record]) -> list[Record]:
    """One record for each cell of a sheet, and for each other picture."""
    found: list[Record] = []
    for meta in metas:
        cells = meta.get("cells")
        found += [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else [meta]
    return found


def _picked(found: list[Record], cells: Sequence[int] | None, where: str) -> list[Record]:
    if cells is None:
        return list(found)
    if max(cells) >= len(found):
        raise UsageError(
            f"{where}: there is no cell {max(cells)}: there are {len(found)}, from 0 to {len(found) - 1}", "count from 0, row by row"
        )
    return [found[cell] for cell in cells]


def lies_in_w(found: Sequence[Record]) -> bool:
    """True if a key is a style rather than a latent."""
    return any(record.get("space") == "w" for record in found)


def keys_of(space: Space, found: Sequence[Record], params: WalkParams, where: str) -> list[Key]:
    """The keys as latents with their classes.

    Raises:
        DataError: if a record is unusable, or a class unknown.
        UsageError: if there are fewer keys than classes.
    """
    if params.classes and len(params.classes) > len(found):
        raise UsageError(f"{where}: {len(params.classes)} classes for {len(found)} keys", "give at least as many keys as classes")
    seed = found[0].get("seed")
    default = space.class_of(seed) if isinstance(seed, int) else space.class_of(0)
    chosen = getattr(params, "class") or default
    keys = []
    for i, record in enumerate(found):
        latent, lies_in = _latent(space, record, i, where)
        name = {"seed": record["seed"]} if "latent" not in record else {"picture": i}
        keys.append(Key(latent, lies_in, _label(space, record, i, params) or chosen, name))
    for key in keys:
        space.kind(key.label)
    return keys


def _label(space: Space, record: Record, i: int, params: WalkParams) -> str | None:
    """The class that a key is given by name, if any: by the parameters, or by the picture that it comes from."""
    if params.classes:
        return str(params.classes[i % len(params.classes)])
    label = record.get("label")
    return label if getattr(params, "class") is None and label in space.classes else None


def _latent(space: Space, record: Record, i: int, where: str) -> tuple[Tensor, str]:
    """Latent of a record and where it lies.

    Raises:
        DataError: if it has none, or one that does not fit the model.
    """
    name, numbers, seed = record.get("space", "z"), record.get("latent"), record.get("seed")
    if numbers is None:
        if "frame" in record or "direction" in record:
            raise DataError(f"{where}: picture {i} lies between keys, and does not tell where", "give its keys by `seeds`")
        if FOREIGN & record.keys():
            raise DataError(
                f"{where}: picture {i} was not drawn by a model: its seed is no latent's",
                "latent.project finds the latent of such a picture",
            )
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
            raise DataError(
                f"{where}: picture {i} has neither seed nor latent", "take pictures of latent.sample, latent.grid or latent.project"
            )
        return space.drawn(seed), "z"
    try:
        latent = torch.tensor(numbers, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        latent = torch.empty(0)
    wanted = int(getattr(space.G, "w_dim", 0)) if name == "w" else space.z_dim
    if name not in ("z", "w") or latent.shape != (wanted,) or not bool(torch.isfinite(latent).all()):
        raise DataError(
            f"{where}: the latent of picture {i} does not fit the model: {tuple(latent.shape)} in {name!r}, expected ({wanted},)",
            "was it projected into another model?",
        )
    return latent, str(name)
