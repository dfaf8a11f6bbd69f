"""Nothing that is free anywhere in an engine depends on private values, named by an id or not."""

from __future__ import annotations

from random import Random

import pytest
import torch

from duet_p2p.engine.labels import PUBLIC
from duet_p2p.wire.messages import Op
from tests.security.heap_kit import heap, told_apart
from tests.security.optimizing_programs import OptimizingProgram
from tests.security.random_programs import data_sets
from tests.security.rare_programs import RareProgram
from tests.security.test_soundness import Seen


def check(seed: int, steps: int = 40) -> None:
    """One program over optimizers; both heaps are looked at after each step."""
    program = OptimizingProgram(Random(seed))
    for _ in range(steps):
        program.step()
        one, other = map(heap, program.engines)
        assert not told_apart(one, other), (seed, program.sent[-4:])


def check_rare(seed: int) -> None:
    """One of the rare programs, at its end."""
    draw = Random(seed)
    first, second = map(Seen, data_sets(draw))
    program = RareProgram(first, draw)
    for command in program.sent:
        second.do(command)
    for side in (first, second):
        side.next_id = len(program.ids)
    assert not told_apart(heap(first), heap(second)), seed


def test_what_optimizers_leave_anywhere() -> None:
    for seed in (0, 1, 9, 36, 46, 53):
        check(seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_many_programs_over_optimizers_leave_anywhere() -> None:
    for seed in range(100, 300):
        check(seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_rare_programs_leave_anywhere() -> None:
    with torch.random.fork_rng(()):
        for seed in range(120):
            check_rare(seed)


def test_something_free_that_differs_is_found() -> None:
    sides = [Seen({"x": torch.tensor([value])}) for value in (1.0, 2.0)]
    for side in sides:
        side.send(Op("python.Float", (1,), (side.refs[0],), {}, "g"))
        side.next_id = 1
        side.engine.store.get(1).label = PUBLIC
    assert told_apart(*map(heap, sides)) == ["<1>"]
