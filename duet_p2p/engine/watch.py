"""What runs right now, for the owner's process to read if the engine's process dies of it.

A page of shared memory, since a process that was killed says nothing any more. A death during a
public command, or at rest, is a public fact, but only as long as no private value decided how much
memory is in use: from then on the engine can die of that wherever it is.

The page's writer also carries the clock: a command sets the process's own alarm, and the kernel
ends the process when it rings. That asks the kernel, so it is set with some time to spare, and
commands that begin within that time leave it as it is: each has its full time, and at most a part
more. No thread has to get the interpreter's lock for it, so a long ``int`` power ends like a long
matrix product.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import tempfile
from dataclasses import dataclass
from time import monotonic
from typing import Final

__all__ = ["Page", "ProcessWatch", "Running", "Watch"]

_NAME_BYTES: Final = 200
_LAYOUT: Final = struct.Struct(f"<BBQ{_NAME_BYTES}s")  # runs, is public, number, name
_HEAD: Final = struct.Struct("<BBQ")
_SPARE: Final = 1 / 32
"""Part of a command's time that an alarm is set later."""
_PUBLIC_AT: Final = 1
_HIDDEN_AT: Final = _LAYOUT.size  # stays when a command begins
_PAGE_BYTES: Final = mmap.PAGESIZE


class Watch:
    """What a process that is not the engine's own needs: nothing."""

    def begin(self, seq: int, name: str) -> None:
        """A command begins; until `is_public` is called it counts as one on private data."""

    def is_public(self) -> None:
        """No private data is in it."""

    def has_hidden(self) -> None:
        """Private values decide how much memory is in use: no death is a public fact any more."""

    def rest(self) -> None:
        """Nothing runs."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a page says."""

    seq: int
    """0 for what the owner's side wanted."""
    name: str
    is_public: bool


class Page:
    """The owner's end of the page."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("duet-watch", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        try:
            os.ftruncate(self.fd, _PAGE_BYTES)
            self._page = mmap.mmap(self.fd, _PAGE_BYTES)
        except BaseException:
            os.close(self.fd)
            raise

    def read(self) -> Running | None:
        """What ran when the page was written last; None if nothing did."""
        runs, is_public, seq, name = _LAYOUT.unpack_from(self._page)
        if not runs:
            return None
        return Running(seq, name.rstrip(b"\0").decode(errors="replace"), bool(is_public))

    @property
    def has_hidden(self) -> bool:
        """Whether private values decided how much memory was in use, at any time."""
        return bool(self._page[_HIDDEN_AT])

    def close(self) -> None:
        """Gives the memory back."""
        if not self._page.closed:
            self._page.close()
            os.close(self.fd)


class ProcessWatch(Watch):
    """The engine's end of the page, and its alarm.

    Args:
        fd: of the page.

    Attributes:
        seconds: of wall time for one command; 0: no limit.
    """

    def __init__(self, fd: int) -> None:
        self.seconds = 0.0
        self._name, self._until = "", 0.0  # in the page; when the alarm has to be set again
        self._page = mmap.mmap(fd, _PAGE_BYTES)
        os.close(fd)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process

    def begin(self, seq: int, name: str) -> None:
        """See `Watch.begin`."""
        if name == self._name:
            _HEAD.pack_into(self._page, 0, 1, 0, seq)
        else:
            _LAYOUT.pack_into(self._page, 0, 1, 0, seq, name.encode()[:_NAME_BYTES])
            self._name = name
        if self.seconds:
            now = monotonic()
            if now >= self._until:
                spare = self.seconds * _SPARE
                self._until = now + spare
                signal.setitimer(signal.ITIMER_REAL, self.seconds + spare)

    def is_public(self) -> None:
        """See `Watch.is_public`."""
        self._page[_PUBLIC_AT] = 1

    def has_hidden(self) -> None:
        """See `Watch.has_hidden`."""
        self._page[_HIDDEN_AT] = 1

    def rest(self) -> None:
        """See `Watch.rest`."""
        self._page[0], self._until = 0, 0.0
        if self.seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)
