"""What torch is given in a container, where a private number decided whether a tensor lies in it.

Of what a command gives the type is hidden if a hidden tensor went in. That was looked up in the
tensors that are in a list, a dict or a pass over a loader *now*: in the other data set a number
lies there, or the key is that of the next pair. So a list that was made of the answer told its
length in one data set only, and what came behind it went out at once or on the tick. Whether ``n``
is 1 was told like that, without any decision, and so each private number by and by.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.test_soundness import told

T, DATA = "torch.Tensor.", "torch.utils.data."
X, I = Ref(-1), Ref(-2)  # noqa: E741
NAMES = (
    T + "dtype", T + "is_leaf", "torch.numel", "torch.sum", "torch.stack", "torch.tensor",
    "torch.zeros", "torch.equal", "torch.autograd.grad", "torch.Size.numel", "torch.device.type",
    "torch.nn.functional.dropout", "torch.nn.utils.clip_grad_norm_", "torch.cuda.is_available",
    "torch.optim.lr_scheduler.LRScheduler.last_epoch", "python.Bool", "python.len",
)  # fmt: skip
Made = Callable[[Holder], Ref]
FORMS: dict[str, Made] = {}


def form(made: Made) -> Made:
    FORMS[made.__name__] = made
    return made


def number(d: Holder) -> Ref:
    return d.run("python.Int", d.run(T + "__getitem__", I, 0))


def chosen(d: Holder, *parts: Ref) -> Ref:
    return d.run("python.List.__getitem__", d.run("python.collect", *parts), number(d))


def a_pass(d: Holder) -> Ref:
    """Over a tensor of a private size."""
    loader = d.run(DATA + "DataLoader", d.run(DATA + "TensorDataset", X))
    return d.run("python.iter", loader)


@form
def a_number_or_a_tensor(d: Holder) -> Ref:
    return d.run("python.collect", chosen(d, number(d), d.run("torch.zeros", [3])), 1)


@form
def a_pass_or_a_number(d: Holder) -> Ref:
    return d.run("python.collect", chosen(d, a_pass(d), number(d)), 1)


@form
def a_list_or_a_number(d: Holder) -> Ref:
    return d.run("python.collect", chosen(d, d.run("python.collect", X), number(d)), 1)


@form
def an_optimizer_or_a_number(d: Holder) -> Ref:
    weight = d.put(torch.ones(2, requires_grad=True))
    optimizer = d.run("torch.optim.SGD", [weight], lr=0.1)
    return d.run("python.collect", chosen(d, optimizer, number(d)), 1)


@form
def a_key_that_the_next_pair_has(d: Holder) -> Ref:
    return d.run("python.Dict", [(number(d), d.run("torch.zeros", [3])), (1, 2)])


@form
def a_tuple_in_a_list(d: Holder) -> Ref:
    return d.run("python.collect", d.run("python.Tuple", a_pass_or_a_number(d)))


@form
def a_tuple(d: Holder) -> Ref:
    return d.run("python.Tuple", a_number_or_a_tensor(d))


@form
def a_list_that_got_it_later(d: Holder) -> Ref:
    listed = d.put([1])
    d.run("python.List.append", listed, chosen(d, a_pass(d), number(d)), outs=0)
    return listed


@form
def a_list_with_a_place_or_none(d: Holder) -> Ref:
    listed = d.run("python.collect", d.run("torch.zeros", [3]))
    d.run("python.List.__setitem__", listed, number(d), 1, outs=0)
    return listed


@form
def a_part_of_a_list(d: Holder) -> Ref:
    listed = d.run("python.collect", d.run("torch.zeros", [3]), 1)
    return d.run("python.List.__getitem__", listed, slice(number(d), 2))


@form
def a_set_of_one_or_two(d: Holder) -> Ref:
    return d.run("python.Set", [number(d), 1])


@form
def a_data_set(d: Holder) -> Ref:
    return chosen(d, d.run(DATA + "TensorDataset", X), d.run(DATA + "TensorDataset", I))


def look(value: int, made: Made, name: str) -> list[object]:
    """What shows of a program on one of two data sets."""
    with torch.random.fork_rng(()):
        d = Holder({
            "x": Kept(torch.ones(2, 2), "torch.Tensor", False),
            "i": Kept(torch.tensor([value, 1]), "torch.Tensor", True),
        })  # fmt: skip
        answer = d.run(name, made(d))
        d.run("python.collect", answer, X)
        d.run("python.Dict.fromkeys", d.put({"a": 1}), [answer, answer])
        d.run("torch.mul", answer, 2.0)
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.parametrize("name", FORMS)
def test_the_type_of_what_is_made_of_it_shows_the_same_of_two_data_sets(name: str) -> None:
    shown = [n for n in NAMES if look(0, FORMS[name], n) != look(1, FORMS[name], n)]
    assert shown == []


def test_of_private_numbers_alone_it_is_told_as_before() -> None:
    """That a list has two of them is public, and so is that a tensor is made of them."""
    d = Holder({"i": Kept(torch.ones(2), "torch.Tensor", True)})
    losses = [d.run("python.Float", d.run("torch.sum", Ref(-1))) for _ in range(2)]
    made = d.run("torch.tensor", d.run("python.collect", *losses))
    size = d.run(T + "size", made)
    assert d.verdict(size.id)[0] in ("public", "metadata")
    assert d.label(d.run("torch.mean", made)) == ("aggregate", 2, False)
