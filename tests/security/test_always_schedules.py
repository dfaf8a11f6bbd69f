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


# schedules of several


def composed(
    loop: Loop, kind: str = "SequentialLR", *, made: tuple[str, ...] = ("LinearLR", "StepLR"),
    listed: tuple[int, ...] = (0, 1), milestones: Any = (2,), **others: Any,
) -> list[Ref]:  # fmt: skip
    """Two schedulers, made in this order, and the one that has them in a list like this."""
    settings = {"LinearLR": {"start_factor": 0.1, "total_iters": 2},
                "StepLR": {"step_size": 1, "gamma": 0.5}}  # fmt: skip
    inner = [loop.scheduled(name, **settings[name]) for name in made]
    loop.schedule = together(loop, kind, [inner[n] for n in listed], milestones, **others)
    return inner


def together(loop: Loop, kind: str, inner: Any, milestones: Any = (2,), **others: Any) -> Ref:
    if kind == "ChainedScheduler":
        return loop.do(OPTIM + "lr_scheduler.ChainedScheduler", inner, **others)
    milestones = milestones if isinstance(milestones, Ref) else list(milestones)
    return loop.scheduled("SequentialLR", schedulers=inner, milestones=milestones, **others)


def nested(loop: Loop) -> None:
    composed(loop)
    more = loop.scheduled("ExponentialLR", gamma=0.9)
    loop.schedule = together(loop, "ChainedScheduler", [loop.schedule, more])


LINEAR, STEPS = "LinearLR (start_factor=0.1, total_iters=2)", "StepLR (gamma=0.5, step_size=1)"
COMPOSED: dict[str, tuple[Callable[[Loop], Any], str]] = {
    "one after the other": (composed, f"SequentialLR ([{LINEAR}, {STEPS}], milestones=[2])"),
    "at once": (
        lambda loop: composed(loop, "ChainedScheduler"), f"ChainedScheduler ([{LINEAR}, {STEPS}])"),
    "made in another order": (
        lambda loop: composed(loop, made=("StepLR", "LinearLR"), listed=(1, 0)),
        f"SequentialLR ([{LINEAR}, {STEPS}], made in the order 2, 1, milestones=[2])"),
    "one in another": (
        nested, f"ChainedScheduler ([SequentialLR ([{LINEAR}, {STEPS}], milestones=[2]), "
        "ExponentialLR (gamma=0.9)])"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("way", COMPOSED)
def test_a_schedule_of_several_is_foreseen_with_all_that_is_in_it(way: str) -> None:
    loop = Loop(momentum=0.9)
    prepare, text = COMPOSED[way]
    prepare(loop)
    assert f"SGD (lr=0.1, momentum=0.9), whose rates {text} sets" in always_text(
        loop.facts(loop.loss())
    )
    binding = loop.first()
    for _ in range(4):
        loop.train()
        assert loop.taken(binding) == ""


OTHERS: dict[str, Callable[[Loop], Any]] = {
    "other milestones": lambda loop: composed(loop, milestones=(3,)),
    "another order": lambda loop: composed(loop, listed=(1, 0)),
    "made in another order": lambda loop: composed(
        loop, made=("StepLR", "LinearLR"), listed=(1, 0)),
    "all at once": lambda loop: composed(loop, "ChainedScheduler"),
    "one alone": lambda loop: setattr(
        loop, "schedule", loop.scheduled("LinearLR", start_factor=0.1, total_iters=2)),
    "one in another": nested,
    "no schedule": lambda loop: None,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("other", [*OTHERS, "the same"])
def test_another_schedule_of_several_is_another_training(other: str) -> None:
    loop, same = Loop(momentum=0.9), Loop(momentum=0.9)
    composed(loop)
    binding = loop.first()
    OTHERS.get(other, composed)(same)
    same.train()
    assert (same.taken(binding) == "") is (other == "the same")


def inner_loaded(loop: Loop, inner: list[Ref], key: str, value: Any) -> None:
    state = loop.do(OPTIM + "lr_scheduler.LRScheduler.state_dict", inner[1])
    loop.do("python.Dict.__setitem__", state, key, value, outs=0)
    loop.do(OPTIM + "lr_scheduler.LRScheduler.load_state_dict", inner[1], state, outs=0)


OFF_SEVERAL: dict[str, Callable[[Loop, list[Ref]], Any]] = {
    "one in it moved": lambda loop, inner: loop.move(inner[1]),
    "one in it moved to an epoch": lambda loop, inner: loop.move(inner[1], 7),
    "a factor of one in it loaded": lambda loop, inner: (
        inner_loaded(loop, inner, "gamma", 50.0), loop.move()),
    "a count of one in it loaded": lambda loop, inner: (
        inner_loaded(loop, inner, "last_epoch", -5), loop.move()),
    "first rates of one in it": lambda loop, inner: (loop.do(
        "python.List.__setitem__", loop.do("python.Dict.__getitem__", loop.do(
            OPTIM + "lr_scheduler.LRScheduler.state_dict", inner[1]), "base_lrs"), 0, 9.0, outs=0),
        loop.move()),
    "milestones loaded": lambda loop, inner: (loaded(loop, "_milestones", [9]), loop.move()),
    "milestones that it had given out": lambda loop, inner: (loop.do(
        "python.List.__setitem__", loop.do("python.Dict.__getitem__", state_of(loop),
                                           "_milestones"), 0, 9, outs=0), loop.move()),
    "a rate by hand": lambda loop, inner: (written_in(loop, "lr", 7.0), loop.move()),
    "one more, with all of them": lambda loop, inner: setattr(loop, "schedule", together(
        loop, "ChainedScheduler", [loop.schedule, loop.scheduled("ExponentialLR", gamma=2.0)])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(("kind", "way"), [
    (kind, way) for kind in ("SequentialLR", "ChainedScheduler") for way in OFF_SEVERAL
    if kind == "SequentialLR" or "milestones" not in way
])  # fmt: skip
def test_what_else_moves_one_of_several_ends_the_schedule(kind: str, way: str) -> None:
    loop = Loop(momentum=0.9)
    inner = composed(loop, kind)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    prepared(loop)
    OFF_SEVERAL[way](loop, inner)
    loop.step()
    assert loop.form_against(binding)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_the_lists_of_a_schedule_are_not_those_that_the_scientist_can_write_to() -> None:
    loop = Loop(momentum=0.9)
    inner = [loop.scheduled("LinearLR", total_iters=2), loop.scheduled("StepLR", step_size=1)]
    schedulers, milestones = loop.do("python.List", inner), loop.do("python.List", [2])
    loop.schedule = together(loop, "SequentialLR", schedulers, milestones)
    binding = loop.first()
    loop.do("python.List.__setitem__", schedulers, 1, inner[0], outs=0)
    loop.do("python.List.__setitem__", milestones, 0, 9, outs=0)
    loop.train()
    assert loop.taken(binding) == ""
    made = loop.driver.engine.store.get(loop.schedule.id).value
    assert made._milestones == [2]
    assert [type(one).__name__ for one in made._schedulers] == ["LinearLR", "StepLR"]


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_a_scheduler_in_another_keeps_its_optimizer() -> None:
    """The schedule would stand still otherwise, at a rate of the scientist's choice."""
    loop = Loop(momentum=0.9)
    inner = composed(loop)
    other = loop.optim("SGD", [loop.parameter(torch.ones(3))], lr=0.1)
    load = OPTIM + "lr_scheduler.LRScheduler.load_state_dict"
    state = loop.do(OPTIM + "lr_scheduler.LRScheduler.state_dict", inner[1])
    loop.do("python.Dict.__setitem__", state, "optimizer", other, outs=0)
    assert loop.driver.failed(load, inner[1], state, outs=0).code == "TypeError"


def private_number(loop: Loop) -> Ref:
    return loop.do(T + "item", loop.do("torch.argmax", X))


NO_SCHEDULE: dict[str, Callable[[Loop], Any]] = {
    "none of them together": lambda loop: (
        loop.scheduled("StepLR", step_size=1), loop.scheduled("ExponentialLR", gamma=0.9)),
    "one left out": lambda loop: (
        loop.scheduled("ExponentialLR", gamma=0.9), composed(loop)),
    "one twice": lambda loop: together(
        loop, "ChainedScheduler", [loop.scheduled("ExponentialLR", gamma=0.9)] * 2),
    "one moved before": lambda loop: [
        (loop.move(one), together(loop, "ChainedScheduler", [one]))
        for one in [loop.scheduled("ExponentialLR", gamma=0.9)]],
    "one by numbers of the scientist's": lambda loop: together(loop, "ChainedScheduler", [
        loop.scheduled("ExponentialLR", gamma=0.9), loop.scheduled("LambdaLR", lr_lambda=5.0)]),
    "a rate by hand between": lambda loop: [
        (written_in(loop, "lr", 5.0), together(loop, "ChainedScheduler", [one]))
        for one in [loop.scheduled("ExponentialLR", gamma=0.9)]],
    "a private milestone": lambda loop: composed(
        loop, milestones=loop.do("python.List", [private_number(loop)])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter", "ignore:Detected call of")
@pytest.mark.parametrize("way", NO_SCHEDULE)
def test_where_several_are_no_one_schedule_none_is_foreseen(way: str) -> None:
    loop = Loop(momentum=0.9)
    NO_SCHEDULE[way](loop)
    assert "whose rates" not in always_text(loop.facts(loop.loss()))
