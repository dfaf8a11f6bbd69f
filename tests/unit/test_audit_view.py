"""The audit log for people: what a line says, whatever stands in a row."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit_chain import GENESIS, Entry, next_row
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView, check_export, exported, line_of, whole_of
from tests.hostile_kit import assert_harmless_text

KEY = Key.from_seed(bytes(range(32)), "owner")


def row(facts: Any, kind: str = "request") -> Any:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    return next_row(1, GENESIS, Entry("2026-01-01T00:00:00", KEY.id, kind, text))


def test_a_fact_that_says_nothing_is_left_out_and_no_says_something() -> None:
    line = line_of(row({"name": "", "why": None, "tags": [], "said": {}, "listed": False, "n": 0}))
    assert line.endswith("listed=False n=0")
    assert "name" not in line and "why" not in line and "tags" not in line


def test_no_word_looks_like_another_fact() -> None:
    line = line_of(row({"name": "x status=Accepted", "reason": "a='b'", "status": "Pending"}))
    assert "name='x status=Accepted'" in line and "reason=\"a='b'\"" in line
    assert line.index("status=Pending") < line.index("name=")


@pytest.mark.parametrize("facts", [
    {"name": "\x1b[2J\u202eok"},
    {"name": "x" * 5_000, "reason": "y" * 5_000, "other": "z" * 5_000},
    {"na\x1bme\n": 1},
    {"tags": ["\x1b[2J", {"a": "\u202e"}], "what": ["\x1b"], "name": {"a": 1}},
    "[1, 2]",
    '"text"',
    "7",
    "null",
    "not json \x1b[2J",
    "[" * 50_000,
])  # fmt: skip
def test_whatever_stands_there_is_shown_as_text(facts: Any) -> None:
    found = row(facts)
    assert_harmless_text(line_of(found), lines=False)
    assert len(line_of(found)) < 300
    whole = whole_of(found)
    assert all(len(line) < 2_100 for line in whole.splitlines())
    for line in whole.splitlines():
        assert_harmless_text(line, lines=False)
    assert len(whole.splitlines()) <= 1 + (len(facts) if isinstance(facts, dict) else 1)


def test_a_log_that_cannot_be_written_can_be_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with closing(AuditFile(path)) as file:
        file.append([Entry("t", KEY.id, "share", "{}")])

    def refuses() -> None:
        raise AuditUnavailable("the disk is full")

    view = AuditView(path, flush=refuses)
    assert len(view) == 1 and view.verify() and "share" in repr(view)


def test_an_export_is_checked_against_heads_as_the_log_is() -> None:
    good = row({"n": 1})
    line = json.dumps(exported(good))
    assert check_export([line], SignedHead.sign(KEY, good.hash))
    assert not check_export([line], str(SignedHead.sign(KEY, row({"n": 1}).hash)))
    assert not check_export([], SignedHead.sign(KEY, good.hash))


@pytest.mark.parametrize("changed", [
    {"number": 1.0}, {"number": True}, {"number": "1"}, {"facts": "\ud800"}, {"facts": {"n": 1}},
    {"salt": "0"}, {"salt": "AB" * 16}, {"hash": None}, {"more": 1}, {"time": 5},
])  # fmt: skip
def test_a_line_that_says_it_otherwise_is_no_line_of_an_export(changed: dict[str, Any]) -> None:
    line = json.dumps(exported(row({"n": 1})) | changed)
    with pytest.raises(ValueError, match="no line of an exported audit log"):
        check_export([line])
