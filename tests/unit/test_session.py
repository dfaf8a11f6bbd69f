"""Two sessions over peers in memory: messages, blobs, losses and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConnectionLost,
    DuetError,
    PartnerLeft,
    ProtocolError,
    SessionClosed,
    SessionLost,
)
from duet_p2p.protocol.connection import Pace
from duet_p2p.protocol.description import Channel
from duet_p2p.session.link import Link
from duet_p2p.session.session import Session
from duet_p2p.session.transfers import Moving
from duet_p2p.transport.memory import MemoryPeer, memory_pair
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import encode_frame
from duet_p2p.wire.messages import Denied, Message, Put, Value, Withdraw
from duet_p2p.wire.values import Blob, Span, TensorData

OWNER_ID, SCIENTIST_ID = "S" + "0" * 31, "C" + "0" * 31


def linked(peer: MemoryPeer, partner_id: str) -> Link:
    """What the handshake hands over, without the handshake."""
    link = Link(
        peer,
        partner_id=partner_id,
        partner_pub=bytes(33),
        th=bytes(32),
        caps={},
        audit_head=b"",
        attempt=1,
        on_second_proof=lambda data: None,
    )
    peer.on_frame = link.deliver
    peer.on_closed = lambda error: link.end(
        error if isinstance(error, DuetError) else ConnectionLost()
    )
    return link


class End:
    """A session and what it said."""

    def __init__(self, role: str, pace: Pace | None = None) -> None:
        self.session = Session(role, asyncio.get_running_loop(), pace=pace)
        self.messages: list[tuple[int, Message]] = []
        self.settled: list[int] = []
        self.states: list[tuple[str, Exception | None]] = []
        self.link_ends: list[DuetError] = []
        self.peer: MemoryPeer | None = None
        self.session.on_message = lambda seq, message: self.messages.append((seq, message))
        self.session.on_settled = self.settled.append
        self.session.on_state = lambda state, error: self.states.append((state, error))
        self.session.on_link_end = self.link_ends.append

    @property
    def calls(self) -> list[tuple[int, int]]:
        return [(seq, m.call) for seq, m in self.messages if isinstance(m, Withdraw | Denied)]

    @property
    def state_names(self) -> list[str]:
        return [state for state, _ in self.states]

    def post(self, call: int) -> int:
        owner = self.session.role == "owner"
        return self.session.post(Denied(call, "") if owner else Withdraw(call))


class Pair:
    """An owner's and a scientist's session."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.owner = End("owner", pace)
        self.scientist = End("scientist", pace)

    async def connect(self) -> None:
        self.owner.peer, self.scientist.peer = await memory_pair()
        self.owner.session.attach(linked(self.owner.peer, SCIENTIST_ID))
        self.scientist.session.attach(linked(self.scientist.peer, OWNER_ID))
        await until(lambda: self.owner.session.is_open and self.scientist.session.is_open)

    def lose(self, *, silently: bool = False) -> None:
        assert self.owner.peer is not None
        self.owner.peer.lose(silently=silently)

    async def close(self) -> None:
        await asyncio.gather(self.owner.session.close(), self.scientist.session.close())


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with opened(Pair()) as pair:
        yield pair


@contextlib.asynccontextmanager
async def opened(pair: Pair) -> AsyncIterator[Pair]:
    before = asyncio.all_tasks()
    await pair.connect()
    yield pair
    await pair.close()
    mine = asyncio.current_task()
    await until(lambda: asyncio.all_tasks() - before <= {mine}, seconds=2)
    assert not pair.owner.session._retiring
    assert pair.owner.session._timer is pair.scientist.session._timer is None


# messages


async def test_both_open_and_messages_go_both_ways(pair: Pair) -> None:
    assert pair.owner.states == pair.scientist.states == [("open", None)]
    assert [pair.scientist.post(call) for call in (5, 6)] == [1, 2]
    assert pair.owner.post(7) == 1
    await until(lambda: len(pair.owner.messages) == 2 and len(pair.scientist.messages) == 1)
    assert pair.owner.calls == [(1, 5), (2, 6)]
    assert pair.scientist.calls == [(1, 7)]
    assert pair.scientist.session.partner_id == OWNER_ID
    assert pair.scientist.session.epoch == pair.owner.session.epoch
    await until(lambda: pair.owner.session.status()["unacknowledged"] == 0)


async def test_messages_wait_for_the_first_association() -> None:
    pair = Pair()
    pair.scientist.post(1)
    pair.owner.post(2)
    assert pair.owner.session.status()["state"] == "connecting"
    async with opened(pair):
        await until(lambda: pair.owner.calls == [(1, 1)] and pair.scientist.calls == [(1, 2)])


async def test_many_messages_share_frames(pair: Pair) -> None:
    before = pair.scientist.session.status()["frames_out"]
    for call in range(1, 1001):
        pair.scientist.post(call)
    await until(lambda: len(pair.owner.messages) == 1000)
    assert pair.scientist.session.status()["frames_out"] - before < 10
    assert pair.owner.calls == [(call, call) for call in range(1, 1001)]


async def test_settled_opens_the_window_and_is_told(pair: Pair) -> None:
    for call in range(1, 11):
        pair.scientist.post(call)
    await until(lambda: len(pair.owner.messages) == 10)
    assert pair.scientist.session.status()["commands_in_flight"] == 10
    pair.owner.session.settled(4)
    pair.owner.session.settled(9)
    await until(lambda: pair.scientist.settled == [9])
    assert pair.scientist.session.status()["commands_in_flight"] == 1


async def test_a_handler_may_answer_at_once(pair: Pair) -> None:
    pair.owner.session.on_message = lambda seq, message: pair.owner.post(seq * 10) and None
    pair.scientist.post(1)
    pair.scientist.post(2)
    await until(lambda: pair.scientist.calls == [(1, 10), (2, 20)])


async def test_the_status_has_path_and_round_trip() -> None:
    async with opened(Pair(Pace(ping=0.03, lost=5))) as pair:
        await until(lambda: pair.owner.session.status()["rtt"] is not None)
        status = pair.owner.session.status()
        assert (status["state"], status["path"].kind) == ("open", "memory")
        assert 0 < status["rtt"] < 2


# from other threads


async def test_threads_put_in_order_and_only_once(pair: Pair) -> None:
    def program(base: int) -> list[int]:
        return [pair.scientist.session.outbox.put(Withdraw(base + n)) for n in range(500)]

    seqs = await asyncio.gather(*[asyncio.to_thread(program, base) for base in (1000, 5000)])
    await until(lambda: len(pair.owner.messages) == 1000)
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 1001))
    got = dict(pair.owner.calls)
    for base, numbers in zip((1000, 5000), seqs, strict=True):
        assert [got[seq] for seq in numbers] == [base + n for n in range(500)]
        assert numbers == sorted(numbers)


async def test_flush_does_not_wait_for_the_tick(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FRAME_FLUSH_SECONDS", 30.0)
    outbox = pair.scientist.session.outbox

    def program() -> None:
        outbox.put(Withdraw(1))
        outbox.flush()

    await asyncio.to_thread(program)
    await until(lambda: pair.owner.calls == [(1, 1)], seconds=5)
    # a full frame does not wait either, and less than one does while nothing else is sent
    await until(lambda: pair.scientist.session.status()["unacknowledged"] == 0)
    await asyncio.to_thread(outbox.put, Withdraw(2))
    await asyncio.sleep(0.1)
    assert len(pair.owner.messages) == 1
    await asyncio.to_thread(outbox.put, Put((1,), (b"x" * limits.FRAME_MAX_BYTES,), None))
    await until(lambda: len(pair.owner.messages) == 3, seconds=5)


async def test_what_cannot_be_encoded_fails_where_it_was_put(pair: Pair) -> None:
    with pytest.raises(TypeError):
        await asyncio.to_thread(pair.scientist.session.outbox.put, Put((1,), (object(),), None))
    with pytest.raises(ValueError):
        pair.scientist.post(0)
    assert pair.scientist.post(1) == 1, "no number was used up"


async def test_a_full_window_blocks_until_commands_are_settled(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    progress: list[int] = []

    def program() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 11):
            progress.append(outbox.put(Withdraw(call)))

    running = asyncio.create_task(asyncio.to_thread(program))
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS, seconds=30)
    await asyncio.sleep(0.1)
    assert not running.done()
    assert len(progress) == limits.WINDOW_COMMANDS
    pair.owner.session.settled(5)
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS + 5)
    pair.owner.session.settled(limits.WINDOW_COMMANDS)
    await asyncio.wait_for(running, 10)
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS + 10)


async def test_a_full_window_on_a_lost_link_ends_in_an_error(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    pair.lose()
    await until(lambda: "lost" in pair.scientist.state_names)

    def fill() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 1):
            outbox.put(Withdraw(call))

    await asyncio.to_thread(fill)
    with pytest.raises(ConnectionLost, match="too many"):
        await asyncio.to_thread(outbox.put, Withdraw(1), wait=0.05)
    await pair.connect()
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS)


async def test_who_waits_for_room_hears_of_the_end(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox

    def program() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 2):
            outbox.put(Withdraw(call))

    running = asyncio.create_task(asyncio.to_thread(program))
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS, seconds=30)
    await pair.scientist.session.close()
    with pytest.raises(SessionClosed):
        await asyncio.wait_for(running, 5)
    with pytest.raises(SessionClosed):
        outbox.put(Withdraw(1))
    with pytest.raises(SessionClosed):
        pair.scientist.post(1)


async def test_waiting_on_the_loop_itself_is_refused(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    for call in range(1, limits.WINDOW_COMMANDS + 1):
        outbox.put(Withdraw(call))
    with pytest.raises(RuntimeError, match="its own thread"):
        outbox.put(Withdraw(1))


async def test_a_partner_that_never_acknowledges_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WINDOW_COMMANDS", 10)
    assert pair.scientist.peer is not None
    pair.scientist.peer.pause()
    with pytest.raises(ConnectionLost):
        for call in range(1, 100):
            pair.owner.post(call)
    assert call == 10 * limits.WINDOW_SLACK + 1
    assert pair.owner.state_names == ["open", "closed"]
    pair.scientist.peer.resume()


# blobs


async def test_blobs_go_both_ways(pair: Pair) -> None:
    data = os.urandom(3_000_000)
    arrived: dict[str, Any] = {}

    def expect(end: End) -> Callable[[int, Message], None]:
        def on_message(seq: int, message: Message) -> None:
            assert isinstance(message, Put | Value) and message.blob is not None
            arrived[end.session.role] = end.session.expect_blob(
                message.blob.transfer, message.blob.nbytes
            )

        return on_message

    pair.owner.session.on_message = expect(pair.owner)
    pair.scientist.session.on_message = expect(pair.scientist)
    tensor = TensorData("uint8", (len(data),), Span(0, len(data)))
    done: list[tuple[int, int]] = []

    def upload() -> None:
        outbox = pair.scientist.session.outbox
        parts = [memoryview(data)[:1000], memoryview(data)[1000:]]
        transfer = outbox.send_blob(parts, len(data), lambda *at: done.append(at))
        outbox.put(Put((1,), (tensor,), Blob(transfer, len(data))))

    await asyncio.to_thread(upload)
    transfer = pair.owner.session.send_blob([data], len(data))
    pair.owner.session.post(Value(5, tensor, Blob(transfer, len(data))))
    await until(lambda: len(arrived) == 2)
    for future in arrived.values():
        assert bytes(await asyncio.wait_for(future, 10)) == data
    assert done[-1] == (len(data), len(data))
    # and nobody keeps the bytes
    for end in (pair.owner, pair.scientist):
        await until(lambda end=end: end.session.status()["transfers_out"] == 0)  # type: ignore[misc]
        assert end.session.outbox.declared == {}


async def test_what_is_under_way_can_be_watched(pair: Pair) -> None:
    data = os.urandom(300_000)
    seen: dict[str, list[Moving]] = {"owner": [], "scientist": []}
    for end in (pair.owner, pair.scientist):
        transfers = end.session.transfers
        seen_here = seen[end.session.role]
        transfers.on_change = lambda t=transfers, s=seen_here: s.extend(t.moving())  # type: ignore[misc]
    futures: list[asyncio.Future[memoryview]] = []
    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, len(data))
    )
    transfer = pair.scientist.session.send_blob([data], len(data))
    tensor = TensorData("uint8", (len(data),), Span(0, len(data)))
    pair.scientist.session.outbox.put(Put((1,), (tensor,), Blob(transfer, len(data))))
    await until(lambda: futures and futures[0].done())
    await until(lambda: not pair.scientist.session.transfers.moving())
    assert pair.owner.session.transfers.moving() == []
    for role, moved in seen.items():
        assert {(m.is_outgoing, m.nbytes) for m in moved} == {(role == "scientist", len(data))}
        assert [m.done for m in moved] == sorted(m.done for m in moved)
        assert any(0 < m.done < len(data) for m in moved)


async def test_a_blob_must_have_the_size_that_is_announced(pair: Pair) -> None:
    with pytest.raises(ValueError, match="announced"):
        pair.owner.session.send_blob([b"abc"], 4)
    with pytest.raises(ValueError, match="announced"):
        await asyncio.to_thread(pair.scientist.session.outbox.send_blob, [b"abc"], 4)


async def test_an_empty_blob_arrives(pair: Pair) -> None:
    futures: list[asyncio.Future[memoryview]] = []
    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, 0)
    )
    transfer = pair.scientist.session.send_blob([], 0)
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, 0)))
    await until(lambda: bool(futures))
    assert bytes(await asyncio.wait_for(futures[0], 5)) == b""


@pytest.mark.parametrize("when", ["before", "during", "after", "unconfirmed"])
async def test_a_blob_survives_losses(pair: Pair, when: str) -> None:
    data = os.urandom(6_000_000)
    futures: list[asyncio.Future[memoryview]] = []
    received: list[int] = []
    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, len(data), lambda done, _: received.append(done))
    )
    if when == "before":
        pair.lose()
        await until(lambda: not pair.scientist.session.is_open)
    transfer = pair.scientist.session.send_blob([data], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    if when == "during":
        await until(lambda: bool(received) and received[-1] > 500_000)
        assert received[-1] < len(data)
    elif when != "before":
        if when == "unconfirmed":  # the Complete is lost with the association
            assert pair.owner.session._connection is not None
            pair.owner.session._connection.complete = lambda transfer: None  # type: ignore[method-assign]
        await until(lambda: bool(futures) and futures[0].done())
    if when != "before":
        pair.lose()
        await until(lambda: not pair.scientist.session.is_open)
    await pair.connect()
    await until(lambda: bool(futures))
    assert bytes(await asyncio.wait_for(futures[0], 10)) == data
    assert len(futures) == 1
    assert received == sorted(set(received)), "no byte was taken twice"
    await until(lambda: pair.scientist.session.status()["transfers_out"] == 0)


async def test_a_refused_blob_ends_on_both_sides(pair: Pair) -> None:
    data = bytes(5_000_000)
    refused: list[int] = []

    def refuse(seq: int, message: Message) -> None:
        pair.owner.session.refuse_blob(1)
        refused.append(seq)

    pair.owner.session.on_message = refuse
    transfer = pair.scientist.session.send_blob([data], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    await until(lambda: pair.scientist.session.status()["transfers_out"] == 0)
    assert refused == [1]
    assert pair.owner.session.is_open


async def test_control_does_not_wait_behind_bulk(pair: Pair) -> None:
    data = bytes(30_000_000)
    pair.owner.session.on_message = lambda seq, message: (
        (pair.owner.session.expect_blob(1, len(data)) if isinstance(message, Put) else None)
        and None
    )
    transfer = pair.scientist.session.send_blob([data], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    await until(lambda: pair.owner.session.status()["bytes_in"] > 1_000_000)
    before = pair.owner.session.status()["bytes_in"]
    pair.owner.post(7)
    await until(lambda: pair.scientist.calls == [(1, 7)])
    assert pair.owner.session.status()["bytes_in"] - before < 10_000_000


async def test_who_waits_for_a_blob_hears_of_the_end(pair: Pair) -> None:
    future = pair.owner.session.expect_blob(1, 1000)
    await pair.owner.session.close()
    with pytest.raises(SessionClosed):
        await future
    with pytest.raises(SessionClosed):
        await pair.owner.session.expect_blob(2, 1000)


# losses


async def test_nothing_is_lost_or_doubled_over_a_new_association(pair: Pair) -> None:
    for call in range(1, 101):
        pair.scientist.post(call)
        pair.owner.post(call)
    await until(lambda: len(pair.owner.messages) > 0)
    pair.lose()
    for call in range(101, 201):
        pair.scientist.post(call)
        pair.owner.post(call)
    await until(lambda: pair.owner.state_names[-1] == pair.scientist.state_names[-1] == "lost")
    assert isinstance(pair.owner.states[-1][1], ConnectionLost)
    assert pair.owner.session.status()["state"] == "lost"
    await pair.connect()
    expected = [(call, call) for call in range(1, 201)]
    await until(lambda: pair.owner.calls == expected and pair.scientist.calls == expected)
    assert pair.owner.state_names == ["open", "lost", "open"]


@pytest.mark.parametrize("first", ["link", "send"])
async def test_a_loss_is_told_once_whoever_notices_it_first(pair: Pair, first: str) -> None:
    """The link's own report comes in the turn after the loss; a send may be due before it."""
    assert pair.owner.peer is not None
    report = pair.owner.peer.on_closed
    pair.owner.post(1)
    pair.lose()
    if first == "link":
        report(ConnectionLost())
    else:
        pair.owner.session.flush()
    assert pair.owner.state_names == ["open", "lost"]
    await until(lambda: pair.scientist.state_names[-1] == "lost")
    report(ConnectionLost())  # the link's, if it was not the first
    ends = [] if first == "link" else [ConnectionLost]
    assert [type(error) for error in pair.owner.link_ends] == ends
    assert pair.owner.state_names == ["open", "lost"]
    await pair.connect()
    await until(lambda: pair.scientist.calls == [(1, 1)])


async def test_silence_is_noticed_and_told() -> None:
    async with opened(Pair(Pace(ping=0.05, lost=0.3))) as pair:
        await asyncio.sleep(0.6)
        assert pair.owner.state_names == ["open"], "pings keep it alive"
        pair.lose(silently=True)
        pair.scientist.post(1)
        await until(lambda: pair.owner.state_names[-1] == pair.scientist.state_names[-1] == "lost")
        assert [type(error) for error in pair.owner.link_ends] == [ConnectionLost]
        await pair.connect()
        await until(lambda: pair.owner.calls == [(1, 1)])


async def test_a_newer_link_takes_over_at_once(pair: Pair) -> None:
    pair.scientist.post(1)
    await pair.connect()
    pair.scientist.post(2)
    await until(lambda: pair.owner.calls == [(1, 1), (2, 2)])
    assert pair.owner.link_ends == pair.scientist.link_ends == []


@pytest.mark.parametrize("rounds", [8])
async def test_threads_go_on_over_many_losses(pair: Pair, rounds: int) -> None:
    outbox = pair.scientist.session.outbox
    stop = threading.Event()
    sent: list[int] = []

    def program() -> None:
        while not stop.is_set():
            sent.append(outbox.put(Withdraw(len(sent) + 1)))
            if len(sent) % 50 == 0:
                stop.wait(0.001)

    running = asyncio.create_task(asyncio.to_thread(program))
    for _ in range(rounds):
        await asyncio.sleep(0.03)
        pair.owner.session.settled(len(pair.owner.messages))
        pair.lose()
        await until(lambda: not (pair.owner.session.is_open or pair.scientist.session.is_open))
        await pair.connect()
    stop.set()
    await running
    await until(lambda: len(pair.owner.messages) == len(sent))
    assert pair.owner.calls == [(n, n) for n in range(1, len(sent) + 1)]


async def test_an_owner_that_was_started_again_is_noticed(pair: Pair) -> None:
    pair.scientist.post(1)
    await until(lambda: len(pair.owner.messages) == 1)
    pair.lose()
    await until(lambda: not pair.scientist.session.is_open)
    fresh = End("owner")
    owner_peer, scientist_peer = await memory_pair()
    fresh.session.attach(linked(owner_peer, SCIENTIST_ID))
    pair.scientist.session.attach(linked(scientist_peer, OWNER_ID))
    await until(lambda: pair.scientist.state_names[-1] == "closed")
    assert isinstance(pair.scientist.states[-1][1], SessionLost)
    assert fresh.messages == []
    await fresh.session.close()


# ends


async def test_bye_is_seen_at_once_and_after_the_last_message(pair: Pair) -> None:
    start = asyncio.get_running_loop().time()
    for call in range(1, 100):
        pair.scientist.post(call)
    await pair.scientist.session.close()
    await until(lambda: pair.owner.state_names[-1] == "closed")
    assert asyncio.get_running_loop().time() - start < 1.0
    assert len(pair.owner.messages) == 99
    assert pair.scientist.states == [("open", None), ("closed", None)]
    error = pair.owner.states[-1][1]
    assert isinstance(error, PartnerLeft)
    assert error.reason == "closed"
    assert [type(error) for error in pair.owner.link_ends] == [PartnerLeft]
    await pair.scientist.session.close()
    assert pair.scientist.state_names == ["open", "closed"]
    with pytest.raises(SessionClosed):
        await pair.connect()


async def test_bye_does_not_overtake_the_last_commands(pair: Pair) -> None:
    assert pair.scientist.peer is not None
    pair.scientist.peer.pause()  # a slow network: more waits than SCTP takes at once
    for call in range(1, 11):
        pair.scientist.session.post(Put((call,), (b"x" * 50_000,), None))
    closing = asyncio.create_task(pair.scientist.session.close())
    await asyncio.sleep(0.1)
    pair.scientist.peer.resume()
    await closing
    await until(lambda: pair.owner.state_names[-1] == "closed")
    assert len(pair.owner.messages) == 10


async def test_the_owners_last_answer_arrives_before_bye(pair: Pair) -> None:
    pair.owner.post(1)
    await pair.owner.session.close("shutdown")
    await until(lambda: pair.scientist.state_names[-1] == "closed")
    assert pair.scientist.calls == [(1, 1)]
    error = pair.scientist.states[-1][1]
    assert isinstance(error, PartnerLeft)
    assert error.reason == "shutdown"


async def test_closing_does_not_wait_for_a_dead_partner(pair: Pair) -> None:
    pair.lose(silently=True)
    pair.scientist.post(1)
    start = asyncio.get_running_loop().time()
    await pair.scientist.session.close()
    assert asyncio.get_running_loop().time() - start < 3 * limits.CLOSE_SECONDS


async def test_a_session_without_a_link_closes(pair: Pair) -> None:
    session = Session("owner", asyncio.get_running_loop())
    await session.close()
    assert session.status()["state"] == "closed"


@pytest.mark.parametrize(
    ("channel", "data"),
    [
        (Channel.OPS, b"\x93\x01\x02"),
        (Channel.OPS, encode_frame(5, [encode_message(Withdraw(1))])),
        (Channel.CTL, encode_frame(1, [encode_message(Withdraw(1))])),
        (Channel.BULK, b"\x99"),
        (Channel.BULK, b""),
    ],
)
async def test_a_broken_rule_ends_the_session_on_both_sides(
    pair: Pair, channel: int, data: bytes
) -> None:
    assert pair.scientist.peer is not None
    pair.scientist.peer.send(channel, data)
    await until(lambda: pair.owner.state_names[-1] == "closed")
    assert isinstance(pair.owner.states[-1][1], ProtocolError)
    assert [type(error) for error in pair.owner.link_ends] == [ProtocolError]
    await until(lambda: pair.scientist.state_names[-1] == "closed")
    error = pair.scientist.states[-1][1]
    assert isinstance(error, PartnerLeft)
    assert error.reason == "error"
    assert pair.owner.messages == []


async def test_a_mistake_in_the_handler_ends_the_session(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(seq: int, message: Message) -> None:
        raise ZeroDivisionError

    pair.owner.session.on_message = fail
    pair.scientist.post(1)
    await until(lambda: pair.owner.state_names[-1] == "closed")
    assert isinstance(pair.owner.states[-1][1], ZeroDivisionError)
    assert "could not be handled" in caplog.text
    await until(lambda: pair.scientist.state_names[-1] == "closed")


async def test_the_links_own_end_for_good_ends_the_session(pair: Pair) -> None:
    owner_peer, scientist_peer = await memory_pair()
    link = linked(owner_peer, SCIENTIST_ID)
    pair.owner.session.attach(link)
    link.end(PartnerLeft(reason="closed"))
    assert isinstance(pair.owner.states[-1][1], PartnerLeft)
    assert pair.owner.state_names[-1] == "closed"
    await scientist_peer.close()
    await owner_peer.close()
