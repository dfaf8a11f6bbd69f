"""What an owner allows of a plan, with plain facts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.owner.handlers import Case, Conditions, Handler
from duet_p2p.owner.plan_terms import PlanTerms
from duet_p2p.owner.plans import PlanBook
from duet_p2p.owner.policy import ACCEPT, QUEUE, Policy
from duet_p2p.surface.plan import check, digest_of, split
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import DefinePlan, PlanStep
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import LOSS

DIGEST = "ab" * 32
OUTPUT = replace(LOSS, plan=DIGEST, plan_output=0, plan_run=1, plan_runs=1)


def allowed(max_runs: int = 3, **options: Any) -> tuple[Policy, Handler]:
    terms = PlanTerms(DIGEST, frozenset({0, 2}), max_runs, frozenset({-1}), **options)
    policy = Policy()
    handler = Handler("accept", Conditions(plan=terms, max_uses=None))
    policy.add(handler)
    return policy, handler


def test_an_output_that_was_allowed_leaves_under_any_name() -> None:
    policy, handler = allowed()
    decision = policy.decide(Case("whatever", OUTPUT), 0)
    assert decision.action == ACCEPT and decision.handler is handler
    assert not handler.is_open and not policy.is_open(0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"plan": ""}, "no output"),
        ({"plan": "cd" * 32}, "no output"),
        ({"plan_output": 1}, "not among"),
        ({"kind": "per_record", "min_records": 1}, "single records"),
        ({"kind": "verbatim", "min_records": 1}, "single records"),
        ({"injected": True}, "injected"),
        ({"min_records": 9}, "9 records"),
        ({"kind": "model", "min_records": 1}, "1 records"),
        ({"sources": (-1, -2)}, "other sources"),
        ({"sources": (-2,)}, "other sources"),
        ({"writers": ("*",)}, "cannot be told"),
        ({"form": ""}, "cannot be told"),
        ({"failed": "IndexError: 7"}, "failed"),
    ],
)
def test_everything_else_waits_for_the_owner(change: dict[str, Any], why: str) -> None:
    policy, _ = allowed()
    decision = policy.decide(Case("loss", replace(OUTPUT, **change)), 0)
    assert decision.action == QUEUE and why in decision.why


@pytest.mark.parametrize(
    "change",
    [
        {"min_records": 10},  # as many as are needed
        {"kind": "metadata", "min_records": 0},
        {"recipe": "# … earlier operations left out\nx"},  # the owner reads the listing
        {"plan_output": 2},
        {"sources": ()},
    ],
)
def test_what_keeps_to_the_terms_leaves(change: dict[str, Any]) -> None:
    policy, _ = allowed()
    assert policy.decide(Case("loss", replace(OUTPUT, **change)), 0).action == ACCEPT


def test_runs_are_counted_and_not_releases() -> None:
    policy, handler = allowed(max_runs=2)
    for run, output in ((1, 0), (1, 2), (2, 0), (2, 2)):
        case = Case("", replace(OUTPUT, plan_run=run, plan_output=output))
        assert policy.decide(case, 0).action == ACCEPT
    third = Case("", replace(OUTPUT, plan_run=3))
    assert policy.decide(third, 0).action == QUEUE
    assert handler.conditions.plan is not None and handler.conditions.plan.runs == 2


class _OneByOne(Counter[Any]):
    """Runs that nobody goes through."""

    def items(self) -> Any:
        raise AssertionError("all runs were looked at")

    __iter__ = keys = values = items


def test_a_request_looks_at_its_own_run_only() -> None:
    """Each one counted all runs before it anew, on the loop: a training run of 20,000 took 70 s."""
    policy, handler = allowed(max_runs=500)
    terms = handler.conditions.plan
    assert terms is not None
    terms._used = _OneByOne()
    for run in range(1, 101):
        decision = policy.decide(Case("loss", replace(OUTPUT, plan_run=run)), 0)
        assert decision.action == ACCEPT
        if run % 2:
            assert decision.reservation is not None
            policy.give_back(decision.reservation)
        policy.decide(Case("loss", replace(OUTPUT, plan_run=run, failed="it failed")), 0)
    assert terms.runs == 100


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_those_that_something_left_of_or_failed(seed: int) -> None:
    chance = random.Random(seed)
    terms = PlanTerms(DIGEST, frozenset({0}), 1_000, frozenset({-1}))
    reserved: list[Any] = []
    failed: set[Any] = set()
    for _ in range(60):
        facts = replace(OUTPUT, plan_run=chance.randrange(9), plan_runs=chance.randrange(1, 3))
        if chance.random() < 0.5:
            reserved.append(terms.take(facts))
        elif reserved and chance.random() < 0.5:
            terms.give_back(reserved.pop(chance.randrange(len(reserved))))
        elif chance.random() < 0.3:
            terms.count_failure(facts)
            failed.add(terms._run(facts))
        elif chance.random() < 0.1:
            terms.engine_died()
        assert terms.runs == sum(runs for _, _, runs in {*reserved, *failed})


@pytest.mark.parametrize("other", [{"plan": "cd" * 32}, {"plan_output": 1}, {"plan": ""}])
def test_a_failure_of_something_else_is_no_run(other: dict[str, Any]) -> None:
    """Its rule is silent about it anyway, so it would use up what the plan was allowed."""
    policy, handler = allowed(max_runs=1)
    failed = replace(OUTPUT, plan_run=9, failed="IndexError: 7", **other)
    assert policy.decide(Case("", failed), 0).action == QUEUE
    assert handler.conditions.plan is not None and handler.conditions.plan.runs == 0
    assert policy.decide(Case("", OUTPUT), 0).action == ACCEPT


def test_a_list_over_n_runs_counts_as_n() -> None:
    policy, _ = allowed(max_runs=10)
    several = replace(OUTPUT, type="python.List", plan_runs=8)
    assert policy.decide(Case("", several), 0).action == ACCEPT
    again = replace(several, plan_run=9)
    assert policy.decide(Case("", again), 0).action == QUEUE
    assert policy.decide(Case("", replace(OUTPUT, plan_run=9)), 0).action == ACCEPT


def test_what_did_not_leave_is_given_back() -> None:
    policy, _ = allowed(max_runs=1)
    decision = policy.decide(Case("", OUTPUT), 0)
    assert decision.reservation is not None
    policy.give_back(decision.reservation)
    assert policy.decide(Case("", replace(OUTPUT, plan_run=2)), 0).action == ACCEPT


def test_runs_of_an_engine_that_died_stay_counted() -> None:
    """Each engine counts its runs from 1."""
    policy, _ = allowed(max_runs=1)
    assert policy.decide(Case("", OUTPUT), 0).action == ACCEPT
    policy.engine_died()
    assert policy.decide(Case("", OUTPUT), 0).action == QUEUE


def test_a_failed_run_is_a_run_and_pays_for_nothing_past_the_last_one() -> None:
    policy, _ = allowed(max_runs=2)
    failed = replace(OUTPUT, failed="IndexError: 7")
    for run in (1, 2, 3):
        assert policy.decide(Case("", replace(failed, plan_run=run)), 0).action == QUEUE
    for run in (3, 4):
        other = replace(OUTPUT, plan_run=run, plan_output=2)
        assert policy.decide(Case("", other), 0).action == QUEUE
    half = replace(OUTPUT, plan_run=2, plan_output=2)
    assert policy.decide(Case("", half), 0).action == ACCEPT  # of a run that was counted


def test_the_first_value_binds_form_and_group_of_the_next() -> None:
    policy, _ = allowed()
    assert policy.decide(Case("", OUTPUT), 0).action == ACCEPT
    for change in ({"min_records": 20}, {"type": "torch.Tensor"}, {"kind": "metadata"}):
        other = replace(OUTPUT, plan_run=2, **change)
        assert policy.decide(Case("", other), 0).action == QUEUE
    grown = replace(OUTPUT, plan_run=2, min_records=100, recipe="another text")
    assert policy.decide(Case("", grown), 0).action == ACCEPT
    again = replace(OUTPUT, plan_run=3)  # it is the first value that binds, and not the last
    assert policy.decide(Case("", again), 0).action == ACCEPT


def test_each_output_is_bound_by_itself() -> None:
    policy, _ = allowed()
    assert policy.decide(Case("", OUTPUT), 0).action == ACCEPT
    other = replace(OUTPUT, plan_output=2, type="torch.Tensor", shape=(2,), form="another")
    assert policy.decide(Case("", other), 0).action == ACCEPT
    assert policy.decide(Case("", replace(other, plan_run=2, plan_output=0)), 0).action == QUEUE


def test_a_deny_handler_goes_first() -> None:
    policy, _ = allowed()
    policy.add(Handler("deny", Conditions(name="loss")))
    assert policy.decide(Case("loss", OUTPUT), 0).action == "deny"


# what the owner reads


PLAN = DefinePlan(
    4, "step\x1b[2J", 1, (7,), (PlanStep("torch.add", (3,), (Ref(1), Ref(2)), {}, "g"),), (3,), True
)


def test_the_book_works_digest_and_listing_out_of_the_commands() -> None:
    book = PlanBook(lambda ident: f"object {ident}")
    assert book.define(PLAN) is not None
    (plan,) = book.all()
    assert plan.digest == digest_of(PLAN) and "\x1b" not in plan.name
    assert "# c1: object 7" in plan.listing() and "torch.add(x1, c1)" in plan.listing()
    book.ran(4, 1)
    book.ran(4, 5)
    assert plan.runs == 6 and plan.outputs == 1


def test_a_plan_that_was_given_up_stays_readable_and_its_id_can_be_used_again() -> None:
    book = PlanBook(str)
    book.define(PLAN)
    book.delete((4,))
    other = replace(PLAN, steps=(PlanStep("torch.sub", (3,), (Ref(1), Ref(2)), {}, "g"),))
    assert book.define(other) is not None
    assert book.define(PLAN) is None  # the id is taken
    assert [plan.digest for plan in book.all()] == [digest_of(other)]


def test_a_plan_that_the_engine_would_refuse_is_not_listed() -> None:
    book = PlanBook(str)
    assert book.define(replace(PLAN, steps=(PlanStep("os.system", (3,), ("x",), {}, "g"),))) is None
    assert book.define(replace(PLAN, outputs=(2,))) is None
    assert book.all() == ()


def test_a_plan_in_parts_is_whole_in_the_book() -> None:
    steps = tuple(
        PlanStep("torch.Tensor.add", (n + 1,), (Ref(n), "x" * 900), {}, "g") for n in range(1, 60)
    )
    long = DefinePlan(4, "long", 1, (), steps, (60,), True)
    parts = split(long)
    assert len(parts) > 2 and [part.is_last for part in parts].count(True) == 1
    book = PlanBook(str)
    found = [book.define(part) for part in parts]
    assert found[-1] is not None and found[-1].digest == digest_of(long)


@pytest.mark.parametrize(("name", "most"), [("PLANS", 2), ("PLANS_STEPS", 2), ("PLANS_BYTES", 250)])
def test_the_book_keeps_no_plan_that_the_engine_has_no_room_for(
    name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept 512 of them: 2 GB of messages, and sixty times as much once they were decoded."""
    monkeypatch.setattr(limits, name, most)
    book = PlanBook(str)
    step = PlanStep("torch.Tensor.add", (2,), (Ref(1), "x" * 60), {}, "g")
    found = [book.define(DefinePlan(id, "", 1, (), (step,), (2,), True)) for id in range(1, 9)]
    assert [plan is not None for plan in found] == [True] * 2 + [False] * 6
    assert len(book.all()) == 2
    book.delete((1,))
    assert book.define(DefinePlan(9, "", 1, (), (step,), (2,), True)) is not None
    assert sum(not plan.is_deleted for plan in book.all()) == 2


def test_a_plan_is_kept_as_its_messages() -> None:
    """Empty lists are a byte each there."""
    step = PlanStep("torch.ones", (1,), ([[]] * 500,), {}, "g")
    plan = DefinePlan(1, "", 0, (), (step,), (1,), True)
    kept = PlanBook(str).define(plan)
    assert kept is not None
    assert kept.parts == (encode_message(plan),)
    assert kept.definition == plan


def test_a_plan_has_so_many_values_and_not_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MB of empty lists are 3.4 million of them, and took the owner's loop seconds to read."""
    step = PlanStep("torch.ones", (1,), ([[]] * 5,), {}, "g")
    plan = DefinePlan(1, "", 0, (), (step,), (1,), True)
    values = 3 + 1 + 5  # the arguments as such, the list, and what is in it
    monkeypatch.setattr(limits, "PLAN_PARTS", values)
    check(plan)
    assert PlanBook(str).define(plan) is not None
    monkeypatch.setattr(limits, "PLAN_PARTS", values - 1)
    with pytest.raises(QuotaExceeded, match="values in its commands"):
        check(plan)
    assert PlanBook(str).define(plan) is None
