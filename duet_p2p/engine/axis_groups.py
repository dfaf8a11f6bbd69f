"""Sums by group on the record axis: each record adds to the place that its own class names.

``zeros(k).index_add(0, classes, x)`` is what ``one_hot(classes, k).T @ x`` is: each record adds one
and the same function of itself, zero to all places but one, and each number is a sum over all
records. So a group may be small, or a single record, as that of any condition on values; what is
promised is the number of records that went in.

Public classes would be groups that somebody made: they close the way, and so do largest or last
numbers of a group.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import REDUCED, Call, dims_of, met

__all__ = ["counts", "index_add", "index_put", "scatter", "scatter_add", "scatter_reduce"]

_SUMS: Final = frozenset({"sum", "mean"})


def _records(call: Call, tensors: list[Any], axis: int, ndim: int) -> bool:
    """Whether these have the records there, one of them at least, or meet them all."""
    has_records = False
    size = 0
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.ndim != ndim:
            return False
        rows = call.rows(tensor)
        if rows is not None:
            if rows.axis != axis or size not in (0, rows.records):
                return False
            has_records, size = True, rows.records
        elif not met(call, tensor, axis):
            return False
    # one that is shorter would leave out the last records
    return has_records and all(tensor.shape[axis] == size for tensor in tensors)


def _dim(call: Call, target: torch.Tensor, position: int = 1) -> int | None:
    dims = dims_of(call.get("dim", position), target.ndim)
    return dims[0] if dims and len(dims) == 1 and target.ndim else None


def _has_records(call: Call, tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and call.rows(tensor) is not None


def index_add(call: Call) -> int | None:
    """``zeros.index_add(0, classes, x)``, or public numbers along a feature axis of each record."""
    target, index, source = call.get("input", 0), call.get("index", 2), call.get("source", 3)
    if not all(isinstance(t, torch.Tensor) for t in (target, index, source)):
        return None
    dim = _dim(call, target)
    if dim is None or index.ndim != 1 or source.ndim != target.ndim:
        return None
    if _has_records(call, index):
        if _has_records(call, target) or not met_or_at(call, source, dim):
            return None
        return REDUCED if source.shape[dim] == index.shape[0] else None
    if call.is_private(index):
        return None
    rows = call.rows(source) or call.rows(target)
    if rows is None or rows.axis == dim:
        return None
    return rows.axis if _records(call, [target, source], rows.axis, target.ndim) else None


def met_or_at(call: Call, tensor: torch.Tensor, axis: int) -> bool:
    """Whether the records lie here, or the tensor may meet them here."""
    rows = call.rows(tensor)
    return rows.axis == axis if rows is not None else met(call, tensor, axis)


def _placed(call: Call, source: Any) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Target, index and axis of a scatter."""
    target, index = call.get("input", 0), call.get("index", 2)
    if not isinstance(target, torch.Tensor) or not isinstance(index, torch.Tensor):
        return None
    dim = _dim(call, target)
    if dim is None or index.ndim != target.ndim:
        return None
    return (target, index, dim) if source is None or source.ndim == target.ndim else None


def _scattered(call: Call, source: torch.Tensor | None, *, is_sum: bool) -> int | None:
    placed = _placed(call, source)
    if placed is None:
        return None
    target, index, dim = placed
    moved = [index] if source is None else [index, source]
    rows = call.rows(index)
    if rows is None and call.is_private(index):
        return None
    if rows is not None and rows.axis == dim:
        is_whole = not _has_records(call, target) and _records(call, moved, dim, target.ndim)
        return REDUCED if is_sum and is_whole else None
    rows = next((r for t in (target, *moved) if (r := call.rows(t)) is not None), None)
    if rows is None or rows.axis == dim:
        return None
    return rows.axis if _records(call, [target, *moved], rows.axis, target.ndim) else None


def scatter(call: Call) -> int | None:
    """``zeros(n, k).scatter(1, classes, 1.0)`` in each record's own row; ``"add"`` sums them."""
    source = call.get("src", 3, call.kwargs.get("value"))
    if not isinstance(source, torch.Tensor | int | float | complex):
        return None
    is_sum = call.kwargs.get("reduce") == "add"
    if isinstance(source, torch.Tensor) and source.ndim == 0:
        return None if call.rows(source) is not None else _scattered(call, None, is_sum=is_sum)
    return _scattered(call, source if isinstance(source, torch.Tensor) else None, is_sum=is_sum)


def scatter_add(call: Call) -> int | None:
    """``zeros(k).scatter_add(0, classes, x)``."""
    source = call.get("src", 3)
    return _scattered(call, source, is_sum=True) if isinstance(source, torch.Tensor) else None


def scatter_reduce(call: Call) -> int | None:
    """The same with sums and means; the largest of a group is one record."""
    source, how = call.get("src", 3), call.get("reduce", 4)
    is_sum = how in _SUMS
    return _scattered(call, source, is_sum=is_sum) if isinstance(source, torch.Tensor) else None


def index_put(call: Call) -> int | None:
    """``zeros(k, k).index_put((classes, guesses), ones, accumulate=True)``: a table of counts."""
    target, places, source = call.get("input", 0), call.get("indices", 1), call.get("values", 2)
    if not isinstance(places, list | tuple) or not places or not call.get("accumulate", 3, False):
        return None
    if not isinstance(target, torch.Tensor) or not isinstance(source, torch.Tensor):
        return None
    if _has_records(call, target) or len(places) > target.ndim:
        return None
    if any(not isinstance(p, torch.Tensor) or p.ndim != 1 or p.dtype is torch.bool for p in places):
        return None
    if not all(_has_records(call, place) for place in places):
        return None
    if source.ndim == 0:
        return REDUCED if call.rows(source) is None else None
    if source.ndim != 1 + target.ndim - len(places) or not met_or_at(call, source, 0):
        return None
    return REDUCED if source.shape[0] == places[0].shape[0] else None


def counts(call: Call) -> int | None:
    """``histc`` and ``histogram`` between public ends: sums over all records.

    Without ends the smallest and the largest number would be the ends.
    """
    tensor = call.get("input", 0)
    if not isinstance(tensor, torch.Tensor) or (rows := call.rows(tensor)) is None:
        return None
    if call.short == "histc":
        low, high = call.get("min", 2, 0), call.get("max", 3, 0)
        is_fixed = _are_numbers((low, high)) and low < high and len(call.tensors()) == 1
        return REDUCED if is_fixed else None
    bins, ends, weight = call.get("bins", 1), call.kwargs.get("range"), call.kwargs.get("weight")
    if isinstance(bins, torch.Tensor):
        is_fixed = bins.ndim == 1 and call.rows(bins) is None
    else:
        low, high = ends if isinstance(ends, list | tuple) and len(ends) == 2 else (0, 0)
        is_fixed = type(bins) is int and _are_numbers((low, high)) and low < high
    if not is_fixed:
        return None
    if not isinstance(weight, torch.Tensor):
        return REDUCED
    is_beside = weight.shape == tensor.shape and met_or_at(call, weight, rows.axis)
    return REDUCED if is_beside else None


def _are_numbers(values: Any) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
