"""Commands like one that ran before: the same question, so every answer but the numbers is known.

A loop asks the same of the same kinds of values again and again. Of a plain operation (tensors and
public numbers in, one new tensor out, nothing written, nothing drawn) all that the executor works
out before and after the call follows from what stands in a `Question`: name, grad mode, plain
arguments, and of each tensor its shape, dtype, label and rows. So the first such command goes the
whole way, and leaves a `Routine` behind: its shapes, its bytes, whether private values met, and the
verdict. The next one looks that up. Which batch of a loader it is makes no other question: rules
only ask whether operands have the *same* records, and the answer speaks of the records that came.

What does *not* follow from the question is never remembered: whether ids are fresh, quotas, guards
of the name, writes to the owner's objects, whether the result has the shape that was foreseen.
Those are looked at each time. And wherever a command is not plain (poison, hidden shapes, private
numbers, lists, a time that values decide) there is no question, and it goes the whole way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch

from duet_p2p import limits
from duet_p2p.engine import axes
from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.drawing import is_random
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import PUBLIC, Rows
from duet_p2p.engine.lineage import HIDDEN_MARK, ROWS_MARK, Lineage, Owned
from duet_p2p.surface.callables import NEEDS_CONTEXT
from duet_p2p.surface.shapes import TensorSpec, result_bytes
from duet_p2p.surface.table import TABLE, Rule, writes
from duet_p2p.surface.timing import is_value_timed

__all__ = ["Question", "Routine", "Routines", "can_be_plain"]

_STRIDED: Final = torch.strided
_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})
_NUMBERS: Final = frozenset({bool, int, float, complex, type(None), torch.dtype})
_Records = tuple[str | int, ...]
_TEXTS: Final = frozenset({str, bytes})
_APART: Final = frozenset({
    "batch_norm", "instance_norm", "backward", "grad", "retain_grad", "requires_grad", "data",
    "manual_seed",
})  # fmt: skip
"""Bases of names with effects of their own."""


class Question:
    """Everything that the answers follow from, and what was found on the way.

    Attributes:
        key: all of the first.
        storages: of the tensors among the arguments, in order.
        entries: of the same.
        shared: owner's objects among the arguments.
        records: the `Rows.key` of operands with records, each once, in order.
        masks: the dropouts behind those rows, each once, in order: no two steps have the same ones.
    """

    __slots__ = ("entries", "key", "masks", "records", "shared", "storages")

    def __init__(
        self,
        key: tuple[Any, ...],
        storages: list[int],
        entries: list[Owned | None],
        shared: list[torch.Tensor],
        records: list[_Records],
        masks: list[int],
    ) -> None:
        self.key = key
        self.storages = storages
        self.entries = entries
        self.shared = shared
        self.records = records
        self.masks = masks


class Routine(NamedTuple):
    """What is known about a command before it runs."""

    spec: TensorSpec
    nbytes: int
    is_met: bool
    """Private values take part."""
    verdict: Verdict
    records: int
    """Which of the question's `records` the verdict's rows are."""
    thinned: tuple[tuple[int, float], ...]
    """Which of the question's `masks` are behind them, with their chances."""

    def verdict_on(self, question: Question) -> Verdict:
        """The verdict, with the records that came this time."""
        verdict, rows = self.verdict, self.verdict.rows
        if rows is None:
            return verdict
        key = question.records[self.records]
        if key is rows.key and not self.thinned:
            return verdict
        thinned = frozenset([(question.masks[place], chance) for place, chance in self.thinned])
        rows = Rows(rows.axis, rows.records, key, rows.atoms, rows.floor, thinned)
        return Verdict(verdict.label, rows, verdict.is_hidden)


class Routines:
    """The routines of one engine."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._known: dict[tuple[Any, ...], Routine] = {}

    def find(self, question: Question) -> Routine | None:
        """What was learnt from a command with the same question."""
        return self._known.get(question.key)

    def learn(self, question: Question, spec: Any, is_met: bool, verdict: Verdict | None) -> None:
        """A command went the whole way, and nothing on it was out of the ordinary."""
        if type(spec) is not TensorSpec or verdict is None:
            return
        if verdict.is_hidden or verdict.is_by_values:
            return
        for entry in question.entries:  # one object for equal labels: they are compared each time
            if entry is not None and entry.label == verdict.label:
                verdict = replace(verdict, label=entry.label)
        records = 0
        thinned: tuple[tuple[int, float], ...] = ()
        if verdict.rows is not None:
            if verdict.rows.key not in question.records:
                return
            records = question.records.index(verdict.rows.key)
            if not {mask for mask, _ in verdict.rows.thinned}.issubset(question.masks):
                return
            thinned = tuple([(question.masks.index(m), c) for m, c in verdict.rows.thinned])
        self._known[question.key] = Routine(
            spec, result_bytes(spec), is_met, verdict, records, thinned
        )
        while len(self._known) > limits.PRECEDENTS:
            del self._known[next(iter(self._known))]

    def question(self, rule: Rule, mode: str, given: Arguments) -> Question | None:
        """What this command asks; None if it is not plain."""
        name = rule.name
        if name not in _PLAIN:
            return None
        for slot in given.slots.values():
            if slot.label is not PUBLIC or slot.poison is not None:
                return None
        values: Iterable[Any] = given.args
        parts: list[Any] = [name, mode, len(given.args)]
        if given.kwargs:
            parts += given.kwargs
            values = (*given.args, *given.kwargs.values())
        tensors: list[torch.Tensor] = []
        entries: list[Owned | None] = []
        storages: list[int] = []
        shared: list[torch.Tensor] = []
        records: list[_Records] = []
        masks: list[int] = []
        at = self._lineage.at
        for value in values:  # each begins with its type
            kind = type(value)
            if kind not in _TENSORS:
                if not (kind in _NUMBERS or _is_plain(kind, value)):
                    return None
                parts += (kind, value)  # 1, 1.0 and True are equal
                continue
            marks = value.__dict__
            if value.layout is not _STRIDED or not value.is_cpu or HIDDEN_MARK in marks:
                return None
            storage = value.untyped_storage()._cdata
            entry = at(storage)
            label = rows = None
            if entry is not None:
                if entry.hidden or entry.poison is not None:
                    return None
                label, mark = entry.label, marks.get(ROWS_MARK)
                if mark is not None and mark[1] == entry.uid and mark[2] == entry.version:
                    rows = _asked_of(mark[0], records, masks)
                if entry.is_shared:
                    shared.append(value)
            # rules tell an operand that stands twice from two that look the same
            place = _place(tensors, value) if tensors else 0
            parts += (kind, value.shape, value.dtype, value.requires_grad, label, rows, place)
            tensors.append(value)
            storages.append(storage)
            entries.append(entry)
        if name in _WRITING and not (
            len(tensors) == 1 and given.args and given.args[0] is tensors[0]
        ):
            return None  # a tensor may say whether something is written
        return Question(tuple(parts), storages, entries, shared, records, masks)


def _asked_of(rows: Rows, records: list[_Records], masks: list[int]) -> tuple[Any, ...]:
    """What rules may ask about the rows of an operand; joins what the question has of them."""
    key, thinned = rows.key, rows.thinned
    if key not in records:
        records.append(key)
    if thinned:
        masks += [m for m, _ in sorted(thinned) if m not in masks]
        thinned = frozenset([(masks.index(m), c) for m, c in thinned])
    return (rows.axis, rows.records, rows.atoms, rows.floor, thinned, records.index(key))


def can_be_plain(name: str) -> bool:
    """Whether a canonical name is one whose calls give a new tensor and do nothing else."""
    return name in _PLAIN


def _is_plain(kind: type, value: Any) -> bool:
    """Whether this is a short text, or a tuple of ints."""
    if kind is tuple:
        return all([type(item) is int for item in value])
    return kind in _TEXTS and len(value) <= limits.PRECEDENT_CHARS


def _place(tensors: list[torch.Tensor], tensor: torch.Tensor) -> int:
    """Where a tensor stood first; `index` would compare values."""
    for place, known in enumerate(tensors):
        if known is tensor:
            return place
    return len(tensors)


def _can_be_plain(rule: Rule) -> bool:
    base = axes.base_name(rule.name)
    return (
        rule.form in ("function", "method")
        and rule.result == "tensor"
        and rule.shape == "static"
        and bool(base)
        and base not in axes.BY_VALUES
        and base not in _APART
        and rule.name not in NEEDS_CONTEXT
        and not is_random(rule.name)
        and not is_value_timed(rule)
    )


_PLAIN: Final = frozenset(rule.name for rule in TABLE.values() if _can_be_plain(rule))
"""Names whose calls give a new tensor and do nothing else, as far as the name tells."""
_WRITING: Final = frozenset(name for name in _PLAIN if writes(TABLE[name]))
"""Those of them that write to an argument if another one says so."""
