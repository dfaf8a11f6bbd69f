"""An engine that is driven by plain calls, with plans."""

from __future__ import annotations

from typing import Any

from duet_p2p.wire.messages import DefinePlan, PlanStep, RunClosure, RunPlan
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver


def step(name: str, out: int, *args: Any, mode: str = "g", **kwargs: Any) -> PlanStep:
    return PlanStep(name, (out,) if out else (), args, kwargs, mode)


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

    def step_with(self, plan: DefinePlan, optimizer: Ref) -> Ref:
        self.next_id += 1
        self.last = self.send(RunClosure(plan.plan, optimizer.id, self.next_id))
        return Ref(self.next_id)

    def value(self, ref: Ref) -> Any:
        return self.engine.store.get(ref.id).value
