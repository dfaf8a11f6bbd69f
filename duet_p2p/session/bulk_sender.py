"""The sending half of channel 2; session/bulk.py explains the rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost
from duet_p2p.session.bulk_header import CHUNK_BYTES, Kind, charge, pack, unpack
from duet_p2p.transport.base import Channel, Peer

__all__ = ["BulkSender", "Source"]

_EARLY_BYTES = limits.BULK_EARLY_BYTES // CHUNK_BYTES * CHUNK_BYTES

Progress = Callable[[int, int], None]  # bytes queued, bytes in all


class Source(Protocol):
    """Bytes to send that are somewhere else than in memory of this process."""

    nbytes: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        ...


@dataclass(slots=True)
class _Outgoing:
    """A transfer that is being sent."""

    transfer_id: int
    views: list[memoryview | Source]
    start: int
    offset: int
    total: int
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False

    @property
    def must_wait(self) -> bool:
        """Whether the receiver has to say GO first."""
        return self.offset - self.start >= _EARLY_BYTES and not self.may_go.is_set()

    def end(self) -> None:
        """No more chunks."""
        self.is_ended = True
        self.may_go.set()

    def next_message(self) -> bytes:
        """The next chunk, with its header."""
        parts: list[bytes | memoryview] = [
            pack(Kind.CHUNK, self.transfer_id, self.offset, self.total)
        ]
        left, skip = CHUNK_BYTES, self.offset
        for view in self.views:
            if skip < view.nbytes and left:
                part = (
                    view[skip : skip + left]
                    if isinstance(view, memoryview)
                    else view.read(skip, left)
                )
                parts.append(part)
                left -= len(part)
                self.offset += len(part)
            skip = max(0, skip - view.nbytes)
        return b"".join(parts)


class BulkSender:
    """Sends transfers over one association, at most `limits.TRANSFERS` at once, by turns."""

    def __init__(self, peer: Peer) -> None:
        self.sent_bytes = 0
        self._peer = peer
        self._slots = asyncio.Semaphore(limits.TRANSFERS)
        self._turn = asyncio.Lock()  # first come, first served: one chunk each, round and round
        self._going: dict[int, _Outgoing] = {}
        self._charges: dict[int, int] = {}  # by transfer, sent at least in part, without a GO
        self._is_charging = asyncio.Lock()
        self._discharged = asyncio.Event()
        self._refused: deque[int] = deque(maxlen=limits.BULK_REFUSED)  # before they began

    async def send(
        self,
        transfer_id: int,
        buffers: Sequence[memoryview | Source],
        progress: Progress | None = None,
        *,
        start: int = 0,
    ) -> bool:
        """Sends the bytes of some buffers as one transfer.

        The buffers must not change until this ends. When the task is cancelled, the other side is
        told.

        Args:
            transfer_id: Declared to the other side on another channel, before or after.
            buffers: Contiguous memory, or where bytes are read from; together they are the
                transfer.
            progress: Called with (bytes queued, bytes in all) after each chunk.
            start: Offset to begin at, after a reconnect.

        Returns:
            Whether everything is on its way. False: `cancel` was called, or the other side does
            not want it.

        Raises:
            ConnectionLost: The association ended.
            ValueError: The id is being sent already, or `start` is past the end.
        """
        # A view without bytes cannot be cast.
        views = [
            buffer.cast("B") if isinstance(buffer, memoryview) else buffer
            for buffer in buffers
            if buffer.nbytes
        ]
        total = sum(view.nbytes for view in views)
        if transfer_id in self._going:
            raise ValueError(f"transfer {transfer_id} is being sent already")
        if not 0 <= start <= total:
            raise ValueError(f"a transfer of {total} bytes cannot start at {start}")
        if transfer_id in self._refused:
            self._refused.remove(transfer_id)
            self._say_cancelled(transfer_id)
            return False
        outgoing = _Outgoing(transfer_id, views, start, start, total)
        self._going[transfer_id] = outgoing
        try:
            async with self._slots:
                return await self._send_all(outgoing, progress)
        except asyncio.CancelledError:
            if not outgoing.is_ended:
                self._say_cancelled(transfer_id)
            raise
        finally:
            del self._going[transfer_id]

    async def _send_all(self, outgoing: _Outgoing, progress: Progress | None) -> bool:
        if outgoing.offset == outgoing.total > 0:
            return True
        await self._charge_for(outgoing)
        while True:
            while outgoing.must_wait:
                await self._wait(outgoing.may_go)
            async with self._turn:
                await self._peer.drain(Channel.BULK, limits.BULK_BUFFER_BYTES - CHUNK_BYTES)
                if outgoing.is_ended:
                    return False
                message = outgoing.next_message()
                self._peer.send(Channel.BULK, message)
            self.sent_bytes += len(message)
            if progress is not None:
                progress(outgoing.offset, outgoing.total)
            if outgoing.offset == outgoing.total:
                return True
            await asyncio.sleep(0)  # a lock that nobody waits for makes no turn by itself

    async def _charge_for(self, outgoing: _Outgoing) -> None:
        due = charge(outgoing.total - outgoing.start)
        async with self._is_charging:
            while (
                sum(self._charges.values()) + due > limits.BULK_BUFFER_BYTES
                and not outgoing.is_ended
            ):
                self._discharged.clear()
                await self._wait(self._discharged)
            if not outgoing.is_ended:
                self._charges[outgoing.transfer_id] = due

    def _discharge(self, transfer_id: int) -> None:
        self._charges.pop(transfer_id, None)
        self._discharged.set()

    async def _wait(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(limits.PING_SECONDS):
                await event.wait()
        except TimeoutError:
            # Nobody sets the event when the association ends; drain notices.
            await self._peer.drain(Channel.BULK, limits.BULK_BUFFER_BYTES)

    def cancel(self, transfer_id: int) -> None:
        """Ends a transfer that is being sent, and tells the other side."""
        outgoing = self._going.get(transfer_id)
        if outgoing is not None and not outgoing.is_ended:
            outgoing.end()
            self._say_cancelled(transfer_id)

    def feed(self, data: bytes) -> None:
        """Takes a GO or REFUSE of the other side."""
        kind, transfer_id, _offset, _total = unpack(data)
        outgoing = self._going.get(transfer_id)
        self._discharge(transfer_id)
        if kind is Kind.REFUSE:
            if outgoing is None:
                # Not begun yet, or all of it is on its way; the other side knows which.
                self._refused.append(transfer_id)
            self.cancel(transfer_id)
        elif outgoing is not None:
            outgoing.may_go.set()

    def _say_cancelled(self, transfer_id: int) -> None:
        self._discharge(transfer_id)
        with contextlib.suppress(ConnectionLost):
            self._peer.send(Channel.BULK, pack(Kind.CANCEL, transfer_id))
