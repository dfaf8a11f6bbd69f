"""A private number as the length of something, which no container that is made of it tells."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from duet_p2p.surface.table import TABLE
from duet_p2p.wire.values import Ref
from tests.security.test_soundness import Seen, T, told


def number(d: Seen) -> Ref:
    return d.run("python.Int", d.run(T + "__getitem__", Ref(-1), 0))


def repeated(d: Seen) -> Ref:
    return d.run("python.List.__mul__", [1], number(d))


SOURCES: dict[str, Callable[[Seen], Ref]] = {
    "range": lambda d: d.run("python.Range", number(d)),
    "text": lambda d: d.run("python.String.__mul__", "a", number(d)),
    "list": repeated,
    "list of a range": lambda d: d.run("python.List", d.run("python.Range", number(d))),
    "tuple": lambda d: d.run("python.Tuple.__mul__", (1,), number(d)),
    "slice": lambda d: d.run("python.Tuple.__getitem__", tuple(range(9)),
                             d.run("python.Slice", 0, number(d))),
    "tensor": lambda d: d.run("torch.zeros", number(d)),
    "size": lambda d: d.run(T + "size", d.run("torch.zeros", repeated(d))),
    "dict": lambda d: d.run("python.Dict", [(number(d), 1), (8, 2)]),
    "set": lambda d: d.run("python.Set", [number(d), 8]),
    "number": number,
}  # fmt: skip
COPIES = [
    "python.Tuple", "python.List", "python.Set", "python.iter", "python.collect", "python.Dict",
    "python.OrderedDict", "python.Dict.keys", "python.Dict.items", "python.Dict.values",
    "python.List.copy", "python.String", "python.String.split", "python.List.__add__",
    "python.Tuple.__add__", "python.List.__mul__", "python.Tuple.__getitem__",
    "python.Any.__iter__",
]  # fmt: skip
BESIDE: dict[str, list[Any]] = {"__add__": [[1]], "__mul__": [2], "__getitem__": [slice(0, 9)]}


def shown(source: str, names: Iterable[str], value: int) -> tuple[Any, ...]:
    """What is told of a source that went through these names, and of its length at the end."""
    d = Seen({"i": torch.tensor([value])})
    made = SOURCES[source](d)
    for name in names:
        made = d.run(name, made, *BESIDE.get(name.rpartition(".")[2], []))
    for way in ((), ("python.List",), ("python.Tuple", "python.List"), ("python.iter",)):
        last = made
        for name in way:
            last = d.run(name, last)
        d.run("python.len", last)
    return told(d), [d.verdict(id) for id in range(1, d.next_id + 1)]


@pytest.mark.parametrize("source", SOURCES)
def test_no_copy_tells_the_length(source: str) -> None:
    for names in ((), *((name,) for name in COPIES)):
        assert shown(source, names, 1) == shown(source, names, 8), names


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", SOURCES)
def test_nor_does_any_method_of_python_or_a_copy_of_a_copy(source: str) -> None:
    every = [(name,) for name in TABLE if name.startswith("python.")]
    for names in (*every, *itertools.product(COPIES[:7], COPIES[:7])):
        assert shown(source, names, 1) == shown(source, names, 8), names


TIMES = [name for name in TABLE if name.startswith("python.") and "mul__" in name]


@pytest.mark.parametrize("name", TIMES)
def test_nor_does_a_list_so_many_times_under_any_name(name: str) -> None:
    def made(value: int) -> tuple[Any, ...]:
        d = Seen({"i": torch.tensor([value])})
        one = d.run(T + "__getitem__", Ref(-1), 0)
        for times in (one, d.run("python.Int", one), Ref(-1)):
            for held in ([1], (1,), "a"):
                for given in ((held, times), (times, held)):
                    d.run("python.len", d.run(name, *given))
        return told(d), [d.verdict(id) for id in range(1, d.next_id + 1)]

    assert made(1) == made(8)
