"""What is sent: messages become numbered fragments, and stay here until they have arrived.

Messages are cut when there is room for a fragment and not earlier, so a fragment has the size that
packets have at that moment, and a message that is given up before its first fragment leaves no
trace. Numbers (TSN) are counted on past 2**32 here; only the wire has them modulo 2**32.

Loss is seen as RFC 9260 wants it, by three reports of something newer; and again for a fragment
that was sent again, if what is newer was sent after that. Otherwise one fragment that is lost
twice would cost a whole timeout. When an answer is late, the oldest fragment is sent once more
before the timeout: that repairs a lost end, or brings back a report that was lost itself. When it
arrives and nothing after it is there, what had been sent before it is lost as well.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final

from duet_p2p.transport.sctp.chunks import (
    FIRST,
    LAST,
    UNORDERED,
    ForwardTsn,
    build_data,
)
from duet_p2p.transport.sctp.congestion import CongestionWindow, RoundTrip
from duet_p2p.transport.sctp.inbound import MODULUS, unwrap
from duet_p2p.transport.sctp.intervals import difference
from duet_p2p.transport.sctp.outgoing import Outgoing, user_data_of
from duet_p2p.transport.sctp.packet import HEADER_BYTES

__all__ = ["Outbound"]

_MISSES: Final = 3  # reports of something newer, until a fragment counts as lost

# Where a fragment is. Integers, because this is looked at for each fragment of each report.
_IN_FLIGHT, _LOST, _ARRIVED, _GIVEN_UP = range(4)


class _Fragment:
    __slots__ = ("message", "misses", "newest", "sent_at", "sent_count", "size", "state", "wire")

    def __init__(self, message: Outgoing, wire: bytes, size: int, now: float) -> None:
        self.message = message
        self.wire = wire
        self.size = size
        self.sent_at = now
        self.sent_count = 1
        self.state = _IN_FLIGHT
        self.misses = 0
        self.newest = 0  # only reports of later numbers tell something about it


class Outbound:
    """The sending half of an association.

    Args:
        first: number of the first fragment.
        packet: size of a packet in bytes, without what DTLS, UDP and IP add.

    Attributes:
        queued: bytes of messages that are not cut into fragments yet.
        retransmissions: fragments that were sent again.
        released: bytes by stream that were cut into fragments, for the caller to take.
        deadline: when the oldest fragment in flight is overdue, or None.
        expiries: deadlines that passed in a row.
        gives_up: whether the other side understands that messages are given up.
    """

    def __init__(self, first: int, packet: int) -> None:
        self._next = first
        self._acked = first - 1
        self._skipped = first - 1  # advanced peer ack point of RFC 3758
        self._packet = packet
        self._unit = user_data_of(packet)
        self.window = CongestionWindow(self._unit, 1 << 17)
        self.round_trip = RoundTrip()
        self.peer_window = 1 << 17
        self.gives_up = False
        self._messages: deque[Outgoing] = deque()
        self._sequences: dict[int, int] = {}
        self._sent: dict[int, _Fragment] = {}
        self._lost: list[int] = []  # a heap of numbers; some are not lost any more
        self._blocks: list[tuple[int, int]] = []  # reported beyond the first gap
        self._flight = 0
        self._is_full = False
        self._skipped_streams: dict[int, tuple[int, int]] = {}
        self._owes_skip = False
        self.queued = 0
        self.retransmissions = 0
        self.released: dict[int, int] = {}
        self.deadline: float | None = None
        self.expiries = 0
        self._may_probe = True  # whether `deadline` is that of a probe
        self._probed: int | None = None  # number of the fragment that a probe sent again
        self._resent_at = -1.0

    def agree(self, *, peer_window: int, gives_up: bool, packet: int) -> None:
        """What the other side said when the association was made."""
        self.peer_window = peer_window
        self.gives_up = gives_up
        self._packet = packet
        self._unit = user_data_of(packet)
        self.window = CongestionWindow(self._unit, peer_window)

    def set_packet(self, packet: int) -> None:
        """Packets are of another size from now on; what was cut already stays as it is."""
        self._packet = packet
        self._unit = user_data_of(packet)
        self.window.set_packet(self._unit)

    def put(self, message: Outgoing) -> None:
        """Queues one message of at least one byte."""
        self._messages.append(message)
        self.queued += len(message.data)

    @property
    def is_idle(self) -> bool:
        """Whether everything has arrived or was given up."""
        return not (self._messages or self._sent or self._owes_skip)

    @property
    def has_work(self) -> bool:
        """Whether `transmit` may have something to send."""
        return bool(self._messages or self._lost or self._owes_skip)

    @property
    def last_number(self) -> int:
        """Number of the last fragment that was made, as the wire has it."""
        return (self._next - 1) % MODULUS

    def is_queued(self, streams: tuple[int, ...]) -> bool:
        """Whether a message of one of these streams still waits to be cut."""
        return any(message.stream in streams for message in self._messages)

    def reset_sequences(self, streams: tuple[int, ...]) -> None:
        """Some streams start again at 0."""
        for stream in streams:
            self._sequences.pop(stream, None)
            self._skipped_streams.pop(stream, None)

    # sending

    def transmit(self, first: list[bytes], now: float) -> list[list[bytes]]:
        """Packs chunks: those of `first`, then what may be sent now.

        Returns:
            Packets, each a list of whole chunks, none larger than the packet size unless a chunk
            by itself is.
        """
        packets: list[list[bytes]] = []
        packet = first
        room = self._packet - HEADER_BYTES - sum(map(len, first))
        if self._owes_skip:
            self._owes_skip = False
            packet.append(skip := self._build_skip())
            room -= len(skip)
            self._start_timer(now)
        limit = min(self.window.size, self._flight + self.window.burst, self.peer_window)
        if self._lost:
            packet, room = self._send_again(packets, packet, room, limit, now)
        if self._messages and not self._lost:
            packet = self._send_new(packets, packet, room, limit, now)
        self._is_full = self._flight >= self.window.size
        if packet:
            packets.append(packet)
        return packets

    def _send_again(
        self, packets: list[list[bytes]], packet: list[bytes], room: int, limit: int, now: float
    ) -> tuple[list[bytes], int]:
        while self._lost and (self._flight < limit or not self._flight):
            number = heappop(self._lost)
            fragment = self._sent.get(number)
            if fragment is None or fragment.state != _LOST or self._give_up(number, now):
                continue
            fragment.state = _IN_FLIGHT
            fragment.sent_count += 1
            fragment.sent_at = self._resent_at = now
            fragment.misses = 0
            fragment.newest = self._next
            self._flight += fragment.size
            self.retransmissions += 1
            if number == self._acked + 1:
                self._set_deadline(now)
            wire = fragment.wire
            if len(wire) > room and packet:
                packets.append(packet)
                packet, room = [], self._packet - HEADER_BYTES
            packet.append(wire)
            room -= len(wire)
        self._start_timer(now)
        return packet, room

    def _send_new(
        self, packets: list[list[bytes]], packet: list[bytes], room: int, limit: int, now: float
    ) -> list[bytes]:
        messages, released, full = self._messages, self.released, self._packet - HEADER_BYTES
        while messages and (self._flight < limit or not self._flight):
            message = messages[0]
            if not message.position:
                if message.expires is not None and message.expires <= now and self.gives_up:
                    self._drop(messages.popleft())
                    continue
                if message.is_ordered:
                    message.sequence = self._sequences.get(message.stream, 0)
                    self._sequences[message.stream] = (message.sequence + 1) & 0xFFFF
            began = message.position
            for wire in self._cut(message, limit, now):
                size = len(wire)
                if size > room:
                    if packet:
                        packets.append(packet)
                    packet, room = [wire], full - size
                else:
                    packet.append(wire)
                    room -= size
            cut = message.position - began
            released[message.stream] = released.get(message.stream, 0) + cut
            self.queued -= cut
            if message.position == len(message.data):
                messages.popleft()
        self._start_timer(now)
        return packet

    def _cut(self, message: Outgoing, limit: int, now: float) -> list[bytes]:
        """Fragments of a message, as far as there is room in flight, but one at least."""
        data, unit, number, sent = message.data, self._unit, self._next, self._sent
        stream, sequence, ppid = message.stream, message.sequence, message.ppid
        order = 0 if message.is_ordered else UNORDERED
        size = len(data)
        if size <= unit and not message.position:  # most messages
            wire = build_data(FIRST | LAST | order, number % MODULUS, stream, sequence, ppid, data)
            sent[number] = _Fragment(message, wire, size, now)
            self._next += 1
            self._flight += size
            message.position = size
            return [wire]
        wires = []
        view = memoryview(data)
        position, flight = message.position, self._flight
        while position < size and (flight < limit or not flight):
            end = min(position + unit, size)
            flags = order | (0 if position else FIRST) | (LAST if end == size else 0)
            part = view[position:end]
            wire = build_data(flags, number % MODULUS, stream, sequence, ppid, part)
            sent[number] = _Fragment(message, wire, end - position, now)
            wires.append(wire)
            flight += end - position
            number += 1
            position = end
        self._flight, self._next = flight, number
        message.position = position
        return wires

    def _drop(self, message: Outgoing) -> None:
        left = len(message.data) - message.position
        self.released[message.stream] = self.released.get(message.stream, 0) + left
        self.queued -= left

    def _start_timer(self, now: float) -> None:
        if self.deadline is None and (self._flight or self._skipped > self._acked):
            self._set_deadline(now)

    def _set_deadline(self, now: float) -> None:
        probe = self.round_trip.probe if self._may_probe else None
        self.deadline = now + (self.round_trip.timeout if probe is None else probe)

    # reports

    def on_sack(
        self, wire: int, peer_window: int, gaps: tuple[tuple[int, int], ...], now: float
    ) -> None:
        """Takes a report of what has arrived; an old one, or one of the future, is nothing."""
        last = unwrap(wire, self._acked)
        if last < self._acked or last >= self._next:
            return
        before = self._acked
        arrived = self._take_arrived(last, now)
        if gaps:
            arrived += self._take_gaps(gaps, now)
        elif self._blocks:
            self._blocks = []
        self.window.arrived(last)
        if self._probed is not None and last >= self._probed:
            if last == self._probed:
                self._lose_earlier(self._resent_at, now)
            self._probed = None
        if last > before and self._is_full:
            self.window.grow(arrived)
        # Without anything in flight one fragment may always be sent: it asks for the window.
        self.peer_window = peer_window
        if self.gives_up:
            self._advance_skipped()
        if not self._sent and self._skipped <= self._acked:
            self.deadline = None
        elif last > before:
            self.round_trip.restore()
            self._may_probe = True
            self._set_deadline(now)
        if last > before or not peer_window:
            self.expiries = 0  # who has no room is slow, not gone

    def _take_arrived(self, last: int, now: float) -> int:
        """Everything up to `last`; returns bytes that are newly known to be there."""
        sent, flight, arrived = self._sent, self._flight, 0
        fragment = None
        for number in range(self._acked + 1, last + 1):
            fragment = sent.pop(number, None)
            if fragment is None:
                continue  # given up
            if fragment.state != _ARRIVED:
                arrived += fragment.size
                if fragment.state == _IN_FLIGHT:
                    flight -= fragment.size
        if fragment is not None and fragment.state == _IN_FLIGHT:
            self._measure(fragment, now)
        self._flight = flight
        self._acked = last
        return arrived

    def _measure(self, fragment: _Fragment, now: float) -> None:
        # What was on its way when something was lost may have had to wait for that.
        if fragment.sent_count == 1 and fragment.sent_at > self._resent_at:
            self.round_trip.measured(now - fragment.sent_at)

    def _take_gaps(self, gaps: tuple[tuple[int, int], ...], now: float) -> int:
        """Blocks beyond; marks what is missing before them."""
        blocks = self._merged(gaps)
        newest, arrived = 0, 0
        for first, end in difference(blocks, self._blocks):
            for number in range(first, end + 1):
                fragment = self._sent.get(number)
                if fragment is None or fragment.state in (_ARRIVED, _GIVEN_UP):
                    continue
                arrived += fragment.size
                if fragment.state == _IN_FLIGHT:
                    self._flight -= fragment.size
                fragment.state = _ARRIVED
                newest = number
        self._blocks = blocks
        if newest:
            self._measure(self._sent[newest], now)
            self._count_misses(blocks, newest, now)
        return arrived

    def _merged(self, gaps: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Blocks in ascending order, without overlap, of numbers that were sent."""
        blocks: list[tuple[int, int]] = []
        for start, end in sorted(gaps):
            first, final = self._acked + start, min(self._acked + end, self._next - 1)
            if blocks and first <= blocks[-1][1] + 1:
                first, final = blocks[-1][0], max(blocks[-1][1], final)
                blocks.pop()
            if self._acked < first <= final:
                blocks.append((first, final))
        return blocks

    def _count_misses(self, blocks: list[tuple[int, int]], newest: int, now: float) -> None:
        start = self._acked + 1
        # With few in flight there will not be three reports; waiting for them costs a timeout.
        enough = max(1, min(_MISSES, len(self._sent) - 1))
        for first, end in blocks:
            for number in range(start, min(first, newest)):
                fragment = self._sent.get(number)
                if fragment is None or fragment.state != _IN_FLIGHT or newest < fragment.newest:
                    continue
                fragment.misses += 1
                if fragment.misses >= enough:
                    self._lose(number, fragment, now)
            if end >= newest:
                break
            start = end + 1

    def _lose(self, number: int, fragment: _Fragment, now: float) -> None:
        self._flight -= fragment.size
        fragment.state = _LOST
        self.window.lost(self._next - 1)
        if not self._give_up(number, now):
            heappush(self._lost, number)

    def _lose_earlier(self, moment: float, now: float) -> None:
        """What is in flight since before a moment is lost: something sent then has arrived.

        As RFC 8985 has it for TCP. Without this the end of a burst that the path dropped came back
        one fragment at a time, each after another late answer.
        """
        for number, fragment in list(self._sent.items()):
            if fragment.state == _IN_FLIGHT and fragment.sent_at < moment:
                self._lose(number, fragment, now)

    def expire(self, now: float) -> None:
        """The deadline passed: an answer is late, or nothing in flight is believed in any more."""
        self.deadline = None
        if self._may_probe and self.round_trip.probe is not None:
            self._may_probe = False
            self._probe(now)
            return
        self.expiries += 1
        self.round_trip.back_off()
        self.window.timed_out()
        for fragment in self._sent.values():
            if fragment.state == _IN_FLIGHT:
                fragment.state = _LOST
            elif fragment.state == _ARRIVED and self.expiries > 1:
                fragment.state = _LOST  # the other side may take back what is not cumulative
        self._flight = 0
        self._blocks = []
        for number, found in list(self._sent.items()):
            if found.state == _LOST and not found.message.is_reliable:
                self._give_up(number, now)
        self._lost = [number for number, found in self._sent.items() if found.state == _LOST]
        heapify(self._lost)
        if self.gives_up:
            self._advance_skipped()
        self._start_timer(now)

    def _probe(self, now: float) -> None:
        oldest = next(
            (number for number, found in self._sent.items() if found.state == _IN_FLIGHT), None
        )
        if oldest is not None and self._sent[oldest].message.is_reliable:
            fragment = self._sent[oldest]
            fragment.state = _LOST
            self._flight -= fragment.size
            heappush(self._lost, oldest)
            self._probed = oldest
        self._set_deadline(now)

    # giving up (RFC 3758)

    def _give_up(self, number: int, now: float) -> bool:
        """Whether a lost fragment's message is given up, with all its fragments."""
        fragment = self._sent[number]
        message = fragment.message
        if message.is_reliable or not self.gives_up:
            return False
        too_often = (
            message.max_retransmits is not None and fragment.sent_count > message.max_retransmits
        )
        too_late = message.expires is not None and message.expires <= now
        if not (too_often or too_late or message.is_given_up):
            return False
        if not message.is_given_up:
            message.is_given_up = True
            self._give_up_fragments(message, number)
            if message.position < len(message.data):
                # The number after its last fragment is spent on the rest that is never sent: a
                # message that came next to it without a gap would seem to be its continuation.
                self._messages.remove(message)
                self._drop(message)
                self._sent[self._next] = rest = _Fragment(message, b"", 0, now)
                rest.state = _GIVEN_UP
                self._next += 1
        self._advance_skipped()
        return True

    def _give_up_fragments(self, message: Outgoing, number: int) -> None:
        for step in (-1, 1):
            at = number if step < 0 else number + 1
            while (found := self._sent.get(at)) is not None and found.message is message:
                if found.state == _IN_FLIGHT:
                    self._flight -= found.size
                found.state = _GIVEN_UP
                at += step

    def _advance_skipped(self) -> None:
        number = max(self._skipped, self._acked)
        while (fragment := self._sent.get(number + 1)) is not None:
            if fragment.state != _GIVEN_UP:
                break
            number += 1
            del self._sent[number]
            if fragment.message.is_ordered:
                self._skipped_streams[fragment.message.stream] = (
                    fragment.message.sequence,
                    number,
                )
        self._skipped = number
        if number > self._acked:
            self._owes_skip = True
        elif self._skipped_streams:
            self._skipped_streams = {}

    def _build_skip(self) -> bytes:
        streams = tuple(
            (stream, sequence)
            for stream, (sequence, number) in self._skipped_streams.items()
            if number > self._acked
        )
        return bytes(ForwardTsn(self._skipped % MODULUS, streams[:256]))
