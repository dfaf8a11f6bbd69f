"""Two real peers on loopback: what travels, what ends them, and what they leave behind."""

import asyncio
import gc
import hashlib
import os
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, WEBRTC_STRING
from aiortc.sdp import SessionDescription

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost, ProtocolError
from duet_p2p.protocol.sdp import build_sdp
from duet_p2p.transport.base import Candidate, Channel, Description, PeerFactory
from duet_p2p.transport.sctp.datagrams import DatagramPath
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer, webrtc_factory
from tests.sctp_kit import inject

DEADLINE = 10.0


@pytest.fixture(autouse=True, params=["fast", "stock"])
def association(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds for both associations."""
    monkeypatch.setenv("DUET_SCTP", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
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


# connecting


async def test_two_peers_connect_and_learn_each_others_real_certificate() -> None:
    owner, scientist = new_pair()
    started = asyncio.get_running_loop().time()
    offer, answer = await owner.gather(), await scientist.gather()
    seen_by_owner, seen_by_scientist = await asyncio.gather(
        owner.connect(answer), scientist.connect(offer)
    )
    assert asyncio.get_running_loop().time() - started < 2.0
    assert (offer.setup, answer.setup) == ("actpass", "active")
    assert seen_by_owner == answer.fingerprint
    assert seen_by_scientist == offer.fingerprint
    assert offer.fingerprint != answer.fingerprint
    assert owner.stage == scientist.stage == "open"
    await close(owner, scientist)


async def test_a_passive_answerer_is_the_dtls_server() -> None:
    owner, scientist = new_pair(answer_setup="passive")
    await connect(owner, scientist)
    ear = Ear(scientist)
    assert (owner._dtls._role, scientist._dtls._role) == ("client", "server")
    owner.send(Channel.CTL, b"hello")
    await ear.count(1)
    await close(owner, scientist)


async def test_loopback_addresses_are_gathered_only_when_asked_for() -> None:
    with_loopback = WebRtcPeer(controlling=True, loopback=True)
    addresses = {candidate.address for candidate in (await with_loopback.gather()).candidates}
    assert "127.0.0.1" in addresses
    without = WebRtcPeer(controlling=True)
    try:
        addresses = {candidate.address for candidate in (await without.gather()).candidates}
    except ConnectFailed as error:  # a machine with nothing but lo
        assert error.stage == "gathering"
        addresses = set()
    assert addresses.isdisjoint({"127.0.0.1", "::1"})
    await close(with_loopback, without)


async def test_without_remote_candidates_the_peers_own_checks_are_enough() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    hidden = Candidate("1", 1, "0b0f1c3e-0000-4000-8000-000000000000.local", 9, "host")
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(
            owner.connect(replace(answer, candidates=(hidden,))), scientist.connect(offer)
        )
    assert owner.path().remote.startswith("prflx")
    await close(owner, scientist)


async def test_a_wrong_password_ends_by_the_callers_deadline_at_the_stage_ice() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.gather(
                owner.connect(replace(answer, pwd="x" * 22)), scientist.connect(offer)
            )
    failure = owner.failure()
    assert (failure.stage, owner.stage) == ("ice", "ice")
    assert "TURN" in failure.remedy
    with pytest.raises(ConnectionLost):
        owner.send(Channel.CTL, b"no")
    await close(owner, scientist)


async def test_another_certificate_than_announced_is_returned_and_nothing_is_open() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    ear = Ear(owner)
    attempt = asyncio.ensure_future(scientist.connect(offer))
    async with asyncio.timeout(DEADLINE):
        seen = await owner.connect(replace(answer, fingerprint=bytes(32)))
    assert seen == answer.fingerprint
    with pytest.raises(ConnectionLost):
        owner.send(Channel.CTL, b"no")
    await close(owner, scientist)
    with pytest.raises((ConnectFailed, ConnectionLost)):
        await attempt
    assert (ear.frames, ear.ends) == ([], [])


@pytest.mark.parametrize("stage", ["gathering", "ice", "dtls", "channel"])
@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_an_attempt_can_be_ended_at_each_stage(
    stage: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, scientist = new_pair()
    if stage == "gathering":
        owner = WebRtcPeer(controlling=True, ice_servers=[{"urls": "stun:127.0.0.1:9"}])
        attempt: asyncio.Task[Any] = asyncio.create_task(owner.gather())
        await asyncio.sleep(0.05)
    else:
        offer, answer = await owner.gather(), await scientist.gather()
        if stage == "ice":
            answer = replace(answer, pwd="x" * 22)
        elif stage == "dtls":
            monkeypatch.setattr(scientist, "_shake_hands", for_ever)
        else:
            monkeypatch.setattr(scientist._sctp, "start", for_ever)
        partner = asyncio.create_task(scientist.connect(offer))
        attempt = asyncio.create_task(owner.connect(answer))
        await reach(owner, stage)
        await asyncio.sleep(0.05)
    assert owner.stage == stage
    if way == "cancel":
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    await close(owner, scientist)
    if way == "close":
        with pytest.raises(ConnectionLost):
            await attempt
    assert owner.failure().stage == stage
    if stage != "gathering":
        with pytest.raises((ConnectionLost, ConnectFailed)):
            await partner


async def test_a_peer_that_was_never_used_or_is_closed_twice_leaves_nothing() -> None:
    owner, scientist = new_pair()
    await close(owner, owner)
    await close(owner)
    with pytest.raises(ConnectionLost):
        await owner.gather()
    answer = await scientist.gather()
    await close(scientist)
    with pytest.raises(ConnectionLost):
        await scientist.connect(answer)
    await close(scientist)


async def test_a_peer_connects_only_once() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    with pytest.raises(ConnectionLost):
        await owner.connect(answer)
    await close(owner, scientist)


async def test_an_impossible_setup_is_refused() -> None:
    owner, scientist = new_pair()
    await owner.gather()
    answer = await scientist.gather()
    with pytest.raises(ConnectFailed) as caught:
        await owner.connect(replace(answer, setup="actpass"))
    assert caught.value.stage == "dtls"
    await close(owner, scientist)


async def test_the_association_that_was_wished_for_is_the_one_that_runs(association: str) -> None:
    for wish, kind in (("auto", association), ("fast", "fast"), ("stock", "stock")):
        peer = WebRtcPeer(controlling=True, sctp=wish)  # type: ignore[arg-type]
        assert isinstance(peer._sctp, FastSctpTransport) == (kind == "fast")
        await close(peer)
    with pytest.raises(ValueError, match="swift"):
        WebRtcPeer(controlling=True, sctp="swift")  # type: ignore[arg-type]


async def test_the_factory_is_a_peer_factory() -> None:
    make: PeerFactory = webrtc_factory
    peer = make(controlling=False, ice_servers=[], loopback=True)
    assert (await peer.gather()).setup == "active"
    assert peer.path().kind == "unknown"
    await peer.close()


# frames


def payloads(seed: int) -> list[bytes]:
    rng = random.Random(seed)
    sizes = [0, 1, 1159, 1160, 1161, 16_384, 65_535, 65_536]
    sizes += [rng.randrange(3000) for _ in range(20)]
    rng.shuffle(sizes)
    return [rng.randbytes(size) for size in sizes]


def digest(messages: list[bytes]) -> list[str]:
    return [hashlib.sha256(message).hexdigest() for message in messages]


async def test_frames_of_any_size_arrive_in_order_on_all_channels_both_ways() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ears = Ear(owner), Ear(scientist)
    sent = {
        (peer, channel): payloads(10 * side + channel)
        for side, peer in enumerate((owner, scientist))
        for channel in Channel
    }
    for batch in zip(*sent.values(), strict=True):
        for (peer, channel), message in zip(sent, batch, strict=True):
            peer.send(channel, message)
    for ear in ears:
        await ear.count(3 * len(payloads(0)))
    for channel in Channel:
        assert digest(ears[1].on(channel)) == digest(sent[owner, channel])
        assert digest(ears[0].on(channel)) == digest(sent[scientist, channel])
    await close(owner, scientist)


async def test_frames_arrive_in_order_when_packets_get_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    rng, lost = random.Random(5), 0
    send_data = aioice.ice.StunProtocol.send_data

    async def send_or_lose(self: Any, data: bytes, addr: Any) -> None:
        nonlocal lost
        if rng.random() < 0.03:
            lost += 1
        else:
            await send_data(self, data, addr)

    send_packets = DatagramPath.send

    def send_some(self: DatagramPath, packets: list[bytes]) -> None:
        nonlocal lost
        kept = [packet for packet in packets if rng.random() >= 0.03]
        lost += len(packets) - len(kept)
        send_packets(self, kept)

    monkeypatch.setattr(aioice.ice.StunProtocol, "send_data", send_or_lose)
    monkeypatch.setattr(DatagramPath, "send", send_some)
    for peer in (owner, scientist):
        if isinstance(peer._sctp, FastSctpTransport):
            # So that there are many packets to lose.
            peer._sctp._association.outbound.set_packet(limits.SCTP_PACKET_BYTES)
    sent = [
        (channel, rng.randbytes(rng.randrange(20_000))) for channel in Channel for _ in range(9)
    ]
    for channel, data in sent:
        owner.send(channel, data)
    async with asyncio.timeout(2 * DEADLINE):
        while len(ear.frames) < len(sent):
            await asyncio.sleep(0.01)
    monkeypatch.undo()
    for channel in Channel:
        assert ear.on(channel) == [data for number, data in sent if number == channel]
    assert lost > 3 and owner.path().facts["retransmissions"] > 0
    await close(owner, scientist)


async def test_a_message_one_byte_too_large_is_refused_here() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    with pytest.raises(ValueError, match="65537"):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES + 1))
    await close(owner, scientist)


async def test_the_other_sides_smaller_limit_is_honoured() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    await asyncio.gather(
        owner.connect(replace(answer, max_message_size=1000)), scientist.connect(offer)
    )
    ear = Ear(scientist)
    with pytest.raises(ValueError, match="1000"):
        owner.send(Channel.OPS, bytes(1001))
    owner.send(Channel.OPS, bytes(1000))
    await ear.count(1)
    await close(owner, scientist)


async def test_frames_wait_for_a_listener() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    sent = [bytes([number]) * 100 for number in range(limits.EARLY_FRAMES)]
    for message in sent:
        owner.send(Channel.CTL, message)
    await asyncio.sleep(0.2)
    ear = Ear(scientist)
    await ear.count(len(sent))
    assert ear.on(Channel.CTL) == sent
    await close(owner, scientist)


async def test_nothing_is_heard_before_the_certificate_can_be_compared() -> None:
    owner, scientist = new_pair()
    ear = Ear(owner)
    offer, answer = await owner.gather(), await scientist.gather()

    async def speak_at_once() -> None:
        await scientist.connect(offer)
        scientist.send(Channel.CTL, b"confirm")

    speaking = asyncio.create_task(speak_at_once())
    async with asyncio.timeout(DEADLINE):
        seen = await owner.connect(answer)
    assert (seen, ear.frames) == (answer.fingerprint, [])
    await ear.count(1)
    await speaking
    await close(owner, scientist)


async def test_too_many_frames_before_there_is_a_listener_end_the_association() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    for _ in range(limits.EARLY_FRAMES + 1):
        owner.send(Channel.CTL, b"early")
    await asyncio.sleep(0.2)
    ear = Ear(scientist)
    assert isinstance(await ear.end(), ProtocolError)
    assert ear.frames == []
    await close(owner, scientist)


async def test_buffered_and_drain_follow_what_leaves() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    for _ in range(32):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    total = 32 * limits.MESSAGE_MAX_BYTES
    assert total - 2 * limits.MESSAGE_MAX_BYTES <= owner.buffered(Channel.BULK) <= total
    assert owner.buffered(Channel.OPS) == 0
    async with asyncio.timeout(DEADLINE):
        await owner.drain(Channel.OPS, 1)
        await owner.drain(Channel.BULK, total // 2)
        assert 0 < owner.buffered(Channel.BULK) < total // 2
        await owner.drain(Channel.BULK, 1)
    assert owner.buffered(Channel.BULK) == 0
    await ear.count(32)
    await close(owner, scientist)


async def test_a_ping_overtakes_bulk() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    for _ in range(16):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    owner.send(Channel.CTL, b"ping")
    await ear.count(17)
    assert [channel for channel, _ in ear.frames].index(Channel.CTL) <= 3
    await close(owner, scientist)


async def test_another_thread_is_told_before_anything_is_queued() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(owner.send, Channel.CTL, b"foreign")
    assert owner.buffered(Channel.CTL) == 0
    await close(owner, scientist)


async def test_the_path_names_kinds_and_counts() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    owner.send(Channel.CTL, b"hello")
    await ear.count(1)
    await asyncio.sleep(0.05)
    path = owner.path()
    assert path.kind == "direct"
    assert path.local.startswith("host ") and path.remote.split()[0] in ("host", "prflx")
    assert 0 < path.facts["rtt"] < 1
    assert path.facts["packets_sent"] > 3 and path.facts["retransmissions"] == 0
    await close(owner, scientist)
    assert owner.path().kind == "direct"


# the end


async def test_a_close_is_seen_by_the_other_side_at_once_and_by_no_one_twice() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    mine, theirs = Ear(owner), Ear(scientist)
    started = asyncio.get_running_loop().time()
    await owner.close()
    assert await theirs.end() is None
    assert asyncio.get_running_loop().time() - started < 0.5
    with pytest.raises(ConnectionLost):
        scientist.send(Channel.CTL, b"too late")
    with pytest.raises(ConnectionLost):
        await scientist.drain(Channel.CTL, 1)
    await close(scientist, owner)
    assert (mine.ends, theirs.ends) == ([], [None])


async def test_the_last_word_on_channel_0_arrives_before_the_end() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    for _ in range(16):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    owner.send(Channel.CTL, b"bye")
    await owner.close()
    await ear.end()
    assert ear.on(Channel.CTL) == [b"bye"]
    assert len(ear.on(Channel.BULK)) < 16
    await close(scientist)


async def test_a_last_word_that_nobody_heard_yet_outlives_the_end() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    owner.send(Channel.CTL, b"bye")
    await owner.close()
    await asyncio.sleep(0.1)
    ear = Ear(scientist)
    assert await ear.end() is None
    assert ear.frames == [(Channel.CTL, b"bye")]
    await close(scientist)


async def test_drain_ends_with_the_association() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    for _ in range(64):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    waiting = asyncio.create_task(owner.drain(Channel.BULK, 1))
    await asyncio.sleep(0)
    await close(scientist)
    with pytest.raises(ConnectionLost):
        async with asyncio.timeout(DEADLINE):
            await waiting
    await close(owner)


async def test_lost_consent_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 1)
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(owner)
    # The other machine goes without a word: its packets do not leave any more.
    monkeypatch.setattr(aioice.ice.Connection, "request_received", lambda *_args: None)
    assert isinstance(await ear.end(), ConnectionLost)
    await close(owner, scientist)
    assert len(ear.ends) == 1


async def test_an_extra_channel_ends_the_association() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(owner)
    label = b"extra"
    opening = bytes([DATA_CHANNEL_OPEN, 0, 0, 0, 0, 0, 0, 0, 0, len(label), 0, 0]) + label
    await inject(scientist, 3, WEBRTC_DCEP, opening)
    assert isinstance(await ear.end(), ProtocolError)
    assert ear.frames == []
    await close(owner, scientist)


@pytest.mark.parametrize(
    ("stream", "kind", "data"),
    [
        (0, WEBRTC_DCEP, bytes([DATA_CHANNEL_OPEN, *bytes(11)])),
        (1, WEBRTC_STRING, b"text"),
        (1, WEBRTC_STRING, b"\xff"),
        (2, 53, bytes(limits.MESSAGE_MAX_BYTES + 1)),
        (2, 53, bytes(limits.SCTP_HELD_BYTES + 2_000_000)),
    ],
    ids=["channel 0 again", "text", "no text", "one byte too large", "without end"],
)
async def test_what_is_not_of_the_protocol_ends_the_association(
    stream: int, kind: int, data: bytes
) -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(owner)
    await inject(scientist, stream, kind, data)
    assert isinstance(await ear.end(), ProtocolError)
    assert ear.frames == []
    await close(owner, scientist)


async def test_a_channel_that_the_other_side_closes_ends_the_association() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(owner)
    scientist._channels[Channel.OPS].close()
    assert await ear.end() is None
    await close(owner, scientist)


async def test_a_listener_that_raises_is_told_so() -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(owner)

    def fail(_channel: int, _data: bytes) -> None:
        raise ZeroDivisionError

    owner.on_frame = fail
    scientist.send(Channel.OPS, b"1/0")
    assert isinstance(await ear.end(), ZeroDivisionError)
    await close(owner, scientist)


# an ordinary RTCPeerConnection at the other end


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


# STUN and TURN


async def test_a_silent_stun_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUN_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        peer = WebRtcPeer(
            controlling=True, loopback=True, ice_servers=[{"urls": f"stun:127.0.0.1:{port}"}]
        )
        started = asyncio.get_running_loop().time()
        half = await peer.gather()
        assert asyncio.get_running_loop().time() - started < 1.0
        assert {candidate.kind for candidate in half.candidates} == {"host"}
        await close(peer)


async def test_relayed_only_without_a_turn_server_fails_while_gathering() -> None:
    peer = WebRtcPeer(controlling=True, relay_only=True, loopback=True)
    with pytest.raises(ConnectFailed) as caught:
        await peer.gather()
    assert caught.value.stage == "gathering"
    assert "no TURN server is configured" in caught.value.remedy
    await close(peer)
