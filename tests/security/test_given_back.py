"""A call that gives back a tensor itself, a view, another one, or fails, by private numbers.

Which of the four it was shows in the tensor: by its label, by what is written through the result,
and by the graph that such a write puts behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Dtype, MemoryFormat, Ref
from tests.security.failing_kit import difference
from tests.security.neighbour_kit import DATA, ONE, OTHER, F, I, T, choose, few, number
from tests.security.test_neighbour_containers import Neighbour


def plus(p: Any, value: int) -> Ref:
    """A whole number that is `value` in one of the data sets, and one more in the other."""
    return p.op("python.Int.__add__", number(p), value)


def less(p: Any, value: int) -> Ref:
    return p.op("python.Int.__sub__", value, number(p))


def as_tensor(p: Any, factor: float, more: float = 0) -> Ref:
    """The same number times a factor, and more, as a tensor that stands where a number is meant."""
    scaled = p.op("torch.mul", p.op(T + "__getitem__", I, 0), factor)
    return p.op("torch.add", scaled, more) if more else scaled


def kind(p: Any) -> Ref:
    """The type of the numbers that own tensors have here, or another one."""
    return choose(p, Dtype("float32"), Dtype("float64"))


def turned(p: Any, own: Ref) -> Ref:
    """Of which some shapes are views and some are copies."""
    return p.op(T + "t", p.op(T + "view", own, [2, 3]))


Way = Callable[[Any, Ref], Ref]
WAYS: dict[str, Way] = {
    "to a type": lambda p, own: p.op(T + "to", own, kind(p)),
    "type": lambda p, own: p.op(T + "type", own, kind(p)),
    "contiguous": lambda p, own: p.op(
        T + "contiguous", own,
        memory_format=choose(p, MemoryFormat("contiguous_format"), MemoryFormat("channels_last")),
    ),
    "flatten": lambda p, own: p.op("torch.flatten", own, number(p)),
    "flatten by a tensor": lambda p, own: p.op("torch.flatten", own, as_tensor(p, 1)),
    "sum_to_size": lambda p, own: p.op(T + "sum_to_size", own, [6, plus(p, 1)]),
    "reshape": lambda p, own: p.op("torch.reshape", own, [6, plus(p, 1)]),
    "reshape by a tensor": lambda p, own: p.op("torch.reshape", own, [as_tensor(p, 1, 6), 1]),
    "reshape to a copy": lambda p, own: p.op(
        "torch.reshape", turned(p, own), [plus(p, 2), less(p, 3)]
    ),
    "reshape to a copy by tensors": lambda p, own: p.op(
        "torch.reshape", turned(p, own), [as_tensor(p, 1, 2), as_tensor(p, -1, 3)]
    ),
    "view": lambda p, own: p.op(T + "view", own, [plus(p, 6), 1]),
    "expand": lambda p, own: p.op(T + "expand", own, [plus(p, 6), 1]),
    "unflatten": lambda p, own: p.op("torch.unflatten", own, 0, [plus(p, 6), 1]),
    "narrow": lambda p, own: p.op(T + "narrow", own, 0, number(p), 6),
    "narrow by a tensor": lambda p, own: p.op(T + "narrow", own, 0, as_tensor(p, 1), 6),
    "select": lambda p, own: p.op(T + "select", own, 0, plus(p, 5)),
    "select by a tensor": lambda p, own: p.op(T + "select", own, 0, as_tensor(p, 1, 5)),
    "item": lambda p, own: p.op(T + "__getitem__", own, plus(p, 5)),
    "item by a tensor": lambda p, own: p.op(T + "__getitem__", own, as_tensor(p, 1, 5)),
    "squeeze": lambda p, own: p.op("torch.squeeze", own, plus(p, 1)),
    "squeeze by a tensor": lambda p, own: p.op("torch.squeeze", own, as_tensor(p, 1, 1)),
    "unfold": lambda p, own: p.op(T + "unfold", own, 0, plus(p, 6), 1),
    "chunk": lambda p, own: p.op(
        "python.Tuple.__getitem__", p.op("torch.chunk", own, less(p, 1)), 0
    ),
    "tensor_split": lambda p, own: p.op(
        "python.Tuple.__getitem__", p.op("torch.tensor_split", own, less(p, 1)), 0
    ),
}  # fmt: skip
IMAGES = "torchvision.transforms."


def image(p: Any, own: Ref) -> Ref:
    return p.op(T + "view", own, [1, 6, 1])


def applied(p: Any, own: Ref, name: str, *settings: Any) -> Ref:
    return p.op(IMAGES + "Transform.__call__", p.op(IMAGES + name, *settings), image(p, own))


def after_a_private_seed(p: Any, own: Ref, name: str, *settings: Any) -> Ref:
    p.do("torch.manual_seed", number(p))
    return applied(p, own, name, *settings)


WAYS |= {
    "type_as": lambda p, own: p.op(
        T + "type_as", own,
        choose(p, p.put(torch.ones(1)), p.put(torch.ones(1, dtype=torch.float64))),
    ),
    "an item of a data set": lambda p, own: p.op(
        "python.Tuple.__getitem__",
        p.op(DATA + "Dataset.__getitem__", p.op(DATA + "TensorDataset", own), plus(p, 5)), 0,
    ),
    "an item of a part of it": lambda p, own: p.op(
        "python.Tuple.__getitem__",
        p.op(
            DATA + "Dataset.__getitem__",
            p.op(DATA + "Subset", p.op(DATA + "TensorDataset", own), [plus(p, 5)]), 0,
        ), 0,
    ),
    "diagonal": lambda p, own: p.op("torch.linalg.diagonal", own, dim1=number(p), dim2=1),
    "crop": lambda p, own: p.op(IMAGES + "functional.crop", image(p, own), number(p), 0, 6, 1),
    "resize": lambda p, own: p.op(IMAGES + "functional.resize", image(p, own), [plus(p, 6), 1]),
    "a cut by a private size": lambda p, own: applied(p, own, "CenterCrop", [plus(p, 6), 1]),
    "a flip or none": lambda p, own: after_a_private_seed(p, own, "RandomHorizontalFlip"),
    "a flip or a cut": lambda p, own: after_a_private_seed(
        p, own, "RandomChoice",
        [p.op(IMAGES + "RandomHorizontalFlip", 1.0), p.op(IMAGES + "CenterCrop", [6, 1])],
    ),
}  # fmt: skip
CHANCES: dict[str, tuple[float, float]] = {
    "none or half": (0.5, 0.0), "none or no chance": (2.0, 0.0), "all or none": (1.0, 0.0),
    "half or no chance": (1.0, 0.5),
}  # fmt: skip
"""A factor of the private number, and what is added."""


def shows(made: Callable[[Any], list[Ref]]) -> str:
    return difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))


@pytest.mark.parametrize("way", WAYS)
def test_which_it_was_shows_nowhere(way: str) -> None:
    def made(p: Any) -> list[Ref]:
        own = p.put(torch.ones(6, 1))
        return [own, WAYS[way](p, own)]

    assert not shows(made)


@pytest.mark.parametrize("way", WAYS)
def test_nor_does_a_graph_that_is_written_into_the_result(way: str) -> None:
    def made(p: Any) -> list[Ref]:
        own, other = p.put(torch.ones(6, 1)), p.put(torch.ones((), requires_grad=True))
        before = p.op(T + "view", own, [-1])
        result = WAYS[way](p, own)
        p.do(T + "add_", result, other)
        graph = [p.op(T + short, own) for short in ("requires_grad", "is_leaf")]
        return [own, before, result, other, *graph, p.op("torch.mul", before, 2.0)]

    assert not shows(made)


@pytest.mark.parametrize("way", ["narrow", "reshape to a copy"])
def test_nor_does_a_gradient_through_what_was_written(way: str) -> None:
    """The tensor goes back to what was added to the result, if that is a view of it."""

    def made(p: Any) -> list[Ref]:
        own, other = p.put(torch.ones(6, 1)), p.put(torch.ones((), requires_grad=True))
        p.do(T + "add_", WAYS[way](p, own), other)
        p.do(T + "backward", p.op("torch.sum", own))
        return [other, p.op("python.collect", p.op(T + "grad", other))]

    assert not shows(made)


@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("short", ["dropout", "dropout2d", "alpha_dropout"])
@pytest.mark.parametrize("is_on", [False, True])
def test_a_private_tensor_as_the_chance_of_a_dropout_shows_nowhere(
    short: str, chance: str, is_on: bool
) -> None:
    def made(p: Any) -> list[Ref]:
        own, other = p.put(torch.ones(2, 3, 4, requires_grad=True)), p.put(torch.ones(2, 3, 4))
        factor, more = CHANCES[chance]
        given = [p.op(F + short, each, as_tensor(p, factor, more), is_on) for each in (own, other)]
        for each in given:
            p.do(T + "add_", each, 1.0)
            p.do(T + "backward", p.op("torch.sum", each))
        return [own, other, *given, p.op(T + "grad", own)]

    assert not shows(made)


def test_an_own_tensor_stays_public_whatever_the_chance_of_its_dropout() -> None:
    """What is given is never the tensor itself, so nothing has to be marked."""
    side = Neighbour(ONE)
    own = side.put(torch.ones(2, 3))
    for chance in (side.op("python.Float", as_tensor(side, 0.5)), as_tensor(side, 0.5)):
        dropped = side.op(F + "dropout", own, chance, True)
        assert side.verdict(dropped.id) == ("private",)
        assert side.verdict(own.id)[0] == "public"


# what fails on a hidden size, of names that give one tensor or several

SEVERAL: dict[str, Callable[[Any, Ref], Ref]] = {
    "max of two": lambda p, x: p.op("torch.max", x, p.put(torch.ones(3))),
    "median": lambda p, x: p.op("torch.median", p.op("torch.reshape", x, [3, -1])),
    "unique": lambda p, x: p.op("torch.unique", p.op("torch.reshape", x, [3, -1])),
    "nonzero": lambda p, x: p.op("torch.nonzero", p.op("torch.reshape", x, [3, -1])),
    "max_pool1d": lambda p, x: p.op(
        F + "max_pool1d", p.op("torch.reshape", x, [1, 1, -1]), plus(p, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_a_list_of_one_tensor_that_failed_has_its_length(name: str) -> None:
    """Three records in one of the data sets, one in the other."""

    def made(p: Any) -> list[Ref]:
        return [SEVERAL[name](p, few(p))]

    assert not shows(made)
