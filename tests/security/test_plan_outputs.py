"""Attacks on an allowed plan by the outputs that the owner did not see when it was allowed."""

from collections.abc import Callable

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, waits
from tests.security.rules_kit import TABLE, Session, session
from tests.security.test_plan_rules import F, T, define, ones, run, step

__all__ = ["session"]


def plan_of_two(raw: RawPeer, weight: Ref) -> int:
    """Mean and sum of what a weight makes of a table."""
    layer = step(F + "linear", 3, Ref(1), Ref(2))
    means = step("torch.mean", 4, Ref(3)), step("torch.sum", 5, Ref(3))
    return define(raw, layer, *means, captures=(weight,), outputs=(4, 5))


def allowed(duet: OwnerDuet, raw: RawPeer, plan: int) -> None:
    """The owner allows both outputs when one of them waits."""
    mean, _ = run(raw, plan, TABLE, outs=2)
    raw.request(mean)
    raw.wait(lambda: len(duet.requests.requests) == 1)
    duet.requests.allow_plan(duet.plans[0].digest, outputs=[0, 1], max_runs=50)


def _trained(raw: RawPeer, weight: Ref) -> None:
    raw.do(T + "requires_grad=", weight, True)
    optimizer = raw.op("torch.optim.SGD", [weight], lr=0.5)
    raw.do(T + "backward", raw.op("torch.mean", raw.op(F + "linear", TABLE, weight)))
    raw.do("torch.optim.Optimizer.step", optimizer)


WRITTEN: dict[str, Callable[[RawPeer, Ref], object]] = {
    "written over": lambda raw, weight: raw.do(T + "copy_", weight, raw.put(torch.eye(2, 3))),
    "trained elsewhere": _trained,
}


@pytest.mark.parametrize("way", WRITTEN)
def test_an_output_that_nobody_saw_is_of_runs_that_were_given_the_same(
    session: Session, way: str
) -> None:
    """Each bound itself, so the second was of any weights, and so was each as a list."""
    duet, raw = session
    weight = ones(raw)
    plan = plan_of_two(raw, weight)
    allowed(duet, raw, plan)
    WRITTEN[way](raw, weight)
    waits(duet, raw, run(raw, plan, TABLE, outs=2)[1])
    for output in run(raw, plan, TABLE, outs=2, times=2):
        waits(duet, raw, output)


def test_all_outputs_of_the_runs_that_were_allowed_leave(session: Session) -> None:
    duet, raw = session
    plan = plan_of_two(raw, ones(raw))
    allowed(duet, raw, plan)
    for outputs in (run(raw, plan, TABLE, outs=2), run(raw, plan, TABLE, outs=2, times=3)):
        assert [raw.ask(output) for output in outputs] == ["Value", "Value"]
