"""A large value, frozen in a memory file in place of a copy.

The file is written once and leaves as it is (engine/departure.py). It is handed out first and
written then, before the engine takes another command: until that the value cannot change. Its bytes
are outside of what the kernel counts for a process, and the engine's memory has a limit: so the
engine reserves as much of its own as the file takes, and never touches it.
"""

from __future__ import annotations

import logging
import mmap
from typing import Any

from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import HAS_MEMORY_FILES
from duet_p2p.engine.spare import Spare
from duet_p2p.limits import DEPARTURES, PIPE_MEMORY_FILE_BYTES
from duet_p2p.surface.values import Packed, pack, unpack

__all__ = ["Files", "Parcel", "parcelled"]


_log = logging.getLogger("duet_p2p.engine")


class Files:
    """The memory files of an engine's frozen values.

    Attributes:
        count: of those that there are.
        spare: the next one, if it is there already.
    """

    def __init__(self) -> None:
        self.count = 0
        self.spare = Spare()


class Parcel:
    """A frozen value whose bytes are in a file, or about to be.

    Args:
        packed: the value and its bytes, where they are now.
        spare: may have a file for it.

    Attributes:
        value: closed, with a `Span` for each tensor.
        departure: the file.

    Raises:
        OSError: no more files, or not so much memory.
    """

    def __init__(self, packed: Packed, spare: Spare) -> None:
        self.value = packed.value
        # As much memory of this process, never touched: it counts against the engine's limit.
        self._reserved = mmap.mmap(-1, packed.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.departure = Departure.empty(packed.nbytes, spare.take())
        spare.note(packed.nbytes)
        self._unwritten = packed.buffers

    def write(self) -> None:
        """Writes the file; the value must not have changed since. Again: nothing."""
        parts, self._unwritten = self._unwritten, []
        if parts:
            try:
                self.departure.write(parts)
            except OSError:  # whoever reads it notices that it is too short
                _log.exception("a value of %d bytes could not be written", self.departure.nbytes)

    def opened(self) -> Any:
        """The value itself, as long as it is looked at."""
        return unpack(self.value, self.departure.map(), is_owned=True)


def parcelled(value: Any, nbytes: int, files: Files) -> Parcel | None:
    """Freezes a value in a file, which is to be written at once.

    None where it goes the ordinary way: small values do, those that cannot be sent, and all while
    there are many files already.

    Args:
        value: as it is in the store.
        nbytes: its size.
        files: of the parcels that there are.
    """
    if nbytes < PIPE_MEMORY_FILE_BYTES or not HAS_MEMORY_FILES or files.count >= DEPARTURES:
        return None
    try:
        packed = pack(value)
        if packed.nbytes < PIPE_MEMORY_FILE_BYTES:  # a long text, or the same tensor many times
            return None
        return Parcel(packed, files.spare)
    except (TypeError, ValueError, RecursionError, OSError):
        return None  # what is wrong is said when it is to leave
