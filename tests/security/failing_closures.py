"""Steps with a closure in which something fails, before or behind its backward, in one data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import L, M, N, Program, Programs, few, last, weights, whole
from tests.security.neighbour_kit import OPT, T

PROGRAMS = Programs()
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1},
    "SGD with a momentum": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"lr": 0.1},
    "LBFGS": {"lr": 0.5, "max_iter": 3},
}
Steps = tuple[wire.PlanStep, ...]


def step(name: str, out: int | None, *args: Any) -> wire.PlanStep:
    return wire.PlanStep(name, () if out is None else (out,), args, {}, "g")


W, GIVEN, OPTIMIZER, OWN = Ref(1), Ref(2), Ref(3), Ref(4)  # what each closure captures
ZERO = step(OPT + "zero_grad", None, OPTIMIZER)
LOSS = (step("torch.square", 20, W), step("torch.sum", 21, Ref(20)))  # of own numbers only
BACK = step(T + "backward", None, Ref(21))
SOLVED = (step(L + "solve", 5, GIVEN, W), step("torch.sum", 21, Ref(5)))
PLACED = (step("python.List.__getitem__", 5, OWN, GIVEN), step("torch.mul", 6, W, Ref(5)),
          step("torch.sum", 21, Ref(6)))  # fmt: skip
CUT = (step("torch.mul", 5, W, GIVEN), step("torch.sum", 21, Ref(5)))
TIMES = (step("torch.mul", 6, W, GIVEN), step("torch.sum", 21, Ref(6)))
CHOSEN = (step("torch.masked_select", 21, W, GIVEN),)
OTHER_BACK = (step("torch.square", 22, W), step("torch.sum", 23, Ref(22)),
              step(T + "backward", None, Ref(23)))  # fmt: skip


def chosen(p: Any) -> Ref:
    """One of three, or none."""
    return p.op(T + "__gt__", p.op(T + "__getitem__", N, slice(1, 4)), 3.5)


def matrix(p: Any) -> Ref:
    return M


def numbers(p: Any) -> Ref:
    return p.op(T + "__getitem__", N, slice(0, 3))


CASES: dict[str, tuple[Steps, Callable[[Any], Ref]]] = {
    "a_loss_that_something_stands_in_for": ((ZERO, *SOLVED, BACK), matrix),
    "one_that_nothing_stands_in_for": ((ZERO, *PLACED, BACK), whole),
    "one_of_a_hidden_length": ((ZERO, *CUT, BACK), few),
    "gradients_that_are_dropped_behind_it": ((*SOLVED, ZERO, BACK), matrix),
    "gradients_that_are_kept": ((*SOLVED, BACK), matrix),
    "gradients_that_are_kept_of_what_is_missing": ((*PLACED, BACK), whole),
    "gradients_that_are_kept_of_a_hidden_length": ((*CUT, BACK), few),
    "what_fails_behind_the_backward": ((ZERO, *LOSS, BACK, step(L + "inv", 7, GIVEN)), matrix),
    "what_fails_before_another_loss": ((ZERO, step(L + "inv", 7, GIVEN), *LOSS, BACK), matrix),
    "a_loss_with_no_backward": ((ZERO, *SOLVED), matrix),
    "a_missing_loss_with_no_backward": ((ZERO, *PLACED), whole),
    "a_hidden_loss_with_no_backward": ((*CUT,), few),
    "a_loss_of_one_number_or_none": ((ZERO, *CHOSEN, BACK), chosen),
    "one_beside_another_with_a_backward": ((ZERO, *CHOSEN, *OTHER_BACK), chosen),
    "one_with_no_backward": (CHOSEN, chosen),
    "private_numbers_and_no_failure_by_them": ((ZERO, *TIMES, BACK), numbers),
}


def made_for(kind: str, case: str, *, has_gradient: bool) -> Program:
    """Weights that are looked at in every way before and behind the step."""
    steps, given = CASES[case]

    def program(p: Any) -> list[Ref]:
        w, own = weights(p, 3), p.op("python.collect", *[p.put(torch.ones(3)) for _ in "ab"])
        optimizer = p.op("torch.optim." + kind.split()[0], [w], **OPTIMIZERS[kind])
        if has_gradient:
            p.do(T + "backward", p.op("torch.sum", p.op("torch.mul", w, 3.0)))
        chosen = given(p)
        old = p.op("torch.sum", p.op("torch.square", w))
        views = p.ops("torch.split", 3, w, 1)
        known = [w, optimizer, views[2], old, p.op(T + "grad", w)]
        for ref in known:
            p.ask(ref)
        plan, out = p.new_id(), p.new_id()
        captures = (w.id, chosen.id, optimizer.id, own.id)
        numbered = renumbered(steps, 5)
        p.send(wire.DefinePlan(plan, "p", 0, captures, *numbered, True))
        p.send(wire.RunClosure(plan, optimizer.id, out))
        for ref in known:
            p.ask(ref)
        seen = p.op("torch.sum", views[0])
        p.do(T + "backward", old)
        state = p.op(OPT + "state_dict", optimizer)
        inner = p.op("python.Dict.__getitem__", state, "state")
        return [Ref(out), w, seen, views[1], old, p.op(T + "grad", w), optimizer, state, inner,
                p.op("python.len", inner), last(p, N)]  # fmt: skip

    return program


def renumbered(steps: Steps, first: int) -> tuple[Steps, tuple[int, ...]]:
    """The same with results that are numbered one after the other, and its output."""
    places: dict[int, int] = {}
    made: list[wire.PlanStep] = []
    for part in steps:
        args = tuple(Ref(places.get(a.id, a.id)) if isinstance(a, Ref) else a for a in part.args)
        for out in part.outs:
            places[out] = first + len(places)
        made.append(wire.PlanStep(part.name, tuple(places[o] for o in part.outs), args, {}, "g"))
    return tuple(made), (places[21],)


for kind in OPTIMIZERS:
    for case in CASES:
        PROGRAMS[f"{kind}_{case}"] = made_for(kind, case, has_gradient=False)
        PROGRAMS[f"{kind}_{case}_with_a_gradient"] = made_for(kind, case, has_gradient=True)
