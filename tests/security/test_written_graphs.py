"""What wants a gradient, written where private numbers say which tensors share their memory.

A private number makes a result a view of an own tensor, a copy of it or nothing, or chooses one of
several. A graph that is written into the one is the other's too, or not, and a way back from that
one reaches the leaf that was written, or does not: whether the leaf has a gradient is no number
that a label could be on. So such a write is refused, whatever the private number is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.engine.messages import OpFailed
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import difference
from tests.security.neighbour_kit import ONE, OTHER, F, T, X, choose, number, planned
from tests.security.test_given_back import WAYS
from tests.security.test_neighbour_containers import Neighbour

Places = Callable[[Any], tuple[Ref, Ref]]
"""Makes what is written to, and what is gone back from."""
Write = Callable[[Any, Ref, Ref], None]
"""Writes something that wants a gradient into something."""


def own(p: Any, **settings: Any) -> Ref:
    return p.put(torch.ones(6, 1, **settings))


def like(p: Any, leaf: Ref) -> Ref:
    """Of the same shape as `own`, with a graph."""
    return p.op("torch.mul", own(p), leaf)


def masked(p: Any, of: Ref) -> Ref:
    return p.op(T + "__getitem__", of, p.op(T + "__gt__", X, 0.5))


def ids(p: Any) -> Ref:
    return p.put(torch.zeros(1, dtype=torch.int64))


def in_a_plan(p: Any, to: Ref, leaf: Ref) -> None:
    step = wire.PlanStep(T + "add_", (3,), (Ref(1), Ref(2)), {}, "g")
    planned(p, (step,), (3,), (to, leaf))


def plain(name: str) -> Write:
    return lambda p, to, leaf: p.do(T + name, to, leaf)


WRITES: dict[str, Write] = {
    **{name: plain(name) for name in ("add_", "__iadd__", "copy_", "fill_", "xlogy_")},
    "an item": lambda p, to, leaf: p.do(T + "__setitem__", to, 0, leaf),
    "a slice": lambda p, to, leaf: p.do(T + "__setitem__", to, slice(0, 1), leaf),
    "all of it": lambda p, to, leaf: p.do(T + "__setitem__", to, ..., leaf),
    "index_put_": lambda p, to, leaf: p.do(T + "index_put_", to, (ids(p),), leaf),
    "index_fill_": lambda p, to, leaf: p.do(T + "index_fill_", to, 0, ids(p), leaf),
    "masked_fill_": lambda p, to, leaf: p.do(
        T + "masked_fill_", to, p.put(torch.ones(6, 1, dtype=torch.bool)), leaf
    ),
    "addcmul_": lambda p, to, leaf: p.do(T + "addcmul_", to, leaf, leaf),
    "lerp_": lambda p, to, leaf: p.do(T + "lerp_", to, leaf, 0.5),
    "data": lambda p, to, leaf: p.do(T + "data=", to, like(p, leaf)),
    "a gradient": lambda p, to, leaf: p.do(T + "grad=", to, like(p, leaf)),
    "out": lambda p, to, leaf: p.do("torch.mul", own(p), leaf, out=to),
    "what is hidden": lambda p, to, leaf: p.do(
        T + "add_", to, p.op("torch.sum", masked(p, p.op("torch.mul", p.put(torch.ones(4)), leaf)))
    ),
    "what is hidden and has no graph": lambda p, to, leaf: p.do(
        T + "add_", to, p.op("torch.sum", masked(p, p.put(torch.ones(4))))
    ),
    "what a private number chose": lambda p, to, leaf: p.do(
        T + "add_", to, choose(p, leaf, p.put(torch.ones(())))
    ),
    "in a plan": in_a_plan,
    "without a graph": lambda p, to, leaf: p.send(wire.Op(T + "add_", (), (to, leaf), {}, "n")),
    "requires_grad_": lambda p, to, leaf: p.do(T + "requires_grad_", to),
    "requires_grad": lambda p, to, leaf: p.do(T + "requires_grad=", to, True),
    "retain_grad": lambda p, to, leaf: p.do(T + "retain_grad", to),
    "a switch": lambda p, to, leaf: p.do(F + "relu", to, True),
}  # fmt: skip


def viewed(way: str, **settings: Any) -> Places:
    def made(p: Any) -> tuple[Ref, Ref]:
        of = own(p, **settings)
        return WAYS[way](p, of), of

    return made


def chosen(p: Any) -> tuple[Ref, Ref]:
    one = own(p)
    return choose(p, one, own(p)), one


def chosen_or_none(p: Any) -> tuple[Ref, Ref]:
    one = own(p)
    return p.op("python.List.__getitem__", p.op("python.collect", one), number(p)), one


def chosen_view(p: Any) -> tuple[Ref, Ref]:
    one = own(p)
    return choose(p, p.op(T + "view", one, [6, 1]), own(p)), one


def in_a_graph(p: Any) -> tuple[Ref, Ref]:
    of = like(p, p.put(torch.ones((), requires_grad=True)))
    return WAYS["narrow"](p, of), of


def older_view(p: Any) -> tuple[Ref, Ref]:
    """A view that everybody knows of, made before a private number makes another."""
    of = own(p)
    view = p.op(T + "t", of)
    return view, WAYS["narrow"](p, of)


def after(places: Places, *names: str) -> Places:
    """What is written to is made by these operations of what was to be."""

    def made(p: Any) -> tuple[Ref, Ref]:
        to, of = places(p)
        for name in names:
            to = p.op(name, to)
        return to, of

    return made


def row_of_hidden(p: Any) -> tuple[Ref, Ref]:
    of = masked(p, p.put(torch.ones(4, 1)))
    return p.op(T + "__getitem__", of, 3), of


def back(places: Places) -> Places:
    return lambda p: places(p)[::-1]


MAIN: dict[str, Places] = {
    "a view or none": viewed("narrow"),
    "a view or a copy": viewed("reshape to a copy"),
    "the tensor or a copy": viewed("to a type"),
    "a view of a leaf": viewed("narrow", requires_grad=True),
    "a view of what has a graph": in_a_graph,
    "one of two": chosen,
}
PLACES: dict[str, Places] = {
    **MAIN,
    **{way: viewed(way) for way in WAYS},
    "a row of what is hidden": row_of_hidden,
    "one or none": chosen_or_none,
    "a view of one of two": chosen_view,
    "an older view": older_view,
    "a detached one": after(viewed("narrow"), T + "detach"),
    "turned twice": after(viewed("item"), T + "detach", T + "t", "torch.positive"),
    "what was made of it": after(viewed("narrow"), "torch.neg"),
    "a copy": after(viewed("reshape to a copy"), "torch.clone"),
    "a parameter": after(viewed("narrow"), "torch.nn.Parameter"),
}
PLACES |= {f"{name}, the other way": back(places) for name, places in PLACES.items()}


def seen(data: tuple[torch.Tensor, ...], places: Places, write: Write) -> list[Any]:
    side = Neighbour(data)

    def made(p: Any) -> list[Ref]:
        leaf = p.put(torch.ones((), requires_grad=True))
        to, of = places(p)
        write(p, to, leaf)
        wants = p.op(T + "requires_grad", of)
        p.do(T + "backward", p.op("torch.sum", of))
        grads = [p.op("python.collect", p.op(T + "grad", each)) for each in (leaf, of)]
        return [leaf, of, wants, *grads]

    return side.shown(made)


def shows(places: Places, write: Write) -> str:
    return difference(seen(ONE, places, write), seen(OTHER, places, write))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("place", ["a view or none", "a view or none, the other way"])
def test_nothing_that_is_written_tells_what_shares_memory(place: str, write: str) -> None:
    assert not shows(PLACES[place], WRITES[write])


@pytest.mark.parametrize("place", PLACES)
def test_nor_does_it_wherever_it_is_written(place: str) -> None:
    assert not shows(PLACES[place], WRITES["add_"])


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("place", PLACES)
def test_nor_does_any_of_them_anywhere(place: str, write: str) -> None:
    assert not shows(PLACES[place], WRITES[write])


# what is refused, and what is not


def refused(places: Places, write: Write) -> list[bool]:
    """Whether a write into these places is refused by what is known to all, in either data set."""
    found = []
    for data in (ONE, OTHER):
        side = Neighbour(data)
        leaf = side.put(torch.ones((), requires_grad=True))
        to, _ = places(side)
        before = len(side.events)
        write(side, to, leaf)
        told = [e for e in side.events[before:] if isinstance(e, OpFailed) and e.is_public]
        assert all(e.code == "NotAllowed" and "clone()" in e.text for e in told)
        found.append(bool(told))
    return found


def nothing(p: Any) -> tuple[Ref, Ref]:
    one = own(p)
    return one, one


@pytest.mark.parametrize("place", [*MAIN, *WAYS, *(f"{name}, the other way" for name in MAIN)])
def test_a_graph_is_refused_with_what_to_do(place: str) -> None:
    assert refused(PLACES[place], WRITES["add_"]) == [True, True]


@pytest.mark.parametrize("write", ["without a graph", "requires_grad_", "retain_grad", "a switch"])
def test_numbers_and_flags_are_not_refused(write: str) -> None:
    for place in MAIN:
        assert refused(PLACES[place], WRITES[write]) == [False, False], place


@pytest.mark.parametrize("place", ["what was made of it", "a copy"])
def test_a_graph_is_written_into_a_copy(place: str) -> None:
    assert refused(PLACES[place], WRITES["add_"]) == [False, False]


def test_it_is_written_where_no_private_number_chose() -> None:
    assert refused(nothing, WRITES["add_"]) == [False, False]
    assert refused(lambda p: (masked(p, own(p)),) * 2, WRITES["add_"]) == [False, False]


def test_hidden_numbers_are_written_as_long_as_nothing_wants_a_gradient() -> None:
    """As records are made ready that a mask has chosen, before there is a model."""
    side = Neighbour(ONE)
    rows = masked(side, side.put(torch.ones(4, 2)))
    column = side.op(T + "__getitem__", rows, (slice(None), 0))
    side.do(T + "sub_", column, side.op("torch.mean", column))
    assert not [event for event in side.events if isinstance(event, OpFailed)]


@pytest.mark.parametrize("name", ["add_", "div_", "clamp_max_"])
def test_what_may_be_no_tensor_at_all_refuses_it_as_well(name: str) -> None:
    """A private number chose a tensor, or None, which no command can write to."""

    def made(p: Any) -> list[Ref]:
        leaf = p.put(torch.ones((), requires_grad=True))
        either = choose(p, own(p), None)
        p.do(T + name, either, like(p, leaf))
        return [leaf, either, p.op(T + "grad", leaf)]

    told = difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))
    assert not told
