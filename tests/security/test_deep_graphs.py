"""Graphs of very many operations: made, gone through, and given back by the same engine.

Since torch 2.14 a node that Python has looked at is deleted by recursion; the engine died of it
when its partner let go of the result.
"""

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import LIMITS, MIB, check_usable, opened, pid

STEPS = 16_000  # of one plan
PART = 250
LONG_S = 240.0  # a million operations take a minute, and with other tests beside them more


@pytest.fixture(scope="module")
def wide_attack():
    limits = {"memory_bytes": 3_072 * MIB, "commands_per_second": 10**9, "command_seconds": 120}
    yield from opened(LIMITS | limits)


@pytest.fixture
def wide(wide_attack):
    duet, raw, handle = wide_attack
    raw.answers.clear()
    before = pid(duet)
    yield raw, handle
    assert not raw.told(wire.EngineRestarted) and not raw.told(wire.Suspended)
    check_usable(duet, raw, handle)
    assert pid(duet) == before


def adding(raw):
    """A plan that adds 1 to its input so many times, one after the other."""
    plan = raw.new_id()
    for at in range(0, STEPS, PART):
        steps = tuple(
            wire.PlanStep("torch.Tensor.__add__", (number + 1,), (Ref(number), 1.0), {}, "g")
            for number in range(at + 1, at + PART + 1)
        )
        end = (1, (STEPS + 1,), True) if at + PART == STEPS else (0, (), False)
        raw.send(wire.DefinePlan(plan, "", end[0], (), steps, *end[1:]))
    return plan


def grown(raw, first, runs):
    """What lies so many runs of the plan above a tensor; nothing between is kept."""
    plan, top = adding(raw), first
    for _ in range(runs):
        out = raw.new_id()
        raw.send(wire.RunPlan(plan, (top.id,), (out,), 0), wire.Del((top.id,)))
        top = Ref(out)
    raw.wait_for_end(LONG_S)
    return top


def weight(raw):
    return raw.op("torch.mul", raw.put(torch.ones(1, requires_grad=True)), 2.0)


def let_go(raw, top):
    raw.send(wire.Del((top.id,)))
    raw.wait_for_end()


@pytest.mark.slow
def test_a_graph_that_was_gone_through_is_given_back(wide):
    raw, _ = wide
    top = grown(raw, weight(raw), 4)
    raw.do("torch.Tensor.backward", top)
    let_go(raw, top)


@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_S)
def test_a_million_operations_deep(wide):
    raw, _ = wide
    top = grown(raw, weight(raw), 63)
    raw.do("torch.Tensor.backward", top)
    assert raw.value(raw.get(top)).item() == 63 * STEPS + 2.0
    let_go(raw, top)


@pytest.mark.slow
def test_as_deep_over_private_data_with_its_account(wide):
    raw, _ = wide
    private = raw.op("torch.Tensor.sum", raw.op("torch.mul", Ref(-1), weight(raw)))
    top = grown(raw, private, 20)
    raw.do("torch.Tensor.backward", top)
    assert raw.ask(top, "deep") == "Expired"  # with its recipe, and what trained on it
    let_go(raw, top)


@pytest.mark.slow
def test_written_in_place_as_often(wide):
    raw, _ = wide
    written = weight(raw)
    for _ in range(15):
        ops = [wire.Op("torch.Tensor.add_", (raw.new_id(),), (written, 1.0), {}, "g")] * 1
        ops += [wire.Op("torch.Tensor.add_", (), (written, 1.0), {}, "g") for _ in range(3_999)]
        raw.send(*ops)
        raw.wait_for_end()
    raw.do("torch.Tensor.backward", raw.op("torch.Tensor.sum", written))
    raw.wait_for_end()


@pytest.mark.slow
def test_views_as_complex_and_as_real_in_turn_end_at_the_memory_or_are_carried(wide):
    """Torch keeps with each of them how every one below it is made: quadratic in their number."""
    raw, _ = wide
    top = raw.op("torch.mul", raw.put(torch.ones(4, 2, requires_grad=True)), 2.0)
    for at in range(0, 10_000, 2):
        for name in ("torch.view_as_complex", "torch.view_as_real"):
            out = raw.op(name, top)
            raw.send(wire.Del((top.id,)))
            top = out
        if at % 500 == 0:
            raw.wait_for_end()
    raw.do("torch.Tensor.backward", raw.op("torch.Tensor.sum", top))
    raw.wait_for_end()
