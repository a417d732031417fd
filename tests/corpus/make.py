"""The corpus: 1,020 files, the same ones each time; `python -m tests.corpus.make` writes their SHA-256 into the manifest."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from pathlib import Path

from . import archives, embedded, films, jpeg, models, names, png, recipes, records, still, strangers
from .case import Case

MANIFEST = Path(__file__).with_name("manifest.txt")
MAKERS = (png, jpeg, still, strangers, names, recipes, models, films, archives, records, embedded)
#: Cases in each group.
COUNTS = {
    "PNG": 160,
    "JPEG": 110,
    still.GROUP: 110,
    "formats to refuse": 40,
    strangers.GROUP: 50,
    "names": 50,
    "TOML": 150,
    "models": 120,
    "video": 40,
    "archives": 80,
    records.GROUP: 70,
    "PNG-embedded recipes": 40,
}


@functools.cache
def corpus() -> tuple[Case, ...]:
    """All cases, in the order of the table."""
    return tuple(case for maker in MAKERS for case in maker.cases())


def sample(step: int) -> list[Case]:
    """Every so many-th case of each group, the last ones, which tend to be the oddest, among them."""
    groups: dict[str, list[Case]] = {}
    for case in corpus():
        groups.setdefault(case.group, []).append(case)
    return [case for cases in groups.values() for case in cases[::-step]]


def sums() -> str:
    """The manifest: SHA-256 and name of every file of a fixed content, a line each."""
    told = [(hashlib.sha256(case.content).hexdigest(), case) for case in corpus() if isinstance(case.content, bytes)]
    return "".join(f"{digest}  {case}\n" for digest, case in told)


if __name__ == "__main__":
    assert Counter(case.group for case in corpus()) == COUNTS
    MANIFEST.write_text(sums(), encoding="utf-8")
