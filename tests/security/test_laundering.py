"""Private data on its way through what a scientist can make, by a peer that speaks the raw wire.

No attack of laundering_kit.py may end with what a `get` or a handler on a name gives away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from tests.security.laundering_kit import (
    ATTACKS,
    REFUSED,
    VALUES,
    T,
    X,
    element,
    few,
    index,
    is_told,
    number,
    own,
    weight,
)
from tests.security.raw_peer import RawPeer, against, taken_back, waiting


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against() as (duet, raw):
        duet.send(VALUES, tags=["secret"])
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_way_round_gives_it_away(session: Any, attack: str) -> None:
    duet, raw = session
    told = len(raw.told(wire.Fail))
    target = ATTACKS[attack](raw)
    answer = raw.get(target)
    if attack in REFUSED:  # there is nothing in it but what was there at first
        assert isinstance(answer, wire.Value) and not is_told(raw.value(answer))
        assert len(raw.told(wire.Fail)) == told + 1
        return
    assert isinstance(answer, wire.NotYours) and answer.state == "never", answer
    request = waiting(duet, raw, target, "loss")
    assert not request.failed, request.failed  # what failed attacked nothing
    assert request.sources == ["secret"] and request.min_records == 1
    assert "accept handler for name='loss' does not take it: " in request.why
    taken_back(raw, request)


def test_the_honest_control_passes_the_same_handler(session: Any) -> None:
    _, raw = session
    assert raw.ask(raw.op("torch.mean", X), "loss") == "Value"
    assert raw.is_free(raw.op(T + "sum", own(raw)))


def test_a_text_of_an_error_never_has_a_private_value(session: Any) -> None:
    _, raw = session
    negative = raw.op(T + "neg", raw.op(T + "clone", element(raw)))
    raw.op("torch.optim.SGD", [weight(raw)], lr=raw.op("python.Float", negative))
    raw.op("torch.optim.SGD", [weight(raw)], lr=negative)
    data = raw.op("torch.utils.data.TensorDataset", own(raw))
    raw.op("torch.utils.data.DataLoader", data, batch_size=raw.op("python.Int", negative))
    text = raw.op("python.String.__add__", raw.op("python.String", number(raw)), " takes no text")
    raw.op("python.Int", text)
    raw.wait_for_end()
    assert not [m for m in raw.told(wire.Fail) if "3" in m.text]
    for message in raw.told_bytes():
        assert b"-3" not in message


def test_what_is_told_of_a_loader_does_not_depend_on_values(session: Any) -> None:
    _, raw = session
    before = len(raw.told(wire.Meta))
    data = raw.op("torch.utils.data.TensorDataset", own(raw))
    raw.op("torch.utils.data.DataLoader", data, batch_size=index(raw))
    raw.op("torch.utils.data.DataLoader", raw.op("torch.utils.data.TensorDataset", few(raw)))
    raw.wait_for_end()
    told = raw.told(wire.Meta)[before:]
    assert not [m for m in told if m.type == "torch.utils.data.DataLoader"]
