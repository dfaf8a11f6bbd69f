import asyncio
import gc
import time
import warnings

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    ConnectFailed,
    ConnectionLost,
    EngineFailed,
    PairingTimeout,
    PartnerLeft,
    PeerProofError,
    ProtocolError,
    SessionClosed,
    SessionReplaced,
    SignalingUnreachable,
    VersionMismatch,
    WrongSide,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.effects import AttemptFailed, LinkClosed, PartnerWaiting
from duet_p2p.protocol.proofs import Ready
from duet_p2p.transport.memory import MemoryNetwork, MemoryPeer, MemoryRelay
from tests.handshake_kit import CAPS, HEAD, Side, both, pair, speed_up, until


async def test_two_sides_open_one_link_and_agree():
    async with pair() as (o, s):
        owners, scientists = await both(o, s)
        assert owners.th == scientists.th
        assert (owners.partner_id, owners.partner_pub) == (s.key.id, s.key.pub)
        assert (scientists.partner_id, scientists.partner_pub) == (o.key.id, o.key.pub)
        assert (owners.audit_head, scientists.audit_head) == (b"", HEAD)
        assert owners.caps["max_msg"] == 65536 and owners.path.kind == "memory"
        assert o.handshake.pinned == s.key.id
        owners.peer.send(1, b"operation")
        scientists.peer.send(0, b"control")
        scientists.peer.send(2, b"bulk")
        await until(lambda: s.frames and len(o.frames) == 2)
        assert s.frames == [(1, b"operation")]
        assert o.frames == [(0, b"control"), (2, b"bulk")]


async def test_frames_before_attach_are_kept_in_order():
    async with pair(owner={"attach": False}) as (o, s):
        owners, scientists = await both(o, s)
        for number in range(50):
            scientists.peer.send(number % 3, b"%d" % number)
        await asyncio.sleep(0.05)
        o.listen(owners)
        scientists.peer.send(1, b"last")
        await until(lambda: len(o.frames) == 51)
        for channel in range(3):
            numbers = [int(data) for c, data in o.frames[:50] if c == channel]
            assert numbers == sorted(numbers)
        assert o.frames[-1] == (1, b"last")


async def test_a_flood_before_attach_closes(monkeypatch):
    monkeypatch.setattr(limits, "LINK_EARLY_BYTES", 1000)
    async with pair(owner={"attach": False}) as (o, s):
        owners, scientists = await both(o, s)
        scientists.peer.send(1, b"x" * 1000)
        await asyncio.sleep(0.05)
        assert owners.is_open
        scientists.peer.send(1, b"x")
        await until(lambda: not owners.is_open)
        assert isinstance(o.told(LinkClosed)[0].error, ProtocolError)


async def test_the_scientist_may_come_first_and_the_id_last(monkeypatch):
    speed_up(monkeypatch)
    async with pair(owner={"expected": [], "prompt_open": True}, start=False) as (o, s):
        await s.handshake.start()
        await o.handshake.start()
        await until(lambda: o.events)
        await asyncio.sleep(0.1)
        assert o.events == [PartnerWaiting()] and o.links == []
        assert o.handshake.expect(s.key.id)
        o.handshake.close_prompt()
        await both(o, s)


async def test_a_lost_link_comes_back_by_itself(monkeypatch):
    speed_up(monkeypatch)
    async with pair() as (o, s):
        for round_number in range(3):
            owners, _ = await both(o, s)
            owners.peer.lose()
            await until(lambda: len(o.links) == len(s.links) == round_number + 2)  # noqa: B023
        owners, scientists = await both(o, s)
        assert owners.th == scientists.th
        assert len({link.th for link in o.links}) == 4
        assert [type(error) for error in o.closed] == [ConnectionLost] * 3
        scientists.peer.send(1, b"again")
        await until(lambda: o.frames == [(1, b"again")])


async def test_a_silent_loss_that_one_side_notices_replaces_the_others_link():
    async with pair() as (o, s):
        owners, _ = await both(o, s)
        owners.peer.lose(silently=True)
        s.handshake.link_lost()
        assert s.handshake.link is None and isinstance(s.closed[0], ConnectionLost)
        await until(lambda: len(o.links) == 2)
        assert [str(error) for error in o.closed] == ["A newer connection took over."]
        assert not owners.is_open and o.handshake.link is o.links[1]


async def test_attach_after_the_end_tells_so_at_once():
    async with pair(owner={"attach": False}) as (o, s):
        owners, _ = await both(o, s)
        owners.peer.lose()
        await until(lambda: not owners.is_open)
        o.listen(owners)
        assert isinstance(o.closed[0], ConnectionLost)


async def test_no_path_ends_the_scientist_with_a_remedy_and_the_owner_waits_on(monkeypatch):
    speed_up(monkeypatch)
    async with pair(scientist={"network": MemoryNetwork()}) as (o, s):
        began = time.monotonic()
        with pytest.raises(ConnectFailed) as failure:
            await s.handshake.wait(10)
        assert time.monotonic() - began < 9
        assert failure.value.stage == "ice" and "No direct path" in failure.value.remedy
        assert len(s.told(AttemptFailed)) == limits.FAILED_ATTEMPTS - 1
        await until(lambda: o.told(AttemptFailed))
        assert o.handshake.error is None
        assert "No direct path" in str(o.handshake.timeout_error())
        with pytest.raises(PairingTimeout):
            await o.handshake.wait(0.05)


async def test_nobody_there_is_a_timeout_and_after_a_bad_proof_another_error(monkeypatch):
    speed_up(monkeypatch)
    async with pair(owner={"expected": []}) as (_, s):
        with pytest.raises(PairingTimeout) as failure:
            await s.handshake.wait(0.05)
        assert isinstance(failure.value, TimeoutError)
        s.handshake._machine.rejected = 1
        with pytest.raises(PeerProofError):
            await s.handshake.wait(0.05)


async def test_another_version_is_said_on_both_sides():
    async with pair(scientist={"caps": CAPS.replace(b'"v":1', b'"v":2')}) as (o, s):
        with pytest.raises(VersionMismatch):
            await s.handshake.wait(5)
        assert isinstance(o.told(AttemptFailed)[0].error, VersionMismatch)


async def test_close_says_goodbye_and_leaves_nothing_behind():
    before = asyncio.all_tasks()
    async with pair(owner={"expected": [], "prompt_open": True}) as (o, s):
        await until(lambda: o.events)
        o.handshake.expect(s.key.id)
        await both(o, s)
    assert isinstance(o.handshake.error, SessionClosed)
    assert o.closed and s.closed
    with pytest.raises(SessionClosed):
        await o.handshake.wait(1)
    await o.handshake.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_close_while_pairing_reaches_the_partner(monkeypatch):
    speed_up(monkeypatch)
    monkeypatch.setattr(limits, "CONNECT_SECONDS", 5)
    async with pair(scientist={"network": MemoryNetwork()}) as (o, s):
        await until(lambda: s.handshake._scientist.state.name == "ANSWERING")
        await o.handshake.close("shutdown")
        with pytest.raises(PartnerLeft) as failure:
            await s.handshake.wait(2)
        assert failure.value.reason == "shutdown"


async def test_the_end_of_signalling_ends_a_wait_but_no_link():
    async with pair(owner={"expected": []}) as (o, s):
        s.signaling.on_event("closed", "SessionReplaced")
        with pytest.raises(SessionReplaced):
            await s.handshake.wait(1)
        o.signaling.on_event("closed", "nonsense")
        with pytest.raises(SignalingUnreachable):
            await o.handshake.wait(1)
    async with pair() as (o, s):
        owners, _ = await both(o, s)
        o.signaling.on_event("closed", "SessionReplaced")
        assert owners.is_open and o.handshake.error is None


async def test_an_unreachable_server_is_the_error_of_start():
    class Down(type(MemoryRelay().end("x"))):
        async def start(self):
            raise SignalingUnreachable()

    relay, key = MemoryRelay(), Key.fresh("owner")
    side = Side(relay, MemoryNetwork(), key, signaling=Down(relay, key.id))
    with pytest.raises(SignalingUnreachable):
        await side.handshake.start()
    await side.handshake.close()


async def test_only_owners_name_clients():
    async with pair(start=False) as (_, s):
        with pytest.raises(WrongSide):
            s.handshake.expect(Key.fresh("scientist").id)


async def test_a_session_that_ended_meanwhile_takes_no_link():
    def refuse(link):
        raise SessionClosed()

    async with pair(start=False) as (o, s):
        s.handshake._on_link = refuse
        await o.handshake.start()
        await s.handshake.start()
        with pytest.raises(SessionClosed):
            await s.handshake.wait(5)
        await until(lambda: o.closed)
        assert s.handshake.link is None


async def test_a_partner_who_left_is_the_end_for_a_scientist_and_not_for_an_owner():
    async with pair() as (o, s):
        await both(o, s)
        s.handshake.link_lost(PartnerLeft(reason="shutdown"))
        with pytest.raises(PartnerLeft):
            await s.handshake.wait(1)
        await until(lambda: o.closed)
        assert o.handshake.error is None


class RawPeer(MemoryPeer):
    """A scientist's peer that breaks the order of the first frames."""

    def send(self, channel, data):
        for frame in self.instead(data):
            super().send(*frame)


class RawNetwork:
    """Owners get honest peers, scientists raw ones."""

    def __init__(self, instead):
        self.inner = MemoryNetwork()
        self.kind = type("Raw", (RawPeer,), {"instead": staticmethod(instead)})

    def __call__(self, *, controlling, **_):
        return (MemoryPeer if controlling else self.kind)(self.inner, controlling=controlling)


def is_ready(data):
    return len(data) < 60


ATTACKS = {
    "operation first": lambda data: [(1, b"operation"), (0, data)],
    "bulk first": lambda data: [(2, b"bulk"), (0, data)],
    "confirm twice": lambda data: [(0, data), (0, data)],
    "wrong transcript": lambda data: [(0, data.replace(data[20:30], b"0123456789"))],
    "ready first": lambda data: [(0, Ready(bytes(32)).encode())],
    "another map first": lambda data: [(0, b"\x81\xa1t\xa7confirm"), (0, data)],
    "no ready": lambda data: [] if is_ready(data) else [(0, data)],
    "nothing at all": lambda data: [],
    "operation for ready": lambda data: [(0, b"\x93123")] if is_ready(data) else [(0, data)],
    "wrong ready": lambda data: [(0, Ready(bytes(32)).encode() if is_ready(data) else data)],
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_partner_who_breaks_the_order_is_closed_and_nothing_is_delivered(name, monkeypatch):
    speed_up(monkeypatch)
    async with pair(network=RawNetwork(ATTACKS[name])) as (o, _):
        for number in (1, 2):
            await until(lambda: len(confirm_failures(o)) >= number)  # noqa: B023
        assert o.links == [] and o.frames == [] and o.handshake.link is None
        assert o.handshake.pinned is None


def confirm_failures(side):
    events = side.told(AttemptFailed) + side.told(LinkClosed)
    return [event for event in events if isinstance(event.error, ConfirmFailed)]


@pytest.mark.parametrize("name", ["confirm", "ready"])
async def test_a_second_proof_on_an_open_link_is_a_protocol_error(name):
    sent = []

    def note(data):
        sent.append(data)
        return [(0, data)]

    async with pair(network=RawNetwork(note)) as (o, s):
        owners, scientists = await both(o, s)
        again = next(data for data in sent if is_ready(data) == (name == "ready"))
        scientists.peer.send(0, again)
        await until(lambda: not owners.is_open)
        assert isinstance(o.closed[0], ProtocolError) and o.frames == []


async def test_an_operation_that_overtakes_ready_is_delivered_after_it():
    def overtaking(data):
        return [(1, b"early"), (0, data)] if is_ready(data) else [(0, data)]

    async with pair(network=RawNetwork(overtaking)) as (o, s):
        await both(o, s)
        await until(lambda: o.frames == [(1, b"early")])
        assert len(o.links) == 1


async def test_a_session_that_cannot_begin_tells_who_joins_and_who_waits():
    class Stuck(MemoryPeer):
        async def connect(self, remote):
            return await asyncio.Future()

    network = MemoryNetwork()
    stuck = lambda *, controlling, **_: Stuck(network, controlling=controlling)
    async with pair(network=stuck) as (o, s):
        waiting = asyncio.create_task(o.handshake.wait(10))
        await until(lambda: s.handshake._runs)
        await o.handshake.fail(EngineFailed("no torch"))
        with pytest.raises(EngineFailed, match="no torch"):
            await waiting
        with pytest.raises(PartnerLeft) as left:
            await s.handshake.wait(10)
        assert left.value.reason == "error"


async def test_a_pairing_that_failed_before_it_began_does_not_begin():
    async with pair(start=False) as (o, _):
        await o.handshake.fail(EngineFailed("no torch"))
        with pytest.raises(EngineFailed, match="no torch"):
            await o.handshake.start()


async def test_a_loop_that_ends_at_once_leaves_no_step_unawaited():
    """As `Bridge.close` does it: every task is cancelled, also one that has not begun."""

    async def begin_and_cancel():
        async with pair(start=False) as (o, s):
            before = asyncio.all_tasks()
            await o.handshake.start()
            await s.handshake.start()
            while not (begun := asyncio.all_tasks() - before):
                await asyncio.sleep(0)
            for task in begun:
                task.cancel()
            await asyncio.wait(begun, timeout=5)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        await begin_and_cancel()
        gc.collect()  # an error's traceback holds what the task was given
    assert [str(warning.message) for warning in told] == []
