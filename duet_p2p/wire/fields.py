"""Each message class <-> a list of its fields, strictly by the declared types.

The annotations of wire/messages.py are read once, when this module is imported, and give one pair
of functions per field. Types alone do not say that an id is never 0 or how long a reason may be;
these rules are the tables below, by the name of the field, because a name means the same in every
message. A field without a rule stops the import, so that no new field goes unchecked.

Both directions use the same rules: a mistake of ours is an exception at our own call, instead of
a connection that the partner closes.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.wire import messages
from duet_p2p.wire.packing import INT_MAX, pack_item, unpack_item

__all__ = ["BY_CLASS", "BY_TAG", "CHOICES", "Layout", "pack_fields", "unpack_fields"]

Check = Callable[[Any], Any]

OBJECT: Final = (-INT_MAX, INT_MAX, False)
POSITIVE: Final = (1, INT_MAX, False)
COUNT: Final = (0, INT_MAX, True)

INTS: Final[dict[str, tuple[int, int, bool]]] = {
    # lowest, highest, whether 0 is one
    "DefinePlan.inputs": COUNT,
    "DefinePlan.plan": POSITIVE,
    "call": POSITIVE,
    "captures": OBJECT,
    "id": OBJECT,
    "ids": OBJECT,
    "inputs": OBJECT,
    "length": COUNT,
    "nbytes": COUNT,
    "optimizer": OBJECT,
    "out": POSITIVE,
    "outputs": POSITIVE,
    "outs": POSITIVE,
    "plan": OBJECT,
    "removed": OBJECT,
    "seq": COUNT,
    "shape": COUNT,
    "times": (0, limits.PLAN_TIMES, True),
    "token": COUNT,
    "transfer": POSITIVE,
    "transfers": COUNT,
}

CHARS: Final[dict[str, int]] = {
    "Request.name": limits.REQUEST_NAME_CHARS,
    "code": limits.NAME_CHARS,
    "description": limits.MESSAGE_TEXT_CHARS,
    "dtype": limits.NAME_CHARS,
    "facts": limits.NAME_CHARS,
    "keys": limits.NAME_CHARS,
    "kwargs": limits.NAME_CHARS,
    "name": limits.NAME_CHARS,
    "op": limits.NAME_CHARS,
    "reason": limits.REQUEST_REASON_CHARS,
    "settings": limits.NAME_CHARS,
    "tags": limits.NAME_CHARS,
    "text": limits.MESSAGE_TEXT_CHARS,
    "type": limits.NAME_CHARS,
}

CHOICES: Final[dict[str, frozenset[str]]] = {
    "Op.mode": frozenset({"g", "n", "i"}),
    "PlanStep.mode": frozenset({"g", "n", "i"}),
    "NotYours.state": frozenset({"never", "waiting", "denied", "expired", "changed", "unknown"}),
    "Bye.reason": frozenset({"closed", "shutdown", "replaced", "error"}),
}

EPOCHS: Final[dict[str, frozenset[int]]] = {
    "StoreSnapshot.epoch": frozenset({16}),
    "EngineRestarted.epoch": frozenset({16}),
    "Resume.epoch": frozenset({0, 16}),
    "AuditHead.head": frozenset({32}),
    "AuditHead.pub": frozenset({33}),
    "AuditHead.signature": frozenset({64}),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one class is written."""

    tag: int
    kind: type
    names: tuple[str, ...]
    get: Callable[[Any], tuple[Any, ...]]
    packs: tuple[Check, ...]
    unpacks: tuple[Check, ...]


def pack_fields(message: Any) -> list[Any]:
    """[tag, field, …] of a message, ready for msgpack.

    Raises:
        TypeError, ValueError: a field is not as its class declares it.
    """
    layout = BY_CLASS.get(type(message))
    if layout is None:
        raise TypeError(f"{type(message).__name__} is not a message")
    packed: list[Any] = [layout.tag]
    packed += [pack(v) for pack, v in zip(layout.packs, layout.get(message), strict=True)]
    return packed


def unpack_fields(packed: Any) -> Any:
    """The message of [tag, field, …].

    Raises:
        TypeError, ValueError: it is none.
    """
    if type(packed) is not list or not packed or type(packed[0]) is not int:
        raise ValueError("a message is a list that starts with its tag")
    layout = BY_TAG.get(packed[0])
    if layout is None:
        raise ValueError(f"unknown message {packed[0]}")
    if len(packed) != len(layout.unpacks) + 1:
        raise ValueError(f"{layout.kind.__name__} with {len(packed) - 1} fields")
    values = [unpack(v) for unpack, v in zip(layout.unpacks, packed[1:], strict=True)]
    return layout.kind(*values)


# one function per field; `where` is "Class.field" and only serves rules and texts


def _ints(where: str) -> Check:
    low, high, zero = _rule(INTS, where)

    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high or not (value or zero):
            raise ValueError(f"{where} is not an int in its range")
        return value

    return check


def _text(where: str) -> Check:
    if where in CHOICES:
        choices = CHOICES[where]

        def choose(value: Any) -> Any:
            if type(value) is not str or value not in choices:
                raise ValueError(f"{where} is none of {', '.join(sorted(choices))}")
            return value

        return choose
    most = _rule(CHARS, where)

    def check(value: Any) -> Any:
        if type(value) is not str or len(value) > most:
            raise ValueError(f"{where} is not a text of at most {most} characters")
        return value

    return check


def _epoch(where: str) -> Check:
    sizes = EPOCHS[where]

    def check(value: Any) -> Any:
        if type(value) is not bytes or len(value) not in sizes:
            raise ValueError(f"{where} has the wrong size")
        return value

    return check


def _flag(where: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not bool:
            raise ValueError(f"{where} is not a bool")
        return value

    return check


def _seconds(where: str) -> Check:
    """The only floats are durations. An int is one for Python; on the wire it is a float."""

    def check(value: Any) -> Any:
        if type(value) not in (float, int) or not math.isfinite(value) or value < 0:
            raise ValueError(f"{where} is not a duration")
        return float(value)

    return check


def _strict_seconds(where: str) -> Check:
    check = _seconds(where)

    def strict(value: Any) -> Any:
        if type(value) is not float:
            raise ValueError(f"{where} is not a float")
        return check(value)

    return strict


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _pack_many(where: str, item: Check) -> Check:
    most = _most(where)

    def pack(values: Any) -> Any:
        if type(values) is not tuple or len(values) > most:
            raise ValueError(f"{where} is not a tuple of at most {most} items")
        return [item(value) for value in values]

    return pack


def _unpack_many(where: str, item: Check) -> Check:
    most = _most(where)

    def unpack(values: Any) -> Any:
        if type(values) is not list or len(values) > most:
            raise ValueError(f"{where} is not a list of at most {most} items")
        return tuple([item(value) for value in values])

    return unpack


def _most(where: str) -> int:
    return limits.TENSOR_DIMS if where.endswith(".shape") else limits.ARRAY_ITEMS


def _many_ints(where: str, given: Any, wanted: Any) -> Check:
    """`_pack_many` or `_unpack_many` of ints, without a call for each: all commands have some."""
    most, (low, high, zero) = _most(where), _rule(INTS, where)

    def convert(values: Any) -> Any:
        if type(values) is not given or len(values) > most:
            raise ValueError(f"{where} is not a {given.__name__} of at most {most} items")
        for value in values:
            if type(value) is not int or not low <= value <= high or not (value or zero):
                raise ValueError(f"{where} is not an int in its range")
        return wanted(values)

    return convert


def _pack_pairs(where: str, key: Check, value: Check) -> Check:
    def pack(pairs: Any) -> Any:
        if type(pairs) is not dict or len(pairs) > limits.ARRAY_ITEMS:
            raise ValueError(f"{where} is not a dict of at most {limits.ARRAY_ITEMS} pairs")
        return [[key(name), value(item)] for name, item in pairs.items()]

    return pack


def _unpack_pairs(where: str, key: Check, value: Check) -> Check:
    def unpack(pairs: Any) -> Any:
        if type(pairs) is not list or len(pairs) > limits.ARRAY_ITEMS:
            raise ValueError(f"{where} is not a list of at most {limits.ARRAY_ITEMS} pairs")
        result: dict[Any, Any] = {}
        if not pairs:  # as of most operations
            return result
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2:
                raise ValueError(f"{where} is not a list of pairs")
            name = key(pair[0])
            if name in result:
                raise ValueError(f"{where} has a key twice")
            result[name] = value(pair[1])
        return result

    return unpack


def _nested(where: str, kind: Any) -> tuple[Check, Check]:
    """A dataclass inside a message: the list of its fields, without a tag."""
    layout = _compile(0, kind)

    def pack(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{where} is not a {kind.__name__}")
        return [p(item) for p, item in zip(layout.packs, layout.get(value), strict=True)]

    def unpack(packed: Any) -> Any:
        if type(packed) is not list or len(packed) != len(layout.unpacks):
            raise ValueError(f"{where} is not a {kind.__name__}")
        return kind(*[u(item) for u, item in zip(layout.unpacks, packed, strict=True)])

    return pack, unpack


# compiling the annotations


def _rule(table: dict[str, Any], where: str) -> Any:
    """The rule of a field: its own, or that of every field of this name."""
    return table[where] if where in table else table[where.partition(".")[2]]


def _same(check: Check) -> tuple[Check, Check]:
    return check, check


_PLAIN: Final[dict[Any, Callable[[str], tuple[Check, Check]]]] = {
    Any: lambda where: (pack_item, unpack_item),
    int: lambda where: _same(_ints(where)),
    str: lambda where: _same(_text(where)),
    bool: lambda where: _same(_flag(where)),
    bytes: lambda where: _same(_epoch(where)),
    float: lambda where: (_seconds(where), _strict_seconds(where)),
}


def _checks(where: str, hint: Any) -> tuple[Check, Check]:
    if hint in _PLAIN:
        return _PLAIN[hint](where)
    if is_dataclass(hint):
        return _nested(where, hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType and len(arguments) == 2 and arguments[1] is type(None):
        pack, unpack = _checks(where, arguments[0])
        return _optional(pack), _optional(unpack)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        if arguments[0] is int:
            return _many_ints(where, tuple, list), _many_ints(where, list, tuple)
        pack, unpack = _checks(where, arguments[0])
        return _pack_many(where, pack), _unpack_many(where, unpack)
    if origin is dict:
        keys, values = (_checks(where, argument) for argument in arguments)
        return _pack_pairs(where, keys[0], values[0]), _unpack_pairs(where, keys[1], values[1])
    raise TypeError(f"{where} has a type that messages do not have: {hint}")


def _compile(tag: int, kind: Any) -> Layout:
    hints = typing.get_type_hints(kind)
    names = tuple(field.name for field in fields(kind))
    pairs = [_checks(f"{kind.__name__}.{name}", hints[name]) for name in names]
    return Layout(
        tag=tag,
        kind=kind,
        names=names,
        get=_getter(names),
        packs=tuple(pack for pack, _ in pairs),
        unpacks=tuple(unpack for _, unpack in pairs),
    )


def _getter(names: Collection[str]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


BY_TAG: Final[dict[int, Layout]] = {
    tag: _compile(tag, kind)
    for table in (messages.COMMANDS, messages.ANSWERS, messages.LIFE)
    for tag, kind in table.items()
}
"""The layout of each message by its tag."""

BY_CLASS: Final[dict[type, Layout]] = {layout.kind: layout for layout in BY_TAG.values()}
"""The same by its class."""
