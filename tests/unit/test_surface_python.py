from collections import OrderedDict
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.python import PYTHON
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.types import type_name_of


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    return CALLABLES[f"python.{name}"](*args, **kwargs)


def test_every_python_name_is_reviewed_and_the_other_way_round() -> None:
    assert set(PYTHON) == {name for name in TABLE if name.startswith("python.")}


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("Int", (5,), 5),
        ("Int", ("12",), 12),
        ("Float", (torch.tensor(2.5),), 2.5),
        ("Bool", ([],), False),
        ("Complex", (1, 2), 1 + 2j),
        ("String", (1.5,), "1.5"),
        ("List", ((1, 2),), [1, 2]),
        ("Tuple", ([1, 2],), (1, 2)),
        ("Set", ([1, 1],), {1}),
        ("Dict", ([("a", 1)],), {"a": 1}),
        ("OrderedDict", ({"a": 1},), OrderedDict(a=1)),
        ("Range", (1, 9, 2), range(1, 9, 2)),
        ("Slice", (1, 2), slice(1, 2)),
        ("collect", (1, "a"), [1, "a"]),
        ("state_dict", (["a", "b"], [1, 2]), OrderedDict(a=1, b=2)),
        ("state_dict", (["a", "b"], 1, 2), OrderedDict(a=1, b=2)),
        ("len", ([1, 2],), 2),
        ("Float.__iadd__", (1.0, 0.5), 1.5),
        ("Int.__rpow__", (3, 2), 8),
        ("Int.__truediv__", (3, 2), 1.5),
        ("Int.bit_length", (8,), 4),
        ("Float.__round__", (2.567, 1), 2.6),
        ("Bool.__and__", (True, False), False),
        ("String.upper", ("ab",), "AB"),
        ("String.center", ("a", 3, "-"), "-a-"),
        ("String.join", (",", ["a", "b"]), "a,b"),
        ("List.__getitem__", ([1, 2, 3], slice(1, None)), [2, 3]),
        ("List.index", ([1, 2], 2), 1),
        ("Dict.keys", ({"a": 1},), ["a"]),
        ("Dict.dict_get", ({"a": 1}, "b", 3), 3),
        ("Set.union", ({1}, [2]), {1, 2}),
        ("Range.__contains__", (range(10**15), 5), True),
        ("Slice.indices", (slice(None), 4), (0, 4, 1)),
        ("Tuple.count", ((1, 1), 1), 2),
    ],
)
def test_names_do_what_python_does(name: str, args: tuple[Any, ...], expected: Any) -> None:
    result = run(name, *args)
    assert result == expected
    assert type(result) is type(expected)


def test_mutators_change_the_object_itself() -> None:
    items: list[Any] = []
    assert run("List.append", items, 1) is None
    run("List.insert", items, 0, 0)
    run("List.extend", items, (5, 4))
    run("List.__setitem__", items, 2, 9)
    assert run("List.__iadd__", items, [7]) is items
    run("List.sort", items)
    assert items == [0, 1, 4, 7, 9]
    table = OrderedDict(a=1)
    run("OrderedDict.__setitem__", table, "b", 2)
    run("OrderedDict.move_to_end", table, "a")
    assert list(table) == ["b", "a"]
    numbers = {1}
    assert run("Set.__ior__", numbers, {2}) is numbers
    run("Set.add", numbers, 3)
    assert numbers == {1, 2, 3}


def test_a_number_and_a_tensor_give_a_tensor() -> None:
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(run("Float.__mul__", 2.0, x), 2.0 * x)
    assert torch.equal(run("Int.__rsub__", 1, x), x - 1)


def test_iterators_give_item_by_item_and_end_in_an_error() -> None:
    iterator = run("iter", [1, 2])
    assert type_name_of(iterator) == "python.Iterator"
    assert [run("next", iterator), run("next", iterator)] == [1, 2]
    assert iterator.source == [1, 2]
    with pytest.raises(IndexError, match="exhausted"):
        run("next", iterator)
    assert iterator.is_exhausted


LONG = "a" * 1000
BIG = 1 << (limits.INT_BITS - 8)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Int.__lshift__", (1, 10**12)),
        ("Int.__rlshift__", (10**12, 1)),
        ("Int.__pow__", (10, 10**9)),
        ("Int.__rpow__", (10**9, 10)),
        ("Int.__ipow__", (2, limits.INT_BITS + 1)),
        ("Int.__mul__", (BIG, BIG)),
        ("Int.__round__", (5, -(10**9))),
        ("Any.__pow__", (10, 10**9)),
        ("String.__mul__", (LONG, 10**9)),
        ("String.__rmul__", (LONG, 10**9)),
        ("String.zfill", ("1", 10**10)),
        ("String.center", ("1", 10**10)),
        ("String.ljust", ("1", 10**10)),
        ("String.expandtabs", ("\t", 10**10)),
        ("String.replace", (LONG, "a", LONG * 2)),
        ("String.join", (LONG, ["a"] * 2000)),
        ("String.translate", (LONG, {97: LONG * 2})),
        ("List.__mul__", ([1], 10**9)),
        ("List.__imul__", ([1], 10**9)),
        ("Tuple.__mul__", ((1,), 10**9)),
        ("List", (range(10**9),)),
        ("List.extend", ([], range(10**9))),
        ("Dict.fromkeys", (range(10**9),)),
        ("Range", (10**30,)),
        ("Any.__add__", (torch.zeros(10**5, 1), torch.zeros(10**5))),
    ],
)
def test_what_would_be_too_large_is_refused_before_it_is_made(
    name: str, args: tuple[Any, ...]
) -> None:
    with pytest.raises(QuotaExceeded):
        run(name, *args)


def test_the_largest_int_is_admitted_and_one_bit_more_is_not() -> None:
    assert run("Int.__lshift__", 1, limits.INT_BITS - 1).bit_length() == limits.INT_BITS
    with pytest.raises(QuotaExceeded):
        run("Int.__lshift__", 1, limits.INT_BITS)
    assert len(run("String.__mul__", "a", limits.TEXT_CHARS)) == limits.TEXT_CHARS
    with pytest.raises(QuotaExceeded):
        run("String.__mul__", "a", limits.TEXT_CHARS + 1)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Int.__mod__", ("%1000000000d", 1)),
        ("Any.__mod__", ("%s", 1)),
        ("List.append", ({}, 1)),
        ("Dict.__setitem__", ([], 0, 1)),
        ("String.encode", ("a", "rot13")),
        ("Range.__contains__", (range(10**15), 1.5)),
        ("String", (object(),)),
        ("Int", (object(),)),
        ("iter", (5,)),
        ("next", ([1],)),
        ("len", (5,)),
        ("Float.__pow__", (-8.0, 0.5)),
        ("state_dict", ([1], [2])),
        ("state_dict", (["a", "a"], [1, 2])),
    ],
)
def test_what_does_not_fit_is_refused(name: str, args: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        run(name, *args)


def test_formatting_of_texts_is_not_offered() -> None:
    for name in ("format", "format_map", "__mod__", "__format__"):
        assert f"python.String.{name}" not in TABLE
