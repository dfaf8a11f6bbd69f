"""`duet.plans` and `duet.requests.allow_plan` over a real engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import duet_p2p as sy
from duet_p2p.errors import NotAllowed
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import owner_on

ONES = torch.ones(3)


@pytest.fixture
def pair() -> Any:
    bridge = Bridge("owner-plans")
    duet, scientist = owner_on(bridge)
    try:
        yield duet, scientist
    finally:
        duet.close()
        bridge.close()


def define(scientist: Any, ident: int, *steps: wire.PlanStep, outputs: tuple[int, ...]) -> None:
    scientist.send(wire.DefinePlan(ident, "mine", 1, (), steps, outputs, True))


MEAN = wire.PlanStep("torch.Tensor.mean", (2,), (Ref(1),), {}, "g")
FIRST = wire.PlanStep("torch.Tensor.__getitem__", (3,), (Ref(1), 0), {}, "g")


def waiting(duet: Any, scientist: Any, count: int) -> None:
    scientist.wait_for(lambda: len(duet.requests) == count)


def test_an_owner_reads_a_plan_and_allows_one_output_of_it(pair: Any) -> None:
    duet, scientist = pair
    duet.send(torch.arange(20.0), tags=["x"])
    define(scientist, 5, MEAN, FIRST, outputs=(2, 3))
    scientist.send(wire.RunPlan(5, (-1,), (10, 11), 0))
    mean, first = scientist.request(10), scientist.request(11)
    waiting(duet, scientist, 2)
    (plan,) = duet.plans
    assert plan.runs == 1 and plan.outputs == 2 and plan.digest[:12] in repr(duet.plans)
    assert duet.plans[plan.digest] is plan and "x1.mean()" in plan.listing()
    assert "mean" in repr(duet.requests)
    duet.requests.allow_plan(plan.digest, outputs=[0, 1], max_runs=2)
    assert scientist.value(mean).item() == 9.5
    assert len(duet.requests) == 1  # one record: not even if it was named
    scientist.send(wire.RunPlan(5, (-1,), (12, 13), 0), wire.RunPlan(5, (-1,), (14, 15), 0))
    assert scientist.value(scientist.request(12)).item() == 9.5
    third = scientist.request(14, limit_s=0)
    assert isinstance(scientist.answer(third), wire.Expired)
    assert duet.requests.handlers[0].uses == 2
    assert "max_runs=2" in repr(duet.requests.handlers)
    assert not duet.status()["OPEN"]
    assert scientist.session.take(wire.Denied) == []
    assert first not in {m.call for m in scientist.session.posted if isinstance(m, wire.Value)}


def test_sources_bind_where_nothing_waits(pair: Any) -> None:
    duet, scientist = pair
    duet.send(torch.arange(20.0), tags=["x"])
    duet.send(torch.arange(20.0), tags=["y"])
    define(scientist, 5, MEAN, outputs=(2,))
    scientist.wait_for(lambda: len(duet.plans))
    digest = duet.plans[0].digest
    with pytest.raises(NotAllowed, match="sources"):
        duet.requests.allow_plan(digest, outputs=0, max_runs=5)
    duet.requests.allow_plan(digest, outputs=0, max_runs=5, sources=["x"])
    scientist.send(wire.RunPlan(5, (-1,), (10,), 0), wire.RunPlan(5, (-2,), (11,), 0))
    assert scientist.value(scientist.request(10)).item() == 9.5
    assert isinstance(scientist.answer(scientist.request(11, limit_s=0)), wire.Expired)


def test_a_new_approval_of_a_plan_replaces_the_old_one(pair: Any) -> None:
    duet, _ = pair
    duet.send(ONES, tags=["x"])
    for runs in (1, 2):
        duet.requests.allow_plan("ab" * 32, outputs=[0], max_runs=runs, sources=["x"])
    assert len(duet.requests.handlers) == 1
    duet.requests.remove_handler(0)
    assert len(duet.requests.handlers) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"digest": "ab", "outputs": [0], "max_runs": 1},
        {"digest": "AB" * 32, "outputs": [0], "max_runs": 1},
        {"digest": "ab" * 32, "outputs": [], "max_runs": 1},
        {"digest": "ab" * 32, "outputs": [-1], "max_runs": 1},
        {"digest": "ab" * 32, "outputs": [0], "max_runs": 0},
        {"digest": "ab" * 32, "outputs": [0], "max_runs": True},
    ],
)
def test_an_approval_that_makes_no_sense_is_refused(pair: Any, options: dict[str, Any]) -> None:
    duet, _ = pair
    with pytest.raises(ValueError):
        duet.requests.allow_plan(**options)
    with pytest.raises(TypeError):
        duet.requests.allow_plan("ab" * 32, outputs=[0])  # max_runs is required


def test_an_owners_plan_is_listed_for_the_scientist(pair: Any) -> None:
    duet, scientist = pair

    @sy.make_plan
    def double(x: Any = ONES) -> Any:
        return x * 2

    handle = double.tag("double").describe("twice").send(duet)
    assert handle.object_type == "duet.Plan" and handle.tags == ["double"]
    assert duet.plans[0].digest == double.digest
    (change,) = scientist.session.take(wire.StoreChanged)
    (entry,) = change.added
    assert entry.type == "duet.Plan" and entry.signature == double.signature
    scientist.send(wire.Put((1,), ([1.0],), None), wire.Op("torch.Tensor", (2,), ([2.0],), {}, "g"))
    scientist.send(wire.RunPlan(entry.id, (2,), (3,), 0))
    answer = scientist.get(3)
    assert answer.value.data == torch.tensor([4.0]).numpy().tobytes()
    with pytest.raises(NotAllowed, match="listing"):
        handle.get()
    handle.delete()
    scientist.send(wire.RunPlan(entry.id, (2,), (4,), 0))
    assert isinstance(scientist.get(4), wire.Failed)


def test_a_scientists_listed_plan_is_in_the_owners_store(pair: Any) -> None:
    duet, scientist = pair
    scientist.send(
        wire.DefinePlan(5, "mine", 1, (), (MEAN,), (2,), True, {"a": 1}, ("p",), "text", True)
    )
    scientist.wait_for(lambda: len(duet.store))
    assert duet.store["p"].object_type == "duet.Plan" and duet.store["p"].description == "text"
    scientist.send(wire.Del((5,)))
    scientist.wait_for(lambda: not len(duet.store))
    assert duet.plans[0].is_deleted and "given up" in repr(duet.plans)


def test_a_new_engine_gets_the_owners_plans_and_has_none_of_the_scientists(pair: Any) -> None:
    duet, scientist = pair

    @sy.make_plan
    def double(x: Any = ONES) -> Any:
        return x * 2

    double.send(duet)
    define(scientist, 5, MEAN, outputs=(2,))
    scientist.wait_for(lambda: len(duet.plans) == 2)
    shares, sent = duet._service.shares, []
    shares._to_engine = sent.append
    shares.engine_died()
    shares.share_again()
    assert [type(command).__name__ for command in sent] == ["SharePlan"]
    assert [plan.is_deleted for plan in duet.plans] == [False, True]


@pytest.mark.parametrize("ident", [1, 5])  # the owner's messages have the number 1
def test_a_plan_of_the_owner_between_two_messages_of_the_scientists_leaves_both_whole(
    pair: Any, ident: int
) -> None:
    """It was taken for a part of theirs: neither was in `duet.plans`, and the engine ran both."""
    duet, scientist = pair

    @sy.make_plan
    def double(x: Any = ONES) -> Any:
        return x * 2

    squared = wire.PlanStep("torch.Tensor.square", (2,), (Ref(1),), {}, "g")
    mean = wire.PlanStep("torch.Tensor.mean", (3,), (Ref(2),), {}, "g")
    scientist.send(wire.DefinePlan(ident, "", 0, (), (squared,), (), False))
    double.send(duet)
    scientist.send(wire.DefinePlan(ident, "mine", 1, (), (mean,), (3,), True))
    scientist.wait_for(lambda: len(duet.plans) == 2)
    assert duet.plans[0].digest == double.digest
    assert "x1.square()" in duet.plans[1].listing() and "v2.mean()" in duet.plans[1].listing()


def test_a_plan_that_the_owner_deleted_is_given_up_and_its_id_is_another_plans(pair: Any) -> None:
    """The next one under its id ran in the engine and was nowhere to be read."""
    duet, scientist = pair
    scientist.send(wire.DefinePlan(5, "one", 1, (), (MEAN,), (2,), True, None, ("p",), "", True))
    scientist.wait_for(lambda: len(duet.store))
    duet.store["p"].delete()
    assert duet.plans[0].is_deleted
    other = wire.PlanStep("torch.Tensor.sum", (2,), (Ref(1),), {}, "g")
    define(scientist, 5, other, outputs=(2,))
    scientist.wait_for(lambda: not next(iter(duet.plans)).is_deleted)
    assert "x1.sum()" in next(iter(duet.plans)).listing()
