"""What a plain command of a plan found in its last run, to see at a glance that it finds it again.

A routine (routine.py) is looked up by a question, and putting that together costs as much as what
it saves on a small tensor. A command of a plan asks about the same places each time, so the facts
that its question was made of are kept in their places, and each is compared with what is there now:
the very label, rows, node and tags, and equal shapes and types. All of them the same is the same
question, so the answers are the same, down to the node of the result. Anything else, and the
question is asked.

A node says how a value was made. It is used again only where no input is known by its content, so
that it would be made of the same nodes and forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import PUBLIC, Kind, Label, Rows
from duet_p2p.engine.lineage import HIDDEN_MARK, ROWS_MARK, Lineage, Owned
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.routine import Routine
from duet_p2p.engine.store import Slot, Store

__all__ = ["Repetition", "repetition_of"]


@dataclass(frozen=True, slots=True)
class _Operand:
    """One tensor among the arguments, as it was."""

    position: int
    local: int
    """Where the store has it."""
    first: int
    """The first operand that was the very same tensor."""
    kind: type
    shape: torch.Size
    dtype: torch.dtype
    requires_grad: bool
    label: Label | None
    rows: Rows | None
    is_shared: bool
    tags: tuple[str, ...]
    made: Made | None
    root: str | None
    """As its entry had it; None: no entry."""
    where: ReferenceType[torch.Tensor] | None
    """The tensor, where its form says how it lies over its storage."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """A plain command's last run."""

    args: tuple[Any, ...]
    """With None in the place of tensors."""
    wire: tuple[Any, ...]
    kwargs: dict[str, Any]
    operands: tuple[_Operand, ...]
    routine: Routine
    verdict: Verdict
    tags: tuple[str, ...]
    node: Made | None
    """Of its result; None: it has to be made anew."""

    def given(self, found: Found) -> Arguments:
        """The arguments of the call."""
        return Arguments(found.args, self.kwargs, found.slots, found.at, self.wire)

    def found(self, store: Store, lineage: Lineage) -> Found | None:
        """The same operands as they are now; None where anything differs."""
        args = list(self.args)
        slots: dict[int, Slot] = {}
        by_place: list[Slot | None] = [None] * len(args)
        storages: list[int] = []
        entries: list[Owned | None] = []
        shared: list[tuple[torch.Tensor, int]] = []
        at, find = lineage.at, store.find
        for known in self.operands:
            slot = find(known.local)
            if slot is None or slot.label is not PUBLIC or slot.poison is not None:
                return None
            value: Any = slot.value
            kind: type = type(value)  # not to be narrowed
            if kind is not known.kind or slot.tags is not known.tags:
                return None
            if (
                value.shape != known.shape or value.dtype is not known.dtype
                or value.requires_grad is not known.requires_grad
                or value.layout is not torch.strided or not value.is_cpu
            ):  # fmt: skip
                return None
            storage = value.untyped_storage()._cdata
            entry, marks, rows = at(storage), value.__dict__, None
            if HIDDEN_MARK in marks or slot.made is not known.made:
                return None
            if entry is None:
                if known.label is not None:
                    return None
            else:
                mark = marks.get(ROWS_MARK)
                if mark is not None and mark[1] == entry.uid and mark[2] == entry.version:
                    rows = mark[0]
                if (
                    entry.label is not known.label or entry.hidden or entry.poison is not None
                    or entry.written is not None or entry.root is not known.root
                    or entry.is_shared is not known.is_shared
                ):  # fmt: skip
                    return None
                if entry.is_shared and not value.is_inference():
                    shared.append((value, value._version))
            if rows is not known.rows or (known.where is not None and known.where() is not value):
                return None
            args[known.position] = value
            slots[known.local] = by_place[known.position] = slot
            storages.append(storage)
            entries.append(entry)
        for place, known in enumerate(self.operands):
            for before in range(place):
                is_same = args[self.operands[before].position] is args[known.position]
                if is_same is not (self.operands[before].first == known.first):
                    return None
        return Found(tuple(args), slots, tuple(by_place), storages, entries, shared)


@dataclass(slots=True)
class Found:
    """The operands of a repetition."""

    args: tuple[Any, ...]
    slots: dict[int, Slot]
    at: tuple[Slot | None, ...]
    storages: list[int]
    entries: list[Owned | None]
    shared: list[tuple[torch.Tensor, int]]
    """Owner's objects among them, with their versions."""


def repetition_of(
    given: Arguments,
    routine: Routine,
    verdict: Verdict,
    tags: tuple[str, ...],
    node: Made,
    lineage: Lineage,
) -> Repetition | None:
    """What to compare next time; None if that cannot be said place by place.

    Args:
        given: the arguments of a plain command that ran by a routine, as they still are.
        routine: that it ran by.
        verdict: on its result.
        tags: of its result.
        node: of its result.
        lineage: where labels are kept.
    """
    operands: list[_Operand] = []
    seen: list[torch.Tensor] = []
    args: list[Any] = []
    is_made_alike = True
    for position, value in enumerate(given.args):
        if not isinstance(value, torch.Tensor):
            args.append(value)
            continue
        slot = given.at[position]
        entry = lineage.entry(value)
        if slot is None or (entry is not None and entry.written is not None):
            return None
        if routine.is_met and (entry is None or entry.label.kind is Kind.PUBLIC):
            is_made_alike = False  # its content is part of the node
        args.append(None)
        operands.append(_operand(position, slot, value, seen, given, lineage))
        seen.append(value)
    if any([isinstance(value, torch.Tensor) for value in given.kwargs.values()]):
        return None
    if len(given.slots) > len(operands):
        return None
    return Repetition(
        tuple(args), given.wire, given.kwargs, tuple(operands), routine, verdict, tags,
        node if is_made_alike else None,
    )  # fmt: skip


def _operand(
    position: int, slot: Slot, value: torch.Tensor, seen: list[torch.Tensor], given: Arguments,
    lineage: Lineage,
) -> _Operand:  # fmt: skip
    entry = lineage.entry(value)
    mark = value.__dict__.get(ROWS_MARK)
    rows = None
    if entry is not None and mark is not None:
        rows = mark[0] if (mark[1], mark[2]) == (entry.uid, entry.version) else None
    first = next((n for n, known in enumerate(seen) if known is value), len(seen))
    return _Operand(
        position=position,
        local=given.wire[position].id,
        first=first,
        kind=type(value),
        shape=value.shape,
        dtype=value.dtype,
        requires_grad=value.requires_grad,
        label=None if entry is None else entry.label,
        rows=rows,
        is_shared=entry is not None and entry.is_shared,
        tags=slot.tags,
        made=slot.made,
        root=None if entry is None else entry.root,
        where=ref(value) if entry is not None and entry.root else None,
    )
