"""Commands that look after the store of results."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from genart.errors import UsageError

from .app import CacheUrl, Json, cache_app
from .printing import console_of, plain, print_json

if TYPE_CHECKING:
    from genart.remote import Shared
    from genart.store import Store


def _kept(url: str | None) -> Store | Shared:
    """What to look after: the store of this machine, or the shared one at an address; the variable GENART_STORE names none here."""
    from genart.remote import Shared
    from genart.store import Store

    return Store.of_user() if url is None else Shared.at(url)


@cache_app.command()
def info(store_: CacheUrl = None, json_: Json = False) -> None:
    """Say where the store is and what it holds."""
    from genart.display import size

    store = _kept(store_)
    by_stage: dict[str, list[int]] = {}
    for entry in store.entries():
        by_stage.setdefault(entry.manifest["stage"], []).append(entry.bytes)
    total, work = sum(map(sum, by_stage.values())), store.work_bytes()
    if json_:
        listed = {name: {"entries": len(sizes), "bytes": sum(sizes)} for name, sizes in sorted(by_stage.items())}
        print_json({"path": store.place, "entries": sum(map(len, by_stage.values())), "bytes": total, "work_bytes": work, "stages": listed})
        return
    console = console_of()
    console.print(
        f"{plain(store.place)}: {sum(map(len, by_stage.values()))} results, {size(total)}, unfinished work {size(work)}",
        highlight=False,
        soft_wrap=True,
    )
    for name, sizes in sorted(by_stage.items()):
        console.print(f"  {name}: {len(sizes)}, {size(sum(sizes))}", highlight=False)


@cache_app.command()
def verify(store_: CacheUrl = None, json_: Json = False) -> None:
    """Check every byte of the store. What is damaged is removed, and made again when it is needed."""
    store = _kept(store_)
    sound, damaged = 0, [{"key": "?", "stage": "?", "files": ["manifest.json"]}] * store.sweep_wrecks()
    for entry in store.entries():
        bad = store.damaged(entry)
        if bad:
            damaged.append({"key": entry.key, "stage": entry.manifest["stage"], "files": bad})
            store.discard(entry.key)
        else:
            sound += 1
    if json_:
        print_json({"sound": sound, "damaged": damaged})
        return
    for item in damaged:
        console_of().print(f"removed {item['stage']} {item['key'][:12]}: {', '.join(item['files'])}", highlight=False, soft_wrap=True)
    console_of().print(f"{sound} results are sound, {len(damaged)} were damaged", highlight=False)


@cache_app.command()
def gc(
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="Keep the newest used results up to this, such as 500MB or 10GB.")
    ] = "10GB",
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DAYS", help="Also remove results not used for this many days; 0 for all of them.")
    ] = None,
    store_: CacheUrl = None,
    json_: Json = False,
) -> None:
    """Remove results, the longest unused first. Of a shared store, the oldest go first."""
    from genart.display import size

    older_sec = None if older_than is None else _days(older_than) * 86400
    removed, freed = _kept(store_).collect(bytes_of(max_size), older_than_sec=older_sec)
    if json_:
        print_json({"removed": removed, "bytes": freed})
        return
    console_of().print(f"removed {removed} results, {size(freed)}", highlight=False)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise UsageError(f"--older-than {text}: expected a number of days, 0 or more")
    return days


def bytes_of(text: str) -> int:
    """Bytes of a size such as 500MB.

    Raises:
        UsageError: if it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", text.strip())
    count = float(match[1]) * 1000 ** " kMGT".index(match[2] or " ") if match else math.inf
    if math.isinf(count):
        raise UsageError(f"--max-size {text}: expected a size such as 500MB or 10GB")
    return int(count)
