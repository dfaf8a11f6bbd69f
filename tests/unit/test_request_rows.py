"""What the audit log holds of a request, for somebody who has the log and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_chain import Entry, facts_text
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView, line_of
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire.values import Ref
from tests.hostile_kit import assert_harmless_text
from tests.unit.owner_kit import LOSS, Stage, ask, handler, owner_on

KEY = Key.from_seed(bytes(range(32)), "owner")
WHAT = "mean of nll_loss on batch of 64 of store['x']"
TOLD = replace(LOSS, summary=WHAT)
ACCOUNT = engine.Described(11, recipe="loss.item()", form="f", summary=WHAT)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = await Stage().start()
    yield made
    await made.service.close()


def of(stage: Stage, *kinds: str) -> list[dict[str, Any]]:
    return [facts for kind, facts in stage.journal.lines if kind in kinds]


async def test_a_row_says_what_is_asked_and_of_which_data(stage: Stage) -> None:
    stage.receive(ask())
    stage.candidate(11, replace(TOLD, sources=(-1, -(2**41)), source_names=("", "faces/a.csv")))
    stage.desk.deny(11)
    for row in of(stage, "request", "decision"):
        assert row["what"] == WHAT
        assert row["source_names"] == ["object -1", "faces/a.csv"]
        assert (row["value_kind"], row["elements"], row["min_records"]) == ("aggregate", 1, 64)
    assert of(stage, "recipe") == []


async def test_each_row_has_the_facts_of_its_own_request(stage: Stage) -> None:
    for call, many in ((11, 10), (12, 20)):
        stage.receive(ask(call, id=call))
        stage.candidate(call, replace(TOLD, elements=many, sources=(-many,)))
    stage.desk.deny(11)
    stage.desk.deny(12)
    found = [(row["elements"], row["source_names"]) for row in of(stage, "request", "decision")]
    assert found == [(10, ["object -10"]), (20, ["object -20"])] * 2


async def test_what_is_accepted_at_once_is_told_in_a_row_behind_its_release(stage: Stage) -> None:
    stage.desk.add_handler(handler("accept", name="loss"))
    stage.receive(ask())
    stage.host.say(engine.Candidate(11, replace(LOSS, recipe=""), 0.5, True, None, False))
    assert stage.journal.kinds()[-3:] == ["request", "decision", "release"]
    assert not any("what" in row for row in of(stage, "request", "decision"))
    stage.host.say(ACCOUNT)
    assert stage.journal.lines[-1] == ("recipe", {"request": f"{11:016x}", "what": WHAT})


async def test_one_whose_account_never_comes_has_no_such_row(stage: Stage) -> None:
    stage.desk.add_handler(handler("accept", name="loss"))
    stage.receive(ask())
    stage.host.say(engine.Candidate(11, replace(LOSS, recipe=""), 0.5, True, None, False))
    stage.host.die()
    await stage.settle()
    assert of(stage, "recipe") == []


async def test_a_model_says_how_long_it_was_trained_and_no_rate(stage: Stage) -> None:
    """A private number can be a rate, and values are in no row."""
    lines = ("trained in 30 steps of SGD", "batches of 8 records", "learning rate 0.123")
    stage.receive(ask())
    stage.candidate(11, replace(TOLD, kind="model", summary="list of 2 x", training=lines))
    (row,) = of(stage, "request")
    assert row["what"] == "list of 2 x, then trained in 30 steps of SGD"


async def test_the_words_are_clean_and_short_and_so_many_sources_are_named(stage: Stage) -> None:
    hostile = "\x1b[2J\u202e\nstatus=Accepted " + "x" * 5_000
    many = tuple(-n for n in range(1, 40))
    facts = replace(
        LOSS, summary=hostile, sources=many, source_names=(hostile,) * len(many),
        training=("trained in 1 step of " + hostile,),
    )  # fmt: skip
    stage.receive(ask())
    stage.candidate(11, facts)
    (row,) = of(stage, "request")
    assert len(row["source_names"]) == limits.AUDIT_NAMED_SOURCES and len(row["sources"]) == 39
    for text in (row["what"], *row["source_names"]):
        assert len(text) == limits.AUDIT_WHAT_CHARS
        assert_harmless_text(text, lines=False)


async def test_after_very_many_words_there_are_none_of_a_recipe_either(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_request = 2 * (len("loss") + len("why not") + len(WHAT))
    monkeypatch.setattr(limits, "AUDIT_WORDS_CHARS", 3 * per_request)
    for call in range(11, 15):
        stage.receive(ask(call, id=call))
        stage.candidate(call, TOLD)
        stage.desk.deny(call)
    words = [(row["name"], row["reason"], row["what"]) for row in of(stage, "request", "decision")]
    assert words == [("loss", "why not", WHAT)] * 6 + [("…", "…", "…")] * 2
    stage.desk.add_handler(handler("accept", name="loss"))
    stage.receive(ask(20, id=20))
    stage.host.say(engine.Candidate(20, replace(LOSS, recipe=""), 0.5, True, None, False))
    stage.host.say(replace(ACCOUNT, call=20))
    assert of(stage, "recipe") == []


# over a real engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[Any, Any]]:
    bridge = Bridge("request rows")
    duet, scientist = owner_on(bridge, audit=AuditLog(AuditFile(path), KEY))
    duet.send(torch.tensor([25.0, 32, 49, 65, 88, 22, 31, 47, 53, 61]), tags=["ages"])
    yield duet, scientist
    duet.close()
    bridge.close()


def facts_of(duet: Any, *kinds: str) -> list[dict[str, Any]]:
    found = duet.audit.rows()
    return [json.loads(row.entry.facts) for row in found if row.entry.kind in kinds]


def test_a_stranger_reads_what_was_asked_by_hand_and_by_a_rule(pair: tuple[Any, Any]) -> None:
    duet, scientist = pair
    scientist.op("torch.Tensor.mean", 1, Ref(-1))
    scientist.request(1, name="m", reason="n")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    asked, decided = facts_of(duet, "request", "decision")
    assert asked["what"] == decided["what"] == "mean of store['ages']"
    assert asked["source_names"] == ["ages"]
    duet.requests.add_handler(name="loss", action="accept")
    for number in (2, 3):
        scientist.op("torch.Tensor.sum", number, Ref(-1))
        scientist.answer(scientist.request(number, name="loss"))
    taken = [row["request"] for row in facts_of(duet, "release")[1:]]
    scientist.wait_for(lambda: taken == _named(facts_of(duet, "recipe")))
    assert {row["what"] for row in facts_of(duet, "recipe")} == {"sum of store['ages']"}
    assert duet.audit.verify()


def _named(rows: list[dict[str, Any]]) -> list[str]:
    return [name for row in rows for name in (row["request"], *row.get("more_requests", ()))]


def test_no_row_holds_a_rate_or_a_number_that_private_data_decided(pair: tuple[Any, Any]) -> None:
    duet, scientist = pair
    scientist.op("torch.Tensor.max", 1, Ref(-1))
    scientist.op("python.Int", 2, Ref(1))
    scientist.op("torch.Tensor.mul", 3, Ref(-1), Ref(2))
    scientist.request(3, name="scaled")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    duet.requests[0].deny()
    texts = [row.entry.facts for row in duet.audit.rows() if row.entry.kind != "engine"]
    asked = facts_of(duet, "request")[0]
    assert asked["what"].startswith("mul of") and "ages" in asked["what"]
    assert not any('"88' in text or " 88" in text for text in texts)


# rows of the version before, and lines for people

OLD = {
    "request": "00000000000000a1", "requester": "S2", "object": 2, "name": "mean",
    "reason": "to see it", "status": "Pending", "why": "no handler", "value_kind": "aggregate",
    "type": "torch.Tensor", "elements": 1, "nbytes": 4, "sources": [-1], "min_records": 6,
    "injected": False, "failed": False,
}  # fmt: skip
OLD_HASHES = (
    "7eaca451b9ceeb4f9d9879adb43d905b9da4d6259dee5f9c11f17aab1bb022c9",
    "e55f8dd49915babd545cac2d441e3d0a4dccf681eeaa9042ff95f8bf1720bd1f",
)
"""What that version wrote behind each other, with salts of 1, 2, … and 2, 3, …"""


def test_a_log_of_the_version_before_is_read_checked_and_gone_on_with(path: Path) -> None:
    AuditFile(path).close()
    rows = [("request", OLD), ("decision", OLD | {"status": "Accepted", "why": "accepted by hand"})]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, ((kind, facts), digest) in enumerate(zip(rows, OLD_HASHES, strict=True), 1):
            connection.execute(
                "INSERT INTO rows VALUES (?, ?, 'S1', ?, ?, ?, ?)",
                (number, f"2026-01-01T00:00:0{number}.000000+00:00", kind, facts_text(facts),
                 bytes(range(number, number + 16)), bytes.fromhex(digest)),
            )  # fmt: skip
    view = AuditView(path)
    assert view.verify().head.hex() == OLD_HASHES[1]
    asked, decided = map(line_of, view.rows())
    for word in ("name=mean", "reason='to see it'", "elements=1", "request=00000000000000a1"):
        assert word in asked and word in decided
    with closing(AuditFile(path)) as file:
        new = OLD | {"what": "mean of store['ages']", "source_names": ["ages"]}
        file.append([Entry("2026-02-01T00:00:00", "S1", "request", facts_text(new))])
    assert view.verify().rows == 3
    assert "what=" not in asked and "what=" in line_of(view.rows()[-1])


def test_a_line_tells_what_it_is_before_the_words_and_the_words_leave_it_room(path: Path) -> None:
    facts = OLD | {
        "what": "sum of " + "mul, " * 30 + "store['ages']", "source_names": ["ages"],
        "name": "n" * 300, "reason": "r" * 300, "injected": True,
    }  # fmt: skip
    with closing(AuditFile(path)) as file:
        file.append([Entry("2026-02-01T00:00:00", "S1", "request", facts_text(facts))])
    line = line_of(AuditView(path).rows()[0])
    assert_harmless_text(line, lines=False)
    places = [line.index(word) for word in (
        "status=Pending", "what='sum of mul", "value_kind=aggregate", "elements=1",
        "min_records=6", "injected=True", "source_names=['ages']", "name=",
    )]  # fmt: skip
    assert places == sorted(places)
    quiet = line_of(replace(AuditView(path).rows()[0], entry=Entry("", "", "", facts_text(OLD))))
    assert "injected" not in quiet and "failed" not in quiet  # they are not
