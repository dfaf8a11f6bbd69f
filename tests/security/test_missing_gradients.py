"""A gradient that is read off something missing, or is missing itself, and where it goes back to.

Each program fails on the second of two data sets. A second private number then chooses between what
was read and what was made of it: that marks the leaves which a backward through them would reach,
if there is anything. So the sources of two own leaves, and of their gradients, tell it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import CLIP, Side, T

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def _read(s: Side) -> None:
    s.choose(s.gradient(s.missing(s.leaf)))


def _gone_back_through(s: Side) -> None:
    s.go_back(s.gradient(s.missing(s.leaf)))


def _set(s: Side) -> None:
    s.choose(s.gradient(s.put(s.missing(s.leaf), s.inner(s.other))))


def _set_without_a_graph(s: Side) -> None:
    tensor = s.missing(s.leaf)
    s.do(T + "grad=", tensor, s.inner(s.other), mode="n")
    s.choose(s.gradient(tensor))


def _set_and_taken_away(s: Side) -> None:
    tensor = s.put(s.missing(s.leaf), s.inner(s.other))
    s.choose(s.gradient(s.put(tensor, None)))


def _set_on_the_same(s: Side) -> None:
    tensor = s.missing(s.leaf)
    s.do(T + "grad=", s.op(T + "mul_", tensor, 2.0), s.inner(s.other))
    s.choose(s.gradient(tensor))


def _holder_of_one(s: Side) -> None:
    s.choose(s.put(s.missing(s.leaf), s.inner(s.other)))


def _set_and_gone_back_through(s: Side) -> None:
    s.go_back(s.gradient(s.put(s.missing(s.leaf), s.inner(s.other))))


def _both_missing(s: Side) -> None:
    s.go_back(s.gradient(s.put(s.missing(s.leaf), s.missing(s.other))))


def _retained(s: Side) -> None:
    tensor = s.missing(s.leaf)
    s.do(T + "retain_grad", tensor)
    s.go_back(s.op("torch.mul", s.op("torch.mul", tensor, tensor), s.other))
    s.choose(s.gradient(tensor))


def _retained_with_a_graph(s: Side) -> None:
    tensor = s.missing(s.leaf)
    s.do(T + "retain_grad", tensor)
    product = s.op("torch.mul", s.op("torch.mul", tensor, tensor), s.other)
    s.do(T + "backward", s.op("torch.sum", product), create_graph=True)
    s.choose(s.gradient(tensor))


def _missing_one_set_on_a_leaf(s: Side) -> None:
    s.do(T + "grad=", s.leaf, s.missing(s.other))
    s.choose(s.gradient(s.leaf))


def _missing_one_set_inside(s: Side) -> None:
    own = s.inner(s.leaf)
    s.do(T + "grad=", own, s.missing(s.other))
    s.go_back(s.gradient(own))


def _missing_one_clipped(s: Side) -> None:
    s.do(T + "grad=", s.leaf, s.op(T + "detach", s.missing(s.other)))
    s.do(CLIP, [s.other, s.leaf], 1.0)


def _refused_one_read(s: Side) -> None:
    s.choose(s.gradient(s.refused()))


def _holder_of_a_refused_one(s: Side) -> None:
    s.choose(s.refused())


def _refused_one_gone_back_through(s: Side) -> None:
    s.go_back(s.gradient(s.refused()))


def _data(s: Side) -> None:
    s.choose(s.op(T + "data", s.missing(s.leaf)))


def _number(s: Side) -> None:
    number = s.op(T + "item", s.op("torch.sum", s.missing(s.leaf)))
    s.op("python.List.__getitem__", s.op("python.collect", number, 1), s.other_place)


def _size(s: Side) -> None:
    size = s.op(T + "size", s.missing(s.leaf))
    s.op("python.List.__getitem__", s.op("python.collect", size, 1), s.other_place)


def _of_one_factor(s: Side) -> None:
    tensor = s.missing(s.leaf)
    s.do(T + "retain_grad", tensor)
    product = s.op("torch.sum", s.op("torch.mul", tensor, s.other))
    s.do(T + "backward", product, create_graph=True)
    s.choose(s.gradient(tensor))


def _of_a_missing_leaf(s: Side) -> None:
    leaf = s.op(T + "requires_grad_", s.op(T + "detach", s.missing(s.leaf)), True)
    product = s.op("torch.sum", s.op("torch.mul", leaf, s.other))
    s.do(T + "backward", product, create_graph=True)
    s.choose(s.gradient(leaf))


def _of_an_element(s: Side) -> None:
    tensors = [s.inner(s.leaf), s.inner(s.leaf)]
    for tensor in tensors:
        s.do(T + "grad=", tensor, s.inner(s.other))
    parts = s.op("python.collect", *tensors)
    s.choose(s.gradient(s.op("python.List.__getitem__", parts, s.place)))


def _told(program: Callable[[Side], None]) -> Iterator[list[Any]]:
    for number in (1, 2):
        side = Side(number)
        program(side)
        assert not side.is_told_of_failures()
        yield side.told()


@pytest.mark.parametrize("program", [
    _read, _gone_back_through, _set, _set_without_a_graph, _set_and_taken_away, _set_on_the_same,
    _holder_of_one, _set_and_gone_back_through, _both_missing, _retained, _retained_with_a_graph,
    _missing_one_set_on_a_leaf, _missing_one_set_inside, _missing_one_clipped, _refused_one_read,
    _holder_of_a_refused_one, _refused_one_gone_back_through, _data, _number, _size,
    _of_one_factor, _of_a_missing_leaf, _of_an_element,
])  # fmt: skip
def test_where_it_goes_back_to_is_the_same_whether_it_is_there(
    program: Callable[[Side], None],
) -> None:
    one, other = _told(program)
    assert one == other


def _chosen(s: Side, tensors: list[Ref]) -> Ref:
    parts = s.op("python.collect", *tensors)
    return s.op("python.List.__getitem__", parts, s.place)


def _set_before(s: Side, leaves: list[Ref]) -> Ref:
    tensors = [s.inner(s.ones(has_gradient=True)) for _ in leaves]
    for tensor, leaf in zip(tensors, leaves, strict=True):
        s.do(T + "grad=", tensor, s.inner(leaf))
    return _chosen(s, tensors)


def _set_after(s: Side, leaves: list[Ref]) -> Ref:
    tensors = [s.inner(s.ones(has_gradient=True)) for _ in leaves]
    chosen = _chosen(s, tensors)
    for tensor, leaf in zip(tensors, leaves, strict=True):
        s.do(T + "grad=", tensor, s.inner(leaf), mode="n")
    return chosen


def _go_back(s: Side, tensors: list[Ref], leaves: list[Ref]) -> None:
    for tensor, leaf in zip(tensors, leaves, strict=True):
        product = s.op("torch.sum", s.op("torch.mul", tensor, leaf))
        s.do(T + "backward", product, create_graph=True)


def _left_before(s: Side, leaves: list[Ref]) -> Ref:
    tensors = [s.ones(has_gradient=True) for _ in leaves]
    _go_back(s, tensors, leaves)
    return _chosen(s, tensors)


def _left_after(s: Side, leaves: list[Ref]) -> Ref:
    tensors = [s.ones(has_gradient=True) for _ in leaves]
    chosen = _chosen(s, tensors)
    _go_back(s, tensors, leaves)
    return chosen


def _retained_after(s: Side, leaves: list[Ref]) -> Ref:
    tensors = [s.inner(s.ones(has_gradient=True)) for _ in leaves]
    chosen = _chosen(s, tensors)
    for tensor in tensors:
        s.do(T + "retain_grad", tensor)
    _go_back(s, tensors, leaves)
    return chosen


PAIRS = [_set_before, _set_after, _left_before, _left_after, _retained_after]


@pytest.mark.parametrize("use", [Side.choose, Side.go_back])
@pytest.mark.parametrize("program", PAIRS)
def test_whose_gradient_was_chosen_shows_in_no_leaf_behind_one(
    program: Callable[[Side, list[Ref]], Ref], use: Callable[[Side, Ref], None]
) -> None:
    for number in (0, 1):
        side = Side(number)
        leaves = [side.leaf, side.other]
        use(side, side.gradient(program(side, leaves)))
        assert not side.is_told_of_failures()
        found = [side.gradient(leaf) for leaf in leaves]
        kinds = [side.engine.facts(ref).kind for ref in (*leaves, *found)]
        assert kinds == ["per_record"] * 4


@pytest.mark.parametrize("use", [Side.choose, Side.go_back, Side.go_back_with])
@pytest.mark.parametrize("program", PAIRS)
def test_nor_does_it_once_one_of_them_gets_a_second_source(
    program: Callable[[Side, list[Ref]], Ref], use: Callable[[Side, Ref], None]
) -> None:
    """Of the last number there is no tensor to be chosen."""
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        made = side.gradient(program(side, [side.leaf, side.other]))
        use(side, made)
        assert not side.is_told_of_failures()
        shown.append(side.shown(made))
    assert shown[0] == shown[1] == shown[2]


def _leaf(s: Side) -> Ref:
    return s.op(T + "requires_grad_", s.op(T + "detach", s.missing(s.leaf)), True)


def _retained(s: Side) -> Ref:
    tensor = s.missing(s.leaf)
    s.do(T + "retain_grad", tensor)
    return tensor


def _read_after(s: Side, tensor: Ref) -> Ref:
    s.go_back_with(tensor)
    return s.gradient(tensor)


def _read_before(s: Side, tensor: Ref) -> Ref:
    s.go_back(s.op("torch.mul", tensor, s.other))
    read = s.gradient(tensor)
    s.go_back_with(tensor)
    return read


def _a_view_of_it(s: Side, tensor: Ref) -> Ref:
    s.go_back(s.op("torch.mul", tensor, s.other))
    view = s.op(T + "detach", s.gradient(tensor))
    s.go_back_with(tensor)
    return view


def _written_to(s: Side, tensor: Ref) -> Ref:
    s.go_back(s.op("torch.mul", tensor, s.other))
    s.do(T + "mul_", s.gradient(tensor), s.third())
    return s.gradient(tensor)


def _kept_by_its_graph(s: Side, tensor: Ref) -> Ref:
    own = s.ones()
    product = s.op("torch.mul", tensor, own)
    s.choose(own)
    s.go_back(product)
    return s.gradient(tensor)


def _clipped(s: Side, tensor: Ref) -> Ref:
    s.go_back_with(tensor)
    return s.op(CLIP, [tensor, s.other], 1.0)


def _stepped(s: Side, tensor: Ref) -> Ref:
    optimizer = s.op("torch.optim.SGD", [tensor, s.other], 0.1)
    s.go_back_with(tensor)
    s.do("torch.optim.Optimizer.step", optimizer)
    return tensor


def _stepped_beside_a_gradient(s: Side, tensor: Ref) -> Ref:
    own = s.put(s.ones(has_gradient=True), s.op("torch.mul", s.ones(), s.third()))
    s.do("torch.optim.Optimizer.step", s.op("torch.optim.SGD", [own, tensor], 0.1))
    return tensor


def _refused(s: Side, tensor: Ref) -> Ref:
    """An optimizer that torch does not make."""
    inner, own = s.op("torch.mul", tensor, 1.0), s.op("torch.mul", s.ones(), s.third())
    optimizer = s.op("torch.optim.SGD", [own, inner], 0.1)
    s.do("torch.optim.Optimizer.step", optimizer)
    return inner


@pytest.mark.parametrize("made", [_leaf, _retained])
@pytest.mark.parametrize("use", [
    _read_after, _read_before, _a_view_of_it, _written_to, _kept_by_its_graph, _clipped, _stepped,
    _refused, _stepped_beside_a_gradient,
])  # fmt: skip
def test_what_came_to_a_missing_tensor_is_in_the_sources_of_its_gradient(
    made: Callable[[Side], Ref], use: Callable[[Side, Ref], Ref]
) -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        found = use(side, made(side))
        shown.append((side.told(), side.shown(found)))
    assert shown[0] == shown[1]


def _one_that_keeps_none(s: Side) -> Ref:
    return s.missing(s.leaf)


@pytest.mark.parametrize("made", [_one_that_keeps_none, _leaf, _retained])
@pytest.mark.parametrize("has_gradient", [True, False])
def test_a_clipping_with_what_is_missing_leaves_the_labels_of_one_with_what_is_there(
    made: Callable[[Side], Ref], has_gradient: bool
) -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        tensor, own = made(side), side.ones()
        side.put(side.other, own)
        if has_gradient:
            side.go_back_with(tensor)
        norm = side.op(CLIP, [side.other, tensor], 1.0)
        shown.append((side.told(), side.shown(own, norm, side.gradient(tensor))))
    assert shown[0] == shown[1]
