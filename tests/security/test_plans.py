"""Attacks with plans: what a hostile scientist can put into them, and what it must not gain."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.engine import messages as m
from duet_p2p.surface.plan import digest_of
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import DefinePlan, PlanStep, RunPlan
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.plan_kit import Planner, step

ZEROS = TensorData("float32", (3,), bytes(12))


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "torch.load", "torch.save", "torch.hub.load",
        "torch.Tensor.__reduce_ex__", "torch.Tensor.data_ptr", "torch.Tensor.set_",
        "torch.Tensor.__class__", "python.eval", "torch.Tensor.numpy", "torch.Tensor.apply_", "",
        "duet.Plan", "RunPlan",
    ],
)  # fmt: skip
def test_no_name_off_the_surface_gets_into_a_plan(name: str) -> None:
    assert name not in TABLE
    engine = Planner()
    plan = engine.define(step(name, 2, Ref(1)), outputs=(2,))
    assert engine.failures()[0].is_public
    (out,) = engine.go(plan, engine.put(torch.ones(1)))
    assert engine.facts(out).failed


def test_a_number_in_a_plan_is_never_an_id_of_the_store() -> None:
    engine = Planner()
    engine.share(torch.ones(3))
    secret_like = [engine.put(torch.full((3,), float(n))) for n in range(8)]
    plan = engine.define(step("torch.Tensor.clone", 2, Ref(1)), outputs=(2,))
    (out,) = engine.go(plan, secret_like[5])
    assert engine.value(out).tolist() == [5, 5, 5]
    for stray in (-1, 7, 0x7FFFFFFF):
        engine.define(step("torch.Tensor.clone", 2, Ref(stray)), outputs=(2,))
        assert engine.failures()[0].code == "ValueError"


@pytest.mark.parametrize(
    "command",
    [
        step("torch.Tensor.copy_", 3, Ref(2), Ref(1)),
        step("torch.Tensor.add_", 3, Ref(2), Ref(1)),
        step("torch.Tensor.data=", 0, Ref(2), Ref(1)),
        step("torch.Tensor.__setitem__", 0, Ref(2), slice(None), Ref(1)),
    ],
)
def test_private_data_cannot_be_written_unlabelled_into_an_own_tensor(command: PlanStep) -> None:
    engine = Planner()
    secret, own = engine.share(torch.arange(3.0)), engine.put(torch.zeros(3))
    plan = engine.define(command, captures=(own,))
    engine.go(plan, secret)
    assert not engine.failures()
    facts = engine.facts(own)
    assert facts.kind in ("verbatim", "per_record") and facts.sources == (-1,)


_UNARY = ["relu", "exp", "sum", "mean", "cumsum", "clone", "neg", "t", "flatten", "max", "detach"]
_BINARY = ["add", "mul", "matmul", "maximum", "sub"]


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_have_the_labels_of_the_same_operations_one_by_one(seed: int) -> None:
    random = Random(seed)
    steps: list[tuple[str, tuple[int, ...], tuple[Any, ...]]] = []
    for number in range(12):
        known = range(1, 4 + number)
        if random.random() < 0.5:
            name, refs = random.choice(_UNARY), (random.choice(known),)
        else:
            name, refs = random.choice(_BINARY), tuple(random.choices(known, k=2))
        steps.append((f"torch.Tensor.{name}", refs, (0,) if name == "cumsum" else ()))

    def inputs(engine: Planner) -> list[Ref]:
        torch.manual_seed(seed)
        x, y = engine.share(torch.randn(16, 16)), engine.share(torch.randn(16, 16))
        return [x, y, engine.put(torch.randn(16, 16))]

    eager = Planner()
    refs = inputs(eager)
    for name, places, extra in steps:
        refs.append(eager.run(name, *[refs[place - 1] for place in places], *extra))
    planned = Planner()
    plan = planned.define(
        *[
            step(name, number, *[Ref(place) for place in places], *extra)
            for number, (name, places, extra) in enumerate(steps, 4)
        ],
        inputs=3,
        outputs=tuple(range(4, 16)),
    )
    outs = planned.go(plan, *inputs(planned))
    for one, two in zip(refs[3:], outs, strict=True):
        mine, theirs = planned.facts(two), eager.facts(one)
        assert (mine.kind, mine.sources, mine.min_records, mine.injected, mine.tags) == (
            theirs.kind, theirs.sources, theirs.min_records, theirs.injected, theirs.tags,
        )  # fmt: skip
        assert bool(mine.failed) == bool(theirs.failed)
        assert mine.failed_is_public == theirs.failed_is_public


def test_private_data_cannot_hide_in_an_own_container() -> None:
    engine = Planner()
    secret, own = engine.share(torch.arange(3.0)), engine.put([1, 2])
    plan = engine.define(
        step("torch.Tensor.__getitem__", 3, Ref(1), 0),
        step("torch.Tensor.item", 4, Ref(3)),
        step("python.List.append", 0, Ref(2), Ref(4)),
        captures=(own,),
    )
    engine.go(plan, secret, times=2)
    assert engine.value(own) == [1, 2, 0.0, 0.0]
    assert engine.facts(own).sources == (-1,)


def test_a_view_of_an_own_tensor_does_not_launder() -> None:
    engine = Planner()
    secret, own = engine.share(torch.arange(3.0)), engine.put(torch.zeros(2, 3))
    plan = engine.define(
        step("torch.Tensor.__getitem__", 3, Ref(2), 0),
        step("torch.Tensor.copy_", 4, Ref(3), Ref(1)),
        captures=(own,),
    )
    engine.go(plan, secret)
    assert engine.facts(own).sources == (-1,)


def test_a_list_of_runs_carries_the_labels_of_each() -> None:
    engine = Planner()
    secret = engine.share(torch.arange(6.0).view(3, 2))
    plan = engine.define(
        step("torch.Tensor.__getitem__", 2, Ref(1), 0),
        step("torch.Tensor.__getitem__", 3, Ref(2), 0),
        step("torch.Tensor.item", 4, Ref(3)),
        outputs=(4,),
    )
    (numbers,) = engine.go(plan, secret, times=3)
    assert engine.facts(numbers).sources == (-1,)
    element = engine.run("python.List.__getitem__", numbers, 0)
    assert engine.facts(element).kind in ("verbatim", "per_record")
    assert engine.facts(engine.run("python.len", numbers)).kind == "public"


def _what_crosses(data: torch.Tensor, times: int) -> list[Any]:
    """Everything that leaves the engine before a release, for a plan that fails on some data."""
    engine = Planner()
    secret = engine.share(data)
    plan = engine.define(
        step("torch.Tensor.long", 2, Ref(1)),
        step("torch.ones", 3, [4]),
        step("torch.Tensor.__getitem__", 4, Ref(3), Ref(2)),  # fails or not, by the data
        step("torch.Tensor.sum", 5, Ref(4)),
        outputs=(3, 4, 5),
    )
    outs = engine.go(plan, secret, times=times)
    told: list[Any] = [e for e in engine.events if not isinstance(e, m.OpFailed) or e.is_public]
    public = engine.candidate(outs[0])
    return [told, public.facts.kind, public.facts.failed, public.facts.elements]  # type: ignore[union-attr]


@pytest.mark.parametrize("times", [0, 3])
def test_whether_a_plan_failed_on_private_values_does_not_show(times: int) -> None:
    fine = _what_crosses(torch.tensor([0.0, 1.0, 2.0]), times)
    bad = _what_crosses(torch.tensor([0.0, 1.0, 9.0]), times)
    assert fine[1] == "public" and fine == bad


def test_a_failure_on_private_values_is_poison_with_their_label() -> None:
    engine = Planner()
    secret = engine.share(torch.tensor([9.0]))
    own = engine.put(torch.zeros(1))
    plan = engine.define(
        step("torch.Tensor.long", 3, Ref(1)),
        step("torch.Tensor.__getitem__", 4, ZEROS, Ref(3)),
        step("torch.Tensor.add_", 5, Ref(2), Ref(4)),
        captures=(own,),
        outputs=(4,),
    )
    (out,) = engine.go(plan, secret)
    (failure,) = engine.failures()
    assert not failure.is_public
    for ref in (out, own):
        facts = engine.facts(ref)
        assert facts.failed and facts.sources == (-1,) and not facts.failed_is_public


def test_runs_that_would_fill_the_memory_are_stopped_by_the_quota() -> None:
    engine = Planner({"stored_bytes": 2_000_000})
    plan = engine.define(step("torch.Tensor.repeat", 2, Ref(1), 1000), outputs=(2,))
    (out,) = engine.go(plan, engine.put(torch.ones(100)), times=50)
    assert {failure.code for failure in engine.failures()} == {"QuotaExceeded"}
    assert engine.facts(out).failed


def test_runs_that_would_make_too_many_objects_are_stopped_by_the_quota() -> None:
    engine = Planner({"objects": 20})
    plan = engine.define(step("torch.Tensor.clone", 2, Ref(1)), outputs=(2,))
    (out,) = engine.go(plan, engine.put(torch.ones(1)), times=50)
    assert {failure.code for failure in engine.failures()} == {"QuotaExceeded"}
    assert engine.facts(out).failed and len(engine.engine.store) <= 20


def test_one_huge_result_is_refused_before_it_runs() -> None:
    engine = Planner()
    plan = engine.define(
        step("torch.zeros", 2, [1]),
        step("torch.Tensor.expand", 3, Ref(2), 10**13),
        step("torch.Tensor.clone", 4, Ref(3)),
        outputs=(4,),
        inputs=1,
    )
    engine.go(plan, engine.put(torch.ones(1)))
    assert "QuotaExceeded" in {failure.code for failure in engine.failures()}


def test_other_commands_under_an_old_id_have_another_digest() -> None:
    engine = Planner()
    secret = engine.share(torch.randn(64))
    harmless = engine.define(step("torch.Tensor.mean", 2, Ref(1)), outputs=(2,))
    engine.send(
        DefinePlan(harmless.plan, "x", 1, (), (step("torch.Tensor.clone", 2, Ref(1)),), (2,), True)
    )
    (out,) = engine.go(harmless, secret)
    assert engine.facts(out).kind == "aggregate"  # the second definition was refused
    engine.delete(Ref(harmless.plan))
    other = DefinePlan(
        harmless.plan, "x", 1, (), (step("torch.Tensor.clone", 2, Ref(1)),), (2,), True
    )
    engine.send(other)
    (out,) = engine.go(other, secret)
    assert engine.facts(out).plan == digest_of(other) != digest_of(harmless)


def test_a_value_that_was_swapped_into_an_output_is_no_output_any_more() -> None:
    engine = Planner()
    secret = engine.share(torch.randn(64))
    plan = engine.define(step("torch.Tensor.mean", 2, Ref(1)), outputs=(2,))
    (out,) = engine.go(plan, secret)
    assert engine.facts(out).plan == digest_of(plan)
    record = engine.run("torch.Tensor.__getitem__", secret, 0)
    engine.run("torch.Tensor.copy_", out, record)
    facts = engine.facts(out)
    assert facts.plan == "" and facts.kind in ("per_record", "verbatim")
    (out,) = engine.go(plan, secret)
    view = engine.run("torch.Tensor.view", out, 1)
    engine.run("torch.Tensor.copy_", view, record)
    assert engine.facts(out).plan == ""


def test_ids_of_results_cannot_overwrite_anything() -> None:
    engine = Planner()
    secret, own = engine.share(torch.ones(1)), engine.put(torch.zeros(1))
    plan = engine.define(step("torch.Tensor.clone", 2, Ref(1)), outputs=(2,))
    for target in (own.id, plan.plan):
        engine.send(RunPlan(plan.plan, (secret.id,), (target,), 0))
    assert engine.value(own).tolist() == [0]
    assert engine.facts(own).kind == "public"


def test_a_run_cannot_give_one_id_twice() -> None:
    engine = Planner()
    plan = engine.define(
        step("torch.Tensor.clone", 2, Ref(1)), step("torch.Tensor.clone", 3, Ref(1)),
        outputs=(2, 3),
    )  # fmt: skip
    events = engine.send(RunPlan(plan.plan, (engine.put(torch.ones(1)).id,), (70, 70), 0))
    assert any(isinstance(event, m.OpFailed) and event.is_public for event in events)
