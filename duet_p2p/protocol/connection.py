"""One open association of a session, from its first `Resume` to its end.

Frames go in, events come out; what is to be sent waits in `take_frames`. The two windows belong to
the session and outlive this object; everything here is over with the association.

    OPENING ──Resume──▶ OPEN ──Bye──▶ OVER
       └──────────────Bye────────────▶ ┘        silence for 10 s: `Silent`, from either

`Resume` is the first message on ctl, both ways, also on the very first association: then nobody
needs to know whether the other side has seen an earlier one. Nothing numbered leaves before the
other's `Resume` is here, because it says where to begin.

The epoch in `Resume` names the owner's session. A scientist has none until it met its owner; an
epoch other than one's own means that the other side was started again, and that numbers and
pointers of before stand for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from duet_p2p import limits
from duet_p2p.errors import ProtocolError, SessionLost
from duet_p2p.protocol.description import Channel
from duet_p2p.protocol.window import Incoming, Outgoing
from duet_p2p.wire import frames
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import (
    ANSWERS,
    COMMANDS,
    LIFE,
    Ack,
    Bye,
    Complete,
    Message,
    Ping,
    Pong,
    Resume,
    Settled,
)

__all__ = [
    "Completed",
    "Connection",
    "Event",
    "Left",
    "Pace",
    "Received",
    "Resumed",
    "SettledTo",
    "Silent",
    "State",
]


class State(Enum):
    """Where an association is in its life."""

    OPENING = auto()
    """The other side's `Resume` is not here yet."""
    OPEN = auto()
    OVER = auto()
    """A `Bye` went or came; nothing counts any more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of an association, in seconds."""

    ping: float = limits.PING_SECONDS
    lost: float = limits.PEER_LOST_SECONDS


# events


@dataclass(frozen=True, slots=True)
class Received:
    """A numbered message, in order and not seen before."""

    seq: int
    message: Message | frames.Unread


@dataclass(frozen=True, slots=True)
class Resumed:
    """The other side's `Resume` fits: the association is open."""

    seq: int
    """Our numbered messages that the other side has."""
    epoch: bytes
    """The owner's, known to both sides from now on."""
    transfers: Mapping[int, int]
    """Our transfers that it has in part: id to bytes."""


@dataclass(frozen=True, slots=True)
class SettledTo:
    """The owner has executed our commands up to this one."""

    seq: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The other side has all bytes of our transfer."""

    transfer: int


@dataclass(frozen=True, slots=True)
class Left:
    """The other side said `Bye`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing was heard for too long."""

    seconds: float


Event = Received | Resumed | SettledTo | Completed | Left | Silent

_NUMBERED: Final = {  # role of the receiver: (channel, messages) that it takes
    "owner": (Channel.OPS, frozenset({*COMMANDS.values(), frames.Unread})),
    "scientist": (Channel.CTL, frozenset(ANSWERS.values())),
}

_LIFE: Final = frozenset(LIFE.values())


class Connection:
    """Both directions of one association, seen from one side.

    Args:
        role: ``owner`` or ``scientist``, of this side.
        outgoing: The session's numbered messages to the other side.
        incoming: What the session has from the other side.
        epoch: The owner's; empty for a scientist that has not met it.
        transfers: Of the other side, incomplete here: id to bytes.
        now: Any clock, in seconds.
        pace: Its times.
        leaves_ops: Each `Op` is handed over `Unread`; for an owner whose engine reads it.
    """

    def __init__(
        self,
        role: str,
        outgoing: Outgoing,
        incoming: Incoming,
        *,
        epoch: bytes,
        transfers: Mapping[int, int],
        now: float,
        pace: Pace | None = None,
        leaves_ops: bool = False,
    ) -> None:
        self.state = State.OPENING
        self.rtt: float | None = None
        """Seconds of the last ping, there and back."""
        self._numbered_on, self._numbered = _NUMBERED[role]
        self._send_on = Channel.CTL if role == "owner" else Channel.OPS
        self._is_owner = role == "owner"
        self._outgoing = outgoing
        self._incoming = incoming
        self._epoch = epoch
        self._pace = pace or Pace()
        self._leaves_ops = leaves_ops
        self._life: list[Message] = [Resume(incoming.received, epoch, dict(transfers))]
        self._pong: int | None = None
        self._pings = 0
        self._ping_sent = now
        self._ping_at = now + self._pace.ping
        self._heard = now
        self._start = now
        self._settled_told = 0
        self._settled_at: float | None = None

    # in

    def hear(self, now: float) -> None:
        """Something arrived on a channel that is not read here: the other side lives."""
        self._heard = now

    def receive(self, channel: int, data: bytes, now: float) -> list[Event]:
        """Takes a frame of the ops or ctl channel.

        Raises:
            ProtocolError: The other side broke a rule. Leave with ``error``.
            SessionLost: The other side does not remember this session.
        """
        if self.state is State.OVER:
            return []
        self._heard = now
        first, messages = frames.decode_frame(data, leaves_ops=self._leaves_ops)
        if first:
            return self._receive_numbered(channel, first, messages, len(data), now)
        if channel != Channel.CTL:
            raise ProtocolError("A life message came on the ops channel.")
        events: list[Event] = []
        for message in messages:
            events += self._receive_life(message, now)
            if isinstance(message, Bye):
                break
        return events

    def _receive_numbered(
        self,
        channel: int,
        first: int,
        messages: list[Message | frames.Unread],
        nbytes: int,
        now: float,
    ) -> list[Event]:
        if channel != self._numbered_on or type(messages[0]) not in self._numbered:
            raise ProtocolError(f"{type(messages[0]).__name__} went the wrong way.")
        if self.state is State.OPENING and channel == Channel.CTL:
            raise ProtocolError("Resume did not come first.")
        old = self._incoming.take(first, len(messages), nbytes, now)
        return [
            Received(first + index, message)
            for index, message in enumerate(messages[old:], start=old)
        ]

    def _receive_life(self, message: Message | frames.Unread, now: float) -> list[Event]:
        if isinstance(message, Bye):
            self.state = State.OVER
            return [Left(message.reason)]
        if isinstance(message, Resume) is not (self.state is State.OPENING):
            raise ProtocolError("Resume comes first on an association, and once.")
        match message:
            case Resume():
                return [self._resume(message, now)]
            case Ack(seq):
                self._outgoing.acked(seq)
            case Settled(seq):
                self._outgoing.settled(seq)
                return [SettledTo(seq)]
            case Complete(transfer):
                return [Completed(transfer)]
            case Ping(token):
                # one answer is enough for any number of pings at once
                self._pong = token
            case Pong(token):
                self._receive_pong(token, now)
        return []

    def _receive_pong(self, token: int, now: float) -> None:
        if not 0 < token <= self._pings:
            raise ProtocolError("A Pong without a Ping.")
        if token == self._pings:
            self.rtt = now - self._ping_sent

    def _resume(self, message: Resume, now: float) -> Event:
        is_stranger = bool(message.epoch and self._epoch and message.epoch != self._epoch)
        if self._is_owner:
            # a scientist without an epoch has never met an owner, so it cannot have sent commands
            is_stranger = is_stranger or (not message.epoch and self._incoming.received > 0)
        elif not message.epoch:
            raise ProtocolError("An owner has an epoch.")
        if is_stranger:
            raise SessionLost("The partner was started again; this session cannot go on.")
        self._outgoing.rewind(message.seq)
        self._epoch = self._epoch or message.epoch
        self.state = State.OPEN
        if self._incoming.settled:
            self.settle(now)
        return Resumed(message.seq, self._epoch, message.transfers)

    # out

    def settle(self, now: float) -> None:
        """The incoming window was settled further; the other side hears of it on the next tick."""
        if self._settled_at is None and self._incoming.settled > self._settled_told:
            ticks = math.floor((now - self._start) / limits.SETTLED_SECONDS) + 1
            self._settled_at = self._start + ticks * limits.SETTLED_SECONDS

    def complete(self, transfer: int) -> None:
        """All bytes of a transfer of the other side are here."""
        self._life.append(Complete(transfer))

    def leave(self, reason: str) -> None:
        """Says `Bye` after everything else; nothing is received any more."""
        if self.state is not State.OVER:
            self.state = State.OVER
            self._life.append(Bye(reason))

    def has_frames(self, now: float) -> bool:
        """Whether `take_frames` has something to be sent now."""
        return bool(
            self._life
            or self._pong is not None
            or (self.state is State.OPEN and self._outgoing.has_unsent)
            or self._incoming.is_ack_due(now)
            or now >= self._ping_at
            or (self._settled_at is not None and now >= self._settled_at)
        )

    def take_frames(self, now: float) -> list[tuple[int, bytes]]:
        """What is to be sent now: (channel, frame) in order."""
        was_open = self.state is State.OPEN
        if self.state is not State.OVER:
            self._add_due(now)
        result: list[tuple[int, bytes]] = []
        if was_open:
            result += [(self._send_on, frame) for frame in self._outgoing.take_frames()]
        if self._life:
            life = [encode_message(message) for message in self._life]
            self._life.clear()
            result[:0] = [(Channel.CTL, frame) for frame in frames.split(0, life)]
        return result

    def _add_due(self, now: float) -> None:
        if self._pong is not None:
            self._life.append(Pong(self._pong))
            self._pong = None
        if now >= self._ping_at:
            self._pings += 1
            self._ping_sent = now
            self._ping_at = now + self._pace.ping
            self._life.append(Ping(self._pings))
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at = None
            self._settled_told = self._incoming.settled
            self._life.append(Settled(self._settled_told))
            if self._settled_told == self._incoming.received:
                self._incoming.ack()  # what is executed was received
        if self._incoming.is_ack_due(now):
            self._life.append(Ack(self._incoming.ack()))

    # time

    def tick(self, now: float) -> list[Event]:
        """Looks at the clock; the frames that became due are in `take_frames`."""
        silence = now - self._heard
        if self.state is not State.OVER and silence >= self._pace.lost:
            self.state = State.OVER
            return [Silent(silence)]
        return []

    def next_tick(self) -> float:
        """When `tick` and `take_frames` are to be called next, if nothing happens before."""
        first = min(self._heard + self._pace.lost, self._ping_at)
        for at in (self._incoming.ack_at, self._settled_at):
            if at is not None and at < first:
                first = at
        return first
