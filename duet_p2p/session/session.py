"""The shell of an open session: one partner, one stream of messages each way, several associations.

It pumps frames between an association and the cores in protocol/, moves blobs, keeps the time, and
hands messages over in order and exactly once. It knows neither pairing nor what messages mean.

    WAITING ──attach──▶ OPENING ──their Resume──▶ OPEN
       ▲                   │                        │
       └───────────────────┴──────── lost ◀─────────┤
    any ──close, Bye, broken rule──▶ CLOSED ◀───────┘

Everything belongs to one event loop; other threads use `outbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, DuetError, PartnerLeft, ProtocolError, SessionClosed
from duet_p2p.protocol.connection import (
    Completed,
    Connection,
    Event,
    Left,
    Pace,
    Received,
    Resumed,
    SettledTo,
    Silent,
)
from duet_p2p.protocol.description import Channel
from duet_p2p.protocol.window import Incoming, Outgoing
from duet_p2p.session.bulk_header import early_of
from duet_p2p.session.bulk_receiver import Sink
from duet_p2p.session.bulk_sender import Source
from duet_p2p.session.deflation import is_agreed
from duet_p2p.session.link import Link, close_peer
from duet_p2p.session.outbox import Buffer, Outbox, Progress, flat_views
from duet_p2p.session.transfers import Transfers
from duet_p2p.transport.base import Peer
from duet_p2p.wire.messages import Message, Put, Value

__all__ = ["Session"]

_LOG = logging.getLogger("duet_p2p")
_Declaring = Put | Value  # made here and not for each message


class Session:
    """One side of a session with one partner.

    Set the callbacks before `attach`. They are called on the loop and must not block.

    Args:
        role: ``owner`` or ``scientist``.
        loop: Where it lives; usually `Bridge.loop`.
        epoch: 16 bytes that name this session of the owner, random by default. A scientist learns
            it from its owner. It stays the same when the engine is restarted: that is told by a
            message of its own.
        pace: Times of an association, in seconds.
        leaves_ops: owner: `on_message` gets each `Op` as it came, an `Unread`.

    Attributes:
        on_message: called with (number, message), numbered messages only, in order, exactly once.
        on_settled: scientist: called with the number up to which commands were executed.
        on_state: called with ``open`` and None, ``lost`` and the reason, ``closed`` and the reason
            (None after one's own `close`).
        on_link_end: called with the reason when this session gives a link up: the partner is
            silent, left or broke a rule, or a send was the first to notice a loss. Not when the
            link says itself that it is over.
        outbox: the way in for other threads.
    """

    def __init__(
        self,
        role: str,
        loop: asyncio.AbstractEventLoop,
        *,
        epoch: bytes = b"",
        pace: Pace | None = None,
        leaves_ops: bool = False,
    ) -> None:
        is_owner = role == "owner"
        self.role = role
        self.partner_id = ""
        self.epoch = epoch or (os.urandom(16) if is_owner else b"")
        self.on_message: Callable[[int, Any], None] = _ignore
        self.on_settled: Callable[[int], None] = _ignore
        self.on_state: Callable[[str, Exception | None], None] = _ignore
        self.on_link_end: Callable[[DuetError], None] = _ignore
        self._loop = loop
        self._pace, self._leaves_ops = pace or Pace(), leaves_ops
        self._outgoing = Outgoing(settles=not is_owner)
        self._incoming = Incoming(settles=is_owner)
        self._transfers = Transfers(loop, self._tell_complete, lambda t: self.outbox.forget(t))
        self._transfer_ids = itertools.count(1)
        self._peer: Peer | None = None
        self._connection: Connection | None = None
        self._is_open = False
        self._end: Exception | None = None
        self._loss: Exception | None = None  # why there is no association now
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_pump_due = False
        self._retiring: set[asyncio.Task[None]] = set()
        self._counts = dict.fromkeys(
            ("frames_in", "frames_out", "bytes_in", "bytes_out", "links"), 0
        )
        self.outbox = Outbox(self, self._outgoing, loop)

    # facts

    @property
    def is_open(self) -> bool:
        """Whether messages go over right now."""
        return self._is_open

    @property
    def end(self) -> Exception | None:
        """Why the session is over for good, or None."""
        return self._end

    @property
    def links(self) -> int:
        """Associations so far."""
        return self._counts["links"]

    @property
    def transfers(self) -> Transfers:
        """The blobs under way, both ways."""
        return self._transfers

    @property
    def rtt(self) -> float | None:
        """Seconds of the last ping, there and back; None before the first."""
        return self._connection.rtt if self._connection is not None else None

    def status(self) -> dict[str, Any]:
        """Facts about the session, for people and for `duet.status()`."""
        sending, receiving = self._transfers.counts
        state = "open" if self._is_open else "lost" if self.links else "connecting"
        if self._end is not None:
            state = "closed"
        return {
            "state": state,
            "role": self.role,
            "partner": self.partner_id,
            "rtt": self.rtt,
            "path": self._peer.path() if self._peer is not None else None,
            "commands_in_flight": self._outgoing.in_flight,
            "bytes_in_flight": self._outgoing.bytes_in_flight,
            "unacknowledged": self._outgoing.unacked,
            "received": self._incoming.received,
            "settled": self._incoming.settled
            if self.role == "owner"
            else self._outgoing.settled_seq,
            "transfers_out": sending,
            "transfers_in": receiving,
            **self._counts,
            "bytes_out": self._counts["bytes_out"] + self._transfers.sent_bytes,
            "error": self._loss and f"{type(self._loss).__name__}: {self._loss}",
        }

    # messages and blobs

    def post(self, message: Message, *, at_once: bool = False) -> int:
        """Numbers a message and sends it at the end of this turn of the loop.

        Without an association it waits for the next one.

        Args:
            message: Any numbered message.
            at_once: Somebody waits for it: it leaves before this returns, with all before it.

        Raises:
            TypeError, ValueError: It cannot be encoded; nothing was sent.
            ConnectionLost: The partner has acknowledged nothing for far too long; this also ends
                the session.
            SessionClosed: The session is over.
        """
        try:
            return self.outbox.post(message, at_once=at_once)
        except ConnectionLost as error:
            self._break(error)
            raise

    def send_blob(
        self, buffers: Sequence[Buffer | Source], nbytes: int, progress: Progress | None = None
    ) -> int:
        """Sends bytes on the bulk channel.

        Args:
            buffers: Contiguous, together `nbytes`; they must not change until they are there.
            nbytes: In all.
            progress: Called on the loop with (bytes queued, bytes in all).

        Returns:
            The transfer's id, for the `Blob` of the message that declares it.

        Raises:
            ValueError: The buffers are not `nbytes` together.
        """
        views = flat_views(buffers, nbytes)
        transfer = self.new_transfer()
        self.start_blob(transfer, views, nbytes, progress)
        return transfer

    def expect_blob(
        self,
        transfer: int,
        nbytes: int,
        progress: Progress | None = None,
        into: Sink | None = None,
    ) -> asyncio.Future[Any]:
        """The bytes that a message has declared, as soon as all of them are here.

        Call it when the message arrives, or `refuse_blob`; the size was checked against the quota.
        They are a memoryview of new memory, or `into` where that is given.

        Raises:
            ProtocolError: The transfer was declared before, or has another size.
        """
        return self._transfers.expect(transfer, nbytes, progress, into)

    def refuse_blob(self, transfer: int) -> None:
        """Wants none of a transfer that a message has declared, or no more of it."""
        self._transfers.refuse(transfer)

    def settled(self, seq: int) -> None:
        """Owner: everything up to this command was executed, other commands than ops included.

        The partner is told on a tick of 50 ms. A scientist's window opens only with this, so it
        must reach every command in the end.
        """
        self._incoming.settle(seq)
        if self._connection is not None:
            self._connection.settle(self._loop.time())
            self._set_timer()

    def new_transfer(self) -> int:
        """A fresh id for a transfer; any thread."""
        return next(self._transfer_ids)

    def start_blob(
        self,
        transfer: int,
        buffers: Sequence[memoryview | Source],
        nbytes: int,
        progress: Progress | None,
    ) -> None:
        """For the outbox: begins a transfer."""
        self._transfers.send(transfer, buffers, nbytes, progress)

    # associations

    def attach(self, link: Link) -> None:
        """Goes on over a new verified link; an older one is given up.

        Raises:
            SessionClosed, ProtocolError: The session is over, or another partner's.
        """
        if self._end is not None:
            raise SessionClosed()
        if self.partner_id not in ("", link.partner_id):
            raise ProtocolError("a session has one partner")
        if self._peer is not None:
            # whoever brought the new link knows; to tell it would look like the new one's end
            self._retire(None)
        self.partner_id = link.partner_id
        self._peer = peer = link.peer
        self._counts["links"] += 1
        agreed, is_owner = is_agreed(link.caps), self.role == "owner"
        self._transfers.attach(
            peer,
            deflates=agreed and is_owner,
            inflates=agreed and not is_owner,
            early=early_of(link.caps),
        )
        self._connection = Connection(
            self.role,
            self._outgoing,
            self._incoming,
            epoch=self.epoch,
            transfers=self._transfers.pending(),
            now=self._loop.time(),
            pace=self._pace,
            leaves_ops=self._leaves_ops,
        )
        self._pump()
        link.attach(
            lambda channel, data: self._on_frame(peer, channel, data),
            lambda error: self._on_closed(peer, error),
        )

    async def close(self, reason: str = "closed") -> None:
        """Ends the session: what was sent is delivered, then Bye, then the peer is closed.

        May be called twice; the second call waits for the first.
        """
        if self._end is None and self._is_open:
            await self._deliver()
        if self._end is None:
            self._finish(SessionClosed(), reason)
            self.on_state("closed", None)
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=3 * limits.CLOSE_SECONDS)

    def fail(self, error: DuetError) -> None:
        """Ends the session for good, because there will be no further link."""
        if self._end is None:
            self._finish(error, "error")
            self.on_state("closed", error)

    async def _deliver(self) -> None:
        """Waits until the partner has what it was sent; Bye would overtake it."""
        deadline = self._loop.time() + limits.CLOSE_SECONDS
        while self._is_open and self._outgoing.unacked and self._loop.time() < deadline:
            self.flush()
            await asyncio.sleep(limits.ACK_SECONDS / 2)

    # what happens

    def _on_frame(self, peer: Peer, channel: int, data: bytes) -> None:
        connection = self._connection
        if peer is not self._peer or connection is None:
            return  # of an association that was given up
        self._counts["frames_in"] += 1
        self._counts["bytes_in"] += len(data)
        now = self._loop.time()
        try:
            if channel == Channel.BULK:
                connection.hear(now)
                self._transfers.feed(data)
            else:
                for event in connection.receive(channel, data, now):
                    self._handle(event)
                    if connection is not self._connection:
                        return
        except DuetError as error:  # a broken rule, or a partner that was started again
            self._break(error)
        except Exception as error:
            # Our own mistake. To go on without this message would be something silently different.
            _LOG.exception("A message could not be handled; the session ends")
            self._break(error)
        else:
            if connection.has_frames(now):
                self._pump_soon()
            self._set_timer()

    def _handle(self, event: Event) -> None:
        match event:
            case Received(seq, message):
                if isinstance(message, _Declaring) and message.blob is not None:
                    self._transfers.announce(message.blob.transfer)
                self.on_message(seq, message)
            case SettledTo(seq):
                self._wake_waiting()
                self.on_settled(seq)
            case Resumed(seq, epoch, transfers):
                self.epoch = epoch
                self._transfers.resume(seq, self.outbox.declared, transfers)
                self._is_open = True
                self._loss = None
                self._wake_waiting()
                self.on_state("open", None)
            case Completed(transfer):
                self._transfers.completed(transfer)
            case Left(reason):
                self._ended(PartnerLeft(f"The partner left: {reason}.", reason=reason))
            case Silent(seconds):
                self._lost(ConnectionLost(f"Nothing was heard of the partner for {seconds:.0f} s."))

    def _on_closed(self, peer: Peer, error: DuetError) -> None:
        if peer is not self._peer:
            return
        if isinstance(error, ConnectionLost):
            self._loss = error
            self._retire(None)
            self.on_state("lost", error)
        else:
            self._finish(error, None)
            self.on_state("closed", error)

    def _tell_complete(self, transfer: int) -> None:
        if self._connection is not None:
            self._connection.complete(transfer)
            self._pump_soon()

    # out

    def flush(self) -> None:
        """Sends what waits, now."""
        if self._is_open:
            self._pump()

    def _pump_soon(self) -> None:
        """At the end of this turn, so that answers to one frame share one."""
        if not self._is_pump_due:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        connection, peer = self._connection, self._peer
        if connection is None or peer is None:
            return
        try:
            frames = connection.take_frames(self._loop.time())
            if frames:
                counts = self._counts
                counts["frames_out"] += len(frames)
                counts["bytes_out"] += sum([len(frame) for _, frame in frames])
                peer.send_now(frames)
        except ConnectionLost as error:
            self._lost(error)
            return
        self._set_timer()

    def _wake_waiting(self) -> None:
        with self.outbox.changed:
            self.outbox.changed.notify_all()

    def _set_timer(self) -> None:
        if self._connection is None:
            return
        at = self._connection.next_tick()
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._connection is not None:
            for event in self._connection.tick(self._loop.time()):
                self._handle(event)
            self._pump()

    # ends

    def _lost(self, error: DuetError) -> None:
        """The association is of no use; the session waits for another."""
        self._loss = error
        self._retire(None)
        self.on_link_end(error)
        self.on_state("lost", error)

    def _ended(self, error: DuetError) -> None:
        """The partner ended the session."""
        self._finish(error, None)
        self.on_link_end(error)
        self.on_state("closed", error)

    def _break(self, error: Exception) -> None:
        """Something cannot go on: the partner is told so, and the session is over."""
        if self._end is None:
            self._finish(error, "error")
            self.on_link_end(error if isinstance(error, DuetError) else ProtocolError())
            self.on_state("closed", error)

    def _finish(self, error: Exception, bye: str | None) -> None:
        with self.outbox.changed:
            self._end = self._loss = error
            self.outbox.changed.notify_all()
        self._retire(bye)
        self._transfers.close(error)

    def _retire(self, bye: str | None) -> None:
        """Takes leave of the present association, if any; its peer is closed in the background."""
        peer, connection = self._peer, self._connection
        self._peer = self._connection = None
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = self._transfers.detach()
        if peer is None or connection is None:
            return
        if bye is not None:
            with contextlib.suppress(ConnectionLost):  # then nobody is there to be told
                frames = connection.take_frames(self._loop.time())
                connection.leave(bye)
                frames += connection.take_frames(self._loop.time())
                for channel, frame in frames:
                    peer.send(channel, frame)
        task = self._loop.create_task(close_peer(peer, tasks, flush=bye is not None))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _ignore(*_: object) -> None:
    """What a callback is before somebody sets it."""
