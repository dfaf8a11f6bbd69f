"""The data channel with a page in Chromium: either side offers, both associations."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest

from duet_p2p import limits
from duet_p2p.protocol.sdp import build_sdp, parse_sdp
from duet_p2p.transport.base import Channel, Description
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.network.path_kit import Path, two_ends
from tests.unit.webrtc_kit import Ear, close

PAGE = File(__file__).with_name("chromium_page.js")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PATIENCE, LOSSY_PATIENCE = 100.0, 200.0
OURS, THEIRS = 1, 2  # who makes a message

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium"),
]


def mixed(words: Any) -> Any:
    words = np.asarray(words, np.uint32)
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint32(16))) * np.uint32(0x45D9F3B)
        words = (words ^ (words >> np.uint32(16))) * np.uint32(0x45D9F3B)
        return words ^ (words >> np.uint32(16))


def message(side: int, channel: int, number: int) -> bytes:
    """The same as `message` of the page."""
    seed = int(mixed(side * 1_000_003 + channel * 10_007 + number + 1))
    share = seed / 2**32
    count = int(share * share * 16_384)
    words: Any = mixed((np.arange(count, dtype=np.uint64) + np.uint64(seed)) & 0xFFFFFFFF)
    return bytes(words.astype("<u4").tobytes())


@asynccontextmanager
async def chromium_page() -> AsyncIterator[Any]:
    playwright = pytest.importorskip("playwright.async_api")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True, args=FLAGS
        )
        try:
            page = await browser.new_page()
            await page.add_script_tag(path=PAGE)
            yield page
        finally:
            await browser.close()


def understood(text: str, kind: str) -> Description:
    """What the page says, read as a session reads it."""
    [digest] = re.findall(r"^a=fingerprint:sha-256 (\S+)", text, re.MULTILINE)
    [setup] = re.findall(r"^a=setup:(\S+)", text, re.MULTILINE)
    fp = bytes.fromhex(digest.replace(":", ""))
    return parse_sdp(text, kind=kind, fp=fp, setup=setup, loopback=True)


async def joined(page: Any, peer: WebRtcPeer, *, we_offer: bool) -> None:
    """Connects a peer with the page."""
    mine = await peer.gather()
    if we_offer:
        theirs = await page.evaluate("sdp => duet.answer(sdp)", build_sdp(mine))
        await peer.connect(understood(theirs, "answer"))
        return
    theirs = await page.evaluate("duet.offer()")
    connecting = asyncio.create_task(peer.connect(understood(theirs, "offer")))
    await page.evaluate("sdp => duet.take(sdp)", build_sdp(mine))
    await connecting


async def joined_over(path: Path, page: Any, peer: WebRtcPeer) -> None:
    """Connects a peer with the page; every datagram between them goes by the path."""
    a, b = await two_ends(path)
    mine = await peer.gather()
    [at] = [found for found in mine.candidates if found.address == "127.0.0.1"]
    a.peer = (at.address, at.port)
    theirs = await page.evaluate("sdp => duet.answer(sdp)", build_sdp(a.stand_for(mine)))
    host, port = b.transport.get_extra_info("sockname")
    # Chromium hides its addresses; the path learns one when the page's first check comes.
    answer = understood(theirs, "answer")
    await peer.connect(replace(answer, candidates=(replace(at, address=host, port=port),)))


async def exchange(page: Any, peer: WebRtcPeer, count: int) -> None:
    """`count` messages on each channel each way: every hash equal, in order."""
    ear = Ear(peer)

    async def say(channel: Channel) -> None:
        for number in range(count):
            peer.send(channel, message(OURS, channel, number))
            await peer.drain(channel, limits.BULK_BUFFER_BYTES)

    await asyncio.gather(
        page.evaluate("([side, count]) => duet.say(side, count)", [THEIRS, count]),
        *map(say, Channel),
    )
    while (wrong := await page.evaluate(f"duet.judge({OURS}, {count})")) is None:
        await asyncio.sleep(0.1)
    assert wrong == ""
    while len(ear.frames) < 3 * count:
        await asyncio.sleep(0.01)
    for channel in Channel:
        heard = [hashlib.sha256(data).digest() for data in ear.on(channel)]
        assert heard == [
            hashlib.sha256(message(THEIRS, channel, number)).digest() for number in range(count)
        ]


# aiortc's own association would take minutes for 3,600 of them
@pytest.mark.parametrize(
    ("kind", "count"),
    [("fast", 20), ("stock", 20), pytest.param("fast", 600, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "it offers"])
async def test_every_message_arrives_in_order_both_ways(
    kind: str, we_offer: bool, count: int
) -> None:
    async with asyncio.timeout(PATIENCE), chromium_page() as page:
        peer = WebRtcPeer(controlling=we_offer, loopback=True, sctp=kind)  # type: ignore[arg-type]
        await joined(page, peer, we_offer=we_offer)
        while isinstance(peer._sctp, FastSctpTransport):
            if peer._sctp._association.packet_size.size == limits.SCTP_PROBE_SIZES[0]:
                break  # Chromium skips the padding and answers
            await asyncio.sleep(0.05)
        await exchange(page, peer, count)
        await close(peer)


@pytest.mark.slow
@pytest.mark.timeout(2 * LOSSY_PATIENCE)
@pytest.mark.parametrize(("loss", "count"), [(0.02, 600), (0.10, 200)])
async def test_every_message_arrives_in_order_both_ways_over_a_lossy_path(
    loss: float, count: int
) -> None:
    path = Path(seed=count)
    async with asyncio.timeout(LOSSY_PATIENCE), chromium_page() as page:
        peer = WebRtcPeer(controlling=True, loopback=True, sctp="fast")
        await joined_over(path, page, peer)
        path.loss = loss
        await exchange(page, peer, count)
        path.loss = 0.0
        assert path.lost > 100
        await close(peer)
        for end in path.ends:
            end.transport.close()
