"""What a backward through something that may be missing leaves, and where that goes back to.

A backward that keeps the graph of the way back gives a graph to the gradients that it leaves. Each
program runs on two data sets; on the second one something that it goes back through has failed.
Then one more source comes to what it made, and so to the leaves behind that, by a choice or by a
backward. What a rule may go by is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import CLIP, Side, T

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PROGRAMS: list[Callable[[Side], Ref]] = []


def program(made: Callable[[Side], Ref]) -> Callable[[Side], Ref]:
    PROGRAMS.append(made)
    return made


def back(s: Side, *factors: Ref, **settings: object) -> None:
    product = factors[0]
    for factor in factors[1:]:
        product = s.op("torch.mul", product, factor)
    settings = {"create_graph": True, **settings}
    s.do(T + "backward", s.op("torch.sum", product), **settings)


def retained(s: Side, tensor: Ref) -> Ref:
    s.do(T + "retain_grad", tensor)
    return tensor


def missing_leaf(s: Side, of: Ref) -> Ref:
    return s.op(T + "requires_grad_", s.op(T + "detach", s.missing(of)), True)


@program
def of_one_factor(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, tensor, s.other)
    return s.gradient(tensor)


@program
def of_one_that_has_no_graph(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, tensor)
    return s.gradient(tensor)


@program
def of_a_leaf_behind_it(s: Side) -> Ref:
    back(s, s.missing(s.leaf), s.other)
    return s.gradient(s.leaf)


@program
def of_a_leaf_that_had_one(s: Side) -> Ref:
    back(s, s.leaf, s.leaf, create_graph=False)
    return of_a_leaf_behind_it(s)


@program
def of_a_missing_leaf(s: Side) -> Ref:
    leaf = missing_leaf(s, s.leaf)
    back(s, leaf, s.other)
    return s.gradient(leaf)


@program
def of_a_leaf_beside_a_missing_one(s: Side) -> Ref:
    leaf = missing_leaf(s, s.leaf)
    back(s, leaf, leaf, s.other)
    return s.gradient(s.other)


@program
def of_one_of_two_missing_leaves(s: Side) -> Ref:
    leaf = missing_leaf(s, s.leaf)
    back(s, leaf, missing_leaf(s, s.other), s.other)
    return s.gradient(leaf)


@program
def of_a_missing_parameter(s: Side) -> Ref:
    parameter = s.op("torch.nn.Parameter", s.missing(s.leaf))
    back(s, parameter, s.other)
    return s.gradient(parameter)


@program
def of_one_that_is_to_want_one(s: Side) -> Ref:
    tensor = s.op(T + "detach", s.missing(s.leaf))
    s.do(T + "requires_grad=", tensor, True)
    back(s, tensor, s.other)
    return s.gradient(tensor)


@program
def of_one_elsewhere(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, s.missing(s.leaf), s.other)
    return s.gradient(tensor)


@program
def of_one_that_lay_in_a_list(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, s.op("torch.cat", s.op("python.collect", tensor, s.ones())), s.other)
    return s.gradient(tensor)


@program
def of_one_that_it_was_made_of(s: Side) -> Ref:
    own = retained(s, s.inner(s.leaf))
    made = s.missing(own)
    back(s, made, s.other)
    return s.gradient(own)


@program
def of_one_that_was_named(s: Side) -> Ref:
    tensor = s.missing(s.leaf)
    back(s, tensor, s.other, inputs=[tensor])
    return s.gradient(tensor)


@program
def of_a_leaf_that_was_named(s: Side) -> Ref:
    back(s, s.missing(s.leaf), s.other, inputs=[s.other])
    return s.gradient(s.other)


@program
def of_one_that_was_written_to(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, s.op(T + "mul_", tensor, 2.0), s.other)
    return s.gradient(tensor)


@program
def by_a_gradient_that_is_missing(s: Side) -> Ref:
    squares = s.op("torch.mul", s.inner(s.leaf), s.inner(s.leaf))
    s.do(T + "backward", squares, s.missing(s.other), create_graph=True)
    return s.gradient(s.leaf)


@program
def twice(s: Side) -> Ref:
    back(s, of_one_factor(s), s.third())
    return s.gradient(s.other)


@program
def a_penalty(s: Side) -> Ref:
    tensor = s.missing(s.leaf)
    back(s, tensor, tensor, s.other)
    return s.op("torch.linalg.vector_norm", s.gradient(s.leaf))


@program
def clipped(s: Side) -> Ref:
    tensor = retained(s, s.missing(s.leaf))
    back(s, tensor, s.other)
    return s.op(CLIP, [tensor, s.other], 1.0)


@program
def before_a_step(s: Side) -> Ref:
    optimizer = s.op("torch.optim.SGD", [s.leaf, s.other], 0.1)
    made = of_one_factor(s)
    s.do("torch.optim.Optimizer.step", optimizer)
    return made


@program
def a_list_of_what_is_missing(s: Side) -> Ref:
    return s.op("torch.cat", s.op("python.collect", s.missing(s.leaf), s.ones()))


@program
def a_number(s: Side) -> Ref:
    return s.op(T + "item", s.op("torch.sum", s.missing(s.leaf)))


@program
def a_size(s: Side) -> Ref:
    return s.op(T + "size", s.missing(s.leaf))


def test_that_a_gradient_may_not_be_set_does_not_tell_if_it_is_there() -> None:
    told = []
    for number in (1, 2):
        side = Side(number)
        view = side.op(T + "detach", missing_leaf(side, side.leaf))
        side.put(view, side.inner(side.other))
        side.put(view, side.op(T + "detach", side.inner(side.other)))
        told.append([(failed.op, failed.code, failed.is_public) for failed in side.failures()])
    assert told[0] == told[1]


def a_view_of_it(s: Side) -> tuple[Ref, Ref]:
    tensor = s.missing(s.leaf)
    return tensor, s.op(T + "detach", tensor)


def it_written_to(s: Side) -> tuple[Ref, Ref]:
    tensor = s.missing(s.leaf)
    return tensor, s.op(T + "mul_", tensor, 2.0)


def a_tensor_that_holds_it(s: Side) -> tuple[Ref, Ref]:
    gradient = s.missing(s.leaf)
    return gradient, s.put(s.ones(), gradient)


@pytest.mark.parametrize("made", [a_view_of_it, it_written_to, a_tensor_that_holds_it])
def test_what_would_lie_in_one_memory_has_the_same_sources(
    made: Callable[[Side], tuple[Ref, Ref]],
) -> None:
    """Something is chosen that would be it itself, a view of it, or holds it."""
    shown = []
    for number in (1, 2):
        side = Side(number)
        tensor, other = made(side)
        side.choose(other)
        side.do(T + "mul_", tensor, side.inner(side.other))
        shown.append((side.shown(tensor, other), len(side.failures())))
    assert shown[0] == shown[1]


def named_elsewhere(s: Side) -> None:
    tensor = s.missing(s.leaf)
    back(s, s.missing(s.leaf), s.other, inputs=[tensor])
    s.choose(tensor)


def test_a_backward_gives_nothing_to_what_was_named_and_does_not_lie_in_its_graph() -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        named_elsewhere(side)
        shown.append(side.shown())
    assert shown[0] == shown[1]


@pytest.mark.parametrize("use", [Side.choose, Side.go_back_with])
@pytest.mark.parametrize("made", PROGRAMS)
def test_what_a_rule_may_go_by_is_the_same_whether_it_is_there(
    made: Callable[[Side], Ref], use: Callable[[Side, Ref], None]
) -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        result = made(side)
        use(side, result)
        shown.append((side.told(), side.shown(result)))
    assert shown[0] == shown[1]


def gradient_of_an_element(s: Side) -> Ref:
    tensors = [s.inner(s.leaf), s.inner(s.leaf)]
    for tensor in tensors:
        s.do(T + "grad=", tensor, s.inner(s.other))
    parts = s.op("python.collect", *tensors)
    return s.gradient(s.op("python.List.__getitem__", parts, s.place))


@pytest.mark.parametrize("use", [Side.choose, Side.go_back, Side.go_back_with])
def test_a_gradient_of_an_element_has_the_leaves_of_any_of_them(
    use: Callable[[Side, Ref], None],
) -> None:
    """That one of them has a gradient after a backward may be private; then it is hidden."""
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        made = gradient_of_an_element(side)
        use(side, made)
        assert not side.is_told_of_failures()
        shown.append(side.shown(made))
    assert shown[0] == shown[1] == shown[2]


def one_without_a_graph(s: Side) -> Ref:
    parts = s.op("python.collect", s.inner(s.leaf), s.inner(s.other), s.ones())
    return s.op("python.List.__getitem__", parts, s.place)


def a_gradient_or_none(s: Side) -> Ref:
    tensor = s.inner(s.leaf)
    s.do(T + "grad=", tensor, s.inner(s.other))
    parts = s.op("python.collect", tensor, s.inner(s.leaf))
    return s.gradient(s.op("python.List.__getitem__", parts, s.place))


def one_that_keeps_the_graph(s: Side) -> Ref:
    made = one_without_a_graph(s)
    back(s, made, leaf := s.ones(has_gradient=True))
    return s.gradient(leaf)


def one_of_which_gradients_are_asked(s: Side) -> Ref:
    elsewhere = s.inner(leaf := s.ones(has_gradient=True))
    s.choose(leaf)
    total = s.op("torch.sum", s.op("torch.mul", one_without_a_graph(s), s.third()))
    grads = s.op("torch.autograd.grad", total, [elsewhere], allow_unused=True)
    return s.op("python.Tuple.__getitem__", grads, 0)


def one_beside_what_is_perhaps_none(s: Side) -> Ref:
    one_without_a_graph(s)
    s.go_back_with(s.leaf)
    parts = s.op("python.collect", s.gradient(s.ones()), s.op("torch.mul", s.ones(), 2.0))
    perhaps, own = s.op("python.List.__getitem__", parts, s.place), s.ones()
    s.choose_of(perhaps, own)
    return own


@pytest.mark.parametrize("use", [Side.go_back_with, Side.choose])
@pytest.mark.parametrize("made", [
    one_without_a_graph, a_gradient_or_none, one_that_keeps_the_graph,
    one_of_which_gradients_are_asked, one_beside_what_is_perhaps_none,
])  # fmt: skip
def test_nor_does_it_show_if_what_was_chosen_has_a_graph(
    made: Callable[[Side], Ref], use: Callable[[Side, Ref], None]
) -> None:
    shown = []
    for number in (0, 1, 2):
        side = Side(number)
        result = made(side)
        product = side.op("torch.mul", result, 2.0)
        use(side, product)
        assert not side.is_told_of_failures()
        shown.append(side.shown(result, product))
    assert shown[0] == shown[1] == shown[2]


def test_a_backward_that_reaches_nothing_does_not_show_if_what_it_names_is_there() -> None:
    shown = []
    for number in (1, 2):
        side = Side(number)
        elsewhere, tensor = side.missing(side.leaf), side.op(T + "detach", side.missing(side.leaf))
        total = side.op("torch.sum", side.op("torch.mul", tensor, side.third()))
        side.do(T + "backward", total, inputs=[elsewhere])
        shown.append(side.shown(elsewhere))
    assert shown[0] == shown[1]


def a_factor(s: Side) -> tuple[Ref, Ref]:
    own, tensor = s.ones(), s.missing(s.leaf)
    return own, s.op("torch.mul", s.op("torch.mul", tensor, own), tensor)


def the_missing_one(s: Side) -> tuple[Ref, Ref]:
    tensor = s.missing(s.leaf)
    return tensor, s.op("torch.mul", tensor, tensor)


def a_result(s: Side) -> tuple[Ref, Ref]:
    made = s.op("torch.exp", s.missing(s.leaf))
    return made, s.op("torch.mul", made, 2.0)


def one_below_it(s: Side) -> tuple[Ref, Ref]:
    own = s.ones()
    return own, s.missing(s.op("torch.mul", s.leaf, own))


def one_beside_it(s: Side) -> tuple[Ref, Ref]:
    own = s.ones()
    return own, s.op("torch.mul", s.op("torch.mul", s.leaf, own), s.missing(s.other))


def one_that_it_was_written_over_with(s: Side) -> tuple[Ref, Ref]:
    own, tensor = s.ones(), s.missing(s.leaf)
    s.do(T + "mul_", tensor, own)
    return own, tensor


def one_in_a_graph_that_was_written_into_it(s: Side) -> tuple[Ref, Ref]:
    own, tensor = s.ones(), s.missing(s.leaf)
    s.do(T + "mul_", tensor, s.op("torch.mul", s.other, own))
    return own, tensor


def one_of_what_was_written_elsewhere(s: Side) -> tuple[Ref, Ref]:
    own, other = s.ones(), s.inner(s.other)
    s.do(T + "mul_", other, s.op("torch.mul", s.missing(s.leaf), own))
    return own, other


def back_for_a_result(s: Side, made: Ref) -> None:
    s.op("torch.autograd.grad", s.op("torch.sum", made), [s.leaf], allow_unused=True)


@pytest.mark.parametrize("use", [back, Side.go_back, back_for_a_result])
@pytest.mark.parametrize("made", [
    a_factor, the_missing_one, a_result, one_below_it, one_beside_it,
    one_that_it_was_written_over_with, one_in_a_graph_that_was_written_into_it,
    one_of_what_was_written_elsewhere,
])  # fmt: skip
def test_what_is_missing_may_have_kept_a_tensor_that_was_chosen_since(
    made: Callable[[Side], tuple[Ref, Ref]], use: Callable[[Side, Ref], None]
) -> None:
    """In both data sets it may have kept all that its command was given, and what that gave."""
    shown = []
    for number in (1, 2):
        side = Side(number)
        kept, product = made(side)
        side.choose(kept)
        use(side, product)
        shown.append((side.told(), side.shown(product)))
    assert shown[0] == shown[1]


def test_what_has_other_sources_goes_back_to_none_of_what_was_chosen() -> None:
    side = Side(0)
    one_without_a_graph(side)
    before = side.shown()
    back(side, side.ones(has_gradient=True), side.third(), create_graph=False)
    assert side.shown() == before


def test_that_a_graph_is_refused_does_not_tell_if_what_was_chosen_is_the_tensor_itself() -> None:
    told = []
    for number in (0, 1):
        side = Side(number)
        parts = side.op("python.collect", side.other, side.leaf)
        side.put(side.leaf, side.op("python.List.__getitem__", parts, side.place))
        told.append([(failed.op, failed.code) for failed in side.failures()])
    assert told[0] == told[1] == [(T + "grad=", "NotAllowed")]


def test_where_nothing_is_private_gradients_go_back_as_in_torch() -> None:
    side = Side(1)
    back(side, retained(side, tensor := side.inner(side.leaf)), side.other)
    back(side, side.gradient(tensor), create_graph=False)
    assert side.told() == [[], [], [], []]
    assert side.engine.release(side.gradient(side.leaf)).tolist() == [[1.0, 1.0, 1.0]]


def test_what_keeps_a_gradient_elsewhere_gets_no_label_of_a_backward() -> None:
    side = Side(1)
    elsewhere = retained(side, side.inner(side.leaf))
    back(side, elsewhere, create_graph=False)
    old = side.gradient(elsewhere)
    inside = retained(side, side.inner(side.other))
    back(side, inside, side.third(), create_graph=False)
    assert side.engine.facts(old).sources == side.engine.facts(side.leaf).sources == ()
    assert side.engine.facts(side.gradient(inside)).sources == (-3,)


def test_the_second_gradient_of_what_keeps_one_has_the_label_of_both() -> None:
    side = Side(1)
    inside = retained(side, side.inner(side.leaf))
    back(side, inside, side.third(), create_graph=False, retain_graph=True)
    back(side, inside, create_graph=False)
    assert side.engine.facts(side.gradient(inside)).sources == (-3,)
