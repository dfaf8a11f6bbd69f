"""Label soundness: what is called public or metadata does not depend on private values.

Random programs run twice, on data sets that differ in values only, some of which break what they
meet. Whatever an engine tells without a decision, and whatever it labels as public or metadata, is
the same in both runs.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duet_p2p.engine import messages as m
from tests.security.random_programs import Program, data_sets
from tests.unit.engine_kit import Driver

FREE = ("public", "metadata")
numbers = st.lists(st.integers(0, 1 << 48), min_size=3, max_size=12)


class Seen(Driver):
    """An engine, and what it tells."""

    def __init__(self, data: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.refs = [self.share(value, tags=[name]) for name, value in data.items()]
        self.run("torch.manual_seed", 5, outs=0)

    def look(self, id: int) -> Any:
        slot = self.engine.store.find(id)
        return None if slot is None else slot.value

    def do(self, command: Any) -> list[Any]:
        """Runs a command; what leaves the engine's side for the scientist."""
        return [
            event for event in self.send(command)
            if not (isinstance(event, m.OpFailed) and not event.is_public)
        ]  # fmt: skip

    def verdict(self, id: int) -> tuple[Any, ...]:
        """What anybody may know of an object."""
        self.next_call += 1
        (candidate,) = self.engine.handle(m.Snapshot(self.next_call, id))
        facts = candidate.facts
        if facts is None:
            return ("unknown",)
        if facts.failed:
            return ("failed", facts.failed) if facts.failed_is_public else ("private",)
        if facts.kind not in FREE:
            return ("private",)
        (event,) = self.engine.handle(m.Release(self.next_call))
        if isinstance(event, m.Refused):
            return (facts.kind, facts.type)
        return (facts.kind, facts.type, repr(event.value), bytes(event.data or b""))


def check(steps: list[int]) -> None:
    """Runs one program on both data sets and compares what shows."""
    one, other = data_sets(Random(sum(steps)))
    first, second = Seen(one), Seen(other)
    program = Program([ref.id for ref in first.refs], first.look)
    done = []
    for number in steps:
        for command in program.step(number):
            done.append(command)
            assert first.do(command) == second.do(command), done
    for id in program.own:
        assert first.verdict(id) == second.verdict(id), (id, done)


@given(numbers)
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_free_is_the_same_whatever_the_values_are(steps: list[int]) -> None:
    check(steps)


@pytest.mark.slow
@given(numbers)
@pytest.mark.timeout(900)
@settings(
    max_examples=2_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_it_is_in_many_more_programs(steps: list[int]) -> None:
    check(steps)
