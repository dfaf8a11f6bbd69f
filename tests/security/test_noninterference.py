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

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire.values import Ref
from tests.security.random_programs import Program, data_sets
from tests.security.raw_peer import RawPeer, against

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
