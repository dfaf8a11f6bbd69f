"""What arrived: from numbered fragments to whole messages.

Fragments of one message have consecutive numbers, so whoever looks at fragments in their order has
one message in hand at a time, and a fragment costs the same whether it is the second or the ten
thousandth. Fragments that came too early wait in a dict; the blocks that they form are kept as
intervals, which is what a SACK wants to know.

A message that is one fragment does not wait for others' losses: if it is unordered, or the next
one on its stream, it is handed out when it comes. Longer ones wait for their turn.

Numbers (TSN) are counted on past 2**32 here; only the wire has them modulo 2**32.
"""

from __future__ import annotations

from typing import Final

from duet_p2p.errors import ProtocolError
from duet_p2p.transport.sctp.chunks import FIRST, LAST, UNORDERED, build_sack
from duet_p2p.transport.sctp.events import Event, Message
from duet_p2p.transport.sctp.intervals import add

__all__ = ["Inbound", "unwrap"]

MODULUS: Final = 1 << 32
_HALF: Final = 1 << 31
_GAP_DISTANCE: Final = 65_535  # what a gap block of a SACK can express
_GAPS: Final = 200  # blocks in one SACK; a packet has to hold them
_DUPLICATES: Final = 16

_Held = tuple[int, int, int, int, bytes] | None  # flags, stream, sequence, ppid, payload


def unwrap(wire: int, near: int) -> int:
    """The number that is `wire` modulo 2**32 and closest to `near`."""
    return near + ((wire - near + _HALF) % MODULUS) - _HALF


class Inbound:
    """The receiving half of an association.

    Args:
        first: number of the first fragment to come.
        window: bytes that are kept while they wait for earlier ones.
        max_message: largest message in bytes; a longer one is an error before it is complete.
        events: where whole messages are put.

    Attributes:
        last: all fragments up to this number have arrived.
        wants_sack: something happened that the sender should know at once.
    """

    def __init__(self, first: int, window: int, max_message: int, events: list[Event]) -> None:
        self.last = first - 1
        self._events = events
        self.wants_sack = False
        self._window = window
        self._max_message = max_message
        self._held: dict[int, _Held] = {}
        self._held_bytes = 0
        self._blocks: list[list[int]] = []  # of held numbers, [first, last], in order
        self._duplicates: list[int] = []
        self._parts: list[bytes] | None = None  # of the message in hand
        self._stream = -1
        self._size = 0
        self._next: dict[int, int] = {}  # sequence number that a stream expects

    # fragments

    def take(
        self, wire: int, flags: int, stream: int, sequence: int, ppid: int, payload: bytes
    ) -> None:
        """Takes one DATA chunk.

        Raises:
            ProtocolError: it has no data, or makes a message that is too long.
        """
        if not payload:
            raise ProtocolError("The partner sent a DATA chunk without data.")
        last = self.last
        if wire == (last + 1) % MODULUS:
            self.last = last + 1
            if flags & 7 == FIRST | LAST and len(payload) <= self._max_message:
                # A whole message in its turn: what `_finish` does, for the usual case.
                self._parts = None
                self._next[stream] = (sequence + 1) & 0xFFFF
                self._events.append(Message(stream, ppid, payload))
            elif flags & 3 == 3:
                self._finish(flags, stream, sequence, ppid, payload)
            else:
                self._add(flags, stream, sequence, ppid, payload)
            if self._blocks:
                self.wants_sack = True
                self._catch_up()
            return
        self.wants_sack = True
        number = unwrap(wire, last)
        if number <= last or number in self._held:
            self._duplicates.append(wire)
        elif number - last < _GAP_DISTANCE and self._held_bytes < self._window:
            self._hold(number, (flags, stream, sequence, ppid, payload))

    def _hold(self, number: int, fragment: tuple[int, int, int, int, bytes]) -> None:
        flags, stream, sequence, ppid, payload = fragment
        add(self._blocks, number)
        if flags & 3 == 3 and (flags & UNORDERED or sequence == self._next.get(stream, 0)):
            self._held[number] = None
            self._finish(flags, stream, sequence, ppid, payload, in_hand=True)
            return
        self._held[number] = fragment
        self._held_bytes += len(payload)

    def _catch_up(self) -> None:
        """Takes the fragments that waited for the one that has just come."""
        if self._blocks[0][0] != self.last + 1:
            return
        first, end = self._blocks.pop(0)
        for number in range(first, end + 1):
            self._release(number)
        self.last = end

    def _release(self, number: int) -> None:
        fragment = self._held.pop(number)
        if fragment is None:  # handed out when it came
            return
        self._held_bytes -= len(fragment[4])
        if fragment[0] & 3 == 3:
            self._finish(*fragment)
        else:
            self._add(*fragment)

    def _add(self, flags: int, stream: int, sequence: int, ppid: int, payload: bytes) -> None:
        """A part of a longer message, in its turn."""
        if flags & FIRST:
            self._parts = [payload]
            self._stream = stream
            self._size = len(payload)
        else:
            parts = self._parts
            if parts is None or stream != self._stream:
                # The rest of a message that was given up.
                self._parts = None
                return
            parts.append(payload)
            self._size += len(payload)
            if self._size > self._max_message:
                raise ProtocolError("The partner sent a message that is too large.")
            if flags & LAST:
                self._finish(flags, stream, sequence, ppid, b"".join(parts))

    def _finish(
        self,
        flags: int,
        stream: int,
        sequence: int,
        ppid: int,
        message: bytes,
        *,
        in_hand: bool = False,
    ) -> None:
        if not in_hand:
            self._parts = None
        if len(message) > self._max_message:
            raise ProtocolError("The partner sent a message that is too large.")
        if not flags & UNORDERED:
            self._next[stream] = (sequence + 1) & 0xFFFF
        self._events.append(Message(stream, ppid, message))

    # what will not come any more

    def skip(self, wire: int, streams: tuple[tuple[int, int], ...]) -> None:
        """FORWARD TSN: nothing up to this number is still to come."""
        self.wants_sack = True
        target = unwrap(wire, self.last)
        if target <= self.last:
            return
        blocks = self._blocks
        while blocks and blocks[0][0] <= target:
            first, end = blocks.pop(0)
            if first > self.last + 1:
                self._parts = None  # what is missing in between was part of it
            if end > target + 1:
                blocks.insert(0, [target + 1, end])
                end = target
            for number in range(first, end + 1):
                self._release(number)
            self.last = end
        if self.last < target:
            self.last = target
            self._parts = None
        for stream, sequence in streams:
            following = (sequence + 1) & 0xFFFF
            if (following - self._next.get(stream, 0)) & 0xFFFF < 0x8000:
                self._next[stream] = following
        if blocks:
            self._catch_up()

    def reset_streams(self, streams: tuple[int, ...]) -> None:
        """The sequence numbers of some streams start again; none named: of all."""
        if not streams:
            self._next.clear()
        for stream in streams:
            self._next.pop(stream, None)

    # SACK

    @property
    def last_wire(self) -> int:
        """`last` as the wire has it."""
        return self.last % MODULUS

    def build_sack(self) -> bytes:
        """A SACK of what is here now.

        The message in hand does not count against the window: it is bounded by itself, and a
        message larger than the window could otherwise never be completed.
        """
        last = self.last
        gaps = [(first - last, end - last) for first, end in self._blocks[:_GAPS]]
        sack = build_sack(
            last % MODULUS,
            max(self._window - self._held_bytes, 0),
            gaps,
            self._duplicates[:_DUPLICATES],
        )
        self._duplicates.clear()
        self.wants_sack = False
        return sack
