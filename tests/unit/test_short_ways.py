"""A training step on a short way leaves what it would have left on the whole way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.engine import holding, messages
from duet_p2p.engine.score import Score
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.limits import RECIPE_STEPS
from duet_p2p.wire.messages import Note
from duet_p2p.wire.values import Ref
from tests.unit.plan_kit import Planner, step

STEP, ZERO_GRAD = "torch.optim.Optimizer.step", "torch.optim.Optimizer.zero_grad"
KINDS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9}, "Adam": {"lr": 0.01}, "Adadelta": {"lr": 0.1},
    "RMSprop": {"lr": 0.01}, "Adagrad": {"lr": 0.1}, "NAdam": {"lr": 0.01},
}  # fmt: skip


class Trainer(Planner):
    """A small model of two parameters, in commands and as a plan."""

    def __init__(self, kind: str = "SGD") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.data = self.share(torch.rand(16, 4), tags=["data"])
        self.other = self.share(torch.rand(16, 4))
        self.weights = self.put(torch.rand(4, 3).requires_grad_())
        self.bias = self.put(torch.rand(3).requires_grad_())
        self.parameters = [self.weights, self.bias]
        self.optimizer = self.make(kind)
        self.plan = self.define(
            step(ZERO_GRAD, 0, Ref(2)),
            step("torch.Tensor.matmul", 5, Ref(1), Ref(3)),
            step("torch.Tensor.add", 6, Ref(5), Ref(4)),
            step("torch.Tensor.square", 7, Ref(6)),
            step("torch.Tensor.mean", 8, Ref(7)),
            step("torch.Tensor.backward", 0, Ref(8)),
            step(STEP, 0, Ref(2)),
            captures=(self.optimizer, self.weights, self.bias),
            outputs=(8,),
        )

    def make(self, kind: str) -> Ref:
        held = self.run("python.List", [])
        for parameter in self.parameters:
            self.run("python.List.append", held, parameter, outs=0)
        made: Ref = self.run(f"torch.optim.{kind}", held, **KINDS[kind])
        return made

    def eager(self, data: Ref) -> Ref:
        self.run(ZERO_GRAD, self.optimizer, outs=0)
        loss: Ref = self.run("torch.Tensor.matmul", data, self.weights)
        loss = self.run("torch.Tensor.add", loss, self.bias)
        loss = self.run("torch.Tensor.mean", self.run("torch.Tensor.square", loss))
        self.run("torch.Tensor.backward", loss, outs=0)
        self.run(STEP, self.optimizer, outs=0)
        return loss

    def planned(self, data: Ref) -> Ref:
        return self.go(self.plan, data)[0]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of commands that a short way was not taken for."""
    names: list[str] = []
    real = ShortWays.take

    def take(self: Any, run: Any, call: Any) -> bool:
        is_taken = real(self, run, call)
        if not is_taken:
            names.append(run.rule.short)
        return is_taken

    monkeypatch.setattr(ShortWays, "take", take)
    return names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["eager", "planned"])
def test_from_the_third_step_on_nothing_goes_the_whole_way(
    kind: str, way: str, whole: list[str]
) -> None:
    trainer = Trainer(kind)
    for _ in range(3):
        getattr(trainer, way)(trainer.data)
    whole.clear()
    for _ in range(2):
        getattr(trainer, way)(trainer.data)
    assert whole == []


def test_a_plans_plain_commands_ask_no_question_the_third_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Score, "play", lambda score, *_: (score.begin, None))
    trainer = Trainer()
    for _ in range(3):
        trainer.planned(trainer.data)
    asked: list[str] = []
    real = ShortWays.take
    monkeypatch.setattr(
        ShortWays, "take", lambda s, run, call: asked.append(run.rule.short) or real(s, run, call)
    )
    trainer.planned(trainer.data)
    assert asked == ["zero_grad", "backward", "step"]


def test_quotas_are_asked_each_time() -> None:
    trainer = Trainer()
    for _ in range(3):
        trainer.planned(trainer.data)
    room = len(trainer.engine.store)
    trainer.engine.handle(messages.Configure({"objects": room + 1}, {}, None))
    trainer.planned(trainer.data)
    assert {failed.code for failed in trainer.failures()} == {"QuotaExceeded"}


def test_what_values_refuse_is_refused_each_time() -> None:
    engine = Planner()
    x = engine.share(torch.rand(6, 3))
    plan = engine.define(
        step("torch.nn.functional.nll_loss", 3, Ref(1), Ref(2)), inputs=2, outputs=(3,)
    )
    for number in (0, 1, 2, 0, 7, 0):
        targets = engine.share(torch.full((6,), number))
        (loss,) = engine.go(plan, x, targets)
        assert [f.is_public for f in engine.failures()] == ([False] if number == 7 else [])
        assert bool(engine.facts(loss).failed) is (number == 7)


# changes between two steps: each has to be seen at once


def frozen(trainer: Trainer) -> None:
    trainer.run("torch.Tensor.requires_grad_", trainer.bias, False)


def thawed(trainer: Trainer) -> None:
    trainer.run("torch.Tensor.requires_grad_", trainer.bias, True)


def written(trainer: Trainer) -> None:
    trainer.run("torch.Tensor.mul_", trainer.weights, 0.5, mode="n")


def copied_over(trainer: Trainer) -> None:
    row = trainer.run("torch.Tensor.__getitem__", trainer.data, 0)
    short = trainer.run("torch.Tensor.narrow", row, 0, 0, 3)
    trainer.run("torch.Tensor.copy_", trainer.bias, short, mode="n")


def other_rate(trainer: Trainer) -> None:
    group = trainer.run("python.List.__getitem__", groups(trainer), 0)
    trainer.run("python.Dict.__setitem__", group, "lr", 0.05, outs=0)


def private_rate(trainer: Trainer) -> None:
    group = trainer.run("python.List.__getitem__", groups(trainer), 0)
    mean = trainer.run("torch.Tensor.mean", trainer.data)
    trainer.run("python.Dict.__setitem__", group, "lr", trainer.run("torch.Tensor.item", mean),
                outs=0)  # fmt: skip


def groups(trainer: Trainer) -> Ref:
    found: Ref = trainer.run("torch.optim.Optimizer.param_groups", trainer.optimizer)
    return found


def more_parameters(trainer: Trainer) -> None:
    more = trainer.put(torch.rand(3).requires_grad_())
    trainer.run("torch.optim.Optimizer.add_param_group", trainer.optimizer, {"params": [more]},
                outs=0)  # fmt: skip


def fewer_parameters(trainer: Trainer) -> None:
    group = trainer.run("python.List.__getitem__", groups(trainer), 0)
    held = trainer.run("python.Dict.__getitem__", group, "params")
    trainer.run("python.List.pop", held)


def loaded(trainer: Trainer) -> None:
    state = trainer.run("torch.optim.Optimizer.state_dict", trainer.optimizer)
    trainer.run("torch.optim.Optimizer.load_state_dict", trainer.optimizer, state, outs=0)


def poisoned(trainer: Trainer) -> None:
    """Which index it is, values say; it is none."""
    index = trainer.share(torch.tensor([9]))
    trainer.run("torch.Tensor.index_fill_", trainer.bias, 0, index, 1.0, mode="n")


def own_gradient(trainer: Trainer) -> None:
    row = trainer.run("torch.Tensor.__getitem__", trainer.data, 0)
    short = trainer.run("torch.Tensor.narrow", row, 0, 0, 3)
    trainer.run("torch.Tensor.grad=", trainer.bias, short, outs=0)


def stepped_again(trainer: Trainer) -> None:
    trainer.run(STEP, trainer.optimizer, outs=0)


def zeroed(trainer: Trainer) -> None:
    trainer.run(ZERO_GRAD, trainer.optimizer, outs=0, set_to_none=False)


def held_gradient(trainer: Trainer) -> None:
    grad = trainer.run("torch.Tensor.grad", trainer.weights)
    trainer.run("torch.Tensor.mul_", grad, 3.0)


def clipped(trainer: Trainer) -> None:
    trainer.run("torch.nn.utils.clip_grad_norm_", list(trainer.parameters), 0.1)


def seeded(trainer: Trainer) -> None:
    first = trainer.run("torch.Tensor.__getitem__", trainer.data, (0, 0))
    trainer.run("torch.manual_seed", trainer.run("python.Int", first), outs=0)


def tagged(trainer: Trainer) -> None:
    trainer.send(Note(trainer.weights.id, ("mine",), "", False))


def viewed(trainer: Trainer) -> None:
    view = trainer.run("torch.Tensor.detach", trainer.weights)
    trainer.run("torch.Tensor.__setitem__", view, 0, 0.25, outs=0)


def state_written(trainer: Trainer) -> None:
    state = trainer.run("torch.optim.Optimizer.state_dict", trainer.optimizer)
    inner = trainer.run("python.Dict.__getitem__", state, "state")
    first = trainer.run("python.Dict.__getitem__", inner, 0)
    values = trainer.run("python.Dict.values", first)
    one = trainer.run("python.List.__getitem__", trainer.run("python.List", values), 0)
    trainer.run("torch.Tensor.mul_", one, 0.5)


def turned(trainer: Trainer) -> None:
    square = trainer.put(torch.rand(4, 4))
    trainer.run("torch.Tensor.t_", square)
    trainer.run("torch.Tensor.unsqueeze_", trainer.bias, 0, mode="n")
    trainer.run("torch.Tensor.squeeze_", trainer.bias, 0, mode="n")


def retained(trainer: Trainer) -> None:
    product = trainer.run("torch.Tensor.matmul", trainer.data, trainer.weights)
    trainer.run("torch.Tensor.retain_grad", product, outs=0)
    trainer.run("torch.Tensor.backward", trainer.run("torch.Tensor.mean", product), outs=0)
    trainer.run("torch.Tensor.grad", product)


def dropped(trainer: Trainer) -> None:
    """The owner takes an object back; the next step names it."""
    trainer.engine.handle(messages.Drop((trainer.other.id,)))
    trainer.planned(trainer.other)


CHANGES: list[Callable[[Trainer], None]] = [
    frozen, thawed, written, copied_over, other_rate, private_rate, more_parameters,
    fewer_parameters, loaded, poisoned, own_gradient, stepped_again, zeroed, held_gradient, clipped,
    seeded, tagged, viewed, state_written, turned, retained, dropped,
]  # fmt: skip


def told(trainer: Trainer, act: Callable[[Trainer], Any]) -> Any:
    """What an owner is told of one act, and of everything that the store holds after it."""
    trainer.last = []
    found: list[Any] = []
    before = len(trainer.events)
    act(trainer)
    for event in trainer.events[before:]:
        found.append((type(event).__name__, getattr(event, "code", ""),
                      getattr(event, "is_public", "")))  # fmt: skip
    return found


def everything(trainer: Trainer, versions: dict[int, int]) -> list[Any]:
    """Facts of all objects, which of them are said to be unchanged, and the numbers in them."""
    found: list[Any] = []
    for parameter in trainer.parameters:
        trainer.run("torch.Tensor.grad", parameter)
    trainer.run("torch.optim.Optimizer.state_dict", trainer.optimizer)
    for id in sorted(trainer.engine.store.ids()):
        candidate = trainer.candidate(Ref(id))
        if candidate.facts is None:
            found.append((id, "cannot be frozen"))
            continue
        facts = asdict(candidate.facts)
        version = facts.pop("version")
        facts["failed"] = re.sub(r"\d{9,}", "", facts["failed"])  # torch names a key by its address
        found.append((id, facts, versions.get(id) == version, repr(candidate.value)))
        versions[id] = version
    return found


def story(seed: int, kind: str, changes: list[Callable[[Trainer], None]]) -> list[Any]:
    random, trainer, versions = Random(seed), Trainer(kind), dict[int, int]()
    found: list[Any] = []
    for change in changes:
        way = random.choice([Trainer.eager, Trainer.planned])
        for _ in range(3):
            found.append(told(trainer, lambda t: way(t, t.data)))  # noqa: B023
        found.append(told(trainer, change))
        found += everything(trainer, versions) if random.random() < 0.5 else []
        data = random.choice([trainer.data, trainer.other])
        for next_way in (way, random.choice([Trainer.eager, Trainer.planned])):
            found.append(told(trainer, lambda t: next_way(t, data)))  # noqa: B023
    return [*found, *everything(trainer, versions)]


def with_and_without(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> tuple[Any, Any]:
    short = run()
    with monkeypatch.context() as patch:
        patch.setattr(ShortWays, "take", lambda *_: False)
        patch.setattr(ShortWays, "repeat", lambda *_: False)
        patch.setattr(holding, "holding_of", lambda _: None)
        patch.setattr("duet_p2p.engine.form.holding_of", lambda _: None)
        return short, run()


def test_a_recipe_that_grew_too_long_does_not_shorten_those_of_later_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> list[Any]:
        engine = Planner()
        x = engine.share(torch.ones(8, 3))
        plan = engine.define(
            step("torch.Tensor.exp", 2, Ref(1)), step("torch.Tensor.sum", 3, Ref(2)), outputs=(3,)
        )
        total, found = engine.ok("torch.Tensor.sum", x), []
        for _ in range(2 * RECIPE_STEPS + 9):
            (one,) = engine.go(plan, x)
            total = engine.ok("torch.Tensor.add", total, one)
            found.append((engine.facts(one).recipe, engine.facts(one).form))
        return [*found, engine.facts(total).kind]

    short, long = with_and_without(monkeypatch, run)
    assert short == long


def test_a_command_with_two_results_is_not_taken_for_one_with_one() -> None:
    engine = Planner()
    x = engine.share(torch.ones(8, 3))
    for _ in range(3):
        engine.ok("torch.Tensor.exp", x)
    engine.run("torch.Tensor.exp", x, outs=2)
    assert len(engine.failures()) == 1


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_between_two_steps_is_seen_at_once(
    change: Callable[[Trainer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ("SGD", "Adam")[CHANGES.index(change) % 2]
    short, long = with_and_without(monkeypatch, lambda: story(1, kind, [change]))
    assert short == long


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_a_loader_end_alike_with_and_without_short_ways(
    shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Any]:
        trainer, versions = Trainer("Adam"), dict[int, int]()
        trainer.run("torch.manual_seed", 3, outs=0)
        other = trainer.ok("torch.utils.data.TensorDataset", trainer.other)
        data = trainer.ok("torch.utils.data.TensorDataset", trainer.data)
        found: list[Any] = []
        for dataset, way in ((data, trainer.planned), (data, trainer.eager),
                             (other, trainer.planned)):  # fmt: skip
            loader = trainer.ok(
                "torch.utils.data.DataLoader", dataset, batch_size=4, shuffle=shuffle
            )
            for _ in range(2):
                batches = trainer.ok("python.iter", loader)
                for _ in range(4):
                    batch = trainer.ok("python.next", batches)
                    loss = way(trainer.ok("python.List.__getitem__", batch, 0))
                    found.append(trainer.label(loss))
            found += everything(trainer, versions)
        return found

    short, long = with_and_without(monkeypatch, run)
    assert short == long
    assert ("aggregate", 4, False) in short


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))]
)
def test_random_stories_end_alike_with_and_without_short_ways(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    kind, changes = random.choice([*KINDS]), random.sample(CHANGES, 4)
    short, long = with_and_without(monkeypatch, lambda: story(seed, kind, changes))
    assert short == long
