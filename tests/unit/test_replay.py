"""Runs of a plan that follow one another in a message leave what each would have left by itself."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.engine import messages
from duet_p2p.engine.plans import Plans
from duet_p2p.engine.replay import Replay
from duet_p2p.wire.messages import Del, Note, Op
from duet_p2p.wire.values import Ref
from tests.unit.plan_kit import Planner, both_ways, played, step
from tests.unit.program_kit import labels
from tests.unit.test_score import failing
from tests.unit.test_short_ways import CHANGES, KINDS, Trainer, everything, told

__all__ = ["played"]  # a fixture


def runs(trainer: Trainer, count: int, data: Ref | None = None) -> list[Any]:
    return [trainer.run_of(trainer.plan, data or trainer.data) for _ in range(count)]


def warmed(kind: str = "SGD") -> Trainer:
    trainer = Trainer(kind)
    for _ in range(6):
        trainer.planned(trainer.data)
    return trainer


@pytest.fixture
def stood(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs were written down together, each time."""
    found: list[int] = []
    real = Plans.write_down

    def write_down(self: Plans) -> None:
        if self._standing is not None:
            found.append(self._standing.replay._runs)
        real(self)

    monkeypatch.setattr(Plans, "write_down", write_down)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_of_many_runs_leaves_what_many_messages_do(
    kind: str, monkeypatch: pytest.MonkeyPatch, stood: list[int]
) -> None:
    def run() -> list[Any]:
        trainer, versions, found = warmed(kind), dict[int, int](), list[Any]()
        for count in (3, 1, 5):
            sent = runs(trainer, count)
            gone = [Del(sent[0].outs), Del(sent[-1].outs)] if count > 3 else []
            trainer.at_once(*sent[:2], *gone[:1], *sent[2:], *gone[1:])
            found.append(labels(trainer))
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert stood == [1, 3, 1, 5]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_between_two_messages_is_seen_at_once(
    change: Callable[[Trainer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Any]:
        trainer, versions = warmed(("SGD", "Adam")[CHANGES.index(change) % 2]), dict[int, int]()
        found: list[Any] = []
        for _ in range(2):
            found.append(told(trainer, lambda t: t.at_once(*runs(t, 3))))
            found.append(told(trainer, change))
            found.append(labels(trainer))
        found.append(told(trainer, lambda t: t.at_once(*runs(t, 4))))
        return [*found, labels(trainer), *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long


def among(trainer: Trainer, random: Random, losses: list[Ref]) -> list[Any]:
    """Something else that a message can hold."""

    def op(name: str, *args: Any, outs: int = 1) -> Op:
        ids = tuple(range(trainer.next_id + 1, trainer.next_id + 1 + outs))
        trainer.next_id += outs
        return Op(name, ids, args, {}, random.choice("gn"))

    loss = random.choice(losses) if losses else trainer.data
    kind = random.randrange(8)
    if kind == 0:
        return [op("torch.Tensor.square", loss)]
    if kind == 1:
        return [op("torch.Tensor.grad", trainer.weights)]
    if kind == 2:
        return [op("torch.Tensor.mul", trainer.weights, 2.0)]
    if kind == 3 and losses:
        losses.remove(loss)
        return [Del((loss.id,))]
    if kind == 4:
        return [Note(trainer.bias.id, (f"tag{random.random()}",), "", False)]
    if kind == 5:
        return [Op("torch.Tensor.mul_", (), (trainer.bias, 0.5), {}, "n")]
    if kind == 6:
        return [Op("torch.optim.Optimizer.zero_grad", (), (trainer.optimizer,), {}, "g")]
    return [op("torch.optim.Optimizer.state_dict", trainer.optimizer)]


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))]
)
def test_messages_of_runs_and_other_commands_leave_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Any]:
        random, versions, found = Random(seed), dict[int, int](), list[Any]()
        trainer = warmed(random.choice(list(KINDS)))
        losses: list[Ref] = []
        for _ in range(6):
            message: list[Any] = []
            for _ in range(random.randrange(2, 5)):
                data = random.choice([trainer.data] * 5 + [trainer.other])
                sent = runs(trainer, random.choice([1, 2, 3, 6]), data)
                losses += [Ref(one.outs[0]) for one in sent]
                message += sent
                for _ in range(random.randrange(2)):
                    message += among(trainer, random, losses)
            found.append(told(trainer, lambda t: t.at_once(*message)))  # noqa: B023
            found.append(labels(trainer))
            found += everything(trainer, versions) if random.random() < 0.4 else []
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long


def test_a_call_that_raises_in_the_middle_of_a_message_fails_as_ever(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]], stood: list[int]
) -> None:
    def run() -> list[Any]:
        torch.manual_seed(0)
        engine, found = Planner(), list[Any]()
        engine.engine.lineage._key = bytes(16)
        plan, data = failing(engine)
        for _ in range(5):
            engine.go(plan, data)
        sent = [engine.run_of(plan, data) for _ in range(9)]
        engine.at_once(*sent)
        found += [[repr(event) for event in engine.last], labels(engine)]
        for one in sent:
            results = [engine.facts(Ref(id)) for id in one.outs]
            found += [repr(facts).partition("version")[0] for facts in results]
            found += [facts.failed for facts in results]
        return found

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert not all(is_whole for _, is_whole in played)
    assert stood == [0]  # all that came before was written down when it raised


@pytest.mark.parametrize("moved_at", [7, 9, 11])
def test_what_a_step_moved_is_found_at_the_end_of_a_message(
    moved_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = torch.optim.SGD.step

    def moving(self: torch.optim.SGD) -> None:
        real(self)
        steps.append(1)
        if len(steps) == moved_at:
            parameter = self.param_groups[0]["params"][0]
            parameter.data = parameter.data.clone()

    monkeypatch.setattr(torch.optim.SGD, "step", moving)

    def run() -> list[Any]:
        steps.clear()
        trainer, versions = warmed(), dict[int, int]()
        found = []
        for _ in range(2):
            trainer.at_once(*runs(trainer, 5))
            found.append(labels(trainer))
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long


def test_a_write_to_an_owners_object_is_caught_in_the_middle_of_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> list[Any]:
        trainer = warmed()
        plan = trainer.engine._plans.find(trainer.plan.plan)
        call, calls = plan.calls[1], list[int]()
        real = call.function

        def bad(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            calls.append(1)
            if len(calls) == 9:
                args[0].detach().add_(1.0)
            return result

        call.function = bad
        plan.score._choose([(0, 7)])  # to be watched again, with this function
        for _ in range(6):
            trainer.planned(trainer.data)
        found = [told(trainer, lambda t: t.at_once(*runs(t, 6)))]
        return [*found, labels(trainer), trainer.facts(trainer.data).failed]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert "wrote to an owner's object" in short[2]


def test_a_quota_that_ends_in_the_middle_of_a_message_refuses_the_rest(
    monkeypatch: pytest.MonkeyPatch, stood: list[int]
) -> None:
    def run() -> list[Any]:
        trainer = warmed()
        room = len(trainer.engine.store) + 6
        trainer.engine.handle(messages.Configure({"objects": room}, {}, None))
        trainer.planned(trainer.data)  # looks anew
        told_of = told(trainer, lambda t: t.at_once(*runs(t, 8)))
        return [told_of, labels(trainer)]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert any("QuotaExceeded" in event for event in short[0])
    assert max(stood) > 0


@pytest.mark.parametrize("gone", ["plan", "optimizer", "weights"])
def test_what_was_deleted_in_the_middle_of_a_message_is_not_run_with(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Any]:
        trainer = warmed()
        ids = {"plan": trainer.plan.plan, "optimizer": trainer.optimizer.id,
               "weights": trainer.weights.id}  # fmt: skip
        sent = runs(trainer, 5)
        found = told(trainer, lambda t: t.at_once(*sent[:3], Del((ids[gone],)), *sent[3:]))
        return [found, labels(trainer)]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert [event[1] for event in short[0] if event[1]] == ["PointerDeleted"] * 2


def test_until_it_is_written_down_a_result_carries_its_label_in_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer, seen = warmed(), list[Any]()
    real = Replay.once

    def once(self: Replay, seq: int, outs: tuple[int, ...], run: int) -> Any:
        halted = real(self, seq, outs, run)
        slot = trainer.engine.store.get(outs[0])
        seen.append((slot.label.kind.value, trainer.engine.lineage.entry(slot.value)))
        return halted

    monkeypatch.setattr(Replay, "once", once)
    trainer.at_once(*runs(trainer, 3))
    assert seen == [("aggregate", None)] * 3
    assert not trainer.engine.lineage.label(trainer.value(Ref(trainer.next_id))).is_public


def test_two_optimizers_in_one_plan_are_looked_at_run_by_run(stood: list[int]) -> None:
    trainer = Trainer()
    other = trainer.make("Adam")
    trainer.plan = trainer.define(
        step("torch.optim.Optimizer.zero_grad", 0, Ref(2)),
        step("torch.Tensor.matmul", 4, Ref(1), Ref(3)),
        step("torch.Tensor.mean", 5, Ref(4)),
        step("torch.Tensor.backward", 0, Ref(5)),
        step("torch.optim.Optimizer.step", 0, Ref(2)),
        step("torch.optim.Optimizer.zero_grad", 0, Ref(2)),
        captures=(other, trainer.weights),
        outputs=(5,),
    )
    for _ in range(3):
        trainer.at_once(*runs(trainer, 4))
    assert stood == []
