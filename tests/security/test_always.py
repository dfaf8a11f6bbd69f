"""`accept(always=True)` on the first loss of an eager loop: what it takes later, and what not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from duet_p2p.engine.messages import Facts
from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver, digits

X, Y = Ref(-1), Ref(-2)
T, F, OPTIM = "torch.Tensor.", "torch.nn.functional.", "torch.optim."
STEP, MOVE = OPTIM + "Optimizer.step", OPTIM + "lr_scheduler.LRScheduler.step"
CLIP = "torch.nn.utils.clip_grad_norm_"


class Loop:
    """A training loop on a loader, one command after the other, as its scientist writes it."""

    def __init__(
        self, kind: str = "SGD", *, drop: float = 0.0, clip: float = 0.0,
        schedule: tuple[str, dict[str, Any]] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.driver = driver = Driver()
        images, targets = digits(256)
        driver.share(images.flatten(1))
        driver.share(targets)
        self.drop = drop
        self.settings = {"lr": 0.1, **settings}
        self.weights = self.parameter(torch.linspace(-1, 1, 640).reshape(10, 64))
        self.more = self.parameter(torch.linspace(0, 1, 4096).reshape(64, 64))
        self.statistics = [driver.put(torch.zeros(64)), driver.put(torch.ones(64))]
        self.optimizer = self.optim(kind, [self.weights, self.more], **self.settings)
        self.clip = clip
        self.schedule = None if schedule is None else self.scheduled(schedule[0], **schedule[1])
        self.loader = self.batches()
        self.left = 0

    def do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.driver.ok(name, *args, **kwargs)

    def parameter(self, values: torch.Tensor) -> Ref:
        return self.do("torch.nn.Parameter", self.driver.put(values))

    def optim(self, kind: str, parameters: list[Ref], **settings: Any) -> Ref:
        return self.do(OPTIM + kind, parameters, **settings)

    def batches(self, **settings: Any) -> Ref:
        data = self.do("torch.utils.data.TensorDataset", X, Y)
        return self.do("torch.utils.data.DataLoader", data, **{"batch_size": 64, **settings})

    def loss(self, iterator: Ref | None = None) -> Ref:
        if iterator is None:
            if not self.left:
                self.iterator, self.left = self.do("python.iter", self.loader), 4
            self.left -= 1
        batch = self.do("python.next", iterator or self.iterator)
        x, y = (self.do("python.List.__getitem__", batch, place) for place in (0, 1))
        out = self.do(F + "linear", x, self.more)
        out = self.do(F + "batch_norm", out, *self.statistics, training=True)
        if self.drop:
            out = self.do(F + "dropout", out, self.drop)
        return self.do(F + "cross_entropy", self.do(F + "linear", out, self.weights), y)

    def zero(self, **settings: Any) -> None:
        self.do(OPTIM + "Optimizer.zero_grad", self.optimizer, **settings)

    def backward(self, loss: Ref, **settings: Any) -> None:
        self.do(T + "backward", loss, outs=0, **settings)

    def step(self) -> None:
        self.do(STEP, self.optimizer, outs=0)

    def scheduled(self, kind: str, **settings: Any) -> Ref:
        return self.do(OPTIM + "lr_scheduler." + kind, self.optimizer, **settings)

    def move(self, schedule: Ref | None = None, *args: Any) -> None:
        self.do(MOVE, schedule or self.schedule, *args, outs=0)

    def clipped(self, most: float) -> None:
        self.do(CLIP, [self.weights, self.more], most)

    def train(self) -> Ref:
        self.zero()
        loss = self.loss()
        self.backward(loss)
        if self.clip:
            self.clipped(self.clip)
        self.step()
        if self.schedule is not None:
            self.move()
        return loss

    def facts(self, ref: Ref) -> Facts:
        return self.driver.facts(ref)

    def first(self) -> Binding:
        """What the owner binds to the first loss, asked for as a number."""
        facts = self.facts(self.do(T + "item", self.train()))
        assert len(facts.writers) == 1, "statistics alone were written"
        assert len(facts.foreseen) == 3 + bool(self.clip), always_text(facts)
        return Binding.of(facts, is_ahead=True)

    def taken(self, binding: Binding) -> str:
        """Why the next loss is not taken; empty if it is."""
        return binding.difference(self.facts(self.do(T + "item", self.loss())))

    def form_against(self, binding: Binding) -> str:
        """The same where its kind and group are none of the reasons."""
        facts = self.facts(self.do(T + "item", self.loss()))
        return binding.difference(replace(
            facts, kind=binding.kind, min_records=binding.min_records, injected=binding.injected
        ))  # fmt: skip


def of_the_model(loop: Loop) -> None:
    """As `model.zero_grad()` does it."""
    for weights in (loop.weights, loop.more):
        loop.do(T + "grad=", weights, None, outs=0)


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


def group(loop: Loop) -> Ref:
    groups = loop.do(OPTIM + "Optimizer.param_groups", loop.optimizer)
    return loop.do("python.List.__getitem__", groups, 0)


def another_step(loop: Loop, kind: str, parameters: list[Ref], **settings: Any) -> None:
    other = loop.optim(kind, parameters, **settings)
    loop.zero()
    loop.backward(loop.loss())
    loop.do(STEP, other, outs=0)


def prepared(loop: Loop) -> None:
    loop.zero()
    loop.backward(loop.loss())


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
    loop = Loop(momentum=0.9)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""  # the control
    ATTACKS[attack](loop)
    assert loop.form_against(binding)
    loop.train()
    assert loop.form_against(binding), "it is forgotten one step later"


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


# clipping and schedules


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
