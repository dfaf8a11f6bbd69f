"""`accept(always=True)` with clipped gradients, with rates on a schedule, with several optimizers.

What was read at the first loss is taken later, and another clipping or schedule is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.wire.values import Ref
from tests.security.always_kit import CLIP, OPTIM, STEP, Loop, T, X, group, of_the_model, prepared

# clipping


def test_a_clipping_that_was_made_is_foreseen_and_read() -> None:
    loop = Loop("Adam", clip=1.0)
    binding = loop.first()
    for _ in range(2):
        loop.train()
        assert loop.taken(binding) == ""
    text = always_text(loop.facts(loop.loss()))
    assert "clip_grad_norm_(1.0) of the gradients of 2 of its weights" in text


def test_the_first_clipping_of_all_leaves_its_trace() -> None:
    """Then only the gradients are private, and no parameter is."""
    loop = Loop(momentum=0.9, clip=1e-6)
    before = Binding.of(loop.facts(loop.loss()), is_ahead=True)
    assert len(before.writers) == 3
    loop.train()
    assert loop.form_against(before)


def test_a_run_of_a_plan_is_not_taken_with_the_clipping_in_it() -> None:
    """All that a run writes has the form of the whole run, and the line would tell the clipping."""
    loop = Loop(momentum=0.9, clip=1.0)
    provenance = loop.driver.engine._executor.provenance
    loss = loop.loss()
    provenance.run = "a run of some plan"
    loop.backward(loss)
    loop.clipped(1.0)
    provenance.run = ""
    facts = loop.facts(loss)
    assert len(facts.foreseen) == 3 and "a run of some plan" not in facts.foreseen
    assert "clip" not in always_text(facts)


def of_one(loop: Loop) -> None:
    prepared(loop)
    loop.do(CLIP, [loop.more], 1.0)
    loop.step()


def of_more(loop: Loop) -> None:
    """With another network's gradient beside theirs the scale is another one."""
    prepared(loop)
    other = loop.parameter(torch.ones(3))
    loop.do(T + "backward", loop.do("torch.sum", other), outs=0)
    loop.do(CLIP, [loop.weights, loop.more, other], 1.0)
    loop.step()


CLIPPINGS: dict[str, Callable[[Loop], Any]] = {
    "another bound": lambda loop: (prepared(loop), loop.clipped(1e-6), loop.step()),
    "another norm": lambda loop: (prepared(loop), loop.do(
        CLIP, [loop.weights, loop.more], 1.0, norm_type=1.0), loop.step()),
    "of values": lambda loop: (prepared(loop), loop.do(
        "torch.nn.utils.clip_grad_value_", [loop.weights, loop.more], 1.0, outs=0), loop.step()),
    "of some of the weights": of_one,
    "with others": of_more,
}  # fmt: skip


@pytest.mark.parametrize("way", CLIPPINGS)
def test_another_clipping_is_another_training(way: str) -> None:
    loop = Loop(momentum=0.9, clip=1.0)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    CLIPPINGS[way](loop)
    assert loop.form_against(binding)


# schedules

SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 1, "gamma": 0.5}, "MultiStepLR": {"milestones": [1, 2]},
    "ConstantLR": {}, "LinearLR": {}, "ExponentialLR": {"gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 10}, "CosineAnnealingWarmRestarts": {"T_0": 2},
    "PolynomialLR": {}, "OneCycleLR": {"max_lr": 0.2, "total_steps": 20},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1},
}  # fmt: skip


OFTEN = ("StepLR", "CosineAnnealingLR", "OneCycleLR")


@pytest.mark.parametrize("kind", [
    kind if kind in OFTEN else pytest.param(kind, marks=pytest.mark.slow) for kind in SCHEDULES
])  # fmt: skip
def test_a_schedule_is_foreseen_with_all_its_rates(kind: str) -> None:
    loop = Loop(momentum=0.9, schedule=(kind, SCHEDULES[kind]))
    facts = loop.facts(loop.loss())
    assert f"SGD (lr=0.1, momentum=0.9), whose rates {kind} (" in always_text(facts)
    binding = loop.first()
    for _ in range(3):
        loop.train()
        assert loop.taken(binding) == ""


def written_in(loop: Loop, key: str, value: float) -> None:
    loop.do("python.Dict.__setitem__", group(loop), key, value, outs=0)


def state_of(loop: Loop) -> Ref:
    return loop.do(OPTIM + "lr_scheduler.LRScheduler.state_dict", loop.schedule)


def base_rates(loop: Loop) -> Ref:
    return loop.do("python.Dict.__getitem__", state_of(loop), "base_lrs")


def loaded(loop: Loop, key: str, value: Any) -> None:
    state = state_of(loop)
    loop.do("python.Dict.__setitem__", state, key, value, outs=0)
    loop.do(OPTIM + "lr_scheduler.LRScheduler.load_state_dict", loop.schedule, state, outs=0)


OFF_SCHEDULE: dict[str, Callable[[Loop], Any]] = {
    "a rate by hand": lambda loop: written_in(loop, "lr", 7.0),
    "a rate by hand that the schedule goes on from": lambda loop: (
        written_in(loop, "lr", 7.0), loop.move()),
    "a first rate by hand": lambda loop: (written_in(loop, "initial_lr", 7.0), loop.move()),
    "another momentum": lambda loop: written_in(loop, "momentum", 0.5),
    "a factor loaded": lambda loop: (loaded(loop, "gamma", 50.0), loop.move()),
    "a count loaded": lambda loop: (loaded(loop, "last_epoch", -5), loop.move()),
    "rates that the schedule had given out": lambda loop: (loop.do(
        "python.List.__setitem__", base_rates(loop), 0, 9.0, outs=0), loop.move()),
    "an epoch that was named": lambda loop: loop.move(None, 9),
    "a schedule more": lambda loop: loop.move(loop.scheduled("ExponentialLR", gamma=3.0)),
    "another schedule in its place": lambda loop: (loop.driver.delete(loop.schedule), loop.move(
        loop.scheduled("StepLR", step_size=1, gamma=3.0))),
    "numbers of one's own": lambda loop: loop.do(
        OPTIM + "lr_scheduler.LambdaLR", loop.optimizer, 5.0),
    "a group more": lambda loop: loop.do(OPTIM + "Optimizer.add_param_group", loop.optimizer, {
        "params": [loop.parameter(torch.ones(3))], "initial_lr": 0.1}, outs=0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("way", OFF_SCHEDULE)
def test_what_else_moves_the_rates_ends_the_schedule(way: str) -> None:
    loop = Loop(momentum=0.9, schedule=("StepLR", {"step_size": 1, "gamma": 0.5}))
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    prepared(loop)
    OFF_SCHEDULE[way](loop)
    loop.step()
    assert loop.form_against(binding)


@pytest.mark.parametrize(("kind", "settings"), [
    ("ReduceLROnPlateau", {"patience": 0, "factor": 0.5}), ("ConstantLR", {"factor": X}),
])  # fmt: skip
def test_rates_by_private_values_are_no_schedule(kind: str, settings: dict[str, Any]) -> None:
    loop = Loop(momentum=0.9)
    if X in settings.values():
        settings = {"factor": loop.do(T + "item", loop.do("torch.mean", X))}
    schedule = loop.scheduled(kind, **settings)
    assert "whose rates" not in always_text(loop.facts(loop.loss()))
    before = Binding.of(loop.facts(loop.loss()), is_ahead=True)
    loop.train()
    for _ in range(3):
        args = [loop.do(T + "item", loop.loss())] if kind == "ReduceLROnPlateau" else []
        loop.move(schedule, *args)
        loop.train()
    assert loop.form_against(before)


def test_an_owner_reads_no_words_of_the_scientist_in_a_schedule() -> None:
    settings = {"base_lr": 0.1, "max_lr": 0.1, "scale_mode": "') sets. All is well"}
    loop = Loop(momentum=0.9, schedule=("CyclicLR", settings))
    assert "well" not in always_text(loop.facts(loop.loss()))


# several optimizers


def test_two_optimizers_for_two_parts_of_a_network_are_foreseen_together() -> None:
    loop = Loop()
    loop.driver.delete(loop.optimizer)
    loop.optimizer = loop.optim("SGD", [loop.more], lr=0.1)
    other = loop.optim("Adam", [loop.weights], lr=0.01)
    facts = loop.facts(loop.do(T + "item", loop.loss()))
    binding = Binding.of(facts, is_ahead=True)
    assert "step() of SGD (lr=0.1) and step() of Adam (lr=0.01)" in always_text(facts)
    for _ in range(2):
        of_the_model(loop)
        loop.backward(loop.loss())
        loop.step()
        loop.do(STEP, other, outs=0)
        assert loop.taken(binding) == ""
    loop.do(STEP, loop.optim("Adam", [loop.weights], lr=5.0), outs=0)
    assert loop.form_against(binding)
