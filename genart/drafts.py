"""What a recipe says, before it is linked: its [[stage]] tables as written, with the lines on which things stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Keys of a [[stage]] table that belong to the recipe; all others are parameters.
OWN_KEYS = ("uses", "id", "from", "save")


@dataclass
class TableLines:
    """Where a TOML table and its keys stand; a dotted key stands under its first part and as a whole."""

    header: str
    line: int
    keys: dict[str, int]


@dataclass
class Draft:
    """A [[stage]] table as written, or one that a sweep made of it.

    Attributes:
        table: its keys and values.
        line: where it begins.
        lines: where its keys stand.
        id: as given, or made of the stage's name.
        overrides: parameters that the command line sets.
        origin: id of the table that a sweep made this one of; else empty.
        swept: parameters whose values a sweep gives.
    """

    table: dict[str, Any]
    line: int
    lines: dict[str, int]
    id: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    swept: frozenset[str] = frozenset()

    def at(self, key: str) -> int:
        """The line at which to complain about a key."""
        return self.lines.get(key, self.lines.get("uses", self.line))

    def value(self, param: str) -> Any:
        """What a parameter is set to, or None."""
        return self.overrides.get(param, self.table.get(param))
