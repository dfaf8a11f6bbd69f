"""One command, looked up: its rule, its function, and how its arguments are made.

A command that runs once is looked up once. A command of a plan runs again and again: what never
changes of its arguments (numbers, dtypes, texts) is made the first time, objects are found each
time, and everything that a call could write to (lists, dicts, inline tensors) is made anew, so that
no run sees another one's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, resolve
from duet_p2p.engine.lineage import is_atomic
from duet_p2p.engine.store import Slot, Store
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.keywords import plain_keywords
from duet_p2p.surface.plan import refs_of
from duet_p2p.surface.table import TABLE, Rule
from duet_p2p.surface.values import from_wire
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

if TYPE_CHECKING:
    from duet_p2p.engine.repetition import Repetition

__all__ = ["Call", "RepeatedCall"]


class Call:
    """A command that can run, its keyword arguments by their plain names.

    Raises:
        NotAllowed: its name is not on the surface.
        TypeError: an argument is given under two names.
    """

    __slots__ = ("bounds", "function", "keys", "op", "rule")

    rule: Rule
    function: Callable[..., Any]
    keys: frozenset[int]
    """Ids of objects that stand in a key of a dict, or in a set, that the command brings."""
    bounds: frozenset[int]
    """Ids of objects that stand in a slice."""

    def __init__(self, op: Op) -> None:
        found = _OFFERED.get(op.name)
        if found is None:
            raise NotAllowed(f"{op.name} is not on the surface")
        self.op = op
        self.rule, self.function = found
        if op.kwargs:
            _check_places(self.rule, op)
            given = plain_keywords(self.rule.name, op.kwargs)
            if given is not op.kwargs:
                self.op = replace(op, kwargs=dict(given))
        self.keys, self.bounds = _keys(op)

    def arguments(self, store: Store) -> Arguments:
        """The arguments with the objects that they name; see `resolve`."""
        return resolve(self.op, store)


_OFFERED: Final = {
    name: (rule, CALLABLES[rule.name])
    for rule in TABLE.values()
    for name in (rule.name, *rule.aliases)
}
"""Rule and function of each name and alias. CLOSED SET: nothing else can be called."""
_WITH_OBJECT: Final = frozenset({"method", "inplace", "property", "setter", "mutator"})
_KEYWORDS: Final = {"sort": {"reverse"}, "move_to_end": {"last"}, "popitem": {"last"}}
_FREE: Final = frozenset({"Dict", "OrderedDict", "update"})
_SCALARS: Final = frozenset({"Int", "Float", "Bool", "Complex", "String"})


def _keys(op: Op) -> tuple[frozenset[int], frozenset[int]]:
    nested = [v for v in (*op.args, *op.kwargs.values()) if type(v) in _NESTED]
    if not nested:
        return _NONE, _NONE
    keys, bounds = set[int](), set[int]()
    for value in nested:  # which grows
        if isinstance(value, slice):
            bounds.update(refs_of(value))
            continue
        if isinstance(value, dict | set):
            keys.update(number for key in value for number in refs_of(key))
            value = value.values() if isinstance(value, dict) else ()
        nested += [part for part in value if type(part) in _NESTED]
    return frozenset(keys), frozenset(bounds)


_NESTED: Final = frozenset({list, tuple, dict, set, slice, OrderedDict})
_NONE: Final = frozenset[int]()


def _check_places(rule: Rule, op: Op) -> None:
    """Labels are given by place, so an object and what goes into it must not come as keywords."""
    if rule.form in _WITH_OBJECT and not op.args:
        raise TypeError(f"{rule.name} takes its object first, not as a keyword")
    parts = rule.name.split(".")
    if parts[0] != "python" or parts[1] in _SCALARS:
        return
    if rule.short in _FREE:
        refused = op.kwargs.keys() & {"value", "other"}
    else:
        refused = op.kwargs.keys() - _KEYWORDS.get(rule.short, set())
    if refused:
        raise TypeError(f"{rule.name} does not take {min(refused)} as a keyword")


class RepeatedCall(Call):
    """A command that runs many times.

    Raises:
        NotAllowed: its name is not on the surface.
        ProtocolError: an argument is none.

    Attributes:
        repetition: what it found in its last run, if that was plain.
        misses: how often in a row it found something else, as with a loader's batches.
    """

    __slots__ = ("_args", "_kwargs", "misses", "repetition")

    def __init__(self, op: Op) -> None:
        super().__init__(op)
        self.repetition: Repetition | None = None
        self.misses = 0
        self._args = tuple([_part(value) for value in self.op.args])
        self._kwargs = tuple([(key, *_part(value)) for key, value in self.op.kwargs.items()])

    def arguments(self, store: Store) -> Arguments:
        """The arguments with the objects that they name."""
        slots: dict[int, Slot] = {}

        def look_up(ref: Ref) -> Any:
            slot = slots[ref.id] = store.get(ref.id)
            return slot.value

        args: list[Any] = []
        at: list[Slot | None] = []
        for how, what in self._args:
            slot = None
            if how == _OBJECT:
                slot = slots[what.id] = store.get(what.id)
                what = slot.value
            elif how == _ANEW:
                what = from_wire(what, None, look_up)
            args.append(what)
            at.append(slot)
        kwargs = {}
        for key, how, what in self._kwargs:
            if how == _OBJECT:
                what = look_up(what)
            elif how == _ANEW:
                what = from_wire(what, None, look_up)
            kwargs[key] = what
        given = Arguments(tuple(args), kwargs, slots, tuple(at), self.op.args)
        if kwargs:
            given.named = self.op.kwargs
        return given


_SAME: Final = 0  # the value itself
_OBJECT: Final = 1  # what a reference names
_ANEW: Final = 2  # made again for each run


def _part(value: Any) -> tuple[int, Any]:
    """How one argument is made."""
    if type(value) is Ref:
        return _OBJECT, value
    made = from_wire(value, None, _nothing)  # also checks it, once
    return (_SAME, made) if _never_changes(made) else (_ANEW, value)


def _nothing(_: Ref) -> Any:
    return _REFERENCE


_REFERENCE: Final = range(0)  # this very one; a set may hold it


def _never_changes(value: Any) -> bool:
    if isinstance(value, torch.Generator) or value is _REFERENCE:
        return False
    if type(value) is tuple:
        return all(_never_changes(item) for item in value)
    if type(value) is slice:
        return all(_never_changes(part) for part in (value.start, value.stop, value.step))
    return is_atomic(value)
