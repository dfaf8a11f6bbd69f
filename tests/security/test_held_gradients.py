"""Gradients that are scaled, or stepped along, though no leaf holds them, or after they were given.

``retain_grad`` and ``.grad =`` put a gradient on any tensor, and a clipping or an optimizer reads
it there. A clipping also makes other numbers of a gradient that was released before. Each attack
puts one record into one of these and looks for it where nobody decides: in what is public, and in
what was accepted once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against
from tests.unit.engine_kit import Driver

X = Ref(-1)
T, OPT, CLIP = "torch.Tensor.", "torch.optim.Optimizer.", "torch.nn.utils.clip_grad_norm_"
DATA = torch.arange(40, dtype=torch.float64) + 100


@pytest.fixture
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against({"x": DATA}) as (duet, raw):
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


def weight(p: RawPeer) -> Ref:
    return p.put(torch.ones((), dtype=torch.float64, requires_grad=True))


def one_record(p: RawPeer) -> Ref:
    return p.op(T + "__getitem__", X, 5)


def of_one_record(p: RawPeer) -> Ref:
    """A weight whose gradient is the sixth record."""
    made = weight(p)
    p.do(T + "backward", p.op("torch.mul", made, one_record(p)))
    return made


def inner(p: RawPeer, *, retains: bool = False) -> Ref:
    """Something of the scientist's that is no leaf."""
    made = p.op("torch.mul", weight(p), 1.0)
    if retains:
        p.do(T + "retain_grad", made)
    return made


def _retained_and_clipped(p: RawPeer) -> Ref:
    private, own = of_one_record(p), inner(p, retains=True)
    p.do(T + "backward", p.op("torch.sum", own))
    p.op(CLIP, [own, private], 1.0)
    return p.op(T + "grad", own)


def _set_and_clipped(p: RawPeer) -> Ref:
    private, own = of_one_record(p), inner(p)
    p.do(T + "grad=", own, p.put(torch.ones((), dtype=torch.float64)))
    p.op(CLIP, [own, private], 1.0)
    return p.op(T + "grad", own)


def _moved(p: RawPeer, own: Ref) -> Ref:
    """An own tensor, after a step of an optimizer that it was slipped into."""
    optimizer = p.op("torch.optim.SGD", [weight(p)], lr=1.0)
    groups = p.op(OPT + "param_groups", optimizer)
    group = p.op("python.List.__getitem__", groups, 0)
    p.do("python.List.append", p.op("python.Dict.__getitem__", group, "params"), own)
    p.do(OPT + "step", optimizer)
    return own


def _retained_and_moved(p: RawPeer) -> Ref:
    own = inner(p, retains=True)
    p.do(T + "backward", p.op("torch.mul", own, one_record(p)))
    return _moved(p, own)


def _set_and_moved(p: RawPeer) -> Ref:
    own = inner(p)
    p.do(T + "grad=", own, p.op(T + "clone", one_record(p)))
    return _moved(p, own)


def _retained_and_trained(p: RawPeer) -> Ref:
    """torch takes it for a parameter as it is."""
    own = inner(p, retains=True)
    p.do(T + "backward", p.op("torch.mul", own, one_record(p)))
    p.do(OPT + "step", p.op("torch.optim.SGD", [own], lr=1.0))
    return own


@pytest.mark.parametrize("attack", [
    _retained_and_clipped, _set_and_clipped, _retained_and_moved, _set_and_moved,
    _retained_and_trained,
])  # fmt: skip
def test_what_no_leaf_holds_is_labelled_as_well(
    session: tuple[OwnerDuet, RawPeer], attack: Callable[[RawPeer], Ref]
) -> None:
    _, p = session
    result = attack(p)
    p.wait_for_end()
    assert p.told(wire.Fail) == []
    assert not p.is_free(result)


@pytest.mark.parametrize(("name", "settings"), [
    (CLIP, (1.0,)), ("torch.nn.utils.clip_grad_value_", (0.5,)),
])  # fmt: skip
def test_a_gradient_that_was_released_is_another_one_when_it_was_clipped(
    session: tuple[OwnerDuet, RawPeer], name: str, settings: tuple[Any, ...]
) -> None:
    _, p = session
    own = weight(p)
    p.do(T + "backward", p.op("torch.sum", p.op("torch.mul", X, own)))
    gradient = p.op(T + "grad", own)
    assert p.ask(gradient, "loss") == "Value"
    assert isinstance(p.get(gradient), wire.Value)  # the very same is given again
    p.op(name, [own, of_one_record(p)], *settings)
    assert not p.is_free(gradient)
    assert p.ask(gradient, "loss") == "Expired"


def test_what_a_differentiable_step_leaves_in_a_graph_stays_there(
    session: tuple[OwnerDuet, RawPeer],
) -> None:
    """The numbers are written over; a backward through the step still meets the record."""
    _, p = session
    leaf, own = weight(p), inner(p, retains=True)
    optimizer = p.op("torch.optim.SGD", [own], lr=1.0, differentiable=True)
    p.do(T + "grad=", own, p.op("torch.mul", leaf, one_record(p)))
    p.do(OPT + "step", optimizer)
    p.send(wire.Op(T + "zero_", (p.new_id(),), (own,), {}, "n"))
    assert not p.is_free(own)
    p.do(T + "backward", p.op("torch.mul", own, 1.0))
    gradient = p.op(T + "grad", leaf)
    assert p.told(wire.Fail) == []
    assert not p.is_free(gradient)


@pytest.mark.parametrize("holder", [
    weight, inner, lambda p: p.put(torch.zeros((), dtype=torch.float64)),
])  # fmt: skip
def test_which_tensor_was_chosen_shows_in_no_gradient_that_one_holds(
    session: tuple[OwnerDuet, RawPeer], holder: Callable[[RawPeer], Ref]
) -> None:
    _, p = session
    place = p.op("python.Int", p.op("torch.sub", one_record(p), 105.0))
    gradients = [p.put(torch.ones((), dtype=torch.float64)) for _ in range(2)]
    holders = [holder(p) for _ in gradients]
    for tensor, gradient in zip(holders, gradients, strict=True):
        p.do(T + "grad=", tensor, gradient)
    chosen = p.op("python.List.__getitem__", p.op("python.collect", *holders), place)
    p.op(T + "mul_", p.op(T + "grad", chosen), 2.0)
    p.op(CLIP, [chosen], 0.5)
    assert p.told(wire.Fail) == []
    assert [p.is_free(gradient) for gradient in gradients] == [False, False]


def kinds_of_a_leaf(program: Callable[[Driver, Ref, Ref], None]) -> list[str]:
    """The kind of an own leaf behind a program with a private number, in two data sets."""
    found = []
    for number in (1, 2):
        engine = Driver()
        secret = engine.share(torch.tensor([number]))
        place = engine.run("python.Int", engine.run(T + "__getitem__", secret, 0))
        leaf = engine.put(torch.ones(1, 3, requires_grad=True))
        program(engine, leaf, place)
        found.append(engine.facts(leaf).kind)
    return found


def test_a_gradient_that_could_not_be_taken_leaves_the_labels_of_one_that_could() -> None:
    def program(engine: Driver, leaf: Ref, place: Ref) -> None:
        own = engine.run("torch.mul", engine.put(torch.ones(3, requires_grad=True)), 1.0)
        rows = engine.run(T + "expand", engine.run("torch.mul", leaf, 1.0), 2, 3)
        engine.run(T + "grad=", own, engine.run("torch.select", rows, 0, place), outs=0)

    assert kinds_of_a_leaf(program) == ["public", "public"]


def test_what_is_made_of_a_missing_gradient_goes_back_to_no_leaf() -> None:
    def program(engine: Driver, leaf: Ref, place: Ref) -> None:
        view = engine.run(T + "view", engine.run("torch.mul", leaf, 1.0), place, -1)
        gradient = engine.run(T + "grad", engine.run("torch.clone", view))
        parts = engine.run("python.collect", engine.run("torch.sum", gradient), gradient)
        engine.run("python.List.__getitem__", parts, 0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert kinds_of_a_leaf(program) == ["public", "public"]
