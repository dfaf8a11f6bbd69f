"""Where an upload lands: a memory file that goes on to the engine without another copy.

The network's thread writes each chunk to its place in the file as it comes. The file is not mapped
here, so the owner's process does not grow, and it can be sealed when it is complete: from then on
nobody can change or shorten it, and the engine maps it for itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterable
from typing import Final

try:
    import resource
except ImportError:  # no such limits on this platform
    resource = None  # type: ignore[assignment]

__all__ = [
    "HAS_MEMORY_FILES",
    "SEALS",
    "Landing",
    "check_sealed",
    "mapped",
    "memory_file",
    "seal",
    "sealed",
]

HAS_MEMORY_FILES: Final = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")

SEALS: Final = (
    (fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    if HAS_MEMORY_FILES
    else 0
)

_HAS_LIMITS: Final = bool(resource)
_SPARE_FILES: Final = 128  # descriptors that maps leave: a frame alone can bring 64
_TRIES: Final = 16  # a try on a busy file takes the kernel up to 0.16 s


class Landing:
    """A memory file of a known size, written from the beginning to the end.

    Args:
        nbytes: its size, more than 0.

    Raises:
        OSError: no more files, or no memory.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._fd = memory_file()
        self._is_complete = False
        os.ftruncate(self._fd, nbytes)

    def __len__(self) -> int:
        return self.nbytes

    def write(self, offset: int, part: bytes | memoryview) -> None:
        """Puts bytes in their place; whoever calls has checked that they are within the size.

        Raises:
            OSError: no memory.
        """
        left = memoryview(part)
        while left:
            written = os.pwrite(self._fd, left, offset)
            left, offset = left[written:], offset + written

    def complete(self) -> None:
        """All bytes are there: seals the file, or a copy if the kernel does not let go of a page.

        Raises:
            OSError: no more files, or no memory for a copy.
        """
        if self._is_complete:
            return
        try:
            seal(self._fd, tries=1)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            busy, self._fd = self._fd, sealed([_copied(self._fd, self.nbytes)])
            os.close(busy)
        self._is_complete = True

    def seal(self) -> int:
        """The descriptor of the file, sealed; it is the caller's to close. Errors of `complete`."""
        self.complete()
        fd, self._fd = self._fd, -1
        return fd

    def map(self) -> memoryview:
        """The bytes for an engine in this process, and only for it."""
        return mapped(self.seal(), self.nbytes)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            if self._fd >= 0:
                os.close(self._fd)


def sealed(parts: Iterable[memoryview]) -> int:
    """The descriptor of a new sealed file of these bytes; it is the caller's to close.

    Raises:
        OSError: no more files, or no memory.
    """
    fd = memory_file()
    try:
        for part in parts:
            while part:
                part = part[os.write(fd, part) :]
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def memory_file() -> int:
    """The descriptor of a new file without bytes, which can be sealed; it is the caller's to close.

    Raises:
        OSError: no more files.
    """
    return os.memfd_create("duet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(fd: int, tries: int = _TRIES) -> None:
    """Nobody writes, shortens or lengthens this file any more.

    The kernel refuses that while anything holds one of the pages: who reads it, or moves it.

    Raises:
        OSError: a page was held in each of the tries (EBUSY).
    """
    for left in range(tries, 0, -1):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or left == 1:
                raise


def mapped(fd: int, nbytes: int) -> memoryview:
    """The bytes of a sealed file; closes the descriptor.

    Private: what is written here changes nobody else's bytes, and costs memory only where it is.
    Where there is no room for new pages they are copied into what the process has and does not use,
    and where there are few descriptors too: a map keeps one for as long as it lives.

    Raises:
        ValueError: the file is not sealed, or has another size.
        MemoryError: there is no room for them at all.
    """
    try:
        check_sealed(fd, nbytes)
        if not _may_keep(fd):
            return _copied(fd, nbytes)
        try:
            return memoryview(mmap.mmap(fd, nbytes, access=mmap.ACCESS_COPY))
        except OSError:
            return _copied(fd, nbytes)
    finally:
        os.close(fd)


def _may_keep(fd: int) -> bool:
    """Whether there are descriptors to spare: the next one tells, since the lowest is given out."""
    if not _HAS_LIMITS:
        return True
    try:
        next_one = os.dup(fd)
    except OSError:
        return False
    os.close(next_one)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most == resource.RLIM_INFINITY or next_one < most - _SPARE_FILES


def _copied(fd: int, nbytes: int) -> memoryview:
    """The bytes of a file in memory that this process has."""
    found = memoryview(bytearray(nbytes))
    left, offset = found, 0
    while left and (count := os.preadv(fd, [left], offset)):
        left, offset = left[count:], offset + count
    return found


def check_sealed(fd: int, nbytes: int) -> None:
    """Whether a file from another process is what it was said to be, and stays so.

    Raises:
        ValueError: it is not sealed, or has another size.
    """
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise ValueError("a memory file that is not sealed")
    if os.fstat(fd).st_size != nbytes or nbytes <= 0:
        raise ValueError("a memory file of another size")
