"""One message may take `run_seconds` as a whole, however short each of its commands is."""

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import (
    DATA,
    LIMITS,
    check_usable,
    handle_id,
    opened,
    pid,
    planned,
    step,
)

SIDE = 700  # of the squares: a product of two takes much less than a second
ENDLESS = {"max_iter": 10_000, "max_eval": 12_500, "tolerance_grad": 0, "tolerance_change": 0}


@pytest.fixture(scope="module")
def hurried():
    yield from opened(LIMITS | {"run_seconds": 3})


@pytest.fixture
def attack(hurried):
    hurried[1].answers.clear()
    yield hurried
    check_usable(*hurried)


def stepped(raw, factor, **settings):
    """One step of an LBFGS whose closure works a while; its loss falls for ever."""
    weight, square = raw.put(torch.ones(3, requires_grad=True)), raw.op("torch.ones", SIDE, SIDE)
    optimizer = raw.op("torch.optim.LBFGS", [weight], **settings)
    steps = [
        step("torch.optim.Optimizer.zero_grad", None, Ref(2)),
        step("torch.linalg.matrix_power", 5, Ref(3), 2**10),
        step("torch.mul", 6, Ref(1), Ref(4)),
        step("torch.sum", 7, Ref(6)),
        step("torch.Tensor.backward", None, Ref(7)),
    ]
    captures = (weight.id, optimizer.id, square.id, factor.id)
    plan, out = planned(raw, captures, steps, 7), raw.new_id()
    raw.send(wire.RunClosure(plan, optimizer.id, out))
    return Ref(out)


def run(raw, begin, *, times, powers=50):
    """A plan that begins with the sum of this tensor, and goes on with what is public."""
    own = raw.op("torch.ones", SIDE, SIDE)
    steps = [step("torch.sum", 3, Ref(1))]
    steps += [step("torch.linalg.matrix_power", 4 + n, Ref(2), 2**10) for n in range(powers)]
    plan, out = planned(raw, (begin.id, own.id), steps, 3), raw.new_id()
    raw.send(wire.RunPlan(plan, (), (out,), times))
    return Ref(out)


def ended_for_all_to_see(duet, raw, before):
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "restarted"
    assert not raw.told(wire.Suspended)
    assert pid(duet) != before
    assert "run_seconds" in duet.errors[-1].text


def suspended(duet, raw, handle):
    (told,) = raw.wait(lambda: raw.told(wire.Suspended))
    assert "seconds" not in told.reason
    raw.wait(lambda: not duet._service.revival.is_under_way)
    assert duet.status()["suspended"]
    assert "run_seconds" in duet.errors[-1].text
    assert torch.equal(handle.get(), DATA)


def test_an_honest_step_with_a_closure_and_an_honest_run_are_within_it(attack):
    _, raw, _ = attack
    loss = stepped(raw, raw.op("torch.ones", 3), max_iter=2)
    assert isinstance(raw.get(loss), wire.Value)
    assert isinstance(raw.get(run(raw, raw.op("torch.ones", 3), times=0, powers=3)), wire.Value)


@pytest.mark.slow
def test_a_step_whose_closure_runs_again_and_again_ends_with_its_engine(attack):
    duet, raw, _ = attack
    before = pid(duet)
    stepped(raw, raw.op("torch.ones", 3), **ENDLESS)
    ended_for_all_to_see(duet, raw, before)


@pytest.mark.slow
def test_on_private_data_it_suspends_the_session(attack):
    duet, raw, handle = attack
    data = raw.op("torch.Tensor.__getitem__", Ref(handle_id(duet)), slice(3))
    stepped(raw, data, **ENDLESS)
    suspended(duet, raw, handle)


@pytest.mark.slow
def test_a_run_of_many_commands_ends_with_its_engine(attack):
    duet, raw, _ = attack
    before = pid(duet)
    run(raw, raw.op("torch.ones", 3), times=1_000)
    ended_for_all_to_see(duet, raw, before)


@pytest.mark.slow
def test_what_was_private_before_in_it_counts_too(attack):
    """How much time was left for the public rest tells how long the private beginning took."""
    duet, raw, handle = attack
    run(raw, Ref(handle_id(duet)), times=1_000)
    suspended(duet, raw, handle)
