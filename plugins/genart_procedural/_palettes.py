"""Named palettes: light enough to be read by whoever only lists or checks."""

from __future__ import annotations

#: Name -> colours from the ground, which shows between the others, to the one farthest from it in lightness.
PALETTES: dict[str, tuple[str, ...]] = {
    "abyss": ("#07141f", "#0e3247", "#156273", "#2fa190", "#9bd8a8", "#f4f0c8"),
    "bauhaus": ("#f3ebd9", "#eab54d", "#dd6b3d", "#c4342d", "#1f5490", "#1b1c22"),
    "dune": ("#f6ecdb", "#ebc79f", "#dc9060", "#b8553d", "#70302f", "#2a2a33"),
    "ember": ("#150f17", "#3d1530", "#80203f", "#ca443a", "#f08b4b", "#fad695"),
    "harbour": ("#f4f0e6", "#e3cfa2", "#e2734a", "#7fb0ac", "#2f7389", "#14304a"),
    "ink": ("#f5f2ea", "#d3ccbf", "#b8372f", "#8f8a82", "#55524d", "#1c1b1c"),
    "kelp": ("#f1f1e2", "#ccd79f", "#84a967", "#3d7d5e", "#1d5054", "#0f2a35"),
    "meadow": ("#fcf6e3", "#f4d47c", "#e79d5b", "#9fb163", "#4f8464", "#25485b"),
    "nocturne": ("#10131f", "#28315a", "#5f5f96", "#b48ca6", "#f1b89c", "#fce9c8"),
    "orchid": ("#f9f0f0", "#f3c6c6", "#dc8aa4", "#975b95", "#503c76", "#211f40"),
    "porcelain": ("#f6f4ed", "#cbd9e1", "#88a9c8", "#3e6ca8", "#1f3e7b", "#0f1839"),
    "riso": ("#f8f2e6", "#f6c453", "#ff7a66", "#e0466b", "#2b8c8c", "#22365a"),
}
