"""genart: a plugin-based generative-art pipeline for the command line. Importing this package loads nothing heavy."""

from .artifacts import Artifact, Batch, Images, Model, Video
from .errors import BusyError, DataError, DivergedError, GenartError, Interrupted, RefusedError, ResourceError, StageError, UsageError
from .hookspecs import PLUGIN_API, hookimpl
from .params import Duration, InputPath, Params
from .run import Run
from .stage import Stage, stage

__version__ = "0.1.0"

__all__ = [
    "PLUGIN_API",
    "Artifact",
    "Batch",
    "BusyError",
    "DataError",
    "DivergedError",
    "Duration",
    "GenartError",
    "Images",
    "InputPath",
    "Interrupted",
    "Model",
    "Params",
    "RefusedError",
    "ResourceError",
    "Run",
    "Stage",
    "StageError",
    "UsageError",
    "Video",
    "__version__",
    "hookimpl",
    "stage",
]
