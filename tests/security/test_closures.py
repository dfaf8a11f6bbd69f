"""Attacks with closures: how often an optimizer runs one is an answer, and must not get out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.engine import messages as m
from duet_p2p.wire.messages import DefinePlan, PlanStep
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.plan_kit import Planner, step

ONE = TensorData("float32", (), bytes.fromhex("0000803f"))


class Attack(Planner):
    """A public weight, and a loss that is the secret: its value alone says when the steps end.

    Locals: optimizer 1, weight 2, secret 3, then `more`, then each command's result.
    """

    def __init__(self, secret: torch.Tensor, **settings: Any) -> None:
        super().__init__()
        self.secret = self.share(secret)
        self.weight = self.ok("torch.nn.Parameter", self.put(torch.ones(4)))
        settings = {"lr": 0.1, "max_iter": 4, **settings}
        self.optimizer = self.ok("torch.optim.LBFGS", [self.weight], **settings)

    def closure(self, *extra: PlanStep, more: tuple[Ref, ...] = ()) -> DefinePlan:
        """The weight's own gradients, the secret's sum as the loss, and `extra` before them."""
        first = 4 + len(more) + sum(len(s.outs) for s in extra)
        return self.define(
            *extra,
            step("torch.optim.Optimizer.zero_grad", 0, Ref(1)),
            step("torch.Tensor.square", first, Ref(2)),
            step("torch.Tensor.sum", first + 1, Ref(first)),
            step("torch.Tensor.backward", 0, Ref(first + 1)),
            step("torch.Tensor.sum", first + 2, Ref(3)),
            inputs=0,
            captures=(self.optimizer, self.weight, self.secret, *more),
            outputs=(first + 2,),
        )

    def attack(self, *extra: PlanStep, more: tuple[Ref, ...] = ()) -> Ref:
        return self.step_with(self.closure(*extra, more=more), self.optimizer)

    def is_labelled(self, ref: Ref) -> bool:
        facts = self.facts(ref)
        return facts.kind not in ("public", "metadata") and facts.sources == (-1,)

    def runs(self) -> int:
        state = self.value(self.optimizer).state_dict()["state"][0]
        return int(state["func_evals"])


SECRETS = [torch.full((40,), 3.0), torch.full((40,), float("nan"))]
"""With the second one nothing is ever below a tolerance, so the optimizer goes on longer."""


def test_a_secret_that_only_decides_how_often_a_closure_runs_labels_the_weights() -> None:
    runs = []
    for secret in SECRETS:
        engine = Attack(secret)
        loss = engine.attack()
        assert not engine.failures()
        runs.append(engine.runs())
        for ref in (loss, engine.weight, engine.ok("torch.Tensor.grad", engine.weight)):
            assert engine.is_labelled(ref)
        state = engine.ok("torch.optim.Optimizer.state_dict", engine.optimizer)
        assert engine.is_labelled(state)
        groups = engine.ok("torch.optim.Optimizer.param_groups", engine.optimizer)
        assert engine.is_labelled(groups)
    assert runs[0] != runs[1], "the attack is one"


def element(engine: Attack, holder: Ref, key: Any) -> Ref:
    found = engine.ok("python.Dict.__getitem__", holder, key)
    assert not any(isinstance(event, m.Learnt) and event.shape is not None for event in engine.last)
    return found


@pytest.mark.parametrize("is_loaded", [False, True])
def test_lengths_and_keys_of_the_state_do_not_count_the_runs(is_loaded: bool) -> None:
    """Its lists are as long as the optimizer went on."""
    engine = Attack(SECRETS[1])
    engine.attack()
    state = engine.ok("torch.optim.Optimizer.state_dict", engine.optimizer)
    if is_loaded:
        other = engine.ok("torch.optim.LBFGS", [engine.ok("torch.nn.Parameter", torch.ones(4))])
        engine.ok("torch.optim.Optimizer.load_state_dict", other, state, outs=0)
        state = engine.ok("torch.optim.Optimizer.state_dict", other)
    inner = element(engine, element(engine, state, "state"), 0)
    assert len(engine.value(inner)) > 5
    assert engine.is_labelled(engine.ok("python.Dict.__len__", inner))
    assert engine.is_labelled(element(engine, inner, "t"))
    directions = element(engine, inner, "old_dirs")
    assert len(engine.value(directions)) > 1
    assert engine.is_labelled(engine.ok("python.List.__len__", directions))
    engine.run("python.List.__getitem__", directions, 99)
    (failure,) = engine.failures()
    assert not failure.is_public


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "command",
    [
        step("torch.Tensor.add_", 5, Ref(4), ONE),
        step("torch.Tensor.__iadd__", 5, Ref(4), ONE),
        step("torch.Tensor.__setitem__", 0, Ref(4), 0, ONE),
        step("torch.nn.functional.relu", 5, Ref(4), inplace=True),
        step("torch.nn.functional.relu", 5, Ref(4), True),
        step("torch.nn.functional.relu", 5, Ref(4), inplace=Ref(3)),
        step("torch.nn.init.normal_", 5, Ref(4)),
    ],
    ids=lambda value: value.name if isinstance(value, PlanStep) else "",
)
def test_a_counter_in_a_tensor_is_labelled_however_often_it_counted(
    secret: torch.Tensor, command: PlanStep
) -> None:
    engine = Attack(secret)
    counter = engine.put(torch.zeros(2))
    view = engine.ok("torch.Tensor.view", counter, 2, 1)
    engine.attack(command, more=(counter,))
    assert engine.is_labelled(counter) and engine.is_labelled(view)


def test_gradients_of_another_leaf_are_labelled_also_behind_a_graph_from_outside() -> None:
    engine = Attack(SECRETS[0])
    leaf = engine.ok("torch.nn.Parameter", engine.put(torch.ones(3)))
    middle = engine.ok("torch.Tensor.mul", leaf, 2.0)
    engine.ok("torch.Tensor.retain_grad", middle, outs=1)
    engine.attack(
        step("torch.Tensor.sum", 5, Ref(4)),
        step("torch.Tensor.backward", 0, Ref(5), retain_graph=True),
        more=(middle,),
    )
    assert not engine.failures()
    for tensor in (leaf, middle):
        gradient = engine.ok("torch.Tensor.grad", tensor)
        assert engine.is_labelled(gradient)
        assert engine.value(gradient)[0] >= 2, "it counts the runs"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("is_leaf", [False, True])
def test_a_gradient_that_each_run_scales_is_labelled_whatever_holds_it(
    secret: torch.Tensor, is_leaf: bool
) -> None:
    engine = Attack(secret)
    holder = engine.ok("torch.nn.Parameter", engine.put(torch.ones(2)))
    if not is_leaf:
        holder = engine.ok("torch.Tensor.mul", holder, 1.0)
    engine.ok("torch.Tensor.grad=", holder, engine.put(torch.ones(2)), outs=0)
    engine.attack(
        step("torch.nn.utils.clip_grad_norm_", 5, Ref(4), 1e-6),  # half of it each time
        more=(holder,),
    )
    assert not engine.failures()
    assert engine.is_labelled(engine.ok("torch.Tensor.grad", holder))


@pytest.mark.parametrize("secret", SECRETS)
def test_the_random_state_does_not_count_the_runs_unlabelled(secret: torch.Tensor) -> None:
    for command in (
        step("torch.rand", 4, 2),
        step("torch.nn.functional.dropout", 4, Ref(2)),
        # draws, and no name says so
        step(
            "torch.nn.functional.scaled_dot_product_attention", 5, Ref(4), Ref(4), Ref(4), None, 0.5
        ),
    ):
        engine = Attack(secret)
        more = (engine.put(torch.ones(1, 2, 2)),) if command.outs == (5,) else ()
        engine.attack(command, more=more)
        assert not engine.failures()
        assert engine.is_labelled(engine.ok("torch.rand", 2))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("python.List.append", (Ref(4), 1)),
        ("python.next", (Ref(4),)),
        ("python.Iterator.__next__", (Ref(4),)),
        ("python.Dict.__setitem__", (Ref(4), 1, 1)),
        ("torch.Tensor.requires_grad_", (Ref(2),)),
        ("torch.Tensor.requires_grad=", (Ref(2), False)),
        ("torch.Tensor.retain_grad", (Ref(2),)),
        ("torch.Tensor.grad=", (Ref(2), Ref(3))),
        ("torch.Tensor.data=", (Ref(2), Ref(3))),
        ("torch.Tensor.unsqueeze_", (Ref(2), 0)),
        ("torch.Tensor.transpose_", (Ref(2), 0, 0)),
        ("torch.Tensor.detach_", (Ref(2),)),
        ("torch.manual_seed", (1,)),
        ("torch.optim.Optimizer.step", (Ref(1),)),
        ("torch.optim.Optimizer.param_groups", (Ref(1),)),
        ("torch.optim.Optimizer.add_param_group", (Ref(1), {"params": [Ref(3)]})),
        ("torch.optim.Optimizer.load_state_dict", (Ref(1), Ref(4))),
        ("torch.optim.SGD", ([Ref(2)],)),
        ("torch.optim.lr_scheduler.LRScheduler.step", (Ref(4),)),
        ("torch.nn.Parameter", (Ref(2),)),
        ("torch.utils.data.DataLoader", (Ref(4),)),
    ],
)
def test_what_lasts_in_another_way_is_refused_before_anything_runs(
    name: str, args: tuple[Any, ...]
) -> None:
    engine = Attack(SECRETS[0])
    own = engine.ok("python.List", [])
    plan = engine.closure(PlanStep(name, (), args, {}, "g"), more=(own,))
    assert not engine.failures()
    loss = engine.step_with(plan, engine.optimizer)
    (failure,) = engine.failures()
    assert failure.is_public and failure.code == "NotAllowed"
    assert "cannot be part of a closure" in failure.text
    assert engine.facts(loss).failed
    assert engine.facts(engine.weight).kind == "public"
    assert engine.value(engine.weight).tolist() == [1, 1, 1, 1] and engine.value(own) == []


def test_a_failure_after_the_first_run_is_no_public_fact() -> None:
    """An index out of range, once a tensor has counted to 2: public facts, but for the reason."""
    engine = Attack(SECRETS[1])
    counter = engine.put(torch.zeros((), dtype=torch.int64))
    engine.attack(
        step("torch.Tensor.add_", 5, Ref(4), 1),
        step("torch.Tensor.item", 6, Ref(5)),
        step("torch.ones", 7, 2),
        step("torch.Tensor.select", 8, Ref(7), 0, Ref(6)),
        more=(counter,),
    )
    assert engine.runs() > 1
    (failure,) = engine.failures()
    assert failure.op == "torch.Tensor.select" and not failure.is_public
    assert engine.is_labelled(engine.weight) and engine.is_labelled(counter)


def test_a_failure_in_the_first_run_ends_the_step_before_it_has_seen_anything() -> None:
    engine = Attack(SECRETS[0])
    loss = engine.attack(step("torch.Tensor.select", 4, Ref(2), 0, 9))
    (failure,) = engine.failures()
    assert failure.is_public and failure.op == "torch.Tensor.select"
    assert engine.facts(loss).failed
    assert engine.value(engine.weight).tolist() == [1, 1, 1, 1]


def test_an_owners_object_is_never_written_by_a_step() -> None:
    engine = Attack(SECRETS[0])
    groups = engine.ok("torch.optim.Optimizer.param_groups", engine.optimizer)
    group = engine.ok("python.List.__getitem__", groups, 0)
    listed = engine.ok("python.Dict.__getitem__", group, "params")
    engine.ok("python.List.append", listed, engine.secret, outs=1)
    engine.attack()
    (failure,) = engine.failures()
    assert failure.code == "NotAllowed" and "read-only" in failure.text
    assert torch.equal(engine.value(engine.secret), SECRETS[0])


def test_an_owners_object_keeps_its_own_label() -> None:
    engine = Attack(SECRETS[0])
    engine.attack(step("torch.rand", 4, 2))
    facts = engine.facts(engine.secret)
    assert facts.kind == "verbatim" and facts.sources == (-1,)


def test_a_private_setting_is_refused_in_silence() -> None:
    engine = Attack(torch.full((40,), 1e6))
    groups = engine.ok("torch.optim.Optimizer.param_groups", engine.optimizer)
    group = engine.ok("python.List.__getitem__", groups, 0)
    secret = engine.ok("torch.Tensor.item", engine.ok("torch.sum", engine.secret))
    many = engine.ok("python.Int", secret)
    engine.ok("python.Dict.__setitem__", group, "max_iter", many, outs=0)
    loss = engine.attack()
    assert engine.failures() and not any(failure.is_public for failure in engine.failures())
    assert engine.facts(loss).failed and engine.facts(loss).sources == (-1,)
