"""How labels join."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p.engine.labels import (
    METADATA,
    PUBLIC,
    UNBOUND_WRITERS,
    UNBOUNDED,
    Atom,
    Kind,
    Label,
    are_disjoint,
    join,
    to_model,
    to_per_record,
    written_by,
)
from duet_p2p.limits import WRITERS

A, B = frozenset({-1}), frozenset({-2})
WHOLE = Atom(A, ("whole",))
OTHER = Atom(B, ("whole",))
FIRST, SECOND = Atom(A, ("pass", 1, 1)), Atom(A, ("pass", 1, 2))
BOTH = Atom(A | B, ("pass", 2, 1))


def label(kind, sources=A, atoms=(), least=64, injected=False, writers=(), dropout=False):
    least = 1 if kind in ("rows", "per_record", "verbatim") else least
    of, behind = frozenset(sources), frozenset(atoms)
    return Label(Kind(kind), of, behind, least, injected, frozenset(writers), dropout)


LABELS = st.builds(
    label,
    st.sampled_from(["aggregate", "model", "rows", "per_record", "verbatim"]),
    st.sampled_from([A, B, A | B]),
    st.sets(st.sampled_from([WHOLE, OTHER, FIRST, SECOND])),
    st.integers(1, 100),
    st.booleans(),
    st.sets(st.sampled_from(["backward", "step"])),
    st.booleans(),
) | st.sampled_from([PUBLIC, METADATA])


@pytest.mark.parametrize(("kinds", "joined"), [
    ((), "public"), (("aggregate",), "aggregate"), (("aggregate", "aggregate"), "aggregate"),
    (("aggregate", "model"), "model"), (("aggregate", "rows"), "per_record"),
    (("verbatim", "verbatim"), "verbatim"), (("verbatim", "rows"), "per_record"),
    (("model", "verbatim"), "per_record"), (("per_record", "aggregate"), "per_record"),
])  # fmt: skip
def test_kinds(kinds, joined):
    labels = [label(kind, least=n + 2) for n, kind in enumerate(kinds)]
    assert join(labels).kind == joined
    assert join([*labels, METADATA, PUBLIC]).kind == (joined if kinds else "metadata")


@pytest.mark.parametrize(("atoms", "least"), [
    ([WHOLE, WHOLE], 20), ([WHOLE, OTHER], 20), ([FIRST, FIRST], 20), ([FIRST, SECOND], 1),
    ([WHOLE, FIRST], 1), ([OTHER, FIRST], 20), ([BOTH, WHOLE], 1), ([WHOLE, BOTH], 1),
])  # fmt: skip
def test_overlapping_rows_leave_no_smallest_group(atoms, least):
    one, two = (
        label("aggregate", atom.sources, [atom], n) for atom, n in zip(atoms, (20, 30), strict=True)
    )
    assert join([one, two]).min_records == least
    assert are_disjoint(atoms) is (least > 1)


def test_what_was_one_record_stays_one_record():
    lost = join([label("aggregate", A, [FIRST]), label("aggregate", A, [SECOND])])
    assert join([lost, label("aggregate", B, [OTHER])]).min_records == 1
    assert to_model(lost).min_records == 1


def test_no_number_of_records_is_said_of_data_whatever_its_parts_say():
    rows = Label(Kind.ROWS, A, frozenset({WHOLE}), 64, False)
    joined = join([rows, label("aggregate", A, [WHOLE])])
    assert (joined.min_records, joined.atoms) == (1, frozenset())


def test_a_model_of_data_is_per_record():
    for kind in ("rows", "per_record", "verbatim"):
        assert to_model(label(kind)).kind is Kind.PER_RECORD
    assert to_model(label("aggregate")).kind is Kind.MODEL
    assert to_model(PUBLIC) is PUBLIC and to_model(METADATA) is METADATA


def test_what_the_owners_machine_tells_is_not_public():
    assert not METADATA.is_public
    assert to_per_record(METADATA).kind is Kind.PER_RECORD
    assert join([PUBLIC, METADATA]) is METADATA


def test_a_model_keeps_no_records_that_others_could_be_told_from():
    assert to_model(label("aggregate", A, [FIRST])).atoms == frozenset()
    assert join([to_model(label("aggregate", A, [FIRST])), label("aggregate", A, [SECOND])]
                ).min_records == 64  # fmt: skip


@given(st.lists(LABELS, max_size=4), LABELS)
def test_joining_never_takes_anything_away(labels, more):
    before, after = join(labels), join([*labels, more])
    assert before.sources <= after.sources and more.sources <= after.sources
    assert after.min_records <= min(before.min_records, more.min_records)
    assert after.injected >= max(before.injected, more.injected)
    assert after.writers >= before.writers | more.writers
    assert after.dropout >= max(before.dropout, more.dropout)
    assert after.is_public is (before.is_public and more.is_public)
    assert after.is_data or not (before.is_data or more.is_data)
    assert join([*labels, more]).kind is join([more, *reversed(labels)]).kind


@given(LABELS)
def test_to_per_record_keeps_sources(one):
    worst = to_per_record(one)
    assert worst.sources == one.sources and worst.writers == one.writers
    assert worst.injected is one.injected and not worst.atoms
    assert worst.dropout is one.dropout
    assert worst.is_public or worst.min_records == 1
    assert PUBLIC.min_records == UNBOUNDED


def test_what_wrote_to_something_is_added_and_never_too_many_of_them():
    one = label("model", writers=["backward"])
    assert written_by(one, frozenset({"step"})).writers == {"backward", "step"}
    assert written_by(one, frozenset({"backward", "step"})).writers == {"backward", "step"}
    assert written_by(PUBLIC, frozenset({"step"})) is PUBLIC
    full = written_by(one, frozenset(f"step {n}" for n in range(WRITERS - 1)))
    assert len(full.writers) == WRITERS
    assert written_by(full, frozenset({"another step"})).writers == UNBOUND_WRITERS


def test_labels_that_are_equal_are_one_key_also_after_they_were_used_as_one() -> None:
    one = Label(Kind.AGGREGATE, frozenset({1}), frozenset(), 20, False)
    two = Label(Kind.AGGREGATE, frozenset({1}), frozenset(), 20, False)
    assert {one: "same"}[two] == "same"
    assert hash(replace(one, injected=True)) != hash(one)
    assert hash(replace(one, dropout=True)) != hash(one)
    assert replace(replace(one, injected=True), injected=False) == one
    assert hash(replace(replace(one, injected=True), injected=False)) == hash(one)
