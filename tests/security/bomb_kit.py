"""An owner with tight limits under attack, and that all is as it was behind each bomb."""

from __future__ import annotations

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.messages import PlanStep
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import attacked

MIB = 1024 * 1024
LIMITS = {
    "command_seconds": 60,
    "memory_bytes": 1024 * MIB,
    "result_bytes": 256 * MIB,
    "stored_bytes": 300 * MIB,
    "objects": 7_000,
    "upload_bytes": MIB,
    "uploads_bytes": 4 * MIB,
    "open_requests": 8,
}
DATA = torch.arange(1.0, 1_001.0)


def opened(limits):
    duet, raw, bridge = attacked(limits)
    handle = duet.send(DATA, tags=["data"])
    yield duet, raw, handle
    duet.close()
    bridge.close()


def check_usable(duet, raw, handle):
    duet.resume()
    raw.forget_all()
    raw.answers.clear()
    assert duet.is_open
    assert torch.equal(handle.get(), DATA)
    sum_of_data = raw.op("torch.Tensor.sum", Ref(handle_id(duet)))
    assert raw.get(sum_of_data).state == "never"
    call = next(raw.calls)
    raw.send(wire.Request(call, sum_of_data.id, "sum", "", None))
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    answer = raw.answer(call)
    assert isinstance(answer, wire.Value)
    mine = raw.op("torch.ones", 3)
    assert isinstance(raw.get(mine), wire.Value)
    raw.forget_all()


def unharmed(attack):
    """Gives the partner; behind a test all is as it was, and in the engine that there was."""
    duet, raw, _ = attack
    raw.answers.clear()
    before = pid(duet)
    yield raw
    check_usable(*attack)
    assert pid(duet) == before


def step(name, out, *args):
    return PlanStep(name, () if out is None else (out,), args, {}, "g")


def planned(raw, captures, steps, output):
    plan = raw.new_id()
    raw.send(wire.DefinePlan(plan, "", 0, captures, tuple(steps), (output,), True))
    return plan


def handle_id(duet):
    return next(item.id for item in duet._service.catalog if item.id < 0)


def pid(duet):
    return duet.status()["engine"]["pid"]


def refused(raw, ref):
    answer = raw.get(ref)
    assert isinstance(answer, wire.Failed), answer
    return answer.code


def a_sample_without_end(raw, place):
    """Nothing that is proposed is ever taken: the numbers are too large to be told apart."""
    concentration = raw.op("torch.full", [3], 1e30)
    law = raw.op("torch.distributions.VonMises", place, concentration, validate_args=False)
    raw.op("torch.distributions.Distribution.sample", law, (50,))
