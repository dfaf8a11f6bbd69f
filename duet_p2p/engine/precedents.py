"""Verdicts that were given before: the same question has the same answer.

`judge` changes nothing and looks at nothing but what stands in a `_Question`: the name, plain
arguments, and of each tensor its shape, dtype, label and rows, and whether its shape is hidden. A
loop asks the same question again and again, and finding the answer takes a fifth of the time of
working it out. A call with anything else among its arguments (a list of tensors, an optimizer), or
whose rule looks at values, is judged anew each time.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.engine import axes
from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.judge import Verdict, judge
from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.lineage import Lineage, is_atomic
from duet_p2p.surface.table import Rule

__all__ = ["Precedents"]

_Question = tuple[Any, ...]
_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})


class Precedents:
    """The verdicts of one engine."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._known: dict[_Question, Verdict] = {}

    def judge(
        self, rule: Rule, given: Arguments, result: Any, extra: Label, *, is_inferred: bool
    ) -> Verdict:
        """`judge`, or what it said when it was asked the same."""
        question = self._question(rule.name, given, result, extra, is_inferred)
        found = None if question is None else self._known.get(question)
        if found is None:
            found = judge(
                rule.name, rule, given, result, self._lineage, extra, is_inferred=is_inferred
            )
            if question is not None and not found.is_by_values:
                self._known[question] = found
                while len(self._known) > limits.PRECEDENTS:
                    del self._known[next(iter(self._known))]
        return found

    def _question(
        self, name: str, given: Arguments, result: Any, extra: Label, is_inferred: bool
    ) -> _Question | None:
        """Everything that the verdict follows from; None if that cannot be said in a few words."""
        if type(result) not in _TENSORS or axes.base_name(name) in axes.BY_VALUES:
            return None
        parts: list[Any] = [name, is_inferred, extra, result.shape, len(given.args)]
        parts += given.kwargs
        for value in given.values():
            if type(value) in _TENSORS:
                parts.append(self._facts(value, given))
            elif isinstance(value, str | bytes) and len(value) > limits.PRECEDENT_CHARS:
                return None
            elif is_atomic(value):
                parts += (type(value), value)  # 1, 1.0 and True are equal
            else:
                return None
        tensors = given.tensors()
        if len(tensors) > 1:  # rules tell an operand that stands twice from two that look the same
            parts += [_first(tensors, tensor) for tensor in tensors]
        for slot in given.slots.values():
            if slot.is_loose:
                return None
            if slot.label is not PUBLIC:
                parts.append(slot.label)
        question = tuple(parts)
        try:
            hash(question)
        except TypeError:  # a slice
            return None
        return question

    def _facts(self, tensor: torch.Tensor, given: Arguments) -> tuple[Any, ...]:
        lineage = self._lineage
        entry = lineage.entry(tensor)
        hidden = lineage.hidden(tensor)  # a view's shape can be, and that of its storage not
        if entry is None:
            return tensor.shape, tensor.dtype, tensor.requires_grad, hidden
        rows = given.rows(tensor, lineage)
        return tensor.shape, tensor.dtype, tensor.requires_grad, hidden, entry.label, rows


def _first(tensors: list[torch.Tensor], tensor: torch.Tensor) -> int:
    """The place of a tensor's first mention; `index` would compare values."""
    place = 0
    while tensors[place] is not tensor:
        place += 1
    return place
