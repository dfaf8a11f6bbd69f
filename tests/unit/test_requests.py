"""The book of requests: states, deadlines, and what was said about objects."""

from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.engine.messages import Candidate
from duet_p2p.errors import RequestClosed
from duet_p2p.owner.requests import (
    TRANSITIONS,
    Record,
    RequestBook,
    Status,
    Why,
    Words,
    request_id,
)
from tests.unit.owner_kit import LOSS


def record(call=1, **said):
    said = {"object_id": 5, "name": "loss", "reason": "", "limit_s": None, "arrived_at": 0.0} | said
    return Record(call=call, **said)


def book(*records, **settings):
    made = RequestBook(**settings)
    for one in records:
        made.add(one)
    return made


def test_ids_are_16_hex_digits():
    assert request_id(255) == "00000000000000ff"
    assert record(call=2**63 - 1).id == "7fffffffffffffff"


def test_a_request_is_listed_when_its_facts_are_there():
    b = book(record(1), record(2, facts=LOSS))
    assert [r.call for r in b.pending()] == [2]
    assert [r.call for r in b.opened()] == [1, 2]
    assert 1 in b
    assert 3 not in b


def test_pending_is_oldest_first():
    b = book(*(record(call, facts=LOSS) for call in (9, 3, 7)))
    assert [r.call for r in b.pending()] == [9, 3, 7]


@pytest.mark.parametrize("end", [s for s in Status if s is not Status.PENDING])
def test_exactly_one_thing_ends_a_request(end):
    b = book(record(1, facts=LOSS))
    b.end(1, end, why="so", answer="because")
    ended = b.find(1)
    assert (ended.status, ended.why, ended.answer) == (end, "so", "because")
    assert b.pending() == []
    assert b.decided() == [ended]
    for other in Status:
        with pytest.raises(RequestClosed):
            b.end(1, other)
        assert ended.status is end


def test_the_table_has_one_way_out_of_pending_and_none_back():
    assert TRANSITIONS[Status.PENDING] == frozenset(Status) - {Status.PENDING}
    assert all(not TRANSITIONS[s] for s in Status if s is not Status.PENDING)


def test_a_request_cannot_stay_pending_by_a_decision():
    b = book(record(1))
    with pytest.raises(RequestClosed):
        b.end(1, Status.PENDING)


def test_an_unknown_request_is_closed():
    with pytest.raises(RequestClosed):
        book().end(1, Status.ACCEPTED)


def test_a_call_is_used_once():
    b = book(record(1))
    with pytest.raises(ValueError):
        b.add(record(1))


def test_a_limit_counts_from_arrival_on_the_owners_clock():
    b = book(record(1, arrived_at=100.0, limit_s=5), record(2, arrived_at=90.0, limit_s=30))
    assert b.next_deadline() == 105.0
    assert b.due(104.9) == []
    assert [r.call for r in b.due(105.0)] == [1]
    b.end(1, Status.EXPIRED)
    assert b.next_deadline() == 120.0


@pytest.mark.parametrize("limit", [None, 0])
def test_no_limit_and_handlers_only_have_no_deadline(limit):
    b = book(record(1, limit_s=limit))
    assert b.next_deadline() is None
    assert b.due(1e12) == []


def test_the_book_is_full_at_its_limit():
    b = book(record(1), record(2), open_limit=3)
    assert not b.is_full
    b.add(record(3))
    assert b.is_full
    b.end(2, Status.REJECTED)
    assert not b.is_full


def test_forgetting_leaves_no_trace():
    b = book(record(1))
    b.forget(1)
    b.forget(1)
    assert 1 not in b
    assert b.decided() == []


def test_the_history_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_HISTORY", 3)
    b = book(*(record(call) for call in range(1, 6)))
    for call in range(1, 6):
        b.end(call, Status.REJECTED)
    assert [r.call for r in b.decided()] == [3, 4, 5]


def test_the_history_is_bounded_in_bytes_too(monkeypatch):
    """A request has up to 64 tags of the scientist, and there may be ten thousand of them."""
    monkeypatch.setattr(limits, "REQUEST_HISTORY_BYTES", 100_000)
    long = replace(LOSS, tags=tuple(f"{n:04}" + "\U0001f600" * 250 for n in range(40)))
    b = book()
    for call, facts in ((1, LOSS), (2, long), (3, long), (4, LOSS), (5, LOSS)):
        b.add(record(call))
        b.find(call).froze(Candidate(call, facts, None, False))
        b.end(call, Status.REJECTED)
    assert [r.call for r in b.decided()] == [3, 4, 5]
    assert 1 in b and 2 in b  # their numbers are used up
    monkeypatch.setattr(limits, "REQUEST_HISTORY_BYTES", 1)
    b.add(record(6))
    b.end(6, Status.REJECTED)
    assert [r.call for r in b.decided()] == [6]  # whoever decided it wants to see it


def test_a_number_that_is_forgotten_is_used_up(monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_HISTORY", 3)
    b = book(*(record(call) for call in range(1, 6)))
    for call in range(1, 6):
        b.end(call, Status.REJECTED)
    with pytest.raises(ValueError):
        b.add(record(1))
    assert 1 in b and 6 not in b


def test_more_requests_than_can_be_remembered_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_HISTORY", 1)
    monkeypatch.setattr(limits, "REQUESTS", 2)
    b = book()
    for call in (1, 2, 3):
        assert not b.is_full
        b.add(record(call))
        b.end(call, Status.REJECTED)
    assert b.is_full and "new session" in b.why_full


# words


def test_nothing_was_asked():
    assert Words().about(5) == (Why.NEVER, "")
    assert not Words().covers(5, 1)


def test_a_release_covers_one_content():
    words = Words()
    words.released(5, 1)
    assert words.covers(5, 1)
    assert not words.covers(5, 2)
    assert not words.covers(6, 1)
    assert words.about(5) == (Why.CHANGED, "")


def test_a_later_denial_keeps_what_had_left():
    words = Words()
    words.released(5, 1)
    words.said(5, Why.DENIED, "no")
    assert words.about(5) == (Why.DENIED, "no")
    assert words.covers(5, 1)


def test_a_dead_id_is_forgotten():
    words = Words()
    words.released(5, 1)
    words.forget(5)
    words.forget(5)
    assert not words.covers(5, 1)


def test_words_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "REMEMBERED_OBJECTS", 2)
    words = Words()
    for object_id in (1, 2, 3):
        words.released(object_id, 1)
    assert [words.covers(i, 1) for i in (1, 2, 3)] == [False, True, True]
