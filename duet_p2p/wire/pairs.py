"""The pairs of an object of JSON or MessagePack that came from elsewhere."""

from __future__ import annotations

from typing import Any

__all__ = ["unique"]


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
