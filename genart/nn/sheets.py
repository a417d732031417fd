"""The curves of a training as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from .images import to_unit

#: Panels from top to bottom: title, and the numbers that are drawn in it where the history has them.
PANELS = (
    ("loss", ("loss_D", "loss_G", "loss_rec", "loss_kl")),
    ("share", ("diversity", "recall", "won", "skipped", "augment_p")),
    ("KID", ("kid",)),
)
SIZE_INCHES, DPI = (9.6, 7.2), 100


def plot(history: Sequence[Mapping[str, float]], acts: Sequence[Mapping[str, Any]] = ()) -> Tensor:
    """Draw losses, shares and quality over the images seen, and the watchdog's acts as labelled lines.

    Args:
        history: entries with `kimg` and numbers by name.
        acts: entries with nimg, trouble and act.

    Returns:
        (1, 3, 720, 960) float32 in [0, 1].
    """
    panels = [(title, names) for title, names in PANELS if any(name in entry for entry in history for name in names)] or [PANELS[0]]
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, names) in zip(axes, panels, strict=True):
        _panel(axis, title, names, history)
        for act in acts:
            axis.axvline(act["nimg"] / 1000, color="tab:red", linewidth=1, linestyle=":")
    for act in acts:
        label = f"{act['trouble']}: {act['act']}"
        axes[0].annotate(label, (act["nimg"] / 1000, 1), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right", fontsize=8)
    axes[-1].set_xlabel("images seen, in thousands (kimg)")
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return to_unit(torch.from_numpy(pixels).permute(2, 0, 1)[None])


def _panel(axis: Axes, title: str, names: Sequence[str], history: Sequence[Mapping[str, float]]) -> None:
    drawn = False
    for name in names:
        points = [(entry["kimg"], entry[name]) for entry in history if name in entry]
        if points:
            drawn = True
            axis.plot(*zip(*points, strict=True), label=name, linewidth=1.3, marker="o" if len(points) < 30 else None, markersize=3)
    axis.set_ylabel(title)
    axis.grid(visible=True, alpha=0.3)
    if drawn:
        axis.legend(loc="upper right", fontsize=8)
