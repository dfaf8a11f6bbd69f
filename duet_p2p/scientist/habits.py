"""Calls like one before: what a plain call will give is known without asking again.

A loop makes the same calls on the same kinds of tensors. Of a plain call (pointers to tensors of
known shape and public numbers in, one new tensor out) everything that this side works out follows
from the name, the grad mode, the numbers, and of each pointer its spec and its tags. So the first
such call goes the whole way through dispatch.py, and leaves a `Habit`; the next one looks it up.

What does *not* follow from those is never remembered: whether the pointers are of this session and
still alive, the autocast of this thread, the recording of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from duet_p2p import limits
from duet_p2p.scientist import knowledge
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.table import Rule
from duet_p2p.wire.values import Ref

__all__ = ["Asked", "Habit", "asked", "find", "learn"]

_NUMBERS: Final = frozenset({type(None), bool, int, float, complex})


class Habit(NamedTuple):
    """What a call gave."""

    name: str
    """Canonical."""
    type: str
    """Of the result, like the next two."""
    spec: TensorSpec
    tags: tuple[str, ...]


Asked = tuple[tuple[Any, ...], tuple[Any, ...], list[Pointer]]
"""A plain call: all that the answer follows from, its arguments as they travel, its pointers."""

_KNOWN: Final[dict[tuple[Any, ...], Habit]] = {}


def asked(name: str, args: Sequence[Any], mode: str) -> Asked | None:
    """What a call without keywords asks; None if it is not plain.

    Args:
        name: as the caller has it.
        args: of the call.
        mode: of gradients.
    """
    key: list[Any] = [name, mode]
    wire: list[Any] = []
    inputs: list[Pointer] = []
    for value in args:
        kind = type(value)
        if kind in _NUMBERS:
            key += (kind, value)  # 1, 1.0 and True are equal
            wire.append(value)
        elif isinstance(value, TensorPointer) and value._spec is not None:
            key += (value._spec, value._tags)
            wire.append(Ref(value._id))
            inputs.append(value)
        else:
            return None
    return tuple(key), tuple(wire), inputs


def find(call: Asked) -> Habit | None:
    """What an equal call gave."""
    return _KNOWN.get(call[0])


def learn(call: Asked, rule: Rule, result: Any, inferred: Any) -> None:
    """A call went the whole way.

    Args:
        call: that it was.
        rule: of its name.
        result: what its caller gets.
        inferred: what shape inference said.
    """
    key, _, inputs = call
    if rule.shape != "static" or rule.name in knowledge.EFFECTS:
        return
    if not isinstance(result, TensorPointer) or type(inferred) is not TensorSpec:
        return
    if any([result is pointer for pointer in inputs]) or result._items is not None:
        return  # changed in place, or more is known of it
    if len(_KNOWN) >= limits.HABITS:
        _KNOWN.clear()  # in one step, since sessions in several threads share it
    _KNOWN[key] = Habit(rule.name, result._type, inferred, result._tags)
