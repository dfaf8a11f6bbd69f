"""The fast association for an hour: messages in order and whole, packets lost, memory flat.

Both sides are in this process, over a real socket. Every message carries its number and a hash.
Memory is looked at after a first tenth of the time and from then on; it may not grow by more than
`--growth` MB. Ends with status 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost
from duet_p2p.transport.base import Channel
from duet_p2p.transport.sctp.datagrams import DatagramPath
from duet_p2p.transport.webrtc import WebRtcPeer

NUMBER_BYTES = 8
HASH_BYTES = 16
REPORT_SECONDS = 30.0


class Wrong(Exception):
    """A message is missing, damaged or out of order, or the association ended."""


class Ear:
    """Checks what one side hears."""

    def __init__(self, peer: WebRtcPeer) -> None:
        self.next = dict.fromkeys(Channel, 0)
        self.bytes = 0
        self.problem: str | None = None
        peer.on_frame = self.hear
        peer.on_closed = lambda error: self._wrong(f"the association ended: {error}")

    def hear(self, channel: int, data: bytes) -> None:
        """One message."""
        number = int.from_bytes(data[:NUMBER_BYTES], "big")
        body = data[NUMBER_BYTES + HASH_BYTES :]
        expected = self.next[Channel(channel)]
        if number != expected:
            self._wrong(f"number {number} on channel {channel} instead of {expected}")
        if (
            hashlib.blake2b(body, digest_size=HASH_BYTES).digest()
            != data[NUMBER_BYTES:][:HASH_BYTES]
        ):
            self._wrong(f"message {number} on channel {channel} is damaged")
        self.next[Channel(channel)] += 1
        self.bytes += len(data)

    def _wrong(self, text: str) -> None:
        self.problem = self.problem or text


async def say(peer: WebRtcPeer, channel: Channel, is_over: Callable[[], bool]) -> int:
    """Sends until it is over; returns how many messages."""
    rng = random.Random(channel)
    number = 0
    while not is_over():
        size = int(rng.random() ** 3 * (limits.MESSAGE_MAX_BYTES - NUMBER_BYTES - HASH_BYTES))
        body = rng.randbytes(size)
        digest = hashlib.blake2b(body, digest_size=HASH_BYTES).digest()
        peer.send(channel, number.to_bytes(NUMBER_BYTES, "big") + digest + body)
        number += 1
        await peer.drain(channel, limits.BULK_BUFFER_BYTES)
        if not number % 64:
            await asyncio.sleep(0)
    return number


def memory() -> float:
    """Resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def lose(share: float) -> None:
    """Drops some packets on their way out."""
    rng, send = random.Random(1), DatagramPath.send

    def send_some(self: DatagramPath, packets: list[bytes], whole: int) -> None:
        send(self, [packet for packet in packets if rng.random() >= share], whole)

    DatagramPath.send = send_some  # type: ignore[method-assign]


async def soak(minutes: float, growth: float) -> None:
    """Raises `Wrong` with what is wrong."""
    peers = [
        WebRtcPeer(controlling=controlling, loopback=True, sctp="fast")
        for controlling in (True, False)
    ]
    offer, answer = [await peer.gather() for peer in peers]
    await asyncio.gather(peers[0].connect(answer), peers[1].connect(offer))
    ears = [Ear(peer) for peer in peers]
    started = time.monotonic()
    end = started + 60 * minutes
    saying = [
        asyncio.ensure_future(
            say(peer, channel, lambda: time.monotonic() >= end or any(e.problem for e in ears))
        )
        for peer in peers
        for channel in Channel
    ]
    base: float | None = None
    while not all(task.done() for task in saying):
        await asyncio.sleep(min(REPORT_SECONDS, 6 * minutes))
        now = memory()
        if base is None and time.monotonic() - started >= 6 * minutes:
            base = now
        moved = sum(ear.bytes for ear in ears) / 1e9
        print(f"{time.monotonic() - started:6.0f} s  {moved:8.2f} GB  {now:7.1f} MB", flush=True)
        if base is not None and now > base + growth:
            raise Wrong(f"memory grew from {base:.1f} to {now:.1f} MB")
    try:
        counts = await asyncio.gather(*saying)
    except ConnectionLost as error:
        raise Wrong(f"after {time.monotonic() - started:.0f} s: {error}") from error
    await asyncio.sleep(2)
    heard = [ear.next[channel] for ear in reversed(ears) for channel in Channel]
    problem = next((ear.problem for ear in ears if ear.problem), None)
    if problem is None and heard != counts:
        problem = f"sent {counts}, heard {heard}"
    facts = [peer.path().facts for peer in peers]
    for ear in ears:
        ear.problem = "over"
    await asyncio.gather(*(peer.close() for peer in peers))
    if problem is not None:
        raise Wrong(problem)
    print(f"{sum(counts)} messages, all whole and in order; {facts}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--loss", type=float, default=0.005, help="share of packets dropped")
    arguments.add_argument("--growth", type=float, default=4, help="MB, beyond a tenth of the time")
    options = arguments.parse_args()
    lose(options.loss)
    try:
        asyncio.run(soak(options.minutes, options.growth))
    except Wrong as problem:
        sys.exit(f"wrong: {problem}")


if __name__ == "__main__":
    main()
