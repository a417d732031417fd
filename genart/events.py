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
| watchdog | stage, trouble, act, message, nimg |
| note | message |
| saved | stage, path, bytes, sha256, unchanged |
| run_finished | seconds, saved |
| report | path, bytes (of the run's page, where the recipe asks for one) |
| result | stage, kind, count, sizes, pictures (of `genart apply` alone) |
| remade | path, verdict, db, detail, reasons, made, lent (of `genart remake` alone) |
| error | message, hint, exit_code |
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from .errors import Interrupted

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


def write_json_line(record: dict[str, Any]) -> None:
    """Observer behind `--json`: one JSON object per event on stdout. Previews are for eyes and left out."""
    if record["event"] == "preview":
        return
    try:
        sys.stdout.write(as_json(record) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise Interrupted(13) from None  # SIGPIPE: whoever read has gone


def as_json(value: Any) -> str:
    """A value as one line of JSON, in which whatever a terminal would obey is escaped."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def finite(value: Any) -> Any:
    """Return the value with every NaN and infinity replaced by None, so that it is valid JSON."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
