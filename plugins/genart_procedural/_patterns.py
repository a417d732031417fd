"""Named patterns of the Gray-Scott model."""

from __future__ import annotations

#: Name -> feed rate F and kill rate k.
PATTERNS: dict[str, tuple[float, float]] = {
    "amoebas": (0.014, 0.05),
    "coral": (0.0545, 0.062),
    "fingerprint": (0.037, 0.06),
    "holes": (0.039, 0.058),
    "leopard": (0.022, 0.051),
    "maze": (0.029, 0.057),
    "mitosis": (0.0367, 0.0649),
    "roots": (0.062, 0.061),
    "spots": (0.03, 0.0625),
    "worms": (0.058, 0.065),
    "zebra": (0.026, 0.055),
}
