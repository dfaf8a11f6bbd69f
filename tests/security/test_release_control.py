"""Attacks on the owner's rules: a swap between reading and allowing, and words of nonsense."""

from typing import Any

import pytest

from duet_p2p.errors import NotAllowed
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import waiting
from tests.security.rules_kit import TABLE, Session, X, session
from tests.security.test_plan_rules import define, run, step

__all__ = ["session"]


def test_a_plan_is_allowed_over_the_data_that_the_owner_saw(session: Session) -> None:
    """Its only output that waits is taken back, and asked for over other data."""
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    seen = raw.request(*run(raw, plan, X))
    raw.wait(lambda: len(duet.requests.requests) == 1)
    digest = duet.plans[0].digest
    other = raw.request(*run(raw, plan, TABLE))
    raw.wait(lambda: len(duet.requests) == 2)
    raw.send(wire.Withdraw(seen))
    raw.wait(lambda: len(duet.requests) == 1)
    with pytest.raises(NotAllowed, match="that you have seen"):
        duet.requests.allow_plan(digest, outputs=[0], max_runs=9)
    assert len(duet.requests.handlers) == 0
    raw.request(*run(raw, plan, X))
    raw.wait(lambda: len(duet.requests) == 2)
    assert "table" in repr(duet.requests)  # now it was
    duet.requests.allow_plan(digest, outputs=[0], max_runs=9)
    assert isinstance(raw.answer(other), wire.Value)


def test_what_comes_beside_what_the_owner_saw_adds_no_data(session: Session) -> None:
    duet, raw = session
    plan = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    seen = raw.request(*run(raw, plan, X))
    raw.wait(lambda: len(duet.requests.requests) == 1)
    other = raw.request(*run(raw, plan, TABLE))
    raw.wait(lambda: len(duet.requests) == 2)
    duet.requests.allow_plan(duet.plans[0].digest, outputs=[0], max_runs=9)
    assert isinstance(raw.answer(seen), wire.Value)
    assert duet.requests[f"{other:016x}"].status == "Pending"


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("way", ["under its id", "beside it"])
def test_a_plan_that_is_allowed_by_its_row_is_the_one_that_was_read(
    session: Session, way: str, row: int
) -> None:
    """As the docs say it: `duet.plans[0].listing()`, and then `duet.plans[0].digest`."""
    duet, raw = session
    harmless = define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,))
    raw.wait(lambda: len(duet.plans) == 1)
    assert "mean" in duet.plans[row].listing()
    read = duet.plans[row].digest
    if way == "under its id":  # it stands where the other one stood
        raw.delete(Ref(harmless))
    id = harmless if way == "under its id" else raw.new_id()
    define(raw, step("torch.max", 2, Ref(1)), outputs=(2,), id=id)
    raw.do("torch.max", X)
    raw.wait(lambda: raw.settled >= raw.seq)
    assert duet.plans[row].digest == read and "mean" in duet.plans[row].listing()
    assert "max" in list(duet.plans)[-1].listing()
    assert "max" in duet.plans[-1].listing()  # that was a new look


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"min_records": None}, ValueError),
        ({"recipe": None}, ValueError),
        ({"allow_injected": None}, ValueError),
        ({"name": 5}, TypeError),
        ({"tags": [None]}, TypeError),
    ],
)
def test_a_rule_of_nonsense_is_no_rule_and_the_session_works(
    session: Session, said: dict[str, Any], error: type[Exception]
) -> None:
    """As a rule it would be asked about each request, and fail there or mean something else."""
    duet, raw = session
    request = waiting(duet, raw, raw.op("torch.mean", X), "mean")
    with pytest.raises(error):
        duet.requests.add_handler("accept", **said)
    assert len(duet.requests.handlers) == 0
    assert raw.ask(raw.op("torch.sum", X)) == "Expired"
    request.accept()
    assert raw.answer(request.call)


ALL_BUT_PUBLIC = {"metadata", "aggregate", "model", "per_record", "verbatim"}


@pytest.mark.parametrize("said", [{"min_records": 1}, {"kinds": ALL_BUT_PUBLIC}])
def test_a_rule_that_takes_raw_data_whatever_it_says_shows_the_session_as_open(
    session: Session, said: dict[str, Any]
) -> None:
    duet, raw = session
    handler = duet.requests.add_handler("accept", **said)
    assert raw.ask(X) == "Value"
    assert duet.status()["OPEN"]
    duet.requests.remove_handler(handler)
    assert not duet.status()["OPEN"]


def test_a_position_is_the_rule_that_was_read(session: Session) -> None:
    """A rule that ended by itself moves no other one into its place."""
    duet, _ = session
    ends = duet.requests.add_handler(name="loss", action="accept", timeout_secs=100)
    denies = duet.requests.add_handler("deny", sources=["x"])
    assert [line[:3] for line in repr(duet.requests.handlers).splitlines()] == ["[0]", "[1]"]
    ends.created_at -= 200
    duet.requests._caller.run(duet._service.desk.tick)
    with pytest.raises(KeyError, match="is not in force any more"):
        duet.requests.remove_handler(0)
    assert duet.requests.handlers.in_force() == [denies]
    other = duet.requests.add_handler("deny", name="any")  # counts on from what was shown
    assert duet.requests.handlers[2] is other
    assert duet.requests.handlers[1] is duet.requests.handlers[-1] is denies
    with pytest.raises(IndexError):
        duet.requests.remove_handler(3)
    assert repr(duet.requests.handlers).count("deny") == 2
    duet.requests.remove_handler(0)
    assert list(duet.requests.handlers) == [other]


def test_a_rule_that_is_said_once_more_denies_what_it_denied(session: Session) -> None:
    """A cell of a notebook is run again, and the same commands are asked for by another name."""
    duet, raw = session
    for _ in range(2):
        duet.requests.add_handler("deny", name="loss")
        assert raw.ask(raw.op("torch.mean", X), "loss") == "Denied"
    duet.requests.add_handler("deny", name="loss")
    duet.requests.add_handler("accept", name="mean")
    assert raw.ask(raw.op("torch.mean", X), "mean") == "Denied"
    assert raw.ask(raw.op("torch.sum", X), "mean") == "Value"


def test_no_recipe_keeps_a_rule_busy_that_knows_what_it_denied(session: Session) -> None:
    """Lists of texts that name the line before many times: written out they had no end."""
    duet, raw = session
    duet.requests.add_handler("deny", name="loss")
    last = raw.op("torch.mean", X)
    for line in range(9):
        texts = [f"v{line} " * 19] * 12
        last = raw.op("python.collect", [last, *texts, ".to(", "x"])
    assert len(waiting(duet, raw, last, "other").recipe) > 5_000
    assert raw.ask(last, "loss") == "Denied"
    assert raw.ask(last, "any") == "Denied"  # the same recipe
    assert raw.ask(raw.op("torch.mean", X), "any") == "Expired"


def test_a_rule_that_denies_by_a_recipe_has_one(session: Session) -> None:
    """One by no recipe would deny whatever has none, and nothing of what the owner meant."""
    duet, raw = session
    request = waiting(duet, raw, raw.op("torch.mean", X), "mean")
    object.__setattr__(request._record.facts, "recipe", "")
    with pytest.raises(NotAllowed, match="no recipe"):
        duet.requests.add_handler("deny", recipe=request)
    assert len(duet.requests.handlers) == 0
