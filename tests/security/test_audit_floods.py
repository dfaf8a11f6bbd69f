"""Floods that would fill the owner's disk with rows of the audit log, and rows that hide others."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against
from tests.security.rules_kit import X

KEY = Key.from_seed(bytes(range(32)), "owner")
Logged = tuple[OwnerDuet, RawPeer, AuditLog]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    log = AuditLog(AuditFile(tmp_path / "log.sqlite"), KEY)
    with against({"x": torch.arange(64.0)}, journal=log) as (duet, raw):
        yield duet, raw, log


def rows(log: AuditLog, *kinds: str) -> list[dict[str, Any]]:
    view = AuditView(log.file.path, flush=log.flush)
    assert view.verify()
    return [json.loads(row.entry.facts) for row in view.rows() if row.entry.kind in kinds]


def times(found: list[dict[str, Any]]) -> int:
    return sum(row.get("times", 1) for row in found)


def differing(duet: OwnerDuet, raw: RawPeer, count: int) -> None:
    """Requests of which no two have the same name; nobody takes them."""
    for number in range(count):
        last = raw.request(X, f"n{number}", 0.0)
    raw.answer(last)


def released(duet: OwnerDuet, raw: RawPeer) -> Ref:
    """A value that left, since the owner accepts what has its name."""
    duet.requests.add_handler(name="sum", action="accept")
    total = raw.op("torch.sum", X)
    raw.answer(raw.request(total, "sum"))
    return total


def test_requests_that_all_differ_are_few_rows_in_the_end(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a row up to a number of them; then a moment has one for what became of them."""
    monkeypatch.setattr(limits, "AUDIT_ASKED_ROWS", 60)
    monkeypatch.setattr(limits, "AUDIT_GATHER_SECONDS", 60.0)
    duet, raw, log = logged
    differing(duet, raw, 20)
    found = rows(log, "request", "decision")
    assert len(found) == 40 and not any("roughly" in row for row in found)
    differing(duet, raw, 200)
    found = rows(log, "request", "decision")[40:]
    assert len(found) <= 20 + 4  # a row of each kind when the limit was reached, and one later
    assert times(found) == 400
    assert all("roughly" in row for row in found[-2:])


def test_what_the_owner_decides_by_hand_has_a_row_for_ever(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUDIT_ASKED_ROWS", 0)
    duet, raw, log = logged
    calls = [raw.request(raw.op("torch.Tensor.__getitem__", X, n), f"n{n}") for n in range(4)]
    raw.wait(lambda: len(duet.requests.requests) == 4)
    for n, word in enumerate(("deny", "deny", "accept", "accept")):
        getattr(duet.requests[n], word)()
    raw.answer(calls[-1])
    found = rows(log, "decision")
    assert [row["name"] for row in found] == ["n0", "n1", "n2", "n3"]
    assert [row["status"] for row in found] == ["Rejected"] * 2 + ["Accepted"] * 2
    assert [row["request"] for row in rows(log, "release")] == [f"{c:016x}" for c in calls[2:]]


def test_a_value_that_is_fetched_for_ever_is_few_rows_in_the_end(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUDIT_REPEATS", 5)
    monkeypatch.setattr(limits, "AUDIT_GATHER_SECONDS", 60.0)
    duet, raw, log = logged
    total = released(duet, raw)
    for _ in range(100):
        assert isinstance(raw.get(total), wire.Value)
    found = rows(log, "repeat")
    assert [len(found), times(found)] == [6, 100]
    assert all("hmac" in row for row in found[:5])
    assert found[5]["times"] == 95 and len(found[5]["more_requests"]) == 94


def test_each_of_many_that_come_at_once_is_answered(logged: Logged) -> None:
    duet, raw, log = logged
    total = released(duet, raw)
    calls = [next(raw.calls) for _ in range(30)]
    raw.send(*[wire.Get(call, total.id) for call in calls])
    assert all(isinstance(raw.answer(call), wire.Value) for call in calls)
    assert [row["request"] for row in rows(log, "repeat")] == [f"{call:016x}" for call in calls]


def test_nor_is_it_given_once_the_log_cannot_be_written(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUDIT_REPEATS", 0)
    duet, raw, log = logged
    total = released(duet, raw)
    assert isinstance(raw.get(total), wire.Value)
    log.flush()
    log.file.path.unlink()
    duet.send(torch.ones(1))
    with pytest.raises(AuditUnavailable):
        log.flush()
    assert isinstance(raw.get(total), wire.Denied)


def test_a_repeat_tells_no_newer_head_than_a_release_did(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would tell whether something was logged since: a failure on private values is."""
    monkeypatch.setattr(limits, "AUDIT_REPEATS", 0)
    duet, raw, log = logged
    total = released(duet, raw)
    (first,) = raw.wait(lambda: raw.told(wire.AuditHead))
    duet.send(torch.ones(1))
    log.flush()
    raw.get(total)
    heads = raw.wait(lambda: raw.told(wire.AuditHead)[1:])
    assert {head.head for head in heads} == {first.head}
    raw.answer(raw.request(raw.op("torch.Tensor.add", total, 1), "sum"))
    newer = raw.wait(lambda: [h for h in raw.told(wire.AuditHead) if h.head != first.head])
    assert log.head() == newer[0].head


def test_no_failure_is_hidden_in_the_row_of_another_one(tmp_path: Path) -> None:
    """A release that did not happen after all is beside others that failed for another reason."""

    async def told() -> list[tuple[str, int]]:
        log = AuditLog(AuditFile(tmp_path / "log.sqlite"), KEY)
        for number in range(3):
            why = f"values of {number} bytes are on their way"
            log.record("fault", {"request": "a", "reason": why})
            log.record("refusal", {"request": "a", "reason": why})
        log.record("fault", {"request": "b", "reason": "not sent after all"})
        log.record("fault", {"not_sent": "Denied", "why": "the session ended"})
        await log.finish()
        return [
            (facts.get("reason", facts.get("why")), facts.get("times", 1))
            for facts in rows(log, "fault", "refusal")
        ]

    log_said = asyncio.run(told())
    first = "values of 0 bytes are on their way"
    assert sorted(log_said) == sorted(
        [(first, 3), (first, 3), ("not sent after all", 1), ("the session ended", 1)]
    )
