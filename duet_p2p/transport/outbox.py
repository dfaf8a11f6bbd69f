"""Messages on their way out, sorted by channel.

SCTP in aiortc has one queue for all channels, so a ping would wait behind every tensor chunk that
was queued before it. Here each channel has its own queue, and only `limits.FEED_BYTES` at a time
are handed over, the lowest channel first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost

__all__ = ["Outbox", "OutgoingChannel"]


class OutgoingChannel(Protocol):
    """What `Outbox` needs of a channel: aiortc's RTCDataChannel, or one in memory."""

    @property
    def bufferedAmount(self) -> int:
        """Bytes that were handed over and are still in its own queue."""
        ...

    def send(self, data: bytes) -> None:
        """Takes one message."""
        ...


class Outbox:
    """The queues in front of the data channels of one association.

    Args:
        channels: Open channels by number; `feed` has to be called when one of them has taken all
            that it was handed (``bufferedamountlow``).
    """

    def __init__(self, channels: Mapping[int, OutgoingChannel]) -> None:
        self._channels = {number: channels[number] for number in sorted(channels)}
        self._queues: dict[int, deque[bytes]] = {number: deque() for number in self._channels}
        self._queued = dict.fromkeys(self._channels, 0)
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._is_feeding = False
        self._waiting = 0  # messages in all queues

    def put(self, number: int, data: bytes) -> None:
        """Queues one message and hands over what fits.

        Raises:
            ConnectionLost: The other side takes far too little of what is sent to it. Answers to
                its own pings would pile up here without end.
        """
        handed = 0
        for channel in self._channels.values():
            handed += channel.bufferedAmount
        has_room = handed < limits.FEED_BYTES
        if has_room and not (self._waiting or self._is_feeding):  # most small messages
            self._channels[number].send(data)
            return
        if self._queued[number] > limits.UNSENT_BYTES or self._waiting > limits.UNSENT_MESSAGES:
            raise ConnectionLost("The partner does not take what is sent to it.")
        self._queues[number].append(data)
        self._queued[number] += len(data)
        self._waiting += 1
        if has_room:
            self.feed()

    def feed(self) -> None:
        """Hands messages to SCTP while it has little to do, then wakes those who drain."""
        if self._is_feeding:
            return
        self._is_feeding = True
        handed = 0
        for channel in self._channels.values():
            handed += channel.bufferedAmount
        try:
            for number, queue in self._queues.items():
                while queue and handed < limits.FEED_BYTES:
                    data = queue.popleft()
                    self._queued[number] -= len(data)
                    self._waiting -= 1
                    handed += len(data)
                    self._channels[number].send(data)
        finally:
            self._is_feeding = False
        for number, below, future in self._waiters:
            if not future.done() and self.buffered(number) < below:
                future.set_result(None)

    def buffered(self, number: int) -> int:
        """Bytes of a channel that SCTP has not cut into packets yet."""
        return self._queued[number] + self._channels[number].bufferedAmount

    async def drain(self, number: int, below: int) -> None:
        """Waits until fewer than `below` bytes are buffered; `ConnectionLost` after `fail`."""
        if self.buffered(number) < below:
            return
        waiter = (number, below, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter[2]
        finally:
            self._waiters.remove(waiter)

    def fail(self) -> None:
        """Ends every `drain` with `ConnectionLost`."""
        for _number, _below, future in self._waiters:
            if not future.done():
                future.set_exception(ConnectionLost())

    def drop(self, numbers: Iterable[int]) -> None:
        """Forgets what is queued on some channels."""
        for number in numbers:
            self._waiting -= len(self._queues[number])
            self._queues[number].clear()
            self._queued[number] = 0
