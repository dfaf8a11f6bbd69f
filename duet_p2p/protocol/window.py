"""Numbers: what makes every command and answer arrive exactly once and in order.

Each direction counts its numbered messages from 1. The sender keeps a message until the other side
has acknowledged it, whatever happens to the connection in between; after a reconnect each side
says what it has (`Resume`), and the rest is sent again. The receiver drops what it has already and
refuses a gap: SCTP loses nothing, so a gap is a mistake or an attack.

A scientist's commands count as in flight until the owner has *executed* them (`Settled`), which is
what slows down a program that runs ahead of the engine. An owner's answers count until they are
acknowledged.

Commands are put in by the user's thread and taken out by the network's, so `Outgoing` has a lock.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

from duet_p2p import limits
from duet_p2p.errors import ProtocolError, SessionLost
from duet_p2p.wire import frames

__all__ = ["Incoming", "Outgoing"]


class Outgoing:
    """What this side has numbered, until the other side has it.

    Args:
        settles: Whether messages are in flight until `settled` (commands) or until `acked`.
    """

    def __init__(self, *, settles: bool) -> None:
        self.lock = threading.Lock()
        """Held inside of every method; others may wait on it for room."""
        self.next_seq = 1
        self.sent = 0
        """The last number that went into a frame of the present connection."""
        self.acked_seq = 0
        self.settled_seq = 0
        self._settles = settles
        self._kept: deque[bytes] = deque()  # acked_seq + 1 …
        self._sizes: deque[int] = deque()  # of messages in flight
        self._bytes = 0

    @property
    def in_flight(self) -> int:
        """Messages that count against the window."""
        return len(self._sizes)

    @property
    def bytes_in_flight(self) -> int:
        """Their bytes."""
        return self._bytes

    @property
    def unacked(self) -> int:
        """Messages that would have to be sent again after a loss."""
        return len(self._kept)

    @property
    def has_unsent(self) -> bool:
        """Whether some messages have not gone into a frame of this connection."""
        return self.sent < self.next_seq - 1

    def has_room(self, nbytes: int, times: int = 1) -> bool:
        """Whether a message of this size fits into the window, or into several times its size.

        A single message always does. Call it with the lock held.
        """
        return not self._sizes or (
            len(self._sizes) < limits.WINDOW_COMMANDS * times
            and self._bytes + nbytes <= limits.WINDOW_BYTES * times
        )

    def push(self, message: bytes) -> int:
        """Numbers an encoded message and keeps it. Call it with the lock held."""
        seq = self.next_seq
        self.next_seq = seq + 1
        self._kept.append(message)
        self._sizes.append(len(message))
        self._bytes += len(message)
        return seq

    def take_frames(self) -> list[bytes]:
        """Frames of everything that was not sent on this connection."""
        with self.lock:
            if not self.has_unsent:
                return []
            first = self.sent + 1
            messages = list(islice(self._kept, first - self.acked_seq - 1, None))
            self.sent = self.next_seq - 1
        return list(frames.split(first, messages))

    def acked(self, seq: int) -> None:
        """The other side has everything up to `seq`.

        Raises:
            ProtocolError: It has not been sent that much.
        """
        with self.lock:
            self._check(seq)
            self._forget(seq)

    def settled(self, seq: int) -> None:
        """The other side has executed everything up to `seq`.

        Raises:
            ProtocolError: It has not been sent that much, or only commands are executed.
        """
        with self.lock:
            self._check(seq)
            if not self._settles:
                raise ProtocolError("Only commands are settled.")
            self._forget(seq)
            self._land(seq)

    def rewind(self, seq: int) -> None:
        """On a new connection the other side says that it has everything up to `seq`.

        Raises:
            SessionLost: What comes next is not kept any more, or was never made: the other side
                is not the one that this side remembers.
        """
        with self.lock:
            if not self.acked_seq <= seq < self.next_seq:
                raise SessionLost(
                    f"The partner is at message {seq}, this side at {self.acked_seq} to "
                    f"{self.next_seq - 1}: one of the two was started again."
                )
            self.sent = self.next_seq - 1
            self._forget(seq)
            self.sent = seq

    def _check(self, seq: int) -> None:
        if seq > self.sent:
            raise ProtocolError(f"Message {seq} was acknowledged before it was sent.")

    def _forget(self, seq: int) -> None:
        while self.acked_seq < seq:
            self._kept.popleft()
            self.acked_seq += 1
        if not self._settles:
            self._land(seq)

    def _land(self, seq: int) -> None:
        while self.settled_seq < seq:
            self._bytes -= self._sizes.popleft()
            self.settled_seq += 1


class Incoming:
    """What this side has of the other's numbered messages.

    Args:
        settles: Whether they are commands, which this side reports as executed. Only these can
            pile up here, so only these are held to the window.
    """

    def __init__(self, *, settles: bool) -> None:
        self.received = 0
        self.settled = 0
        self._settles = settles
        self._open: deque[tuple[int, int]] = deque()  # (last number, bytes) of frames
        self._bytes = 0
        self._acked = 0
        self._ack_at: float | None = None

    def take(self, first: int, count: int, nbytes: int, now: float) -> int:
        """Takes a frame of numbered messages.

        Args:
            first: number of its first message.
            count: how many follow on, itself included.
            nbytes: their size.
            now: any clock, in seconds.

        Returns:
            How many of its first messages are here already and are to be dropped.

        Raises:
            ProtocolError: A message is missing before it, or the other side overran its window.
        """
        if first > self.received + 1:
            raise ProtocolError(f"Message {first} came after message {self.received}.")
        if self._ack_at is None:
            self._ack_at = now + limits.ACK_SECONDS
        last = first + count - 1
        old = min(count, self.received + 1 - first)
        if last <= self.received:
            return old
        self.received = last
        if self._settles:
            self._open.append((last, nbytes))
            self._bytes += nbytes
            if (
                last - self.settled > limits.WINDOW_COMMANDS * limits.WINDOW_SLACK
                or self._bytes > limits.WINDOW_BYTES * limits.WINDOW_SLACK
            ):
                raise ProtocolError("The partner sent more commands than it may at once.")
        return old

    def settle(self, seq: int) -> None:
        """This side has executed everything up to `seq`."""
        if seq > self.received:
            raise ValueError(f"command {seq} was not received yet")
        self.settled = max(self.settled, seq)
        while self._open and self._open[0][0] <= self.settled:
            self._bytes -= self._open.popleft()[1]

    @property
    def ack_at(self) -> float | None:
        """When an acknowledgement is due at the latest; None: there is nothing to acknowledge."""
        return self._ack_at

    def is_ack_due(self, now: float) -> bool:
        """Whether to acknowledge at once: enough has come, or it waits for long enough."""
        return self._ack_at is not None and (
            self.received - self._acked >= limits.ACK_EVERY_COMMANDS or now >= self._ack_at
        )

    def ack(self) -> int:
        """The number to acknowledge with; it counts as done."""
        self._acked = self.received
        self._ack_at = None
        return self.received
