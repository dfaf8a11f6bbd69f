"""Two real peers on loopback: what travels between them."""

import asyncio
import hashlib
import random
from dataclasses import replace
from typing import Any

import aioice.ice
import pytest

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.transport.base import Channel
from duet_p2p.transport.sctp.datagrams import DatagramPath
from duet_p2p.transport.sctp.transport import FastSctpTransport
from tests.unit.webrtc_kit import (  # noqa: F401 (two are fixtures for every test)
    DEADLINE,
    Ear,
    both_associations,
    close,
    connect,
    new_pair,
    nothing_is_left,
)


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

    def send_some(self: DatagramPath, packets: list[bytes], whole: int) -> None:
        nonlocal lost
        kept = [packet for packet in packets if rng.random() >= 0.03]
        lost += len(packets) - len(kept)
        send_packets(self, kept, whole)

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


async def test_a_receiver_answers_before_it_has_read_all_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else both sides of a fast path take turns: one window is sent, and one is read."""
    owner, scientist = new_pair()
    await connect(owner, scientist)
    if not isinstance(scientist._sctp, FastSctpTransport):
        await close(owner, scientist)
        pytest.skip("the association of aiortc reads datagrams one by one")
    path = scientist._sctp._path
    assert path is not None
    unanswered = [0]
    split, on_batch = DatagramPath._split, path._on_batch

    def noted(self: DatagramPath, wire: Any, size: int, *rest: Any) -> None:
        unanswered[-1] += size if self is path else 0
        split(self, wire, size, *rest)

    def answered() -> None:
        unanswered.append(0)
        on_batch()

    monkeypatch.setattr(DatagramPath, "_split", noted)
    monkeypatch.setattr(path, "_on_batch", answered)
    ear = Ear(scientist)
    for _ in range(32):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    await ear.count(32)
    assert sum(unanswered) > 32 * limits.MESSAGE_MAX_BYTES
    assert max(unanswered) < 128 * 1024 + 64 * 1024  # what it answers behind, and one read more
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


async def test_what_is_sent_now_leaves_at_once_and_together(association: str) -> None:
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    before = owner.path().facts["packets_sent"]
    owner.send_now([(Channel.CTL, b"first"), (Channel.OPS, b"second")])
    owner.send_now([])  # nothing is left
    if association == "fast":  # the other one sends when it likes
        assert owner.path().facts["packets_sent"] == before + 1
    with pytest.raises(ValueError, match="65537"):
        owner.send_now([(Channel.CTL, b"third"), (Channel.OPS, bytes(65_537))])
    owner.send(Channel.CTL, b"fourth")
    await ear.count(4)
    assert ear.on(Channel.CTL) == [b"first", b"third", b"fourth"]
    assert ear.on(Channel.OPS) == [b"second"]
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
