"""Two data sets, and containers into which a private value puts something, or drops it.

Labels are found by going through what an object holds. So whatever may lie in it, or may not, by a
private value is labelled when that is decided: later commands reach it in one data set only. All
that leaves the engine's side for the partner is compared.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import Programs, Side, difference
from tests.security.neighbour_kit import (
    ONE,
    OPT,
    OTHER,
    F,
    I,
    T,
    X,
    choose,
    flag,
    loader,
    number,
    optimizer,
    weight,
)
from tests.security.test_neighbours import PROGRAMS as ASKED
from tests.security.test_soundness import Seen
from tests.unit.engine_kit import Driver

LISTS, DICTS, ORDERED = "python.List.", "python.Dict.", "python.OrderedDict."
SCHED = "torch.optim.lr_scheduler."
PROGRAMS = Programs()
program = PROGRAMS.program


class Neighbour(Side):
    """An engine with one of the data sets."""

    def __init__(self, data: tuple[torch.Tensor, ...]) -> None:
        Seen.__init__(self, dict(zip("xi", data, strict=True)))
        self.told: list[Any] = []


def zeros(p: Any) -> Ref:
    return p.put(torch.zeros(2))


def pair(p: Any) -> tuple[Ref, Ref]:
    return p.put(torch.zeros(2)), p.put(torch.ones(2))


def reached(p: Any, box: Ref) -> Ref:
    """Everything in the box is labelled now: it is one of two that a private number chooses."""
    return choose(p, box, p.put([1]))


def trained(p: Any, made: Ref, *weights: Ref) -> list[Ref]:
    for one in weights:
        p.do(T + "backward", p.op("torch.sum", one))
    p.do(OPT + "step", made)
    return [*weights, made]


def group(p: Any, of: Ref) -> Ref:
    return p.op(LISTS + "__getitem__", p.op(OPT + "param_groups", of), 0)


# what is dropped, or put in


@program
def of_equal_keys_the_last(p: Any) -> list[Ref]:
    own = zeros(p)
    return [reached(p, p.op("python.Dict", [(number(p), own), (1, 2)])), own]


@program
def an_inline_dict_with_a_private_key(p: Any) -> list[Ref]:
    own, box = zeros(p), p.put([0])
    p.do(LISTS + "append", box, {number(p): own, 1: 2})
    return [reached(p, box), own]


@program
def an_inline_set_of_what_was_chosen(p: Any) -> list[Ref]:
    return [p.op("python.List", {choose(p, 1, p.put([1])), 2})]


@program
def a_slice_of_a_slice(p: Any) -> list[Ref]:
    end = choose(p, 1, p.op("python.Slice", 0, 1))
    return [p.op(LISTS + "__getitem__", p.put([1, 2, 3]), slice(0, end))]


@program
def a_list_no_times(p: Any) -> list[Ref]:
    own = weight(p)
    listed = p.op(LISTS + "__mul__", p.op("python.collect", own), number(p))
    return [own, p.op("torch.optim.SGD", listed, lr=0.1), p.op("python.len", listed)]


@program
def a_list_no_times_in_place(p: Any) -> list[Ref]:
    own = zeros(p)
    listed = p.op("python.collect", own)
    p.op(LISTS + "__imul__", listed, number(p))
    return [reached(p, listed), own]


@program
def a_tuple_no_times(p: Any) -> list[Ref]:
    own = zeros(p)
    made = p.op("python.Tuple", p.op("python.collect", own))
    return [reached(p, p.op("python.Tuple.__mul__", made, number(p))), own]


@program
def a_list_by_the_operator_of_a_number(p: Any) -> list[Ref]:
    own = weight(p)
    times = [
        p.op(f"python.{kind}.__mul__", number(p), p.op("python.collect", own))
        for kind in ("Int", "Any")
    ]
    return [*times, own, reached(p, times[0])]


@program
def as_many_keys_as_values_decide(p: Any) -> list[Ref]:
    own = zeros(p)
    keys = p.op("python.List", p.op("python.Range", number(p)))
    return [reached(p, p.op(DICTS + "fromkeys", keys, own)), own]


@program
def an_element_written_over(p: Any) -> list[Ref]:
    owns = pair(p)
    listed = p.op("python.collect", *owns)
    p.do(LISTS + "__setitem__", listed, number(p), 5)
    return [reached(p, listed), *owns]


@program
def an_element_deleted(p: Any) -> list[Ref]:
    owns = pair(p)
    listed = p.op("python.collect", *owns)
    p.do(LISTS + "__delitem__", listed, number(p))
    return [reached(p, listed), *owns]


@program
def an_element_removed_that_is_equal(p: Any) -> list[Ref]:
    own = p.put(torch.ones(1))
    listed = p.op("python.collect", p.op(T + "__getitem__", X, slice(0, 1)), own)
    p.do(LISTS + "remove", listed, 1)
    return [reached(p, listed), own]


@program
def written_over_where_something_was_inserted(p: Any) -> list[Ref]:
    a, b = pair(p)
    listed = p.op("python.collect", a)
    p.do(LISTS + "insert", listed, number(p), b)
    p.do(LISTS + "__setitem__", listed, 0, 5)
    return [reached(p, listed), a, b]


@program
def written_over_where_it_was_sorted(p: Any) -> list[Ref]:
    own = p.put(torch.zeros(1))
    private = p.op("torch.sub", p.op(T + "__getitem__", X, slice(0, 1)), 0.5)
    listed = p.op("python.collect", own, private)
    p.do(LISTS + "sort", listed)
    p.do(LISTS + "__setitem__", listed, 0, 5)
    return [reached(p, listed), own]


@program
def to_the_end_or_not_by_a_keyword(p: Any) -> list[Ref]:
    """The order of the values was public."""
    a, b = pair(p)
    box = p.op("python.OrderedDict", [("a", a), ("b", b)])
    p.do(ORDERED + "move_to_end", box, "a", last=flag(p))
    return [p.op(LISTS + "__getitem__", p.op(ORDERED + "values", box), 0)]


@program
def a_state_of_names_that_may_be_equal(p: Any) -> list[Ref]:
    name, owns = p.op("python.String", number(p)), (weight(p), weight(p))
    state = p.op("python.state_dict", p.op("python.collect", name, "1"), *owns)
    return [state, *owns, p.op("python.len", state), p.op(DICTS + "dict_get", state, "1")]


@program
def a_default_or_what_was_there(p: Any) -> list[Ref]:
    a, b = pair(p)
    box = p.op("python.Dict")
    p.do(DICTS + "__setitem__", box, number(p), a)
    p.do(DICTS + "setdefault", box, 1, b)
    p.do(DICTS + "__setitem__", box, 0, 5)
    values = p.op(DICTS + "values", box)
    return [box, values, a, b, p.op(LISTS + "__getitem__", values, 0)]


# what was chosen


@program
def written_over_after_it_was_chosen(p: Any) -> list[Ref]:
    a, b = pair(p)
    chosen = choose(p, a, b)
    p.do(T + "zero_", a)
    p.do(T + "fill_", b, 1.0)
    p.do(T + "add_", chosen, 1.0)
    return [a, b]


@program
def copied_over_after_it_was_chosen(p: Any) -> list[Ref]:
    a, b = pair(p)
    chosen = choose(p, a, b)
    p.do(T + "copy_", a, zeros(p))
    p.do(T + "data=", b, zeros(p))
    p.do(T + "mul_", chosen, 3)
    return [a, b]


@program
def a_loader_or_a_list(p: Any) -> list[Ref]:
    """That python.List takes no loader was told."""
    return [p.op("python.List", choose(p, loader(p, zeros(p)), p.put([1])))]


@program
def a_loader_or_a_list_beside_a_loader(p: Any) -> list[Ref]:
    made = loader(p, zeros(p))
    return [p.op(LISTS + "__lt__", choose(p, p.put([1]), made), made)]


@program
def a_failure_put_into_one_of_two(p: Any) -> list[Ref]:
    """A failure that all know of, in what may be the chosen one."""
    one, other = p.put([1]), p.put([2])
    chosen = choose(p, one, other)
    p.do(LISTS + "append", one, p.op("torch.nope"))
    return [chosen, p.op("python.len", chosen)]


@program
def an_iterator_that_went_on_or_not(p: Any) -> list[Ref]:
    listed = p.op("python.collect", *pair(p))
    ways = p.op("python.iter", listed), p.op("python.iter", listed)
    p.op("python.next", choose(p, *ways))
    return [p.op("python.next", ways[n]) for n in (0, 1, 0)]


@program
def one_of_the_owners_beside_another(p: Any) -> list[Ref]:
    return [p.op("torch.optim.SGD", [choose(p, X, zeros(p)), I], lr=0.1)]


@program
def a_place_in_a_range(p: Any) -> list[Ref]:
    place = p.op("python.Range.__getitem__", p.op("python.Range", number(p)), 0)
    return [place, p.op("python.List", place)]


# optimizers and their groups


@program
def a_group_with_a_private_key(p: Any) -> list[Ref]:
    w, v = weight(p), weight(p)
    made = p.op("torch.optim.SGD", [{"params": [w], choose(p, "lr", "params"): [v]}], lr=0.1)
    return trained(p, made, w, v)


@program
def other_parameters_of_a_group_or_not(p: Any) -> list[Ref]:
    w, v = weight(p), weight(p)
    made = optimizer(p, w)
    key = choose(p, "x", "params")
    p.do(DICTS + "__setitem__", group(p, made), key, p.op("python.collect", v))
    return trained(p, made, w, v)


@program
def more_parameters_of_a_group_or_not(p: Any) -> list[Ref]:
    w, v = weight(p), weight(p)
    made = optimizer(p, w)
    listed = p.op(DICTS + "__getitem__", group(p, made), "params")
    more = p.op(LISTS + "__mul__", p.op("python.collect", v), number(p))
    p.do(LISTS + "extend", listed, more)
    return trained(p, made, w, v)


@program
def a_group_that_is_none(p: Any) -> list[Ref]:
    """An optimizer with one could not be told from an object that there was not."""
    made = optimizer(p)
    groups = p.op(OPT + "param_groups", made)
    p.do(LISTS + "append", choose(p, groups, p.put([1])), X)
    return [made, groups]


@program
def settings_that_a_schedule_adds(p: Any) -> list[Ref]:
    made = optimizer(p, momentum=0.9)
    p.op(SCHED + "OneCycleLR", made, 0.1, total_steps=5, cycle_momentum=flag(p))
    of = group(p, made)
    return [p.op(DICTS + "keys", of), p.op("python.len", of), of]


@program
def settings_that_an_optimizer_adds_until_it_fails(p: Any) -> list[Ref]:
    groups = p.op(OPT + "param_groups", optimizer(p))
    rate = p.op("python.Float", p.op("torch.sub", p.op(T + "__getitem__", I, 0), 1))
    return [p.op("torch.optim.Adam", groups, lr=rate), groups, p.op("python.len", groups)]


@program
def a_schedule_that_is_left_out(p: Any) -> list[Ref]:
    made = optimizer(p)
    factors = choose(p, 0, p.op("python.collect", p.op("torch.nope")))
    p.op(SCHED + "LambdaLR", made, factors)
    return [made]


@program
def a_schedule_that_is_not_there(p: Any) -> list[Ref]:
    factors = choose(p, 0, p.op("python.collect", p.op("torch.nope")))
    return [p.op(SCHED + "LambdaLR", optimizer(p), factors)]


EVERY = {**PROGRAMS, **ASKED}


@pytest.mark.parametrize("name", EVERY)
def test_what_a_private_value_leaves_out_shows_nowhere(name: str) -> None:
    state = torch.get_rng_state()
    try:
        made = EVERY[name]
        assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))
    finally:
        torch.set_rng_state(state)


def chances(p: Any) -> dict[str, Ref]:
    """Chances of which one is none, or of which one drops nothing."""
    private = p.op(T + "__getitem__", I, 0)
    return {
        name: p.op("python.Float", p.op("torch.mul", private, most))
        for name, most in (("none", 2.0), ("half", 0.5), ("all", 1.0))
    }


@pytest.mark.parametrize("chance", ["none", "half", "all"])
@pytest.mark.parametrize("short", ["dropout", "dropout1d", "dropout2d", "alpha_dropout"])
@pytest.mark.parametrize("is_on", [False, True])
def test_a_private_chance_of_a_dropout_shows_nowhere(short: str, chance: str, is_on: bool) -> None:
    """A dropout gives back its own tensor, another one, or fails."""

    def made(p: Any) -> list[Ref]:
        own, other = p.put(torch.ones(2, 3, 4, requires_grad=True)), p.put(torch.ones(2, 3, 4))
        given = [p.op(F + short, each, chances(p)[chance], is_on) for each in (own, other)]
        for each in given:
            p.do(T + "add_", each, 1.0)
            p.do(T + "backward", p.op("torch.sum", each))
        return [own, other, *given, p.op(T + "grad", own)]

    assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))


def test_a_private_tensor_as_a_chance_shows_nowhere() -> None:
    def made(p: Any) -> list[Ref]:
        own = p.put(torch.ones(2, 3))
        chance = p.op("torch.mul", p.op(T + "__getitem__", I, 0), 0.5)
        return [own, p.op(F + "dropout", own, chance, True)]

    assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))


@pytest.mark.parametrize("wants", [False, True])
@pytest.mark.parametrize("short", ["flatten", "sum_to_size", "broadcast_tensors", "narrow"])
def test_whether_a_private_shape_is_that_of_the_tensor_shows_nowhere(
    short: str, wants: bool
) -> None:
    """The tensor itself is given back, a view of it, another tensor, or it fails."""

    def made(p: Any) -> list[Ref]:
        own = p.put(torch.ones(1, requires_grad=wants))
        both = p.put(torch.ones(1, 2, requires_grad=wants))
        given = {
            "flatten": lambda: [
                p.op("torch.flatten", own, number(p)), p.op("torch.flatten", both, number(p)),
            ],
            "sum_to_size": lambda: [
                p.op(T + "sum_to_size", own, [p.op("python.Int.__add__", number(p), 1)]),
                p.op(T + "sum_to_size", both, [1, p.op("python.Int.__add__", number(p), 1)]),
            ],
            "broadcast_tensors": lambda: p.ops(
                "torch.broadcast_tensors", 2, both,
                p.op(T + "__getitem__", X, p.op(T + "__gt__", X, 0.5)),
            ),
            "narrow": lambda: [p.op(T + "narrow", own, 0, number(p), 1)],
        }[short]()  # fmt: skip
        for each in given:
            p.do(T + "add_", each, 1.0)
            p.do(T + "backward", p.op("torch.sum", each))
        return [own, both, *given]

    assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))


# what lies where in memory, and what no walk survives


@pytest.mark.parametrize("kind", ["tensors", "none", "in a tuple", "an optimizer", "inline"])
def test_a_set_holds_nothing_that_is_hashed_by_its_address(kind: str) -> None:
    """Its order would tell what was made before, and so how much of it private values made."""
    d = Driver()
    own = d.put(torch.zeros(1))
    if kind == "inline":
        assert d.failed("python.List", {own, 1}).is_public
        return
    nan = d.ok("python.Float", "nan")
    held = {
        "tensors": own, "none": nan, "in a tuple": (1, nan),
        "an optimizer": d.ok("torch.optim.SGD", [d.put(torch.ones(1, requires_grad=True))], lr=0.1),
    }[kind]  # fmt: skip
    assert d.failed("python.Set", [held, 1]).is_public
    some = d.ok("python.Set", [1, 2])
    assert d.failed("python.Set.add", some, held).is_public
    assert d.failed("python.Set.update", some, [held]).is_public


def test_a_set_of_numbers_texts_and_tuples_is_one() -> None:
    d = Driver()
    made = d.ok("python.Set", [1, 2.5, "a", (1, "b"), None, True])
    assert d.release(made) == {1, 2.5, "a", (1, "b"), None}


@pytest.mark.parametrize("short", ["pop", "popitem", "setdefault", "clear", "copy", "update"])
def test_a_method_of_dicts_leaves_an_ordered_one_whole(short: str) -> None:
    """Its order would name a key that is not there, and whoever goes through it ends."""
    d = Driver()
    box = d.ok("python.OrderedDict", [("a", 1), ("b", 2)])
    args = {"pop": ("a",), "setdefault": ("c", 3), "update": ([("c", 3)],)}.get(short, ())
    d.run(DICTS + short, box, *args)
    keys = d.ok(ORDERED + "keys", box)
    assert d.release(d.ok("python.len", keys)) == len(d.release(keys))
    assert set(d.release(box)) == set(d.release(keys))
