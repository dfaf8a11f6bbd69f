"""Rules of operations that move, add or choose axes; see axis_rules.py for what a rule answers."""

from __future__ import annotations

from typing import Any

from duet_p2p.engine.axis_rules import Call, dims_of, first_rows, met, others_have_none

__all__ = [
    "flip",
    "getitem",
    "join",
    "m_transpose",
    "permute",
    "reshape",
    "reverse",
    "same",
    "squeeze",
    "transpose",
    "unsqueeze",
]


def same(call: Call) -> int | None:
    """The same places, other numbers or another type of number."""
    first = first_rows(call)
    return first[1].axis if first and others_have_none(call, first[0]) else None


def reshape(call: Call) -> int | None:
    """A leading axis that keeps its size keeps its rows; other changes may mix them."""
    first = first_rows(call)
    results = call.results()
    if first is None or len(results) != 1:
        return None
    return 0 if first[1].axis == 0 and results[0].shape[:1] == first[0].shape[:1] else None


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


def getitem(call: Call) -> int | None:
    """``x[:, 3]`` and ``x[..., :2]`` select features; anything on the record axis closes it."""
    first = first_rows(call)
    if first is None or len(call.args) != 2 or first[1].axis != 0:
        return None
    index = call.args[1]
    parts = index if isinstance(index, tuple) else (index,)
    if parts and parts[0] is Ellipsis:
        if len(parts) - 1 >= first[0].ndim:
            return None
    elif not parts or not (isinstance(parts[0], slice) and parts[0] == slice(None)):
        return None
    plain = all(
        isinstance(p, slice) or (isinstance(p, int) and not isinstance(p, bool)) for p in parts[1:]
    )
    return 0 if plain else None


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
