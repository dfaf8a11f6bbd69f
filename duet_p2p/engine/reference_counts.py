"""How many references Python counts of a container that only the table of labels holds.

The table holds containers, so that no other object takes the identity of one unnoticed, and lets go
of those that nobody else holds. Whether the name of a function's argument counts depends on the
version of Python: from 3.14 on it may not. One too many here would drop the label of a list that
somebody holds, so both numbers are asked of the Python that runs, of containers held as there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["IN_FORGET", "IN_SWEEP"]


@dataclass(slots=True)
class _Entry:
    held: Any


def _in_forget() -> int:
    value: list[Any] = []
    table = {0: _Entry(value)}
    count = _counted(value)
    table.clear()
    return count


def _counted(value: Any) -> int:
    count = 0
    gone = [value]
    del value
    for obj in gone:
        count = sys.getrefcount(obj)
    return count


def _in_sweep() -> int:
    entry = _Entry([])
    return sys.getrefcount(entry.held)


IN_FORGET: Final = _in_forget()
"""Held by the table, the name of whoever called `Lineage.forget` (or, within it, the container that
goes), and the list and the name of its loop."""

IN_SWEEP: Final = _in_sweep()
"""Held by the table, and nobody else."""
