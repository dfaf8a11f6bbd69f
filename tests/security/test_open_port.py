"""Datagrams of anybody at an open port, before and after the handshake: the session goes on."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.transport.webrtc import WebRtcPeer

FLOOD = 6_000
SECONDS = 30.0


def datagrams(seed: int) -> Iterator[bytes]:
    """Of every first byte that somebody looks at, of sizes from none to the largest."""
    chance = random.Random(seed)
    kinds = [0, 1, 20, 21, 22, 23, 24, 25, 32, 44, 47, 63, 64, 79, 128, 191, 255]
    while True:
        size = chance.choice([0, 1, 12, 13, 20, 24, 28, 100, 1_200, 1_472, 9_000])
        body = bytearray(chance.randbytes(size))
        if size:
            body[0] = chance.choice(kinds)
        if size >= 13 and body[0] in (20, 21, 22, 23):  # as a record of DTLS 1.2 begins
            body[1:3] = b"\xfe\xfd"
            body[11:13] = (size - 13).to_bytes(2, "big")
        if size >= 24 and body[0] in (0, 1):  # as a message of STUN begins
            body[:4] = b"\0\1" + (size - 20).to_bytes(2, "big")
            body[4:8] = b"\x21\x12\xa4\x42"
            body[20:24] = bytes((0, chance.choice([1, 6, 8, 36, 42]), 0, chance.choice([0, 1, 4])))
        yield bytes(body)


async def flood(to: list[int], seed: int) -> None:
    made = datagrams(seed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        for number in range(FLOOD):
            for port in to:
                try:
                    udp.sendto(next(made), ("127.0.0.1", port))
                except (BlockingIOError, ConnectionError):
                    await asyncio.sleep(0)
            if number % 50 == 0:
                await asyncio.sleep(0)


def bound_ports() -> set[int]:
    """UDP ports of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as line:
                if line.type == socket.SOCK_DGRAM and line.family == socket.AF_INET:
                    found.add(line.getsockname()[1])
        except OSError:
            continue
    return found - {0}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds its ports in /proc")
@pytest.mark.parametrize("sctp", ["fast", "stock"])
async def test_a_flood_before_and_after_the_handshake_changes_nothing(sctp: Any) -> None:
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: problems.append(found))
    before = bound_ports()
    owner = WebRtcPeer(controlling=True, loopback=True, sctp=sctp)
    scientist = WebRtcPeer(controlling=False, loopback=True, sctp=sctp)
    offer, answer = await owner.gather(), await scientist.gather()
    at = sorted(bound_ports() - before)
    assert at
    await flood(at, 1)
    heard: list[bytes] = []
    ends: list[Exception] = []
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    owner.on_frame = lambda channel, data: heard.append(data)
    owner.on_closed = ends.append
    scientist.on_frame = lambda channel, data: None
    for round_ in range(3):
        sending = asyncio.create_task(flood(at, 2 + round_))
        scientist.send(0, b"%d" % round_)
        await sending
        async with asyncio.timeout(SECONDS):
            while len(heard) <= round_:
                await asyncio.sleep(0.01)
    assert heard == [b"0", b"1", b"2"] and ends == []
    for peer in (owner, scientist):
        assert peer._ice._connection._queue.qsize() <= limits.UNREAD_PACKETS
    await asyncio.gather(owner.close(), scientist.close())
    assert problems == []
