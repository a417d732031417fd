"""Seed arithmetic: (recipe seed, stage id, label, picture index) -> seed, with no global state.

Every picture has its own stream, so adding a stage or a frame changes no other picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

SEED_BITS = 63


def derive(seed: int, *labels: str | int) -> int:
    """Derive a seed from a parent seed and the path of labels below it.

    SHA-256 over canonical JSON, so that no two different paths share a stream and 1 differs from "1".

    Args:
        seed: the parent, any integer.
        labels: names and indices that lead to the stream.

    Returns:
        An integer in [0, 2**63).
    """
    return _number(hashlib.sha256(_path(seed, *labels) + b"]"))


def derive_each(seed: int, label: str, indices: Iterable[int]) -> list[int]:
    """`derive(seed, label, index)` for many indices, whose common beginning is hashed once."""
    head = hashlib.sha256(_path(seed, label))
    seeds = []
    for index in indices:
        digest = head.copy()
        digest.update(b",%d]" % index)
        seeds.append(_number(digest))
    return seeds


def _path(*labels: str | int) -> bytes:
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=True)[:-1].encode()


def _number(digest: hashlib._Hash) -> int:
    return int.from_bytes(digest.digest()[:8], "big") >> (64 - SEED_BITS)
