"""What rules may ask about a tensor among the arguments, as one object for all that are alike.

A question (routine.py) is put together of shape, dtype, label and rows of each operand, and that
costs as much as what it saves on a small tensor. Equal facts have one `Likeness`, so a command on
operands that were looked at before asks by identity.

Where a slot's tensor was looked at is written beside the `count` of that moment. It counts
everything that happens in an engine by default; only plain commands that ended as foreseen, and
deletions, are not counted (executor.py, engine.py): they change nothing that is there. So what was
seen at this count still holds. At any other count the tensor is looked at anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.engine.labels import PUBLIC, Kind
from duet_p2p.engine.lineage import HIDDEN_MARK, ROWS_MARK, Lineage
from duet_p2p.engine.store import Slot

__all__ = ["Likeness", "Likenesses"]

_STRIDED: Final = torch.strided
_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})
_PUBLIC: Final = Kind.PUBLIC  # a member is looked up in Python


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """Tensors of one type, shape, dtype, label, and of rows that rules cannot tell apart."""

    is_shared: bool
    """An owner's object."""
    is_known_by_node: bool
    """It was always private, and never written to: no content is part of its form."""
    has_entry: bool
    """Its storage has one."""


class Likenesses:
    """The likenesses of one engine."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._known: dict[tuple[Any, ...], Likeness] = {}

    def look(self, slot: Slot) -> bool:
        """Leaves with a slot the likeness of its tensor, as it is now.

        Gives False where a plain command cannot be judged by one: no tensor, poison, a private
        shape or one that was told, another layout or device, or rows behind a dropout, which are
        asked about more closely.
        """
        value, lineage = slot.value, self._lineage
        kind = type(value)
        if kind not in _TENSORS or slot.label is not PUBLIC or slot.poison is not None:
            return False
        if slot.is_told:  # what is made of it has to be told as well
            return False
        marks = value.__dict__
        if value.layout is not _STRIDED or not value.is_cpu or HIDDEN_MARK in marks:
            return False
        entry = lineage.at(value.untyped_storage()._cdata)
        label = rows = records = None
        is_shared = is_known_by_node = False
        if entry is not None:
            if entry.hidden or entry.poison is not None:
                return False
            label, is_shared = entry.label, entry.is_shared
            mark = marks.get(ROWS_MARK)
            if mark is not None and mark[1] == entry.uid and mark[2] == entry.version:
                found = mark[0]
                if found.thinned:
                    return False
                records = found.key
                rows = (found.axis, found.records, found.atoms, found.floor)
            is_known_by_node = (
                entry.written is None and not entry.root and label.kind is not _PUBLIC
            )
        key = (kind, value.shape, value.dtype, value.requires_grad, label, rows,
               is_shared, is_known_by_node)  # fmt: skip
        likeness = self._known.get(key)
        if likeness is None:
            likeness = Likeness(is_shared, is_known_by_node, entry is not None)
            self._known[key] = likeness
            while len(self._known) > limits.PRECEDENTS:  # one that is made again is another one
                del self._known[next(iter(self._known))]
        slot.likeness, slot.records, slot.seen = likeness, records, lineage.count
        return True
