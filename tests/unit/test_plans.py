"""Plans in the engine: the same results, labels and failures as the same commands one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import messages as m
from duet_p2p.surface.plan import digest_of, listing_of
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import DefinePlan, PlanStep, RunPlan
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.plan_kit import Planner, step

DOUBLE = step("torch.Tensor.__mul__", 2, Ref(1), 2)


def test_a_run_gives_what_its_commands_give() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, step("torch.Tensor.sum", 3, Ref(2)), outputs=(3,))
    x = engine.put(torch.arange(4.0))
    (out,) = engine.go(plan, x)
    assert engine.value(out).item() == 12
    (again,) = engine.go(plan, out)
    assert engine.value(again).item() == 24


def test_locals_never_reach_the_store() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, step("torch.Tensor.sum", 3, Ref(2)), outputs=(3,))
    x = engine.put(torch.arange(4.0))
    before = len(engine.engine.store)
    engine.go(plan, x)
    assert len(engine.engine.store) == before + 1


def test_labels_are_those_of_the_same_operations_one_by_one() -> None:
    engine = Planner()
    x = engine.share(torch.randn(32, 3))
    plan = engine.define(
        step("torch.Tensor.__getitem__", 2, Ref(1), 0),
        step("torch.Tensor.mean", 3, Ref(1)),
        outputs=(2, 3),
    )
    row, mean = engine.go(plan, x)
    eager = [engine.run("torch.Tensor.__getitem__", x, 0), engine.run("torch.Tensor.mean", x)]
    for planned, one in zip((row, mean), eager, strict=True):
        mine, theirs = engine.facts(planned), engine.facts(one)
        assert (mine.kind, mine.sources, mine.min_records, mine.injected, mine.tags) == (
            theirs.kind, theirs.sources, theirs.min_records, theirs.injected, theirs.tags,
        )  # fmt: skip
    assert engine.facts(mean).kind == "aggregate"


def test_labels_are_worked_out_anew_at_each_run() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, outputs=(2,))
    (public,) = engine.go(plan, engine.put(torch.ones(3)))
    (private,) = engine.go(plan, engine.share(torch.ones(30)))
    assert engine.facts(public).kind == "public"
    assert engine.facts(private).kind == "per_record"
    assert engine.facts(private).sources == (-1,)


def test_a_captured_object_is_changed_in_place() -> None:
    engine = Planner()
    total = engine.put(torch.zeros(2))
    plan = engine.define(step("torch.Tensor.add_", 3, Ref(2), Ref(1)), captures=(total,))
    x = engine.put(torch.ones(2))
    engine.go(plan, x)
    engine.go(plan, x)
    assert engine.value(total).tolist() == [2, 2]


def test_a_plan_cannot_write_to_an_owners_object() -> None:
    engine = Planner()
    x = engine.share(torch.ones(3))
    plan = engine.define(step("torch.Tensor.add_", 2, Ref(1), 1), outputs=(2,))
    (out,) = engine.go(plan, x)
    (failure,) = engine.failures()
    assert failure.code == "NotAllowed" and failure.is_public
    assert engine.facts(out).failed
    assert engine.value(x).tolist() == [1, 1, 1]


def test_constants_that_a_call_could_change_are_made_for_each_run() -> None:
    engine = Planner()
    zero = TensorData("float32", (2,), bytes(8))
    plan = engine.define(
        step("torch.Tensor.add_", 2, zero, Ref(1)),
        step("python.List", 3, [1]),
        step("python.List.append", 0, Ref(3), 2),
        outputs=(2, 3),
    )
    x = engine.put(torch.ones(2))
    engine.go(plan, x)
    tensor, items = engine.go(plan, x)
    assert engine.value(tensor).tolist() == [1, 1]
    assert engine.value(items) == [1, 2]


def test_n_runs_give_a_list_of_n_values() -> None:
    engine = Planner()
    count = engine.put(torch.zeros(()))
    plan = engine.define(
        step("torch.Tensor.add_", 3, Ref(2), Ref(1)),
        step("torch.Tensor.clone", 4, Ref(3)),
        step("torch.Tensor.item", 5, Ref(4)),
        captures=(count,),
        outputs=(4, 5),
    )
    before = len(engine.engine.store)
    tensors, numbers = engine.go(plan, engine.put(torch.ones(())), times=3)
    assert [t.item() for t in engine.value(tensors)] == [1, 2, 3]
    assert engine.value(numbers) == [1, 2, 3]
    assert len(engine.engine.store) == before + 3  # the input, two lists
    learnt = [e for e in engine.last if isinstance(e, m.Learnt)]
    assert [event.length for event in learnt] == [3, 3]


def test_a_failed_command_poisons_what_depends_on_it_and_nothing_else() -> None:
    engine = Planner()
    x = engine.put(torch.ones(3))
    total = engine.put(torch.zeros(3))
    plan = engine.define(
        step("torch.Tensor.__matmul__", 3, Ref(1), TensorData("float32", (2,), bytes(8))),
        step("torch.Tensor.add_", 4, Ref(2), Ref(3)),
        step("torch.Tensor.sum", 5, Ref(1)),
        captures=(total,),
        outputs=(3, 5),
    )
    bad, good = engine.go(plan, x)
    (failure,) = engine.failures()
    assert failure.op == "torch.Tensor.__matmul__" and failure.is_public
    assert engine.facts(bad).failed
    assert engine.facts(total).failed
    assert engine.value(good).item() == 3


def test_a_failure_in_every_run_is_told_once() -> None:
    engine = Planner()
    plan = engine.define(step("torch.Tensor.view", 2, Ref(1), 7), outputs=(2,))
    engine.go(plan, engine.put(torch.ones(3)), times=20)
    assert len(engine.failures()) == 1


def test_a_run_of_no_plan_or_with_other_numbers_poisons_its_results() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, outputs=(2,))
    x = engine.put(torch.ones(3))
    for message in (
        RunPlan(99, (x.id,), (50,), 0),
        RunPlan(plan.plan, (), (51,), 0),
        RunPlan(plan.plan, (77,), (52,), 0),
    ):
        (event, *_) = engine.send(message)
        assert isinstance(event, m.OpFailed) and event.is_public
        assert engine.facts(Ref(message.outs[0])).failed


def test_a_deleted_plan_does_not_run() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, outputs=(2,))
    engine.delete(Ref(plan.plan))
    (out,) = engine.go(plan, engine.put(torch.ones(1)))
    assert engine.facts(out).failed


@pytest.mark.parametrize(
    "steps",
    [
        (step("os.system", 2, "true"),),
        (step("torch.load", 2, "x"),),
        (step("torch.Tensor.add", 3, Ref(1), 1),),  # 2 is the next number
        (step("torch.Tensor.add", 2, Ref(2), 1),),  # its own result
        (step("torch.Tensor.add", 2, Ref(-1), 1),),  # an owner's object
        (step("torch.Tensor.add", 2, Ref(1), 1, **{"a)\n evil(": 1}),),
        (step("torch._VF.lstm_cell", 2, Ref(1)),),  # an alias: another form of the same
    ],
)
def test_a_plan_in_another_form_is_refused_whole(steps: tuple[PlanStep, ...]) -> None:
    engine = Planner()
    engine.share(torch.ones(2))
    plan = engine.define(DOUBLE if not steps else steps[0])
    assert engine.failures() and engine.failures()[0].is_public
    (out,) = engine.go(plan, engine.put(torch.ones(1))) or (None,)
    assert out is None or engine.facts(out).failed


def test_a_plan_is_as_long_as_the_limit_and_not_longer(monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "PLAN_STEPS", 3)
    engine = Planner()
    chain = [step("torch.Tensor.__mul__", n + 1, Ref(n), 2) for n in range(1, 5)]
    engine.define(*chain[:3], outputs=(4,))
    assert not engine.failures()
    engine.define(*chain, outputs=(5,))
    assert engine.failures()[0].code == "QuotaExceeded"


@pytest.mark.parametrize("name", ["PLANS", "PLANS_STEPS"])
def test_a_session_keeps_as_many_plans_as_the_limits_say(name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, name, 2)
    engine = Planner()
    for _ in range(2):
        first = engine.define(DOUBLE, outputs=(2,))
        assert not engine.failures()
    engine.define(DOUBLE, outputs=(2,))
    assert engine.failures()[0].code == "QuotaExceeded"
    engine.delete(Ref(first.plan))
    engine.define(DOUBLE, outputs=(2,))
    assert not engine.failures()


def test_the_bytes_of_plans_are_limited(monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "PLAN_BYTES", 4000)
    engine = Planner()
    constant = TensorData("uint8", (5000,), bytes(5000))
    engine.define(step("torch.Tensor.add", 2, Ref(1), constant), outputs=(2,))
    assert engine.failures()[0].code == "QuotaExceeded"


@pytest.mark.parametrize(("name", "count"), [("PLAN_BYTES", 1), ("PLANS_BYTES", 3)])
def test_plans_take_as_many_bytes_as_the_limits_say(
    name: str, count: int, monkeypatch: Any
) -> None:
    engine = Planner()
    engine.next_id = 9  # so that all ids take one byte
    plan = DefinePlan(20, "test", 1, (), (DOUBLE,), (2,), True)
    nbytes = len(encode_message(plan))
    monkeypatch.setattr(limits, name, count * nbytes)
    for _ in range(count):
        engine.define(DOUBLE, outputs=(2,))
        assert not engine.failures()
    monkeypatch.setattr(limits, name, (count + 1) * nbytes - 1 if count > 1 else nbytes - 1)
    engine.define(DOUBLE, outputs=(2,))
    assert engine.failures()[0].code == "QuotaExceeded"


def test_a_long_plan_comes_in_parts() -> None:
    engine = Planner()
    head = DefinePlan(500, "", 0, (), (DOUBLE,), (), False)
    tail = DefinePlan(500, "long", 1, (), (step("torch.Tensor.sum", 3, Ref(2)),), (3,), True)
    engine.send(head)
    engine.send(tail)
    (out,) = engine.go(tail, engine.put(torch.ones(2)))
    assert engine.value(out).item() == 4


def test_parts_of_two_plans_do_not_mix() -> None:
    engine = Planner()
    engine.send(DefinePlan(500, "", 0, (), (DOUBLE,), (), False))
    engine.define(DOUBLE, outputs=(2,))
    assert engine.failures()[0].code == "ValueError"


def test_what_a_plan_makes_counts_against_the_quotas() -> None:
    engine = Planner({"stored_bytes": 4000, "objects": 10})
    grow = [step("torch.Tensor.repeat", 2, Ref(1), 100)]
    grow += [step("torch.Tensor.__mul__", n + 1, Ref(n), 2) for n in range(2, 12)]
    keep = step("python.collect", 13, *[Ref(n) for n in range(2, 13)])
    plan = engine.define(*grow, keep, outputs=(13,))
    (out,) = engine.go(plan, engine.put(torch.ones(4)))
    assert "QuotaExceeded" in {failure.code for failure in engine.failures()}
    assert engine.facts(out).failed


def test_an_output_is_that_of_its_plan_until_somebody_writes_it() -> None:
    engine = Planner()
    plan = engine.define(DOUBLE, outputs=(2,))
    (out,) = engine.go(plan, engine.put(torch.ones(2)))
    facts = engine.facts(out)
    assert (facts.plan, facts.plan_output, facts.plan_run, facts.plan_runs) == (
        digest_of(plan), 0, 1, 1,
    )  # fmt: skip
    derived = engine.run("torch.Tensor.__add__", out, 1)
    assert engine.facts(derived).plan == ""
    engine.run("torch.Tensor.copy_", out, engine.put(torch.zeros(2)))
    assert engine.facts(out).plan == ""


def test_a_plan_of_an_owner_can_be_run_and_not_deleted() -> None:
    engine = Planner()
    plan = DefinePlan(1, "theirs", 1, (), (DOUBLE,), (2,), True)
    (shared,) = engine.engine.handle(m.SharePlan(-7, [encode_message(plan)]))
    assert isinstance(shared, m.Shared) and not shared.error
    x = engine.put(torch.ones(1))
    engine.delete(Ref(-7))
    engine.send(RunPlan(-7, (x.id,), (90,), 0))
    assert engine.value(Ref(90)).item() == 2


def test_the_digest_is_that_of_the_commands_alone() -> None:
    base = DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.add", 3, Ref(1), Ref(2)),), (3,), True)
    renamed = DefinePlan(9, "b", 1, (7,), base.steps, (3,), True, None, ("x",), "text", True)
    assert digest_of(base) == digest_of(renamed)
    others = [
        DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.sub", 3, Ref(1), Ref(2)),), (3,), True),
        DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.add", 3, Ref(2), Ref(1)),), (3,), True),
        DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.add", 3, Ref(1), 1),), (3,), True),
        DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.add", 3, Ref(1), 1.0),), (3,), True),
        DefinePlan(1, "a", 2, (), base.steps, (3,), True),
        DefinePlan(1, "a", 1, (5,), base.steps, (), True),
        DefinePlan(1, "a", 1, (5,), (step("torch.Tensor.add", 3, Ref(1), Ref(2), mode="n"),),
                   (3,), True),
    ]  # fmt: skip
    assert len({digest_of(plan) for plan in [base, *others]}) == len(others) + 1


def test_sets_of_one_content_have_one_digest() -> None:
    def plan(items: list[str]) -> DefinePlan:
        held: set[str] = set()
        for item in items:
            held.add(item)
        return DefinePlan(1, "", 0, (), (step("python.Set", 1, held),), (1,), True)

    letters = [chr(97 + n) for n in range(20)]
    assert digest_of(plan(letters)) == digest_of(plan(letters[::-1]))


def test_a_listing_is_torch_code() -> None:
    plan = DefinePlan(
        1, "a", 2, (5,),
        (
            step("torch.nn.functional.linear", 4, Ref(1), Ref(3), bias=None),
            step("torch.Tensor.sum", 5, Ref(4), dim=[0, 1], mode="n"),
            step("torch.Tensor.grad=", 0, Ref(3), None),
            step("torch.Tensor.__add__", 6, Ref(5), "evil\n    return x1"),
        ),
        (6,), True,
    )  # fmt: skip
    assert listing_of(plan, {1: "the weights"}).splitlines() == [
        "def plan(x1, x2):",
        "    # c1: the weights",
        "    v4 = torch.nn.functional.linear(x1, c1, bias=None)",
        "    # from here with no_grad",
        "    v5 = v4.sum(dim=[0, 1])",
        "    # from here with gradients",
        "    c1.grad = None",
        "    v6 = torch.Tensor.__add__(v5, 'evil\\n    return x1')",
        "    return v6",
    ]
