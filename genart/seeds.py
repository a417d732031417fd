"""Seed arithmetic: (recipe seed, stage id, label, picture index) -> seed, with no global state.

Every picture has its own stream, so adding a stage or a frame changes no other picture.
"""

from __future__ import annotations

import hashlib
import json

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
    text = json.dumps([seed, *labels], separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
