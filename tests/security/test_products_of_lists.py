"""Lists so many times as a private number says, with what another one chose in them.

Such a list may have nothing in it. What happens to what it may hold is the same for each number.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import Side, T

LIST, TUPLE = "python.List.", "python.Tuple"


def chosen(s: Side, *parts: Ref) -> list[Ref]:
    """One of these, by the number that is 0 in all data sets."""
    box = s.op("python.collect", *parts)
    return [box, s.op(LIST + "__getitem__", box, s.other_place)]


def times(s: Side, box: Ref, count: Ref) -> Ref:
    return s.op(LIST + "__mul__", box, count)


def of_a_list_that_was_multiplied(s: Side) -> list[Ref]:
    box = s.op("python.collect", s.leaf)
    made = times(s, box, s.place)
    s.do(LIST + "__setitem__", box, 0, s.other)
    return [box, times(s, box, s.place), times(s, made, s.other_place)]


def taken_out_of_one(s: Side) -> list[Ref]:
    box = s.op("python.collect", s.leaf)
    made = times(s, box, s.place)
    return [box, s.op(LIST + "__getitem__", made, s.other_place)]


def beside_another_choice(s: Side) -> list[Ref]:
    two = s.op(TUPLE + ".__mul__", s.op(TUPLE, s.op("python.collect", s.leaf)), s.place)
    made = chosen(s, s.ones(), s.other)
    return [*made, s.op(LIST + "__rmul__", two, s.other_place)]


def of_a_tuple_that_may_be_empty(s: Side) -> list[Ref]:
    made = chosen(s, s.put_number(), s.other)
    one = s.op(TUPLE + ".__mul__", s.op(TUPLE, s.op("python.collect", s.leaf)), s.other_place)
    return [*made, s.op("python.Any.__mul__", one, s.place)]


class Numbers(Side):
    """A side that puts numbers, too."""

    def put_number(self) -> Ref:
        return self.engine.put(1)


@pytest.mark.parametrize("program", [
    of_a_list_that_was_multiplied, taken_out_of_one, beside_another_choice,
    of_a_tuple_that_may_be_empty,
])  # fmt: skip
def test_how_often_a_list_is_taken_shows_in_no_label(
    program: Callable[[Numbers], list[Ref]],
) -> None:
    shown = []
    for number in (0, 1, 2):
        side = Numbers(number)
        made = program(side)
        shown.append(side.shown(*made))
    assert shown[0] == shown[1] == shown[2]


def test_what_was_to_be_gone_through_may_have_a_graph_or_none() -> None:
    """One of a tensor and a text, of which a sum is asked; a text has none, nor has no element."""
    shown = []
    for number in (1, 2):
        side = Numbers(number)
        box = side.op("python.collect", side.leaf, side.engine.put("ab"))
        total = side.op("torch.sum", side.op(LIST + "__getitem__", box, side.place))
        side.do(T + "mul_", side.leaf, side.third(), mode="n")
        made = side.op("python.Any.__mul__", total, 0)
        side.do(LIST + "extend", made, side.engine.put(2.5))
        shown.append(side.shown(made))
    assert shown[0] == shown[1]


def test_what_is_added_to_itself_under_another_name_is_refused_as_any_other_that_was_chosen() -> (
    None
):
    """The same number chose both: the same tensor, or a number."""
    told = []
    for number in (0, 1):
        side = Side(number)
        box = side.op("python.collect", side.ones(), side.place)
        one, same = (side.op(LIST + "__getitem__", box, side.place) for _ in range(2))
        side.do(T + "add_", one, same)
        told.append([event.code for event in side.failures()])
    assert told == [["NotAllowed"], ["NotAllowed"]]


def test_a_list_has_the_sources_of_what_a_private_number_took_out() -> None:
    shown = []
    for number in (0, 1):
        side = Side(number)
        box = side.op("python.collect", side.third(), side.other_place)
        side.do(LIST + "pop", box, side.place)
        shown.append(side.engine.facts(box).sources)
    assert shown[0] == shown[1]
