"""An engine whose memory is used up: one command fails, and what is deleted gives room again.

Memory is taken in pieces, first large ones and then ever smaller ones, so that what the engine does
around operations finds none either. Whatever is sent then, the engine is the same one afterwards.
"""

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import LIMITS, MIB, check_usable, handle_id, opened, pid
from tests.security.raw_peer import attacked

PIECES = (2_000_000, 200_000, 20_000, 2_000, 200)  # numbers of 4 bytes
MOST = 1_500  # of one size; then the heap has gaps for them


@pytest.fixture(scope="module")
def full_attack():
    yield from opened(LIMITS | {"memory_bytes": 320 * MIB, "objects": 900_000})


@pytest.fixture
def full(full_attack):
    duet, raw, handle = full_attack
    raw.answers.clear()
    before = pid(duet)
    yield duet, raw, filled(raw)
    assert pid(duet) == before
    assert not raw.told(wire.EngineRestarted) and not raw.told(wire.Suspended)
    check_usable(duet, raw, handle)
    assert pid(duet) == before


def filled(raw):
    kept = []
    for size in PIECES:
        for _ in range(0, MOST, 20):
            made = [raw.op("torch.ones", size) for _ in range(20)]
            raw.wait_for_end()
            failed = len(raw.told(wire.Fail))
            kept += made[: 20 - failed]
            assert not raw.told(wire.EngineRestarted)
            if failed:
                raw.answers.clear()
                break
    return kept


def plan_of(raw, *steps, inputs=1):
    plan, out = raw.new_id(), steps[-1].outs[0]
    raw.send(wire.DefinePlan(plan, "", inputs, (), steps, (out,), True))
    return plan


def step(number, name, *args):
    return wire.PlanStep(name, (number,), args, {}, "g")


def many_lists(raw, kept):
    outs = [raw.new_id() for _ in range(5_000)]
    raw.send(*[wire.Op("python.List", (out,), ([1.0] * 50,), {}, "g") for out in outs])


def uploads(raw, kept):
    for _ in range(100):
        raw.put(torch.ones(2_000))
        raw.put("x" * 30_000)


def requests(raw, kept):
    asked = [*kept[:10], *kept[-10:]]
    answers = [raw.ask(ref, "mine") for ref in asked] + [raw.get(ref) for ref in asked]
    assert len(answers) == 40


def notes(raw, kept):
    tags = tuple(f"tag {number}" for number in range(60))
    raw.send(*[wire.Note(ref.id, tags, "x" * 900, True) for ref in kept[:500]])


def plans(raw, kept):
    steps = [step(at + 1, "torch.Tensor.__add__", Ref(at), 1.0) for at in range(1, 301)]
    made = [plan_of(raw, *steps) for _ in range(60)]
    for _ in range(300):
        raw.send(wire.RunPlan(made[0], (kept[0].id,), (raw.new_id(),), 0))
    many = plan_of(raw, step(1, "torch.ones", 100), inputs=0)
    raw.send(wire.RunPlan(many, (), (raw.new_id(),), 20_000))


def unknown_names(raw, kept):
    outs = [raw.new_id() for _ in range(5_000)]
    raw.send(*[wire.Op("x" * 100, (out,), (1,), {}, "g") for out in outs])


def work_on_private_data(raw, kept):
    for _ in range(1_000):
        raw.op("torch.Tensor.__add__", Ref(-1), 1.0)


def backward(raw, kept):
    weight = raw.op("torch.ones", 100_000, requires_grad=True)
    raw.do("torch.Tensor.backward", raw.op("torch.sum", raw.op("torch.exp", weight)))
    raw.do("torch.optim.Optimizer.step", raw.op("torch.optim.Adam", [weight], 0.1))


SENT = (many_lists, uploads, requests, notes, plans, unknown_names, work_on_private_data, backward)


@pytest.mark.slow
@pytest.mark.parametrize("send", SENT, ids=lambda send: send.__name__)
def test_whatever_is_sent_to_a_full_engine_leaves_it_alive(full, send):
    """It ended of the first answer that it had no memory to write."""
    _, raw, kept = full
    send(raw, kept)
    raw.wait_for_end()


def test_a_full_engine_has_room_again_when_something_is_deleted(full):
    _, raw, kept = full
    assert raw.get(raw.op("torch.ones", 1_000_000)).code in ("RuntimeError", "MemoryError")
    raw.send(wire.Del(tuple(ref.id for ref in kept)))
    out = raw.op("torch.ones", 1_000_000)
    raw.answers.clear()
    assert not raw.told(wire.Fail)
    assert raw.ask(raw.op("torch.Tensor.sum", out)) == "Value"


@pytest.mark.slow
def test_an_engine_that_is_full_of_private_sizes_ends_only_with_the_owners_word():
    """That it had no room tells how large they are, so it suspends the session."""
    duet, raw, bridge = attacked(LIMITS | {"memory_bytes": 320 * MIB, "objects": 900_000})
    handle = duet.send(torch.arange(1.0, 1_001.0), tags=["data"])
    raw.op("torch.Tensor.nonzero", Ref(handle_id(duet)))
    for size in PIECES:
        for _ in range(0, MOST, 20):
            made = [raw.op("torch.ones", size) for _ in range(20)]
            raw.wait_for_end()
            if raw.told(wire.Suspended) or isinstance(raw.get(made[-1]), wire.NotYours):
                break
    many_lists(raw, ())
    raw.wait_for_end()
    assert not raw.told(wire.Fail) and not raw.told(wire.EngineRestarted)
    check_usable(duet, raw, handle)
    duet.close()
    bridge.close()
