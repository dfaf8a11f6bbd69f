"""A session over several associations: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConnectionLost,
    SessionLost,
)
from duet_p2p.protocol.connection import Pace
from duet_p2p.protocol.description import Channel
from duet_p2p.transport.memory import memory_pair
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import encode_frame
from duet_p2p.wire.messages import Ping, Withdraw
from tests.unit.session_kit import (  # noqa: F401 (one is a fixture)
    OWNER_ID,
    SCIENTIST_ID,
    End,
    Pair,
    linked,
    opened,
    opened_pair,
    until,
)


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


async def test_who_asks_for_ever_and_takes_no_answer_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers to pings are numbered by nobody, so no window holds them."""
    monkeypatch.setattr(limits, "UNSENT_MESSAGES", 50)
    monkeypatch.setattr(limits, "FEED_BYTES", 100)
    assert pair.owner.peer is not None and pair.scientist.peer is not None
    pair.owner.peer.pause()
    ping = encode_frame(0, [encode_message(Ping(7))])
    with contextlib.suppress(ConnectionLost):
        for _ in range(200):
            pair.scientist.peer.send(Channel.CTL, ping)
            await asyncio.sleep(0)
    await until(lambda: pair.owner.state_names[-1] == "lost")
    assert "does not take" in str(pair.owner.states[-1][1])
    await pair.connect()
    pair.owner.post(1)
    await until(lambda: pair.scientist.calls == [(1, 1)])


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
