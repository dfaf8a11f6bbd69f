"""The blobs of a session, both ways, over several associations.

What is being sent is kept until the other side says `Complete`. When an association ends before
that, the other side's next `Resume` tells what became of each transfer:

    it is listed                      goes on at the offset that is named
    it is not, but its declaration    it was complete (or was refused): the bytes are forgotten
      was received
    otherwise                         starts again from the beginning
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, DuetError, ProtocolError
from duet_p2p.session.bulk import Bulk
from duet_p2p.session.bulk_receiver import Sink
from duet_p2p.session.bulk_sender import Source
from duet_p2p.session.outbox import Progress
from duet_p2p.transport.base import Peer

__all__ = ["Moving", "Transfers"]


@dataclass(frozen=True, slots=True)
class Moving:
    """One blob that is under way."""

    transfer: int
    is_outgoing: bool
    done: int
    """Bytes queued or received so far."""
    nbytes: int


@dataclass(slots=True)
class _Outgoing:
    """A blob that the other side does not have yet."""

    buffers: Sequence[memoryview | Source]
    nbytes: int
    progress: Progress | None
    done: int = 0
    task: asyncio.Task[None] | None = None


class Transfers:
    """Feeds a `Bulk` and remembers what it must not forget.

    Args:
        loop: The session's.
        on_complete: Called with (transfer) when all of one is here, to tell the other side.
        on_forgotten: Called with (transfer) when the other side has or refused one of ours.

    Attributes:
        on_change: called when something moved.
        out_bytes: of all that the other side does not have yet, sent or not.
        out_files: how many of them are as large as what lies in a memory file.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_complete: Callable[[int], None],
        on_forgotten: Callable[[int], None],
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.out_bytes = self.out_files = 0
        self._loop = loop
        self._on_forgotten = on_forgotten
        self._on_complete = on_complete
        self._bulk = Bulk(self._arrived, self._progressed, self._cancelled, self._failed)
        self._outgoing: dict[int, _Outgoing] = {}
        self._incoming: dict[int, asyncio.Future[Any]] = {}
        self._progress: dict[int, Progress] = {}
        self._arriving: dict[int, tuple[int, int]] = {}  # transfer to bytes here, and in all
        self._announced: set[int] = set()
        self._is_open = False
        self._end: Exception | None = None

    # out

    def send(
        self,
        transfer: int,
        buffers: Sequence[memoryview | Source],
        nbytes: int,
        progress: Progress | None,
    ) -> None:
        """Begins a transfer, now or as soon as there is an association."""
        if self._end is None:
            outgoing = self._outgoing[transfer] = _Outgoing(buffers, nbytes, progress)
            self._count(nbytes, 1)
            if self._is_open:
                self._start(transfer, outgoing, 0)

    def completed(self, transfer: int) -> None:
        """The other side has all of it, or wants no more."""
        outgoing = self._outgoing.pop(transfer, None)
        if outgoing is not None:
            self._count(outgoing.nbytes, -1)
            task = outgoing.task
            if task is not None and not task.done() and task is not asyncio.current_task():
                # It says so before it can have it: nothing may wait with the bytes in its hands.
                self._bulk.sender.cancel(transfer)
                task.cancel()
            self._on_forgotten(transfer)
            self.on_change()

    def _count(self, nbytes: int, sign: int) -> None:
        self.out_bytes += sign * nbytes
        self.out_files += sign * (nbytes >= limits.PIPE_MEMORY_FILE_BYTES)

    def _start(self, transfer: int, outgoing: _Outgoing, offset: int) -> None:
        outgoing.task = self._loop.create_task(self._send(transfer, outgoing, offset))

    async def _send(self, transfer: int, outgoing: _Outgoing, offset: int) -> None:
        def progressed(done: int, total: int) -> None:
            outgoing.done = done
            self.on_change()
            if outgoing.progress is not None:
                outgoing.progress(done, total)

        # the association's end is the business of whoever watches the association
        with contextlib.suppress(ConnectionLost):
            is_sent = await self._bulk.sender.send(
                transfer, outgoing.buffers, progressed, start=offset
            )
            if not is_sent:
                self.completed(transfer)  # refused: the same for us

    # in

    def announce(self, transfer: int) -> None:
        """A message that declares a transfer arrived; `expect` or `refuse` follows some time."""
        self._announced.add(transfer)

    def expect(
        self, transfer: int, nbytes: int, progress: Progress | None, into: Sink | None = None
    ) -> asyncio.Future[Any]:
        """Takes a transfer; see `Session.expect_blob`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._end is not None:
            _fail(future, self._end)
            return future
        self._announced.discard(transfer)
        if transfer in self._incoming:
            raise ProtocolError("A transfer was declared twice.")
        self._incoming[transfer] = future
        self._arriving[transfer] = (0, nbytes)
        if progress is not None:
            self._progress[transfer] = progress
        try:
            self._bulk.receiver.expect(transfer, nbytes, into)
        except ProtocolError:
            del self._incoming[transfer]
            self._forget_incoming(transfer)
            raise
        return future

    def refuse(self, transfer: int) -> None:
        """Wants none of a transfer, or no more of it."""
        self._announced.discard(transfer)
        self._forget_incoming(transfer)
        self._bulk.receiver.refuse(transfer)
        future = self._incoming.pop(transfer, None)
        if future is not None:
            future.cancel()

    def pending(self) -> dict[int, int]:
        """For `Resume`: bytes that are here of each transfer that is not complete."""
        return dict.fromkeys(self._announced, 0) | dict(self._bulk.receiver.pending())

    def feed(self, data: bytes) -> None:
        """One message of the bulk channel.

        Raises:
            ProtocolError: It breaks a rule.
        """
        self._bulk.feed(data)

    def _forget_incoming(self, transfer: int) -> None:
        self._progress.pop(transfer, None)
        self._arriving.pop(transfer, None)
        self.on_change()

    def _arrived(self, transfer: int, data: Any) -> None:
        self._forget_incoming(transfer)
        future = self._incoming.pop(transfer, None)
        if future is not None and not future.done():
            future.set_result(data)  # first: whoever waits goes on while the other side is told
        self._on_complete(transfer)

    def _progressed(self, transfer: int, done: int, total: int) -> None:
        self._arriving[transfer] = (done, total)
        self.on_change()
        progress = self._progress.get(transfer)
        if progress is not None:
            progress(done, total)

    def _cancelled(self, transfer: int) -> None:
        self._forget_incoming(transfer)
        future = self._incoming.pop(transfer, None)
        if future is not None:
            _fail(future, ConnectionLost("The partner gave up sending this value."))

    def _failed(self, transfer: int, error: Exception) -> None:
        """There is no room for it here; the other side is told that it is done with."""
        self._forget_incoming(transfer)
        future = self._incoming.pop(transfer, None)
        if future is not None:
            _fail(future, error)
        self._on_complete(transfer)

    # associations

    def attach(self, peer: Peer, *, deflates: bool, inflates: bool, early: int) -> None:
        """There is a new association; nothing is sent on it before `resume`. See `Bulk.attach`."""
        self._is_open = False
        self._bulk.attach(peer, deflates=deflates, inflates=inflates, early=early)

    def resume(self, seq: int, declared: Mapping[int, int], pending: Mapping[int, int]) -> None:
        """The other side said what it has.

        Args:
            seq: Our messages that it has.
            declared: Our transfers to the numbers of their messages.
            pending: Transfers that it has in part, to bytes.

        Raises:
            ProtocolError: It has more than there is.
        """
        self._is_open = True
        for transfer, outgoing in list(self._outgoing.items()):
            offset = pending.get(transfer)
            if offset is None and declared.get(transfer, seq + 1) <= seq:
                self.completed(transfer)
            elif (offset or 0) > outgoing.nbytes:
                raise ProtocolError("The partner has more of a transfer than was declared.")
            else:
                self._start(transfer, outgoing, offset or 0)

    def detach(self) -> list[asyncio.Task[None]]:
        """The association is over.

        Returns:
            What was sending on it: to be cancelled once its peer is closed, because before that
            cancelling would tell the other side that the transfer is given up.
        """
        self._is_open = False
        tasks = [outgoing.task for outgoing in self._outgoing.values() if outgoing.task is not None]
        for outgoing in self._outgoing.values():
            outgoing.task = None
        return [task for task in tasks if not task.done()]

    def close(self, error: Exception) -> None:
        """The session is over: nothing more comes, and what is sent is forgotten."""
        self._end = error
        self._outgoing.clear()
        self.out_bytes = self.out_files = 0
        self._announced.clear()
        self._progress.clear()
        self._arriving.clear()
        while self._incoming:
            _fail(self._incoming.popitem()[1], error)

    @property
    def sent_bytes(self) -> int:
        """Bytes of chunks that were sent, over all associations."""
        return self._bulk.sent_bytes

    def moving(self) -> list[Moving]:
        """What is under way, oldest first."""
        out = [Moving(t, True, o.done, o.nbytes) for t, o in self._outgoing.items()]
        return out + [Moving(t, False, *sizes) for t, sizes in self._arriving.items()]

    @property
    def counts(self) -> tuple[int, int]:
        """Unfinished transfers, out and in."""
        return len(self._outgoing), len(self._incoming)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        # a fresh one for each, or tracebacks would grow into each other
        copy = type(error)(str(error)) if isinstance(error, DuetError) else error
        future.set_exception(copy)
        future.exception()  # retrieved: perhaps nobody waits any more
