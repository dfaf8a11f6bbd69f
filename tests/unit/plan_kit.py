"""An engine that is driven by plain calls, with plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duet_p2p.engine import messages
from duet_p2p.engine.replay import Replay
from duet_p2p.engine.score import Score
from duet_p2p.engine.stretch import Stretch
from duet_p2p.wire.messages import DefinePlan, PlanStep, RunClosure, RunPlan
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver


def step(name: str, out: int, *args: Any, mode: str = "g", **kwargs: Any) -> PlanStep:
    return PlanStep(name, (out,) if out else (), args, kwargs, mode)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Of each run that was played: how many commands, and whether to the end."""
    runs: list[tuple[int, bool]] = []
    real, again = Stretch.play, Replay.once

    def play(self: Stretch, *args: Any) -> Any:
        place, call = real(self, *args)
        runs.append((place - self.begin, place == self.end and call is None))
        return place, call

    def once(self: Replay, *args: Any) -> Any:
        halted = again(self, *args)
        runs.append((len(self._stretch.rows), True) if halted is None else (halted[0], False))
        return halted

    monkeypatch.setattr(Stretch, "play", play)
    monkeypatch.setattr(Replay, "once", once)
    return runs


def both_ways(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> tuple[Any, Any]:
    """What a story tells when runs are played, and when none is."""
    short = run()
    with monkeypatch.context() as patch:
        patch.setattr(Score, "play", lambda score, *_: (score.begin, None))
        return short, run()


class Planner(Driver):
    """A driver that also defines and runs plans."""

    def define(
        self,
        *steps: PlanStep,
        inputs: int = 1,
        captures: tuple[Ref, ...] = (),
        outputs: tuple[int, ...] = (),
    ) -> DefinePlan:
        self.next_id += 1
        plan = DefinePlan(
            self.next_id, "test", inputs, tuple(r.id for r in captures), steps, outputs, True
        )
        self.last = self.send(plan)
        return plan

    def go(self, plan: DefinePlan, *inputs: Ref, times: int = 0) -> list[Ref]:
        ids = tuple(range(self.next_id + 1, self.next_id + 1 + len(plan.outputs)))
        self.next_id += len(ids)
        self.last = self.send(RunPlan(plan.plan, tuple(r.id for r in inputs), ids, times))
        return [Ref(id) for id in ids]

    def at_once(self, *commands: Any) -> None:
        """Commands in one message."""
        numbered = list(enumerate(commands, self.seq + 1))
        self.seq += len(commands)
        self.last = self.engine.handle(messages.Run(tuple(numbered)))
        self.events += self.last

    def run_of(self, plan: DefinePlan, *inputs: Ref) -> RunPlan:
        """The next run of a plan, to be sent."""
        ids = tuple(range(self.next_id + 1, self.next_id + 1 + len(plan.outputs)))
        self.next_id += len(ids)
        return RunPlan(plan.plan, tuple(r.id for r in inputs), ids, 0)

    def step_with(self, plan: DefinePlan, optimizer: Ref) -> Ref:
        self.next_id += 1
        self.last = self.send(RunClosure(plan.plan, optimizer.id, self.next_id))
        return Ref(self.next_id)

    def value(self, ref: Ref) -> Any:
        return self.engine.store.get(ref.id).value
