"""Messages that arrived, until somebody may have them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from duet_p2p import limits
from duet_p2p.errors import ProtocolError

__all__ = ["Inbox"]


class Inbox:
    """Holds the first few messages until the association is open and has a listener.

    The other side may speak as soon as its half is open, which is before this side has compared
    certificates. What comes then is kept, in order and within bounds, and nobody sees it.

    Args:
        fail: Called with the reason when a message ends the association.
    """

    def __init__(self, fail: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fail = fail
        self._early: deque[tuple[int, bytes]] = deque()
        self._early_bytes = 0
        self._is_open = False
        self._is_closed = False
        self._listener: Callable[[int, bytes], None] | None = None

    @property
    def listener(self) -> Callable[[int, bytes], None]:
        """Called with (channel, message)."""
        return self._listener or _ignore

    @listener.setter
    def listener(self, listener: Callable[[int, bytes], None]) -> None:
        self._listener = listener
        self._loop.call_soon(self._release)

    def open(self) -> None:
        """From the next turn of the loop on, the listener gets messages."""
        self._is_open = True
        self._loop.call_soon(self._release)

    def close(self, *, keep: bool) -> None:
        """Drops later messages; what is held still reaches its listener if `keep` is true."""
        self._is_closed = True
        if not keep:
            self._early.clear()

    def put(self, channel: int, data: object) -> None:
        """Takes one message from the association."""
        if self._is_closed:
            return
        if not isinstance(data, bytes):
            self._fail(ProtocolError("The partner sent text on a binary channel."))
        elif len(data) > limits.MESSAGE_MAX_BYTES:
            self._fail(ProtocolError("The partner sent a message that is too large."))
        elif self._listener is not None and self._is_open and not self._early:
            self._deliver(channel, data)
        else:
            self._early.append((channel, data))
            self._early_bytes += len(data)
            if len(self._early) > limits.EARLY_FRAMES or self._early_bytes > limits.EARLY_BYTES:
                self._fail(ProtocolError("The partner sent more than it may before its turn."))

    def _release(self) -> None:
        while self._early and self._listener is not None and self._is_open:
            channel, data = self._early.popleft()
            self._early_bytes -= len(data)
            self._deliver(channel, data)

    def _deliver(self, channel: int, data: bytes) -> None:
        try:
            self.listener(channel, data)
        except Exception as error:
            # A listener may not raise. Inside aiortc it would end the reading of packets without
            # a word; so the session learns its own mistake as the reason of the end.
            self._fail(error)


def _ignore(_channel: int, _data: bytes) -> None:
    """What the listener is before there is one; never called."""
