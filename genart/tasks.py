"""What is handed to workers, and what comes back: plain values, which travel as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import errors
from .errors import GenartError, StageError


@dataclass(frozen=True)
class Order:
    """A run, as a worker has to know it.

    Attributes:
        recipe: path of the recipe.
        text: its content; that is what is made, whatever lies at the path meanwhile.
        overrides: `ID.PARAM=VALUE` texts.
        seed: instead of the recipe's.
        budget_sec: time for all training together.
        plugins: single-file plugins.
        folder: the current directory, from which relative paths go.
        store: the folder of the store, which the workers share.
        device: "cpu", "cuda" or "mps".
        shared: address of a store that the workers share instead, each beside the one of its machine.
    """

    recipe: str
    text: str
    overrides: tuple[str, ...]
    seed: int | None
    budget_sec: float | None
    plugins: tuple[str, ...]
    folder: str
    store: str
    device: str
    shared: str | None = None

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """What `as_json` gave."""
        found = json.loads(text)
        return cls(**found | {name: tuple(found[name]) for name in ("overrides", "plugins")})

    @property
    def plugin_files(self) -> list[Path]:
        """Single-file plugins."""
        return [Path(file) for file in self.plugins]


@dataclass(frozen=True, eq=False)
class Task:
    """A stage's whole result, or some of its pictures; each is a task of its own, whatever it says.

    Attributes:
        stage: its id.
        ancestry: key of its chain as the driver knows it: a worker that has another is not to make anything.
        inputs: keys of the results that the stage reads, by the ids of their stages.
        contents: what these hold, by the ids of their stages; see `genart.store.Entry.content`.
        force: make it again although there is a result.
        part: make pictures and keep them as a part, rather than the whole result.
        join: make the whole result of the parts that are there.
        start: index of the first picture.
        stop: index behind the last one; None: until the time is over or there are no more.
        seconds: how long a part without `stop` is to take.
        choices: what an earlier part of the stage has chosen.
    """

    stage: str
    ancestry: str
    inputs: dict[str, str] = field(default_factory=dict)
    force: bool = False
    part: bool = False
    join: bool = False
    start: int = 0
    stop: int | None = None
    seconds: float = 0.0
    choices: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What `as_json` gave."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Part:
    """Some pictures of a stage that were made.

    Attributes:
        key: of the entry that holds them.
        start: index of the first.
        stop: index behind the last.
        count: how many pictures the stage gives in all, if it says so.
        fps: frames per second, if they are a film.
        batch: pictures that the stage makes at once.
        ended: there is none after them.
        choices: what the stage has chosen.
        warnings: what it warned of.
        skipped: files that it could not use.
        seconds: how long it took.
        early: the stage said what its pictures have in common before it gave any (`genart.run.Run.apart`).
    """

    key: str
    start: int
    stop: int
    count: int | None
    fps: float | None
    batch: int
    ended: bool
    choices: dict[str, Any]
    warnings: list[str]
    skipped: list[dict[str, str]]
    seconds: float
    early: bool = False


#: Errors by name, as they travel.
ERRORS: dict[str, type[GenartError]] = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, GenartError)
}


def error_to_json(error: GenartError) -> dict[str, Any]:
    """An error as plain values."""
    told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "named": error.stage_named}
    return told | {"exit_code": error.exit_code}


def error_from_json(told: dict[str, Any]) -> GenartError:
    """The same error again; a recipe's as one of usage, since its file and line are in the message."""
    if told["kind"] == errors.Interrupted.__name__:
        return errors.Interrupted(told["exit_code"] - 128)
    kind = ERRORS.get(told["kind"], StageError)
    found = errors.UsageError(told["message"], told["hint"]) if kind is errors.RecipeError else kind(told["message"], told["hint"])
    found.stage_named = told["named"]
    return found
