"""Optimisers of pixels whose whole state is tensors and JSON, so that a killed run goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from genart.nn import checkpoint

Evaluate = Callable[[Tensor], tuple[float, Tensor]]
State = tuple[dict[str, Tensor], dict[str, Any]]

#: Mean change of a channel, in [0, 1], that the first step of L-BFGS makes: nothing is known of the curvature then.
FIRST_STEP = 0.01
#: Pairs that L-BFGS takes over from a smaller size.
CARRIED = 5
#: A step that made the loss larger is taken back to this share of itself, so many times at most.
SHORTEN, SHORTENINGS = 0.25, 4


class Optimizer(Protocol):
    """An optimiser of one picture."""

    @property
    def best(self) -> Tensor:
        """The picture so far."""

    def step(self, evaluate: Evaluate) -> float:
        """Evaluate once and move on; returns the loss."""

    def state(self) -> State:
        """Everything needed to go on."""

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take up a state."""

    def carry(self, earlier: Optimizer) -> None:
        """Take over what the optimiser of a smaller picture has learnt, where it is of the same kind."""


class LBFGS:
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4), one evaluation per step.

    Full steps, as is usual for pictures; one that raises the loss is shortened instead of followed, so the loss never rises.

    Args:
        image: (1, 3, H, W), where to begin.
        history: pairs of steps and changes of gradient that are kept.
    """

    def __init__(self, image: Tensor, history: int = 20) -> None:
        self.x = image.clone()
        self.history = history
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.known: tuple[Tensor, Tensor] | None = None  # the best picture and its gradient
        self.loss = float("inf")
        self.shortened = 0

    @property
    def best(self) -> Tensor:
        """The picture with the lowest loss so far."""
        return self.x if self.known is None else self.known[0]

    def step(self, evaluate: Evaluate) -> float:
        """Evaluate the picture proposed, keep or shorten, propose the next; returns the lowest loss so far."""
        loss, gradient = evaluate(self.x)
        if self.known is not None:
            before, gradient_before = self.known
            if not loss <= self.loss and self.shortened < SHORTENINGS:  # also NaN
                self.shortened += 1
                self.x = before + SHORTEN * (self.x - before)
                return self.loss
            if not loss <= self.loss:  # the model of the curvature is no good here: begin anew from the best
                self.steps, self.changes, self.shortened = [], [], 0
                self.x = before + self._propose(gradient_before)
                return self.loss
            self._remember(self.x - before, gradient - gradient_before)
        self.known, self.loss, self.shortened = (self.x, gradient), loss, 0
        self.x = self.x + self._propose(gradient)
        return loss

    def carry(self, earlier: Optimizer) -> None:
        """Take over the newest pairs, enlarged: as many as give the first step here its length and direction.

        The loss is made of means over positions, so a pixel's share of its gradient falls as the pixels become more.
        """
        if not isinstance(earlier, LBFGS):
            return
        size = (self.x.shape[2], self.x.shape[3])
        for step, change in zip(earlier.steps[-CARRIED:], earlier.changes[-CARRIED:], strict=True):
            share = step.shape[2] * step.shape[3] / (size[0] * size[1])
            self._remember(_resized(step, size), _resized(change, size) * share)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        """Keep a pair if the curvature along it is positive."""
        if float(_dot(step, change)) > 1e-10 * float(_dot(change, change)):
            self.steps = [*self.steps, step][-self.history :]
            self.changes = [*self.changes, change][-self.history :]

    def _propose(self, gradient: Tensor) -> Tensor:
        """Two loops over the history: minus the inverse Hessian's estimate times the gradient."""
        if not self.steps:
            return gradient * (-FIRST_STEP / max(float(gradient.abs().mean()), 1e-30))
        q = -gradient
        scales = [1 / _dot(s, y) for s, y in zip(self.steps, self.changes, strict=True)]
        along: list[Tensor] = []
        for s, y, rho in zip(reversed(self.steps), reversed(self.changes), reversed(scales), strict=True):
            along.append(rho * _dot(s, q))
            q = q - along[-1] * y
        q = q * (_dot(self.steps[-1], self.changes[-1]) / _dot(self.changes[-1], self.changes[-1]))
        for s, y, rho, a in zip(self.steps, self.changes, scales, reversed(along), strict=True):
            q = q + (a - rho * _dot(y, q)) * s
        return q

    def state(self) -> State:
        """Everything needed to go on."""
        tensors = (
            {"x": self.x} | {f"step/{i}": s for i, s in enumerate(self.steps)} | {f"change/{i}": y for i, y in enumerate(self.changes)}
        )
        if self.known is not None:
            tensors |= {"best": self.known[0], "gradient": self.known[1]}
        known = self.known is not None
        return tensors, {"pairs": len(self.steps), "loss": self.loss if known else None, "shortened": self.shortened}

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take up a state."""
        self.x = tensors["x"]
        self.steps = [tensors[f"step/{i}"] for i in range(scalars["pairs"])]
        self.changes = [tensors[f"change/{i}"] for i in range(scalars["pairs"])]
        self.shortened = scalars["shortened"]
        if scalars["loss"] is not None:
            self.known, self.loss = (tensors["best"], tensors["gradient"]), scalars["loss"]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


class Adam:
    """Adam (Kingma & Ba 2015) on pixels in [0, 1], which are held in range after every step.

    Args:
        image: (1, 3, H, W), where to begin.
        lr: learning rate.
    """

    def __init__(self, image: Tensor, lr: float) -> None:
        self.x = image.clone()
        self.adam = torch.optim.Adam([self.x], lr, betas=(0.9, 0.99))

    @property
    def best(self) -> Tensor:
        """The picture so far."""
        return self.x

    def step(self, evaluate: Evaluate) -> float:
        """Evaluate and take one step; returns the loss before it."""
        loss, self.x.grad = evaluate(self.x)
        self.adam.step()
        with torch.no_grad():
            self.x.clamp_(0, 1)
        return loss

    def state(self) -> State:
        """Everything needed to go on."""
        return checkpoint.pack({"x": self.x, "adam": self.adam})

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take up a state."""
        checkpoint.unpack({"x": self.x, "adam": self.adam}, tensors, scalars)

    def carry(self, earlier: Optimizer) -> None:
        """Take over the moments of a smaller picture, so that a new size doesn't begin with a jump."""
        if not isinstance(earlier, Adam):
            return
        moments = earlier.adam.state[earlier.x]
        if moments:
            size = tuple(self.x.shape[2:])
            resized = {name: _resized(moments[name], size) for name in ("exp_avg", "exp_avg_sq")}
            self.adam.state[self.x] = {"step": moments["step"].clone()} | resized


def _resized(moment: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(moment, size=size, mode="bilinear", align_corners=False)
