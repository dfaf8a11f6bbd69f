"""Two sessions over peers in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from duet_p2p.errors import (
    ConnectionLost,
    DuetError,
)
from duet_p2p.protocol.connection import Pace
from duet_p2p.session.link import Link
from duet_p2p.session.session import Session
from duet_p2p.transport.memory import MemoryPeer, memory_pair
from duet_p2p.wire.messages import Denied, Message, Withdraw

OWNER_ID, SCIENTIST_ID = "S" + "0" * 31, "C" + "0" * 31


def linked(peer: MemoryPeer, partner_id: str, caps: Mapping[str, Any] | None = None) -> Link:
    """What the handshake hands over, without the handshake."""
    link = Link(
        peer,
        partner_id=partner_id,
        partner_pub=bytes(33),
        th=bytes(32),
        caps=caps or {},
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


@pytest.fixture(name="pair")
async def opened_pair() -> AsyncIterator[Pair]:
    """Two sessions that are open; nothing of them may be left."""
    async with opened(Pair()) as pair:
        yield pair
