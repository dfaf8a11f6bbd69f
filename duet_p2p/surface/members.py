"""What a set may hold: values whose place in it follows from the value alone.

A set lies in the order of its members' hashes, and that order can be seen: by going through it, by
`pop`, in a value that is sent. A tensor, an optimizer or a number that is none is hashed by its
address, which depends on what was made before, and so on private values that decided how much.
"""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["member"]

_BY_VALUE: Final = frozenset({bool, int, str, bytes, range, type(None)})


def member(value: Any) -> Any:
    """The value itself.

    Raises:
        TypeError: a set does not hold it.
    """
    parts = [value]
    for part in parts:  # which grows
        kind = type(part)
        if kind in _BY_VALUE:
            continue
        if isinstance(part, tuple):
            parts += part
        elif kind is complex:
            parts += (part.real, part.imag)
        elif kind is not float or math.isnan(part):
            raise TypeError("a set holds numbers, texts and tuples of them, and none that is NaN")
    return value
