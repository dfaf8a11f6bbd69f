"""Our peer and an ordinary RTCPeerConnection."""

import asyncio
import os

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from duet_p2p.protocol.sdp import build_sdp
from duet_p2p.transport.base import Channel
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.unit.webrtc_kit import (  # noqa: F401 (two are fixtures for every test)
    DEADLINE,
    Ear,
    both_associations,
    close,
    from_sdp,
    nothing_is_left,
)


@pytest.mark.parametrize("controlling", [True, False])
async def test_a_stock_peer_connection_talks_with_it(controlling: bool) -> None:
    stock = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    channels = [
        stock.createDataChannel(f"duet-{name}", negotiated=True, id=number)
        for number, name in enumerate(("ctl", "ops", "bulk"))
    ]
    heard: list[tuple[int | None, bytes]] = []
    for channel in channels:
        channel.on("message", lambda data, number=channel.id: heard.append((number, data)))
    peer = WebRtcPeer(controlling=controlling, loopback=True)
    ear = Ear(peer)
    mine = await peer.gather()
    if controlling:
        await stock.setRemoteDescription(RTCSessionDescription(build_sdp(mine), "offer"))
        await stock.setLocalDescription(await stock.createAnswer())
        theirs = from_sdp(stock.localDescription.sdp)
        async with asyncio.timeout(DEADLINE):
            seen = await peer.connect(theirs)
    else:
        await stock.setLocalDescription(await stock.createOffer())
        theirs = from_sdp(stock.localDescription.sdp)
        connecting = asyncio.create_task(peer.connect(theirs))
        await stock.setRemoteDescription(RTCSessionDescription(build_sdp(mine), "answer"))
        async with asyncio.timeout(DEADLINE):
            seen = await connecting
    assert seen == theirs.fingerprint
    sent = [(number, os.urandom(size)) for size in (1, 5_000, 65_536) for number in Channel]
    for number, data in sent:
        peer.send(number, data)
    async with asyncio.timeout(DEADLINE):
        while len(heard) < len(sent):
            await asyncio.sleep(0.01)
    assert sorted(heard, key=lambda item: item[0] or 0) == sorted(sent, key=lambda item: item[0])
    for number, data in sent:
        channels[number].send(data)
    await ear.count(len(sent))
    assert [ear.on(number) for number in Channel] == [
        [data for sent_on, data in sent if sent_on == number] for number in Channel
    ]
    await stock.close()
    assert await ear.end() is None
    await close(peer)
