"""What runs right now, for the owner's process to read if the engine's process dies of it.

A page of shared memory, since a process that was killed says nothing any more. A death during a
public command, or at rest, is a public fact, but only as long as no private value decided how much
memory is in use: from then on the engine can die of that wherever it is.

The page's writer also carries the clock: a command sets the process's own alarm, and the kernel
ends the process when it rings. That asks the kernel, so it is set with some time to spare, and
commands that begin within that time leave it as it is: each has its full time, and at most a part
more. No thread has to get the interpreter's lock for it, so a long ``int`` power ends like a long
matrix product.

All commands of one message have a time together: those of a plan's runs, or of a step with all
runs of its closure. How much of it is left for a public command tells how long the private ones
before it took, so such an end is a public fact only if all commands of the message were public.
"""

from __future__ import annotations

import math
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
_SOON: Final = 1e-6
"""Seconds to an alarm that should have rung: with 0 there would be none."""
_PUBLIC_AT: Final = 1
_HIDDEN_AT: Final = _LAYOUT.size  # stays when a command begins
_PRIVATE_BEFORE_AT: Final = _HIDDEN_AT + 1  # stays until another message begins
_RUN_OVER_AT: Final = _HIDDEN_AT + 2  # the alarm that is set is that of the message
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

    @property
    def is_run_over(self) -> bool:
        """Whether the alarm, if it rang, was that of the message as a whole."""
        return bool(self._page[_RUN_OVER_AT])

    @property
    def was_private_before(self) -> bool:
        """Whether an earlier command of the same message was on private data."""
        return bool(self._page[_PRIVATE_BEFORE_AT])

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
        run_seconds: of wall time for all commands of one message; 0: no limit.
    """

    def __init__(self, fd: int) -> None:
        self.seconds = self.run_seconds = 0.0
        self._name, self._seq = "", 0  # in the page
        self._until = 0.0  # when the alarm has to be set again
        self._rings, self._end = 0.0, math.inf  # the alarm, and the end of the message's time
        self._page = mmap.mmap(fd, _PAGE_BYTES)
        os.close(fd)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process

    def begin(self, seq: int, name: str) -> None:
        """See `Watch.begin`."""
        is_same = seq == self._seq and seq != 0
        if is_same and not self._page[_PUBLIC_AT]:
            self._page[_PRIVATE_BEFORE_AT] = 1
        if name == self._name:
            _HEAD.pack_into(self._page, 0, 1, 0, seq)
        else:
            _LAYOUT.pack_into(self._page, 0, 1, 0, seq, name.encode()[:_NAME_BYTES])
            self._name = name
        now = monotonic()
        if not is_same:
            self._begin_message(seq, now)
        if now >= self._until:
            self._set_alarm(now)

    def _begin_message(self, seq: int, now: float) -> None:
        self._seq, self._page[_PRIVATE_BEFORE_AT] = seq, 0
        self._end = now + self.run_seconds if self.run_seconds and seq else math.inf
        if self._page[_RUN_OVER_AT] or self._rings > self._end:
            self._until = now

    def _set_alarm(self, now: float) -> None:
        spare = self.seconds * _SPARE
        rings = now + self.seconds + spare if self.seconds else math.inf
        self._rings = min(rings, self._end)
        if self._rings == math.inf:
            self._until = math.inf
            self._ring_in(0)
        elif self._end <= rings:
            self._until = math.inf  # no other command of this message moves it
            self._page[_RUN_OVER_AT] = 1
            self._ring_in(max(self._end - now, _SOON))
        else:
            self._until = now + spare
            self._ring_in(rings - now)

    def _ring_in(self, seconds: float) -> None:
        """Sets the alarm; 0: there is none."""
        signal.setitimer(signal.ITIMER_REAL, seconds)
        if self._rings < self._end or not seconds:
            self._page[_RUN_OVER_AT] = 0

    def is_public(self) -> None:
        """See `Watch.is_public`."""
        self._page[_PUBLIC_AT] = 1

    def has_hidden(self) -> None:
        """See `Watch.has_hidden`."""
        self._page[_HIDDEN_AT] = 1

    def rest(self) -> None:
        """See `Watch.rest`."""
        self._page[0], self._until = 0, 0.0
        if self.seconds or self.run_seconds:
            self._ring_in(0)
