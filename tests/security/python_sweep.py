"""Every name of Python's types on two data sets, with arguments of which values decided something.

Each name runs on numbers, texts, lists, tuples, ranges, sets, dicts, slices and iterators that are
private, or that a private value chose, shortened or filled, one beside another. Behind each command
come its length, its items in a list, and an item of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch

from duet_p2p.surface.table import TABLE
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import Side
from tests.security.neighbour_kit import ONE, OTHER, I, T, X, choose, number
from tests.security.test_neighbour_containers import Neighbour
from tests.security.test_soundness import shown

__all__ = ["NAMES", "swept"]

NAMES: Final = [name for name in TABLE if name.startswith("python.")]
_UNARY: Final = frozenset({
    "__abs__", "__len__", "__iter__", "__next__", "__neg__", "__pos__", "__invert__", "__ceil__",
    "__floor__", "__trunc__", "__reversed__", "__str__", "clear", "copy", "keys", "values", "items",
    "popitem", "reverse", "bit_length", "conjugate", "denominator", "imag", "numerator", "real",
    "as_integer_ratio", "is_integer", "start", "stop", "step", "capitalize", "casefold", "isalnum",
    "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric",
    "isprintable", "isspace", "istitle", "isupper", "lower", "upper", "swapcase", "title",
    "splitlines",
})  # fmt: skip
_TWO: Final = frozenset({
    "__setitem__", "insert", "setdefault", "dict_get", "pop", "replace", "center", "ljust", "rjust",
    "fromkeys", "find", "index", "count",
})  # fmt: skip
_FRESH: Final = 8
"""After so many commands there are new objects."""


def _pool(p: Any) -> dict[str, list[Any]]:
    """Objects by the type whose methods they have; commands may change them."""
    n = number(p)
    text, span = p.op("python.String", n), p.op("python.Range", n)
    own, listed = p.put(torch.zeros(2)), p.op("python.collect", n, 1, 2)
    few = p.op(T + "__getitem__", X, p.op(T + "__gt__", X, 0.5))
    parts = p.op("torch.split", p.put(torch.ones(4)), p.op("python.Int.__add__", n, 1))
    made: dict[str, list[Any]] = {
        "Int": [n, 3], "Float": [p.op("python.Float", n), 1.5], "Bool": [p.op("python.Bool", n)],
        "Complex": [p.op("python.Complex", n)], "String": [text, p.put("a1b0")],
        "List": [p.op("python.List", span), listed, p.op("python.collect", own), p.put([1, 0])],
        "Tuple": [parts, p.op("python.Tuple", listed), p.put((0, 1))], "Range": [span],
        "Dict": [p.op("python.Dict", [(n, own), (1, 2)]), p.put({0: 1, 1: 2})],
        "OrderedDict": [p.op("python.OrderedDict", [(n, 1), (1, own)])],
        "Set": [p.op("python.Set", [n, 1]), p.put({0, 1})],
        "Slice": [p.op("python.Slice", 0, n)],
        "Iterator": [p.op("python.iter", parts), p.op("python.iter", span)],
    }  # fmt: skip
    made["Any"] = [choose(p, 1, "x"), choose(p, p.put([1]), p.put([1, 2])), n]
    made["other"] = [few, own, I]
    return made


def _arguments(p: Any, name: str, pool: dict[str, list[Any]]) -> Iterator[tuple[Any, ...]]:
    """Arguments to try, of which something is private."""
    parts = name.split(".")
    every = [each for kind in pool.values() for each in kind[:2]]
    firsts = pool.get(parts[1], []) if len(parts) == 3 else [None]
    for first in firsts:
        bound = () if first is None else (first,)
        if parts[-1] in _UNARY:
            yield bound
            continue
        others = (*every, slice(0, pool["Int"][0]), 1, "1")
        yield from ((*bound, other) for other in others)
        if parts[-1] in _TWO:
            yield from ((*bound, other, second) for other in (0, "1", slice(0, 1), pool["Int"][0])
                        for second in (*every, 1))  # fmt: skip


def swept(name: str) -> tuple[int, str]:
    """How often a name worked, and the first difference that shows; empty if there is none."""
    sides = [Neighbour(ONE), Neighbour(OTHER)]
    commands = [_run(side, name) for side in sides]
    worked = 0
    for one, other in zip(*commands, strict=True):
        if one[0] != other[0]:
            return worked, f"{one} | {other}"
        worked += one[1]
    return worked, ""


def _run(p: Side, name: str) -> Iterator[tuple[list[Any], bool]]:
    executor = p.engine._executor
    assert executor is not None
    executor.admission.pacing.most = 1_000_000
    outs, place = int(TABLE[name].result != "none"), 0
    commands = list(_arguments(p, name, _pool(p)))
    while place < len(commands):
        if place % _FRESH == _FRESH - 1:  # what earlier commands marked shows no more
            commands = list(_arguments(p, name, _pool(p)))
        args, before, told = commands[place], len(p.events), len(p.told)
        place += 1
        try:
            made = p.ops(name, outs, *args)
        except (TypeError, ValueError):  # no value of the wire
            yield [name], False
            continue
        is_fine = not any(getattr(event, "op", "") == name for event in p.events[before:])
        for ref in (*made, *[arg for arg in args if isinstance(arg, Ref)][:1]):
            _look_at(p, ref)
        yield [args, shown(p.events[before:]), p.told[told:]], is_fine


def _look_at(p: Side, ref: Ref) -> None:
    listed = p.op("python.List", ref)
    for each in (ref, listed, p.op("python.len", ref), p.op("python.len", listed)):
        p.get(each)
    p.get(p.op("python.List.__getitem__", listed, 0))


if __name__ == "__main__":
    for each in NAMES:
        worked_, difference_ = swept(each)
        if difference_ or not worked_:
            print(each, worked_, difference_[:500], flush=True)
