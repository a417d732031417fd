"""genart: a plugin-based generative-art pipeline for the command line.

Importing this package loads nothing; each public name is imported from its module when it is first used (PEP 562), which is
what lets `genart --help` start at the speed of its command-line library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts import Artifact, Batch, Images, Meta, Model, Video
    from .errors import (
        BusyError,
        DataError,
        DivergedError,
        GenartError,
        Interrupted,
        RefusedError,
        ResourceError,
        StageError,
        UsageError,
        did_you_mean,
    )
    from .formats import FilmWriter, PictureFormat, PictureReader
    from .hookspecs import PLUGIN_API, hookimpl
    from .params import BackboneName, Duration, FilmName, InputPath, LossName, ModelInput, Params, PictureInput, StatisticName
    from .provenance import picture_meta
    from .run import Run
    from .stages import Needs, Pieces, Stage, stage

__version__ = "0.1.0"

_HOMES = {
    "artifacts": ("Artifact", "Batch", "Images", "Meta", "Model", "Video"),
    "errors": (
        "BusyError",
        "DataError",
        "DivergedError",
        "GenartError",
        "Interrupted",
        "RefusedError",
        "ResourceError",
        "StageError",
        "UsageError",
        "did_you_mean",
    ),
    "formats": ("FilmWriter", "PictureFormat", "PictureReader"),
    "hookspecs": ("PLUGIN_API", "hookimpl"),
    "params": ("BackboneName", "Duration", "FilmName", "InputPath", "LossName", "ModelInput", "Params", "PictureInput", "StatisticName"),
    "provenance": ("picture_meta",),
    "run": ("Run",),
    "stages": ("Needs", "Pieces", "Stage", "stage"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PLUGIN_API",
    "Artifact",
    "BackboneName",
    "Batch",
    "BusyError",
    "DataError",
    "DivergedError",
    "Duration",
    "FilmName",
    "FilmWriter",
    "GenartError",
    "Images",
    "InputPath",
    "Interrupted",
    "LossName",
    "Meta",
    "Model",
    "ModelInput",
    "Needs",
    "Params",
    "PictureFormat",
    "PictureInput",
    "PictureReader",
    "Pieces",
    "RefusedError",
    "ResourceError",
    "Run",
    "Stage",
    "StageError",
    "StatisticName",
    "UsageError",
    "Video",
    "__version__",
    "did_you_mean",
    "hookimpl",
    "picture_meta",
    "stage",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'genart' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
