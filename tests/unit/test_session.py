"""Two sessions over peers in memory: messages and ends."""

from __future__ import annotations

import asyncio

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    PartnerLeft,
    ProtocolError,
    SessionClosed,
)
from duet_p2p.protocol.connection import Pace
from duet_p2p.protocol.description import Channel
from duet_p2p.session.session import Session
from duet_p2p.transport.memory import memory_pair
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import encode_frame
from duet_p2p.wire.messages import Message, Put, Withdraw
from tests.unit.session_kit import (  # noqa: F401 (one is a fixture)
    OWNER_ID,
    SCIENTIST_ID,
    Pair,
    linked,
    opened,
    opened_pair,
    until,
)

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
