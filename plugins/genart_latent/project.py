"""latent.project: a latent for each picture, by the family's encoder or by optimisation, resumed exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genart import Batch, DataError, DivergedError, Images, Run
from genart.nn import budget
from genart.nn.checkpoint import Part, pack, unpack
from genart.nn.data import over_white, square
from genart.nn.images import to_signed, to_unit
from genart.nn.latent_directions import styles
from genart.nn.latent_project import Projection, best_starts, perceptual_distance
from genart.nn.latent_space import Space

from ._project import ProjectParams
from .draw import open_space

#: Iterations when neither they nor a budget are given.
ITERATIONS = 200


def project(images: Images, params: ProjectParams, run: Run) -> Iterator[Batch]:
    """Yield what the model draws for each picture, with its latent; see the stage.

    Raises:
        DataError: if a space or class is asked for that the model has not.
    """
    began = time.monotonic()
    model = run.open_model(params.model)
    space = open_space(model, run)
    if params.space == "w" or (params.space is None and space.styled):
        space = Space(model, space.G, run.device, "w")
    space.kind(getattr(params, "class"))  # refuses one that the model does not know
    count = images.count if images.count is not None else len(images)
    run.expect(count, images.fps)
    projector = Encoding(space) if hasattr(space.G, "encode") else Optimising(space, params, run, count, began)
    for batch in images.batches(1):
        array = over_white(batch.array) if batch.array.shape[3] == 4 else np.array(batch.array)  # what is stored is read-only
        target = torch.from_numpy(square(array, int(model.header["resolution"]))).permute(0, 3, 1, 2).to(run.device)
        label = getattr(params, "class") or (known if (known := batch.meta[0].get("label")) in space.classes else None)
        latent, kind, about = projector.find(target, label, batch.index[0])
        name = {} if kind is None else {"label": space.classes[int(kind.argmax())]}
        kept = {key: value for key, value in batch.meta[0].items() if key in ("source", "name")}
        meta = kept | about | name | {"latent": [float(number) for number in latent], "space": space.name}
        yield Batch(space.pictures([latent], [kind]).cpu(), [meta], start=batch.start)


class Encoding:
    """Latents by the family's encoder.

    Args:
        space: of the model.
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    @torch.no_grad()
    def find(self, target: Tensor, label: str | None, index: int) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Latent, class and nothing further of a picture (1, 3, R, R) uint8."""
        known = None if label is None else self.space.classes.index(label)
        noise, labels = self.space.G.encode(to_signed(target), [known])
        kind = None if labels is None else self.space.kind(self.space.classes[int(labels[0])])
        return noise[0].cpu(), kind, {}


class Optimising:
    """Latents by optimisation.

    Args:
        space: of the model.
        params: of the stage.
        run: backbone, checkpoints, choices, progress.
        count: number of pictures, among which the budget is divided.
        began: `time.monotonic()` at the start of the stage.
    """

    def __init__(self, space: Space, params: ProjectParams, run: Run, count: int, began: float) -> None:
        self.space, self.params, self.run, self.count, self.began = space, params, run, max(1, count), began
        self.budget_sec = params.budget if params.iterations is None else None
        self.backbone = run.backbone(params.backbone)
        self.spread = styles(space).std(0).clamp(min=1e-3).to(space.device) if space.name == "w" else None

    def find(self, target: Tensor, label: str | None, index: int) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Latent, class and distance of a picture (1, 3, R, R) uint8.

        Raises:
            DivergedError: if the distance is not finite.
            Interrupted: after Ctrl-C, when the step is finished and everything is saved.
        """
        since = time.monotonic()
        distance = perceptual_distance(self.backbone, to_unit(target))
        starts = best_starts(self.space, distance, self.params.starts, label, self.run.generator("starts", index))
        work = Projection(self.space, distance, starts, self.params.lr, self.spread)
        total = self._iterations(Projection(self.space, distance, starts, self.params.lr, self.spread), since)
        self.run.apart(1)
        self._optimise(work, index, total)
        latent, kind, nearest = work.result()
        return latent, kind, {"distance": round(nearest, 6)}

    def _optimise(self, work: Projection, index: int, total: int) -> None:
        """Go on with a picture until its iterations are done, or its share of the time; where it ended once it ends again."""
        name = f"iterations of picture {index}, done"
        before, deadline = self.run.choices.get(name), self._deadline(index)
        iteration = self._resume(work, index)
        while iteration < (total if before is None else before):
            if before is None and iteration and time.monotonic() > deadline:
                break
            nearest = work.step(iteration / total)
            if nearest != nearest or nearest == float("inf"):
                raise DivergedError(f"{self.run.stage_id}: the distance is no longer finite", "lower `lr`")
            iteration += 1
            self.run.progress(index + iteration / total, self.count)
            if self.run.stopping or self.run.checkpoints.due():
                self._save(work, index, iteration)
                self.run.check()
        if self.budget_sec is not None:
            self.run.choose(name, lambda: iteration)

    def _deadline(self, index: int) -> float:
        """When a picture has to be done: those that are left have equal shares of what is left of the time for all since `run.start`."""
        if self.budget_sec is None:
            return math.inf
        now, mine = time.monotonic(), (self.count - self.run.start) / self.count
        return float(now + (budget.DEADLINE * self.budget_sec * mine - (now - self.began)) / (self.count - index))

    def _iterations(self, trial: Projection, since: float) -> int:
        """Iterations of each picture: as told, or as many as the budget is enough for, which is remembered.

        Args:
            trial: what is measured.
            since: when the search for this picture's starts began.

        Raises:
            DataError: if the budget is too small for one.
        """
        if self.budget_sec is None:
            return self.params.iterations or ITERATIONS
        seconds, searching = self.budget_sec, time.monotonic() - since

        def affordable() -> int:
            each = budget.seconds_per_call(lambda: trial.step(0.0), self.run.device, 0.02 * seconds)
            left = budget.PLANNED * seconds - (time.monotonic() - self.began) - searching * (self.count - 1)  # each looks for its starts
            if left < each * self.count:
                raise DataError(
                    f"{self.run.stage_id}: a budget of {seconds:.3g} s is too small for {self.count} pictures", "give a longer `budget`"
                )
            return int(left / each / self.count)

        return int(self.run.choose("iterations", affordable))

    def _save(self, work: Projection, index: int, iteration: int) -> None:
        tensors, state = pack(_parts(work))
        self.run.checkpoints.save(tensors, {"picture": index, "iteration": iteration, "parts": state})

    def _resume(self, work: Projection, index: int) -> int:
        """Take up this picture's checkpoint, if there is one; returns the iterations that are done."""
        saved = self.run.checkpoints.load()
        if saved is None or saved[1]["picture"] != index:
            return 0
        unpack(_parts(work), saved[0], saved[1]["parts"])
        return int(saved[1]["iteration"])


def _parts(work: Projection) -> dict[str, Part]:
    """What the rest of a projection follows from."""
    return {"points": work.points.detach(), "best": work.best, "found": work.found, "adam": work.optimizer}
