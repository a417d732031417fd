"""The photographs inside the scikit-image wheel, by the names that recipes use. Light: a table, its check, and where the files are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genart.errors import StageError, did_you_mean

#: name -> file in skimage/data
COLOUR = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
#: greyscale ones, and a drawing
OTHERS = {
    "brick": "brick.png",
    "camera": "camera.png",
    "cell": "cell.png",
    "clock": "clock_motion.png",
    "coins": "coins.png",
    "colour_wheel": "color.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "page": "page.png",
    "text": "text.png",
}
FILES = COLOUR | OTHERS
#: scikit-image's own names, understood too
ALIASES = {"chelsea": "cat", "color": "colour_wheel", "hubble_deep_field": "hubble", "ihc": "tissue", "motorcycle_left": "motorcycle"}


def read_names(value: Any) -> Any:
    """Read one name or a list of names as a list of the table's names.

    Raises:
        ValueError: for a name that is not in the table, or an empty list.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return value
    if not names:
        raise ValueError("expected at least one photograph")
    return tuple(_read_name(name) for name in names)


def _read_name(name: str) -> str:
    name = ALIASES.get(name, name)
    if name not in FILES:
        raise ValueError(f"no photograph '{name}'{did_you_mean(name, [*FILES, *ALIASES])} (there are {', '.join(FILES)})")
    return name


def data_folder() -> Path:
    """Folder of the photographs in the installed scikit-image; nothing of it is imported.

    Raises:
        StageError: if scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise StageError("scikit-image is not installed, and its photographs are asked for", "pip install scikit-image")
    return Path(spec.origin).parent / "data"
