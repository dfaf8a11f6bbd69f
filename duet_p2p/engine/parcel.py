"""A large value, frozen in a memory file in place of a copy.

The file is written once and leaves as it is (engine/departure.py). Its bytes are outside of what
the kernel counts for a process, and the engine's memory has a limit: so the engine reserves as much
of its own as the file takes, and never touches it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import HAS_MEMORY_FILES
from duet_p2p.limits import DEPARTURES, PIPE_MEMORY_FILE_BYTES
from duet_p2p.surface.values import pack, unpack

__all__ = ["Parcel", "parcelled"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A frozen value whose bytes are in a file."""

    value: Any
    """Closed, with a `Span` for each tensor."""
    departure: Departure
    reserved: mmap.mmap
    """As much memory of this process, never touched: it counts against the engine's limit."""

    def opened(self) -> Any:
        """The value itself, as long as it is looked at."""
        return unpack(self.value, self.departure.map(), is_owned=True)


def parcelled(value: Any, nbytes: int, files: int) -> Parcel | None:
    """Freezes a value in a file; None where it goes the ordinary way.

    Small values do, those that cannot be sent, and all while there are many files already.

    Args:
        value: as it is in the store.
        nbytes: its size.
        files: parcels that there are.
    """
    if nbytes < PIPE_MEMORY_FILE_BYTES or not HAS_MEMORY_FILES or files >= DEPARTURES:
        return None
    try:
        packed = pack(value)
        if packed.nbytes < PIPE_MEMORY_FILE_BYTES:  # a long text, or the same tensor many times
            return None
        reserved = mmap.mmap(-1, packed.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return Parcel(packed.value, Departure.holding(packed.buffers, packed.nbytes), reserved)
    except (TypeError, ValueError, RecursionError, OSError):
        return None  # what is wrong is said when it is to leave
