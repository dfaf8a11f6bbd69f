"""A rule that makes no sense is refused in words, and one that is easily misread says what it does.

An owner writes rules by what their arguments are called. So each mistake is an error that names the
argument and what it takes, before anything is in force or printed; and a rule that denies by a size
says that it leaves what is on the other side of it, where single records are.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from duet_p2p.console.rules import meaning_of
from duet_p2p.engine.messages import Facts
from duet_p2p.owner.handlers import Case
from duet_p2p.owner.policy import ACCEPT, DENY, QUEUE
from duet_p2p.owner.printing import Printer
from duet_p2p.owner.rule_checks import misread
from tests.unit.owner_kit import LOSS, RAW, handler, owner_bridge, owner_pair, share_ages
from tests.unit.policy_kit import policy

__all__ = ["owner_bridge", "owner_pair"]

WRONG: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"action": ["accept"]}, ValueError, "action is 'accept' or 'deny'"),
    ({"tags": 5}, TypeError, "tags is a list of texts"),
    ({"kinds": None}, TypeError, "kinds is a kind or a list of kinds"),
    ({"kinds": 5}, TypeError, "kinds is a kind or a list of kinds"),
    ({"kinds": [["aggregate"]]}, TypeError, "kinds is a kind or a list of kinds"),
    ({"kinds": []}, ValueError, "kinds names none"),
    ({"kinds": [5, "secret"]}, ValueError, "no such kind: [5, 'secret']"),
    ({"sources": None}, TypeError, "sources is an object of yours or a list of them"),
    ({"sources": 5.5}, TypeError, "sources is an object of yours or a list of them"),
    ({"sources": []}, ValueError, "sources names none"),
    ({"sources": [99]}, IndexError, "none at 99"),
    ({"sources": ["nope"]}, KeyError, "no object has the tag or id 'nope'"),
    ({"recipe": " "}, ValueError, "recipe is empty"),
    ({"timeout_secs": None}, ValueError, "timeout_secs is a number of seconds"),
    ({"timeout_secs": "5"}, ValueError, "timeout_secs is a number of seconds"),
    ({"timeout_secs": 10**400}, ValueError, "timeout_secs is a number of seconds"),
    ({"print_local": "no"}, ValueError, "print_local is True or False"),
    ({"log_local": "off"}, ValueError, "log_local is True or False"),
    ({"log_local": None}, ValueError, "log_local is True or False"),
]


def wrong_id(case: tuple[dict[str, object], type[Exception], str]) -> str:
    return str(case[0])[:40]


@pytest.mark.parametrize("action", ["accept", "deny"])
@pytest.mark.parametrize("wrong", WRONG, ids=wrong_id)
def test_what_makes_no_sense_is_refused_in_words_and_nothing_is_in_force(
    pair, wrong, action, capsys
):
    duet, _ = pair
    share_ages(duet)
    said, error, text = wrong
    with pytest.raises(error) as refused:
        duet.requests.add_handler(**{"action": action, **said})
    assert type(refused.value) is error and text in str(refused.value)
    assert len(duet.requests.handlers) == 0 and "OPEN" not in capsys.readouterr().out


def test_an_object_is_named_by_its_handle_as_by_its_tag(pair):
    duet, _ = pair
    ages = share_ages(duet)
    duet.send(torch.ones(3), tags=["other"])
    for sources in (ages, "ages", [ages], ["ages"], 0):
        assert duet.requests.add_handler("deny", sources=sources)["sources"] == frozenset({-1})
    assert len(duet.requests.handlers) == 1


def test_a_position_of_no_rule_and_no_digest_are_refused_in_words(pair):
    duet, _ = pair
    for key in (0, -1):
        with pytest.raises(IndexError, match="there are 0 handlers, none at"):
            duet.requests.remove_handler(key)
    for digest, outputs in ((None, [0]), ("0" * 64, None), ("0" * 64, [[0]])):
        with pytest.raises(ValueError, match=r"digest has 64 hex digits|outputs= is a list"):
            duet.requests.allow_plan(digest, outputs=outputs, max_runs=1)


RECORD = replace(LOSS, kind="per_record", min_records=1)
MASKED = replace(LOSS, injected=True)
DROPPED = replace(LOSS, dropout=True)
MANY = replace(LOSS, elements=600)
MISREAD: list[tuple[dict[str, object], Facts, Facts, str]] = [
    ({"min_records": 10}, LOSS, RECORD, "fewer than 10 records"),
    ({"max_elements": 3}, LOSS, MANY, "more than 3 numbers"),
    ({"allow_injected": False}, LOSS, MASKED, "injected"),
    ({"allow_dropout": False}, LOSS, DROPPED, "what a dropout fell on"),
]


@pytest.mark.parametrize("case", MISREAD, ids=lambda case: next(iter(case[0])))
def test_a_rule_that_denies_by_a_size_says_that_it_leaves_the_other_side(case):
    said, denied, left, text = case
    p, rule = policy(), handler("deny", **said)
    p.add(rule)
    assert p.decide(Case("loss", denied), 0).action == DENY
    assert p.decide(Case("loss", left), 0).action == QUEUE
    assert text in misread(rule) and "does not deny" in misread(rule)
    meaning = meaning_of(rule, min_records=10, source_name=str)
    assert misread(rule) in meaning.warnings


def test_a_rule_that_denies_has_no_quota_and_says_so():
    rule = handler("deny", element_quota=5)
    assert "releases nothing" in misread(rule)
    assert rule.quota_left is None and "numbers left" not in repr(rule)
    meaning = meaning_of(rule, min_records=10, source_name=str)
    assert misread(rule) in meaning.warnings and "It releases" not in " ".join(meaning.lines)


@pytest.mark.parametrize(
    "rule",
    [
        handler("accept", min_records=10, max_elements=3, allow_injected=False),
        handler("deny"),
        handler("deny", name="loss"),
        handler("deny", kinds=frozenset({"verbatim"})),
        handler("deny", min_records=1, max_elements=None, allow_injected=True),
    ],
    ids=lambda rule: f"{rule.action} {rule.conditions.described()}",
)
def test_no_other_rule_says_so(rule):
    assert misread(rule) == ""
    meaning = meaning_of(rule, min_records=10, source_name=str)
    assert not any("does not deny" in line for line in meaning.warnings)


def test_the_owner_reads_it_where_the_rule_is_added(pair, monkeypatch):
    duet, _ = pair
    told: list[str] = []
    monkeypatch.setattr(Printer, "warn", lambda self, text: told.append(text))
    duet.requests.add_handler("deny", min_records=10)
    duet.requests.add_handler("deny", kinds="verbatim")
    (text,) = told
    assert "fewer than 10 records" in text and "min_records=10 in the rules that accept" in text


def test_what_it_advises_lets_pass_what_was_meant():
    p = policy()
    p.add(handler("accept", min_records=10))
    assert p.decide(Case("loss", LOSS), 0).action == ACCEPT
    for other in (RECORD, RAW, MASKED):
        assert p.decide(Case("loss", other), 0).action == QUEUE
