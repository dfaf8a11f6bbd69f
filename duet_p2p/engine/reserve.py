"""Memory above the engine's limit, which only the engine's own work may use.

An operation that finds no memory fails. What the engine does around operations (reading commands,
labels, poison, answers) needs memory, too, and where it found none the engine ended, at whatever
it was. So the limit that operations meet is below the one that the kernel holds the process to, and
for a moment the engine may go on up to that: to say that something failed, and to delete. What it
took stays taken, since freed memory is kept (heap.py); until there is as much again as there was,
commands that could take more are refused before they begin.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeVar

try:
    import resource
except ImportError:  # no such limits on this platform
    resource = None  # type: ignore[assignment]

__all__ = ["FULL", "RESERVE", "again"]

_T = TypeVar("_T")
_COLLECT_SECONDS: Final = 1.0
FULL: Final = "no memory is left (memory_bytes): delete objects, or ask the owner for more"


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


class _Reserve:
    """In a ``with`` block there is more memory.

    Attributes:
        is_touched: some of it was taken, and may be in use still.
    """

    def __init__(self) -> None:
        self._ordinary = self._whole = (0, 0)  # made before: there may be no memory for a tuple
        self._depth = 0
        self.is_touched = False
        self._next_at = 0.0  # when it makes sense to look for garbage again
        self._trim: Any = None
        self._info: Any = None

    def keep(self, ordinary: int, whole: int) -> None:
        """Sets both limits of this process.

        Args:
            ordinary: bytes of private memory that operations may take.
            whole: bytes that the process may take.
        """
        self._ordinary, self._whole = (ordinary, whole), (whole, whole)
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", None)
        self._info = getattr(libc, "mallinfo2", None)
        if self._info is not None:
            self._info.restype = _MallInfo
        resource.setrlimit(resource.RLIMIT_DATA, self._ordinary)

    def __enter__(self) -> None:
        if self._depth == 0 and self._whole[1]:
            resource.setrlimit(resource.RLIMIT_DATA, self._whole)
            self.is_touched = True
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._whole[1]:
            resource.setrlimit(resource.RLIMIT_DATA, self._ordinary)

    def is_short(self) -> bool:
        """Whether some of it is in use."""
        with self:
            self.is_touched = self._is_over()
            now = monotonic()
            if self.is_touched and now > self._next_at:
                gc.collect()  # what failed for want of memory has left tracebacks
                self._next_at = monotonic() + _COLLECT_SECONDS
                self.is_touched = self._is_over()
        return self.is_touched

    def _is_over(self) -> bool:
        if self._trim is not None:
            self._trim(0)
        free = 0 if self._info is None else self._info().fordblks
        return _private_bytes() - free > self._ordinary[0]


def _private_bytes() -> int:
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(fd, 256).split()[5]) * resource.getpagesize()
    finally:
        os.close(fd)


RESERVE: Final = _Reserve()
"""Of this process; where nobody limited it there is none."""


def again(work: Callable[[], _T]) -> _T:
    """Does some work of the engine's own, once more with what is in reserve if there was none.

    Args:
        work: it can be begun twice.
    """
    try:
        return work()
    except MemoryError:
        pass  # with what hung on it
    with RESERVE:
        return work()
