"""Attacks on the owner's word: another question under the same number, and answers without one."""

from collections.abc import Iterator

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against

X, CLASSES = Ref(-1), Ref(-2)
F = "torch.nn.functional."
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    with against() as (duet, raw):
        duet.send(torch.arange(64.0), tags=["x"])
        duet.send(torch.arange(64) % 3, tags=["classes"])
        yield duet, raw


def remade(duet: OwnerDuet, raw: RawPeer, call: int) -> None:
    """Withdraws a request, has it forgotten by a flood, and uses its number for the data."""
    raw.send(wire.Withdraw(call))
    for _ in range(limits.REQUEST_HISTORY):
        raw.send(wire.Withdraw(raw.request(X, "flood")))
    raw.send(wire.Request(call, X.id, "harmless", "", None))
    raw.wait(lambda: [r for r in duet.requests if r.kind == "verbatim"])


def test_a_number_that_is_used_again_is_not_the_request_that_was_shown(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old requests are forgotten; then their numbers can stand for the data itself."""
    monkeypatch.setattr(limits, "REQUEST_HISTORY", 3)
    duet, raw = session
    call = raw.request(raw.op("torch.mean", X), "harmless")
    raw.wait(lambda: len(duet.requests) == 1)
    assert list(duet.requests.pandas["Name"]) == ["harmless"]
    request, key = duet.requests[0], duet.requests[0].id
    remade(duet, raw, call)
    for word in (
        request.accept,
        request.deny,
        lambda: request.value,
        lambda: duet.requests[0].accept(),
        lambda: duet.requests[key].accept(),
    ):
        with pytest.raises(RequestClosed):
            word()
    assert request.wait() == "Withdrawn"
    assert [look.handler for look in duet.requests.explain(request)] == []
    bound = duet.requests.add_handler("accept", recipe=request)  # what was shown, not the data
    assert bound.conditions.binding.kind == "aggregate"
    assert len(duet.requests) == 1
    assert raw.ask(raw.op("torch.mean", X), "any") == "Value"
    assert all(m.call != call for m in raw.told(wire.Value))
    duet.requests.pandas  # noqa: B018  shown again: now it is known what it is
    assert duet.requests[0].kind == "verbatim"
