"""Whether values may have decided the size or type of what is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

T, X, N = "torch.Tensor.", Ref(-1), Ref(-2)


def item(d: Driver) -> Ref:
    return d.ok(T + "item", d.ok(T + "__getitem__", N, 1))


def some(d: Driver) -> Ref:
    return d.ok(T + "__getitem__", X, d.ok("torch.gt", X, 0.5))


def mean(d: Driver) -> Ref:
    return d.ok("torch.mean", X)


def chosen(d: Driver, *parts: Any) -> Ref:
    return d.ok("python.List.__getitem__", d.ok("python.collect", *parts), item(d))


def optimizer(d: Driver) -> Ref:
    return d.ok("torch.optim.SGD", [d.put(torch.zeros(2, requires_grad=True))], lr=0.1)


def state(d: Driver) -> Ref:
    return d.ok("python.state_dict", ["a", "b"], [mean(d), d.put(torch.ones(2))])


BY_VALUES: dict[str, Callable[[Driver], Ref]] = {
    "a mask": some,
    "a list with a mask": lambda d: d.ok("python.collect", some(d)),
    "the length of a mask": lambda d: d.ok(T + "numel", some(d)),
    "the size of a mask": lambda d: d.ok(T + "size", some(d)),
    "a power": lambda d: d.ok("python.Int.__pow__", item(d), 3),
    "a shift": lambda d: d.ok("python.Int.__lshift__", 1, item(d)),
    "a rounded mean": lambda d: d.ok("python.Int", d.ok("torch.mul", mean(d), 1e30)),
    "a text": lambda d: d.ok("python.String", item(d)),
    "a text many times": lambda d: d.ok("python.String.__mul__", "abc", item(d)),
    "a list many times": lambda d: d.ok("python.List.__mul__", [1, 2], item(d)),
    "a list of ints": lambda d: d.ok("python.collect", item(d), 1),
    "one of two tensors": lambda d: chosen(d, d.put(torch.zeros(1)), d.put(torch.zeros(9))),
    "a tensor or a number": lambda d: chosen(d, d.put(torch.zeros(1)), 1.5),
    "one of two numbers": lambda d: chosen(d, 2.5, 1.5),
    "a tensor or an optimizer": lambda d: chosen(d, d.put(torch.zeros(1)), optimizer(d)),
}
BY_THE_PROGRAM: dict[str, Callable[[Driver], Ref]] = {
    "a record": lambda d: d.ok(T + "__getitem__", X, 5),
    "a mean": mean,
    "a number of one": lambda d: d.ok(T + "item", mean(d)),
    "a comparison": lambda d: d.ok("python.Bool", item(d)),
    "a float": lambda d: d.ok("python.Float", item(d)),
    "a list of means": lambda d: d.ok("python.collect", mean(d), d.ok("torch.sum", X)),
    "a state": state,
    "an optimizer": optimizer,
    "an own text": lambda d: d.ok("python.String", "abc"),
    "the length of the data": lambda d: d.ok("python.len", X),
}


@pytest.mark.parametrize("name", [*BY_VALUES, *BY_THE_PROGRAM])
def test_who_decided_the_size(name: str) -> None:
    d = Driver()
    d.share(torch.rand(64, 3))
    d.share(torch.tensor([0, 1]))
    made = BY_VALUES.get(name) or BY_THE_PROGRAM[name]
    assert d.facts(made(d)).sized_by_values == (name in BY_VALUES)


def test_nor_does_the_form_of_a_chosen_object_tell_which_it_is() -> None:
    forms = []
    for number in (0, 1):
        d = Driver()
        d.share(torch.rand(64, 3))
        d.share(torch.tensor([0, number]))
        forms.append(d.facts(chosen(d, d.put(torch.zeros(1)), optimizer(d))).form)
    assert forms[0] == forms[1]
