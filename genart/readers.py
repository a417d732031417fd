"""What `genart apply -i` reads: stages of no family, brought in for one run beside those of the plugins that read pictures and films."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from . import __version__
from .artifacts import Batch, Model
from .errors import DataError, UsageError
from .formats import ARCHIVES
from .params import InputPath, Params
from .plugins import Plugin, Plugins
from .run import Run
from .stages import Stage, stage
from .streams import PNG, Y4M, Bytes, nothing_in, read_pictures

#: What is read as a film, where a plugin can, as a model, and as a stream of pictures; all else are pictures.
FILMS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif", ".apng")
MODEL, STREAMS = ".safetensors", (".y4m", ".pngs")
READS_PICTURES, READS_ARCHIVE, READS_FILM = "images.folder", "images.archive", "images.video"
READS_MODEL, READS_STREAM = "apply.model", "apply.stream"
#: A safetensors file begins with 8 bytes of a length and then with JSON.
MODEL_HEAD = 9


class ModelParams(Params):
    """Parameters of `apply.model`."""

    path: InputPath = Field(description="A .safetensors file that genart saved.")


@stage(READS_MODEL)
def open_model(_: None, params: ModelParams, run: Run) -> Model:
    """Bring a model file into the store, where stages find their inputs."""
    return run.adopt_model(params.path)


class StreamParams(Params):
    """Parameters of `apply.stream`."""

    path: InputPath | None = Field(None, description="PNGs one after another in one file, or Y4M; none for what comes through a pipe.")


@stage(READS_STREAM, depends=("pillow", "av"))
def open_stream(_: None, params: StreamParams, run: Run) -> Iterator[Batch]:
    """Read a stream of pictures that lies in a file.

    Raises:
        DataError: if they came through a pipe, which keeps nothing.
    """
    if params.path is None:
        raise DataError("the pictures came through a pipe, and were not kept")
    with open(params.path, "rb") as file:
        pictures = read_pictures(Bytes(file.read, params.path.stem), run.warn)
        run.expect(pictures.count, pictures.fps)
        for note in pictures.notes:
            run.note(note)
        yield from pictures.batches


#: These stages by name.
OURS: dict[str, Stage] = {READS_MODEL: open_model, READS_STREAM: open_stream}


def bring_in(plugins: Plugins) -> None:
    """Make these stages known to a run.

    Raises:
        UsageError: if a plugin has taken their family's name.
    """
    module = sys.modules[__name__]
    ours = Plugin("apply", "genart", __version__, module=module, stages=OURS)
    if plugins.plugins.setdefault("apply", ours).module is not module:
        raise UsageError("-i: a plugin 'apply' is in the way of reading models and streams", "rename the plugin")


def reader(path: Path, plugins: Plugins) -> Stage:
    """The stage that reads a file or folder."""
    suffix = path.suffix.lower()
    if path.is_file() and (suffix == MODEL or suffix in STREAMS):
        bring_in(plugins)
        return open_model if suffix == MODEL else open_stream
    if path.is_file() and suffix in FILMS + ARCHIVES:
        try:
            return plugins.stage(READS_FILM if suffix in FILMS else READS_ARCHIVE)
        except UsageError:  # no plugin reads films; of a GIF the first frame is a picture
            return plugins.stage(READS_PICTURES)
    return plugins.stage(READS_PICTURES)


def is_transparent(path: Path) -> bool:
    """True if a file is a picture with transparency, as its header says; one that can't be read is left for its reader to refuse."""
    from .nn.pictures import Unreadable, header

    try:
        return header(path).transparent
    except Unreadable:
        return False


def keep(source: Bytes, folder: Path) -> Path:
    """Write what comes through a pipe into a file whose name says how it is read.

    Raises:
        DataError: if it is neither pictures nor a model.
    """
    head = source.peek(MODEL_HEAD)
    if not head:
        raise nothing_in(source)
    if head.startswith((Y4M, PNG)):
        suffix = STREAMS[0] if head.startswith(Y4M) else STREAMS[1]
    elif head[8:] == b"{":
        suffix = MODEL
    else:
        raise DataError(f"{source.name} is neither PNG, Y4M nor a model", "other pictures and films are read from files: -i PATH")
    path = folder / f"{source.name}{suffix}"
    with open(path, "wb") as file:
        source.copy_to(file)
    return path
