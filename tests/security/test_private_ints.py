"""Whole numbers of the owner that say how large an int, a text, a list or a tensor becomes.

Whatever the number is, small, negative or past every limit, the same shows: what is refused for it
is refused in private, and what stands for it has the type that the result would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import Side, difference
from tests.security.neighbour_kit import T
from tests.security.test_soundness import Seen
from tests.unit.engine_kit import Driver

INT, TEXT, LIST, ANY = "python.Int.", "python.String.", "python.List.", "python.Any."
FEW, MANY = 3, (10**7, 1 << 40, -1)


class Owner(Side):
    """An engine with one whole number of the owner's."""

    def __init__(self, number: int) -> None:
        Seen.__init__(self, {"n": torch.tensor([number])})
        self.told: list[Any] = []


Program = Callable[[Any, Ref], Ref]
PROGRAMS: dict[str, Program] = {
    "a power": lambda p, n: p.op(INT + "__pow__", 2, n),
    "a power the other way round": lambda p, n: p.op(INT + "__rpow__", n, 3),
    "an own tensor of whole numbers times a power": lambda p, n: p.op(
        "torch.mul", p.put(torch.ones(2, dtype=torch.int64)), p.op(INT + "__pow__", 2, n)
    ),
    "a tensor of a power": lambda p, n: p.op("torch.tensor", p.op(INT + "__pow__", 10, n)),
    "an inverse": lambda p, n: p.op(INT + "__pow__", p.op(INT + "__add__", n, 1), -1),
    "so many zeros": lambda p, n: p.op("torch.zeros", n),
    "a text": lambda p, n: p.op(TEXT + "__mul__", "abc", n),
}  # fmt: skip
MORE: dict[str, Program] = {
    "a cube": lambda p, n: p.op(INT + "__pow__", n, 3),
    "a rest of a power": lambda p, n: p.op(INT + "__pow__", 2, n, 7),
    "a power of a truth": lambda p, n: p.op("python.Bool.__pow__", True, n),
    "a power of a float": lambda p, n: p.op("python.Float.__pow__", 10.0, n),
    "a shift": lambda p, n: p.op(INT + "__lshift__", 1, n),
    "a shift to the right": lambda p, n: p.op(INT + "__rshift__", 1, n),
    "a square": lambda p, n: p.op(INT + "__imul__", n, n),
    "a text by the number's name": lambda p, n: p.op(INT + "__mul__", n, "abc"),
    "a text by no name": lambda p, n: p.op(ANY + "__mul__", "abc", n),
    "a list": lambda p, n: p.op(LIST + "__mul__", p.put([1, 2]), n),
    "a tuple": lambda p, n: p.op("python.Tuple.__mul__", p.op("python.Tuple", [1, 2]), n),
    "a longer list": lambda p, n: p.op(LIST + "__iadd__", p.put([1]), MORE["a list"](p, n)),
    "zeros before it": lambda p, n: p.op(TEXT + "zfill", "a", n),
    "spaces around it": lambda p, n: p.op(TEXT + "center", "a", n),
    "tabs": lambda p, n: p.op(TEXT + "expandtabs", "\t\t", n),
    "its digits": lambda p, n: p.op("python.String", n),
    "digits to a base": lambda p, n: p.op("python.Int", "1" * 20, n),
    "rounded": lambda p, n: p.op(INT + "__round__", 12345, n),
    "a range": lambda p, n: p.op("python.Range", n),
    "a list of a range": lambda p, n: p.op("python.List", p.op("python.Range", n)),
    "bits of a power": lambda p, n: p.op(INT + "bit_length", p.op(INT + "__lshift__", 10, n)),
    "joined": lambda p, n: p.op(TEXT + "join", ",", p.op(LIST + "__mul__", p.put(["ab"]), n)),
    "replaced": lambda p, n: p.op(TEXT + "replace", "aa", "a", PROGRAMS["a text"](p, n)),
}  # fmt: skip


def shows(program: Program, number: int) -> str:
    def made(p: Any) -> list[Ref]:
        whole = p.op("python.Int", p.op(T + "__getitem__", Ref(-1), 0))
        result = program(p, whole)
        both = p.op("python.collect", result, 1)
        return [result, both, p.op(ANY + "__mul__", result, 2), p.op("python.len", result)]

    return difference(Owner(FEW).shown(made), Owner(number).shown(made))


@pytest.mark.parametrize("name", PROGRAMS)
def test_how_large_something_becomes_shows_nowhere(name: str) -> None:
    for number in MANY:
        assert not shows(PROGRAMS[name], number), number


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_nor_does_it_elsewhere(name: str) -> None:
    for number in (100, *MANY):
        assert not shows(MORE[name], number), number


GROWN: dict[str, tuple[Any, ...]] = {
    f"python.{kind}.{short}": args
    for kind, names, args in (
        ("Any", ("__mul__",), ("abc",)), ("Any", ("__pow__", "__rpow__"), (3,)),
        ("Float", ("__mul__",), ("abc",)), ("Bool", ("__lshift__", "__pow__", "__mul__"), (True,)),
        ("Int", ("__rmul__", "__pow__", "__lshift__"), (3,)), ("String", ("__mul__",), ("abc",)),
    )
    for short in names
}  # fmt: skip


@pytest.mark.parametrize("name", GROWN)
def test_what_grows_with_a_private_number_is_timed_under_any_name(name: str) -> None:
    """How long it takes, and what room it takes, are decided by the number."""
    d = Driver()
    number = d.ok(T + "item", d.ok(T + "__getitem__", d.share(torch.tensor([5])), 0))
    d.run(name, *GROWN[name], number)
    admission = d.engine._executor.admission
    assert admission.is_timed and admission.has_hidden


def test_what_is_only_multiplied_by_a_private_number_is_not() -> None:
    d = Driver()
    item = d.ok(T + "item", d.ok(T + "__getitem__", d.share(torch.tensor([0.5])), 0))
    d.ok("python.Float.__mul__", item, 4)
    d.ok(ANY + "__mul__", d.share(torch.ones(3)), 2)
    assert not d.engine._executor.admission.has_hidden
