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

from collections.abc import Callable
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
from duet_p2p.engine.recipe import Made, made
from duet_p2p.engine.routine import Question, Routine, can_be_plain
from duet_p2p.engine.running import Running
from duet_p2p.engine.settings import has_public_settings
from duet_p2p.engine.store import Slot, Store
from duet_p2p.engine.watch import Watch
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
    slots: list[Slot]
    likenesses: list[Likeness]
    nodes: dict[int, Slot]
    args: list[Any]
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
    is_by_nodes: bool
    """All operands are known by their nodes, or nothing private is among them."""
    tags_in: tuple[tuple[str, ...], ...]
    """Of the operands, when the command last ran."""
    tags: tuple[str, ...]

    def tagged(self, slots: list[Slot]) -> tuple[str, ...]:
        """The tags of the result, as those of the operands are now."""
        for slot, known in zip(slots, self.tags_in, strict=True):
            if slot.tags is not known:
                self.tags_in = tuple([slot.tags for slot in slots])
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

    def run(self, seq: int, op: Op, modes: dict[str, Callable[[], Any]]) -> bool:
        """Whether a command has run, and left what it leaves on the other ways.

        Args:
            seq: its number.
            op: the command.
            modes: what puts torch into a grad mode.
        """
        asked = self._ask(op)
        if asked is None:
            return False
        known = self._known.get(asked.key)
        if known is None:
            if asked.key not in self._known:  # else it was looked at, and is none
                self._asked = asked
            return False
        store, admission, out = self._whole.store, self._whole.admission, op.outs[0]
        if not (store.is_fresh(out) and len(store) < admission.room.objects):
            return False
        if not admission.admit_again(known.spec, known.nbytes, store):
            return False
        watch = self._whole.watch
        watch.begin(seq, op.name)
        if not known.is_met:
            watch.is_public()
        self._lineage.epoch += 1
        result = self._called(known, op, asked, modes)
        slot = None if result is None else self._kept(known, op, asked, result)
        if slot is None:
            admission.room.give_back(known.nbytes)
            return False
        store.place(out, slot)
        return True

    def _ask(self, op: Op) -> _Asked | None:
        """How a command is looked up; None if it is not plain."""
        if len(op.outs) != 1:
            return None
        lineage, look = self._lineage, self._likenesses.of
        count, find = lineage.count, self._whole.store.find
        parts: list[Any] = [op.name, op.mode]
        args: list[Any] = []
        slots: list[Slot] = []
        likenesses: list[Likeness] = []
        nodes: dict[int, Slot] = {}
        records: _Records | None = None
        for value in op.args:
            kind = type(value)
            if kind is Ref:
                slot = find(value.id)
                if slot is None:
                    return None
                likeness = slot.likeness if slot.seen == count else look(slot)
                if likeness is None:
                    return None
                lie = slot.records
                if lie is not None and lie is not records:
                    if records is not None and lie != records:
                        return None  # which records meet which is for a question
                    records = lie
                parts.append(likeness)
                if slots:  # rules tell an operand that stands twice from two that look the same
                    parts.append(_place(slots, slot))
                slots.append(slot)
                likenesses.append(likeness)
                nodes[value.id] = slot
                value = slot.value
            elif kind in _NUMBERS or _is_plain(kind, value):
                parts += (kind, value)  # 1, 1.0 and True are equal
            else:
                return None
            args.append(value)
        for name, value in op.kwargs.items() if op.kwargs else ():
            kind = type(value)
            if not (kind in _NUMBERS or _is_plain(kind, value)):
                return None
            parts += (name, kind, value)
        return _Asked(tuple(parts), slots, likenesses, nodes, args, records)

    def _called(
        self, known: _Known, op: Op, asked: _Asked, modes: dict[str, Callable[[], Any]]
    ) -> torch.Tensor | None:
        """What the call gives; None if that was not foreseen."""
        shared: list[tuple[torch.Tensor, int]] = []
        if known.has_shared:
            for value, likeness in zip(asked.slots, asked.likenesses, strict=True):
                if likeness.is_shared and not value.value.is_inference():
                    shared.append((value.value, value.value._version))
        try:
            if op.mode == "g" and torch.is_grad_enabled():
                result = known.function(*asked.args, **op.kwargs)
            else:
                with modes[op.mode]():
                    result = known.function(*asked.args, **op.kwargs)
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

    def _kept(self, known: _Known, op: Op, asked: _Asked, result: torch.Tensor) -> Slot | None:
        """A result with its label and node; None if it is a view, and the label for a judge."""
        lineage = self._lineage
        storage = result.untyped_storage()
        address = storage._cdata
        is_new = lineage.at(address) is None
        if known.label is None:
            slot = Slot(result, made=self._node(known, op, asked))
            if is_new:
                slot.likeness, slot.seen = known.likeness, lineage.count
            slot.tags = known.tagged(asked.slots)
            return slot
        if not is_new:
            return None
        for operand, likeness in zip(asked.slots, asked.likenesses, strict=True):
            if not likeness.has_entry and operand.value.untyped_storage()._cdata == address:
                return None
        node = self._node(known, op, asked)
        entry = lineage.own_storage(storage)
        entry.label = known.label
        if result.requires_grad:
            entry.in_graph = True
        if known.is_kept:
            entry.made = node
        slot = Slot(result, tags=known.tagged(asked.slots), made=node)
        if known.rows is not None:
            assert asked.records is not None
            slot.records = asked.records
            setattr(result, ROWS_MARK, (known.lying(asked.records), entry.uid, entry.version))
        slot.likeness, slot.seen = known.likeness, lineage.count
        return slot

    def _node(self, known: _Known, op: Op, asked: _Asked) -> Made:
        if known.is_by_nodes:
            nodes = {id: slot.made for id, slot in asked.nodes.items() if slot.made is not None}
            return made(known.name, op.args, op.kwargs, nodes)
        inputs, forms = inputs_of(asked.nodes, self._lineage)
        return made(known.name, op.args, op.kwargs, inputs, forms)

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
        likeness = self._likenesses.of(slot)
        rows = _rows_of(verdict, asked.records)
        if likeness is None or slot.records != (None if rows is None else rows.key):
            return None
        entry = self._lineage.at(address)
        if is_public:
            if entry is not None:
                return None
        elif entry is None or entry.label is not verdict.label:
            return None
        return _Known(
            name=run.rule.name,
            function=run.function,
            spec=routine.spec,
            nbytes=routine.nbytes,
            is_met=routine.is_met,
            label=None if is_public else verdict.label,
            is_kept=is_private(verdict.label),
            rows=rows,
            likeness=likeness,
            has_shared=any([one.is_shared for one in asked.likenesses]),
            is_by_nodes=not routine.is_met or all(
                [one.is_known_by_node for one in asked.likenesses]
            ),
            tags_in=tuple([one.tags for one in asked.slots]),
            tags=slot.tags,
        )  # fmt: skip

    def forget(self) -> None:
        """The command is over: what is learnt next is not about it."""
        self._asked = None


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


def _place(slots: list[Slot], slot: Slot) -> int:
    """Where a tensor stood first."""
    for place, known in enumerate(slots):
        if known.value is slot.value:
            return place
    return len(slots)
