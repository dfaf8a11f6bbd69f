"""`accept(always=True)` on the first loss of an eager loop: what it takes later, and what not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.wire.values import Ref
from tests.security.always_kit import (
    OPTIM,
    STEP,
    F,
    Loop,
    T,
    X,
    Y,
    check_is_seen,
    group,
    of_the_model,
    prepared,
)


def average(loop: Loop) -> None:
    """An exponential mean of the weights, in a tensor of its own."""
    kept = loop.do(T + "clone", loop.do(T + "detach", loop.more))
    loop.do(T + "add_", loop.do(T + "mul_", kept, 0.9), loop.do(T + "detach", loop.more), alpha=0.1)


def evaluated(loop: Loop) -> None:
    out = loop.do(F + "linear", X, loop.more, mode="n")
    out = loop.do(F + "batch_norm", out, *loop.statistics, training=False, mode="n")
    loop.do(F + "cross_entropy", loop.do(F + "linear", out, loop.weights, mode="n"), Y, mode="n")


HONEST: dict[str, Callable[[Loop], Any]] = {
    "the same steps": lambda loop: [loop.train() for _ in range(2)],
    "zeros, not None": lambda loop: (loop.train(), loop.zero(set_to_none=False), loop.backward(
        loop.loss()), loop.step()),
    "gradients dropped by the model": lambda loop: (of_the_model(loop), loop.backward(
        loop.loss()), loop.step()),
    "a loss that nobody trained on": lambda loop: loop.loss(),
    "an average of the weights beside": lambda loop: (loop.train(), average(loop), loop.train()),
    "an evaluation between": lambda loop: (loop.train(), evaluated(loop), loop.train()),
    "a look at a gradient's size": lambda loop: (loop.train(), loop.zero(), loop.do(
        "torch.sum", loop.more)),
}  # fmt: skip


@pytest.mark.parametrize("way", HONEST)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_what_is_accepted_always_at_the_first_loss_takes_the_whole_run(way: str, kind: str) -> None:
    loop = Loop(kind, **({"momentum": 0.9} if kind == "SGD" else {}))
    binding = loop.first()
    HONEST[way](loop)
    assert loop.taken(binding) == ""


def test_the_first_loss_asked_for_before_its_backward_binds_the_same() -> None:
    loop = Loop("Adam")
    loss = loop.loss()
    before = Binding.of(loop.facts(loss), is_ahead=True)
    loop.backward(loss)
    loop.step()
    assert Binding.of(loop.facts(loss), is_ahead=True) == before
    loop.train()
    assert before.difference(loop.facts(loop.loss())) == ""


def test_a_dropout_within_its_bounds_is_foreseen_with_its_random_numbers() -> None:
    loop = Loop(drop=0.3)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""


def momentum(loop: Loop) -> Ref:
    state = loop.do("python.Dict.__getitem__", loop.do(
        OPTIM + "Optimizer.state_dict", loop.optimizer), "state")  # fmt: skip
    of_first = loop.do("python.Dict.__getitem__", state, 0)
    return loop.do("python.Dict.__getitem__", of_first, "momentum_buffer")


def another_step(loop: Loop, kind: str, parameters: list[Ref], **settings: Any) -> None:
    other = loop.optim(kind, parameters, **settings)
    loop.zero()
    loop.backward(loop.loss())
    loop.do(STEP, other, outs=0)


def scaled(loop: Loop) -> None:
    prepared(loop)
    loop.do(T + "mul_", loop.do(T + "grad", loop.more), 100.0)
    loop.step()


def twice(loop: Loop) -> None:
    prepared(loop)
    loop.backward(loop.loss())
    loop.step()


def zeros_and_twice(loop: Loop) -> None:
    loop.train()
    loop.zero(set_to_none=False)
    loop.backward(loop.loss())
    loop.backward(loop.loss())
    loop.step()


def one_batch_twice(loop: Loop) -> None:
    loop.zero()
    loss = loop.loss()
    loop.backward(loss, retain_graph=True)
    loop.backward(loss)
    loop.step()


def scaled_loss(loop: Loop) -> None:
    loop.zero()
    loop.backward(loop.do(T + "__mul__", loop.loss(), 100.0))
    loop.step()


def with_a_gradient_of_its_own(loop: Loop) -> None:
    loop.zero()
    loop.do(T + "backward", loop.loss(), loop.driver.put(torch.tensor(100.0)), outs=0)
    loop.step()


def other_batches(loop: Loop, **settings: Any) -> None:
    loop.zero()
    loop.backward(loop.loss(loop.do("python.iter", loop.batches(**settings))))
    loop.step()


def written(loop: Loop, name: str, value: torch.Tensor) -> None:
    loop.train()
    inner = loop.do(T + "detach", loop.more)
    loop.do(T + name, inner, loop.driver.put(value))


def clipped(loop: Loop) -> None:
    prepared(loop)
    loop.do("torch.nn.utils.clip_grad_value_", [loop.weights, loop.more], 1e-6)
    loop.step()


def state_loaded(loop: Loop) -> None:
    state = loop.do(OPTIM + "Optimizer.state_dict", loop.optimizer)
    loop.train()
    loop.do(OPTIM + "Optimizer.load_state_dict", loop.optimizer, state, outs=0)
    loop.train()


def state_replaced(loop: Loop) -> None:
    state = loop.do("python.Dict.__getitem__", loop.do(
        OPTIM + "Optimizer.state_dict", loop.optimizer), "state")  # fmt: skip
    of_second = loop.do("python.Dict.__getitem__", state, 1)
    other = loop.do(T + "mul", loop.do(T + "grad", loop.more), 1000.0)
    loop.do("python.Dict.__setitem__", of_second, "momentum_buffer", other, outs=0)
    loop.train()


def by_hand(loop: Loop) -> None:
    prepared(loop)
    gradient = loop.do(T + "grad", loop.more)
    loop.do(T + "sub_", loop.do(T + "detach", loop.more), gradient, alpha=7.0)


ATTACKS: dict[str, Callable[[Loop], Any]] = {
    "another rate": lambda loop: (loop.do(
        "python.Dict.__setitem__", group(loop), "lr", 0.2, outs=0), loop.train()),
    "another momentum": lambda loop: (loop.do(
        "python.Dict.__setitem__", group(loop), "momentum", 0.99, outs=0), loop.train()),
    "a schedule": lambda loop: (loop.do(OPTIM + "lr_scheduler.LRScheduler.step", loop.do(
        OPTIM + "lr_scheduler.ExponentialLR", loop.optimizer, 0.5), outs=0), loop.train()),
    "another kind of optimizer": lambda loop: another_step(
        loop, "Adam", [loop.weights, loop.more], lr=0.1),
    "another optimizer of these settings for some of the weights": lambda loop: another_step(
        loop, "SGD", [loop.more], lr=0.1, momentum=0.9),
    "another optimizer with the weights in another order": lambda loop: another_step(
        loop, "SGD", [loop.more, loop.weights], lr=0.1, momentum=0.9),
    "another optimizer with weights beside": lambda loop: another_step(
        loop, "SGD", [loop.more, loop.parameter(torch.ones(3))], lr=0.1, momentum=0.9),
    "a group more": lambda loop: (loop.do(OPTIM + "Optimizer.add_param_group", loop.optimizer, {
        "params": [loop.parameter(torch.ones(3))]}, outs=0), loop.train()),
    "weights added to": lambda loop: written(loop, "add_", torch.rand(64, 64)),
    "weights written over": lambda loop: written(loop, "copy_", torch.rand(64, 64)),
    "weights scaled": lambda loop: written(loop, "mul_", torch.tensor(1e3)),
    "a step by hand": by_hand,
    "statistics written over": lambda loop: (loop.train(), loop.do(
        T + "fill_", loop.statistics[1], 1e6)),
    "batches of another size": lambda loop: other_batches(loop, batch_size=128),
    "shuffled batches": lambda loop: other_batches(loop, shuffle=True),
    "gradients scaled": scaled,
    "gradients clipped": clipped,
    "the loss scaled": scaled_loss,
    "the loss scaled on the way back": with_a_gradient_of_its_own,
    "two batches in one step": twice,
    "two batches in one step, over zeros": zeros_and_twice,
    "one batch twice in one step": one_batch_twice,
    "a gradient put there": lambda loop: (loop.do(T + "grad=", loop.more, loop.driver.put(
        torch.rand(64, 64)), outs=0), loop.step()),
    "momentum scaled": lambda loop: (loop.do(T + "mul_", momentum(loop), 1000.0), loop.train()),
    "momentum written over": lambda loop: (loop.do(
        T + "copy_", momentum(loop), loop.driver.put(torch.rand(10, 64))), loop.train()),
    "momentum of one's own": state_replaced,
    "a state loaded": state_loaded,
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_takes_no_loss_of_a_network_that_was_trained_otherwise(attack: str) -> None:
    check_is_seen(Loop(momentum=0.9), ATTACKS[attack])


NOT_FORESEEN: dict[str, tuple[Callable[[Loop], Any], str]] = {
    "two optimizers": (
        lambda loop: loop.optim("SGD", [loop.more], lr=1e9), "2 optimizers hold the parameters"),
    "no optimizer": (
        lambda loop: loop.driver.delete(loop.optimizer), "no optimizer holds the parameters"),
    "a state that was there": (
        lambda loop: (loop.do(T + "backward", loop.do("torch.sum", loop.more), outs=0),
                      loop.step(), loop.zero()), "the state of its optimizer was not made"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_FORESEEN)
def test_where_there_is_a_choice_nothing_is_foreseen_and_the_owner_reads_why(case: str) -> None:
    loop = Loop(momentum=0.9)
    prepare, why = NOT_FORESEEN[case]
    prepare(loop)
    facts = loop.facts(loop.loss())
    assert not facts.foreseen and why in always_text(facts)


def test_the_owner_reads_every_setting_that_is_no_default() -> None:
    loop = Loop(momentum=0.9, maximize=True)
    text = always_text(loop.facts(loop.loss()))
    assert "backward() of this very loss" in text
    assert "SGD (lr=0.1, momentum=0.9, maximize=True)" in text


def test_of_what_is_trained_by_nothing_nothing_is_said() -> None:
    loop = Loop()
    loop.train()
    for ref in (loop.do("torch.mean", X), loop.more, loop.weights):
        facts = loop.facts(ref)
        assert (facts.foreseen, facts.foreseen_text) == ((), "")
