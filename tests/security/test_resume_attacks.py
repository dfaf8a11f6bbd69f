"""A partner who takes a session up again and says other things than it was: by the raw wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import ProtocolError, RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.protocol.description import Channel
from duet_p2p.transport.memory import memory_pair
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame, encode_frame
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, attacked
from tests.unit.owner_kit import DEADLINE
from tests.unit.session_kit import SCIENTIST_ID, linked

X = Ref(-1)
DATA = torch.arange(64.0)
Attacked = tuple[OwnerDuet, RawPeer, Any]


@pytest.fixture
def session() -> Iterator[Attacked]:
    state = torch.get_rng_state()
    duet, raw, bridge = attacked({}, ThreadHost())
    duet.send(DATA, tags=["x"])
    yield duet, raw, bridge
    duet.close()
    bridge.close()
    torch.set_rng_state(state)


def epoch_of(raw: RawPeer) -> bytes:
    """What the owner calls its session."""
    for channel, data in raw.received:
        for message in decode_frame(data)[1] if channel == Channel.CTL else []:
            if isinstance(message, wire.Resume):
                return message.epoch
    raise AssertionError("the owner said no Resume")


def resume(session: Attacked, seq: int, epoch: bytes, transfers: Any = None) -> None:
    """Another association, on which the partner says that it has this much."""
    duet, raw, bridge = session

    async def go() -> None:
        theirs, raw.peer = await memory_pair()
        raw.peer.on_frame = raw._frame
        raw.peer.on_closed = lambda error: None
        duet._session.attach(linked(theirs, SCIENTIST_ID))
        raw._life(wire.Resume(seq, epoch, transfers or {}))

    bridge.call(go(), DEADLINE)


def again(raw: RawPeer, first: int, *messages: wire.Message) -> None:
    """Numbered messages under numbers of the partner's choice."""
    raw.raw(Channel.OPS, encode_frame(first, [encode_message(m) for m in messages]))


def released(session: Attacked) -> tuple[int, Any]:
    """A mean that the owner let out: the number of the call, and the answer."""
    duet, raw, _ = session
    call = raw.request(raw.op("torch.mean", X), "mean")
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    return call, raw.answer(call)


def is_over(duet: OwnerDuet, raw: RawPeer) -> bool:
    raw.wait(lambda: not duet.is_open)
    return True


def test_commands_that_are_sent_again_run_once_whatever_they_say_now(session: Attacked) -> None:
    _, raw, _ = session
    own = raw.put(torch.zeros(1))
    raw.do("torch.Tensor.add_", own, 1.0)
    raw.wait_for_end()
    last = raw.seq
    resume(session, raw.heard, epoch_of(raw))
    again(raw, last, wire.Op("torch.Tensor.add_", (), (own, 1.0), {}, "g"))
    again(raw, last - 1, wire.Op("torch.Tensor.copy_", (), (own, X), {}, "g"))
    assert raw.value(raw.get(own)).item() == 1.0


def test_a_request_that_is_sent_again_asks_nobody_and_brings_nothing(session: Attacked) -> None:
    duet, raw, _ = session
    call, answer = released(session)
    assert isinstance(answer, wire.Value)
    resume(session, raw.heard, epoch_of(raw))
    raw.answers.clear()
    again(raw, raw.seq, wire.Request(call, X.id, "x", "", None))  # now of another object
    raw.wait_for_end()
    assert isinstance(raw.get(raw.op("torch.ones", 1)), wire.Value)
    assert len(duet.requests) == 0
    assert [a for a in raw.answers if getattr(a, "call", 0) == call] == []


def test_a_call_that_was_answered_is_no_way_to_another_value(session: Attacked) -> None:
    _, raw, _ = session
    call, _ = released(session)
    resume(session, raw.heard, epoch_of(raw))
    raw.answers.clear()
    raw.send(wire.Request(call, X.id, "x", "", None))  # a new message under the used number
    raw.wait_for_end()
    raw.get(raw.op("torch.ones", 1))
    assert not [a for a in raw.answers if isinstance(a, wire.Value) and a.call == call]


def test_somebody_else_is_not_let_into_a_session_and_its_partner_goes_on(session: Attacked) -> None:
    """Objects, rules and what was accepted belong to one partner, by the key."""
    duet, raw, bridge = session
    _, answer = released(session)

    async def go() -> None:
        theirs, _ = await memory_pair()
        duet._session.attach(linked(theirs, "C" + "1" * 31))

    with pytest.raises(ProtocolError, match="one partner"):
        bridge.call(go(), DEADLINE)
    assert duet._session.partner_id == SCIENTIST_ID
    assert isinstance(answer, wire.Value) and raw.is_free(raw.op("torch.ones", 1))


@pytest.mark.parametrize("way", ["ahead", "behind", "no epoch", "another epoch"])
def test_who_is_somewhere_else_goes_on_with_nothing(session: Attacked, way: str) -> None:
    """The owner's session ends, since one of the two is not the one that was there."""
    duet, raw, _ = session
    released(session)
    epoch = epoch_of(raw)
    raw.wait(lambda: duet._session.status()["unacknowledged"] == 0)
    heard, told = raw.heard, len(raw.received)
    seq = {"ahead": heard + 1, "behind": 0}.get(way, heard)
    resume(session, seq, {"no epoch": b"", "another epoch": bytes(16)}.get(way, epoch))
    assert is_over(duet, raw)
    for _, data in raw.received[told:]:
        assert decode_frame(data)[0] == 0  # nothing that is numbered, so no value, came again
    assert torch.equal(DATA, torch.arange(64.0))


def test_a_gap_on_a_new_association_ends_it_and_runs_nothing(session: Attacked) -> None:
    duet, raw, _ = session
    own = raw.put(torch.zeros(1))
    raw.wait_for_end()
    resume(session, raw.heard, epoch_of(raw))
    again(raw, raw.seq + 2, wire.Op("torch.Tensor.add_", (), (own, 1.0), {}, "g"))
    assert is_over(duet, raw)


def test_blobs_that_the_partner_says_it_has_begun_give_no_bytes(session: Attacked) -> None:
    """Transfers that are none, or of a value that nobody has decided about."""
    duet, raw, _ = session
    raw.request(raw.op("torch.mul", X, 2.0), "x")
    raw.wait(lambda: len(duet.requests) == 1)
    resume(session, raw.heard, epoch_of(raw), {1: 0, 7: 1, 1 << 40: 5})
    raw.wait_for_end()
    assert isinstance(raw.get(raw.op("torch.ones", 1)), wire.Value)
    assert not [data for channel, data in raw.received if channel == Channel.BULK]
    assert len(duet.requests) == 1


def test_the_owner_closes_in_the_middle_of_a_decision(session: Attacked) -> None:
    """A word after the end releases nothing, and says so; what waits is waited for no longer."""
    duet, raw, _ = session
    raw.request(raw.op("torch.mean", X), "mean")
    raw.wait(lambda: len(duet.requests) == 1)
    request = duet.requests[0]
    duet.close()
    with pytest.raises(RequestClosed, match="Expired"):
        request.accept()
    assert not [m for m in raw.answers if isinstance(m, wire.Value)]


@pytest.mark.parametrize("limit", [{"max_uses": 2}, {"element_quota": 2}, {}])
def test_what_a_rule_has_used_up_stays_so_on_a_new_association(
    session: Attacked, limit: dict[str, int]
) -> None:
    duet, raw, _ = session
    if not limit:
        duet._service.desk.policy.numbers_per_source = 2
    duet.requests.add_handler(name="sum", action="accept", **limit)
    asked = []
    for number in range(4):
        asked.append(raw.ask(raw.op("torch.add", raw.op("torch.sum", X), number), "sum"))
        resume(session, raw.heard, epoch_of(raw))
    left = "Denied" if "element_quota" in limit else "Expired"
    assert asked == ["Value", "Value", left, left]


def test_a_word_while_nobody_is_there_is_one_release(session: Attacked) -> None:
    """The partner hears of it when they are back, and what they take back then has left."""
    duet, raw, bridge = session
    call = raw.request(raw.op("torch.mean", X), "mean")
    raw.wait(lambda: len(duet.requests) == 1)
    heard, epoch = raw.heard, epoch_of(raw)

    async def lost() -> None:
        await raw.peer.close()

    bridge.call(lost(), DEADLINE)
    raw.wait(lambda: duet._session.status()["state"] == "lost")
    request = duet.requests[0]
    request.accept()
    resume(session, heard, epoch)
    raw.send(wire.Withdraw(call), wire.Request(call, X.id, "mean", "", None))
    raw.wait_for_end()
    assert raw.value(raw.answer(call)) == DATA.mean()
    assert request.status == "Accepted"
    values = [m for m in raw.answers if isinstance(m, wire.Value) and m.call == call]
    assert len(values) == 1 and len(duet.requests) == 0
