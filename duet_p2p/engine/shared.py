"""Putting an owner's object into the store: cloned, labelled, read-only."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import TensorDataset

from duet_p2p.engine.batches import Records, whole_rows
from duet_p2p.engine.departure import in_memory
from duet_p2p.engine.facts import dtype_name
from duet_p2p.engine.form import hashed
from duet_p2p.engine.keyed import keyed_of
from duet_p2p.engine.labels import Kind, Label, to_per_record
from duet_p2p.engine.lineage import ATOMIC, Lineage, reach
from duet_p2p.engine.messages import Share, Shared
from duet_p2p.engine.recipe import boundary
from duet_p2p.engine.store import Slot, Store
from duet_p2p.surface.values import logical_numbers, unpack

__all__ = ["share"]

_MODULE = "torch.nn.Module"
_DATASET = "torch.utils.data.Dataset"


def share(command: Share, store: Store, lineage: Lineage) -> Shared:
    """Do what `Share` says; a mistake is told in the answer."""
    try:
        # `unpack` copies out of the buffer, so the owner's memory is never the engine's
        value = unpack(command.value, in_memory(command.data))
        if command.type == _DATASET:
            value = TensorDataset(*value)
        label = Label(Kind.VERBATIM, frozenset({command.id}), frozenset(), 1, False)
        slot = Slot(
            value,
            label if isinstance(value, (tuple, *ATOMIC)) else Slot(None).label,
            tags=command.tags,
            description=command.description,
            listed=True,
            type=command.type,
            is_shared=True,
        )
        text = f"store[{command.tags[0]!r}]" if command.tags else f"{command.id}"
        slot.made = boundary(text, hashed("owner", str(command.id)))
        store.share(command.id, slot)
    except Exception as error:
        return Shared(command.id, command.type, None, None, None, False, None, 0, str(error)[:500])
    _mark(value, command, label, lineage)
    return _described(value, command)


def _mark(value: Any, command: Share, label: Label, lineage: Lineage) -> None:
    axis = 0 if isinstance(value, TensorDataset) else command.record_axis
    has_rows = isinstance(value, torch.Tensor | TensorDataset)
    are_names = command.keys_public or command.type == _MODULE
    for part in reach(value, grads=True):
        if isinstance(part, torch.Tensor):
            entry = lineage.own(part)
            lineage.has_leaves = lineage.has_leaves or part.requires_grad
            entry.label, entry.is_shared, entry.hidden = label, True, not command.shapes_public
            rows = whole_rows(part, command.id, axis) if has_rows else None
            if rows is not None:
                lineage.set_rows(part, rows)
        elif not isinstance(part, tuple | frozenset):
            tracked = lineage.track(part)
            tracked.content, tracked.is_shared = label, True
            if not command.shapes_public:
                tracked.structure = to_per_record(label)
            elif isinstance(part, dict) and not are_names:
                tracked.structure, tracked.origin = to_per_record(label), keyed_of(part)
            if isinstance(part, TensorDataset):
                tracked.origin = Records(label, False)


def _described(value: Any, command: Share) -> Shared:
    tensor = value if isinstance(value, torch.Tensor) else None
    shape = dtype = length = keys = None
    if command.shapes_public:
        if tensor is not None:
            shape, dtype = tuple(tensor.shape), dtype_name(tensor)
        if isinstance(value, list | tuple | dict | set | TensorDataset):
            length = len(value)
        elif tensor is not None and tensor.ndim:
            length = tensor.shape[0]
        # a module's are names of its program; those of another dict are content, people perhaps
        is_module = command.type == _MODULE and isinstance(value, dict)
        if is_module and all(isinstance(key, str) for key in value):
            keys = tuple(value)
    counted = list(value.tensors) if isinstance(value, TensorDataset) else value
    return Shared(
        id=command.id,
        type=command.type,
        shape=shape,
        dtype=dtype,
        length=length,
        requires_grad=tensor is not None and tensor.requires_grad,
        keys=keys,
        nbytes=logical_numbers(counted)[1],
        error="",
    )
