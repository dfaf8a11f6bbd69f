"""What a command names has the same sources whether it is there, and whatever else has failed.

Each program runs on two data sets; on the second one a tensor is missing that is there on the
first. What a rule may go by of all that the programs name is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import Side, T

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def failed(s: Side) -> Ref:
    """A failure for all to see."""
    return s.op("torch.zeros", "x")


def named_by_a_way_back(s: Side) -> list[Ref]:
    tensor = s.missing(s.leaf)
    total = s.op("torch.sum", s.op("torch.mul", tensor, s.third()))
    s.do(T + "backward", total, inputs=[tensor])
    return [tensor]


def set_where_there_is_no_tensor(s: Side) -> list[Ref]:
    tensor = s.missing(s.leaf)
    s.put(s.gradient(s.op("torch.mul", s.other, s.third())), tensor)
    return [tensor]


def given_beside_a_private_size(s: Side) -> list[Ref]:
    tensor = s.missing(s.leaf)
    hidden = s.op(T + "view", s.op("torch.mul", s.third(), 1.0), s.place, -1)
    s.do("torch.matmul", tensor, hidden)
    return [tensor, s.op("torch.matmul", tensor, hidden)]


def retained_and_not_named(s: Side) -> list[Ref]:
    tensor = s.missing(s.other)
    s.do(T + "retain_grad", tensor)
    total = s.op("torch.sum", s.op("torch.mul", s.leaf, tensor))
    s.do(T + "backward", total, create_graph=True, inputs=[s.other])
    s.do(T + "mul_", s.op(T + "detach", s.leaf), s.third())
    return [tensor]


def chosen_with_the_gradient_that_came_to_it(s: Side) -> list[Ref]:
    tensor = s.missing(s.leaf)
    total = s.op("torch.sum", s.op("torch.mul", tensor, s.third()))
    s.do(T + "backward", total, inputs=[tensor])
    s.choose(tensor)
    return [tensor]


def chosen_with_the_gradient_that_was_set(s: Side) -> list[Ref]:
    tensor, gradient = s.missing(s.leaf), s.op("torch.mul", s.third(), 1.0)
    s.put(tensor, gradient)
    s.choose(tensor)
    return [tensor, gradient]


def filled_with_what_failed(s: Side) -> list[Ref]:
    tensor = s.missing(s.ones())
    made = s.op(T + "mul_", tensor, failed(s))
    s.choose(made)
    return [tensor, made]


def filled_with_what_failed_on_private_values(s: Side) -> list[Ref]:
    """A leaf is written to, which is refused for all to see."""
    own, tensor = s.ones(), s.missing(s.ones())
    s.do(T + "mul_", own, s.third())
    return [tensor, s.op(T + "mul_", tensor, s.op(T + "mul_", s.leaf, own))]


def a_gradient_that_failed_for_all_to_see(s: Side) -> list[Ref]:
    s.put(s.leaf, s.other)
    s.put(s.other, s.other)  # which is refused
    s.go_back(s.op("torch.mul", s.leaf, s.missing(s.ones())))
    return []


def held_by_what_holds_something_missing(s: Side) -> list[Ref]:
    s.put(s.leaf, s.other)
    s.go_back_with(s.leaf)
    s.put(s.leaf, s.missing(s.ones(has_gradient=True)))
    s.put(s.other, s.leaf)
    return []


def a_gradient_that_was_taken_away(s: Side) -> list[Ref]:
    tensor = s.missing(s.ones())
    s.put(tensor, None)
    gradient = s.gradient(tensor)
    s.choose(s.op(T + "detach", gradient))
    return [gradient]


def set_as_the_gradient_of_what_was_written_to(s: Side) -> list[Ref]:
    tensor, own = s.missing(s.leaf), s.op(T + "mul_", s.ones(), s.third())
    s.do(T + "mul_", tensor, s.third())
    s.put(tensor, s.other)
    s.choose(s.op("torch.mul", s.missing(s.ones(has_gradient=True)), own))
    return [tensor]


PROGRAMS = (
    filled_with_what_failed_on_private_values, a_gradient_that_failed_for_all_to_see,
    held_by_what_holds_something_missing, a_gradient_that_was_taken_away,
    set_as_the_gradient_of_what_was_written_to,
    named_by_a_way_back, set_where_there_is_no_tensor, given_beside_a_private_size,
    retained_and_not_named, chosen_with_the_gradient_that_came_to_it,
    chosen_with_the_gradient_that_was_set, filled_with_what_failed,
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_named_has_the_same_sources_whether_it_is_there(
    program: Callable[[Side], list[Ref]],
) -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        made = program(side)
        shown.append((side.shown(*made), side.told(), len(side.failures())))
    assert shown[0] == shown[1]


def test_a_failure_for_all_to_see_goes_back_to_nothing_that_a_private_value_chose() -> None:
    """One of three has a gradient with a graph."""
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        square = side.op("torch.mul", side.other, side.other)
        side.do(T + "backward", side.op("torch.sum", square), create_graph=True)
        box = side.op("python.collect", side.ones(), side.leaf, side.other)
        gradient = side.gradient(side.op("python.List.__getitem__", box, side.place))
        made = side.op("torch.mul", failed(side), gradient)
        side.choose(made)
        side.go_back(made)
        shown.append(side.shown(gradient, made))
    assert shown[0] == shown[1] == shown[2]


def test_nor_does_it_show_if_a_failure_for_all_to_see_was_chosen() -> None:
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        made = failed(side)
        box = side.op("python.collect", side.leaf, side.ones(), made)
        chosen = side.op("python.List.__getitem__", box, side.place)
        view = side.op(T + "detach", made)
        side.choose(chosen)
        shown.append(side.shown(view, chosen))
    assert shown[0] == shown[1] == shown[2]


def test_nor_by_what_it_may_be_given_then() -> None:
    told = []
    for number in (0, 1, 2):
        side = Side(number)
        made = failed(side)
        box = side.op("python.collect", side.ones(), side.ones(), made)
        side.op("python.List.__getitem__", box, side.place)
        side.put(made, side.leaf)
        told.append([(fail.op, fail.code) for fail in side.failures()])
    assert told[0] == told[1] == told[2]


def test_nor_by_what_may_be_set_if_it_was_written_to_in_place() -> None:
    told = []
    for number in (1, 2):
        side = Side(number)
        tensor = side.missing(side.leaf)
        side.op(T + "detach", side.op(T + "mul_", tensor, side.ones()))
        side.put(tensor, side.leaf)
        told.append([(fail.op, fail.code) for fail in side.failures()])
    assert told[0] == told[1] == [(T + "grad=", "NotAllowed")]


def test_what_is_to_be_named_may_be_nothing() -> None:
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        parts = side.op("python.collect", side.gradient(side.ones()), side.ones(), side.ones())
        named = side.op("python.List.__getitem__", parts, side.place)
        product = side.op("torch.mul", side.leaf, side.op("torch.mul", side.other, side.third()))
        total = side.op("torch.sum", product)
        side.do(T + "backward", total, create_graph=True, inputs=[named])
        shown.append(side.shown(named))
    assert shown[0] == shown[1] == shown[2]


def test_a_failure_for_all_to_see_goes_back_to_a_leaf_that_is_known() -> None:
    side = Side(0)
    side.go_back(side.op("torch.mul", failed(side), side.inner(side.leaf)))
    assert side.engine.facts(side.leaf).failed_is_public
    assert not side.engine.facts(side.other).failed
