"""Rules of operations that move, add or choose axes; see axis_rules.py for what a rule answers."""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import (
    Call,
    dims_of,
    elementwise,
    first_rows,
    met,
    others_have_none,
)
from duet_p2p.engine.labels import FOLDED

__all__ = [
    "columns",
    "depths",
    "flip",
    "join",
    "laid_out",
    "m_transpose",
    "move",
    "permute",
    "reshape",
    "reverse",
    "roll",
    "same",
    "squeeze",
    "together",
    "transpose",
    "typed",
    "unsqueeze",
]


def same(call: Call) -> int | None:
    """The same places, other numbers or another type of number."""
    first = first_rows(call)
    return first[1].axis if first and others_have_none(call, first[0]) else None


_FOLDS: Final = frozenset({"view", "reshape", "flatten", "ravel", "view_as", "reshape_as"})


def typed(call: Call) -> int | None:
    """``x.type_as(y)``: the same places, and nothing of the other but its type."""
    first = first_rows(call)
    return None if first is None else first[1].axis


def laid_out(call: Call) -> int | None:
    """``expand``, ``repeat``, ``tile``: more axes on the left, features more than once.

    The sizes are the last word: records that are repeated are as many as before no more.
    """
    first, results = first_rows(call), call.results()
    if first is None or len(results) != 1 or first[1].records < 2:
        return None
    tensor, rows = first
    axis = rows.axis + results[0].ndim - tensor.ndim
    return axis if results[0].shape[axis] == rows.records else None


def roll(call: Call) -> int | None:
    """Features go round; without axes the records do, too."""
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]):
        return None
    dims = dims_of(call.get("dims", 2), first[0].ndim)
    return first[1].axis if dims and first[1].axis not in dims else None


def move(call: Call) -> int | None:
    """``movedim(x, from, to)``."""
    first = first_rows(call)
    if first is None:
        return None
    tensor, rows = first
    sources = dims_of(call.get("source", 1), tensor.ndim)
    places = dims_of(call.get("destination", 2), tensor.ndim)
    if sources is None or places is None or len(sources) != len(places):
        return None
    if rows.axis in sources:
        return places[sources.index(rows.axis)]
    rest = [axis for axis in range(tensor.ndim) if axis not in sources]
    free = [axis for axis in range(tensor.ndim) if axis not in places]
    return free[rest.index(rows.axis)]


def columns(call: Call) -> int | None:
    """``hstack`` of matrices and ``column_stack``: next to each other along axis 1."""
    parts = call.get("tensors", 0)
    if not isinstance(parts, list | tuple) or not parts:
        return None
    least = 2 if call.short == "hstack" else 1
    for part in parts:
        rows = call.rows(part)
        if not least <= part.ndim or (rows is not None and rows.axis != 0):
            return None
        if rows is None and not met(call, part, 0):
            return None
    return 0


def depths(call: Call) -> int | None:
    """``dstack``: behind each other along axis 2; a vector becomes the row of a matrix first."""
    parts = call.get("tensors", 0)
    if not isinstance(parts, list | tuple):
        return None
    # where a record axis of vectors and matrices lies then, in those with records and in others
    places: set[int] = {
        rows.axis + (part.ndim == 1) for part in parts if (rows := call.rows(part)) is not None
    }
    if len(places) != 1 or (axis := places.pop()) == 2:
        return None
    for part in parts:
        at = axis - (part.ndim == 1)
        if call.rows(part) is None and (part.ndim == 0 or not met(call, part, at)):
            return None
    return axis


def reshape(call: Call) -> int | None:
    """Numbers stay in their order, so what lies before the record axis says where it is then.

    ``x.view(-1, classes)`` lays the steps of each record one after another: they still are treated
    alike, and all of them are no more records than before. Of records on another axis the first
    steps of all come first. The way back is known, too.
    """
    first = first_rows(call)
    results = call.results()
    if first is None or len(results) != 1 or not results[0].ndim:
        return None
    tensor, rows = first
    shape, before = results[0].shape, math.prod(tensor.shape[: rows.axis])
    if rows.axis == 0 and shape[0] == rows.records:
        return 0
    if not tensor.numel() or results[0].dtype is not tensor.dtype or rows.records < 2:
        return None
    if (place := _place(shape, before, rows.records)) is not None:
        return place
    if call.short not in _FOLDS:
        return None
    if rows.axis == 0 and len(rows.key) > 3 and rows.key[-3] == FOLDED:
        over, under = int(rows.key[-2]), int(rows.key[-1])
        place = _place(shape, over, rows.records // (over * under))
        if place is not None:
            call.folded, call.is_joined = (over, under), True
            return place
    whole = before * rows.records
    if shape[0] <= rows.records or shape[0] % whole:
        return None
    call.folded = (before, shape[0] // whole)
    return 0


def _place(shape: torch.Size, before: int, size: int) -> int | None:
    """The axis of this size that has so many numbers before it."""
    for axis in range(len(shape)):
        if math.prod(shape[:axis]) == before and shape[axis] == size:
            return axis
    return None


def together(call: Call) -> int | None:
    """``broadcast_tensors(x, y)``: each is laid along the others, as an operation of both would."""
    results = call.results()
    opened = [rows for tensor in call.tensors() if (rows := call.rows(tensor)) is not None]
    axis = elementwise(call)
    if axis is None or opened[0].records < 2:
        return None
    return axis if all(t.shape[axis] == opened[0].records for t in results) else None


def unsqueeze(call: Call) -> int | None:
    """A new axis moves the ones behind it."""
    first = first_rows(call)
    if first is None:
        return None
    dims = dims_of(call.get("dim", 1), first[0].ndim + 1)
    return None if dims is None else first[1].axis + (dims[0] <= first[1].axis)


def squeeze(call: Call) -> int | None:
    """Axes of size 1 go; the record axis must not be one of them."""
    first = first_rows(call)
    if first is None or first[1].records == 1:
        return None
    tensor, rows = first
    given = call.get("dim", 1)
    dims = tuple(range(tensor.ndim)) if given is None else dims_of(given, tensor.ndim)
    if dims is None:
        return None
    return rows.axis - sum(tensor.shape[d] == 1 and d < rows.axis for d in set(dims))


def transpose(call: Call) -> int | None:
    """Two axes change places."""
    first = first_rows(call)
    if first is None:
        return None
    tensor, rows = first
    dims = dims_of(list(call.args[1:3]) or _swapped(call), tensor.ndim)
    if dims is None or len(dims) != 2:
        return None
    return {dims[0]: dims[1], dims[1]: dims[0]}.get(rows.axis, rows.axis)


def _swapped(call: Call) -> list[Any]:
    for names in (("dim0", "dim1"), ("axis0", "axis1")):
        if names[0] in call.kwargs and names[1] in call.kwargs:
            return [call.kwargs[name] for name in names]
    return []


def reverse(call: Call) -> int | None:
    """``t()`` and ``T`` of a matrix."""
    first = first_rows(call)
    if first is None or first[0].ndim > 2:
        return None
    return first[0].ndim - 1 - first[1].axis


def m_transpose(call: Call) -> int | None:
    """The last two axes change places."""
    first = first_rows(call)
    if first is None or first[0].ndim < 2:
        return None
    last = first[0].ndim - 1
    return {last: last - 1, last - 1: last}.get(first[1].axis, first[1].axis)


def permute(call: Call) -> int | None:
    """Axes in another order."""
    first = first_rows(call)
    if first is None:
        return None
    given = call.kwargs.get("dims", call.args[1:])
    if len(given) == 1 and isinstance(given[0], list | tuple):
        given = given[0]
    dims = dims_of(list(given), first[0].ndim)
    return dims.index(first[1].axis) if dims and first[1].axis in dims else None


def flip(call: Call) -> int | None:
    """Feature axes run backwards; ``x.flip(1, 0)`` names several without a list."""
    first = first_rows(call)
    if first is None:
        return None
    given = call.kwargs.get("dims", call.args[1:])
    if isinstance(given, tuple) and len(given) == 1:
        given = given[0]
    dims = dims_of(given, first[0].ndim)
    return first[1].axis if dims and first[1].axis not in dims else None


def join(call: Call) -> int | None:
    """Cat and stack along features, all parts with the same rows or none."""
    parts = call.get("tensors", 0)
    if not isinstance(parts, list | tuple):
        return None
    open_parts = [(t, r) for t in parts if (r := call.rows(t)) is not None]
    if not open_parts:
        return None
    axis, ndim = open_parts[0][1].axis, open_parts[0][0].ndim
    if any(r.axis != axis or t.ndim != ndim for t, r in open_parts):
        return None
    if not all(met(call, t, axis) for t in parts if call.rows(t) is None):
        return None
    is_stack = call.short == "stack"
    dims = dims_of(call.get("dim", 1, 0), ndim + is_stack)
    if dims is None or len(dims) != 1:
        return None
    if is_stack:
        return axis + (dims[0] <= axis)
    return None if dims[0] == axis else axis
