"""The record axis of an index: ``x[:, 3]``, ``x[:, None]``, ``x[:, mask]``, ``table[classes]``.

An index may choose among the features of each record, the same for all. What stands on the record
axis itself must be a whole slice, or the numbers of all records in their order beside an index of
their own: ``x[arange(n), classes]`` looks one feature up in each record.
"""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.engine.axis_rules import Call, Rule, dims_of, first_rows, met
from duet_p2p.engine.labels import Rows

__all__ = ["along", "getitem", "looked_up", "repeated", "setitem"]


def getitem(call: Call) -> int | None:
    """Features of each record, the same of all or one of each; or rows of a table by classes."""
    if len(call.args) != 2 or not isinstance(call.args[0], torch.Tensor):
        return None
    source, index = call.args
    parts = list(index) if isinstance(index, tuple) else [index]
    rows = call.rows(source)
    if rows is None:
        return looked_up(call, parts)
    spread = _spread(parts, source.ndim)
    if spread is None:
        return None
    found = _features(call, spread, rows)
    return _one_of_each(call, spread, rows) if found is None else found


def setitem(call: Call) -> int | None:
    """``x[:, 0] = 0`` and ``x[x > 0.5] = 0``: one number into features, or where records say so.

    Anything but a number could be a row for each record, or what a mask chose of them.
    """
    if len(call.args) != 3 or call.kwargs or not isinstance(call.args[0], torch.Tensor):
        return None
    target, index, value = call.args
    rows = call.rows(target)
    if not (type(value) in (bool, int, float, complex) or _is_free_number(call, value)):
        return None
    if not isinstance(index, torch.Tensor) or index.dtype is not torch.bool:
        parts = list(index) if isinstance(index, tuple) else [index]
        spread = None if rows is None else _spread(parts, target.ndim)
        if rows is None or spread is None or any(part is None for part in parts):
            return None
        return None if _features(call, spread, rows) is None else rows.axis
    of_mask = call.rows(index)
    if of_mask is None or index.shape != target.shape[: index.ndim]:
        return None
    if rows is None:
        return of_mask.axis if met(call, target, of_mask.axis) else None
    return rows.axis if rows.axis == of_mask.axis else None


def _is_free_number(call: Call, value: Any) -> bool:
    if not isinstance(value, torch.Tensor) or value.ndim or call.rows(value) is not None:
        return False
    return not call.is_private(value) and not value.requires_grad


def looked_up(call: Call, parts: list[Any]) -> int | None:
    """``table[i, j]`` of numbers with records, of a table without: each record finds its own."""
    found = [call.rows(part) if _is_numbers(part) else None for part in parts]
    first = found[0] if found else None
    if first is None or any(r is None or r.axis != first.axis for r in found):
        return None
    return first.axis if len({part.ndim for part in parts}) == 1 else None


def _is_numbers(part: Any) -> bool:
    return (
        isinstance(part, torch.Tensor)
        and part.ndim > 0
        and part.dtype in (torch.int64, torch.int32, torch.int16, torch.int8)
    )


def _spread(parts: list[Any], ndim: int) -> list[Any] | None:
    """The index with a part for each axis of the source, and None for each new one."""
    if sum(part is Ellipsis for part in parts) > 1:
        return None
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > ndim:
        return None
    rest = [slice(None)] * (ndim - used)
    if not any(part is Ellipsis for part in parts):
        return parts + rest
    at = next(place for place, part in enumerate(parts) if part is Ellipsis)
    return parts[:at] + rest + parts[at + 1 :]


def _features(call: Call, spread: list[Any], rows: Rows) -> int | None:
    """Slices, numbers and new axes, and at most one list of numbers or mask for all records."""
    axis, place, lists, has_numbers = 0, -1, 0, False
    found: int | None = None
    for part in spread:
        place += part is not None
        if part is not None and place == rows.axis:
            if not (isinstance(part, slice) and part == slice(None)):
                return None
            found, axis = axis, axis + 1
        elif part is None or isinstance(part, slice):
            axis += 1
        elif type(part) is int:
            has_numbers = True
        elif (many := _chosen(call, part)) is not None:
            lists, axis = lists + 1, axis + many
        else:
            return None
    # beside other numbers a list could take the first place
    return None if lists > 1 or (lists and has_numbers) else found


def _chosen(call: Call, part: Any) -> int | None:
    """How many axes a public list of numbers, or a mask of one axis, has; None if it is neither."""
    if isinstance(part, list):
        is_plain = bool(part) and (
            all(type(n) is int for n in part) or all(type(n) is bool for n in part)
        )
        return 1 if is_plain else None
    if not isinstance(part, torch.Tensor) or call.rows(part) is not None or call.is_private(part):
        return None
    if part.dtype is torch.bool:
        return 1 if part.ndim == 1 else None
    return part.ndim if _is_numbers(part) else None


def _one_of_each(call: Call, spread: list[Any], rows: Rows) -> int | None:
    """``x[arange(n), classes]``: all records in their order, and numbers of their own."""
    if rows.axis != 0 or not spread or not _is_in_order(call, spread[0], rows.records):
        return None
    for part in spread[1:]:
        if isinstance(part, slice) or type(part) is int:
            continue
        found = call.rows(part) if _is_numbers(part) and part.ndim == 1 else None
        if found is None or found.axis != 0:
            return None
    return 0


def _is_in_order(call: Call, part: Any, records: int) -> bool:
    """Whether this names every record once, in order."""
    if isinstance(part, list | range):
        return all(type(n) is int for n in part) and list(part) == list(range(records))
    if not _is_numbers(part) or part.ndim != 1 or len(part) != records:
        return False
    if call.rows(part) is not None or call.is_private(part):
        return False
    call.is_by_values = True
    return bool((part == torch.arange(records)).all())


def repeated(call: Call) -> int | None:
    """``x.repeat_interleave(2, dim=1)``: features of each record, the same number of times each."""
    first, results = first_rows(call), call.results()
    if first is None or len(call.tensors()) != 1 or type(call.get("repeats", 1)) is not int:
        return None
    dims = dims_of(call.get("dim", 2), first[0].ndim)
    if not dims or len(dims) != 1 or len(results) != 1:
        return None
    return first[1].axis if first[1].axis != dims[0] else None


def along(position: int, default: int | None = None) -> Rule:
    """Numbers of a public index along a feature axis, the same for all records."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        index = call.get("index", position + 1)
        if first is None or not isinstance(index, torch.Tensor) or index.ndim > 1:
            return None
        tensor, rows = first
        others = [t for t in call.tensors() if t is not tensor and t is not index]
        if call.rows(index) is not None or call.is_private(index):
            return None
        dims = dims_of(call.get("dim", position, default), tensor.ndim)
        if not dims or len(dims) != 1 or rows.axis in dims:
            return None
        for other in others:  # what is filled in, or copied there
            found = call.rows(other)
            if other.ndim and other.ndim != tensor.ndim:
                return None
            if found is not None and found.axis != rows.axis:
                return None
            if found is None and not met(call, other, rows.axis):
                return None
        return rows.axis

    return rule
