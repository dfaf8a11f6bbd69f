"""Closures, plans and lists made to take for ever, by settings or by what lies in what."""

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import LIMITS, opened, planned, refused, step, unharmed

NESTED = 1_500


@pytest.fixture(scope="module")
def attack():
    yield from opened(LIMITS)


@pytest.fixture
def raw(attack):
    yield from unharmed(attack)


def stepped(raw, *more, **settings):
    """One step of an LBFGS with a closure that has more commands at its end."""
    weight = raw.put(torch.ones(3, requires_grad=True))
    optimizer = raw.op("torch.optim.LBFGS", [weight], **settings)
    steps = [
        step("torch.optim.Optimizer.zero_grad", None, Ref(2)),
        step("torch.sin", 3, Ref(1)),
        step("torch.sum", 4, Ref(3)),
        step("torch.Tensor.backward", None, Ref(4)),
        *more,
    ]
    plan, out = planned(raw, (weight.id, optimizer.id), steps, 4), raw.new_id()
    raw.send(wire.RunClosure(plan, optimizer.id, out))
    return Ref(out)


ENDLESS = {
    "iterations": {"max_iter": 10**9},
    "iterations beyond any integer of a machine": {"max_iter": 2**70},
    "evaluations": {"max_iter": 100, "max_eval": 10**9},
    "directions that are kept": {"max_iter": 100, "history_size": 10**9},
    "a number that is none": {"max_iter": 1e9},
}


@pytest.mark.parametrize("bomb", ENDLESS)
def test_an_lbfgs_that_would_not_end_is_refused_before_it_begins(raw, bomb):
    assert refused(raw, stepped(raw, **ENDLESS[bomb])) in ("QuotaExceeded", "TypeError")


def test_what_is_refused_is_the_setting_and_not_the_closure(raw):
    assert isinstance(raw.get(stepped(raw, max_iter=20)), wire.Value)


def test_settings_that_are_changed_afterwards_are_looked_at_too(raw):
    weight = raw.put(torch.ones(3, requires_grad=True))
    optimizer = raw.op("torch.optim.LBFGS", [weight])
    state = raw.op("torch.optim.Optimizer.state_dict", optimizer)
    groups = raw.op("python.Dict.__getitem__", state, "param_groups")
    group = raw.op("python.List.__getitem__", groups, 0)
    raw.do("python.Dict.__setitem__", group, "max_iter", 10**9)
    raw.do("torch.optim.Optimizer.load_state_dict", optimizer, state)
    steps = [step("torch.sum", 3, Ref(1)), step("torch.Tensor.backward", None, Ref(3))]
    plan, out = planned(raw, (weight.id, optimizer.id), steps, 3), raw.new_id()
    raw.send(wire.RunClosure(plan, optimizer.id, out))
    assert refused(raw, Ref(out)) in ("QuotaExceeded", "TypeError")


def test_a_closure_makes_no_step_of_an_optimizer(raw):
    """Its own would call it again, and another one's has a closure of its own."""
    inner = step("torch.optim.Optimizer.step", None, Ref(2))
    assert refused(raw, stepped(raw, inner)) == "NotAllowed"


@pytest.mark.parametrize("name", ["RunPlan", "RunClosure", "DefinePlan", "python.RunPlan"])
def test_no_command_of_a_plan_runs_a_plan(raw, name):
    plan, out = planned(raw, (), [step(name, 1, 1)], 1), raw.new_id()
    raw.send(wire.RunPlan(plan, (), (out,), 0))
    assert refused(raw, Ref(out)) == "PointerDeleted"  # it was never defined
    assert raw.told(wire.Fail)[0].op == "DefinePlan"


def test_runs_of_no_plan_leave_no_objects_without_end(raw):
    """Each was refused, and left a failure under each of its ids, whatever the quota was."""
    for _ in range(10):
        outs = tuple(raw.new_id() for _ in range(4_000))
        raw.send(wire.RunPlan(1_000_000, (), outs, 0))
    raw.wait_for_end()
    last = raw.get(Ref(outs[-1]))
    assert isinstance(last, wire.NotYours) and last.state == "unknown"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python.collect", "python.List.append"])
def test_lists_in_lists_are_walked_through_and_given_back(raw, name):
    inner = raw.op("torch.Tensor.mul", Ref(-1), 2.0)
    for _ in range(NESTED):
        if name == "python.collect":
            inner = raw.op(name, inner)
        else:
            outer = raw.op("python.List")
            raw.do(name, outer, inner)
            inner = outer
    raw.wait_for_end()
    assert raw.ask(inner) in ("Denied", "Expired")


@pytest.mark.slow
def test_one_private_value_in_a_list_very_often(raw):
    value, held = raw.op("torch.Tensor.mul", Ref(-1), 2.0), raw.op("python.List")
    for _ in range(3_000):
        raw.do("python.List.append", held, value)
    raw.wait_for_end()
    assert raw.ask(held) in ("Denied", "Expired")
