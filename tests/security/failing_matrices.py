"""Programs on a matrix that is singular in one of two data sets, or has no numbers."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import L, M, N, Programs, weights
from tests.security.neighbour_kit import T

PROGRAMS = Programs()
program = PROGRAMS.program


def _of_matrix(name: str, *more: Any, outs: int = 1) -> None:
    def of_matrix(p: Any) -> list[Ref]:
        given = [m(p) if callable(m) else m for m in more]
        return p.ops(L + name, outs, M, *given)

    PROGRAMS[f"of_a_singular_matrix_{name}_{len(more)}_{outs}"] = of_matrix


def _column(p: Any) -> Ref:
    return p.put(torch.ones(3, 1, requires_grad=True))


_of_matrix("inv")
_of_matrix("cholesky")
_of_matrix("solve", _column)
_of_matrix("tensorsolve", lambda p: p.put(torch.ones(3)))
_of_matrix("matrix_power", -2)
_of_matrix("lu_factor", outs=2)
_of_matrix("lu_factor")
_of_matrix("ldl_factor", outs=2)
_of_matrix("inv_ex", outs=2)
_of_matrix("slogdet", outs=2)
_of_matrix("eigh", outs=2)
_of_matrix("svd", outs=3)
_of_matrix("lstsq", _column, outs=4)
_of_matrix("matrix_rank")
_of_matrix("pinv")


@program
def an_inverse_written_over_through_its_views(p: Any) -> list[Ref]:
    """It lies by columns, and what stood in for it did not: only that one was all written over."""
    made = []
    for name, *more in (("reshape", [-1]), ("t",), ("contiguous",), ("flatten",), ("detach",)):
        inverse = p.op(L + "inv", M)
        view = p.op(T + name, inverse, *more)
        p.do(T + "zero_", view)
        made += [inverse, view]
    return made


@program
def an_inverse_into_an_own_tensor(p: Any) -> list[Ref]:
    right, wrong = p.put(torch.zeros(3, 3)), p.put(torch.zeros(0))
    return [p.op(L + "inv", M, out=right), right, p.op(L + "inv", M, out=wrong), wrong]


@program
def a_solution_with_a_graph(p: Any) -> list[Ref]:
    right, left = weights(p, 3, 1), weights(p, 3, 3)
    solved = p.op(L + "solve", M, right)
    p.do(T + "backward", p.op("torch.sum", solved))
    p.do(T + "backward", p.op("torch.sum", p.op(L + "inv", p.op("torch.mul", left, M))))
    return [solved, p.op(T + "grad", right), p.op(T + "grad", left)]


@program
def a_gradient_behind_a_failure_zeroed(p: Any) -> list[Ref]:
    made = []
    for shape in ((3, 1), (3, 3)):
        right = weights(p, *shape)
        p.do(T + "backward", p.op("torch.sum", p.op(L + "solve", M, right)))
        grad = p.op(T + "grad", right)
        p.do(T + "zero_", grad)
        made += [grad, p.op("torch.sum", grad)]
    return made


@program
def no_numbers_decomposed(p: Any) -> list[Ref]:
    square = p.op(T + "reshape", N, [2, 2])
    return [
        *p.ops(L + "eigh", 2, square),
        *p.ops(L + "svd", 3, square),
        p.op(L + "svdvals", square),
        *p.ops(L + "eig", 2, square),
        p.op(L + "cond", square),
    ]


@program
def a_cholesky_in_steps(p: Any) -> list[Ref]:
    factor = p.op(L + "cholesky", M)
    return [
        factor,
        p.op("torch.cholesky_inverse", factor),
        p.op("torch.cholesky_solve", p.put(torch.ones(3, 1)), factor),
    ]
