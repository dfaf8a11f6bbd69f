"""A real UDP path between two peers that loses, repeats and delays datagrams, without root."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from duet_p2p.protocol.description import Description
from duet_p2p.transport.webrtc import WebRtcPeer


class Path:
    """Two sockets; what comes in at one leaves at the other."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.loss = self.duplication = self.jitter = 0.0
        self.ends: list[End] = []
        self.lost = self.passed = 0

    def pass_on(self, end: "End", data: bytes) -> None:
        for _ in range(1 + (self.random.random() < self.duplication)):
            if self.random.random() < self.loss:
                self.lost += 1
            elif self.jitter:
                loop = asyncio.get_running_loop()
                loop.call_later(self.random.random() * self.jitter, end.send, data)
            else:
                end.send(data)


class End(asyncio.DatagramProtocol):
    """What one peer takes for the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.other: End
        self.peer: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peer = addr
        self.path.passed += 1
        self.path.pass_on(self.other, data)

    def send(self, data: bytes) -> None:
        if self.peer is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.peer)

    def stand_for(self, half: Description) -> Description:
        """A half whose only address is this end."""
        host, port = self.transport.get_extra_info("sockname")
        [first] = [found for found in half.candidates if found.address == "127.0.0.1"]
        return replace(half, candidates=(replace(first, address=host, port=port),))


async def two_ends(path: Path) -> tuple[End, End]:
    """Opens both ends of a path; each learns who is behind it from the first datagram."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        _, end = await loop.create_datagram_endpoint(lambda: End(path), local_addr=("127.0.0.1", 0))
        path.ends.append(end)
    a, b = path.ends
    a.other, b.other = b, a
    return a, b


@asynccontextmanager
async def lossy_pair(path: Path, owner: WebRtcPeer, scientist: WebRtcPeer) -> AsyncIterator[None]:
    """Connects both over `path`, and closes them."""
    a, b = await two_ends(path)
    offer, answer = await owner.gather(), await scientist.gather()
    # The address behind each end is known before a first datagram comes from there.
    for end, half in ((a, offer), (b, answer)):
        [at] = [found for found in half.candidates if found.address == "127.0.0.1"]
        end.peer = (at.address, at.port)
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(
                owner.connect(a.stand_for(answer)), scientist.connect(b.stand_for(offer))
            )
        yield
    finally:
        path.loss = path.jitter = 0.0
        await asyncio.gather(owner.close(), scientist.close())
        for end in path.ends:
            end.transport.close()
        await asyncio.sleep(0)
