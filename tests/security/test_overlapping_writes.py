"""Writes that land in each other: a record's row with another record's numbers in it.

torch writes to a view that has one number at several places, and reads beside what it writes. Each
attack has the numbers of one record, or of all but one, in what looks like a sum over all. A
handler accepts what is called ``loss``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against, waits

X = Ref(-1)
T = "torch.Tensor."
COUNT = 40


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against({"x": torch.arange(COUNT, dtype=torch.float64) + 100}) as (duet, raw):
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


def total(p: RawPeer, value: Ref) -> Ref:
    return p.op("torch.sum", value)


def own(p: RawPeer, size: int, value: float = 0.0) -> Ref:
    return p.put(torch.full((size,), value, dtype=torch.float64))


def _shifted_by_one(p: RawPeer) -> Ref:
    """The second row lies over the first one, one place on: the last record is in none of them."""
    rows = p.op(T + "unfold", own(p, COUNT + 1), 0, COUNT, 1)
    p.op(T + "add_", rows, p.op("torch.stack", [p.op("torch.mul", X, 0), X]))
    return p.op("torch.sub", total(p, X), total(p, p.op(T + "__getitem__", rows, 0)))


def _counted(p: RawPeer) -> Ref:
    """Each row is one more than that of the record before."""
    memory = own(p, 2 * COUNT + 2, 1.0)
    target, before = (
        p.op(T + "__getitem__", memory, slice(at, 2 * COUNT + at, 2)) for at in (2, 0)
    )
    p.op(T + "addcmul_", target, p.op("torch.add", p.op("torch.mul", X, 0), 1), before)
    return total(p, p.op("torch.mul", X, p.op("torch.eq", target, 7.0)))


def _all_in_one_place(p: RawPeer) -> Ref:
    """The largest record, as one of as many."""
    rows = p.op(T + "expand", own(p, 1), COUNT)
    p.op(T + "masked_fill_", rows, p.op("torch.gt", X, 138.5), 1.0)
    return total(p, rows)


def _assigned_in_one_place(p: RawPeer) -> Ref:
    rows = p.op(T + "expand", own(p, 1), COUNT)
    p.do(T + "__setitem__", rows, p.op("torch.gt", X, 138.5), 1.0)
    return total(p, rows)


def _added_up_on_the_way(p: RawPeer) -> Ref:
    """What is added lies over what it is added to."""
    target = p.op(T + "__getitem__", own(p, 2 * COUNT, 1.0), slice(0, None, 2))
    source = p.op(T + "view_as", target, target)
    classes = p.op(T + "long", p.op("torch.sub", p.op("torch.mul", X, 0), -1))
    p.op(T + "index_add_", target, 0, classes, source)
    return total(p, target)


@pytest.mark.parametrize("attack", [
    _shifted_by_one, _counted, _all_in_one_place, _assigned_in_one_place, _added_up_on_the_way,
])  # fmt: skip
def test_what_is_written_over_itself_waits_for_the_owner(
    session: tuple[OwnerDuet, RawPeer], attack: Callable[[RawPeer], Ref]
) -> None:
    duet, p = session
    result = attack(p)
    assert "the kind is per_record" in waits(duet, p, result, "loss")
    assert p.ask(result, "loss") == "Expired"


def _a_column(p: RawPeer) -> Ref:
    table = p.put(torch.zeros(COUNT, 3, dtype=torch.float64))
    column = p.op(T + "__getitem__", table, (slice(None), 1))
    return p.op(T + "add_", column, X)


def _turned(p: RawPeer) -> Ref:
    rows = p.op(T + "t", p.put(torch.zeros(COUNT, 2, dtype=torch.float64)))
    return p.op(T + "add_", rows, X)


def _by_itself(p: RawPeer) -> Ref:
    copy = p.op(T + "clone", X)
    return p.op(T + "mul_", copy, copy)


@pytest.mark.parametrize("write", [_a_column, _turned, _by_itself])
def test_what_has_a_place_for_each_number_is_a_sum_as_before(
    session: tuple[OwnerDuet, RawPeer], write: Callable[[RawPeer], Ref]
) -> None:
    _, p = session
    assert p.ask(total(p, write(p)), "loss") == "Value"
