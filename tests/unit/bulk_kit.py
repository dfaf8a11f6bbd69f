"""Two sides of channel 2 without a session, and what they send to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from duet_p2p.errors import ProtocolError
from duet_p2p.session.bulk import Bulk
from duet_p2p.session.bulk_header import Kind, pack, unpack
from duet_p2p.transport.base import Channel, Peer
from duet_p2p.transport.memory import memory_pair

__all__ = ["DEADLINE", "Growing", "Side", "chunk", "sides", "until", "view"]

DEADLINE = 20.0


class Side:
    """A session as far as channel 2 is concerned."""

    def __init__(self) -> None:
        self.complete: dict[int, bytes] = {}
        self.order: list[int] = []
        self.steps: list[tuple[int, int, int]] = []
        self.cancelled: list[int] = []
        self.messages: list[bytes] = []
        self.ends: list[Exception | None] = []
        self.problem: Exception | None = None
        self.bulk = Bulk(self._on_complete, self._on_progress, self.cancelled.append)

    def attach(self, peer: Peer, *, deflates: bool = False, inflates: bool = False) -> None:
        peer.on_frame = self._on_frame
        peer.on_closed = self.ends.append
        self.bulk.attach(peer, deflates=deflates, inflates=inflates)

    def _on_complete(self, transfer_id: int, data: memoryview) -> None:
        self.complete[transfer_id] = bytes(data)
        self.order.append(transfer_id)

    def _on_progress(self, transfer_id: int, received: int, total: int) -> None:
        self.steps.append((transfer_id, received, total))

    def _on_frame(self, channel: int, data: bytes) -> None:
        assert channel == Channel.BULK
        self.messages.append(data)
        try:
            self.bulk.feed(data)
        except ProtocolError as error:
            self.problem = error

    def kinds(self) -> list[tuple[Kind, int]]:
        return [unpack(message)[:2] for message in self.messages]


async def sides() -> tuple[Side, Side, Any, Any]:
    owner_peer, scientist_peer = await memory_pair()
    owner, scientist = Side(), Side()
    owner.attach(owner_peer)
    scientist.attach(scientist_peer)
    return owner, scientist, owner_peer, scientist_peer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


def view(data: bytes | bytearray) -> memoryview:
    return memoryview(data)


def chunk(transfer_id: int, offset: int, total: int, data: bytes) -> bytes:
    return pack(Kind.CHUNK, transfer_id, offset, total) + data


class Growing:
    """A source that is written while it is sent."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.nbytes = len(data)
        self.there = 0
        self.is_given_up = False

    def ready(self) -> int:
        if self.is_given_up:
            raise EOFError("nobody writes it any more")
        return self.there

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : min(offset + size, self.there)]
