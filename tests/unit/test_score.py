"""A plan's run that is played leaves what it would have left command by command."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.engine import messages
from duet_p2p.engine.fingerprint import fingerprint
from duet_p2p.engine.replay import Replay
from duet_p2p.engine.score import Score
from duet_p2p.engine.stretch import Stretch
from duet_p2p.wire.messages import DefinePlan
from duet_p2p.wire.values import Ref
from tests.unit.plan_kit import Planner, both_ways, played, step
from tests.unit.program_kit import labels, program_story
from tests.unit.test_short_ways import (
    CHANGES,
    KINDS,
    STEP,
    ZERO_GRAD,
    Trainer,
    everything,
    told,
)

__all__ = ["played"]  # a fixture

ROWS = 16


def test_from_the_fifth_step_on_a_recorded_step_is_played(played: list[tuple[int, bool]]) -> None:
    trainer = Trainer("Adam")
    for _ in range(8):
        trainer.planned(trainer.data)
    assert played[-4:] == [(7, True)] * 4


def test_once_a_run_was_like_its_predecessor_no_look_is_taken(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    trainer = Trainer()
    for _ in range(6):
        trainer.planned(trainer.data)
    looks: list[int] = []
    real = Score._look
    monkeypatch.setattr(Score, "_look", lambda *args: looks.append(1) or real(*args))
    before = len(played)
    for _ in range(3):
        trainer.planned(trainer.data)
    assert (looks, len(played) - before) == ([], 3)
    trainer.planned(trainer.other)
    trainer.facts(trainer.weights)
    trainer.planned(trainer.other)
    assert len(looks) == 2


def test_what_a_look_is_spared_for_would_have_been_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal runs leave the same: whenever no look is taken, one would find what was found."""
    spared: list[bool] = []
    real, stand = Score.play, Replay.__init__

    def play(self: Score, seq: int, objects: Any, run: str, frame: Any, *rest: Any) -> Any:
        stretch, lineage = self._stretch, rest[1]
        if self.is_as_left(objects, lineage) and self._is_settled and run == self.run:
            found = self._look(run, frame, lineage)
            assert stretch is not None and found is not None
            spared.append(stretch.finds(found))
        return real(self, seq, objects, run, frame, *rest)

    def stands(self: Replay, stretch: Stretch, found: Any, given: Any, *rest: Any) -> None:
        now = fingerprint([(n, given[n]) for n in found.nodes], found.facts[0], rest[3])
        assert now is not None
        spared.append(stretch.finds(now))
        stand(self, stretch, found, given, *rest)

    monkeypatch.setattr(Score, "play", play)
    monkeypatch.setattr(Replay, "__init__", stands)
    for kind in KINDS:
        trainer = Trainer(kind)
        for _ in range(9):
            trainer.delete(trainer.planned(trainer.data))
    assert spared and all(spared)


def test_quotas_are_asked_before_a_run_is_played() -> None:
    trainer = Trainer()
    for _ in range(7):
        trainer.planned(trainer.data)
    room = len(trainer.engine.store)
    trainer.engine.handle(messages.Configure({"objects": room + 1}, {}, None))
    trainer.planned(trainer.data)
    assert {failed.code for failed in trainer.failures()} == {"QuotaExceeded"}


def test_bytes_count_as_much_as_on_the_ordinary_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[int]:
        trainer, taken = Trainer(), []
        for _ in range(8):
            trainer.planned(trainer.data)
            assert trainer.engine._executor is not None
            taken.append(trainer.engine._executor.admission.room._since)
        return taken

    short, long = both_ways(monkeypatch, run)
    assert short == long


def test_batches_of_a_loader_are_played_and_keep_their_own_rows(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    def run() -> list[Any]:
        trainer, versions, found = Trainer("Adam"), dict[int, int](), list[Any]()
        trainer.run("torch.manual_seed", 3, outs=0)
        per_record = trainer.define(
            step("torch.Tensor.matmul", 3, Ref(1), Ref(2)),
            step("torch.Tensor.exp", 4, Ref(3)),
            step("torch.Tensor.add", 5, Ref(4), Ref(3)),
            step("torch.Tensor.mean", 6, Ref(5)),
            captures=(trainer.weights,), outputs=(4, 5, 6),
        )  # fmt: skip
        for source in (trainer.data, trainer.other):
            dataset = trainer.ok("torch.utils.data.TensorDataset", source)
            loader = trainer.ok(
                "torch.utils.data.DataLoader", dataset, batch_size=2, shuffle=source is trainer.data
            )
            for _ in range(2):
                batches = trainer.ok("python.iter", loader)
                for _ in range(8):
                    batch = trainer.ok("python.next", batches)
                    x = trainer.ok("python.List.__getitem__", batch, 0)
                    loss = trainer.planned(x)
                    rows = trainer.go(per_record, x)
                    found.append([trainer.label(ref) for ref in (loss, *rows)])
                    total = trainer.ok("torch.Tensor.sub", rows[2], loss)
                    found.append(trainer.label(total))
            found += [labels(trainer), everything(trainer, versions)]
        return found

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert len(played) > 16 and all(is_whole for _, is_whole in played)


def failing(engine: Planner) -> tuple[DefinePlan, Ref]:
    """Weights that grow choose classes: after some steps one is out of range, and that raises."""
    data = engine.share(torch.rand(ROWS, 3))
    weights = engine.put(torch.full((3,), 0.2, requires_grad=True))
    held = engine.ok("python.List", [])
    engine.run("python.List.append", held, weights, outs=0)
    optimizer = engine.ok("torch.optim.SGD", held, lr=0.9)
    plan = engine.define(
        step(ZERO_GRAD, 0, Ref(2)),
        step("torch.Tensor.mul", 4, Ref(1), Ref(3)),
        step("torch.Tensor.mean", 5, Ref(4)),
        step("torch.Tensor.neg", 6, Ref(5)),
        step("torch.Tensor.sum", 7, Ref(4), 1),
        step("torch.Tensor.long", 8, Ref(7)),
        step("torch.nn.functional.log_softmax", 9, Ref(4), dim=1),
        step("torch.nn.functional.nll_loss", 10, Ref(9), Ref(8)),
        step("torch.Tensor.backward", 0, Ref(6)),
        step(STEP, 0, Ref(2)),
        step("torch.Tensor.square", 11, Ref(10)),
        captures=(optimizer, weights),
        outputs=(5, 10, 11),
    )
    return plan, data


def gone_wrong(engine: Planner) -> list[Any]:
    engine.engine.lineage._key = bytes(16)
    plan, data = failing(engine)
    found: list[Any] = []
    for _ in range(14):
        before = len(engine.events)
        results = engine.go(plan, data)
        found.append([repr(event) for event in engine.events[before:]])
        found.append(labels(engine))
        found += [repr(engine.facts(result)).partition("version")[0] for result in results]
        found.append(engine.facts(results[1]).failed)
    return found


def test_a_call_that_raises_while_it_is_played_fails_as_ever(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    torch.manual_seed(0)
    short = gone_wrong(Planner())
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(Score, "play", lambda score, *_: (score.begin, None))
        long = gone_wrong(Planner())
    assert short == long
    assert any(is_whole for _, is_whole in played)
    assert not all(is_whole for _, is_whole in played)


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]
)
def test_random_programs_end_alike_whether_they_are_played_or_not(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = both_ways(monkeypatch, lambda: program_story(seed))
    assert short == long


def test_random_programs_are_played(played: list[tuple[int, bool]]) -> None:
    for seed in range(3):
        program_story(seed)
    assert len(played) > 10


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_between_two_runs_is_seen_at_once(
    change: Callable[[Trainer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Any]:
        trainer, versions = Trainer(("SGD", "Adam")[CHANGES.index(change) % 2]), dict[int, int]()
        found: list[Any] = []
        for _ in range(6):
            found.append(told(trainer, lambda t: t.planned(t.data)))
        found.append(told(trainer, change))
        for _ in range(2):
            found.append(told(trainer, lambda t: t.planned(t.data)))
            found.append(labels(trainer))
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long


def test_a_plan_that_was_played_keeps_nothing_alive_that_was_deleted() -> None:
    trainer = Trainer("Adam")
    losses = [trainer.planned(trainer.data) for _ in range(8)]
    kept = [weakref.ref(trainer.value(ref)) for ref in (*trainer.parameters, *losses)]
    state = next(iter(trainer.value(trainer.optimizer).state.values()))
    kept += [weakref.ref(value) for value in state.values()]
    del state
    trainer.delete(trainer.optimizer, *losses, *trainer.parameters, Ref(3))
    for _ in range(4):  # each gives back one level of containers in containers
        trainer.engine.lineage.sweep()
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)


def test_a_name_that_writes_to_the_owners_object_is_caught_while_it_is_played(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    def run() -> list[Any]:
        trainer, is_bad = Trainer(), list[bool]()
        call = trainer.engine._plans.find(trainer.plan.plan).calls[1]
        real = call.function

        def bad(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            if is_bad:
                args[0].detach().add_(1.0)
            return result

        call.function = bad
        for _ in range(7):
            trainer.planned(trainer.data)
        is_bad.append(True)
        found = told(trainer, lambda t: t.planned(t.data))
        return [found, labels(trainer), trainer.facts(trainer.data).failed]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert "wrote to an owner's object" in short[2]
    assert played[-1] == (1, False)


def test_many_runs_of_one_message_end_alike(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    def run() -> list[Any]:
        trainer, versions, found = Trainer("RMSprop"), dict[int, int](), list[Any]()
        for times in (5, 4, 1, 3):
            (losses,) = trainer.go(trainer.plan, trainer.data, times=times)
            found += [labels(trainer), trainer.facts(losses).plan_runs]
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert sum(is_whole for _, is_whole in played) >= 8


def test_a_step_that_moves_a_parameter_is_seen_at_the_end_of_a_run(
    monkeypatch: pytest.MonkeyPatch, played: list[tuple[int, bool]]
) -> None:
    moves: list[bool] = []
    real = torch.optim.SGD.step

    def moving(self: torch.optim.SGD) -> None:
        real(self)
        if moves:
            parameter = self.param_groups[0]["params"][0]
            parameter.data = parameter.data.clone()

    monkeypatch.setattr(torch.optim.SGD, "step", moving)

    def run() -> list[Any]:
        trainer, versions, found = Trainer("SGD"), dict[int, int](), list[Any]()
        for number in range(12):
            moves[:] = [True] * (number == 7)
            found.append(told(trainer, lambda t: t.planned(t.data)))
            found.append(labels(trainer))
        moves.clear()
        return [*found, *everything(trainer, versions)]

    short, long = both_ways(monkeypatch, run)
    assert short == long
    assert len(played) > 5


def test_a_new_pass_is_learnt_anew_and_cuts_nothing(played: list[tuple[int, bool]]) -> None:
    trainer = Trainer("SGD")
    dataset = trainer.ok("torch.utils.data.TensorDataset", trainer.data)
    loader = trainer.ok("torch.utils.data.DataLoader", dataset, batch_size=4)
    for _ in range(9):
        batches = trainer.ok("python.iter", loader)
        for _ in range(4):
            batch = trainer.ok("python.next", batches)
            trainer.planned(trainer.ok("python.List.__getitem__", batch, 0))
    assert played[-2:] == [(7, True)] * 2
