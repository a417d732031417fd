"""Keeps a table of all that runs did, in the file that the variable GENART_LOGBOOK names: time, stage, seconds, or what went wrong."""

from __future__ import annotations

import csv
import os
import time
from typing import Any

import genart

#: Events that become a line; genart.events tells them all.
KEPT = {"stage_finished": "seconds", "warning": "message", "saved": "path", "error": "message"}


@genart.hookimpl
def genart_event(record: dict[str, Any]) -> None:
    """Add a line for an event worth keeping."""
    path = os.environ.get("GENART_LOGBOOK")
    if path and record["event"] in KEPT:
        with open(path, "a", newline="", encoding="utf-8") as file:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            csv.writer(file).writerow([now, record["event"], record.get("stage", ""), record.get(KEPT[record["event"]], "")])
