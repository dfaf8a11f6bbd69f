"""The keys of what came from elsewhere: each once, and not very many of one hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from duet_p2p import limits

__all__ = ["check_hashes", "unique"]


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict of pairs whose keys occur once; for `object_pairs_hook`.

    A parser keeps the last of two values, and another reader perhaps the first.

    Raises:
        ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def check_hashes(keys: Collection[Any]) -> None:
    """Whether a dict or a set of these is soon made.

    Python compares keys of one hash with one another, and hashes of numbers are public: multiples
    of 2^61 - 1 have the same one, and 65,536 of them take a minute.

    Raises:
        ValueError: too many of them have the same hash.
        TypeError: one of them has none.
    """
    if len(keys) <= limits.ALIKE_KEYS:
        return
    most = max(Counter(map(hash, keys)).values())
    if most > limits.ALIKE_KEYS:
        raise ValueError(f"{most} keys with the same hash, {limits.ALIKE_KEYS} allowed")
