"""Hertzmann's four manners of painting, by the names that he gave them."""

from __future__ import annotations

from typing import Any

#: Name -> what `strokes.Manner` takes, but for the relief; the figures are those of the paper's section 3.
MANNERS: dict[str, dict[str, Any]] = {
    "impressionist": {
        "brushes": (8.0, 4.0, 2.0),
        "threshold": 100 / 255,
        "curvature": 1.0,
        "blur": 0.5,
        "spacing": 1.0,
        "shortest": 4,
        "longest": 16,
        "opacity": 1.0,
        "jitter": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    },
    "expressionist": {
        "brushes": (8.0, 4.0, 2.0),
        "threshold": 50 / 255,
        "curvature": 0.25,
        "blur": 0.5,
        "spacing": 1.0,
        "shortest": 10,
        "longest": 16,
        "opacity": 0.7,
        "jitter": (0.0, 0.0, 0.5, 0.0, 0.0, 0.0),
    },
    "wash": {
        "brushes": (8.0, 4.0, 2.0),
        "threshold": 200 / 255,
        "curvature": 1.0,
        "blur": 0.5,
        "spacing": 1.0,
        "shortest": 4,
        "longest": 16,
        "opacity": 0.5,
        "jitter": (0.0, 0.0, 0.0, 0.3, 0.3, 0.3),
    },
    "pointillist": {
        "brushes": (4.0, 2.0),
        "threshold": 100 / 255,
        "curvature": 1.0,
        "blur": 0.5,
        "spacing": 0.5,
        "shortest": 0,
        "longest": 0,
        "opacity": 1.0,
        "jitter": (0.3, 0.0, 1.0, 0.0, 0.0, 0.0),
    },
}
