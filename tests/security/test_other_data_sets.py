"""Random programs show the same of two data sets that differ in more than numbers in tensors."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch

from duet_p2p.wire.messages import Op
from tests.security.neighbour_kit import T
from tests.security.other_data_sets import Holder, Pair, container_sets, hidden_sets
from tests.security.random_programs import Program
from tests.security.rare_programs import RareProgram
from tests.security.test_soundness import told

SEEDS = 120
SETS = {"containers": container_sets, "private shapes": hidden_sets}
Check = Callable[[Holder, Holder, Random], None]


def of_the_table(first: Holder, second: Holder, draw: Random) -> None:
    program = Program([ref.id for ref in first.refs], first.look)
    for _ in range(draw.randint(3, 12)):
        for command in program.step(draw.randrange(1 << 48)):
            assert first.do(command) == second.do(command), program.sent
    for id in program.own:
        assert first.verdict(id) == second.verdict(id), (id, program.sent)


def of_rare_names(first: Holder, second: Holder, draw: Random) -> None:
    program = RareProgram(first, draw)
    for command in program.sent:
        second.do(command)
    assert told(first) == told(second), program.sent
    for id in program.ids:
        assert first.verdict(id) == second.verdict(id), (id, program.sent)


def check(sets: Callable[[Random], Pair], programs: Check, seeds: range) -> None:
    with torch.random.fork_rng(()):
        for seed in seeds:
            draw = Random(seed)
            one, other = sets(draw)
            try:
                programs(Holder(one), Holder(other), draw)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("sets", SETS)
def test_programs_over_the_table_show_the_same(sets: str) -> None:
    check(SETS[sets], of_the_table, range(15))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("programs", [of_the_table, of_rare_names])
@pytest.mark.parametrize("sets", SETS)
def test_many_more_programs_do(sets: str, programs: Check) -> None:
    check(SETS[sets], programs, range(100, 100 + SEEDS))


def test_a_dict_of_an_owners_text_is_there_or_not() -> None:
    """What was to be put into it is one's own, and is marked in both."""
    made = []
    for text in ("", "12"):
        with torch.random.fork_rng(()):
            d = Holder({"s": container_sets(Random(1))[0]["s"]._replace(value=text)})
            own = d.run("torch.zeros", [3])
            box = d.run("python.collect", own)
            d.run("python.OrderedDict.setdefault", d.run("python.OrderedDict", d.refs[0]), 0, box)
            d.run(T + "numel", own)
            d.do(Op("python.List.append", (), (box, 1), {}, "g"))
            made.append([told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]])
    assert made[0] == made[1]
