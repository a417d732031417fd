"""What a run tells with `--json`, over all the processes that it took: a resume repeats some of it, word for word."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

#: What is another each time.
FLEETING = ("images_per_sec", "peak_mb", "planned_mb", "event")
#: What may be told several times at one place of a training.
KINDS = ("metric", "watchdog")


def events(out: str) -> Iterator[dict[str, Any]]:
    """The events of a process; the last may have been cut by a kill."""
    for line in out.splitlines():
        if line.endswith("}"):
            yield json.loads(line)


def told(outs: Iterable[str]) -> dict[str, set[str]]:
    """Losses, measurements and acts of the watchdog by what they are about: all that was ever told of it.

    Args:
        outs: standard output of each process.
    """
    found: dict[str, set[str]] = {}
    for out in outs:
        for event in events(out):
            if event["event"] in KINDS:
                about = {name: value for name, value in event.items() if name not in FLEETING}
                place = " ".join(str(about.get(name)) for name in ("stage", "nimg", "picture", "iteration") if name in about)
                name = f"{event['event']} of {place}: {', '.join(sorted(about.keys() - {'message'}))}"
                found.setdefault(name, set()).add(json.dumps(about, sort_keys=True))
    return found


def difference(ours: dict[str, Any], theirs: dict[str, Any], limit: int = 3) -> list[str]:
    """Names under which two tables differ, with what they say."""
    names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return [f"{name}: {ours.get(name)} instead of {theirs.get(name)}" for name in names[:limit]] + more
