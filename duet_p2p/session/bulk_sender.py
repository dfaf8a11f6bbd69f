"""The sending half of channel 2; session/bulk.py explains the rules."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost
from duet_p2p.session.bulk_header import CHUNK_BYTES, SIZE, Kind, charge, pack, unpack
from duet_p2p.session.deflation import Pace, Sample, deflate
from duet_p2p.transport.base import Channel, Peer

__all__ = ["BulkSender", "Source"]

_LOG = logging.getLogger("duet_p2p")
_SAMPLE_SECONDS = 0.05  # what leaves within that is not worth a look whether to compress it

Progress = Callable[[int, int], None]  # bytes queued, bytes in all


class Source(Protocol):
    """Bytes to send that are somewhere else than in memory of this process."""

    nbytes: int

    def ready(self) -> int:
        """How many bytes from the beginning are there; more may come.

        Raises:
            EOFError: fewer than `nbytes` are, and no more will come.
        """
        ...

    def read(self, offset: int, size: int) -> bytes | memoryview:
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
    early: int
    """Bytes that may leave before GO."""
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False
    known: Sample | None = None
    """How it compresses, as far as that was tried."""
    block: int = CHUNK_BYTES
    """Bytes that will probably fit one chunk when they are compressed."""

    @property
    def must_wait(self) -> bool:
        """Whether the receiver has to say GO first."""
        is_early = self.offset - self.start + self._due <= self.early
        return not is_early and not self.may_go.is_set()

    @property
    def _due(self) -> int:
        """Bytes of the next chunk, if it is not compressed."""
        return min(CHUNK_BYTES, self.total - self.offset)

    def end(self) -> None:
        """No more chunks."""
        self.is_ended = True
        self.may_go.set()

    def ready(self) -> int:
        """Bytes from the beginning that are there; EOFError: more should come, and never will."""
        there = 0
        for view in self.views:
            ready = view.nbytes if isinstance(view, memoryview) else view.ready()
            there += ready
            if ready < view.nbytes:
                break
        return there

    @property
    def is_missing(self) -> bool:
        """Whether the bytes of the next chunk are not all there yet; EOFError as for `ready`."""
        return self.ready() < self.offset + self._due

    def next_message(self) -> bytes:
        """The next chunk, with its header."""
        head = pack(Kind.CHUNK, self.transfer_id, self.offset, self.total)
        parts = self.parts(self.offset, CHUNK_BYTES)
        self.offset += sum(map(len, parts))
        return b"".join((head, *parts))

    def parts(self, skip: int, left: int) -> list[bytes | memoryview]:
        """Bytes from an offset on, fewer at the end. Any thread."""
        parts: list[bytes | memoryview] = []
        for view in self.views:
            if skip < view.nbytes and left:
                part = (
                    view[skip : skip + left]
                    if isinstance(view, memoryview)
                    else view.read(skip, left)
                )
                if len(part) < min(left, view.nbytes - skip):
                    raise EOFError("a source is shorter than it was")
                parts.append(part)
                left -= len(part)
            skip = max(0, skip - view.nbytes)
        return parts

    def sample(self) -> None:
        """Tries how it compresses, by what is there now. In another thread."""
        # A source that ends early is for the loop to notice.
        with contextlib.suppress(EOFError):
            there = self.ready()
            step = max(limits.DEFLATE_SAMPLE_BYTES, there // limits.DEFLATE_SAMPLES)
            starts = range(0, max(there - limits.DEFLATE_SAMPLE_BYTES, 0) + 1, step)
            found = [self.parts(at, limits.DEFLATE_SAMPLE_BYTES) for at in starts]
            self.known = Sample.of([b"".join(parts) for parts in found])

    def is_worth(self, rate: float) -> bool:
        """Whether to compress the next block, as far as that is known."""
        return self.known is not None and self.known.pays(rate)

    def deflated(self) -> tuple[bytes, int]:
        """The next block as a compressed chunk, and its size; an empty one if it is not smaller.

        In another thread, while nobody else sends of this transfer.
        """
        most = self.block
        if not self.may_go.is_set():
            most = min(most, self.early - (self.offset - self.start))
        began = time.perf_counter()
        raw = b"".join(self.parts(self.offset, min(most, self.ready() - self.offset)))
        packed = deflate(raw)
        seconds = time.perf_counter() - began
        seen = Sample(len(packed) / len(raw), seconds / len(raw))
        self.known = seen if self.known is None else self.known.with_next(seen)
        # The next one a little smaller than would just fit.
        fitting = int(0.8 * CHUNK_BYTES / seen.share)
        self.block = max(CHUNK_BYTES, min(fitting, limits.DEFLATE_BLOCK_BYTES))
        if len(packed) > CHUNK_BYTES - SIZE.size or len(packed) >= len(raw):
            return b"", 0
        head = pack(Kind.DEFLATED, self.transfer_id, self.offset, self.total)
        return b"".join((head, SIZE.pack(len(raw)), packed)), len(raw)


class BulkSender:
    """Sends transfers over one association, at most `limits.TRANSFERS` at once, by turns.

    Args:
        peer: the association.
        deflates: whether compressed chunks were agreed on.
        early: bytes of a transfer that the other side takes before it says GO.
    """

    def __init__(
        self, peer: Peer, *, deflates: bool = False, early: int = limits.BULK_EARLY_BYTES
    ) -> None:
        self.sent_bytes = 0
        self._peer = peer
        self._deflates = deflates
        self._early = early
        self._pace = Pace()
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
            Whether everything is on its way. False: `cancel` was called, the other side does not
            want it, or a source ended early or cannot be read.

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
        outgoing = _Outgoing(transfer_id, views, start, start, total, self._early)
        self._going[transfer_id] = outgoing
        try:
            async with self._slots:
                return await self._send_all(outgoing, progress)
        except ConnectionLost:
            raise
        except (EOFError, OSError, MemoryError) as error:  # a source that cannot be read any more
            _LOG.warning("Transfer %d ended early: %s", transfer_id, error)
            self.cancel(transfer_id)
            return False
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
        sampling = None
        loop = asyncio.get_running_loop()
        may_deflate = (
            self._deflates and outgoing.total - outgoing.start >= limits.DEFLATE_FROM_BYTES
        )
        pace = self._pace
        if may_deflate and pace.is_measured and outgoing.total / pace.rate > _SAMPLE_SECONDS:
            await self._until_there(outgoing)
            sampling = loop.run_in_executor(None, outgoing.sample)
            await sampling
        began = loop.time()
        while True:
            while outgoing.must_wait:
                await self._wait(outgoing.may_go)
            await self._until_there(outgoing)
            packed, size = b"", 0
            if may_deflate:
                if sampling is None and loop.time() - began > _SAMPLE_SECONDS:
                    sampling = loop.run_in_executor(None, outgoing.sample)
                if outgoing.is_worth(self._rate()):
                    packed, size = await loop.run_in_executor(None, outgoing.deflated)
            async with self._turn:
                await self._peer.drain(Channel.BULK, limits.BULK_BUFFER_BYTES - CHUNK_BYTES)
                if outgoing.is_ended:
                    return False
                if packed:
                    self._send_message(packed)
                    outgoing.offset += size
                else:
                    self._send_some(outgoing)
            if progress is not None:
                progress(outgoing.offset, outgoing.total)
            if outgoing.offset == outgoing.total:
                return True
            await asyncio.sleep(0)  # a lock that nobody waits for makes no turn by itself

    def _send_some(self, outgoing: _Outgoing) -> None:
        """One chunk, or some if nobody else wants to send: a turn of the loop costs as much.

        The first goes by itself, so that the other side begins while the next are read.
        """
        is_first = outgoing.offset == outgoing.start
        for _ in range(1 if is_first else max(limits.BULK_TURN_CHUNKS // len(self._going), 1)):
            self._send_message(outgoing.next_message())
            if (
                outgoing.offset == outgoing.total
                or outgoing.must_wait
                or outgoing.is_missing
                or self._peer.buffered(Channel.BULK) >= limits.BULK_BUFFER_BYTES - CHUNK_BYTES
            ):
                break

    def _send_message(self, message: bytes) -> None:
        self._peer.send(Channel.BULK, message)
        self.sent_bytes += len(message)

    def _rate(self) -> float:
        """Bytes a second that the path takes, as far as that was seen."""
        waiting = self._peer.buffered(Channel.BULK)
        now = asyncio.get_running_loop().time()
        self._pace.note(now, self.sent_bytes - waiting, waiting)
        return self._pace.rate

    async def _until_there(self, outgoing: _Outgoing) -> None:
        """Waits until the next chunk is written, out of turn, so that nobody waits with it.

        It looks at each turn at first: a loop cannot sleep for less than a millisecond, in which
        megabytes are written.
        """
        deadline = 0.0
        turns = limits.DEPARTURE_TURNS
        while outgoing.is_missing and not outgoing.is_ended:
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + limits.DEPARTURE_SECONDS
            if now > deadline:
                raise EOFError("its source gives no more")
            turns -= 1
            await asyncio.sleep(limits.DEPARTURE_LOOK_SECONDS if turns < 0 else 0)

    async def _charge_for(self, outgoing: _Outgoing) -> None:
        due = charge(outgoing.total - outgoing.start, self._early)
        most = limits.TRANSFERS * self._early
        async with self._is_charging:
            while sum(self._charges.values()) + due > most and not outgoing.is_ended:
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
