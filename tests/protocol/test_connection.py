"""Two cores against each other, no socket, no clock."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.errors import ProtocolError, SessionLost
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
    State,
)
from duet_p2p.protocol.description import Channel
from duet_p2p.protocol.window import Incoming, Outgoing
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame, encode_frame
from duet_p2p.wire.messages import (
    Ack,
    Bye,
    Complete,
    Denied,
    Expired,
    Message,
    Ping,
    Pong,
    Resume,
    Settled,
    Withdraw,
)

EPOCH = b"e" * 16


class Side:
    """What a session is to its connections: windows that outlive them, and a log."""

    def __init__(self, role: str, epoch: bytes = b"") -> None:
        owner = role == "owner"
        self.role = role
        self.epoch = epoch
        self.outgoing = Outgoing(settles=not owner)
        self.incoming = Incoming(settles=owner)
        self.events: list[Event] = []
        self.connection: Any = None
        self.out: deque[tuple[int, bytes]] = deque()

    def connect(self, now: float, transfers: dict[int, int] | None = None) -> None:
        self.out.clear()
        self.connection = Connection(
            self.role,
            self.outgoing,
            self.incoming,
            epoch=self.epoch,
            transfers=transfers or {},
            now=now,
        )

    def post(self, call: int) -> int:
        message: Message = Denied(call, "") if self.role == "owner" else Withdraw(call)
        with self.outgoing.lock:
            return self.outgoing.push(encode_message(message))

    def take(self, channel: int, data: bytes, now: float) -> None:
        for event in self.connection.receive(channel, data, now):
            self.events.append(event)
            if isinstance(event, Resumed):
                self.epoch = event.epoch

    def flush(self, now: float) -> None:
        has_frames, frames = self.connection.has_frames(now), self.connection.take_frames(now)
        assert has_frames or not frames
        self.out.extend(frames)

    @property
    def got(self) -> list[tuple[int, int]]:
        """(number, call) of the messages that arrived."""
        result = []
        for event in self.events:
            if isinstance(event, Received):
                assert isinstance(event.message, Denied | Withdraw)
                result.append((event.seq, event.message.call))
        return result


class Pair:
    """An owner and a scientist and the frames between them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.owner = Side("owner", EPOCH)
        self.scientist = Side("scientist")
        self.connect()

    def connect(self) -> None:
        self.owner.connect(self.now)
        self.scientist.connect(self.now)

    def other(self, side: Side) -> Side:
        return self.owner if side is self.scientist else self.scientist

    def run(self, seconds: float = 0.0) -> None:
        """Passes frames until both are quiet, then lets time go by."""
        end = self.now + seconds
        while True:
            busy = True
            while busy:
                busy = False
                for side in (self.owner, self.scientist):
                    side.events += side.connection.tick(self.now)
                    side.flush(self.now)
                    while side.out:
                        busy = True
                        self.other(side).take(*side.out.popleft(), self.now)
            step = min(self.owner.connection.next_tick(), self.scientist.connection.next_tick())
            if step > end or self.now >= end:
                self.now = max(self.now, end)
                return
            self.now = max(step, self.now + 0.001)


def frame(*messages: Message, first: int = 0) -> bytes:
    return encode_frame(first, [encode_message(message) for message in messages])


def opened() -> Pair:
    pair = Pair()
    pair.run()
    return pair


def test_what_has_nothing_to_send_now_says_so() -> None:
    pair = opened()
    owner, scientist = pair.owner.connection, pair.scientist.connection
    assert not owner.has_frames(pair.now) and not scientist.has_frames(pair.now)
    pair.scientist.post(7)
    assert scientist.has_frames(pair.now)
    pair.run()
    assert not owner.has_frames(pair.now)  # the acknowledgement may wait
    assert owner.has_frames(owner.next_tick())
    pair.owner.post(8)
    assert owner.has_frames(pair.now)


def life(side: Side, now: float) -> list[Message]:
    """Life messages that a side sends now."""
    found: list[Message] = []
    for channel, data in side.connection.take_frames(now):
        first, messages = decode_frame(data)
        if channel == Channel.CTL and not first:
            found += messages
    return found


def test_both_say_resume_first_and_are_open() -> None:
    pair = Pair()
    assert life(pair.owner, pair.now) == [Resume(0, EPOCH, {})]
    assert life(pair.scientist, pair.now) == [Resume(0, b"", {})]
    pair = opened()
    assert pair.owner.connection.state is pair.scientist.connection.state is State.OPEN
    assert pair.scientist.events == [Resumed(0, EPOCH, {})]
    assert pair.owner.events == [Resumed(0, EPOCH, {})]


def test_nothing_numbered_leaves_before_the_others_resume() -> None:
    pair = Pair()
    pair.scientist.post(7)
    pair.scientist.flush(pair.now)
    assert [channel for channel, _ in pair.scientist.out] == [Channel.CTL]
    pair.run()
    assert pair.owner.got == [(1, 7)]


def test_commands_go_on_ops_and_answers_on_ctl() -> None:
    pair = opened()
    pair.owner.post(1)
    pair.scientist.post(2)
    for side, channel in ((pair.owner, Channel.CTL), (pair.scientist, Channel.OPS)):
        side.flush(pair.now)
        assert [found for found, _ in side.out] == [channel]
    pair.run()
    assert pair.owner.got == [(1, 2)]
    assert pair.scientist.got == [(1, 1)]


def test_commands_that_overtake_resume_are_taken() -> None:
    pair = Pair()
    pair.owner.take(Channel.OPS, frame(Withdraw(5), first=1), pair.now)
    assert pair.owner.got == [(1, 5)]


def test_acknowledgements_empty_the_buffers() -> None:
    pair = opened()
    for call in range(1, 100):
        pair.scientist.post(call)
        pair.owner.post(call)
    pair.run(limits.ACK_SECONDS * 2)
    assert pair.scientist.outgoing.unacked == pair.owner.outgoing.unacked == 0
    assert pair.scientist.outgoing.in_flight == 99, "nothing is settled yet"
    assert pair.owner.outgoing.in_flight == 0


def test_settled_is_told_on_a_tick_and_once() -> None:
    pair = opened()
    for call in range(1, 4):
        pair.scientist.post(call)
    pair.run()
    start = pair.owner.connection._start
    pair.now = start + 2.3 * limits.SETTLED_SECONDS
    pair.owner.incoming.settle(2)
    pair.owner.connection.settle(pair.now)
    pair.owner.incoming.settle(3)
    pair.owner.connection.settle(pair.now)
    assert Settled(3) not in life(pair.owner, start + 2.99 * limits.SETTLED_SECONDS)
    pair.run(limits.SETTLED_SECONDS)
    assert [event for event in pair.scientist.events if isinstance(event, SettledTo)] == [
        SettledTo(3)
    ]
    assert pair.scientist.outgoing.in_flight == 0
    pair.owner.connection.settle(pair.now)
    assert pair.owner.connection._settled_at is None


def test_what_is_settled_needs_no_acknowledgement_beside() -> None:
    pair = opened()
    pair.scientist.post(1)
    pair.run()
    pair.owner.incoming.settle(1)
    pair.owner.connection.settle(pair.now)
    later = pair.now + limits.ACK_SECONDS + limits.SETTLED_SECONDS
    assert life(pair.owner, later) == [Settled(1)]
    pair.scientist.post(2)
    pair.run()
    assert life(pair.owner, later + limits.ACK_SECONDS) == [Ack(2)], "it is not executed"


def test_settled_is_told_again_on_a_new_association() -> None:
    pair = opened()
    pair.scientist.post(1)
    pair.run()
    pair.owner.incoming.settle(1)
    pair.owner.connection.settle(pair.now)
    pair.connect()
    pair.run(1)
    assert SettledTo(1) in pair.scientist.events


def test_pings_measure_the_way_and_keep_both_alive() -> None:
    pair = opened()
    assert pair.owner.connection.rtt is None
    pair.run(60)
    assert pair.owner.connection.rtt == 0.0
    assert pair.scientist.connection.rtt == 0.0
    assert not [event for event in pair.owner.events if isinstance(event, Silent)]


def test_the_round_trip_is_that_of_the_newest_ping() -> None:
    pair = opened()
    later = pair.now + limits.PING_SECONDS
    assert life(pair.owner, later) == [Ping(1)]
    pair.owner.take(Channel.CTL, frame(Pong(1)), later + 0.25)
    assert pair.owner.connection.rtt == pytest.approx(0.25)
    with pytest.raises(ProtocolError, match="Pong"):
        pair.owner.take(Channel.CTL, frame(Pong(2)), later + 0.3)


def test_any_number_of_pings_gets_one_pong() -> None:
    pair = opened()
    pair.owner.take(Channel.CTL, frame(*[Ping(token) for token in range(1, 50)]), pair.now)
    assert life(pair.owner, pair.now) == [Pong(49)]


def test_silence_of_ten_seconds_is_a_loss() -> None:
    pair = opened()
    heard = pair.now
    assert pair.owner.connection.tick(heard + limits.PEER_LOST_SECONDS - 0.01) == []
    assert pair.owner.connection.tick(heard + limits.PEER_LOST_SECONDS) == [
        Silent(limits.PEER_LOST_SECONDS)
    ]
    assert pair.owner.connection.tick(heard + 99) == []
    assert pair.owner.connection.state is State.OVER


def test_a_partner_that_never_resumes_is_lost_too() -> None:
    pair = Pair()
    assert isinstance(pair.owner.connection.tick(pair.now + limits.PEER_LOST_SECONDS)[0], Silent)


def test_bytes_on_the_bulk_channel_are_life() -> None:
    pair = opened()
    pair.owner.connection.hear(pair.now + 9)
    assert pair.owner.connection.tick(pair.now + 18.9) == []


def test_bye_ends_it_and_nothing_counts_after_it() -> None:
    pair = opened()
    pair.scientist.connection.leave("closed")
    pair.scientist.connection.leave("error")
    assert life(pair.scientist, pair.now) == [Bye("closed")]
    pair.owner.take(Channel.CTL, frame(Bye("closed"), Ping(1)), pair.now)
    assert pair.owner.events[-1] == Left("closed")
    pair.owner.take(Channel.CTL, b"garbage", pair.now)
    assert life(pair.owner, pair.now + 60) == []


def test_bye_may_come_instead_of_resume() -> None:
    pair = Pair()
    pair.owner.take(Channel.CTL, frame(Bye("replaced")), pair.now)
    assert pair.owner.events == [Left("replaced")]


def test_transfers_and_their_end_are_told() -> None:
    pair = Pair()
    pair.scientist.connect(pair.now, {3: 65_536})
    pair.run()
    assert pair.owner.events == [Resumed(0, EPOCH, {3: 65_536})]
    pair.scientist.connection.complete(3)
    assert life(pair.scientist, pair.now) == [Complete(3)]
    pair.owner.take(Channel.CTL, frame(Complete(3)), pair.now)
    assert pair.owner.events[-1] == Completed(3)


# what the other side may not do

REFUSED_BY_OWNER = {
    "an answer": (Channel.OPS, frame(Expired(1), first=1)),
    "an answer on ctl": (Channel.CTL, frame(Expired(1), first=1)),
    "a command on ctl": (Channel.CTL, frame(Withdraw(1), first=1)),
    "life on ops": (Channel.OPS, frame(Ping(1))),
    "a gap": (Channel.OPS, frame(Withdraw(1), first=2)),
    "a second resume": (Channel.CTL, frame(Resume(0, b"", {}))),
    "settled": (Channel.CTL, frame(Settled(0))),
    "an acknowledgement of nothing": (Channel.CTL, frame(Ack(1))),
    "bytes": (Channel.OPS, b"\x00"),
}


@pytest.mark.parametrize("name", REFUSED_BY_OWNER)
def test_an_owner_refuses(name: str) -> None:
    pair = opened()
    before = len(pair.owner.events)
    with pytest.raises(ProtocolError):
        pair.owner.take(*REFUSED_BY_OWNER[name], pair.now)
    assert len(pair.owner.events) == before


REFUSED_BY_SCIENTIST = {
    "a command": (Channel.CTL, frame(Withdraw(1), first=1)),
    "a command on ops": (Channel.OPS, frame(Withdraw(1), first=1)),
    "an answer on ops": (Channel.OPS, frame(Expired(1), first=1)),
    "settling what was not sent": (Channel.CTL, frame(Settled(1))),
}


@pytest.mark.parametrize("name", REFUSED_BY_SCIENTIST)
def test_a_scientist_refuses(name: str) -> None:
    pair = opened()
    with pytest.raises(ProtocolError):
        pair.scientist.take(*REFUSED_BY_SCIENTIST[name], pair.now)


def test_resume_must_be_first() -> None:
    for data in (frame(Ping(1)), frame(Ack(0)), frame(Expired(1), first=1)):
        pair = Pair()
        with pytest.raises(ProtocolError):
            pair.scientist.take(Channel.CTL, data, pair.now)


def test_an_owner_without_an_epoch_is_refused() -> None:
    pair = Pair()
    with pytest.raises(ProtocolError):
        pair.scientist.take(Channel.CTL, frame(Resume(0, b"", {})), pair.now)


# one of the two was started again


def test_a_scientist_notices_that_the_owner_was_started_again() -> None:
    pair = opened()
    pair.scientist.post(1)
    pair.run()
    pair.owner = Side("owner", b"f" * 16)
    pair.connect()
    with pytest.raises(SessionLost):
        pair.run()


def test_a_scientist_of_another_epoch_is_refused_even_if_the_numbers_fit() -> None:
    pair = opened()
    pair.connect()
    with pytest.raises(SessionLost):
        pair.owner.take(Channel.CTL, frame(Resume(0, b"f" * 16, {})), pair.now)


def test_an_owner_notices_that_the_scientist_was_started_again() -> None:
    pair = opened()
    pair.scientist.post(1)
    pair.run()
    pair.owner.connect(pair.now)
    with pytest.raises(SessionLost):
        pair.owner.take(Channel.CTL, frame(Resume(0, b"", {})), pair.now)


def test_a_scientist_whose_first_association_broke_early_is_no_stranger() -> None:
    pair = Pair()
    pair.owner.post(1)
    pair.owner.take(Channel.CTL, frame(Resume(0, b"", {})), pair.now)
    pair.owner.flush(pair.now)
    pair.connect()
    pair.run()
    assert pair.scientist.got == [(1, 1)]


# losses

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["owner", "scientist"]), st.integers(1, 60)),
        st.tuples(st.just("deliver"), st.integers(0, 6)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 100)),
        st.tuples(st.just("reconnect"), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
def test_exactly_once_and_in_order_over_any_losses(schedule: list[tuple[str, int]]) -> None:
    pair = Pair()
    posted: dict[str, int] = {"owner": 0, "scientist": 0}
    for step, number in schedule:
        sides = {"owner": pair.owner, "scientist": pair.scientist}
        if step in sides:
            for _ in range(number):
                posted[step] += 1
                sides[step].post(posted[step])
        elif step == "deliver":
            # some frames of each side arrive, the channels one after the other
            for side in sides.values():
                side.flush(pair.now)
                for _ in range(min(number, len(side.out))):
                    pair.other(side).take(*side.out.popleft(), pair.now)
        elif step == "settle":
            pair.owner.incoming.settle(pair.owner.incoming.received)
            pair.owner.connection.settle(pair.now)
        elif step == "wait":
            pair.now += number / 1000
        else:
            pair.connect()  # everything that is under way is lost
    pair.connect()
    pair.run(0.1)
    expected = {side: [(n, n) for n in range(1, posted[side] + 1)] for side in posted}
    assert pair.owner.got == expected["scientist"]
    assert pair.scientist.got == expected["owner"]
    assert pair.owner.outgoing.unacked == pair.scientist.outgoing.unacked == 0


def test_the_pace_can_be_another() -> None:
    side = Side("owner", EPOCH)
    connection = Connection(
        "owner",
        side.outgoing,
        side.incoming,
        epoch=EPOCH,
        transfers={},
        now=0.0,
        pace=Pace(ping=0.1, lost=0.5),
    )
    assert connection.next_tick() == 0.1
    assert connection.tick(0.5) == [Silent(0.5)]
