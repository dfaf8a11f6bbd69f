"""What makes two rows of the audit log one row with a count, and what never does."""

from __future__ import annotations

from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.owner.audit_bursts import Bursts, is_by_hand

FAULT = {"seq": 1, "op": "torch.add", "code": "ValueError", "told": False}
UNSENT = {"not_sent": "Denied", "why": "the session ended"}
ASKED = {
    "request": "a1", "requester": "S1", "object": 5, "name": "loss", "reason": "r", "status": "P",
    "why": "", "what": "mean of ages", "elements": 1, "sources": [-1], "min_records": 10,
    "injected": False,
}  # fmt: skip
DECIDED = ASKED | {"status": "Rejected", "why": "denied by the rule deny name='x'"}


@pytest.fixture
def exact() -> Bursts:
    return Bursts()


@pytest.fixture
def rough() -> Bursts:
    bursts = Bursts()
    bursts.rows = limits.AUDIT_ASKED_ROWS
    return bursts


def are_alike(bursts: Bursts, kind: str, one: dict[str, Any], **changed: Any) -> bool:
    same = bursts.likeness(kind)
    return same is not None and same(one) == same(one | changed)


def test_what_differs_in_number_and_place_only_is_alike(exact: Bursts) -> None:
    assert are_alike(exact, "fault", FAULT, seq=2, op="torch.sub")
    assert are_alike(exact, "fault", {"reason": "8 bytes"}, reason="9 bytes")
    assert are_alike(exact, "refusal", {"reason": "8 open"}, reason="9 open", request="b")
    for kind in ("request", "decision"):
        assert are_alike(exact, kind, ASKED, request="b2", object=6)
    assert are_alike(exact, "repeat", {"request": "a"}, request="b")
    assert are_alike(exact, "public", {"type": "T", "request": "a"}, request="b")


@pytest.mark.parametrize("changed", [
    {"code": "IndexError"}, {"told": True}, {"engine": "ended"}, {"not_sent": "Value"},
    {"reason": "not sent after all"}, {"why": "another"},
])  # fmt: skip
def test_a_fault_that_is_another_one_has_its_own_row(
    exact: Bursts, changed: dict[str, Any]
) -> None:
    assert not are_alike(exact, "fault", FAULT | UNSENT, **changed)


@pytest.mark.parametrize("changed", [
    {"requester": "S2"}, {"name": "x"}, {"reason": "x"}, {"status": "Accepted"}, {"why": "x"},
    {"what": "sum of ages"}, {"elements": 2}, {"sources": [-2]}, {"min_records": 1},
    {"injected": True},
])  # fmt: skip
def test_a_request_that_is_another_one_has_its_own_row(
    exact: Bursts, changed: dict[str, Any]
) -> None:
    for kind in ("request", "decision"):
        assert not are_alike(exact, kind, ASKED, **changed)


def test_values_of_other_types_and_other_refusals_have_their_own_rows(exact: Bursts) -> None:
    assert not are_alike(exact, "public", {"type": "torch.Tensor"}, type="python.Int")
    assert not are_alike(exact, "refusal", {"reason": "get: unknown"}, reason="get: never")


def test_nothing_makes_other_kinds_alike(exact: Bursts, rough: Bursts) -> None:
    for bursts in (exact, rough):
        for kind in ("release", "share", "drop", "handler", "session", "peer", "engine"):
            assert bursts.likeness(kind) is None


def test_after_very_many_what_became_of_it_is_what_counts(rough: Bursts) -> None:
    rough.rows -= 1
    assert not rough.is_rough
    rough.rows += 1
    assert rough.is_rough
    assert are_alike(rough, "request", ASKED, name="x", sources=[-2], elements=9)
    assert are_alike(rough, "decision", DECIDED, name="x", why="denied by the rule y", elements=9)
    assert not are_alike(rough, "decision", DECIDED, status="Expired")
    assert are_alike(rough, "fault", FAULT, reason="another")
    for changed in ({"code": "IndexError"}, {"told": True}, {"not_sent": "Value"}):
        assert not are_alike(rough, "fault", FAULT, **changed)


@pytest.mark.parametrize("why", ["accepted by hand", "denied by hand", "accepted by hand, always"])
def test_what_was_decided_by_hand_is_never_alike_however_many_there_were(
    rough: Bursts, why: str
) -> None:
    assert is_by_hand({"why": why})
    for status in ("Accepted", "Rejected"):
        assert not are_alike(rough, "decision", ASKED | {"why": why, "status": status}, name="x")


def test_no_word_of_the_scientist_makes_it_one_by_hand(rough: Bursts) -> None:
    why = "denied by the rule deny name='accepted by hand'"
    assert not is_by_hand({"why": why})
    assert are_alike(rough, "decision", ASKED | {"why": why, "status": "Rejected"}, name="x")


def test_what_was_accepted_is_never_alike_however_many_there_were(rough: Bursts) -> None:
    taken = ASKED | {"why": "accepted by the rule name='x'", "status": "Accepted"}
    assert not are_alike(rough, "decision", taken, name="x")
    assert not are_alike(rough, "decision", taken, elements=2)
