"""What would lie in the memory of something that is missing has the label of that.

A view of a tensor has the label of that, and so has what is read off another one of which it was
set as the gradient. Each program runs on two data sets; on the second one the tensor is missing,
since something failed. What a rule may go by is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import CLIP, Side, T

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
Program = Callable[[Side], tuple[Ref, ...]]
PROGRAMS: list[Program] = []


def program(made: Program) -> Program:
    PROGRAMS.append(made)
    return made


def write(s: Side, target: Ref) -> None:
    """A source that nothing else has comes to it."""
    s.do(T + "mul_", target, s.third())


def detached(s: Side) -> Ref:
    return s.op(T + "detach", s.missing(s.leaf))


def with_view(s: Side) -> tuple[Ref, Ref]:
    tensor = s.missing(s.leaf)
    return tensor, s.op(T + "detach", tensor)


@program
def a_view_of_what_is_written_to(s: Side) -> tuple[Ref, ...]:
    tensor, view = with_view(s)
    write(s, tensor)
    return tensor, view


@program
def what_a_view_of_is_written_to(s: Side) -> tuple[Ref, ...]:
    tensor, view = with_view(s)
    write(s, view)
    return tensor, view


@program
def a_view_that_outlives_it(s: Side) -> tuple[Ref, ...]:
    view, other = s.op(T + "detach", tensor := s.missing(s.ones())), s.op(T + "detach", tensor)
    total = s.op("torch.sum", tensor)
    both = s.op("python.collect", total, tensor)
    s.op("python.List.__getitem__", both, s.other_place)
    s.engine.delete(tensor, both)
    for _ in range(64):  # after so many what is gone is let go of
        s.op("python.collect", s.other)
    write(s, other)
    return total, view, other


@program
def a_gradient_that_is_written_to(s: Side) -> tuple[Ref, ...]:
    tensor = s.missing(s.leaf)
    holder = s.put(s.ones(), tensor)
    write(s, tensor)
    return tensor, holder, s.gradient(holder)


@program
def a_gradient_that_is_read_and_written_to(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := detached(s))
    write(s, s.gradient(holder))
    return tensor, holder, s.gradient(holder)


@program
def a_gradient_of_two(s: Side) -> tuple[Ref, ...]:
    tensor = s.missing(s.leaf)
    holders = [s.put(s.ones(), tensor), s.put(s.ones(), tensor)]
    write(s, s.gradient(holders[0]))
    return (tensor, *holders, *map(s.gradient, holders))


@program
def a_view_of_a_gradient_whose_holder_is_chosen(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := s.missing(s.leaf))
    view = s.op(T + "detach", tensor)
    s.choose(view)
    return tensor, holder, view, s.gradient(holder)


@program
def a_gradient_that_was_taken_off(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := s.missing(s.leaf))
    gradient = s.gradient(holder)
    s.put(holder, None)
    write(s, tensor)
    return tensor, holder, gradient


@program
def a_gradient_that_a_backward_adds_to(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(has_gradient=True), tensor := detached(s))
    s.go_back_with(holder)
    return tensor, holder, s.gradient(holder)


@program
def a_gradient_that_is_clipped_with_another(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(has_gradient=True), tensor := detached(s))
    other = s.put(s.ones(), s.op("torch.mul", s.third(), 1.0))
    norm = s.op(CLIP, [holder, other], 1.0)
    return tensor, holder, s.gradient(holder), norm


@program
def one_that_may_not_fit(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := s.op("torch.clone", s.hidden(s.leaf)))
    write(s, tensor)
    return tensor, holder, s.gradient(holder)


@program
def one_that_may_not_fit_and_is_chosen(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := s.op("torch.clone", s.hidden(s.leaf)))
    s.choose(tensor)
    return tensor, holder, s.gradient(holder)


@program
def one_that_may_not_fit_whose_holder_is_chosen(s: Side) -> tuple[Ref, ...]:
    holder = s.put(s.ones(), tensor := s.op("torch.clone", s.hidden(s.leaf)))
    s.choose(holder)
    return tensor, holder, s.gradient(holder)


@program
def the_gradient_of_one_that_has_none(s: Side) -> tuple[Ref, ...]:
    gradient = s.gradient(tensor := s.missing(s.leaf))
    write(s, gradient)
    s.choose(s.op(T + "detach", gradient))
    return tensor, gradient


@program
def what_is_multiplied_in_place_by_one_with_a_graph(s: Side) -> tuple[Ref, ...]:
    own, tensor = s.ones(), s.missing(s.leaf)
    s.do(T + "mul_", own, tensor)
    s.choose(own)
    return own, tensor


@program
def a_leaf_that_was_named_and_is_not_in_its_graph(s: Side) -> tuple[Ref, ...]:
    total = s.op("torch.sum", tensor := s.missing(s.leaf))
    s.do(T + "backward", total, create_graph=True, inputs=[s.other])
    s.choose(tensor)
    return (tensor,)


@pytest.mark.parametrize("made", PROGRAMS)
def test_what_a_rule_may_go_by_is_the_same(made: Program) -> None:
    shown: list[Any] = []
    for number in (1, 2):
        side = Side(number)
        refs = made(side)
        shown.append((side.shown(*refs), [(f.op, f.code) for f in side.failures()]))
    assert shown[0] == shown[1]
