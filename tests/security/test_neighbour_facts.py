"""More facts of what each program made for two data sets gave, and more ways to look at it.

`Side.shown` asks for a few facts of each result. Here are those that say how a tensor lies in
memory and whose it is, and the containers that take anything. They show the same of both data sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import Program, Side, difference
from tests.security.neighbour_kit import T
from tests.security.test_known_again import ALL as PROGRAMS
from tests.security.test_known_again import both_sides
from tests.security.test_neighbour_failures import SLOW
from tests.security.test_soundness import shown

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TENSORS = (
    "is_contiguous", "stride", "is_conj", "is_neg", "output_nr", "is_complex", "T", "is_inference",
    "numel", "ndim", "imag", "resolve_conj", "data", "is_nonzero",
)  # fmt: skip
FACTS = [
    *[T + name for name in TENSORS], "python.List", "python.Tuple", "python.String", "python.Bool",
    "torch.zeros_like", "torch.zeros",
]  # fmt: skip
PAIRS = (T + "is_set_to", T + "is_same_size", "torch.equal", T + "to", T + "type_as", "torch.full")


def looked_at(side: Side, made: Program) -> list[Any]:
    """All that can be told of a program's results."""
    executor = side.engine._executor
    assert executor is not None
    executor.admission.pacing.most = 1_000_000  # a minute may end within a program
    refs = made(side)
    for ref in refs:
        for name in FACTS:
            fact = side.op(name, ref)
            side.get(fact)
        side.get(side.op("python.len", side.op("python.List", ref)))
        side.get(side.op("python.len", side.op("python.iter", ref)))
        for other in refs[:2]:
            for name in PAIRS:
                side.get(side.op(name, ref, other))
        number = side.op("torch.mul", _small(side), ref)
        side.get(side.op(T + "dtype", number))
    side.get(side.op("torch.rand", 1))
    return [shown(side.events), *side.told]


def _small(side: Side) -> Ref:
    return side.put(torch.ones(2, dtype=torch.int8))


ALL = [name for name in PROGRAMS if name not in SLOW]


@pytest.mark.parametrize("name", ALL)
def test_no_fact_of_a_result_shows_which_data_set_it_is(name: str, tmp_path: Path) -> None:
    told = []
    with torch.random.fork_rng(()):
        for side in both_sides(name, tmp_path):
            torch.manual_seed(1)  # for what a program uploads
            told.append(looked_at(side, PROGRAMS[name]))
    assert not difference(*told)
