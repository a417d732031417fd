"""Events: what a run tells the outside. The display, `--json` and plugins observe the same stream.

| event | fields |
|---|---|
| run_started | recipe, seed, out, stages |
| stage_started | stage, uses, reason, resumed_at |
| stage_cached | stage, uses, key |
| stage_finished | stage, uses, key, seconds |
| progress | stage, done, total, unit, rate, eta_sec |
| metric | stage, nimg, and numbers by name |
| preview | stage, strip (rows of [r, g, b]) |
| warning | stage, message |
| skipped | stage, file, reason (of each file that cannot be used) |
| watchdog | stage, trouble, act, message, nimg |
| note | message |
| saved | stage, path, bytes, sha256, unchanged |
| run_finished | seconds, saved |
| report | path, bytes (of the run's page, where the recipe asks for one) |
| result | stage, kind, count, sizes, pictures (of `genart apply` alone) |
| remade | path, verdict, db, detail, reasons, made, lent (of `genart remake` alone) |
| error | message, hint, exit_code |

One more, `apart`, goes from a worker to its driver and no further: see `genart.run.Run.apart`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

from .errors import SIGPIPE, Interrupted

Observer = Callable[[dict[str, Any]], None]


class Events:
    """A list of observers; each is called with every event, a dict whose key `event` names it."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = list(observers)

    def emit(self, event: str, **fields: Any) -> None:
        """Tell every observer.

        Args:
            event: one of the names in the table above.
            fields: JSON-serialisable values.
        """
        record = {"event": event, **fields}
        for observer in self.observers:
            observer(record)


def write_json_line(record: dict[str, Any], file: TextIO | None = None) -> None:
    """Observer behind `--json`: one JSON object per event. Previews are for eyes and left out.

    Args:
        record: the event.
        file: where it goes; by default standard output.
    """
    file = file or sys.stdout
    if record["event"] == "preview":
        return
    try:
        file.write(as_json(record) + "\n")
        file.flush()
    except BrokenPipeError:
        raise Interrupted(SIGPIPE) from None


def as_json(value: Any) -> str:
    """One line of JSON in ASCII: names that are no text can be written, and nothing in it moves a terminal."""
    return json.dumps(finite(value), ensure_ascii=True, allow_nan=False)


def finite(value: Any) -> Any:
    """Return the value with every NaN and infinity replaced by None, so that it is valid JSON."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def utf8(value: Any) -> Any:
    r"""Return the value as UTF-8 can hold it: for a byte of a name that is none, as old Latin-1 files have, stands \udce9 or the like."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {utf8(key): utf8(item) for key, item in value.items()}
    if isinstance(value, list):
        return [utf8(item) for item in value]
    return tuple(map(utf8, value)) if isinstance(value, tuple) else value
