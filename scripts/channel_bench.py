"""The data channel by itself: two processes, no engine; both associations in one run, as ratios.

Rows are medians over rounds in which the associations take turns, so that a busy machine hits all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from duet_p2p import limits
from duet_p2p.transport.base import Channel
from duet_p2p.transport.webrtc import WebRtcPeer

SMALL = 200  # bytes
PINGS = 200


@dataclass(frozen=True)
class Row:
    """What one association did in one round."""

    bulk: float
    """Bytes per second."""
    small: float
    """Messages per second."""
    ping: float
    """Seconds, median."""


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

    async def ping(self) -> float:
        """Median seconds of a round trip."""
        times = []
        for _ in range(PINGS):
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


async def measure(kind: str, packet: int, bulk_bytes: int, messages: int) -> Row:
    """One pair of processes."""
    if packet:
        limits.SCTP_PACKET_MAX_BYTES = packet  # type: ignore[misc]
    peer = WebRtcPeer(controlling=True, loopback=True, sctp=kind)  # type: ignore[arg-type]
    offer = await peer.gather()
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--other", kind, str(packet)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=1 << 20,
    )
    assert other.stdin is not None and other.stdout is not None
    other.stdin.write(pickle.dumps(offer).hex().encode() + b"\n")
    answer = pickle.loads(bytes.fromhex((await other.stdout.readline()).decode()))
    await peer.connect(answer)
    sender = Sender(peer)
    await asyncio.sleep(0.3)
    ping = await sender.ping()
    size = limits.MESSAGE_MAX_BYTES
    small = messages / await sender.stream(Channel.OPS, bytes(SMALL), messages)
    count = bulk_bytes // size
    bulk = count * size / await sender.stream(Channel.BULK, os.urandom(size), count)
    if os.environ.get("FACTS"):
        print(kind, peer.path().facts)
    await peer.close()
    await other.wait()
    return Row(bulk, small, ping)


async def other_process(kind: str, packet: int) -> None:
    if packet:
        limits.SCTP_PACKET_MAX_BYTES = packet  # type: ignore[misc]
    peer = WebRtcPeer(controlling=False, loopback=True, sctp=kind)  # type: ignore[arg-type]
    offer = pickle.loads(bytes.fromhex(sys.stdin.readline()))
    print(pickle.dumps(await peer.gather()).hex(), flush=True)
    await peer.connect(offer)
    await receive(peer)
    await peer.close()


KINDS: dict[str, tuple[str, int]] = {
    "stock": ("stock", 0),
    "fast": ("fast", 0),
    "fast, packets of 1,188 bytes": ("fast", limits.SCTP_PACKET_BYTES),
}


def run(rounds: int, megabytes: int) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in KINDS}
    for _ in range(rounds):
        for name, (kind, packet) in KINDS.items():
            before = limits.SCTP_PACKET_MAX_BYTES
            is_stock = kind == "stock"
            bulk = (megabytes // 4 if is_stock else megabytes) * 1_000_000
            messages = 4_000 if is_stock else 100_000
            rows[name].append(asyncio.run(measure(kind, packet, bulk, messages)))
            limits.SCTP_PACKET_MAX_BYTES = before  # type: ignore[misc]
    return rows


def ratios(rounds: int, megabytes: int) -> dict[str, tuple[float, str]]:
    """Rows for bench.py."""
    rows = run(rounds, megabytes)
    found = {}
    for name in ("bulk", "small"):
        stock = median(rows["stock"], name)
        what = "64 KiB messages" if name == "bulk" else f"{SMALL} B messages one way"
        for kind in list(KINDS)[1:]:
            fast = median(rows[kind], name)
            found[f"data channel, {what}: {kind} / stock"] = (fast / stock, "×")
    return found


def median(rows: list[Row], name: str) -> float:
    return statistics.median(getattr(row, name) for row in rows)


def table(rows: dict[str, list[Row]]) -> str:
    stock: Any = rows["stock"]
    lines = [
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()},"
        f" Python {platform.python_version()}\n",
        "| association | bulk, MB/s | × stock | 200 B messages/s | × stock | 200 B ping, µs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in rows.items():
        bulk, small = median(found, "bulk"), median(found, "small")
        lines.append(
            f"| {name} | {bulk / 1e6:.1f} | {bulk / median(stock, 'bulk'):.1f} |"
            f" {small:,.0f} | {small / median(stock, 'small'):.1f} |"
            f" {median(found, 'ping') * 1e6:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--megabytes", type=int, default=64, help="bulk, a quarter for stock")
    arguments.add_argument("--other", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.other:
        asyncio.run(other_process(options.other[0], int(options.other[1])))
    else:
        print(table(run(options.rounds, options.megabytes)))


if __name__ == "__main__":
    main()
