"""The fast association over real sockets: with itself, with aiortc's, on paths that lose."""

import asyncio
import hashlib
import os
import random
import shutil
import subprocess
import sys
from typing import Any

import aioice.ice
import pytest
from aiortc import (
    RTCConfiguration,
    RTCDataChannelParameters,
    RTCPeerConnection,
    RTCSessionDescription,
)

from duet_p2p import limits
from duet_p2p.protocol.sdp import build_sdp
from duet_p2p.transport.base import Channel
from duet_p2p.transport.sctp.channels import DataChannel
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.network.path_kit import Path, lossy_pair
from tests.unit.webrtc_kit import Ear, close, connect, from_sdp

PATIENCE = 60.0
PAIRS = [("fast", "fast"), ("fast", "stock"), ("stock", "fast")]
LOSSES = [0.0, 0.02, 0.10]


def peers(kinds: tuple[str, str]) -> tuple[WebRtcPeer, WebRtcPeer]:
    owner, scientist = (
        WebRtcPeer(controlling=controlling, loopback=True, sctp=kind)  # type: ignore[arg-type]
        for controlling, kind in zip((True, False), kinds, strict=True)
    )
    return owner, scientist


def packet_size(peer: WebRtcPeer) -> int:
    assert isinstance(peer._sctp, FastSctpTransport)
    return peer._sctp._association.outbound._packet


def messages(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(int(rng.random() ** 4 * 65_536)) for _ in range(count)]


async def exchange(owner: WebRtcPeer, scientist: WebRtcPeer, count: int) -> None:
    """`count` messages on each channel each way: all hashes equal, in order."""
    ears = {owner: Ear(owner), scientist: Ear(scientist)}
    sent = {
        (peer, channel): messages(10 * side + channel, count)
        for side, peer in enumerate((owner, scientist))
        for channel in Channel
    }

    async def say(peer: WebRtcPeer, channel: Channel) -> None:
        for message in sent[peer, channel]:
            peer.send(channel, message)
            await peer.drain(channel, limits.BULK_BUFFER_BYTES)

    async with asyncio.timeout(PATIENCE + count):
        await asyncio.gather(*(say(*key) for key in sent))
        while any(len(ear.frames) < 3 * count for ear in ears.values()):
            await asyncio.sleep(0.01)
    for (peer, channel), said in sent.items():
        other = scientist if peer is owner else owner
        assert [hashlib.sha256(data).digest() for data in ears[other].on(channel)] == [
            hashlib.sha256(data).digest() for data in said
        ]


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [25, pytest.param(600, marks=pytest.mark.slow)])
async def test_every_message_arrives_in_order_over_a_lossy_path(
    kinds: tuple[str, str], loss: float, count: int
) -> None:
    if count > 25 and loss > 0.02 and "stock" in kinds:
        count = 100  # aiortc's own association needs a second for each loss
    path = Path(seed=count)
    owner, scientist = peers(kinds)
    async with lossy_pair(path, owner, scientist):
        path.loss = loss if "stock" not in kinds or count > 25 else loss / 2
        await exchange(owner, scientist, count)
    assert (path.lost > 0) == (loss > 0) and path.passed > 100


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
async def test_every_message_arrives_in_order_over_a_path_that_shuffles_and_repeats(
    kinds: tuple[str, str],
) -> None:
    path = Path(seed=3)
    owner, scientist = peers(kinds)
    async with lossy_pair(path, owner, scientist):
        path.jitter, path.duplication = 0.005, 0.1
        await exchange(owner, scientist, 15)


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
async def test_every_message_arrives_in_order_on_the_loopback_interface(
    kinds: tuple[str, str],
) -> None:
    owner, scientist = peers(kinds)
    await connect(owner, scientist)
    await exchange(owner, scientist, 60)
    await close(owner, scientist)


async def test_own_peers_on_one_machine_use_large_packets_and_others_what_was_tried() -> None:
    for kinds, packet in ((("fast", "fast"), 16_000), (("fast", "stock"), 1_400)):
        owner, scientist = peers(kinds)
        await connect(owner, scientist)
        await until(lambda: packet_size(owner) == packet)  # noqa: B023
        await exchange(owner, scientist, 5)
        assert packet_size(owner) == packet
        await close(owner, scientist)


def change_pair(owner: WebRtcPeer, scientist: WebRtcPeer) -> list[tuple[Any, Any]]:
    """What ICE does when it finds a better path: another socket, another address."""
    pairs = []
    for one, other in ((owner, scientist), (scientist, owner)):
        here, there = one._ice._connection, other._ice._connection
        used = here._nominated[1].local_candidate.host
        [mine] = [p for p in here._protocols if p.local_candidate.host == "::1" != used]
        [theirs] = [c for c in there.local_candidates if c.host == "::1"]
        theirs._network_host = "::1"  # type: ignore[attr-defined]
        pairs.append((here, aioice.ice.CandidatePair(mine, theirs)))
    for connection, pair in pairs:
        connection._nominated[1] = pair
    return pairs


async def test_packets_follow_a_later_change_of_the_pair() -> None:
    owner, scientist = peers(("fast", "fast"))
    await connect(owner, scientist)
    ear = Ear(scientist)
    owner.send(Channel.CTL, b"before")
    await ear.count(1)
    pairs = change_pair(owner, scientist)
    owner.send(Channel.BULK, bytes(60_000))
    await ear.count(2)
    assert ear.on(Channel.BULK) == [bytes(60_000)]
    assert isinstance(owner._sctp, FastSctpTransport)
    path = owner._sctp._path
    assert path is not None and path._wire is not None
    assert path._wire.pair is pairs[0][1] and path._wire.address[0] == "::1"
    await close(owner, scientist)


async def test_on_a_new_pair_the_largest_packet_is_searched_anew() -> None:
    owner, scientist = peers(("fast", "stock"))
    await connect(owner, scientist)
    await until(lambda: packet_size(owner) == limits.SCTP_PROBE_SIZES[0])
    assert isinstance(owner._sctp, FastSctpTransport)
    association, seen = owner._sctp._association, []
    ear = Ear(scientist)
    follow = association.packet_size._on_change
    association.packet_size._on_change = lambda size: (seen.append(size), follow(size))[1]
    change_pair(owner, scientist)
    owner.send(Channel.BULK, bytes(60_000))
    await ear.count(1)
    await until(lambda: packet_size(owner) == limits.SCTP_PROBE_SIZES[0])
    assert seen == [limits.SCTP_PACKET_BYTES, limits.SCTP_PROBE_SIZES[0]]
    assert ear.on(Channel.BULK) == [bytes(60_000)]
    await close(owner, scientist)


async def test_without_a_socket_of_ones_own_packets_go_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from duet_p2p.transport.sctp import internals

    real = internals.Wire.__init__

    def without_socket(self: internals.Wire, pair: Any, hosts: set[str]) -> None:
        real(self, pair, hosts)
        self.socket = None

    monkeypatch.setattr(internals.Wire, "__init__", without_socket)
    owner, scientist = peers(("fast", "fast"))
    await connect(owner, scientist)
    await exchange(owner, scientist, 20)
    await close(owner, scientist)


async def test_a_kernel_that_cannot_segment_is_found_out_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from duet_p2p.transport.sctp import datagrams

    monkeypatch.setattr(datagrams, "_UDP_SEGMENT", 9_999)
    monkeypatch.setattr(limits, "SCTP_PACKET_MAX_BYTES", limits.SCTP_PACKET_BYTES)
    owner, scientist = peers(("fast", "fast"))
    await connect(owner, scientist)
    await exchange(owner, scientist, 20)
    assert isinstance(owner._sctp, FastSctpTransport) and owner._sctp._path is not None
    assert not owner._sctp._path._has_segmentation
    await close(owner, scientist)


# an ordinary RTCPeerConnection


class Open(WebRtcPeer):
    """A peer that takes channels of the other side, and has its own out of their way."""

    def __init__(self, **options: Any) -> None:
        self.opened: list[DataChannel] = []
        super().__init__(**options)

    def _add_channel(self, channel: Channel) -> Any:
        parameters = RTCDataChannelParameters(negotiated=True, id=100 + channel)
        made = self._sctp.add_channel(parameters)
        made.on("open", self._on_channel_open)
        return made

    def _on_extra_channel(self, channel: Any) -> None:
        self.opened.append(channel)


async def with_stock(stock: RTCPeerConnection) -> Open:
    """Connects a fast peer with an offer of `stock`."""
    peer = Open(controlling=False, loopback=True, sctp="fast")
    await stock.setLocalDescription(await stock.createOffer())
    theirs = from_sdp(stock.localDescription.sdp)
    mine = await peer.gather()
    connecting = asyncio.create_task(peer.connect(theirs))
    await stock.setRemoteDescription(RTCSessionDescription(build_sdp(mine), "answer"))
    async with asyncio.timeout(10):
        await connecting
    return peer


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_channels_are_opened_in_band_by_either_side_and_closed() -> None:
    stock = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    found: list[Any] = []
    stock.on("datachannel", found.append)
    theirs = stock.createDataChannel("theirs", ordered=False, maxRetransmits=3, protocol="p")
    peer = await with_stock(stock)
    await until(lambda: peer.opened and theirs.readyState == "open")
    [channel] = peer.opened
    assert (channel.label, channel.protocol, channel.ordered, channel.max_retransmits) == (
        "theirs",
        "p",
        False,
        3,
    )
    heard: list[Any] = []
    channel.on("message", heard.append)
    for message in (b"bytes", "text", b"", ""):
        theirs.send(message)
    await until(lambda: len(heard) == 4)
    assert sorted(map(repr, heard)) == sorted(map(repr, [b"bytes", "text", b"", ""]))

    assert isinstance(peer._sctp, FastSctpTransport)
    mine = peer._sctp.add_channel(RTCDataChannelParameters(label="mine", maxPacketLifeTime=500))
    await until(lambda: mine.readyState == "open" and found)
    [remote] = [candidate for candidate in found if candidate.label == "mine"]
    assert remote.maxPacketLifeTime == 500
    echoed: list[Any] = []
    remote.on("message", echoed.append)
    for message in (b"bytes", "text", b"", "", os.urandom(50_000)):
        mine.send(message)
    await until(lambda: len(echoed) == 5)
    assert echoed[:4] == [b"bytes", "text", b"", ""]

    theirs.close()
    await until(lambda: channel.readyState == "closed" and theirs.readyState == "closed")
    mine.close()
    await until(lambda: mine.readyState == "closed" and remote.readyState == "closed")
    # A number that was given back is used again.
    again = peer._sctp.add_channel(RTCDataChannelParameters(label="again"))
    await until(lambda: again.readyState == "open")
    assert again.id == mine.id
    await stock.close()
    await close(peer)


async def test_messages_that_may_be_lost_do_not_stop_the_others() -> None:
    stock = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    found: list[Any] = []
    stock.on("datachannel", found.append)
    stock.createDataChannel("first")
    peer = await with_stock(stock)
    assert isinstance(peer._sctp, FastSctpTransport)
    parameters = RTCDataChannelParameters(label="loose", maxRetransmits=0)
    loose = peer._sctp.add_channel(parameters)
    firm = peer._sctp.add_channel(RTCDataChannelParameters(label="firm"))
    await until(lambda: {c.label for c in found} == {"loose", "firm"})
    heard: dict[str, list[bytes]] = {"loose": [], "firm": []}
    for remote in found:
        remote.on("message", heard[remote.label].append)
    await until(lambda: loose.readyState == firm.readyState == "open")
    path = peer._sctp._path
    assert path is not None
    real, rng = path.send, random.Random(2)
    path.send = lambda packets, whole: real(  # type: ignore[method-assign]
        [packet for packet in packets if rng.random() > 0.1], whole
    )
    said = [number.to_bytes(2, "big") * 2_000 for number in range(150)]
    for message in said:
        loose.send(message)
        firm.send(message)
    async with asyncio.timeout(PATIENCE):
        while len(heard["firm"]) < len(said) or not peer._sctp.is_idle:
            await asyncio.sleep(0.01)
    assert heard["firm"] == said
    assert 10 < len(heard["loose"]) < len(said)
    assert heard["loose"] == [message for message in said if message in heard["loose"]]
    await stock.close()
    await close(peer)


# netem


def why_not_netem() -> str | None:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        return "needs root, ip and tc"
    made = subprocess.run(
        [
            "unshare",
            "-n",
            "sh",
            "-c",
            "ip link set lo up; tc qdisc add dev lo root netem loss 1%",
        ],
        capture_output=True,
        text=True,
    )
    return None if made.returncode == 0 else f"the kernel has no netem: {made.stderr.strip()}"


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("rule", ["loss 2%", "loss 10%", "delay 5ms 3ms", "duplicate 5%"])
def test_every_message_arrives_in_order_through_netem(rule: str) -> None:
    reason = why_not_netem()
    if reason is not None:
        pytest.skip(reason)
    shell = f"ip link set lo up && tc qdisc add dev lo root netem {rule} && exec {sys.executable}"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", f"{shell} -m tests.network.both_ways"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "equal"), done.stderr
