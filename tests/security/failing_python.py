"""Programs of Python's own types, which refuse a number of one of two data sets."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import L, M, N, P, Programs, broken, last, whole
from tests.security.neighbour_kit import T

PROGRAMS = Programs()
program = PROGRAMS.program


@program
def no_number_as_an_int(p: Any) -> list[Ref]:
    number = p.op("python.Int", last(p, N))
    again = p.op("python.Int", broken(p))
    added = p.op("python.Int.__add__", again, 1)
    own = p.op("torch.mul", p.put(torch.ones(2, dtype=torch.int64)), added)
    return [
        number,
        again,
        added,
        own,
        p.op("python.Range", again),
        p.op("python.Bool", again),
        p.op("python.Int.bit_length", again),
        p.op("python.Float.as_integer_ratio", broken(p)),
        p.op("python.Float.is_integer", broken(p)),
    ]


@program
def divided_by_nothing(p: Any) -> list[Ref]:
    zero = p.op("python.Int", p.op(T + "__getitem__", M, (2, 2)))  # 4 or 0
    made = [
        p.op(f"python.Int.{name}", 7, zero) for name in ("__floordiv__", "__truediv__", "__mod__")
    ]
    both = p.op("python.Int.__divmod__", 7, zero)
    first = p.op("python.Tuple.__getitem__", both, 0)
    pair = p.ops("python.Int.__divmod__", 2, 7, zero)
    shifted = p.op("python.Int.__lshift__", 1, p.op("python.Int.__sub__", zero, 1))
    power = p.op("python.Int.__pow__", zero, -1)
    return [
        *made,
        both,
        first,
        *pair,
        p.op("python.len", both),
        p.op("python.collect", both),
        p.op("torch.mul", p.put(torch.ones(2)), first),
        shifted,
        power,
    ]


@program
def a_text_of_private_numbers(p: Any) -> list[Ref]:
    text = p.op("python.String", broken(p))  # "4.0" or "nan"
    place = p.op("python.String.index", text, ".")
    return [
        text,
        place,
        p.op("python.String.find", text, "."),
        p.op("python.String.split", text, "."),
        p.op("python.len", text),
        p.op("python.Int", p.op("python.String.__getitem__", text, 0)),
        p.op("python.Float", text),
        p.op("python.String.partition", "a4.0b", text),
        p.op("python.String.join", text, ["a", "b"]),
        p.op("python.String.encode", text),
        p.op("python.String.__getitem__", "abcd", place),
        p.op("python.Set", text),
        p.op("python.String.zfill", text, place),
        p.op("python.String.isdigit", text),
    ]


@program
def an_empty_separator(p: Any) -> list[Ref]:
    text = p.op("python.String", whole(p))
    empty = p.op("python.String.strip", text, "9")  # "1" or ""
    made = [
        p.op(f"python.String.{name}", "a1b", empty) for name in ("partition", "rpartition", "split")
    ]
    parts = p.ops("python.String.partition", 3, "a1b", empty)
    return [empty, *made, *parts, *[p.op("python.len", ref) for ref in made]]


@program
def a_key_that_is_not_there(p: Any) -> list[Ref]:
    box, listed = p.put({0: 1, 1: 2}), p.put([5, 6])
    key = whole(p)
    made = [
        p.op("python.Dict.__getitem__", box, key),
        p.op("python.Dict.pop", box, key),
        p.op("python.List.__getitem__", listed, key),
        p.op("python.List.pop", listed, key),
        p.op("python.List.index", listed, key),
        p.op("python.Dict.__contains__", box, key),
    ]
    known = p.put({3, 4})
    p.do("python.Set.remove", known, key)
    p.do("python.List.__delitem__", listed, key)
    p.do("python.List.__setitem__", listed, key, 7)
    p.do("python.Dict.__delitem__", box, key)
    return [*made, box, listed, known, *[p.op("python.len", ref) for ref in (box, listed, known)]]


@program
def a_pop_from_what_values_emptied(p: Any) -> list[Ref]:
    numbers = p.op("python.List", p.op("python.Range", p.op("python.Int.__sub__", whole(p), 1)))
    made = [p.op("python.List.pop", numbers), numbers, p.op("python.len", numbers)]
    going = p.op("python.iter", numbers)
    made += [p.op("python.next", going), p.op("python.next", going)]
    kept = p.op("python.Set", numbers)
    return [*made, p.op("python.Set.pop", kept), kept]


@program
def a_list_of_failures_and_numbers(p: Any) -> list[Ref]:
    listed = p.op("python.collect", p.op("python.Int", broken(p)), 3, p.op(L + "inv", M))
    p.do("python.List.append", listed, 7)
    p.do("python.List.insert", listed, 0, p.op("python.Int", broken(p)))
    stacked = p.op("torch.stack", [p.op(L + "inv", M), p.put(torch.ones(3, 3))])
    made = [p.op("python.List.__getitem__", listed, n) for n in range(4)]
    return [
        listed,
        *made,
        p.op("python.len", listed),
        stacked,
        p.op("torch.tensor", [broken(p), 1.0]),
        p.op("torch.tensor", [p.op("python.Int", broken(p)), 1]),
        p.op("python.List.count", listed, 3),
        p.op("python.List.__contains__", listed, 3),
    ]


@program
def sorted_and_compared_with_no_number(p: Any) -> list[Ref]:
    listed = p.op("python.collect", broken(p), 2.0, 3.0)
    p.do("python.List.sort", listed)
    same = p.op("python.List.__eq__", listed, [2.0, 3.0, 4.0])
    return [
        listed,
        p.op("python.List.__getitem__", listed, 0),
        same,
        p.op("torch.equal", N, p.put(torch.tensor([1.0, 2.0, 3.0, 4.0]))),
        p.op("torch.allclose", N, N),
        p.op("torch.is_nonzero", last(p, P)),
        p.op("torch.sort", N),
        p.op("torch.argsort", N),
    ]


@program
def a_complex_root(p: Any) -> list[Ref]:
    chance = p.op("python.Float", last(p, P))
    root = p.op("python.Float.__pow__", chance, 0.5)
    return [
        root,
        p.op("python.Complex", chance, chance),
        p.op("torch.mul", p.put(torch.ones(2)), root),
        p.op("torch.sqrt", P),
        p.op("torch.complex", P, N),
        p.op("torch.polar", P, N),
        p.op(
            "python.Complex.__truediv__",
            p.op("python.Complex", 1.0, 0.0),
            p.op("python.Complex", p.op(T + "__getitem__", M, (2, 2))),
        ),
    ]


@program
def a_tuple_of_an_owners_object_so_many_times(p: Any) -> list[Ref]:
    """The object stays what it was, however many times it lies in the tuple."""
    held = p.op("python.Tuple", p.op("python.collect", N))
    many = p.op("python.Int", last(p, N))
    made = [p.op(f"python.Tuple.{name}", held, many) for name in ("__mul__", "__rmul__")]
    return [*made, p.op("python.collect", N), p.op("torch.mul", N, 2.0)]
