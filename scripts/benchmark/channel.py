"""The data channel by itself: two processes, no engine."""

from __future__ import annotations

import asyncio
import os
import pickle
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from duet_p2p import limits
from duet_p2p.transport.base import Channel
from duet_p2p.transport.webrtc import WebRtcPeer
from scripts.benchmark.bad_network import BadNetwork

__all__ = ["SMALL", "Measured", "bulk", "measure", "round_trips"]

_T = TypeVar("_T")

SMALL = 200  # bytes
PINGS = 200
_SECONDS = 240


@dataclass(frozen=True)
class Measured:
    """What one association did."""

    bulk: float
    """Bytes per second."""
    small: float
    """Messages per second."""
    ping: float
    """Seconds of a round trip, median."""
    throughput: tuple[tuple[int, float], ...]
    """Bytes per second by size of the messages."""


async def receive(peer: WebRtcPeer) -> None:
    """The other process: counts, and answers each message on channel 0."""
    done = asyncio.Event()
    counted = {Channel.OPS: 0, Channel.BULK: 0}

    def on_frame(channel: int, data: bytes) -> None:
        if channel == Channel.CTL:
            if data.startswith(b"total"):
                peer.send(0, str(counted[Channel.OPS] + counted[Channel.BULK]).encode())
            else:
                peer.send(0, data)
            return
        counted[Channel(channel)] += len(data)
        if data.endswith(b"last"):
            peer.send(0, b"done")

    peer.on_frame = on_frame
    peer.on_closed = lambda _error: done.set()
    await done.wait()


class Sender:
    """This process."""

    def __init__(self, peer: WebRtcPeer) -> None:
        self.peer = peer
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        peer.on_frame = lambda _channel, data: self.answers.put_nowait(data)

    async def ping(self, count: int = PINGS) -> float:
        """Median seconds of a round trip."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.peer.send(0, bytes(SMALL))
            await self.answers.get()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    async def stream(self, channel: Channel, message: bytes, count: int) -> float:
        """Seconds until the other process has had the last of them."""
        started = time.perf_counter()
        for number in range(count - 1):
            self.peer.send(channel, message)
            if number % 64 == 63 or len(message) > 10_000:
                await self.peer.drain(channel, limits.BULK_BUFFER_BYTES)
        self.peer.send(channel, message[:-4] + b"last")
        assert await self.answers.get() == b"done"
        return time.perf_counter() - started


@asynccontextmanager
async def _connected(
    kind: str, packet: int, network: BadNetwork | None
) -> AsyncIterator[WebRtcPeer]:
    """Our peer, connected to one in another process."""
    if packet:
        limits.SCTP_PACKET_MAX_BYTES = packet  # type: ignore[misc]
    peer = WebRtcPeer(controlling=True, loopback=True, sctp=kind)  # type: ignore[arg-type]
    offer = await peer.gather()
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", __spec__.name, kind, str(packet)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        assert other.stdin is not None and other.stdout is not None
        answer = pickle.loads(bytes.fromhex((await other.stdout.readline()).decode()))
        if network is not None:
            offer, answer = network.join(offer, answer)
        other.stdin.write(pickle.dumps(offer).hex().encode() + b"\n")
        await peer.connect(answer)
        await asyncio.sleep(0.3)
        yield peer
        await peer.close()
        await other.wait()
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()
        await peer.close()


@contextmanager
def round_trips() -> Iterator[Callable[[], float]]:
    """A pair of processes that stays: each call gives the seconds of one round trip.

    For what is held against the channel by turns, so that a machine's moods hit both.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_SECONDS)

    stack = AsyncExitStack()
    try:
        sender = Sender(run(stack.enter_async_context(_connected("fast", 0, None))))
        yield lambda: run(sender.ping(1))
    finally:
        run(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
        loop.close()


async def _measure(
    kind: str, packet: int, bulk_bytes: int, messages: int, sizes: Sequence[int]
) -> Measured:
    async with _connected(kind, packet, None) as peer:
        sender = Sender(peer)
        ping = await sender.ping()
        size = limits.MESSAGE_MAX_BYTES
        small = messages / await sender.stream(Channel.OPS, bytes(SMALL), messages)
        count = bulk_bytes // size
        bulk = count * size / await sender.stream(Channel.BULK, os.urandom(size), count)
        throughput = []
        for size in sizes:
            count = max(1, min(20_000, bulk_bytes // 4 // size))
            seconds = await sender.stream(Channel.BULK, os.urandom(size), count)
            throughput.append((size, count * size / seconds))
    return Measured(bulk, small, ping, tuple(throughput))


async def _bulk(kind: str, packet: int, nbytes: int, network: BadNetwork | None) -> float:
    async with _connected(kind, packet, network) as peer:
        size = limits.MESSAGE_MAX_BYTES
        count = max(1, nbytes // size)
        seconds = await Sender(peer).stream(Channel.BULK, os.urandom(size), count)
    return count * size / seconds


def bulk(kind: str, nbytes: int, *, packet: int = 0, network: BadNetwork | None = None) -> float:
    """Bytes per second of one pair of processes.

    Args:
        kind: ``fast`` or ``stock`` (with our guards).
        nbytes: how much is sent.
        packet: bytes that packets may have at most; 0: as agreed.
        network: what is between them; None: nothing.
    """
    return _bounded(_bulk(kind, packet, nbytes, network))


def measure(
    kind: str = "fast",
    *,
    packet: int = 0,
    bulk_bytes: int,
    messages: int,
    sizes: Sequence[int] = (),
) -> Measured:
    """One pair of processes.

    Args:
        kind: ``fast`` or ``stock`` (with our guards).
        packet: bytes that packets may have at most; 0: as agreed.
        bulk_bytes: how much is sent for each figure.
        messages: how many small ones.
        sizes: message sizes of which the throughput is measured too.
    """
    return _bounded(_measure(kind, packet, bulk_bytes, messages, sizes))


def _bounded(measuring: Coroutine[Any, Any, _T]) -> _T:
    async def run() -> _T:
        before = limits.SCTP_PACKET_MAX_BYTES
        try:
            async with asyncio.timeout(_SECONDS):
                return await measuring
        finally:
            limits.SCTP_PACKET_MAX_BYTES = before  # type: ignore[misc]

    return asyncio.run(run())


async def _other(kind: str, packet: int) -> None:
    if packet:
        limits.SCTP_PACKET_MAX_BYTES = packet  # type: ignore[misc]
    peer = WebRtcPeer(controlling=False, loopback=True, sctp=kind)  # type: ignore[arg-type]
    print(pickle.dumps(await peer.gather()).hex(), flush=True)
    offer = pickle.loads(bytes.fromhex(sys.stdin.readline()))
    await peer.connect(offer)
    await receive(peer)
    await peer.close()


if __name__ == "__main__":
    asyncio.run(_other(sys.argv[1], int(sys.argv[2])))
