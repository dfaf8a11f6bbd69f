"""Random programs over containers, optimizers and loaders show the same of two data sets."""

from __future__ import annotations

from random import Random

import pytest
import torch

from duet_p2p.wire.messages import Op, Put
from tests.security.random_programs import data_sets
from tests.security.rare_programs import RareProgram
from tests.security.test_soundness import Seen, told


def check(seed: int) -> None:
    """Runs one program on both data sets and compares what shows."""
    draw = Random(seed)
    one, other = data_sets(draw)
    first, second = Seen(one), Seen(other)
    program = RareProgram(first, draw)
    for command in program.sent:
        second.do(command)
    sent: list[Op | Put] = program.sent
    assert told(first) == told(second), (seed, sent)
    for id in program.ids:
        assert first.verdict(id) == second.verdict(id), (seed, id, sent)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_data_sets_show_the_same_in_programs_over_rare_names() -> None:
    with torch.random.fork_rng(()):
        for seed in range(SEEDS):
            check(seed)


@pytest.mark.slow
def test_what_a_schedule_is_fed_shows_nowhere() -> None:
    with torch.random.fork_rng(()):
        check(1101)


SEEDS = 120
