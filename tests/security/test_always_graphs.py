"""Attacks on what is accepted always by which way gradients go: the loss stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.owner.binding import Binding
from duet_p2p.wire.values import Ref
from tests.security.always_kit import OPTIM, STEP, F, Loop, T, X, Y, check_is_seen
from tests.unit.engine_kit import Driver, digits


def trained(loop: Loop, weights: Ref, mode: str = "g", **settings: Any) -> None:
    """A step on the loss of the loop with these weights in its first layer."""
    loop.zero(**settings)
    batch = loop.do("python.next", loop.do("python.iter", loop.loader))
    x, y = (loop.do("python.List.__getitem__", batch, place) for place in (0, 1))
    out = loop.do(F + "linear", x, weights, mode=mode)
    out = loop.do(F + "batch_norm", out, *loop.statistics, training=True)
    loop.backward(loop.do(F + "cross_entropy", loop.do(F + "linear", out, loop.weights), y))
    loop.step()


def held_still(loop: Loop, **settings: Any) -> None:
    loop.zero(**settings)
    loop.do(T + "requires_grad=", loop.more, False, outs=0)
    loss = loop.loss()
    loop.do(T + "requires_grad=", loop.more, True, outs=0)
    loop.backward(loss)
    loop.step()


ATTACKS: dict[str, Callable[[Loop], Any]] = {
    "none through the first layer": lambda loop: trained(loop, loop.more, "n"),
    "none through the first layer, zeros": lambda loop: trained(
        loop, loop.more, "n", set_to_none=False),
    "weights that are no parameter": lambda loop: trained(
        loop, loop.do(T + "detach", loop.more), set_to_none=False),
    "the data of a parameter": lambda loop: trained(
        loop, loop.do(T + "data", loop.more), set_to_none=False),
    "weights held still": held_still,
    "weights held still, zeros": lambda loop: held_still(loop, set_to_none=False),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_gradients_that_go_another_way_are_another_training(attack: str) -> None:
    """Each loss is the same number of the same weights, and the step behind it is not."""
    check_is_seen(Loop(momentum=0.9), ATTACKS[attack])


def test_a_gradient_through_one_of_two_ways_is_another_value() -> None:
    driver = Driver()
    images, _ = digits(64)
    driver.share(images.flatten(1))
    weights = driver.ok("torch.nn.Parameter", driver.put(torch.linspace(-1, 1, 64)))

    def gradient(*modes: str) -> str:
        ways = [driver.ok("torch.matmul", X, weights, mode=mode) for mode in modes]
        loss = driver.ok("torch.mean", driver.ok("torch.mul", *ways))
        found = driver.ok("torch.autograd.grad", loss, [weights])
        return driver.facts(driver.ok("python.Tuple.__getitem__", found, 0)).form

    assert len({gradient("g", "g"), gradient("g", "n"), gradient("n", "g")}) == 3
    assert gradient("g", "n") == gradient("g", "n")


@pytest.mark.parametrize("is_private", [False, True])
def test_weights_that_are_held_still_for_one_of_two_ways_are_others(is_private: bool) -> None:
    """Those of private values have no first content that would tell."""
    driver = Driver()
    images, _ = digits(64)
    driver.share(images.flatten(1))

    def loss(*flags: bool) -> str:
        weights = driver.ok("torch.mean", X, 0) if is_private else driver.put(torch.ones(64))
        driver.ok(T + "requires_grad=", weights, True, outs=0)
        ways = []
        for flag in flags:
            if not flag:
                driver.ok(T + "requires_grad=", weights, flag, outs=0)
            ways.append(driver.ok("torch.matmul", X, weights))
            if not flag:
                driver.ok(T + "requires_grad=", weights, True, outs=0)
        return driver.facts(driver.ok("torch.mean", driver.ok("torch.mul", *ways))).form

    assert len({loss(True, True), loss(False, True), loss(True, False)}) == 3
    assert loss(False, True) == loss(False, True)


def _of_list(driver: Driver, which: int) -> Ref:
    parts = [driver.ok("torch.mean", X, 0) for _ in range(2)]
    held = driver.ok("python.List", parts)
    driver.ok(T + "mul_", parts[which], 7.0)
    weights = driver.put(torch.tensor([1.0, 0.0]))
    return driver.ok("torch.matmul", weights, driver.ok("torch.stack", held))


def _of_weights(driver: Driver, which: int) -> Ref:
    weights = [driver.ok("torch.nn.Parameter", driver.put(torch.ones(64))) for _ in range(2)]
    ways = [driver.ok("torch.matmul", X, weights[place]) for place in (0, which)]
    return driver.ok("torch.mean", driver.ok("torch.mul", *ways))


@pytest.mark.parametrize("made", [_of_list, _of_weights])
def test_which_of_several_that_are_alike_it_is_is_part_of_the_question(
    made: Callable[[Driver, int], Ref],
) -> None:
    driver = Driver()
    driver.share(digits(64)[0].flatten(1))
    binding = Binding.of(driver.facts(made(driver, 0)))
    assert binding.difference(driver.facts(made(driver, 0))) == ""  # the control
    assert binding.difference(driver.facts(made(driver, 1))) == "the recipe is another one"


def writers(which: int) -> tuple[str, set[str]]:
    """Form and steps of a loss of two parameters over one memory, one of which is trained."""
    driver = Driver()
    images, targets = digits(64)
    driver.share(images.flatten(1))
    driver.share(targets)
    both = driver.put(torch.ones(20, 64))
    parts = [driver.ok(T + "__getitem__", both, slice(n, n + 10)) for n in (0, 10)]
    parameters = [driver.ok("torch.nn.Parameter", part) for part in parts]
    optimizer = driver.ok(OPTIM + "SGD", [parameters[which]], lr=0.1)

    def loss() -> Ref:
        ways = [driver.ok(F + "linear", X, weights) for weights in parameters]
        return driver.ok(F + "cross_entropy", driver.ok("torch.mul", *ways), Y)

    driver.ok(T + "backward", loss(), outs=0)
    driver.ok(STEP, optimizer, outs=0)
    facts = driver.facts(loss())
    return facts.form, set(facts.writers)


def test_which_of_the_parameters_over_one_memory_are_trained_is_part_of_a_step() -> None:
    (form, first), (same, second) = writers(0), writers(1)
    assert form == same
    assert first != second and writers(0) == (form, first)
