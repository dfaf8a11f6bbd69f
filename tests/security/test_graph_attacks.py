"""What a graph, an optimizer or a running mean remembers of private numbers, by a raw peer.

A graph gives its numbers back long after the value that it made was written over; a mean that is
kept beside a network is written where torch itself does not look. Each attack ends with an object
that tells private numbers; nobody may have it for a `get`, and no handler on a name may take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against, waiting, waits

X, TABLE = Ref(-1), Ref(-2)
T, F, OPT = "torch.Tensor.", "torch.nn.functional.", "torch.optim.Optimizer."
Attack = Callable[[RawPeer], Ref]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against({"x": torch.arange(64.0) + 100, "table": torch.rand(64, 3)}) as (duet, raw):
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


def leaf(p: RawPeer, *shape: int) -> Ref:
    return p.put(torch.zeros(shape or (64,), requires_grad=True))


def total(p: RawPeer, value: Ref) -> Ref:
    return p.op("torch.sum", value)


def grad(p: RawPeer, of: Ref) -> Ref:
    return p.op(T + "grad", of)


def first(p: RawPeer, values: Ref) -> Ref:
    return p.op("python.Tuple.__getitem__", values, 0)


def silent(p: RawPeer, name: str, *args: Any) -> None:
    """One command under no_grad."""
    p.send(wire.Op(name, (), args, {}, "n"))


def two(p: RawPeer) -> Ref:
    """Two records, enough for a mean and a deviation."""
    return p.op(T + "__getitem__", TABLE, slice(4, 6))


def record(p: RawPeer) -> Ref:
    return p.op("python.Int", p.op(T + "__getitem__", X, 5))


# the value of a product is written over, its graph is as it was


@attack
def a_product_written_over_through_detach(p: RawPeer) -> Ref:
    """The product became public zeros, and the gradient through it was the data, for free."""
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    p.do(T + "fill_", p.op(T + "detach", made), 0.0)
    p.do(T + "backward", total(p, made))
    return grad(p, w)


@attack
def a_product_written_over_through_data(p: RawPeer) -> Ref:
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    p.do(T + "zero_", p.op(T + "data", made))
    p.do(T + "backward", total(p, made))
    return grad(p, w)


@attack
def a_product_written_over_without_gradients(p: RawPeer) -> Ref:
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    silent(p, T + "zero_", made)
    p.do(T + "backward", total(p, made))
    return grad(p, w)


@attack
def a_product_written_over_with_a_mean(p: RawPeer) -> Ref:
    """Not public then, but an aggregate, and so was the gradient."""
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    p.do(T + "copy_", p.op(T + "detach", made), p.op("torch.mean", X))
    p.do(T + "backward", total(p, made))
    return grad(p, w)


@attack
def random_numbers_written_over_a_product(p: RawPeer) -> Ref:
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    p.do(T + "normal_", p.op(T + "data", made))
    return first(p, p.op("torch.autograd.grad", total(p, made), [w]))


@attack
def a_loss_whose_data_are_set(p: RawPeer) -> Ref:
    w = leaf(p)
    loss = total(p, p.op("torch.mul", w, X))
    p.do(T + "data=", loss, p.put(torch.tensor(0.0)))
    p.do(T + "backward", loss)
    return grad(p, w)


@attack
def a_shift_that_only_the_graph_knows(p: RawPeer) -> Ref:
    """Not a private tensor is in it: how far it was rolled is a number of the graph's node."""
    w = leaf(p)
    made = p.op("torch.roll", w, record(p))
    p.do(T + "zero_", p.op(T + "detach", made))
    p.do(T + "backward", total(p, p.op("torch.mul", made, p.put(torch.arange(64.0)))))
    return grad(p, w)


@attack
def a_shift_whose_result_got_other_data(p: RawPeer) -> Ref:
    w = leaf(p)
    made = p.op("torch.roll", w, record(p))
    p.do(T + "data=", made, p.put(torch.zeros(64)))
    p.do(T + "backward", total(p, p.op("torch.mul", made, p.put(torch.arange(64.0)))))
    return grad(p, w)


@attack
def a_part_of_a_product_written_over(p: RawPeer) -> Ref:
    w = leaf(p)
    made = p.op("torch.mul", w, X)
    p.do(T + "zero_", p.op(T + "__getitem__", p.op(T + "detach", made), slice(0, 64)))
    p.do(T + "backward", total(p, made))
    return grad(p, w)


@attack
def weights_placed_by_records_and_written_over(p: RawPeer) -> Ref:
    w, made = leaf(p), p.put(torch.zeros(200))
    p.do(T + "__setitem__", made, p.op(T + "long", X), w)
    p.do(T + "zero_", p.op(T + "detach", made))
    p.do(T + "backward", total(p, p.op("torch.mul", made, p.put(torch.arange(200.0)))))
    return grad(p, w)


# what a graph keeps is changed before it is walked


def looked_at_later(p: RawPeer) -> tuple[Ref, Ref]:
    """A public leaf and a loss of it, whose graph keeps statistics of two records by now."""
    w = p.put(torch.ones(2, 3, requires_grad=True))
    mean, variance = p.put(torch.zeros(3)), p.put(torch.ones(3))
    loss = total(p, p.op(F + "batch_norm", w, mean, variance, None, None, False, 0.1, 0.0))
    p.op(F + "batch_norm", two(p), mean, variance, None, None, True, 1.0)
    return w, loss


@attack
def statistics_that_became_private(p: RawPeer) -> Ref:
    """torch writes means without counting it: a public graph gave these instead of ones."""
    w, loss = looked_at_later(p)
    p.do(T + "backward", loss)
    return p.op("torch.sub", grad(p, w), 1.0)


@attack
def statistics_that_became_private_asked_by_hand(p: RawPeer) -> Ref:
    w, loss = looked_at_later(p)
    return p.op("torch.sub", first(p, p.op("torch.autograd.grad", loss, [w])), 1.0)


def product(p: RawPeer) -> tuple[Ref, Ref, Ref]:
    """A public product of a leaf and of ones, which its graph keeps."""
    w, kept = leaf(p, 3), p.put(torch.ones(3))
    return w, kept, total(p, p.op("torch.mul", w, kept))


@attack
def statistics_that_the_graph_of_a_product_keeps(p: RawPeer) -> Ref:
    """The gradient of a public product was the mean of a record, and public."""
    w, kept, made = product(p)
    record = p.op(T + "expand", p.op(T + "__getitem__", TABLE, slice(5, 6)), 2, 3)
    p.op(F + "batch_norm", record, kept, p.put(torch.ones(3)), None, None, True, 1.0)
    p.do(T + "backward", made)
    return grad(p, w)


@attack
def statistics_by_another_name_that_a_graph_keeps(p: RawPeer) -> Ref:
    w, kept, made = product(p)
    variance = p.put(torch.ones(3))
    p.ops("torch.native_batch_norm", 3, two(p), None, None, kept, variance, True, 1.0, 0.1)
    p.do(T + "backward", made)
    return grad(p, w)


@attack
def weights_of_records_that_were_ones_when_a_rule_looked(p: RawPeer) -> Ref:
    """The gradient was one record, and an aggregate over all."""
    w, kept, mask = leaf(p, 1), p.put(torch.ones(64)), torch.zeros(2, 64)
    mask[:, 5] = 1
    loss = total(p, p.op("torch.mul", p.op("torch.mul", X, w), kept))
    p.op(F + "batch_norm", p.put(mask), kept, p.put(torch.ones(64)), None, None, True, 1.0)
    p.do(T + "backward", loss)
    return total(p, grad(p, w))


def _part_written_later(p: RawPeer, name: str, size: Any) -> Ref:
    """torch gives these parts a count of writes of their own."""
    w, kept, made = product(p)
    part = p.op("python.Tuple.__getitem__", p.op(name, kept, size), 0)
    p.do(T + "copy_", part, p.op(T + "__getitem__", TABLE, 5))
    p.do(T + "backward", made)
    return p.op("torch.sub", grad(p, w), 1.0)


for _name, _size in (("chunk", 1), ("split", 3), ("split_with_sizes", [3])):
    for _place in ("torch.", T):
        ATTACKS[f"a part of {_place}unsafe_{_name}"] = (
            lambda p, n=f"{_place}unsafe_{_name}", s=_size: _part_written_later(p, n, s)
        )


@attack
def statistics_of_two_records_kept_beside_the_whole(p: RawPeer) -> Ref:
    """With momentum 0 the second call keeps what the first wrote, and called it a model of all."""
    mean, variance = p.put(torch.zeros(3)), p.put(torch.ones(3))
    p.op(F + "batch_norm", two(p), mean, variance, None, None, True, 1.0)
    p.op(F + "batch_norm", TABLE, mean, variance, None, None, True, 0.0)
    return total(p, p.op("torch.add", p.op("torch.mul", TABLE, 0.0), mean))


@attack
def statistics_by_another_name(p: RawPeer) -> Ref:
    mean, variance = p.put(torch.zeros(3)), p.put(torch.ones(3))
    p.ops("torch.native_batch_norm", 3, two(p), None, None, mean, variance, True, 1.0, 0.1)
    return mean


@attack
def statistics_per_record(p: RawPeer) -> Ref:
    mean, variance = p.put(torch.zeros(64)), p.put(torch.ones(64))
    turned = p.op(T + "t", TABLE)
    p.op(F + "batch_norm", turned, mean, variance, None, None, True, 1.0)
    return mean


@attack
def a_saved_tensor_written_through_data(p: RawPeer) -> Ref:
    other, w = p.put(torch.ones(64)), leaf(p)
    loss = total(p, p.op("torch.mul", w, other))
    p.do(T + "copy_", p.op(T + "data", other), X)
    p.do(T + "backward", loss)
    return grad(p, w)


@attack
def a_saved_tensor_whose_data_are_set(p: RawPeer) -> Ref:
    other, w = p.put(torch.ones(64)), leaf(p)
    loss = total(p, p.op("torch.mul", w, other))
    p.do(T + "data=", other, X)
    p.do(T + "backward", loss)
    return grad(p, w)


# a way back that ends half-way


@attack
def a_gradient_of_a_graph_that_is_used_up(p: RawPeer) -> Ref:
    w = leaf(p)
    loss = total(p, p.op("torch.mul", w, X))
    p.do(T + "backward", loss)
    p.do(T + "grad=", w, None)
    p.do(T + "backward", p.op("torch.add", loss, total(p, p.op("torch.mul", w, X))))
    return grad(p, w)


@attack
def a_change_of_what_was_kept_that_private_numbers_decide(p: RawPeer) -> Ref:
    """Whether the way back fails would be the number."""
    w = leaf(p)
    kept = p.op("torch.exp", w)
    loss = total(p, kept)
    chosen = p.op(
        "python.List.__getitem__",
        p.op("python.List", [kept, p.put(torch.zeros(64))]),
        p.op("python.Int", p.op("torch.gt", p.op(T + "__getitem__", X, 5), 1.0)),
    )
    p.do(T + "add_", chosen, 1.0)
    p.do(T + "backward", loss)
    return grad(p, w)


# gradients that name records


@attack
def a_gradient_that_selects(p: RawPeer) -> Ref:
    w = leaf(p, 3)
    losses = p.op("torch.mv", TABLE, w)
    p.do(T + "backward", losses, p.put(torch.eye(64)[5]))
    return grad(p, w)


@attack
def a_selecting_gradient_added_to_an_honest_one(p: RawPeer) -> Ref:
    w = leaf(p, 3)
    losses = p.op("torch.mv", TABLE, w)
    p.do(T + "backward", total(p, losses), retain_graph=True)
    p.do(T + "backward", losses, p.put(torch.eye(64)[5] * 1e6))
    return grad(p, w)


@attack
def a_gradient_through_gradients(p: RawPeer) -> Ref:
    """Double backward: the leaf of the second one has the records."""
    w, v = leaf(p, 3), leaf(p)
    inner = p.op("torch.add", p.op("torch.mv", TABLE, w), v)
    p.do(T + "backward", total(p, p.op("torch.square", inner)), create_graph=True)
    p.do(T + "backward", total(p, grad(p, w)))
    return grad(p, v)


@attack
def the_gradient_of_the_data_itself(p: RawPeer) -> Ref:
    own = p.op(T + "clone", X)
    p.do(T + "requires_grad=", own, True)
    p.do(T + "backward", total(p, p.op("torch.square", own)))
    return grad(p, own)


@attack
def data_as_a_gradient_that_a_step_writes(p: RawPeer) -> Ref:
    w = leaf(p)
    p.do(T + "grad=", w, X)
    p.do(OPT + "step", p.op("torch.optim.SGD", [w], lr=1.0, maximize=True))
    return w


@attack
def data_as_a_gradient_that_a_public_loss_adds_to(p: RawPeer) -> Ref:
    """All records but one sink far below zero, by numbers that came as a gradient."""
    w, held = leaf(p), p.op(T + "clone", X)
    p.do(T + "grad=", w, held)
    sinking = torch.full((64,), -1e9)
    sinking[5] = 0
    p.do(T + "backward", p.op("torch.dot", w, p.put(sinking)))
    return total(p, p.op("torch.relu", held))


@attack
def weights_tied_to_the_data(p: RawPeer) -> Ref:
    """One storage under two parameters: what a step writes to one is in the other."""
    w = p.put(torch.zeros(64, requires_grad=True))
    twin = p.op("torch.nn.Parameter", p.op(T + "detach", w))
    p.do(T + "backward", p.op("torch.dot", w, X))
    p.do(OPT + "step", p.op("torch.optim.SGD", [w], lr=1.0, maximize=True))
    return twin


@attack
def a_momentum_that_remembers_a_record(p: RawPeer) -> Ref:
    """The gradients are public again, the step still writes what the first one left."""
    w = leaf(p)
    made = p.op("torch.optim.SGD", [w], lr=1.0, momentum=1.0)
    p.do(T + "backward", p.op("torch.dot", w, X))
    p.do(OPT + "step", made)
    silent(p, T + "zero_", w)
    p.do(OPT + "zero_grad", made)
    p.do(T + "backward", total(p, w))
    p.do(OPT + "step", made)
    return w


@attack
def a_state_that_is_loaded_into_another_optimizer(p: RawPeer) -> Ref:
    w, v = leaf(p), leaf(p)
    one, other = (p.op("torch.optim.Adam", [t]) for t in (w, v))
    p.do(T + "backward", p.op("torch.dot", w, X))
    p.do(OPT + "step", one)
    p.do(OPT + "load_state_dict", other, p.op(OPT + "state_dict", one))
    p.do(T + "backward", total(p, v))
    p.do(OPT + "step", other)
    return v


@attack
def a_clipping_norm_over_public_and_private_gradients(p: RawPeer) -> Ref:
    """How far the public gradient was scaled tells the private one's size."""
    w, v = leaf(p), p.put(torch.ones(2, requires_grad=True))
    p.do(T + "backward", p.op("torch.dot", w, X))
    p.do(T + "backward", total(p, v))
    p.op("torch.nn.utils.clip_grad_norm_", [w, v], 1.0)
    return grad(p, v)


@attack
def a_trained_vector_taken_for_a_mean(p: RawPeer) -> Ref:
    w = leaf(p)
    p.do(T + "backward", p.op("torch.dot", w, X))
    p.do(OPT + "step", p.op("torch.optim.SGD", [w], lr=1.0, maximize=True))
    return p.op("torch.mean", p.op(T + "__getitem__", w, slice(5, 6)))


@attack
def class_weights_with_a_gradient_as_a_target(p: RawPeer) -> Ref:
    """A target of one's own that a gradient flows to: one number of it for each record."""
    target = p.put(torch.zeros(64, 3, requires_grad=True))
    p.do(T + "backward", p.op(F + "mse_loss", TABLE, target))
    return grad(p, target)


REFUSED = {
    "a_saved_tensor_written_through_data",
    "a_saved_tensor_whose_data_are_set",
    "a_gradient_of_a_graph_that_is_used_up",
    "statistics_that_the_graph_of_a_product_keeps",
    "statistics_by_another_name_that_a_graph_keeps",
}
"""Torch itself does not go back through what was written over."""

UNTOUCHED = {
    "statistics_that_became_private",
    "statistics_that_became_private_asked_by_hand",
    *(name for name in ATTACKS if "unsafe_" in name),
}
"""The graph has a copy, so the gradient is what it was; the attack gives the difference."""

LOST = {"weights_of_records_that_were_ones_when_a_rule_looked"}
"""The same refusal of torch, of a private loss: it waits like a value."""


@pytest.mark.parametrize("name", ATTACKS)
def test_no_graph_tells_what_it_was_made_of(session: Any, name: str) -> None:
    duet, raw = session
    told = len(raw.told(wire.Fail))
    target = ATTACKS[name](raw)
    answer = raw.get(target)
    if name in REFUSED:
        held = raw.value(answer)
        assert held is None or not bool((held != 0).any())
        assert len(raw.told(wire.Fail)) == told + 1
        return
    if name in UNTOUCHED:
        assert not bool((raw.value(answer) != 0).any())
        assert len(raw.told(wire.Fail)) == told
        return
    assert isinstance(answer, wire.NotYours), answer
    if name in LOST:
        assert "modified by an inplace" in waiting(duet, raw, target, "loss").failed
        return
    assert "accept handler for name='loss' does not take it: " in waits(duet, raw, target, "loss")


def test_the_honest_controls_pass_the_same_handler(session: Any) -> None:
    """A sum of gradients over all records, batch norm in training, and what is public stays so."""
    _, raw = session
    w = leaf(raw, 3)
    mean, variance = raw.put(torch.zeros(3)), raw.put(torch.ones(3))
    normed = raw.op(F + "batch_norm", TABLE, mean, variance, None, None, True)
    loss = raw.op("torch.mean", raw.op("torch.square", raw.op("torch.mv", normed, w)))
    assert raw.ask(loss, "loss") == "Value"
    raw.do(T + "backward", loss)
    assert raw.ask(total(raw, grad(raw, w)), "loss") == "Value"
    own = leaf(raw)
    made = raw.op("torch.mul", own, raw.put(torch.ones(64)))
    raw.do(T + "zero_", raw.op(T + "detach", made))
    raw.do(T + "backward", total(raw, made))
    assert raw.is_free(grad(raw, own))
    overwritten = raw.op("torch.zeros", [64])  # without a graph nothing is left of it
    raw.do(T + "add_", overwritten, X)
    raw.do(T + "zero_", overwritten)
    assert raw.is_free(overwritten)
