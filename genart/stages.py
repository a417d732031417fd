"""A stage: a function `(input, params, run) -> output` under a name `family.verb`, and the decorator that declares it."""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from .artifacts import KINDS, Artifact, Images, Kind, Video
from .params import NoParams, Params

OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]*")
STAGE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_-]*)?")
_KINDS: dict[Any, Kind] = {of: kind for kind, of in KINDS.items()}

StageFunction = Callable[..., Any]


@dataclass(frozen=True)
class Needs:
    """What a task of a stage asks a cluster for.

    Attributes:
        cpus: cores, which are also the threads that it computes with; of a machine with fewer, all.
        gpus: where the device is a GPU; a fraction shares one. 0 is for stages that compute on the CPU alone: their `run.device` is "cpu",
            on one machine too. A stage that does not say may use the device, and gets one.
        memory_bytes: memory; 0 asks for none.
        processes: how many of such processes a task takes. No stage asks for more than one; `--data-parallel` does for trainings.
    """

    cpus: int = 1
    gpus: float = 1.0
    memory_bytes: int = 0
    processes: int = 1


class Operation(Protocol):
    """Something that parameters of a stage name, and that has parameters of its own."""

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""

    @property
    def model(self) -> type[BaseModel]:
        """Its parameters."""


class Pieces(Protocol):
    """How a film is made in pieces by several workers, each of some of its frames, to the bytes that one process makes of it."""

    @property
    def size(self) -> int:
        """Frames of a piece; the last one may have fewer."""

    def applies(self, params: Any) -> bool:
        """True if a film with these parameters can be made so."""

    def count(self, images: Images, params: Any, run: Any) -> int:
        """How many frames the film has."""

    def make(self, images: Images, params: Any, run: Any, frames: range, path: Path) -> None:
        """Make the pieces of some frames, which begin and, but for the film's end, stop at multiples of `size`.

        Args:
            images: what the stage reads, all of it.
            params: of the stage.
            run: of the stage; `run.progress` counts from the film's beginning.
            frames: which.
            path: file for what is made.
        """

    def join(self, paths: Sequence[Path], params: Any, run: Any) -> Video:
        """Put the pieces together, which are files that `make` wrote, in order."""


@dataclass(frozen=True)
class Stage:
    """One kind of step that a recipe can name.

    Attributes:
        name: `family.verb`; the family is the name of the entry point that brought it.
        function: called with (input, params, run).
        takes: kind of the input, or None for a stage that starts a chain.
        gives: kind of each output by name; `output` is the main one.
        params: model of its parameters.
        random: it draws random numbers, so the seed is part of its identity.
        pointwise: picture i of its output depends on picture i of its input, on i, on the parameters and on the seed alone
            (for a source or a walk: on i, the parameters and the seed), so that a killed run goes on at the picture where it stopped.
        light: a picture is so little work that threads sharing it would wait for each other: in a pipe one core makes it.
        depends: distributions whose version is part of its identity.
        streams: it is a generator of batches.
        needs: what one of its tasks asks a cluster for.
        data_parallel: its training can be shared by several processes, as `genart.nn.family.train` does.
        operations: gives what its parameters name, by name, for `genart stages`; None where they name nothing of the kind.
        pieces: gives what makes its film in pieces; None where it is made at once.
    """

    name: str
    function: StageFunction
    takes: Kind | None
    gives: Mapping[str, Kind]
    params: type[Params] = NoParams
    random: bool = False
    pointwise: bool = False
    light: bool = False
    depends: tuple[str, ...] = ()
    streams: bool = field(default=False)
    needs: Needs = Needs()
    data_parallel: bool = False
    operations: Callable[[], Mapping[str, Operation]] | None = None
    pieces: Callable[[], Pieces] | None = None

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def doc(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.function) or ""

    def __call__(self, given: Artifact | None, params: Params, run: Any) -> Any:
        """Call the stage's function."""
        return self.function(given, params, run)


def stage(
    name: str,
    *,
    outputs: Mapping[str, type] | None = None,
    random: bool = False,
    pointwise: bool = False,
    light: bool = False,
    depends: tuple[str, ...] = (),
    needs: Needs = Needs(),
    data_parallel: bool = False,
    operations: Callable[[], Mapping[str, Operation]] | None = None,
    pieces: Callable[[], Pieces] | None = None,
) -> Callable[[StageFunction], Stage]:
    """Declare a function as a stage. Kinds and parameters are read off its annotations.

    The function is `(input: Images | Model | Video | None, params: SomeParams, run: Run) -> Images | Model | Video`.
    One that yields batches is annotated `-> Iterator[Batch]` and gives Images.

    Args:
        name: `family.verb`, or just `family`.
        outputs: further outputs by name, all of them pictures that go through `run.sink`, such as `{"progress": Images}`.
        random: it draws random numbers (`run.generator` and `run.seed` refuse otherwise).
        pointwise: each picture depends on its own index and input picture alone.
        light: a picture is little work; see `Stage`.
        depends: distributions whose version belongs to the stage's identity, such as `("scikit-image",)`.
        needs: what one of its tasks asks a cluster for.
        data_parallel: it trains by `genart.nn.family.train`, and so can be shared by several processes.
        operations: gives what its parameters name, by name, each with a `summary` and a `model`, the pydantic model of its own parameters.
        pieces: gives what makes its film in pieces, for a cluster; see `Pieces`.

    Raises:
        TypeError: if the name or an annotation is not of this form; the message says which.
    """
    if not STAGE_NAME.fullmatch(name):
        raise TypeError(f"stage name {name!r}: expected family.verb in small letters")

    def declare(function: StageFunction) -> Stage:
        where = f"stage {name!r} ({function.__module__}.{function.__qualname__})"
        given, second, _ = _arguments_of(where, function)
        hints = _hints(function)
        takes, taken = _takes_of(where, hints, given), _params_of(where, hints, second)
        streams, kind = _kind_of(where, hints.get("return"))
        return Stage(
            name=name,
            function=function,
            takes=takes,
            gives={"output": kind, **_outputs_of(where, outputs or {})},
            params=taken,
            random=random,
            pointwise=pointwise,
            light=light,
            depends=depends,
            streams=streams,
            needs=needs,
            data_parallel=data_parallel,
            operations=operations,
            pieces=pieces,
        )

    return declare


def _arguments_of(where: str, function: StageFunction) -> list[str]:
    arguments = list(inspect.signature(function).parameters)
    if len(arguments) != 3:
        raise TypeError(f"{where} must take (input, params, run), not ({', '.join(arguments)})")
    return arguments


def _takes_of(where: str, hints: Mapping[str, Any], argument: str) -> Kind | None:
    hint = hints.get(argument, type(None))
    if hint is not type(None) and hint not in _KINDS:
        raise TypeError(f"{where}: annotate `{argument}` with Images, Model, Video or None")
    return _KINDS.get(hint)


def _params_of(where: str, hints: Mapping[str, Any], argument: str) -> type[Params]:
    params = hints.get(argument, NoParams)
    if params in (None, type(None)):
        params = NoParams
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise TypeError(f"{where}: annotate `{argument}` with a subclass of genart.Params")
    return params


def _kind_of(where: str, gives: Any) -> tuple[bool, Kind]:
    """Whether batches are yielded, and the kind of the result."""
    streams = typing.get_origin(gives) in (collections.abc.Iterator, collections.abc.Generator, collections.abc.Iterable)
    kind: Kind | None = "images" if streams else _KINDS.get(gives)
    if kind is None:
        raise TypeError(f"{where}: annotate the result with Images, Model, Video or Iterator[Batch]")
    return streams, kind


def _outputs_of(where: str, outputs: Mapping[str, type]) -> dict[str, Kind]:
    for key, value in outputs.items():
        if value is not Images or key == "output" or not OUTPUT_NAME.fullmatch(key):
            raise TypeError(f"{where}: further output {key!r}: expected Images under a name of small letters, such as progress")
    return dict.fromkeys(outputs, "images")


def _hints(function: StageFunction) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise TypeError(
            f"{function.__module__}.{function.__qualname__}: annotation {error}; import it at run time, not under TYPE_CHECKING"
        ) from None
