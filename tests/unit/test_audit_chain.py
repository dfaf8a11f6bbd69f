"""The chain of the audit log, without a disk: what was touched is found."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit_chain import GENESIS, Entry, Row, check, facts_text, next_row

KEY = Key.from_seed(bytes(range(32)), "owner")
OTHER = Key.from_seed(bytes(range(1, 33)), "owner")


def chain(count, kind="request"):
    rows, previous = [], GENESIS
    for number in range(1, count + 1):
        entry = Entry(f"2026-01-01T00:00:{number:02}", KEY.id, kind, facts_text({"n": number}))
        rows.append(next_row(number, previous, entry))
        previous = rows[-1].hash
    return rows


def test_a_chain_as_it_was_written_is_good():
    rows = chain(5)
    found = check(rows)
    assert found
    assert (found.rows, found.head) == (5, rows[-1].hash)
    assert check([]).head == GENESIS


def test_the_hash_of_a_row_is_what_earlier_releases_wrote():
    """Each part with its length, as eight bytes, before it; docs/protocol.md."""
    entry = Entry("2026-01-01T00:00:00", "S1", "request", '{"name": "ü"}')
    row = Row(7, entry, bytes(range(16)), b"")
    parts = (b"duet/audit-row/v1", bytes(range(32)), b"7", b"2026-01-01T00:00:00", b"S1",
             b"request", '{"name": "ü"}'.encode(), bytes(range(16)))  # fmt: skip
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert row.hash_after(bytes(range(32))) == hashlib.sha256(framed).digest()


FIELDS = ["time", "session", "kind", "facts", "salt", "hash", "number"]


@given(st.integers(0, 9), st.sampled_from(FIELDS), st.data())
def test_any_change_of_any_row_is_found(place, field, data):
    rows = chain(10)
    row = rows[place]
    if field == "number":
        rows[place] = replace(row, number=data.draw(st.integers().filter(lambda n: n != place + 1)))
    elif field in ("salt", "hash"):
        rows[place] = replace(row, **{field: data.draw(st.binary().filter(lambda b: b != getattr(row, field)))})  # fmt: skip # noqa: E501
    else:
        text = data.draw(st.text().filter(lambda t: t != getattr(row.entry, field)))
        rows[place] = replace(row, entry=replace(row.entry, **{field: text}))
    assert not check(rows)


@given(st.integers(0, 8))
def test_a_removed_row_is_found_unless_it_is_the_last(place):
    rows = chain(10)
    del rows[place]
    assert not check(rows)


@given(st.permutations(range(6)).filter(lambda order: order != list(range(6))))
def test_rows_in_another_order_are_found(order):
    rows = chain(6)
    assert not check([rows[place] for place in order])


def test_renumbering_what_follows_a_removed_row_does_not_help():
    rows = chain(6)
    del rows[2]
    assert not check([replace(row, number=place + 1) for place, row in enumerate(rows)])


def test_a_clock_that_was_set_back_is_no_damage():
    """The order is that of the chain; the times stand there as they were at the time."""
    times = ["2026-01-02T00:00:00", "2026-01-01T00:00:00", "1970-01-01T00:00:00"]
    rows, previous = [], GENESIS
    for number, time in enumerate(times, 1):
        rows.append(next_row(number, previous, Entry(time, KEY.id, "request", "{}")))
        previous = rows[-1].hash
    assert check(rows)
    assert not check(sorted(rows, key=lambda row: row.entry.time))


def test_rows_that_begin_anew_further_back_are_found():
    """Hashes that fit each other: somebody left out what came first and worked them out again."""
    rows, previous = [], GENESIS
    for number in (3, 4, 9):
        rows.append(next_row(number, previous, Entry("t", KEY.id, "request", "{}")))
        previous = rows[-1].hash
    found = check(rows)
    assert not found and found.problems[0].startswith("row 3 stands at place 1")
    assert len(found.problems) == 3


def test_one_changed_row_is_one_problem_and_very_many_are_twenty():
    rows = chain(60)
    changed = replace(rows[7], entry=replace(rows[7].entry, facts="{}"))
    assert check([*rows[:7], changed, *rows[8:]]).problems == (
        "row 8 is not what was written behind the row before it",
    )
    for broken in ([replace(row, hash=bytes(32)) for row in rows], rows[30:] + rows[:30]):
        found = check(broken)
        assert (len(found.problems), found.rows) == (20, 60)
        assert len(str(found).splitlines()) == 21


def test_facts_are_text_whatever_they_are_and_in_one_order():
    """What JSON does not know stops no row; a table of them has its columns at one place."""
    text = facts_text({"b": PurePosixPath("/data/x"), "a": {"d": 1, "c": "ü"}})
    assert text == '{"a": {"c": "ü", "d": 1}, "b": "/data/x"}'


def test_text_cannot_move_between_neighbouring_fields():
    (row,) = chain(1)
    entry = replace(row.entry, session=row.entry.session + "re", kind=row.entry.kind[2:])
    assert not check([replace(row, entry=entry)])


def test_an_end_that_is_cut_off_is_noticed_with_a_signed_head():
    rows = chain(10)
    head = SignedHead.sign(KEY, rows[-1].hash)
    assert check(rows, [head])
    for kept in range(10):
        assert check(rows[:kept])  # the chain alone cannot know
        found = check(rows[:kept], [head])
        assert not found
        assert "cut off" in str(found)


def test_a_rewritten_history_is_noticed_with_a_signed_head():
    head = SignedHead.sign(KEY, chain(10)[-1].hash)
    assert not check(chain(10), [head])


def test_a_head_goes_on_being_good_when_the_log_grows():
    rows = chain(10)
    assert check(rows, [SignedHead.sign(KEY, rows[4].hash)])


def test_the_same_history_twice_gives_unrelated_heads():
    heads = {check(chain(3)).head for _ in range(50)}
    assert len(heads) == 50
    bits = [int.from_bytes(head, "big") for head in heads]
    differing = [(a ^ b).bit_count() for a, b in itertools.pairwise(bits)]
    assert all(80 < count < 176 for count in differing)  # of 256, expected 128


def test_only_the_session_itself_signs_its_heads():
    head = SignedHead.sign(KEY, chain(1)[-1].hash)
    assert head.is_genuine
    assert not replace(head, session_id=OTHER.id).is_genuine
    assert not replace(head, head=bytes(32)).is_genuine
    assert not replace(head, pub=OTHER.pub).is_genuine
    assert not replace(head, pub=bytes(33)).is_genuine
    forged = SignedHead.sign(OTHER, head.head)
    assert not replace(forged, session_id=KEY.id).is_genuine
    rows = chain(1)
    theirs = replace(SignedHead.sign(OTHER, rows[-1].hash), session_id=KEY.id)
    assert "was not signed by that session" in str(check(rows, [theirs]))
    assert not check(chain(1), [replace(forged, session_id=KEY.id)])
    assert check(chain(1), [SignedHead.sign(KEY, GENESIS)])  # of a log that was empty yet


def test_a_head_survives_being_text():
    head = SignedHead.sign(KEY, chain(1)[-1].hash)
    assert SignedHead.parse(f" {head}\n") == head
    for text in ("", "x", f"{KEY.id}:", f"{KEY.id}:ä", str(head)[:-8]):
        with pytest.raises(ValueError, match="no signed head"):
            SignedHead.parse(text)
