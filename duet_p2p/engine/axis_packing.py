"""The record axis of packed sequences: of each record as many steps as it has, step after step.

`pack_padded_sequence` sorts records by length and lays their steps one after another: the first
step of all, the second one of those that have it, and so on. So a packed row is a part of a record,
like those that a reshape cuts, and which record it is of follows from how many rows each step has.
That, and the order of the records, is in the key of the rows: rows of another packing, or of other
batch sizes, are not the same.

What is public of a length meets its record. Where lengths differ, it is injected.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import torch

from duet_p2p.engine.axis_picks import along
from duet_p2p.engine.axis_rules import Call, dims_of, first_rows, met, thin
from duet_p2p.engine.labels import FOLDED, Rows

__all__ = ["PACKED", "TURNED", "is_packed", "network", "restored", "selected"]

PACKED: Final = "packed"
"""In the key of packed rows, before how many records there are and the code of the batch sizes."""
TURNED: Final = "turned"
"""In the key of records in another order, before the code of that order."""
_Key = tuple[str | int, ...]


def is_packed(call: Call) -> bool:
    """Whether a recurrent network gets packed rows: weights stand where a bool is otherwise."""
    return len(call.args) > 3 and isinstance(call.args[3], list | tuple)


def selected(call: Call) -> int | tuple[int, ...] | None:
    """``index_select``: features; all records in another order; or the steps that packing takes."""
    first, index = first_rows(call), call.get("index", 2)
    if first is None or not isinstance(index, torch.Tensor) or len(call.tensors()) != 2:
        return along(1)(call)
    tensor, rows = first
    if dims_of(call.get("dim", 1), tensor.ndim) != (rows.axis,) or not _is_plain(call, index):
        return along(1)(call)
    call.is_by_values = True
    numbers = index.long()
    if (records := _parts_of(rows)) is not None:
        return _packed(call, rows, records, numbers) if rows.axis == 0 else None
    if not torch.equal(numbers.sort().values, torch.arange(rows.records)):
        return None
    if rows.key[-2:-1] == (TURNED,) and rows.key[-1] == _code(numbers.argsort()):
        key = rows.key[:-2]  # the way back
    elif {TURNED, PACKED, FOLDED} & set(rows.key):
        return None
    else:
        key = (*rows.key, TURNED, _code(numbers))
    call.rekeyed = rows.records, key
    return rows.axis


def _packed(call: Call, rows: Rows, records: int, numbers: torch.Tensor) -> int | None:
    """Rows of each step, those of the first records that have it."""
    over, under = int(rows.key[-2]), int(rows.key[-1])
    sizes = _sizes(numbers, records, over * under, is_steps_first=under == 1)
    if sizes is None:
        return None
    if (sizes != records).any():
        call.injected = True
    call.rekeyed = len(numbers), (*rows.key[:-3], PACKED, records, _code(sizes))
    return 0


def _sizes(
    numbers: torch.Tensor, records: int, steps: int, *, is_steps_first: bool
) -> torch.Tensor | None:
    """How many rows each step has, if these are the rows of a packing that leaves no record out."""
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= records * steps:
        return None
    step = numbers // records if is_steps_first else numbers % steps
    record = numbers % records if is_steps_first else numbers // steps
    sizes = torch.bincount(step)
    is_whole = sizes[0] == records and bool((sizes.diff() <= 0).all() and (sizes > 0).all())
    places = torch.arange(len(sizes)).repeat_interleave(sizes)
    if not is_whole or not torch.equal(step, places):
        return None
    begins = sizes.cumsum(0) - sizes
    return sizes if torch.equal(record, torch.arange(len(numbers)) - begins[places]) else None


def network(call: Call) -> tuple[int, ...] | None:
    """``lstm(rows, batch_sizes, state, weights, …)``: each record goes through its own steps."""
    if call.kwargs or len(call.args) != _ARGUMENTS:
        return None
    data, sizes, state, weights, _, layers, chance, is_training, _ = call.args
    states = list(state) if isinstance(state, list | tuple) else [state]
    if not all(isinstance(t, torch.Tensor) for t in (data, sizes, *states, *weights)):
        return None
    rows = call.rows(data)
    if rows is None or rows.axis != 0 or len(rows.key) < 3 or rows.key[-3] != PACKED:
        return None
    if any(call.rows(t) is not None or call.is_private(t) for t in (sizes, *states)):
        return None
    if any(call.rows(t) is not None for t in weights):
        return None
    call.is_by_values = True
    records = int(rows.key[-2])
    if sizes.ndim != 1 or _code(sizes) != rows.key[-1]:
        return None
    if any(t.ndim != 3 or t.shape[1] != records or not met(call, t, 1) for t in states):
        return None
    if is_training and chance and not thin(call, rows, chance, masks_between(layers)):
        return None
    call.states = records, rows.key[:-3]
    return (0, *(1 for _ in states))


_ARGUMENTS: Final = 9


def masks_between(layers: Any) -> int:
    """How many dropouts a recurrent network has one behind the other: one between two layers."""
    return max(layers - 1, 1) if type(layers) is int else 1


def restored(call: Call) -> int | tuple[int, ...] | None:
    """``filling.index_copy(0, places, packed)``: each packed row at its own record's step."""
    target, index, source = call.get("input", 0), call.get("index", 2), call.get("source", 3)
    if not all(isinstance(t, torch.Tensor) for t in (target, index, source)):
        return None
    rows = call.rows(source)
    is_packed = rows is not None and len(rows.key) > 3 and rows.key[-3] == PACKED
    if rows is None or not is_packed or call.rows(target) is not None:
        return along(1)(call)
    if rows.axis != 0 or dims_of(call.get("dim", 1), target.ndim) != (0,):
        return None
    records = int(rows.key[-2])
    steps, rest = divmod(target.shape[0], records)
    if rest or len(call.tensors()) != 3 or not (_is_plain(call, index) and _is_even(call, target)):
        return None
    call.is_by_values = True
    for is_steps_first in (True, False):
        sizes = _sizes(index.long(), records, steps, is_steps_first=is_steps_first)
        if sizes is not None and _code(sizes) == rows.key[-1]:
            parts = (steps, 1) if is_steps_first else (1, steps)
            call.rekeyed = target.shape[0], (*rows.key[:-3], FOLDED, *parts)
            return 0
    return None


def _is_even(call: Call, target: torch.Tensor) -> bool:
    """Whether what stands where a record has no step is the same for all."""
    injected, call.injected = call.injected, False
    is_met = met(call, target, 0) and not call.injected
    call.injected = injected
    return is_met


def _parts_of(rows: Rows) -> int | None:
    """How many records there are, if these are their parts after a reshape of two axes."""
    if len(rows.key) < 4 or rows.key[-3] != FOLDED or {FOLDED, PACKED} & set(rows.key[:-3]):
        return None
    over, under = int(rows.key[-2]), int(rows.key[-1])
    if (over != 1 and under != 1) or rows.records % (over * under):
        return None
    return rows.records // (over * under)


def _is_plain(call: Call, index: torch.Tensor) -> bool:
    """Whether these are public numbers in a row."""
    if index.ndim != 1 or index.dtype not in (torch.int64, torch.int32):
        return False
    return call.rows(index) is None and not call.is_private(index)


def _code(numbers: torch.Tensor) -> str:
    return blake2b(numbers.long().cpu().numpy().tobytes(), digest_size=16).hexdigest()
