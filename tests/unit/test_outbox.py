"""The way out of one socket: what waits, what is too much, and what happens then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from signaling_server import frames
from signaling_server.limits import Limits
from signaling_server.metrics import Metrics
from signaling_server.outbox import Outbox

DRAIN = frames.Drain(1)
SIZE = len(frames.encode(DRAIN))


class Socket:
    """A WebSocket whose reader may stop reading; it writes down what arrives."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent: list[str] = []
        self.closed: tuple[int, bytes] | None = None

    async def send_str(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(text)

    def code(self) -> int | None:
        return self.closed[0] if self.closed else None

    async def close(self, *, code: int, message: bytes) -> bool:
        self.closed = self.closed or (code, message)
        await self.reads.wait()
        return True


class Transport(asyncio.WriteTransport):
    """Notes when it was aborted."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket
        self.aborted: float | None = None

    def was_aborted(self) -> bool:
        return self.aborted is not None

    def abort(self) -> None:
        self.aborted = time.monotonic()
        self._socket.reads.set()


@asynccontextmanager
async def outbox(**limits: Any) -> AsyncIterator[tuple[Outbox, Socket, Transport]]:
    socket = Socket()
    transport = Transport(socket)
    box = Outbox(cast(Any, socket), transport, Limits(**limits), Metrics())
    await asyncio.sleep(0)
    try:
        yield box, socket, transport
    finally:
        socket.reads.set()
        await box.end()


async def test_64_frames_wait_and_one_more_closes() -> None:
    async with outbox() as (box, socket, transport):
        assert all(box.put(DRAIN) for _ in range(64))
        await asyncio.sleep(0.01)
        assert socket.code() is None
        began = time.monotonic()
        assert not box.put(DRAIN)
        assert not box.put(DRAIN)
        await asyncio.sleep(0.01)
        assert socket.closed == (4005, b"slow consumer")
        assert not transport.was_aborted()
        await asyncio.sleep(1.2)
        assert transport.aborted is not None
        assert 0.9 < transport.aborted - began < 1.2


async def test_bytes_are_counted_until_they_have_left() -> None:
    async with outbox(out_queue_bytes=3 * SIZE) as (box, socket, _):
        assert [box.put(DRAIN) for _ in range(3)] == [True] * 3
        socket.reads.set()
        await asyncio.sleep(0.01)
        assert len(socket.sent) == 3
        socket.reads.clear()
        assert [box.put(DRAIN) for _ in range(4)] == [True] * 3 + [False]
        await asyncio.sleep(0.01)
        assert socket.code() == 4005


async def test_a_frame_that_does_not_leave_in_time_closes() -> None:
    async with outbox(send_timeout=0.1) as (box, socket, _):
        box.put(DRAIN)
        await asyncio.sleep(0.05)
        assert socket.code() is None
        await asyncio.sleep(0.15)
        assert socket.code() == 4005


async def test_what_was_queued_before_a_close_leaves_first_and_nothing_after_it() -> None:
    async with outbox() as (box, socket, transport):
        box.put(DRAIN)
        box.close(1012, "restart")
        box.close(4000, "too late")
        assert not box.put(DRAIN)
        socket.reads.set()
        await asyncio.sleep(0.01)
        assert len(socket.sent) == 1
        assert socket.closed == (1012, b"restart")
        assert not transport.was_aborted()


async def test_a_close_that_nobody_reads_is_aborted() -> None:
    async with outbox(send_timeout=0.1) as (box, _, transport):
        box.close(1012)
        await asyncio.sleep(0.3)
        assert not transport.was_aborted()
        await asyncio.sleep(1.0)
        assert transport.was_aborted()
