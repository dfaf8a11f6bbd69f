"""What kernels trust is looked at first: each bound at its edge and one past it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.bounds import BOUNDS
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.table import TABLE

F = "torch.nn.functional."
B = torch.ones(3, 1)
LU, PIVOTS = torch.linalg.lu_factor(torch.eye(3) * 2)
LD, LDL_PIVOTS = torch.linalg.ldl_factor(torch.eye(3) * 2)
LOGITS = torch.randn(6, 2, 4).log_softmax(-1)  # steps, records, classes
POOLED, AT = torch.nn.functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
IMAGE = torch.rand(1, 1, 4, 4)
BAGS = torch.rand(5, 3)
SIX = torch.tensor([6, 6])


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own advice
        return CALLABLES[name](*args, **kwargs)


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values)


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[Any, ...], dict[str, Any]]] = [
    # name, arguments at the edge, arguments past it
    ("torch.linalg.lu_solve", (LU, PIVOTS, B), {}, (LU, PIVOTS + 1, B), {}),
    ("torch.linalg.lu_solve", (LU, PIVOTS, B), {}, (LU, PIVOTS - 1, B), {}),
    ("torch.lu_solve", (B, LU, PIVOTS), {}, (B, LU, PIVOTS + 1), {}),
    ("torch.lu_unpack", (LU, PIVOTS), {}, (LU, PIVOTS * 9), {}),
    ("torch.linalg.ldl_solve", (LD, LDL_PIVOTS, B), {},
     (LD, torch.tensor([1, 2, -3], dtype=torch.int32), B), {}),
    ("torch.linalg.ldl_solve", (LD, LDL_PIVOTS, B), {},
     (LD, torch.tensor([1, 2, 4], dtype=torch.int32), B), {}),
    (F + "ctc_loss", (LOGITS, ints(1, 3).repeat(2, 1), SIX, ints(2, 2)), {},
     (LOGITS, ints(1, 4).repeat(2, 1), SIX, ints(2, 2)), {}),
    (F + "ctc_loss", (LOGITS, ints(1, 3).repeat(2, 1), SIX, ints(2, 2)), {},
     (LOGITS, ints(1, 3).repeat(2, 1), SIX + 1, ints(2, 2)), {}),
    (F + "ctc_loss", (LOGITS, ints(1, 3).repeat(2, 1), SIX, ints(2, 2)), {},
     (LOGITS, ints(1, 3).repeat(2, 1), SIX, ints(2, 3)), {}),
    (F + "ctc_loss", (LOGITS, ints(1, 3, 1), SIX, ints(2, 1)), {},
     (LOGITS, ints(1, 3, 1), SIX, ints(2, 2)), {}),
    (F + "ctc_loss", (LOGITS, ints(1, 3, 1), SIX, ints(2, 1)), {"blank": 3},
     (LOGITS, ints(1, 3, 1), SIX, ints(2, 1)), {"blank": 4}),
    (F + "ctc_loss", (LOGITS, ints(1, 3, 1), SIX, ints(2, 1)), {},
     (LOGITS, ints(-1, 3, 1), SIX, ints(2, 1)), {}),
    (F + "embedding_bag", (ints(0, 4, 1), BAGS, ints(0, 3)), {},
     (ints(0, 5, 1), BAGS, ints(0, 3)), {}),
    (F + "embedding_bag", (ints(0, 4, 1), BAGS, ints(0, 3)), {},
     (ints(0, 4, 1), BAGS, ints(0, 4)), {}),
    (F + "embedding_bag", (ints(0, 4, 1), BAGS, ints(0, 1, 2)), {},
     (ints(0, 4, 1), BAGS, ints(0, 2, 1)), {}),
    (F + "embedding_bag", (ints(0, 4, 1), BAGS, ints(0, 1)), {},
     (ints(0, -1, 1), BAGS, ints(0, 1)), {}),
    ("torch.segment_reduce", (torch.ones(5), "sum"), {"lengths": ints(2, 3)},
     (torch.ones(5), "sum"), {"lengths": ints(2, 4)}),
    ("torch.segment_reduce", (torch.ones(5), "sum"), {"lengths": ints(2, 3)},
     (torch.ones(5), "sum"), {"lengths": ints(-1, 6)}),
    ("torch.segment_reduce", (torch.ones(5), "sum"), {"offsets": ints(0, 2, 5)},
     (torch.ones(5), "sum"), {"offsets": ints(0, 6, 5)}),
    (F + "max_unpool2d", (POOLED, AT, 2), {}, (POOLED, AT + 16, 2), {}),
    (F + "max_unpool2d", (POOLED, AT, 2), {}, (POOLED, AT - 16, 2), {}),
    (F + "fractional_max_pool2d", (IMAGE, 2, 2), {"_random_samples": torch.zeros(1, 1, 2)},
     (IMAGE, 2, 2), {"_random_samples": torch.ones(1, 1, 2)}),
    (F + "fractional_max_pool2d", (IMAGE, 2, 2), {"_random_samples": torch.zeros(1, 1, 2)},
     (IMAGE, 2, 2), {"_random_samples": torch.full((1, 1, 2), float("nan"))}),
    (F + "grid_sample", (IMAGE, torch.full((1, 2, 2, 2), 9e9)), {},
     (IMAGE, torch.full((1, 2, 2, 2), float("inf"))), {}),
    ("torch.grid_sampler_2d", (IMAGE, torch.zeros(1, 2, 2, 2), 2, 2, False), {},
     (IMAGE, torch.zeros(1, 2, 2, 2), 3, 2, False), {}),
    ("torch.embedding", (BAGS, ints(0, 4)), {}, (BAGS, ints(0, 5)), {}),
    ("torch.unravel_index", (ints(0, 5), (2, 3)), {}, (ints(0, 6), (2, 3)), {}),
    ("torch.searchsorted", (torch.ones(3), torch.ones(1)), {"sorter": ints(2, 1, 0)},
     (torch.ones(3), torch.ones(1)), {"sorter": ints(3, 1, 0)}),
    (F + "linear_cross_entropy", (torch.ones(2, 3), torch.ones(4, 3), ints(3, -100)), {},
     (torch.ones(2, 3), torch.ones(4, 3), ints(4, 0)), {}),
    ("torch.native_group_norm", (torch.ones(2, 4, 3), None, None, 2, 4, 3, 2, 1e-5), {},
     (torch.ones(2, 4, 3), None, None, 2, 4, 4, 2, 1e-5), {}),
    ("torch.native_batch_norm",
     (torch.ones(2, 4), torch.ones(4), None, None, None, True, 0.1, 1e-5), {},
     (torch.ones(2, 4), torch.ones(3), None, None, None, True, 0.1, 1e-5), {}),
    ("torch.repeat_interleave", (ints(1, 2),), {"output_size": 3},
     (ints(1, 2),), {"output_size": 2}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].rpartition(".")[2])
def test_the_edge_works_and_one_past_it_is_refused(case: Any) -> None:
    name, args, kwargs, worse_args, worse_kwargs = case
    run(name, *args, **kwargs)
    with pytest.raises((IndexError, ValueError)):
        run(name, *worse_args, **worse_kwargs)


def test_what_would_run_or_grow_without_end_is_refused() -> None:
    degree = limits.POLYNOMIAL_DEGREE
    x = torch.tensor([0.5])
    run("torch.special.hermite_polynomial_h", x, degree)
    run("torch.special.hermite_polynomial_h", x, torch.tensor([True]))
    for worse in (degree + 1, torch.tensor([degree + 1]), torch.tensor([float("nan")])):
        with pytest.raises(QuotaExceeded):
            run("torch.special.hermite_polynomial_h", x, worse)
    with pytest.raises(QuotaExceeded):
        run("torch.combinations", torch.ones(3), limits.COMBINED_VALUES + 1)
    with pytest.raises(QuotaExceeded):
        run("torch.combinations", torch.ones(10_000), 4)
    with pytest.raises(QuotaExceeded):
        run("torch.nonzero_static", torch.ones(3), size=10**12)
    with pytest.raises(QuotaExceeded):
        run("torch.histogramdd", torch.ones(2, 9), 1000)


def test_pivots_are_not_counted_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LDL_PIVOTS", 3)
    run("torch.linalg.ldl_solve", LD, LDL_PIVOTS, B)
    monkeypatch.setattr(limits, "LDL_PIVOTS", 2)
    with pytest.raises(QuotaExceeded):
        run("torch.linalg.ldl_solve", LD, LDL_PIVOTS, B)


def test_each_bound_belongs_to_a_name() -> None:
    used = {check for rule in TABLE.values() for check in rule.checks}
    assert BOUNDS.keys() <= used
