"""Plans that fail on one of two data sets, and what was said about an object before."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, L, M, N, P, Programs, broken, few, weights, whole
from tests.security.neighbour_kit import OPT, F, T, planned

PROGRAMS = Programs()
program = PROGRAMS.program


# plans


def _solving(*more: wire.PlanStep) -> tuple[wire.PlanStep, ...]:
    return (
        wire.PlanStep(L + "solve", (4,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep("torch.sum", (5,), (Ref(4),), {}, "g"),
        *more,
    )


@program
def a_plan_that_fails_run_after_run(p: Any) -> list[Ref]:
    """From some run on it would be played."""
    w = weights(p, 3, 1)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
    steps = _solving(
        wire.PlanStep(T + "backward", (), (Ref(5),), {}, "g"),
        wire.PlanStep(OPT + "step", (), (Ref(3),), {}, "g"),
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
        wire.PlanStep("torch.ones", (6,), ([2],), {}, "g"),
    )
    plan = p.new_id()
    p.send(wire.DefinePlan(plan, "p", 1, (w.id, optimizer.id), steps, (5, 6), True))
    made: list[Ref] = []
    for _ in range(6):
        outs = (p.new_id(), p.new_id())
        p.send(wire.RunPlan(plan, (M.id,), outs, 0))
        made += map(Ref, outs)
    return [*made, w, p.op(T + "grad", w)]


@program
def a_plan_played_until_it_fails(p: Any) -> list[Ref]:
    """The same steps over public matrices first, then over the private one, then public again."""
    w = weights(p, 3, 1)
    plan, eye = p.new_id(), p.op("torch.add", M, p.put(torch.eye(3) * 5))
    steps = (
        wire.PlanStep(L + "solve", (3,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep("torch.sum", (4,), (Ref(3),), {}, "g"),
        wire.PlanStep("torch.rand", (5,), (1,), {}, "g"),
    )
    p.send(wire.DefinePlan(plan, "p", 1, (w.id,), steps, (4, 5), True))
    made: list[Ref] = []
    for matrix in (eye, eye, eye, eye, M, eye, M, M, eye):
        outs = (p.new_id(), p.new_id())
        p.send(wire.RunPlan(plan, (matrix.id,), outs, 0))
        made += map(Ref, outs)
    return made


@program
def a_plan_over_a_list_of_runs_that_fail(p: Any) -> list[Ref]:
    steps = (
        wire.PlanStep("python.Int", (2,), (Ref(1),), {}, "g"),
        wire.PlanStep("python.Int.__divmod__", (3,), (7, Ref(2)), {}, "g"),
        wire.PlanStep("torch.ones", (4,), (2,), {}, "g"),
    )
    made = planned(p, steps, (2, 3, 4), (p.op(T + "__getitem__", M, (2, 2)),), times=3)
    return [*made, *[p.op("python.len", ref) for ref in made]]


@program
def a_training_plan_of_which_one_batch_fails(p: Any) -> list[Ref]:
    """It is played on the other one, before and after."""
    made: list[Ref] = []
    for times in (0, 3):
        w = weights(p, 1, 3)
        optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
        steps = (
            wire.PlanStep(OPT + "zero_grad", (), (Ref(4),), {}, "g"),
            wire.PlanStep(T + "unsqueeze", (5,), (Ref(1), 1), {}, "g"),
            wire.PlanStep("torch.mul", (6,), (Ref(5), Ref(3)), {}, "g"),
            wire.PlanStep(F + "cross_entropy", (7,), (Ref(6), Ref(2)), {}, "g"),
            wire.PlanStep(T + "backward", (), (Ref(7),), {}, "g"),
            wire.PlanStep(OPT + "step", (), (Ref(4),), {}, "g"),
        )
        plan = p.new_id()
        p.send(wire.DefinePlan(plan, "p", 2, (w.id, optimizer.id), steps, (7,), True))
        halves = [
            [p.op(T + "__getitem__", of, slice(start, start + 2)).id for of in (N, C)]
            for start in (0, 2)
        ]
        for half in (0, 0, 0, 0, 1, 1, 0, 0, 1):
            out = p.new_id()
            p.send(wire.RunPlan(plan, tuple(halves[half]), (out,), times))
            made.append(Ref(out))
        made += [w, p.op(T + "grad", w), p.op(OPT + "state_dict", optimizer)]
    return made


# what was said about an object before


@program
def asked_for_again_after_a_write_that_failed(p: Any) -> list[Ref]:
    """What was released is another question once a command could have written to it."""
    made = []
    for name, *more in (("add_", p.op(L + "inv", M)), ("index_fill_", 0, C, 1.0), ("zero_",)):
        own = p.op("torch.mean", p.op("torch.mul", P, p.put(torch.ones(4, 4))))
        p.ask(own)
        p.do(T + name, own, *more)
        made.append(own)
    return made


@program
def noted_listed_and_deleted(p: Any) -> list[Ref]:
    inverse, number = p.op(L + "inv", M), p.op("python.Int", broken(p))
    for ref in (inverse, number):
        p.send(wire.Note(ref.id, ("a",), "mine", True))
    p.send(wire.Note(inverse.id, (), "", False))
    p.send(wire.Del((inverse.id,)))
    return [inverse, number, p.op("torch.mul", inverse, 2.0)]


@program
def results_of_a_failure_by_number(p: Any) -> list[Ref]:
    """Another number of results than there are is a public mistake, whatever failed."""
    return [
        *p.ops(L + "inv", 2, M),
        *p.ops(L + "eigh", 3, M),
        *p.ops("torch.split", 2, N, whole(p)),
        *p.ops("torch.unbind", 3, few(p)),
        *p.ops("torch.std_mean", 2, few(p)),
    ]
