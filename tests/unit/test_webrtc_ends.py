"""Two real peers on loopback: what ends an association, and who is told."""

import asyncio
from typing import Any

import aioice.ice
import pytest
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, WEBRTC_STRING

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, ProtocolError
from duet_p2p.transport.base import Channel
from tests.sctp_kit import inject
from tests.unit.webrtc_kit import (  # noqa: F401 (two are fixtures for every test)
    DEADLINE,
    Ear,
    both_associations,
    close,
    connect,
    new_pair,
    nothing_is_left,
)


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


async def test_consent_that_is_answered_late_is_no_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 1)
    owner, scientist = new_pair()
    await connect(owner, scientist)
    ear = Ear(scientist)
    answer, late = aioice.ice.Connection.request_received, []

    def answer_late(*arguments: Any) -> None:
        late.append(asyncio.get_running_loop().call_later(0.8, answer, *arguments))

    # Full buffers on the way: an answer takes longer than aioice's half a second.
    monkeypatch.setattr(aioice.ice.Connection, "request_received", answer_late)
    async with asyncio.timeout(DEADLINE):
        while len(late) < 6:
            await asyncio.sleep(0.05)
    owner.send(Channel.CTL, b"still here")
    await ear.count(1)
    assert ear.ends == []
    monkeypatch.undo()
    await close(owner, scientist)
    for handle in late:
        handle.cancel()


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
