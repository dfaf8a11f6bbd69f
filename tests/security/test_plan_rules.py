"""Attacks on what an owner allowed of a plan or accepted always: other commands, data, counts."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.engine import plans as engine_plans
from duet_p2p.owner import plans as owner_plans
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.surface.plan import digest_of
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, waits
from tests.security.rules_kit import CLASSES, TABLE, Session, X, session

__all__ = ["session"]

T, F, DATA = "torch.Tensor.", "torch.nn.functional.", "torch.utils.data."


def step(name: str, out: int, *args: Any, **kwargs: Any) -> wire.PlanStep:
    return wire.PlanStep(name, (out,) if out else (), args, kwargs, "g")


def define(
    raw: RawPeer, *steps: wire.PlanStep, inputs: int = 1, captures: tuple[Ref, ...] = (),
    outputs: tuple[int, ...] = (3,), id: int = 0, name: str = "loss",
) -> int:  # fmt: skip
    plan = id or raw.new_id()
    known = tuple(ref.id for ref in captures)
    raw.send(wire.DefinePlan(plan, name, inputs, known, steps, outputs, True))
    return plan


def run(raw: RawPeer, plan: int, *inputs: Ref, times: int = 0, outs: int = 1) -> list[Ref]:
    made = tuple(raw.new_id() for _ in range(outs))
    raw.send(wire.RunPlan(plan, tuple(ref.id for ref in inputs), made, times))
    return [Ref(id) for id in made]


def weighted(raw: RawPeer, weight: Ref, **settings: Any) -> int:
    """The mean over a table of what a captured weight makes of it."""
    layer = step(F + "linear", 3, Ref(1), Ref(2))
    return define(raw, layer, step("torch.mean", 4, Ref(3)), captures=(weight,), outputs=(4,))


def ones(raw: RawPeer) -> Ref:
    return raw.put(torch.ones(2, 3))


def allowed(duet: OwnerDuet, raw: RawPeer, output: Ref, **terms: Any) -> Any:
    """Has the owner allow the plan of an output that waits; the output leaves by it."""
    call = raw.request(output)
    raw.wait(lambda: len(duet.requests.requests) == 1)
    digest = list(duet.plans)[-1].digest
    handler = duet.requests.allow_plan(digest, outputs=[0], **{"max_runs": 10, **terms})
    assert isinstance(raw.answer(call), wire.Value)
    return handler


# other commands


def test_a_plan_of_the_same_name_or_id_is_another_plan(session: Session) -> None:
    duet, raw = session
    honest = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    allowed(duet, raw, *run(raw, honest, X))
    leak = step("torch.amax", 2, Ref(1))
    other = define(raw, leak, outputs=(2,))
    define(raw, leak, outputs=(2,), id=honest)  # refused: it is there
    assert raw.ask(*run(raw, honest, X)) == "Value"
    waits(duet, raw, *run(raw, other, X))
    raw.send(wire.Del((honest,)))
    define(raw, leak, outputs=(2,), id=honest)
    waits(duet, raw, *run(raw, honest, X))
    mean, largest = step("torch.mean", 2, Ref(1)), step("torch.amax", 3, Ref(1))
    two = define(raw, mean, largest, outputs=(3,))
    waits(duet, raw, *run(raw, two, X))


def test_what_is_put_in_an_outputs_place_waits(session: Session) -> None:
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    allowed(duet, raw, *run(raw, plan, X))
    (out,) = run(raw, plan, X)
    for name, *args in (("copy_", raw.op(T + "__getitem__", X, 7)), ("mul_", 2.0)):
        raw.do(T + name, out, *args)
        waits(duet, raw, out)
    (whole,) = run(raw, plan, X)
    raw.do(T + "data=", whole, raw.op(T + "__getitem__", X, 7))
    waits(duet, raw, whole)


def test_a_listing_shows_what_is_written_by_a_keyword_too(session: Session) -> None:
    """It showed ``x1.data =`` and nothing behind it."""
    duet, raw = session
    written = wire.PlanStep(T + "data=", (), (Ref(1),), {"value": Ref(2)}, "g")
    define(raw, written, step("torch.mean", 3, Ref(1)), inputs=2)
    raw.wait(lambda: len(duet.plans) == 1)
    assert "value=x2" in duet.plans[0].listing()


def part(plan: int, *steps: wire.PlanStep) -> wire.DefinePlan:
    return wire.DefinePlan(plan, "", 0, (), steps, (), False)


def test_a_plan_in_very_many_parts_is_read_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each part all of them were written down again, on the owner's loop: 10**9 times."""
    _, raw = session
    written: list[Any] = []

    def encoded(message: Any) -> bytes:
        written.append(message)
        return encode_message(message)

    monkeypatch.setattr(owner_plans, "encode_message", encoded)
    monkeypatch.setattr(engine_plans, "encode_message", encoded)
    plan, most = raw.new_id(), 700
    raw.send(*[part(plan, step("torch.ones", n, 2)) for n in range(1, most)])
    raw.send(wire.DefinePlan(plan, "", 0, (), (step("torch.ones", most, 2),), (most,), True))
    assert isinstance(raw.get(*run(raw, plan)), wire.Value)
    assert len(written) == 2 * most  # by the owner, and by the engine


def test_parts_of_a_plan_that_bring_nothing_are_kept_by_nobody(session: Session) -> None:
    duet, raw = session
    raw.send(*[part(raw.new_id()) for _ in range(500)])
    raw.wait_for_end()
    assert duet._service.plans._parts == []
    assert len(raw.told(wire.Fail)) == 500


# other data and state


def _trained_elsewhere(p: RawPeer, weight: Ref) -> tuple[int, Ref]:
    p.do(T + "requires_grad=", weight, True)
    optimizer = p.op("torch.optim.SGD", [weight], lr=0.5)
    loss = p.op("torch.mean", p.op(F + "linear", TABLE, weight))
    p.do(T + "backward", loss)
    p.do("torch.optim.Optimizer.step", optimizer)
    return weighted(p, weight), TABLE


def _sliced(p: RawPeer, start: int) -> Ref:
    return p.op(T + "__getitem__", TABLE, slice(start, None))


SWAPS: dict[str, Callable[[RawPeer, Ref, int], tuple[int, Ref]]] = {
    "a part of the records": lambda p, w, plan: (plan, _sliced(p, 1)),
    "records behind a mask": lambda p, w, plan: (plan, p.op(
        "torch.mul", TABLE, p.put((torch.arange(64.0) == 5).float().view(64, 1)))),
    "records that were shuffled": lambda p, w, plan: (plan, p.op(T + "flip", TABLE, [0])),
    "another object": lambda p, w, plan: (plan, p.op(
        T + "expand", p.op(T + "view", X, 64, 1), 64, 3)),
    "an object of one's own": lambda p, w, plan: (plan, p.op(
        "torch.add", p.put(torch.zeros(64, 3)), p.op(T + "__getitem__", X, 5))),
    "other weights": lambda p, w, plan: (weighted(p, p.put(torch.eye(2, 3))), TABLE),
    "weights that were written over": lambda p, w, plan: (
        (p.do(T + "fill_", w, 3.0), plan)[1], TABLE),
    "weights that values were written into": lambda p, w, plan: (
        (p.do(T + "copy_", w, p.op(T + "__getitem__", TABLE, slice(0, 2))), plan)[1], TABLE),
    "weights that were trained elsewhere": lambda p, w, plan: _trained_elsewhere(p, w),
    "batches of a loader": lambda p, w, plan: (plan, p.op("python.List.__getitem__", p.op(
        "python.next", p.op("python.iter", p.op(
            DATA + "DataLoader", p.op(DATA + "TensorDataset", TABLE), batch_size=16))), 0)),
}  # fmt: skip


@pytest.mark.parametrize("swap", SWAPS)
def test_an_allowed_plan_takes_no_other_data_or_state(session: Session, swap: str) -> None:
    duet, raw = session
    weight = ones(raw)
    plan = weighted(raw, weight)
    allowed(duet, raw, *run(raw, plan, TABLE))
    assert raw.ask(*run(raw, plan, TABLE)) == "Value"  # the control
    other, data = SWAPS[swap](raw, weight, plan)
    waits(duet, raw, *run(raw, other, data))


@pytest.mark.parametrize("swap", SWAPS)
def test_a_value_that_is_accepted_always_has_no_other_data_or_state(
    session: Session, swap: str
) -> None:
    """The same without a plan: commands one by one."""
    duet, raw = session
    weight = ones(raw)
    plan = weighted(raw, weight)

    def mean(data: Ref, layer: Ref) -> Ref:
        return raw.op("torch.mean", raw.op(F + "linear", data, layer))

    raw.request(mean(TABLE, weight))
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept(always=True)
    assert raw.ask(mean(TABLE, weight)) == "Value"  # the control
    if swap == "other weights":
        data, weight = TABLE, raw.put(torch.eye(2, 3))
    else:
        _, data = SWAPS[swap](raw, weight, plan)
    waits(duet, raw, mean(data, weight))


def loader(raw: RawPeer, **settings: Any) -> Ref:
    given = {"batch_size": 16, "shuffle": True, **settings}
    return raw.op(DATA + "DataLoader", raw.op(DATA + "TensorDataset", TABLE), **given)


def first_mean(raw: RawPeer, of: Ref) -> Ref:
    batch = raw.op("python.next", raw.op("python.iter", of))
    return raw.op("torch.mean", raw.op("python.List.__getitem__", batch, 0))


@pytest.mark.parametrize("other", [{"batch_size": 32}, {"shuffle": False}, {"drop_last": True}])
def test_always_takes_no_other_loader_or_seed(session: Session, other: dict[str, Any]) -> None:
    duet, raw = session
    raw.do("torch.manual_seed", 1)
    raw.request(first_mean(raw, loader(raw)))
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept(always=True)
    assert raw.ask(first_mean(raw, loader(raw))) == "Value"
    waits(duet, raw, first_mean(raw, loader(raw, **other)))
    raw.do("torch.manual_seed", 2)
    waits(duet, raw, first_mean(raw, loader(raw)))


# counts


def test_runs_that_race_for_the_last_one(session: Session) -> None:
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    allowed(duet, raw, *run(raw, plan, X), max_runs=3)
    outs = [raw.new_id() for _ in range(8)]
    calls = [next(raw.calls) for _ in outs]
    raw.send(
        *[wire.RunPlan(plan, (X.id,), (out,), 0) for out in outs],
        *[wire.Request(call, out, "", "", 0.0) for call, out in zip(calls, outs, strict=True)],
    )
    answers = [type(raw.answer(call)).__name__ for call in calls]
    assert answers.count("Value") == 2


@pytest.mark.parametrize(("times", "outcome"), [(2, "Value"), (3, "Expired")])
def test_many_runs_in_one_message_are_many_runs(session: Session, times: int, outcome: str) -> None:
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    allowed(duet, raw, *run(raw, plan, X), max_runs=3)
    assert raw.ask(*run(raw, plan, X, times=times)) == outcome


def test_failed_runs_use_up_what_was_allowed(session: Session) -> None:
    """That an allowed output does not come tells that it failed."""
    duet, raw = session
    logits = step(F + "linear", 4, Ref(1), Ref(3))
    loss = step(F + "cross_entropy", 5, Ref(4), Ref(2))
    plan = define(raw, logits, loss, inputs=3, outputs=(5,))
    raw.wait(lambda: len(duet.plans) == 1)
    digest = duet.plans[0].digest
    rule = duet.requests.allow_plan(digest, outputs=[0], max_runs=2, sources=["table", "classes"])
    assert "sources=['classes', 'table']" in repr(rule)
    good, bad = (raw.put(torch.rand(classes, 3)) for classes in (3, 2))
    asked = [raw.ask(*run(raw, plan, TABLE, CLASSES, w)) for w in (bad, good, good)]
    assert asked == ["Expired", "Value", "Expired"]


def test_a_plan_that_still_runs_is_not_called_given_up(session: Session) -> None:
    """The engine refuses a deletion of an owner's object whole, and the lists took half of it."""
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    listed = raw.new_id()
    raw.send(wire.Put((listed,), (1,), None, ("mine",), "", True))
    raw.send(wire.Del((plan, listed, X.id)))
    allowed(duet, raw, *run(raw, plan, X), max_runs=2)
    assert not duet.plans[0].is_deleted and duet.plans[0].runs == 1
    assert "mine" in duet.store
    raw.send(wire.Del((plan, listed)))
    raw.wait(lambda: duet.plans[0].is_deleted and "mine" not in duet.store)
    assert isinstance(raw.get(*run(raw, plan, X)), wire.Failed)


def alike() -> tuple[wire.PlanStep, wire.PlanStep]:
    """A mean and a largest number whose plans have digests that begin alike; found in a second."""
    known: dict[str, wire.PlanStep] = {}
    for number in itertools.count():
        for name in ("torch.mean", "torch.amax"):
            made = step(name, 2, Ref(1), number)
            digest = digest_of(wire.DefinePlan(1, "", 1, (), (made,), (2,), True))[:6]
            other = known.setdefault(digest, made)
            if other.name != name:
                return (made, other) if name == "torch.mean" else (other, made)
    raise AssertionError("never")


@pytest.mark.parametrize("show", [repr, list, lambda plans: plans[0]])
def test_the_beginning_of_a_digest_is_no_plan_that_came_in_the_place_of_the_shown_one(
    session: Session, show: Callable[[Any], Any]
) -> None:
    duet, raw = session
    harmless, other = alike()
    plan = define(raw, harmless, outputs=(2,))
    raw.wait(lambda: len(duet.plans) == 1)
    show(duet.plans)
    shown = duet.plans._book.all()[0]
    key = shown.digest[:6]
    raw.send(wire.Del((plan,)))
    define(raw, other, outputs=(2,), id=plan)
    raw.wait(lambda: duet.plans._book.all()[0].digest != shown.digest)
    with pytest.raises(KeyError, match="say all of it"):
        duet.plans[key]
    with pytest.raises(KeyError, match="no plan has"):
        duet.plans[shown.digest]
    (now,) = list(duet.plans)
    assert duet.plans[now.digest] is now and "amax" in now.listing()
