"""Commands like one that ran before, on operands that are like those it had: the shortest way.

A routine (routine.py) says what follows from a question. This is for the plainest of those, as
eager loops send them one by one: tensors and numbers in, one new tensor out. Each operand is asked
for as one object, its `Likeness`, and what the routine says about the result includes the result's
likeness, so that the next command need not look at it. Labels of such a command are what is looked
up here and written into a fresh entry.

What a routine looks at each time is looked at here as well: ids, quotas, the guards of the name,
writes to the owner's objects, what the call gave and whether its storage is new. If anything is
not as foreseen, nothing has happened yet but a call that leaves nothing behind; its result is
dropped, and the command goes the way that it would have gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import torch

from duet_p2p import limits
from duet_p2p.engine.admission import Admission
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.form import inputs_of
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import Label, Rows
from duet_p2p.engine.likeness import Likeness, Likenesses
from duet_p2p.engine.lineage import ROWS_MARK, Lineage
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.routine import Question, Routine, can_be_plain
from duet_p2p.engine.running import MODES, Running
from duet_p2p.engine.settings import has_public_settings
from duet_p2p.engine.store import Slot, Store
from duet_p2p.engine.watch import Watch
from duet_p2p.surface.guard import apart
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.tags import result_tags
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["Familiar"]

_STRIDED: Final = torch.strided
_NUMBERS: Final = frozenset({bool, int, float, type(None)})
"""Types of wire values that stand for themselves."""
_Records = tuple[str | int, ...]


class _Whole(Protocol):
    """The executor, as this way needs it."""

    admission: Admission
    watch: Watch

    @property
    def store(self) -> Store:
        """The objects that commands find now."""


class _Asked(NamedTuple):
    """A command, as it is looked up."""

    key: tuple[Any, ...]
    args: list[Any]
    operands: dict[int, Slot]
    """By the ids that the arguments name."""
    records: _Records | None
    """The `Rows.key` of all operands that have records."""


@dataclass(slots=True)
class _Known:
    """What is known about a command before it runs."""

    name: str
    """Canonical."""
    function: Callable[..., Any]
    spec: TensorSpec
    nbytes: int
    is_met: bool
    """Private values take part."""
    label: Label | None
    """Of the result; None: it is public."""
    is_kept: bool
    """The label is private, so the node stays with the storage."""
    rows: Rows | None
    """Of the result, when the command last ran."""
    likeness: Likeness
    """Of the result."""
    has_shared: bool
    """The owner's objects are among the operands."""
    have_entries: bool
    """The storages of all operands have entries, so none is where a result has none."""
    is_by_nodes: bool
    """All operands are known by their nodes, or nothing private is among them."""
    tags_in: tuple[tuple[str, ...], ...]
    """Of the operands, when the command last ran."""
    tags: tuple[str, ...]

    def tagged(self, operands: Iterable[Slot]) -> tuple[str, ...]:
        """The tags of the result, as those of the operands are now."""
        for slot, known in zip(operands, self.tags_in, strict=True):
            if slot.tags is not known:
                self.tags_in = tuple([slot.tags for slot in operands])
                self.tags = result_tags(self.name, self.tags_in)
                break
        return self.tags

    def lying(self, records: _Records) -> Rows:
        """The rows of the result, with the records that came this time."""
        rows = self.rows
        assert rows is not None
        if rows.key is not records:
            rows = self.rows = Rows(rows.axis, rows.records, records, rows.atoms, rows.floor)
        return rows


class Familiar:
    """The shortest way, for commands that stand alone: none of a plan, none of a closure.

    Args:
        whole: the executor.
        lineage: where labels are kept.
    """

    def __init__(self, whole: _Whole, lineage: Lineage) -> None:
        self._whole = whole
        self._lineage = lineage
        self._likenesses = Likenesses(lineage)
        self._known: dict[tuple[Any, ...], _Known | None] = {}
        self._asked: _Asked | None = None

    def run(self, seq: int, op: Op) -> bool:
        """Whether a command has run, and left what it leaves on the other ways.

        Args:
            seq: its number.
            op: the command.
        """
        asked = self._ask(op)
        if asked is None:
            return False
        known = self._known.get(asked[0])
        if known is None:
            if asked[0] not in self._known:  # else it was looked at, and is none
                self._asked = _Asked(*asked)
            return False
        whole, out = self._whole, op.outs[0]
        store, admission = whole.store, whole.admission
        if not (store.is_fresh(out) and len(store) < admission.room.objects):
            return False
        if not admission.admit_again(known.spec, known.nbytes, store):
            return False
        whole.watch.begin(seq, op.name)
        if not known.is_met:
            whole.watch.is_public()
        self._lineage.epoch += 1
        _, args, operands, records = asked
        result = _called(known, op, args, operands)
        slot = None if result is None else self._kept(known, op, operands, records, result)
        if slot is None:
            admission.room.give_back(known.nbytes)
            return False
        store.place(out, slot)
        return True

    def _ask(
        self, op: Op
    ) -> tuple[tuple[Any, ...], list[Any], dict[int, Slot], _Records | None] | None:
        """The fields of an `_Asked`; None if the command is not plain."""
        if len(op.outs) != 1:
            return None
        count, find = self._lineage.count, self._whole.store.find
        parts: list[Any] = [op.name, op.mode]
        args: list[Any] = []
        operands: dict[int, Slot] = {}
        records: _Records | None = None
        for value in op.args:
            kind = type(value)
            if kind is Ref:
                id = value.id
                slot = find(id)
                if slot is None:
                    return None
                if slot.seen != count and not self._likenesses.look(slot):
                    return None
                parts.append(slot.likeness)
                lie = slot.records
                if lie is not None and lie is not records:
                    if records is not None and lie != records:
                        return None  # which records meet which is for a question
                    records = lie
                if operands:  # rules tell an operand that stands twice from two that look the same
                    parts.append(_place(operands, slot))
                operands[id] = slot
                args.append(slot.value)
            elif kind in _NUMBERS or _is_plain(kind, value):
                parts += (kind, value)  # 1, 1.0 and True are equal
                args.append(value)
            else:
                return None
        if op.kwargs:
            for name, value in op.kwargs.items():
                kind = type(value)
                if not (kind in _NUMBERS or _is_plain(kind, value)):
                    return None
                parts += (name, kind, value)
        return tuple(parts), args, operands, records

    def _kept(
        self, known: _Known, op: Op, operands: dict[int, Slot], records: _Records | None,
        result: torch.Tensor,
    ) -> Slot | None:  # fmt: skip
        """A result with its label and node; None if it is a view, and the label for a judge."""
        lineage, label = self._lineage, known.label
        storage = result.untyped_storage()
        address = storage._cdata
        is_new = lineage.at(address) is None
        if label is not None:
            if not is_new:
                return None
            if not known.have_entries and _is_of_one(address, operands.values()):
                return None
        if known.is_by_nodes:
            nodes = {id: slot.made for id, slot in operands.items() if slot.made is not None}
            node = Made(known.name, op.args, op.kwargs, nodes)  # numbers: nothing to shorten
        else:
            inputs, forms = inputs_of(operands, lineage)
            node = Made(known.name, op.args, op.kwargs, inputs, forms)
        if op.mode != "g":
            node.mode = op.mode
        slot = Slot(result, tags=known.tagged(operands.values()), made=node)
        if label is not None:
            entry = lineage.enter(storage, address)
            entry.label, entry.stays = label, True
            if result.requires_grad:
                entry.in_graph = True
            if known.is_kept:
                entry.made = node
            if known.rows is not None and records is not None:
                slot.records = records
                setattr(result, ROWS_MARK, (known.lying(records), entry.uid, entry.version))
        if is_new:
            slot.likeness, slot.seen = known.likeness, lineage.count
        return slot

    def learn(self, run: Running, question: Question, routine: Routine, slot: Slot) -> None:
        """A command went the way of its routine, and this is what it left."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        self._known[asked.key] = self._learnt(run, question, routine, asked, slot)
        while len(self._known) > limits.PRECEDENTS:
            del self._known[next(iter(self._known))]

    def _learnt(
        self, run: Running, question: Question, routine: Routine, asked: _Asked, slot: Slot
    ) -> _Known | None:
        given, verdict = run.given, routine.verdict
        if not can_be_plain(run.rule.name) or not has_public_settings(run.rule.name, given):
            return None
        if not _is_as_said(given, asked.args, run.op.kwargs) or routine.thinned:
            return None
        is_public = verdict.label.is_public
        address = slot.value.untyped_storage()._cdata
        if not is_public and address in question.storages:
            return None  # a view
        likenesses = [operand.likeness for operand in asked.operands.values()]
        rows = _rows_of(verdict, asked.records)
        if not self._likenesses.look(slot) or slot.records != (None if rows is None else rows.key):
            return None
        entry = self._lineage.at(address)
        if is_public:
            if entry is not None:
                return None
        elif entry is None or entry.label is not verdict.label:
            return None
        return _Known(
            name=run.rule.name,
            function=apart(run.function, is_checked=True),
            spec=routine.spec,
            nbytes=routine.nbytes,
            is_met=routine.is_met,
            label=None if is_public else verdict.label,
            is_kept=is_private(verdict.label),
            rows=rows,
            likeness=slot.likeness,
            has_shared=any([one.is_shared for one in likenesses]),
            have_entries=all([one.has_entry for one in likenesses]),
            is_by_nodes=not routine.is_met or all([one.is_known_by_node for one in likenesses]),
            tags_in=tuple([operand.tags for operand in asked.operands.values()]),
            tags=slot.tags,
        )  # fmt: skip

    def forget(self) -> None:
        """The command is over: what is learnt next is not about it."""
        self._asked = None


def _called(
    known: _Known, op: Op, args: list[Any], operands: dict[int, Slot]
) -> torch.Tensor | None:
    """What the call gives; None if that was not foreseen."""
    shared: list[tuple[torch.Tensor, int]] = []
    if known.has_shared:
        for slot in operands.values():
            if slot.likeness.is_shared and not slot.value.is_inference():
                shared.append((slot.value, slot.value._version))
    try:
        if op.mode == "g" and torch.is_grad_enabled():
            result = known.function(*args, **op.kwargs)
        else:
            with MODES[op.mode]():
                result = known.function(*args, **op.kwargs)
    except Exception:  # it is called again where failures are looked after
        return None
    spec = known.spec
    if (
        type(result) is not torch.Tensor or result.shape != spec.shape
        or result.dtype is not spec.dtype or result.requires_grad is not spec.requires_grad
        or result.layout is not _STRIDED or not result.is_cpu
    ):  # fmt: skip
        return None
    for tensor, version in shared:
        if tensor._version != version:  # it writes: that is found again, and told
            return None
    return result


def _is_of_one(address: int, operands: Iterable[Slot]) -> bool:
    """Whether a storage is that of an operand."""
    return any([slot.value.untyped_storage()._cdata == address for slot in operands])


def _is_as_said(given: Arguments, args: list[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the call gets the very arguments that the command has, and under the same names."""
    if len(given.args) != len(args) or [*given.kwargs] != [*kwargs]:
        return False
    for value, said in zip(given.values(), (*args, *kwargs.values()), strict=True):
        if type(value) is not type(said):
            return False
        if value is not said and (type(value) is not tuple or value != said):
            return False
    return True


def _rows_of(verdict: Verdict, records: _Records | None) -> Rows | None:
    """The rows of a verdict, of the records that its operands have."""
    rows = verdict.rows
    if rows is None or records is None:
        return None
    return Rows(rows.axis, rows.records, records, rows.atoms, rows.floor)


def _is_plain(kind: type, value: Any) -> bool:
    """Whether this is a short text, or a tuple of ints."""
    if kind is tuple:
        return all([type(item) is int for item in value])
    return kind is str and len(value) <= limits.PRECEDENT_CHARS


def _place(operands: dict[int, Slot], slot: Slot) -> int:
    """Where a tensor stood first."""
    for place, known in enumerate(operands.values()):
        if known.value is slot.value:
            return place
    return len(operands)
