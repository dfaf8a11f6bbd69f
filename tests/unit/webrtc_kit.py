"""Pairs of real peers on loopback, and what they may not leave behind."""

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiortc.sdp import SessionDescription

from duet_p2p import limits
from duet_p2p.transport.base import Candidate, Description
from duet_p2p.transport.webrtc import WebRtcPeer

DEADLINE = 10.0


@contextlib.asynccontextmanager
async def leaving_nothing() -> AsyncIterator[None]:
    """Fails a test that leaves a task, a socket or an exception that nobody saw."""
    loop = asyncio.get_running_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    yield
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    gc.collect()
    await asyncio.sleep(0)
    assert left == set()
    assert problems == []
    assert open_sockets() <= sockets


@pytest.fixture(
    autouse=True, params=["fast", pytest.param("stock", marks=pytest.mark.slow)], name="association"
)
def both_associations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of the module that imports it holds for both associations."""
    monkeypatch.setenv("DUET_SCTP", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    async with leaving_nothing():
        yield


def open_sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


class Ear:
    """What a peer's listener heard."""

    def __init__(self, peer: WebRtcPeer) -> None:
        self.peer = peer
        self.frames: list[tuple[int, bytes]] = []
        self.ends: list[Exception | None] = []
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()
        peer.on_frame = self._on_frame
        peer.on_closed = self._on_closed

    def _on_frame(self, channel: int, data: bytes) -> None:
        self.frames.append((channel, data))
        self.changed.set()

    def _on_closed(self, error: Exception | None) -> None:
        self.ends.append(error)
        self.ended.set()

    def on(self, channel: int) -> list[bytes]:
        return [data for number, data in self.frames if number == channel]

    async def count(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.frames) < count:
                self.changed.clear()
                await self.changed.wait()

    async def end(self) -> Exception | None:
        async with asyncio.timeout(DEADLINE):
            await self.ended.wait()
        return self.ends[0]


def new_pair(**options: Any) -> tuple[WebRtcPeer, WebRtcPeer]:
    return (
        WebRtcPeer(controlling=True, loopback=True),
        WebRtcPeer(controlling=False, loopback=True, **options),
    )


async def connect(owner: WebRtcPeer, scientist: WebRtcPeer) -> tuple[bytes, bytes]:
    offer, answer = await owner.gather(), await scientist.gather()
    async with asyncio.timeout(DEADLINE):
        first, second = await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    return first, second


async def close(*peers: WebRtcPeer) -> None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(peer.close() for peer in peers))


async def reach(peer: WebRtcPeer, stage: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while peer.stage != stage:
            await asyncio.sleep(0.005)


async def for_ever(*_args: object) -> None:
    await asyncio.Event().wait()


def from_sdp(text: str) -> Description:
    """The half of a stock peer, whose own SDP section 4 would refuse as it is."""
    [media] = SessionDescription.parse(text).media
    assert media.dtls is not None and media.sctpCapabilities is not None
    [fingerprint] = [
        found.value for found in media.dtls.fingerprints if found.algorithm == "sha-256"
    ]
    [setup] = [line[8:].strip() for line in text.splitlines() if line.startswith("a=setup:")]
    return Description(
        ufrag=str(media.ice.usernameFragment),
        pwd=str(media.ice.password),
        fingerprint=bytes.fromhex(fingerprint.replace(":", "")),
        setup=setup,
        candidates=tuple(
            Candidate(found.foundation, found.priority, found.ip, found.port, found.type)
            for found in media.ice_candidates
        ),
        max_message_size=min(media.sctpCapabilities.maxMessageSize, limits.MESSAGE_MAX_BYTES),
    )
