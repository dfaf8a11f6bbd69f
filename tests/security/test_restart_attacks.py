"""An engine that dies between a request and its decision, and what was released or allowed before.

By a partner who makes frames by hand, and uses ids and calls again that the dead engine had.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from duet_p2p.errors import RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, attacked, waiting
from tests.security.test_neighbour_deaths import kill

pytestmark = pytest.mark.slow

X, T = Ref(-1), "torch.Tensor."
VALUES = torch.arange(20.0)
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    duet, raw, bridge = attacked({})
    try:
        duet.send(VALUES, tags=["x"])
        yield duet, raw
    finally:
        duet.close()
        bridge.close()


def restarted(duet: OwnerDuet, raw: RawPeer) -> None:
    raw.wait_for_end()
    kill(duet)
    raw.wait(lambda: raw.told(wire.EngineRestarted))
    raw.wait(lambda: raw.told(wire.StoreSnapshot)[1:])


def again(raw: RawPeer, name: str, *args: object) -> Ref:
    """The same id as in the engine that is gone."""
    raw.send(wire.Op(name, (1,), args, {}, "g"))
    return Ref(1)


@pytest.mark.parametrize("name", [T + "clone", "torch.mean"])
def test_what_was_released_before_is_asked_for_anew_under_its_id(
    session: Session, name: str
) -> None:
    duet, raw = session
    mean = raw.op("torch.mean", X)
    request = waiting(duet, raw, mean, "mean")
    request.accept()
    assert isinstance(raw.answer(request.call), wire.Value) and raw.is_free(mean)
    restarted(duet, raw)
    answer = raw.get(again(raw, name, X))  # the first command of both engines
    assert isinstance(answer, wire.NotYours) and answer.state == "never"


def test_a_request_that_was_listed_is_not_accepted_of_the_next_engine(session: Session) -> None:
    duet, raw = session
    request = waiting(duet, raw, raw.op("torch.mean", X), "mean")
    listed = duet.requests[0]
    restarted(duet, raw)
    again(raw, T + "clone", X)
    raw.wait_for_end()
    for accept in (listed.accept, request.accept):
        with pytest.raises(RequestClosed):
            accept()
    assert not raw.told(wire.Value)
    raw.send(wire.Request(request.call, 1, "mean", "", None))  # its number is used up
    assert not isinstance(raw.answer(request.call), wire.Value)
    assert not duet.requests.requests


def test_what_is_accepted_always_stays_the_same_question(session: Session) -> None:
    duet, raw = session
    request = waiting(duet, raw, raw.op("torch.mean", X), "mean")
    request.accept(always=True)
    raw.answer(request.call)
    duet.requests.add_handler(action="accept", name="seen", seen_only=True)
    restarted(duet, raw)
    assert raw.ask(again(raw, "torch.mean", X), "mean") == "Value"
    assert raw.ask(raw.op("torch.mean", X), "seen") == "Value"
    part = raw.op(T + "narrow", X, 0, 0, 11)
    for other in (raw.op("torch.mean", part), raw.op("torch.max", X), raw.op(T + "clone", X)):
        assert raw.ask(other, "mean") == raw.ask(other, "seen") == "Expired"
