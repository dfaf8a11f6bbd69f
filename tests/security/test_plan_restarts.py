"""Plans over the death of an engine: what was allowed, counted, defined in part or half run.

By a partner who makes frames by hand. Each engine counts its runs from 1, and has none of the plans
of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from duet_p2p.errors import RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security import test_neighbour_deaths
from tests.security.raw_peer import RawPeer, of_process, waiting, waits
from tests.security.test_neighbour_deaths import FOR_EVER, kill_in
from tests.security.test_plan_rules import define, run, step

pytestmark = pytest.mark.slow

X = Ref(-1)
MEAN = step("torch.mean", 2, Ref(1))
LARGEST = step("torch.amax", 2, Ref(1))
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    with of_process({"x": torch.arange(20.0)}) as made:
        yield made


def after(duet: OwnerDuet, raw: RawPeer) -> None:
    """The next engine is up, and the scientist may go on."""
    before = len(raw.told(wire.StoreSnapshot))
    if raw.told(wire.Suspended):
        raw.wait(lambda: duet.status()["engine"]["pid"])
        duet.resume()
    raw.wait(lambda: len(raw.told(wire.StoreSnapshot)) > before)


def restarted(duet: OwnerDuet, raw: RawPeer) -> None:
    raw.wait_for_end()
    test_neighbour_deaths.restarted(duet, raw)


def mean_of(raw: RawPeer, id: int = 0) -> int:
    return define(raw, MEAN, outputs=(2,), id=id)


def allow(duet: OwnerDuet, raw: RawPeer, max_runs: int) -> int:
    """A plan whose mean leaves in so many runs; none has run."""
    plan = mean_of(raw)
    raw.wait(lambda: len(duet.plans) == 1)
    duet.requests.allow_plan(duet.plans[0].digest, outputs=[0], max_runs=max_runs, sources=["x"])
    return plan


def asked(raw: RawPeer, plan: int) -> str:
    return raw.ask(*run(raw, plan, X))


def test_runs_of_all_engines_together_are_those_that_were_allowed(session: Session) -> None:
    duet, raw = session
    plan = allow(duet, raw, 3)
    assert asked(raw, plan) == "Value"
    for _ in range(2):
        restarted(duet, raw)
        mean_of(raw, plan)
        assert asked(raw, plan) == "Value"
    assert asked(raw, plan) == "Expired"


def test_an_old_id_of_an_allowed_plan_is_no_plan_of_the_next_engine(session: Session) -> None:
    duet, raw = session
    plan = allow(duet, raw, 10)
    assert asked(raw, plan) == "Value"
    restarted(duet, raw)
    assert duet.plans[0].is_deleted
    (out,) = run(raw, plan, X)
    assert isinstance(raw.get(out), wire.Failed)
    define(raw, LARGEST, outputs=(2,), id=plan)
    assert waits(duet, raw, *run(raw, plan, X))


@pytest.mark.parametrize("last", ["the mean", "the largest", "nothing"])
def test_parts_of_a_plan_before_and_after_a_death_are_no_plan(session: Session, last: str) -> None:
    """The book of the owner's process and the engine have to forget the same parts."""
    duet, raw = session
    allow(duet, raw, 10)
    plan, known = raw.new_id(), len(duet.plans)
    raw.send(wire.DefinePlan(plan, "", 0, (), (MEAN,), (), False))
    restarted(duet, raw)
    steps = {"the mean": (MEAN,), "the largest": (LARGEST,), "nothing": ()}[last]
    raw.send(wire.DefinePlan(plan, "", 1, (), steps, (2,), True))
    answer = raw.ask(*run(raw, plan, X))
    whole = {"the mean": "Value", "the largest": "Expired", "nothing": "Failed"}
    assert answer == whole[last]  # what came after it, and nothing else
    assert len(duet.plans) - known == (last != "nothing")
    if last == "the largest":
        assert list(duet.plans)[-1].digest != duet.plans[0].digest


def test_a_run_that_an_engine_dies_in_gives_nothing_and_no_result_id_is_accepted(
    session: Session,
) -> None:
    duet, raw = session
    forever = step("torch.linalg.matrix_power", 3, Ref(2), FOR_EVER)
    square = step("torch.Tensor.expand", 2, Ref(1), 20, 20)
    long = define(
        raw, square, forever, step("torch.mean", 4, Ref(3)), step("torch.mean", 5, Ref(1)),
        outputs=(4, 5),
    )  # fmt: skip
    raw.wait(lambda: len(duet.plans) == 1)
    digest = duet.plans[0].digest
    handler = duet.requests.allow_plan(digest, outputs=[0, 1], max_runs=5, sources=["x"])
    outs = run(raw, long, X, outs=2)
    calls = [raw.request(out) for out in outs]
    kill_in(duet, raw, "torch.linalg.matrix_power")
    raw.wait(lambda: raw.told(wire.Suspended))
    after(duet, raw)
    assert not raw.told(wire.Value) and handler.conditions.plan.runs == 0
    for out in outs:  # the same ids, of something else
        raw.send(wire.Op("torch.Tensor.clone", (out.id,), (X,), {}, "g"))
    assert [raw.ask(out) for out in outs] == ["Expired", "Expired"]
    for call, out in zip(calls, outs, strict=True):  # and the same calls
        raw.send(wire.Request(call, out.id, "", "", 0.0))
    raw.wait_for_end()
    assert not raw.told(wire.Value) and not len(duet.requests)


def test_a_listed_output_of_a_plan_is_not_accepted_of_the_next_engine(session: Session) -> None:
    duet, raw = session
    plan = mean_of(raw)
    (out,) = run(raw, plan, X)
    request = waiting(duet, raw, out, "mean")
    restarted(duet, raw)
    define(raw, LARGEST, outputs=(2,), id=plan)
    raw.send(wire.RunPlan(plan, (X.id,), (out.id,), 0))
    for decide in (request.accept, lambda: request.accept(always=True), request.deny):
        with pytest.raises(RequestClosed):
            decide()
    assert waits(duet, raw, out)


def test_what_was_accepted_always_of_a_plan_is_that_plan_in_the_next_engine(
    session: Session,
) -> None:
    duet, raw = session
    plan = mean_of(raw)
    request = waiting(duet, raw, *run(raw, plan, X), "mean")
    request.accept(always=True)
    raw.answer(request.call)
    restarted(duet, raw)
    define(raw, LARGEST, outputs=(2,), id=plan)
    assert raw.ask(*run(raw, plan, X), "mean") == "Expired"
    assert asked(raw, mean_of(raw)) == "Value"
    part = raw.op("torch.Tensor.narrow", X, 0, 0, 11)
    assert raw.ask(*run(raw, mean_of(raw), part), "mean") == "Expired"
