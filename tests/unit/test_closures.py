"""Steps of optimizers with a plan as their closure: values, labels, failures, limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, StepError
from duet_p2p.wire.messages import DefinePlan, PlanStep, RunClosure
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.plan_kit import Planner, step
from tests.unit.scientist_kit import pair

ROWS = 32


class Regression(Planner):
    """A weight, an optimizer of it, and a closure for least squares.

    Locals of the closure: optimizer 1, weight 2, x 3, y 4; then each command's result.
    """

    def __init__(self, *, is_private: bool, name: str = "LBFGS", **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.data = torch.randn(ROWS, 3), torch.randn(ROWS, 1)
        place = self.share if is_private else self.put
        self.x, self.y = map(place, self.data)
        self.weight = self.ok("torch.nn.Parameter", self.put(torch.zeros(3, 1)))
        settings.setdefault("lr", 1.0)
        self.optimizer = self.ok(f"torch.optim.{name}", [self.weight], **settings)

    @property
    def captures(self) -> tuple[Ref, ...]:
        return (self.optimizer, self.weight, self.x, self.y)

    def closure(self, *extra: PlanStep, more: tuple[Ref, ...] = ()) -> DefinePlan:
        """Least squares after `extra`, which begins at the local 5 + len(more)."""
        first = 5 + len(more) + sum(len(s.outs) for s in extra)
        return self.define(
            *extra,
            step("torch.optim.Optimizer.zero_grad", 0, Ref(1)),
            step("torch.matmul", first, Ref(3), Ref(2)),
            step("torch.Tensor.__sub__", first + 1, Ref(first), Ref(4)),
            step("torch.Tensor.square", first + 2, Ref(first + 1)),
            step("torch.mean", first + 3, Ref(first + 2)),
            step("torch.Tensor.backward", 0, Ref(first + 3)),
            inputs=0,
            captures=(*self.captures, *more),
            outputs=(first + 3,),
        )

    def solved(self) -> torch.Tensor:
        return torch.linalg.lstsq(*self.data).solution

    def state(self) -> Ref:
        return self.ok("torch.optim.Optimizer.state_dict", self.optimizer)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_step_gives_the_first_loss_and_moves_the_weights_as_torch_does(search: Any) -> None:
    engine = Regression(is_private=False, line_search_fn=search)
    loss = engine.step_with(engine.closure(), engine.optimizer)
    assert not engine.failures()
    weight = torch.nn.Parameter(torch.zeros(3, 1))
    optimizer = torch.optim.LBFGS([weight], lr=1.0, line_search_fn=search)
    x, y = engine.data

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        found = ((x @ weight) - y).square().mean()
        found.backward()
        return found

    assert torch.equal(engine.value(loss), optimizer.step(closure))
    assert torch.equal(engine.value(engine.weight), weight)
    assert engine.value(engine.optimizer).state_dict()["state"][0]["func_evals"] > 2


def test_an_optimizer_that_calls_its_closure_once_takes_it_too() -> None:
    engine = Regression(is_private=False, name="SGD")
    loss = engine.step_with(engine.closure(), engine.optimizer)
    assert engine.value(loss).item() == pytest.approx(engine.data[1].square().mean().item())
    assert engine.value(engine.weight).abs().sum() > 0


# labels


def test_own_data_only_leaves_everything_public() -> None:
    engine = Regression(is_private=False)
    loss = engine.step_with(engine.closure(), engine.optimizer)
    for ref in (loss, engine.weight, engine.state()):
        assert engine.facts(ref).kind == "public"
    assert engine.engine.lineage.generator.is_public


def test_private_records_make_the_weights_and_the_state_a_model_of_both_sources() -> None:
    engine = Regression(is_private=True)
    plan = engine.closure()
    first = engine.step_with(plan, engine.optimizer)
    second = engine.step_with(plan, engine.optimizer)
    assert not engine.failures()
    for loss in (first, second):
        facts = engine.facts(loss)
        assert (facts.kind, facts.sources, facts.min_records) == ("aggregate", (-1, -2), ROWS)
    facts = engine.facts(engine.weight)
    assert (facts.kind, facts.sources, facts.min_records) == ("model", (-1, -2), ROWS)
    assert engine.facts(engine.state()).sources == (-1, -2)


def test_labels_of_sgd_with_a_closure_are_those_of_an_ordinary_step() -> None:
    with_closure = Regression(is_private=True, name="SGD", momentum=0.5)
    with_closure.step_with(with_closure.closure(), with_closure.optimizer)
    ordinary = Regression(is_private=True, name="SGD", momentum=0.5)
    ordinary.go(ordinary.closure())
    ordinary.ok("torch.optim.Optimizer.step", ordinary.optimizer, outs=1)
    for place in ("weight", "optimizer"):
        mine, theirs = (e.facts(getattr(e, place)) for e in (with_closure, ordinary))
        assert (mine.kind, mine.sources, mine.min_records, mine.injected) == (
            theirs.kind, theirs.sources, theirs.min_records, theirs.injected,
        )  # fmt: skip


def test_numbers_in_the_state_that_count_evaluations_are_labelled() -> None:
    engine = Regression(is_private=True)
    engine.step_with(engine.closure(), engine.optimizer)
    inner = engine.ok("python.Dict.__getitem__", engine.state(), "state")
    numbers = engine.ok("python.Dict.__getitem__", inner, 0)
    for name in ("func_evals", "n_iter", "prev_loss", "d"):
        facts = engine.facts(engine.ok("python.Dict.__getitem__", numbers, name))
        assert facts.kind in ("model", "per_record") and facts.sources == (-1, -2), name


def test_a_loss_of_single_records_leaves_nothing_but_per_record() -> None:
    engine = Regression(is_private=True)
    plan = engine.define(
        step("torch.optim.Optimizer.zero_grad", 0, Ref(1)),
        step("torch.matmul", 5, Ref(3), Ref(2)),
        step("torch.Tensor.__sub__", 6, Ref(5), Ref(4)),
        step("torch.Tensor.square", 7, Ref(6)),
        step("torch.Tensor.__getitem__", 8, Ref(7), 0),
        step("torch.Tensor.backward", 0, Ref(8)),
        inputs=0,
        captures=engine.captures,
        outputs=(8,),
    )
    loss = engine.step_with(plan, engine.optimizer)
    for ref in (loss, engine.weight, engine.state()):
        facts = engine.facts(ref)
        assert facts.kind == "per_record" and facts.sources == (-1, -2)


def test_random_numbers_in_a_closure_join_the_generator_both_ways() -> None:
    engine = Regression(is_private=True)
    noise = step("torch.rand", 5, 3)
    loss = engine.step_with(engine.closure(noise), engine.optimizer)
    assert not engine.failures()
    for ref in (loss, engine.weight, engine.ok("torch.rand", 2)):
        facts = engine.facts(ref)
        assert facts.kind == "per_record" and facts.sources == (-1, -2)

    other = Regression(is_private=False)
    secret = other.share(torch.ones(3))
    other.run("torch.manual_seed", other.ok("torch.Tensor.item", other.ok("torch.sum", secret)))
    other.step_with(other.closure(noise), other.optimizer)
    assert other.facts(other.weight).sources == (-1,)


# failures


def test_a_public_failure_inside_is_told_once_and_spoils_what_the_step_would_have_made() -> None:
    engine = Regression(is_private=True)
    wrong = step("torch.matmul", 5, Ref(3), TensorData("float32", (2,), bytes(8)))
    loss = engine.step_with(engine.closure(wrong), engine.optimizer)
    (failure,) = engine.failures()
    assert failure.op == "torch.matmul" and failure.is_public
    for ref in (loss, engine.weight, engine.state()):
        assert engine.facts(ref).failed
    assert torch.equal(engine.value(engine.weight), torch.zeros(3, 1))
    later = engine.step_with(engine.closure(), engine.optimizer)
    assert engine.facts(later).failed


def test_a_failure_that_values_decide_is_not_public() -> None:
    engine = Regression(is_private=True)
    square = engine.share(-torch.eye(3))
    plan = engine.define(
        step("torch.linalg.cholesky", 4, Ref(3)),
        step("torch.matmul", 5, Ref(4), Ref(2)),
        step("torch.sum", 6, Ref(5)),
        step("torch.Tensor.backward", 0, Ref(6)),
        inputs=0,
        captures=(engine.optimizer, engine.weight, square),
        outputs=(6,),
    )
    loss = engine.step_with(plan, engine.optimizer)
    assert not any(failure.is_public for failure in engine.failures())
    for ref in (loss, engine.weight, engine.state()):
        facts = engine.facts(ref)
        assert facts.failed and facts.sources == (-3,)


def test_a_loss_that_is_no_single_number_is_refused() -> None:
    engine = Regression(is_private=False)
    plan = engine.define(
        step("torch.matmul", 5, Ref(3), Ref(2)), inputs=0, captures=engine.captures, outputs=(5,)
    )
    loss = engine.step_with(plan, engine.optimizer)
    (failure,) = engine.failures()
    assert failure.is_public and "one number" in failure.text
    assert engine.facts(loss).failed


# what is no closure


def test_a_plan_with_inputs_or_several_outputs_is_no_closure() -> None:
    engine = Regression(is_private=False)
    one = step("torch.sum", 2, Ref(1))
    two = step("torch.sum", 3, Ref(1))
    plans = [
        engine.define(one, outputs=(2,)),
        engine.define(one, two, inputs=0, captures=(engine.x,), outputs=(2, 3)),
        engine.define(one, inputs=0, captures=(engine.x,)),
    ]
    for plan in plans:
        loss = engine.step_with(plan, engine.optimizer)
        (failure,) = engine.failures()
        assert failure.is_public and "takes nothing and returns its loss" in failure.text
        assert engine.facts(loss).failed
    assert not engine.facts(engine.weight).failed


def test_only_an_optimizer_that_is_there_takes_a_plan_that_is_there() -> None:
    engine = Regression(is_private=False)
    plan = engine.closure()
    engine.step_with(plan, engine.x)
    assert engine.failures()[0].code == "TypeError"
    engine.step_with(plan, Ref(9_999))
    assert engine.failures()[0].code == "PointerDeleted"
    engine.send(RunClosure(9_999, engine.optimizer.id, 500))
    engine.last = engine.send(RunClosure(plan.plan, engine.optimizer.id, engine.x.id))
    assert engine.failures()[0].is_public
    assert torch.equal(engine.value(engine.x), engine.data[0])


# limits


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("max_iter", limits.CLOSURE_ITERATIONS),
        ("history_size", limits.CLOSURE_ITERATIONS),
        ("max_eval", limits.CLOSURE_RUNS),
    ],
)
def test_settings_at_the_limit_work_and_one_past_it_do_not(name: str, most: int) -> None:
    engine = Regression(is_private=True, **{name: most})
    engine.step_with(engine.closure(), engine.optimizer)
    assert not engine.failures()
    engine = Regression(is_private=True, **{name: most + 1})
    loss = engine.step_with(engine.closure(), engine.optimizer)
    (failure,) = engine.failures()
    assert failure.is_public and failure.code == "QuotaExceeded"
    assert f"{most} allowed" in failure.text
    assert engine.facts(loss).failed and not engine.facts(engine.weight).failed


def test_directions_that_do_not_fit_into_the_store_are_refused() -> None:
    engine = Planner({"stored_bytes": 1_000_000})
    weight = engine.ok("torch.nn.Parameter", engine.put(torch.zeros(1_000)))
    optimizer = engine.ok("torch.optim.LBFGS", [weight], max_iter=1_000, history_size=1_000)
    plan = engine.define(step("torch.sum", 2, Ref(1)), inputs=0, captures=(weight,), outputs=(2,))
    engine.step_with(plan, optimizer)
    (failure,) = engine.failures()
    assert failure.is_public and failure.code == "QuotaExceeded"


def test_a_closure_runs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Regression(is_private=True, tolerance_change=0.0, tolerance_grad=0.0, lr=0.01)
    monkeypatch.setattr(limits, "CLOSURE_RUNS", 3)
    loss = engine.step_with(engine.closure(), engine.optimizer)
    (failure,) = engine.failures()
    assert failure.code == "QuotaExceeded" and not failure.is_public
    assert engine.facts(loss).failed and engine.facts(engine.weight).failed


# the scientist's side


def test_a_recorded_step_is_a_closure_and_other_functions_say_how() -> None:
    with pair() as both:
        rt = both.duet.torch
        weight = rt.nn.Parameter(torch.ones(2))
        optimizer = rt.optim.LBFGS([weight], lr=0.5)

        def loss_of() -> Any:
            optimizer.zero_grad()
            loss = (weight * weight).sum()
            loss.backward()
            return loss

        with pytest.raises(NotAllowed, match=r"@duet\.step"):
            optimizer.step(loss_of)
        with pytest.raises(NotAllowed, match="needs a closure"):
            optimizer.step()
        closure = both.duet.step(loss_of)
        losses = [optimizer.step(closure) for _ in range(3)]
        assert losses[0].shape == ()
        assert both.value(losses[0]).item() == 2
        assert both.value(losses[2]).item() < 1e-6
        assert sum(isinstance(c, RunClosure) for c in both.owner.commands) == 3
        assert sum(isinstance(c, DefinePlan) for c in both.owner.commands) == 1
        assert both.owner.failures == []


@pytest.mark.parametrize("kind", ["argument", "pair", "nothing", "outside"])
def test_a_step_that_is_no_closure_says_so(kind: str) -> None:
    with pair() as both:
        weight = both.duet.torch.nn.Parameter(torch.ones(2))
        optimizer = both.duet.torch.optim.SGD([weight], lr=0.5)
        results = {"pair": lambda x: (x.sum(), x.mean()), "nothing": lambda x: None}
        give = results.get(kind, lambda x: x)
        step = both.duet.step((lambda w: w.sum()) if kind == "argument" else lambda: give(weight))
        with pytest.raises(StepError, match="cannot be a closure"):
            optimizer.step(step)


def test_a_step_with_a_closure_cannot_be_part_of_a_step() -> None:
    with pair() as both:
        weight = both.duet.torch.nn.Parameter(torch.ones(2))
        optimizer = both.duet.torch.optim.SGD([weight], lr=0.5)
        inner = both.duet.step(lambda: weight.sum())
        outer = both.duet.step(lambda: optimizer.step(inner))
        with pytest.raises(StepError, match="outside"):
            outer()


def test_whether_a_step_moved_anything_shows_in_no_view_of_the_weights() -> None:
    told = []
    for tolerance in (1e-7, 1e9):  # the second makes no step: gradients are small, as is private
        engine = Regression(is_private=True, tolerance_grad=tolerance)
        view = engine.run("torch.split", engine.weight, 2, outs=2)[0]
        engine.step_with(engine.closure(), engine.optimizer)
        engine.run("torch.sum", view)
        told.append([(f.is_public, f.code) for f in engine.failures()])
    assert told == [[(True, "RuntimeError")]] * 2
