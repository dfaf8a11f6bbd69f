"""Products and linear algebra on the record axis.

A product that contracts the records of both sides is a sum over them. Decompositions of a matrix
per record work on the last two axes and leave those before alone. Of one matrix whose rows are the
records only what follows from such sums is known: its pseudoinverse and its singular values, as
long as there are more records than features. Which sign a decomposition gives a vector hangs on the
order of the records, so `svd` and `qr` of the records themselves are closed: take those of a
covariance.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import (
    REDUCED,
    Call,
    Rule,
    dims_of,
    first_rows,
    met,
    others_have_none,
    over_features,
    sum_rule,
)

__all__ = ["RULES"]

_POWERS: Final = (1, 2, 1.0, 2.0, "fro", None)


def matmul(call: Call) -> int | None:
    """``x @ W`` contracts features; contracting the records of both sides is a sum over them."""
    if len(call.args) != 2 or call.kwargs:
        return None
    left, right = call.args
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    if call.short == "rmatmul":
        left, right = right, left
    return _product(call, left, right)


def _product(call: Call, left: torch.Tensor, right: torch.Tensor) -> int | None:
    of_left, of_right = call.rows(left), call.rows(right)
    if left.ndim < 1 or right.ndim < 1:
        return None
    if of_left and of_right and left.ndim <= 2 and right.ndim <= 2:
        is_sum = of_left.axis == left.ndim - 1 and of_right.axis == 0
        return REDUCED if is_sum else None
    ndim = max(left.ndim, right.ndim)
    if left.ndim <= 2 and right.ndim <= 2:
        if of_left:
            return of_left.axis if of_left.axis < left.ndim - 1 else None
        return left.ndim - 1 if of_right and of_right.axis == 1 else None
    # Axes before the last two are a batch, laid along each other from the right.
    found: int | None = None
    for tensor, rows in ((left, of_left), (right, of_right)):
        if rows is None:
            continue
        place = rows.axis + ndim - tensor.ndim
        if tensor.ndim < 2 or found not in (None, place):
            return None
        found = place
    if found is None:
        return None
    if found < ndim - 2:
        for tensor, rows in ((left, of_left), (right, of_right)):
            at = found - (ndim - tensor.ndim)
            if rows is None and at < tensor.ndim - 2 and not met(call, tensor, at):
                return None
        return found
    # records are the rows of each matrix on the left: ``x[None] @ stack_of_weights``
    is_kept = of_left is not None and of_right is None and found == ndim - 2 and right.ndim > 1
    return found if is_kept else None


def chain(call: Call) -> int | None:
    """``multi_dot([x, V, W])``: matrices one after another, however torch groups them.

    The records are rows of the first or columns of the last, and stay; or two neighbours contract
    them, and then all others are factors of a sum over the records.
    """
    parts = call.get("tensors", 0) if call.short == "linalg_multi_dot" else list(call.args)
    if not isinstance(parts, list | tuple) or len(parts) < 2 or len(call.tensors()) != len(parts):
        return None
    if not all(isinstance(part, torch.Tensor) and 1 <= part.ndim <= 2 for part in parts):
        return None
    found = [(at, rows.axis) for at, part in enumerate(parts) if (rows := call.rows(part))]
    last, results = len(parts) - 1, call.results()
    if len(results) != 1:
        return None
    if len(found) == 2:
        (left, of_left), (right, of_right) = found
        is_sum = right == left + 1 and of_left == parts[left].ndim - 1 and of_right == 0
        return REDUCED if is_sum else None
    if found == [(0, 0)]:
        return 0 if parts[0].ndim == 2 else None
    return results[0].ndim - 1 if found == [(last, 1)] else None


def added(call: Call) -> int | None:
    """``addmm(b, x, W)`` and ``addmv(b, x, w)``: a product, and what is laid along it."""
    bias, left, right = (call.get(name, at) for at, name in enumerate(_ADDED[call.short]))
    if not all(isinstance(t, torch.Tensor) for t in (bias, left, right)):
        return None
    if len(call.tensors()) != 3 or left.ndim != 2 or right.ndim > 2:
        return None
    ndim, rows, found = right.ndim, call.rows(bias), _product(call, left, right)
    if found is None or bias.ndim > ndim:
        return None
    if found == REDUCED:
        return REDUCED if rows is None else None
    at = found - (ndim - bias.ndim)
    if rows is not None:
        return found if rows.axis == at else None
    return found if met(call, bias, at) else None


_ADDED: Final = {"addmm": ("input", "mat1", "mat2"), "addmv": ("input", "mat", "vec")}


def addbmm(call: Call) -> int | None:
    """``addbmm(b, x, y)``: a sum over the products of all records."""
    bias, left, right = (call.get(n, at) for at, n in enumerate(("input", "batch1", "batch2")))
    if not all(isinstance(t, torch.Tensor) for t in (bias, left, right)):
        return None
    if len(call.tensors()) != 3 or call.rows(bias) is not None:
        return None
    sides = [call.rows(left), call.rows(right)]
    if all(rows is None for rows in sides):
        return None
    for tensor, rows in zip((left, right), sides, strict=True):
        if tensor.ndim != 3 or (rows is not None and rows.axis != 0):
            return None
        if rows is None and (tensor.shape[0] == 1 or not met(call, tensor, 0)):
            return None
    return REDUCED


def baddbmm(call: Call) -> int | None:
    """``baddbmm(bias, x, y)``: a product per record, and a bias laid along it."""
    if len(call.args) < 3:
        return None
    bias, left, right = call.args[:3]
    if not all(isinstance(t, torch.Tensor) for t in (bias, left, right)):
        return None
    found = _product(call, left, right)
    if found != 0 or left.ndim != 3 or right.ndim != 3 or bias.ndim > 3:
        return None
    rows = call.rows(bias)
    at = bias.ndim - 3
    if rows is not None:
        return 0 if rows.axis == at else None
    return 0 if met(call, bias, at) else None


def outer(call: Call) -> int | None:
    """``outer(x, w)``: a row, or a column, for each record."""
    left, right = call.get("input", 0), call.get("vec2", 1)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    if call.rows(left) is not None:
        return 0 if call.rows(right) is None else None
    return 1 if call.rows(right) is not None else None


def kron(call: Call) -> int | None:
    """``kron(x, w)`` where `w` has one number along the records; axes are paired from the right."""
    left, right = call.get("input", 0), call.get("other", 1)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    for tensor, other in ((left, right), (right, left)):
        rows = call.rows(tensor)
        if rows is None or call.rows(other) is not None:
            continue
        from_right = rows.axis - tensor.ndim
        at = other.ndim + from_right
        is_one = at < 0 or other.shape[at] == 1
        return max(left.ndim, right.ndim) + from_right if is_one else None
    return None


def inner(call: Call) -> int | None:
    """Over the last axes: a sum over the records if those are theirs."""
    left, right = call.get("input", 0), call.get("other", 1)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    of_left, of_right = call.rows(left), call.rows(right)
    if not left.ndim or not right.ndim:
        return None
    if of_left and of_right:
        is_sum = of_left.axis == left.ndim - 1 and of_right.axis == right.ndim - 1
        return REDUCED if is_sum else None
    if of_left:
        return of_left.axis if of_left.axis < left.ndim - 1 else None
    if of_right and of_right.axis < right.ndim - 1:
        return left.ndim - 1 + of_right.axis
    return None


def tensordot(call: Call) -> int | None:
    """Over named axes of both sides: a sum over the records if theirs are a pair of these."""
    left, right, dims = call.get("a", 0), call.get("b", 1), call.get("dims", 2, 2)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    if type(dims) is int:
        if not 0 <= dims <= min(left.ndim, right.ndim):
            return None
        ours: Any = tuple(range(left.ndim - dims, left.ndim))
        theirs: Any = tuple(range(dims))
    elif isinstance(dims, list | tuple) and len(dims) == 2:
        ours, theirs = dims_of(dims[0], left.ndim), dims_of(dims[1], right.ndim)
    else:
        return None
    if ours is None or theirs is None or len(ours) != len(theirs):
        return None
    of_left, of_right = call.rows(left), call.rows(right)
    if of_left and of_right:
        is_sum = (of_left.axis, of_right.axis) in zip(ours, theirs, strict=True)
        return REDUCED if is_sum else None
    if of_left:
        kept = [axis for axis in range(left.ndim) if axis not in ours]
        return kept.index(of_left.axis) if of_left.axis in kept else None
    if of_right:
        kept = [axis for axis in range(right.ndim) if axis not in theirs]
        if of_right.axis in kept:
            return left.ndim - len(ours) + kept.index(of_right.axis)
    return None


def dist(call: Call) -> int | None:
    """``dist(x, y)``: the norm of their difference over all records."""
    left, right = call.get("input", 0), call.get("other", 1)
    if call.get("p", 2, 2) not in (1, 2, 1.0, 2.0) or not isinstance(left, torch.Tensor):
        return None
    if not isinstance(right, torch.Tensor) or left.ndim != right.ndim:
        return None
    for tensor, other in ((left, right), (right, left)):
        rows = call.rows(tensor)
        if rows is None:
            of_other = call.rows(other)
            if of_other is None or not met(call, tensor, of_other.axis):
                return None
        elif (found := call.rows(other)) is not None and found.axis != rows.axis:
            return None
    return REDUCED


def norm(call: Call) -> int | None:
    """Over records, sums of first or second powers; high powers come close to a maximum.

    Over the features of each record it can be any.
    """
    first = first_rows(call)
    given = call.get("dim", 2)
    if first is not None and given is not None:
        dims = dims_of(given, first[0].ndim)
        if dims and first[1].axis not in dims:
            return over_features(2, None)(call)
    power = call.get("p", 1, call.kwargs.get("ord", 2))
    if power not in _POWERS or isinstance(power, bool):
        return None
    if call.short == "linalg_norm" and given is None and power not in ("fro", None):
        # of a matrix these are no sums
        is_vector = first is not None and first[0].ndim == 1
        if not is_vector and ("ord" in call.kwargs or len(call.args) > 1):
            return None
    if call.short != "norm" and given is not None:
        dims = None if first is None else dims_of(given, first[0].ndim)
        if dims is None or (len(dims) > 1 and power not in ("fro", None)):
            return None
    return sum_rule(call, 2)


def matrices(call: Call) -> int | None:
    """Functions of each matrix of a batch: the axes before the last two are left alone."""
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]) or len(call.tensors()) != 1:
        return None
    return first[1].axis if first[1].axis < first[0].ndim - 2 else None


def solve(call: Call) -> int | None:
    """A system per record, or one system whose right sides are the records as columns."""
    left, right = call.get("A", 0), call.get("B", 1)
    if call.short == "cholesky_solve":
        left, right = call.get("input2", 1), call.get("input", 0)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    if len(call.tensors()) != 2 or call.get("left", 9, True) is not True:
        return None
    of_left, of_right = call.rows(left), call.rows(right)
    if of_left is None and of_right is not None and left.ndim == right.ndim == 2:
        return 1 if of_right.axis == 1 else None
    is_vectors = right.shape == left.shape[:-1] and call.short == "linalg_solve"
    if left.ndim < 3 or (right.ndim != left.ndim and not is_vectors):
        return None
    axis = next((r.axis for r in (of_left, of_right) if r is not None), left.ndim)
    if axis >= left.ndim - 2:
        return None
    for tensor, rows in ((left, of_left), (right, of_right)):
        if rows is None and (tensor.shape[axis] == 1 or not met(call, tensor, axis)):
            return None
        if rows is not None and rows.axis != axis:
            return None
    return axis


def _has_many(call: Call) -> torch.Tensor | None:
    """A matrix of records by features with more of the former."""
    first = first_rows(call)
    if first is None or len(call.tensors()) != 1 or first[0].ndim != 2:
        return None
    tensor, rows = first
    return tensor if tensor.shape[rows.axis] > tensor.shape[1 - rows.axis] else None


def pinv(call: Call) -> int | None:
    """Of more records than features: each record times the inverse of a sum over all.

    With another tolerance than its own it can divide by what is left of rounding, which hangs on
    the order of the records. `pinverse` always does.
    """
    if (found := matrices(call)) is not None:
        return found
    first = first_rows(call)
    if first is None or _has_many(call) is None or len(call.args) > 1 or call.kwargs:
        return None
    call.is_mixed = True
    return 1 - first[1].axis


def svdvals(call: Call) -> int | None:
    """Roots of the eigenvalues of a sum over all records."""
    found = matrices(call)
    if found is None and _has_many(call) is not None:
        return REDUCED
    return found


def vander(call: Call) -> int | None:
    """Powers of each number."""
    first = first_rows(call)
    if first is None or len(call.tensors()) != 1:
        return None
    if call.short == "vander":
        return 0 if first[0].ndim == 1 else None
    return first[1].axis


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("matmul", "mm", "mv", "bmm", "rmatmul", "dot", "vdot"), matmul),
    "linalg_multi_dot": chain, "chain_matmul": chain, "addmm": added, "addmv": added,
    "addbmm": addbmm, "baddbmm": baddbmm, "outer": outer, "ger": outer,
    "inner": inner, "tensordot": tensordot, "kron": kron,
    "dist": dist, "norm": norm, "linalg_norm": norm,
    **dict.fromkeys(
        ("linalg_cholesky", "linalg_cholesky_ex", "linalg_det", "linalg_slogdet", "linalg_eig",
         "linalg_eigh", "linalg_eigvals", "linalg_eigvalsh", "linalg_inv", "linalg_inv_ex",
         "linalg_matrix_exp", "linalg_matrix_power", "linalg_matrix_rank", "linalg_qr",
         "linalg_svd", "linalg_cond", "linalg_lu_factor", "cholesky", "det", "inverse", "logdet",
         "slogdet", "matrix_exp", "matrix_power", "svd", "qr", "adjoint"),
        matrices,
    ),
    "linalg_pinv": pinv, "pinverse": matrices, "linalg_svdvals": svdvals,
    **dict.fromkeys(("linalg_solve", "linalg_solve_triangular", "cholesky_solve"), solve),
    "vander": vander, "linalg_vander": vander,
    "linalg_matrix_norm": over_features(2, (-2, -1)), "linalg_cross": over_features(9, -1),
}  # fmt: skip
"""By name; those of torch.linalg that torch itself has otherwise, with its place before them."""
