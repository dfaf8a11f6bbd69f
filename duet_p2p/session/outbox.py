"""Commands from any thread onto the loop.

The caller's thread encodes and numbers the message; the loop only joins and sends. One wake-up of
the loop serves a whole burst, because waking it costs more than encoding an operation does.

`put` is the only place where an operation can wait: for room in the window. While the connection
is there it waits as long as the owner needs; while it is lost, for a limited time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import IntEnum
from typing import Final, Protocol

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, SessionClosed
from duet_p2p.protocol.window import Outgoing
from duet_p2p.session.bulk_sender import Source
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import Get, Message, Put, Request, Value
from duet_p2p.wire.packing import Buffer

__all__ = ["Buffer", "Outbox", "Progress", "Sending", "flat_views"]

Progress = Callable[[int, int], None]
"""Called on the loop with (bytes queued, bytes in all)."""

_ANSWERED: Final = frozenset({Get, Request})
"""Commands that somebody is about to wait for: they do not wait for company."""
_Declaring = Put | Value
_LOOK_SECONDS: Final = 0.5  # how often a waiting caller looks at its deadline


class _Wake(IntEnum):
    """What the loop was asked to do and has not begun."""

    NOT = 0
    LATER = 1
    """Within `limits.FRAME_FLUSH_SECONDS`."""
    NOW = 2


# a member of an enum is looked up in Python, and this would be for each command
_NOT, _LATER, _NOW = _Wake.NOT, _Wake.LATER, _Wake.NOW


class Sending(Protocol):
    """What the outbox needs of its session."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        ...

    @property
    def end(self) -> Exception | None:
        """Why the session is over, if it is."""
        ...

    def flush(self) -> None:
        """Sends what waits. On the loop."""
        ...

    def new_transfer(self) -> int:
        """A fresh id for a transfer. Any thread."""
        ...

    def start_blob(
        self,
        transfer: int,
        buffers: Sequence[memoryview | Source],
        nbytes: int,
        progress: Progress | None,
    ) -> None:
        """Begins a transfer. On the loop."""
        ...


class Outbox:
    """The thread-safe way into a session.

    Args:
        session: Its session.
        outgoing: The session's window.
        loop: The session's loop.
    """

    def __init__(
        self, session: Sending, outgoing: Outgoing, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.changed = threading.Condition(outgoing.lock)
        """Notified when there is room again, and at the end."""
        self.declared: dict[int, int] = {}
        """Number of the message that declares each of our unfinished transfers."""
        self._session = session
        self._outgoing = outgoing
        self._loop = loop
        self._wake = _Wake.NOT
        self._unflushed = 0
        self._awaited: dict[int, Future[None]] = {}

    def put(self, message: Message, *, wait: float = limits.WINDOW_WAIT_SECONDS) -> int:
        """Sends a message soon; from any thread but the loop's.

        Args:
            message: Any numbered message.
            wait: Seconds to wait for room in the window while the connection is lost.

        Returns:
            Its number.

        Raises:
            TypeError, ValueError: It cannot be encoded; nothing was sent.
            ConnectionLost: The window stayed full; nothing was sent.
            SessionClosed: The session is over; nothing was sent.
        """
        data = encode_message(message)
        with self._outgoing.lock:  # that of `changed`
            if self._session.end is not None or not self._outgoing.has_room(len(data)):
                self._wait_for_room(len(data), wait)
            is_due = (
                type(message) in _ANSWERED or self._unflushed + len(data) >= limits.FRAME_MAX_BYTES
            )
            return self._push(message, data, _NOW if is_due else _LATER)

    def post(self, message: Message, *, at_once: bool = False) -> int:
        """`Session.post`: on the loop, without waiting; sent now or at the end of this turn.

        Raises:
            TypeError, ValueError: It cannot be encoded; nothing was sent.
            ConnectionLost: The other side has not acknowledged for far too long.
            SessionClosed: The session is over.
        """
        data = encode_message(message)
        with self._outgoing.lock:  # that of `changed`, which would enter it by way of Python
            end = self._session.end
            if end is not None:
                raise _closed(end)
            if not self._outgoing.has_room(len(data), limits.WINDOW_SLACK):
                raise ConnectionLost("The partner does not take what is sent to it.")
            if not at_once:
                return self._push(message, data, _NOW)
            seq = self._push(message, data, _NOT)
            self._wake = _NOW
        self._begin_flush()
        return seq

    def flush(self) -> None:
        """Something waits for an answer: sends at once what was put."""
        if self._wake is _NOW:
            return  # it is about to: whoever takes this back takes what was put
        with self.changed:
            if self._outgoing.has_unsent:
                self._rouse(_Wake.NOW)

    def send_blob(
        self, buffers: Sequence[Buffer | Source], nbytes: int, progress: Progress | None = None
    ) -> int:
        """`Session.send_blob` from any thread; the id is there at once."""
        views = flat_views(buffers, nbytes)
        transfer = self._session.new_transfer()
        self._on_loop(lambda: self._session.start_blob(transfer, views, nbytes, progress))
        return transfer

    def delivered(self, transfer: int) -> Future[None]:
        """Done once the other side has all of a transfer of ours, or wants none of it. Any thread.

        Call it before the message that declares the transfer is put.
        """
        return self._awaited.setdefault(transfer, Future())

    def forget(self, transfer: int) -> None:
        """The other side has this transfer, or refused it. On the loop."""
        self.declared.pop(transfer, None)
        future = self._awaited.pop(transfer, None)
        if future is not None:
            future.set_result(None)

    def _push(self, message: Message, data: bytes, wake: _Wake) -> int:
        """Numbers an encoded message and sees to it that it leaves. With the lock held."""
        seq = self._outgoing.push(data)
        if isinstance(message, _Declaring) and message.blob is not None:
            self.declared[message.blob.transfer] = seq
        self._unflushed += len(data)
        if wake > self._wake:
            self._rouse(wake)
        return seq

    def _wait_for_room(self, nbytes: int, wait: float) -> None:
        lost_at: float | None = None
        while True:
            end = self._session.end
            if end is not None:
                raise _closed(end)
            if self._outgoing.has_room(nbytes):
                return
            if _runs_here(self._loop):
                raise RuntimeError("Outbox.put would wait for its own thread. Use Session.post.")
            now = time.monotonic()
            if self._session.is_open:
                lost_at = None
                self._rouse(_Wake.NOW)
            elif lost_at is None:
                lost_at = now
            left = _LOOK_SECONDS if lost_at is None else lost_at + wait - now
            if left <= 0:
                raise ConnectionLost(
                    "The connection is lost and too many commands wait for it already."
                )
            self.changed.wait(min(left, _LOOK_SECONDS))

    def _rouse(self, how: _Wake) -> None:
        if how > self._wake:
            self._wake = how
            self._on_loop(self._begin_flush if how is _Wake.NOW else self._begin_wait)

    def _on_loop(self, function: Callable[[], None]) -> None:
        try:
            if _runs_here(self._loop):
                self._loop.call_soon(function)
            else:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            raise SessionClosed() from None

    def _begin_wait(self) -> None:
        self._loop.call_later(limits.FRAME_FLUSH_SECONDS, self._begin_flush)

    def _begin_flush(self) -> None:
        # whoever puts something from here on wakes the loop again
        with self._outgoing.lock:
            if self._wake is _NOT:
                return
            self._wake = _NOT
            self._unflushed = 0
        self._session.flush()


def _closed(end: Exception) -> SessionClosed:
    error = SessionClosed(f"This session is closed. {end}".strip())
    error.__cause__ = end
    return error


def flat_views(buffers: Sequence[Buffer | Source], nbytes: int) -> list[memoryview | Source]:
    """The bytes of contiguous buffers, uncopied; a source stays what it is.

    Raises:
        ValueError: They are not `nbytes` together.
    """
    views: list[memoryview | Source] = []
    for buffer in buffers:
        if not isinstance(buffer, Buffer):
            views.append(buffer)
            continue
        view = memoryview(buffer)
        if view.nbytes:  # a view without bytes cannot be cast
            views.append(view.cast("B"))
    total = sum(view.nbytes for view in views)
    if total != nbytes:
        raise ValueError(f"{total} bytes were given, {nbytes} announced")
    return views


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
