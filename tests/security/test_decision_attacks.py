"""Attacks on the owner's word: another question under the same number, and answers without one."""

import itertools

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against, waiting
from tests.security.rules_kit import CLASSES, TABLE, Session, X, session

__all__ = ["session"]

F = "torch.nn.functional."


def remade(duet: OwnerDuet, raw: RawPeer, call: int) -> None:
    """Withdraws a request, has it forgotten by a flood, and uses its number for the data."""
    raw.send(wire.Withdraw(call))
    for _ in range(limits.REQUEST_HISTORY + 1):
        raw.send(wire.Withdraw(raw.request(X, "flood")))
    raw.send(wire.Request(call, X.id, "harmless", "", None), wire.Get(call, X.id))
    raw.wait(lambda: len([a for a in raw.told(wire.NotYours) if a.call == call]) == 2)


def test_a_number_that_is_used_again_is_not_the_request_that_was_shown(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old requests are forgotten, and their numbers never stand for the data itself."""
    monkeypatch.setattr(limits, "REQUEST_HISTORY", 3)
    duet, raw = session
    call = raw.request(raw.op("torch.mean", X), "harmless")
    raw.wait(lambda: len(duet.requests) == 1)
    assert list(duet.requests.pandas["Name"]) == ["harmless"]
    request, key = duet.requests[0], duet.requests[0].id
    remade(duet, raw, call)
    for word in (
        request.accept,
        request.deny,
        lambda: request.value,
        lambda: duet.requests[0].accept(),
        lambda: duet.requests[key].accept(),
    ):
        with pytest.raises(RequestClosed):
            word()
    assert request.wait() == "Withdrawn"
    assert [look.handler for look in duet.requests.explain(request)] == []
    bound = duet.requests.add_handler("accept", recipe=request)  # what was shown, not the data
    assert bound.conditions.binding.kind == "aggregate"
    assert len(duet.requests) == 0
    assert raw.ask(raw.op("torch.mean", X), "any") == "Value"
    assert all(m.call != call for m in raw.told(wire.Value))
    duet.requests.pandas  # noqa: B018  what was shown is forgotten as well
    with pytest.raises(KeyError):
        duet.requests[key].accept()


def loss(raw: RawPeer, classes: int) -> Ref:
    """Fails if a record's class is not below `classes`: a fact about records, not about a loss."""
    logits = raw.op(F + "linear", TABLE, raw.put(torch.rand(classes, 3)))
    return raw.op(F + "cross_entropy", logits, CLASSES)


def test_failures_under_an_accepted_name_end_like_numbers(session: Session) -> None:
    """A silence where a number would have come is an answer; 1,000 of both is the limit."""
    duet, raw = session
    duet._service.desk.policy.numbers_per_source = 6
    duet.requests.add_handler(name="loss", action="accept")
    asked = [raw.ask(loss(raw, classes), "loss") for classes in (3, 2, 2, 3, 2, 3, 3, 3)]
    assert asked == ["Value", "Expired", "Expired", "Value", "Expired", "Value"] + ["Expired"] * 2


@pytest.mark.parametrize("limit", [{"element_quota": 3}, {"max_uses": 3}])
def test_failures_use_up_what_a_rule_may_decide(session: Session, limit: dict[str, int]) -> None:
    """Each limit of a rule on a name is one on the failures that its silence tells, too."""
    duet, raw = session
    duet.requests.add_handler(name="loss", action="accept", **limit)
    asked = [raw.ask(loss(raw, classes), "loss") for classes in (2, 3, 2, 3)]
    assert asked[:3] == ["Expired", "Value", "Expired"]
    assert asked[3] != "Value"


def test_a_failure_that_waits_counts_once(session: Session) -> None:
    """However many rules come while it waits."""
    duet, raw = session
    rule = duet.requests.add_handler(name="loss", action="accept")
    raw.request(loss(raw, 2), "loss")
    raw.wait(lambda: len(duet.requests) == 1)
    for name in ("a", "b", "c"):
        duet.requests.add_handler(name=name, action="accept")
    assert rule.uses == 1


# one word for one request


def deep(raw: RawPeer) -> Ref:
    """A list that is too deep to be copied or sent, with the data in it."""
    boxes = [raw.op("python.List") for _ in range(1_200)]
    for outer, inner in itertools.pairwise([*boxes, X]):
        raw.do("python.List.append", outer, inner)
    return boxes[0]


def test_what_could_not_be_kept_never_leaves(session: Session) -> None:
    """Too deep to be copied, so it is no snapshot: what is written to it meanwhile stays, too."""
    duet, raw = session
    box = deep(raw)
    request = waiting(duet, raw, box, "deep")
    assert request.kind == "verbatim" and request.sources == ["x"]
    raw.do("python.List.__setitem__", box, 0, raw.op("torch.Tensor.__getitem__", X, 7))
    raw.wait_for_end()
    request.accept()
    assert raw.answer(request.call) == wire.Denied(request.call, "this value cannot be sent")
    assert isinstance(raw.get(box), wire.NotYours) and raw.told(wire.Value) == []


def test_what_could_not_be_shown_is_not_called_accepted(session: Session) -> None:
    """The engine gives a value up when the owner looks at it, whether it can be shown or not."""
    duet, raw = session
    request = waiting(duet, raw, deep(raw), "deep")
    with pytest.raises(NotAllowed, match="cannot be shown"):
        request.value  # noqa: B018
    for always in (False, True):
        with pytest.raises(NotAllowed, match="cannot be accepted"):
            request.accept(always=always)
    assert request.status == "Pending"
    duet.requests.add_handler("accept")
    assert raw.answer(request.call) == wire.Denied(request.call, "this value cannot be sent")
    assert "not sent" in request.why and not duet._service.desk.is_leaving(request.call)


def test_a_loop_over_the_requests_is_a_listing(session: Session) -> None:
    """A request that comes in the place of one that a loop had printed is not the first row."""
    duet, raw = session
    call = raw.request(raw.op("torch.mean", X), "harmless")
    raw.wait(lambda: len(duet.requests) == 1)
    assert [request.name for request in duet.requests] == ["harmless"]
    raw.send(wire.Withdraw(call))
    raw.wait(lambda: len(duet.requests) == 0)
    raw.request(X, "the data")
    raw.wait(lambda: len(duet.requests) == 1)
    with pytest.raises(RequestClosed):
        duet.requests[0].accept()
    assert raw.told(wire.Value) == []


READ = {
    "its name": lambda duet, row: duet.requests[row].name,
    "its reason": lambda duet, row: duet.requests[row].request_description,
    "its kind": lambda duet, row: duet.requests[row].kind,
    "its sources": lambda duet, row: duet.requests[row].sources,
    "its recipe": lambda duet, row: duet.requests[row].recipe,
    "its value": lambda duet, row: duet.requests[row].value,
    "why it waits": lambda duet, row: duet.requests[row].why,
    "all of its facts": lambda duet, row: duet.requests[row].facts(),
    "how rules look at it": lambda duet, row: duet.requests.explain(row),
}


@pytest.mark.parametrize(
    ("read", "limit_s", "row"),
    [*((read, None, 0) for read in READ), ("its kind", None, -1), ("its kind", 0.3, 0)],
)
def test_a_row_of_which_a_fact_was_read_is_that_request(
    session: Session, read: str, limit_s: float | None, row: int
) -> None:
    """It was taken back, or its time was over, and the data moved into the row that was read."""
    duet, raw = session
    call = raw.request(raw.op("torch.mean", X), "harmless", limit_s)
    raw.wait(lambda: len(duet.requests) == 1)
    READ[read](duet, row)
    if limit_s is None:
        raw.send(wire.Withdraw(call))
    raw.wait(lambda: len(duet.requests) == 0)
    raw.request(X, "the data")
    raw.wait(lambda: len(duet.requests) == 1)
    for _ in range(2):
        with pytest.raises(RequestClosed):
            duet.requests[row].accept()
    assert raw.told(wire.Value) == []
    repr(duet.requests)
    assert duet.requests[row].name == "the data"


def test_the_last_row_that_was_read_is_not_what_came_since(session: Session) -> None:
    duet, raw = session
    mean = raw.request(raw.op("torch.mean", X), "harmless")
    raw.wait(lambda: len(duet.requests) == 1)
    assert duet.requests[-1].kind == "aggregate"
    raw.request(X, "the data")
    raw.wait(lambda: len(duet.requests) == 2)
    duet.requests[-1].accept()
    assert raw.answer(mean).call == mean
    assert [request.name for request in duet.requests] == ["the data"]


def test_a_program_decides_about_row_0_again_and_again(session: Session) -> None:
    """What it read of each is that of the one that it decides about, and no listing is needed."""
    duet, raw = session
    calls = [raw.request(raw.op("torch.mean", X), name) for name in ("a", "b", "c")]
    raw.wait(lambda: len(duet.requests) == 3)
    decided = []
    while len(duet.requests):
        decided.append(duet.requests[0].name)
        duet.requests[0].deny() if decided[-1] == "b" else duet.requests[0].accept()
    assert decided == ["a", "b", "c"]
    answers = [type(raw.answer(call)) for call in calls]
    assert answers == [wire.Value, wire.Denied, wire.Value]


def test_one_word_ends_a_request_whoever_is_first(session: Session) -> None:
    duet, raw = session
    call = raw.request(raw.op("torch.mean", X), "twice")
    raw.wait(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    request.accept()
    for word in (request.accept, request.deny, lambda: request.accept(always=True)):
        with pytest.raises(RequestClosed):
            word()
    raw.send(wire.Withdraw(call))
    raw.wait_for_end()
    assert request.status == "Accepted"
    assert [type(m) for m in raw.answers if getattr(m, "call", 0) == call] == [wire.Value]


def test_a_word_about_what_was_taken_back_or_has_expired_releases_nothing(session: Session) -> None:
    duet, raw = session
    late = raw.request(raw.op("torch.mean", X), "late", 0.3)
    raw.wait(lambda: raw.told(wire.Expired) or len(duet.requests) == 1)
    late_views = list(duet.requests)
    assert isinstance(raw.answer(late), wire.Expired)
    taken = raw.request(raw.op("torch.mean", X), "taken back")
    raw.wait(lambda: len(duet.requests) == 1)
    (view,) = duet.requests
    raw.send(wire.Withdraw(taken))
    raw.wait(lambda: len(duet.requests) == 0)
    for request in (*late_views, view):
        with pytest.raises(RequestClosed):
            request.accept()
        with pytest.raises(RequestClosed):
            request.accept(always=True)
    assert raw.told(wire.Value) == [] and len(duet.requests.handlers) == 0


def test_a_withdrawal_that_races_a_word_leaves_one_of_both(session: Session) -> None:
    duet, raw = session
    for _ in range(5):
        call = raw.request(raw.op("torch.mean", X), "race")
        raw.wait(lambda: len(duet.requests) == 1)
        (request,) = duet.requests
        raw.send(wire.Withdraw(call))
        try:
            request.accept()
        except RequestClosed:
            assert request.status == "Withdrawn"
        raw.wait_for_end()
        answers = [m for m in raw.told(wire.Value) if m.call == call]
        assert len(answers) == (request.status == "Accepted")


def test_a_flood_of_requests_that_expire_makes_room_and_moves_no_row(session: Session) -> None:
    duet, raw = session
    kept = raw.request(raw.op("torch.mean", X), "kept")
    raw.wait(lambda: len(duet.requests) == 1)
    repr(duet.requests)
    calls = [next(raw.calls) for _ in range(2 * limits.OPEN_REQUESTS)]
    raw.send(*[wire.Request(call, X.id, "flood", "", 0.2) for call in calls])
    kinds = [type(raw.answer(call)) for call in calls]
    assert {wire.Expired, wire.Denied} >= set(kinds) and kinds[0] is wire.Expired
    assert duet.requests[0].name == duet.requests[-1].name == "kept"
    assert raw.ask(raw.op("torch.mean", X)) == "Expired"  # heard, and not refused
    duet.requests[0].accept()
    assert isinstance(raw.answer(kept), wire.Value)


def test_a_rule_about_a_row_of_the_store_is_about_the_object_that_was_in_it() -> None:
    """The scientist deleted an object of theirs, and the next of the owner's moved into the row."""
    with against({"x": torch.arange(64.0)}) as (duet, raw):
        raw.send(wire.Put((1,), (1,), None, ("theirs",), "", True))
        raw.wait(lambda: len(duet.store) == 2)
        for tag in ("ages", "secret"):
            duet.send(torch.arange(64.0), tags=[tag])
        assert [item.tags for item in duet.store] == [["x"], ["theirs"], ["ages"], ["secret"]]
        raw.send(wire.Del((1,)))
        raw.wait(lambda: len(duet.store) == 3)
        duet.requests.add_handler("accept", sources=[2])
        assert raw.ask(Ref(-3)) == "Expired" and raw.ask(Ref(-2)) == "Value"
        del duet.store[2]
        assert [item.tags for item in duet.store] == [["x"], ["secret"]]
