"""What a scheduler tells of its rates: as private as what decided them, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

OPT, SCHED, T = "torch.optim.Optimizer.", "torch.optim.lr_scheduler.", "torch.Tensor."


class Training:
    """A weight that is trained on private records, and schedulers of its optimizer."""

    def __init__(self, kind: str = "SGD", lr: Any = 0.5, **settings: Any) -> None:
        self.d = Driver()
        self.data = self.d.share(torch.rand(20, 3))
        self.weight = self.d.ok("torch.nn.Parameter", self.d.put(torch.ones(3)))
        lr = lr(self) if callable(lr) else lr
        self.optimizer = self.d.ok(f"torch.optim.{kind}", [self.weight], lr=lr, **settings)

    def loss(self) -> Ref:
        d = self.d
        return d.ok("torch.mean", d.ok("torch.matmul", self.data, self.weight))

    def number(self) -> Ref:
        return self.d.ok(T + "item", self.loss())

    def step(self, *schedulers: Ref) -> None:
        self.d.ok(OPT + "zero_grad", self.optimizer, outs=0)
        self.d.ok(T + "backward", self.loss(), outs=0)
        self.d.ok(OPT + "step", self.optimizer, outs=0)
        for scheduler in schedulers:
            self.d.ok(SCHED + "LRScheduler.step", scheduler, outs=0)

    def group(self) -> Ref:
        groups = self.d.ok(OPT + "param_groups", self.optimizer)
        return self.d.ok("python.List.__getitem__", groups, 0)

    def kinds(self, scheduler: Ref) -> set[str]:
        rates = self.d.ok(SCHED + "LRScheduler.get_last_lr", scheduler)
        rate = self.d.ok("python.List.__getitem__", rates, 0)
        return {self.d.facts(ref).kind for ref in (rates, rate)}

    def rates(self, scheduler: Ref) -> Any:
        return self.d.release(self.d.ok(SCHED + "LRScheduler.get_last_lr", scheduler))


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(
    ("name", "args"),
    [("StepLR", (1, 0.5)), ("CosineAnnealingLR", (10,)), ("CyclicLR", (0.1, 0.2)),
     ("OneCycleLR", (0.2, 10)), ("LambdaLR", (1.0,)), ("ReduceLROnPlateau", ())],
)  # fmt: skip
def test_rates_that_follow_from_public_numbers_are_public(
    kind: str, name: str, args: tuple[Any, ...]
) -> None:
    t = Training(kind)
    settings = {"cycle_momentum": False} if name in ("CyclicLR", "OneCycleLR") else {}
    more = (0.5,) if name == "ReduceLROnPlateau" else ()
    scheduler = t.d.ok(SCHED + name, t.optimizer, *args, **settings)
    for number in range(3):
        t.step()
        if name == "LambdaLR":
            t.d.ok(SCHED + "LRScheduler.feed", scheduler, number + 1, 0.5, outs=0)
        t.d.ok(SCHED + "LRScheduler.step", scheduler, *more, outs=0)
        assert t.kinds(scheduler) == {"public"}
    assert t.d.facts(t.d.ok(SCHED + "LRScheduler.last_epoch", scheduler)).kind == "public"
    assert t.d.facts(t.weight).kind == "model"


def test_the_rate_is_the_one_of_torch() -> None:
    t = Training()
    scheduler = t.d.ok(SCHED + "StepLR", t.optimizer, 1, 0.5)
    assert t.rates(scheduler) == [0.5]
    t.step(scheduler)
    assert t.rates(scheduler) == [0.25]


def step_with(t: Training, scheduler: Ref) -> None:
    t.d.ok(SCHED + "LRScheduler.step", scheduler, t.number(), outs=0)


def set_rate(t: Training, scheduler: Ref) -> None:
    t.d.ok("python.Dict.__setitem__", t.group(), "lr", t.number(), outs=0)


def set_other_key(t: Training, scheduler: Ref) -> None:
    key = t.d.ok("python.String", t.number())
    t.d.ok("python.Dict.__setitem__", t.group(), key, 1.0, outs=0)


def update(t: Training, scheduler: Ref) -> None:
    other = t.d.ok("python.Dict", {"lr": t.number()})
    t.d.ok("python.Dict.update", t.group(), other, outs=0)


def set_default(t: Training, scheduler: Ref) -> None:
    defaults = t.d.ok(OPT + "defaults", t.optimizer)
    t.d.ok("python.Dict.__setitem__", defaults, "lr", t.number(), outs=0)
    other = t.d.ok("torch.nn.Parameter", t.d.put(torch.ones(1)))
    t.d.ok(OPT + "add_param_group", t.optimizer, {"params": [other]}, outs=0)


def load_state(t: Training, scheduler: Ref) -> None:
    state = t.d.ok(SCHED + "LRScheduler.state_dict", scheduler)
    t.d.ok("python.Dict.__setitem__", state, "last_epoch", t.d.ok("python.Int", t.number()), outs=0)
    t.d.ok(SCHED + "LRScheduler.load_state_dict", scheduler, state, outs=0)


def load_optimizer(t: Training, scheduler: Ref) -> None:
    state = t.d.ok(OPT + "state_dict", t.optimizer)
    groups = t.d.ok("python.Dict.__getitem__", state, "param_groups")
    group = t.d.ok("python.List.__getitem__", groups, 0)
    t.d.ok("python.Dict.__setitem__", group, "lr", t.number(), outs=0)
    t.d.ok(OPT + "load_state_dict", t.optimizer, state, outs=0)


WAYS: dict[str, tuple[str, tuple[Any, ...], Callable[[Training, Ref], None]]] = {
    "a private metric": ("ReduceLROnPlateau", (), step_with),
    "a private epoch": ("StepLR", (1,), step_with),
    "a rate in the group": ("StepLR", (1,), set_rate),
    "an update of the group": ("StepLR", (1,), update),
    "a key of the group": ("StepLR", (1,), set_other_key),
    "a default": ("StepLR", (1,), set_default),
    "the scheduler's state": ("StepLR", (1,), load_state),
    "the optimizer's state": ("StepLR", (1,), load_optimizer),
}  # fmt: skip


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_rates_that_a_private_number_decided_stay_private(way: str, is_trained: bool) -> None:
    name, args, function = WAYS[way]
    t = Training()
    scheduler = t.d.ok(SCHED + name, t.optimizer, *args)
    more = (1.0,) if name == "ReduceLROnPlateau" else ()
    for _ in range(2 * is_trained):
        t.step()
        t.d.ok(SCHED + "LRScheduler.step", scheduler, *more, outs=0)
        t.kinds(scheduler)
    function(t, scheduler)
    t.d.ok(SCHED + "LRScheduler.step", scheduler, *more, outs=0)
    assert "public" not in t.kinds(scheduler)
    assert t.d.facts(t.d.ok(SCHED + "LRScheduler.last_epoch", scheduler)).kind != "public"


def test_a_rate_that_the_optimizer_was_made_with_stays_private() -> None:
    t = Training(lr=Training.number)
    scheduler = t.d.ok(SCHED + "StepLR", t.optimizer, 1)
    t.step(scheduler)
    assert "public" not in t.kinds(scheduler)


def test_a_tensor_as_a_rate_keeps_its_label() -> None:
    t = Training("Adam", lr=lambda t: t.d.ok(T + "detach", t.loss()))
    scheduler = t.d.ok(SCHED + "StepLR", t.optimizer, 1)
    t.step(scheduler)
    assert "public" not in t.kinds(scheduler)


def test_rates_of_a_scheduler_that_private_values_chose_stay_private() -> None:
    t = Training()
    one = t.d.ok(SCHED + "StepLR", t.optimizer, 1)
    two = t.d.ok(SCHED + "StepLR", t.optimizer, 1, 0.5)
    place = t.d.ok("python.Int", t.d.ok("python.Float.__mul__", t.number(), 0.0))
    chosen = t.d.ok("python.List.__getitem__", t.d.ok("python.collect", one, two), place)
    t.step()
    for scheduler in (chosen, one, two):
        assert "public" not in t.kinds(scheduler)


def test_what_is_written_into_a_list_of_rates_is_not_the_schedulers() -> None:
    t = Training()
    scheduler = t.d.ok(SCHED + "StepLR", t.optimizer, 1)
    t.step(scheduler)
    rates = t.d.ok(SCHED + "LRScheduler.get_last_lr", scheduler)
    t.d.ok("python.List.__setitem__", rates, 0, t.number(), outs=0)
    assert t.d.facts(rates).kind != "public"
    assert t.kinds(scheduler) == {"public"}
    assert t.rates(scheduler) == [pytest.approx(0.05)]


def test_nothing_is_told_where_the_engine_itself_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    t = Training()
    scheduler = t.d.ok(SCHED + "StepLR", t.optimizer, 1)
    t.step(scheduler)
    with monkeypatch.context() as patch:
        patch.setattr("duet_p2p.engine.executor.Executor.finish", lambda *_: 1 / 0)
        t.d.failed(SCHED + "LRScheduler.step", scheduler, outs=0)
    t.d.run(SCHED + "LRScheduler.get_last_lr", scheduler)
    assert t.d.facts(Ref(t.d.next_id)).kind != "public"
