"""A memory file whose pages are there before a large value is frozen in it.

To fetch fresh pages from the kernel takes five times as long as to copy a value into them: 1.5 of
the 1.8 ms that 4.8 MB take. A value that is asked for waits for that; an engine without work does
not. So once a large value came or left, a file for another one of its size is kept ready. It is
empty, and has pages: what is written to it is its size, as with any other file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Final

from duet_p2p.engine.landing import HAS_MEMORY_FILES, memory_file
from duet_p2p.limits import PIPE_MEMORY_FILE_BYTES, SPARE_BYTES, SPARE_STEP_BYTES

__all__ = ["Spare"]

_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


class Spare:
    """At most one such file, of at most `SPARE_BYTES`."""

    def __init__(self) -> None:
        self._fd = -1
        self._nbytes = 0  # of its pages
        self._wanted = 0
        self._allocate = _allocator() if HAS_MEMORY_FILES else None

    def note(self, nbytes: int) -> None:
        """A value of so many bytes came, or is about to leave; the next may be as large."""
        if PIPE_MEMORY_FILE_BYTES <= nbytes <= SPARE_BYTES:
            self._wanted = nbytes

    def take(self) -> int | None:
        """The descriptor of the file, which is the caller's to close; None if there is none."""
        if self._fd < 0:
            return None
        fd, self._fd, self._nbytes = self._fd, -1, 0
        return fd

    @property
    def is_due(self) -> bool:
        """Whether there is something to prepare."""
        return self._allocate is not None and self._nbytes < self._wanted

    def prepare(self) -> None:
        """Fetches some of the pages; for a moment without other work."""
        step = min(SPARE_STEP_BYTES, self._wanted - self._nbytes)
        try:
            if self._fd < 0:
                self._fd = memory_file()
            has_pages = self._allocate is not None and self._allocate(self._fd, self._nbytes, step)
        except OSError:  # no more descriptors
            has_pages = False
        if has_pages:
            self._nbytes += step
        else:  # no memory: not tried again before the next large value
            self._wanted = 0

    def __del__(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)


class _Allocate:
    """``fallocate`` of the C library, which keeps the file's size."""

    def __init__(self, call: ctypes._NamedFuncPointer) -> None:
        self._call = call
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def __call__(self, fd: int, offset: int, nbytes: int) -> bool:
        return bool(self._call(fd, _KEEP_SIZE, offset, nbytes) == 0)


def _allocator() -> _Allocate | None:
    call = getattr(ctypes.CDLL(None), "fallocate64", None)
    return None if call is None else _Allocate(call)
