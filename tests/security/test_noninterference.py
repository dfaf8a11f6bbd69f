"""What crosses the wire before a release is the same, whatever the owner's values are.

Random programs, through the owner's real session, on two data sets that differ in values only and
break different commands. Then everything is asked for in the ways that need no decision. All
numbered messages, byte for byte, must be equal; counters and times are in the others.
"""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duet_p2p.engine.host import ThreadHost
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.random_programs import Program, data_sets
from tests.security.raw_peer import RawPeer, against, attacked

X = Ref(-1)
numbers = st.lists(st.integers(0, 1 << 48), min_size=3, max_size=10)


def share(duet: OwnerDuet, raw: RawPeer, data: dict[str, torch.Tensor]) -> list[int]:
    for name, value in data.items():
        duet.send(value, tags=[name])
    raw.do("torch.manual_seed", 5)
    return [-n for n in range(1, len(data) + 1)]


def run(duet: OwnerDuet, raw: RawPeer, data: dict[str, torch.Tensor], steps: list[int]) -> Program:
    """One program; drawn from the first engine's own objects."""
    engine = duet._service._host._running.engine  # type: ignore[attr-defined]

    def look(id: int) -> object:
        slot = engine.store.find(id)
        return None if slot is None else slot.value

    program = Program(share(duet, raw, data), look)
    for number in steps:
        raw.send(*program.step(number))
        raw.wait_for_end()  # so that the next step knows what there is
    return program


def ask(raw: RawPeer, ids: list[int]) -> None:
    for id in ids:  # one by one: answers that need the engine may overtake each other
        raw.get(Ref(id))
        raw.ask(Ref(id), "loss")
    raw.wait_for_end()


def told(raw: RawPeer) -> list[bytes]:
    """Without the store's first message, which has the engine's random epoch in it."""
    return raw.told_bytes()[1:]


def check(steps: list[int]) -> None:
    one, other = data_sets(Random(sum(steps)))
    with against() as (duet, first):
        program = run(duet, first, one, steps)
        ask(first, program.own)
        seen = told(first)
    with against() as (duet, second):
        share(duet, second, other)
        for commands in program.sent:
            second.send(*commands)
            second.wait_for_end()
        ask(second, program.own)
        assert told(second) == seen, program.sent


@pytest.mark.brief
@given(numbers)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_two_data_sets_look_the_same_on_the_wire(steps: list[int]) -> None:
    check(steps)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(numbers)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_they_do_in_more_programs(steps: list[int]) -> None:
    check(steps)


CHOSEN = {
    "masked_select": lambda raw, mask: raw.op("torch.masked_select", X, mask),
    "getitem": lambda raw, mask: raw.op("torch.Tensor.__getitem__", X, mask),
    "nonzero": lambda raw, mask: raw.op("torch.nonzero", mask),
    "arithmetic": lambda raw, mask: raw.op(
        "torch.Tensor.mul", raw.op("torch.Tensor.__getitem__", X, mask), 2.0
    ),
    "places of places": lambda raw, mask: raw.op(
        "torch.nonzero", raw.op("torch.squeeze", raw.op("torch.nonzero", mask))
    ),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_quota_of_bytes_ends_at_the_same_command_whatever_was_chosen(name: str) -> None:
    seen = []
    for few in (torch.zeros(1000), torch.arange(1000.0) == 0, torch.ones(1000)):
        duet, raw, bridge = attacked({"stored_bytes": 1_000_000}, ThreadHost())
        try:
            duet.send(few.float(), tags=["x"])
            mask = raw.op("torch.Tensor.__gt__", X, 0.5)
            for _ in range(300):
                CHOSEN[name](raw, mask)
            raw.wait_for_end()
            assert {fail.code for fail in raw.told(wire.Fail)} == {"QuotaExceeded"}
            seen.append(told(raw))
        finally:
            duet.close()
            bridge.close()
    assert seen[0] == seen[1] == seen[2]
