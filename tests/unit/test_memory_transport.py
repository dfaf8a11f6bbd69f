"""The peers and the relay in memory keep the promises of the real ones."""

import asyncio
import threading
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost, ProtocolError
from duet_p2p.transport.base import Channel, Peer, PeerFactory, Signaling
from duet_p2p.transport.memory import (
    MemoryNetwork,
    MemoryPeer,
    MemoryRelay,
    MemorySignaling,
    memory_pair,
)

DEADLINE = 5.0


class Ear:
    def __init__(self, peer: Peer) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.ends: list[Exception | None] = []
        peer.on_frame = lambda channel, data: self.frames.append((channel, data))
        peer.on_closed = self.ends.append


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_they_are_what_sessions_ask_for() -> None:
    factory: PeerFactory = MemoryNetwork()
    peer: type[Peer] = MemoryPeer
    signaling: type[Signaling] = MemorySignaling
    assert factory and peer and signaling


async def test_peers_meet_by_their_descriptions_and_return_real_fingerprints() -> None:
    network = MemoryNetwork()
    owner, scientist = network(controlling=True), network(controlling=False)
    offer, answer = await owner.gather(), await scientist.gather()
    assert (offer.setup, answer.setup) == ("actpass", "active")
    seen = await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    assert seen == [answer.fingerprint, offer.fingerprint]
    assert owner.path().kind == "memory"
    await owner.close()
    await scientist.close()


async def test_another_certificate_than_announced_is_returned_and_nothing_is_open() -> None:
    network = MemoryNetwork()
    owner = network(controlling=True)
    scientist = MemoryPeer(network, controlling=False, fingerprint=b"m" * 32)
    offer, answer = await owner.gather(), await scientist.gather()
    ear = Ear(scientist)
    seen, _ = await asyncio.gather(
        owner.connect(replace(answer, fingerprint=bytes(32))), scientist.connect(offer)
    )
    assert seen == b"m" * 32
    with pytest.raises(ConnectionLost):
        owner.send(Channel.CTL, b"no")
    await settle()
    assert ear.ends == [None]
    await scientist.close()


@pytest.mark.parametrize("field", ["ufrag", "pwd"])
async def test_a_wrong_description_waits_for_the_callers_deadline(field: str) -> None:
    network = MemoryNetwork()
    owner, scientist = network(controlling=True), network(controlling=False)
    offer, answer = await owner.gather(), await scientist.gather()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.gather(
                owner.connect(replace(answer, **{field: "x" * 22})), scientist.connect(offer)
            )
    assert isinstance(owner.failure(), ConnectFailed)
    assert owner.failure().stage == "ice"
    assert network._waiting == {}


async def test_frames_are_ordered_and_channel_0_goes_first() -> None:
    owner, scientist = await memory_pair()
    ear = Ear(scientist)
    for number in range(20):
        owner.send(Channel.BULK, bytes([number]) * limits.MESSAGE_MAX_BYTES)
    owner.send(Channel.CTL, b"ping")
    owner.send(Channel.OPS, b"")
    await settle()
    while len(ear.frames) < 22:
        await asyncio.sleep(0)
    assert [data[0] for channel, data in ear.frames if channel == Channel.BULK] == list(range(20))
    assert [channel for channel, _ in ear.frames].index(Channel.CTL) <= 2
    await owner.close()
    await scientist.close()


async def test_buffered_and_drain_are_honest_while_nothing_leaves() -> None:
    owner, scientist = await memory_pair()
    ear = Ear(scientist)
    owner.pause()
    for _ in range(3):
        owner.send(Channel.OPS, bytes(50_000))
    await settle()
    assert owner.buffered(Channel.OPS) == 150_000
    assert (owner.buffered(Channel.CTL), ear.frames) == (0, [])
    waiting = asyncio.create_task(owner.drain(Channel.OPS, 1))
    await settle()
    assert not waiting.done()
    owner.resume()
    async with asyncio.timeout(DEADLINE):
        await waiting
    assert owner.buffered(Channel.OPS) == 0
    await settle()
    assert len(ear.frames) == 3
    await owner.close()
    await scientist.close()


async def test_frames_wait_for_a_listener_within_bounds() -> None:
    owner, scientist = await memory_pair()
    for _ in range(limits.EARLY_FRAMES):
        owner.send(Channel.CTL, b"early")
    await settle()
    ear = Ear(scientist)
    await settle()
    assert len(ear.frames) == limits.EARLY_FRAMES
    await owner.close()

    owner, scientist = await memory_pair()
    for _ in range(limits.EARLY_FRAMES + 1):
        owner.send(Channel.CTL, b"early")
    await settle()
    ear = Ear(scientist)
    await settle()
    assert ear.frames == []
    assert [type(error) for error in ear.ends] == [ProtocolError]
    await owner.close()


async def test_a_message_one_byte_too_large_is_refused() -> None:
    owner, scientist = await memory_pair()
    owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES))
    with pytest.raises(ValueError, match="65537"):
        owner.send(Channel.BULK, bytes(limits.MESSAGE_MAX_BYTES + 1))
    await owner.close()
    await scientist.close()


async def test_a_close_is_seen_once_after_the_last_word() -> None:
    owner, scientist = await memory_pair()
    mine, theirs = Ear(owner), Ear(scientist)
    waiting = asyncio.create_task(scientist.drain(Channel.CTL, 1))
    await waiting
    owner.send(Channel.CTL, b"bye")
    await owner.close()
    await owner.close()
    await settle()
    assert theirs.frames == [(Channel.CTL, b"bye")]
    assert (mine.ends, theirs.ends) == ([], [None])
    with pytest.raises(ConnectionLost):
        scientist.send(Channel.CTL, b"late")
    with pytest.raises(ConnectionLost):
        await scientist.drain(Channel.CTL, 1)
    await scientist.close()


async def test_a_lost_path_is_told_to_both_or_to_nobody() -> None:
    owner, scientist = await memory_pair()
    ears = Ear(owner), Ear(scientist)
    owner.pause()
    owner.send(Channel.CTL, b"lost")
    waiting = asyncio.create_task(owner.drain(Channel.CTL, 1))
    await settle()
    owner.lose()
    await settle()
    with pytest.raises(ConnectionLost):
        await waiting
    assert [[type(end) for end in ear.ends] for ear in ears] == [[ConnectionLost]] * 2

    owner, scientist = await memory_pair()
    ears = Ear(owner), Ear(scientist)
    scientist.lose(silently=True)
    owner.send(Channel.CTL, b"into the void")
    scientist.send(Channel.CTL, b"into the void")
    await owner.drain(Channel.CTL, 1)
    await owner.close()
    await settle()
    assert [ear.frames + ear.ends for ear in ears] == [[], []]
    await scientist.close()


async def test_close_ends_a_connect_that_waits() -> None:
    network = MemoryNetwork()
    owner, scientist = network(controlling=True), network(controlling=False)
    answer = await scientist.gather()
    attempt = asyncio.create_task(owner.connect(answer))
    await settle()
    await owner.close()
    with pytest.raises(ConnectionLost):
        await attempt
    with pytest.raises(ConnectionLost):
        await owner.gather()


async def test_a_listener_that_raises_is_told_so() -> None:
    owner, scientist = await memory_pair()
    ear = Ear(owner)

    def fail(_channel: int, _data: bytes) -> None:
        raise ZeroDivisionError

    owner.on_frame = fail
    scientist.send(Channel.OPS, b"1/0")
    await settle()
    assert [type(error) for error in ear.ends] == [ZeroDivisionError]


def test_two_loops_in_two_threads_are_joined_too() -> None:
    network = MemoryNetwork()
    halves: dict[str, object] = {}
    both_described = threading.Barrier(2, timeout=DEADLINE)
    heard: dict[str, list[bytes]] = {"owner": [], "scientist": []}
    messages = [number.to_bytes(2) * 500 for number in range(200)]

    async def run(name: str, partner: str, *, controlling: bool) -> None:
        peer = network(controlling=controlling)
        halves[name] = await peer.gather()
        both_described.wait()
        async with asyncio.timeout(DEADLINE):
            await peer.connect(halves[partner])  # type: ignore[arg-type]
            greeted, done = asyncio.Event(), asyncio.Event()

            def hear(_channel: int, data: bytes) -> None:
                greeted.set()
                heard[name].append(data)
                if len(heard[name]) == 1 + len(messages):
                    done.set()

            peer.on_frame = hear
            peer.send(Channel.OPS, b"hello")
            await greeted.wait()
            for message in messages:
                peer.send(Channel.OPS, message)
                await peer.drain(Channel.OPS, 10_000)
            await done.wait()
            await peer.drain(Channel.OPS, 1)
            await asyncio.sleep(0.05)
        await peer.close()

    thread = threading.Thread(
        target=lambda: asyncio.run(run("owner", "scientist", controlling=True))
    )
    thread.start()
    asyncio.run(run("scientist", "owner", controlling=False))
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert heard == {"owner": [b"hello", *messages], "scientist": [b"hello", *messages]}


# signalling


class Inboxes:
    def __init__(self, end: MemorySignaling) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.events: list[tuple[str, str]] = []
        end.on_message = lambda sender, body: self.bodies.append((sender, body))
        end.on_event = lambda event, about: self.events.append((event, about))


async def test_a_relay_passes_bodies_on_and_tells_who_is_there() -> None:
    relay = MemoryRelay()
    owner, scientist = relay.end("S1"), relay.end("C1")
    at_owner, at_scientist = Inboxes(owner), Inboxes(scientist)
    await scientist.start()
    scientist.post("S1", b"join", is_join=True)  # nobody is there yet: it waits
    await owner.start()
    owner.post("C1", b"offer")
    await settle()
    assert at_owner.bodies == [("C1", b"join")]
    assert at_scientist.bodies == [("S1", b"offer")]
    assert at_owner.events == [("registered", ""), ("online", "C1")]
    await owner.close(forget=True)
    scientist.post("S1", b"late")
    await settle()
    assert at_scientist.events == [("registered", ""), ("online", "S1"), ("offline", "S1")]
    assert at_owner.bodies == [("C1", b"join")]
    assert await scientist.refresh_ice() == []
    await scientist.close(forget=False)


async def test_a_relay_can_drop_duplicate_and_change() -> None:
    def tamper(sender: str, to: str, body: bytes) -> list[bytes]:
        assert (sender, to) == ("S1", "C1")
        return {b"drop": [], b"twice": [body, body], b"change": [b"changed"]}[body]

    relay = MemoryRelay(tamper)
    owner, scientist = relay.end("S1"), relay.end("C1")
    at_scientist = Inboxes(scientist)
    await owner.start()
    await scientist.start()
    for body in (b"drop", b"twice", b"change"):
        owner.post("C1", body)
    await settle()
    assert [body for _, body in at_scientist.bodies] == [b"twice", b"twice", b"changed"]
