"""Numbers, acknowledgements and room, without a connection."""

from __future__ import annotations

import pytest

from duet_p2p import limits
from duet_p2p.errors import ProtocolError, SessionLost
from duet_p2p.protocol.window import Incoming, Outgoing
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame
from duet_p2p.wire.messages import Withdraw


def message(call: int) -> bytes:
    return encode_message(Withdraw(call))


def pushed(count: int, *, settles: bool = True) -> Outgoing:
    outgoing = Outgoing(settles=settles)
    for call in range(1, count + 1):
        assert outgoing.push(message(call)) == call
    return outgoing


def sent(outgoing: Outgoing) -> list[tuple[int, int]]:
    """(number, call) of everything that leaves now."""
    result = []
    for frame in outgoing.take_frames():
        first, messages = decode_frame(frame)
        for index, found in enumerate(messages):
            assert isinstance(found, Withdraw)
            result.append((first + index, found.call))
    return result


def test_messages_are_numbered_from_one_and_leave_once() -> None:
    outgoing = pushed(3)
    assert sent(outgoing) == [(1, 1), (2, 2), (3, 3)]
    assert sent(outgoing) == []
    outgoing.push(message(4))
    assert outgoing.has_unsent
    assert sent(outgoing) == [(4, 4)]


def test_what_was_not_acknowledged_is_sent_again_after_a_rewind() -> None:
    outgoing = pushed(5)
    sent(outgoing)
    outgoing.acked(2)
    assert outgoing.unacked == 3
    outgoing.rewind(3)
    assert sent(outgoing) == [(4, 4), (5, 5)]
    assert outgoing.unacked == 2


def test_a_rewind_to_what_is_not_kept_or_was_never_made_loses_the_session() -> None:
    outgoing = pushed(5)
    sent(outgoing)
    outgoing.acked(3)
    for seq in (0, 2, 6):
        with pytest.raises(SessionLost):
            outgoing.rewind(seq)
    outgoing.rewind(5)
    assert sent(outgoing) == []


def test_an_older_acknowledgement_changes_nothing() -> None:
    outgoing = pushed(5)
    sent(outgoing)
    outgoing.acked(4)
    outgoing.acked(2)
    assert outgoing.acked_seq == 4


@pytest.mark.parametrize("name", ["acked", "settled"])
def test_nothing_is_acknowledged_before_it_was_sent(name: str) -> None:
    outgoing = pushed(5)
    with pytest.raises(ProtocolError):
        getattr(outgoing, name)(1)
    sent(outgoing)
    with pytest.raises(ProtocolError):
        getattr(outgoing, name)(6)
    getattr(outgoing, name)(5)


def test_commands_are_in_flight_until_they_are_settled() -> None:
    outgoing = pushed(4)
    sent(outgoing)
    outgoing.acked(4)
    assert (outgoing.in_flight, outgoing.unacked) == (4, 0)
    outgoing.settled(3)
    assert outgoing.in_flight == 1
    assert outgoing.bytes_in_flight == len(message(4))


def test_what_is_settled_was_received() -> None:
    outgoing = pushed(4)
    sent(outgoing)
    outgoing.settled(3)
    assert (outgoing.acked_seq, outgoing.unacked) == (3, 1)


def test_answers_are_in_flight_until_they_are_acknowledged() -> None:
    outgoing = pushed(4, settles=False)
    sent(outgoing)
    outgoing.acked(3)
    assert outgoing.in_flight == 1
    with pytest.raises(ProtocolError, match="settled"):
        outgoing.settled(4)


def test_room_for_messages_ends_at_the_limit() -> None:
    outgoing = pushed(limits.WINDOW_COMMANDS - 1)
    assert outgoing.has_room(3)
    outgoing.push(message(1))
    assert not outgoing.has_room(3)
    assert outgoing.has_room(3, times=2)
    sent(outgoing)
    outgoing.settled(1)
    assert outgoing.has_room(3)


def test_room_for_bytes_ends_at_the_limit() -> None:
    outgoing = Outgoing(settles=True)
    assert outgoing.has_room(2 * limits.WINDOW_BYTES), "a single message always fits"
    outgoing.push(bytes(limits.WINDOW_BYTES - 5))
    assert outgoing.has_room(5)
    assert not outgoing.has_room(6)


def test_duplicates_are_dropped_and_gaps_refused() -> None:
    incoming = Incoming(settles=True)
    assert incoming.take(1, 3, 10, now=0) == 0
    assert incoming.take(2, 4, 10, now=0) == 2
    assert incoming.take(1, 5, 10, now=0) == 5
    assert incoming.received == 5
    with pytest.raises(ProtocolError):
        incoming.take(7, 1, 10, now=0)
    assert incoming.received == 5
    assert incoming.take(6, 1, 10, now=0) == 0


def test_an_acknowledgement_is_due_after_enough_messages_or_time() -> None:
    incoming = Incoming(settles=True)
    assert not incoming.is_ack_due(100)
    incoming.take(1, limits.ACK_EVERY_COMMANDS - 1, 10, now=100)
    assert not incoming.is_ack_due(100)
    assert incoming.ack_at == 100 + limits.ACK_SECONDS
    assert incoming.is_ack_due(100 + limits.ACK_SECONDS)
    incoming.take(limits.ACK_EVERY_COMMANDS, 1, 10, now=100)
    assert incoming.is_ack_due(100)
    assert incoming.ack() == limits.ACK_EVERY_COMMANDS
    assert incoming.ack_at is None
    assert not incoming.is_ack_due(200)


def test_a_duplicate_is_acknowledged_too() -> None:
    incoming = Incoming(settles=True)
    incoming.take(1, 1, 10, now=0)
    incoming.ack()
    incoming.take(1, 1, 10, now=1)
    assert incoming.ack_at == 1 + limits.ACK_SECONDS


def test_commands_past_the_window_are_refused() -> None:
    most = limits.WINDOW_COMMANDS * limits.WINDOW_SLACK
    incoming = Incoming(settles=True)
    incoming.take(1, most, 10, now=0)
    with pytest.raises(ProtocolError, match="more commands"):
        incoming.take(most + 1, 1, 10, now=0)
    incoming = Incoming(settles=True)
    incoming.take(1, most, 10, now=0)
    incoming.settle(1)
    incoming.take(most + 1, 1, 10, now=0)


def test_bytes_past_the_window_are_refused() -> None:
    incoming = Incoming(settles=True)
    incoming.take(1, 1, limits.WINDOW_BYTES * limits.WINDOW_SLACK, now=0)
    incoming.settle(1)
    incoming.take(2, 1, limits.WINDOW_BYTES * limits.WINDOW_SLACK, now=0)
    with pytest.raises(ProtocolError, match="more commands"):
        incoming.take(3, 1, 1, now=0)


def test_only_what_was_received_can_be_settled() -> None:
    incoming = Incoming(settles=True)
    incoming.take(1, 2, 10, now=0)
    with pytest.raises(ValueError, match="not received"):
        incoming.settle(3)
    incoming.settle(2)
    incoming.settle(1)
    assert incoming.settled == 2
