"""What is frozen of a value, and what is said about it: the value as it was, and no less."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from duet_p2p.engine import facts as module
from duet_p2p.engine.facts import freeze, label_of_slot
from duet_p2p.engine.labels import PUBLIC, THINNED, Atom, Kind, Label, Rows
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.messages import Facts
from duet_p2p.engine.store import Poison, Slot

AGES, IMAGES = frozenset({-1}), frozenset({-2})
OF_AGES = Label(Kind.AGGREGATE, AGES, frozenset(), 20, False)
OF_IMAGES = Label(Kind.AGGREGATE, IMAGES, frozenset(), 30, True, frozenset({"step"}))


def facts(slot: Slot, lineage: Lineage | None = None) -> Facts:
    return freeze(slot, lineage or Lineage(), {}).facts


@pytest.mark.parametrize(
    "held",
    [
        lambda t: [t],
        lambda t: (t,),
        lambda t: {"x": t},
        lambda t: OrderedDict(x=t),
        lambda t: [{"x": ([t],)}],
    ],
)
def test_no_later_write_reaches_what_lies_in_a_container(held: Callable[[Any], Any]) -> None:
    tensor = torch.zeros(3)
    value = held(tensor)
    frozen = freeze(Slot(value), Lineage(), {})
    before = repr(value)
    tensor.add_(1)
    assert frozen.shown() == before != repr(value)
    assert type(frozen.opened()) is type(value)


def test_nor_does_what_is_put_into_it_later() -> None:
    for value, add in (([], lambda v: v.append(1)), ({}, lambda v: v.update(a=1)),
                       ({2}, lambda v: v.add(1))):  # fmt: skip
        frozen = freeze(Slot(value), Lineage(), {})
        before = repr(value)
        add(value)
        assert frozen.shown() == before


def test_one_tensor_twice_stays_one_and_no_other_view_of_its_memory_is_taken_for_it() -> None:
    base = torch.arange(4.0)
    others = [
        base[:2], base[2:], base[::2], base.view(2, 2), base.view(2, 2).t(),
        base.view(torch.int32), base.detach().requires_grad_(),
    ]  # fmt: skip
    value = [base, base, *others]
    first, again, *rest = freeze(Slot(value), Lineage(), {}).opened()
    assert first is again
    for copy, other in zip(rest, others, strict=True):
        assert torch.equal(copy, other) and copy.requires_grad == other.requires_grad
    assert len({id(copy) for copy in (first, *rest)}) == len(value) - 1


def test_a_value_depends_on_all_that_made_it() -> None:
    lineage, tensor = Lineage(), torch.zeros(())
    lineage.own(tensor).label = OF_IMAGES
    for value in (tensor, [tensor]):
        label = label_of_slot(Slot(value, label=OF_AGES), lineage)
        assert label.sources == AGES | IMAGES and label.min_records == 20
        assert label.injected and label.writers == {"step"}
        told = facts(Slot(value, label=OF_AGES), lineage)
        assert told.sources == (-1, -2) and told.injected and told.writers == ("step",)


def test_a_hidden_size_is_of_single_records() -> None:
    lineage, tensor = Lineage(), torch.zeros(3)
    lineage.add(tensor, OF_AGES, hidden=True)
    assert label_of_slot(Slot(tensor), lineage).kind is Kind.PER_RECORD
    assert label_of_slot(Slot([tensor]), lineage).kind is Kind.PER_RECORD
    assert label_of_slot(Slot(tensor, is_shared=True), lineage).kind is Kind.VERBATIM
    lineage.add(tensor, OF_IMAGES)
    assert label_of_slot(Slot(tensor, is_shared=True), lineage).kind is Kind.PER_RECORD


def test_a_private_failure_has_no_kind_and_all_sources_of_what_would_be_there() -> None:
    poison = Poison(1, "torch.sum", "RuntimeError", "no", False, OF_AGES)
    tensor, lineage = torch.zeros(()), Lineage()
    lineage.own(tensor).label = OF_IMAGES
    told = facts(Slot(tensor, poison=poison), lineage)
    assert (told.kind, told.min_records, told.sources) == ("per_record", 1, (-1, -2))
    assert told.failed == "no" and told.elements == told.nbytes == 0
    told = facts(Slot(tensor, poison=replace(poison, is_public=True, label=PUBLIC)), lineage)
    assert told.kind == "public" and told.failed_is_public and told.sources == ()


def test_which_records_are_behind_a_value_is_said_of_each_source_by_itself() -> None:
    batch = Atom(AGES, ("pass", 1, 2))
    both = replace(OF_AGES, sources=AGES | IMAGES, atoms=frozenset({batch}))
    assert facts(Slot(0.5, label=both)).rows == (
        "batches of pass 2 over a loader", "cannot be told",
    )  # fmt: skip
    whole = replace(both, atoms=frozenset({Atom(IMAGES, ("whole", THINNED))}))
    assert facts(Slot(0.5, label=whole)).rows == (
        "cannot be told", "whole, less what a dropout left out",
    )  # fmt: skip


def test_a_batch_is_told_by_its_number_where_it_is_one_of_that_pass() -> None:
    lineage, tensor = Lineage(), torch.zeros(4)
    batch = Atom(AGES, ("pass", 1, 2))
    lineage.own(tensor).label = Label(Kind.ROWS, AGES, frozenset(), 1, False)
    for key, text in (
        (("batch", 1, 2, 0), "batch 1 of pass 2 over a loader"),
        (("batch", 1, 3, 0), "batches of pass 2 over a loader"),
    ):
        lineage.set_rows(tensor, Rows(0, 4, key, frozenset({batch})))
        told = facts(Slot(tensor), lineage)
        assert told.rows == (text,) and told.kind == "per_record"


def test_what_there_was_no_memory_to_copy_says_nothing_of_how_large_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*args: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(module, "_copied", refused)
    lineage, tensor = Lineage(), torch.zeros(3)
    lineage.own(tensor).label = OF_AGES
    frozen = freeze(Slot([tensor]), lineage, {}, beside=lambda: OF_IMAGES)
    told = frozen.facts
    assert (told.kind, told.min_records, told.sources) == ("per_record", 1, (-1, -2))
    assert told.sized_by_values and told.charge > 2**32 and frozen.small() == (None, False)
    assert facts(Slot([torch.zeros(3)])).kind == "public"  # of nobody's data


def test_what_is_too_deep_to_be_copied_waits_with_the_label_that_it_has() -> None:
    lineage, tensor = Lineage(), torch.zeros(3)
    lineage.own(tensor).label = OF_AGES
    value: Any = [tensor]
    for _ in range(100_000):
        value = [value]
    frozen = freeze(Slot(value), lineage, {}, beside=lambda: OF_IMAGES)
    told = frozen.facts
    assert (told.kind, told.sources, told.sized_by_values) == ("aggregate", (-1,), False)
    assert told.charge > 2**32 and frozen.small() == (None, False)
    assert "nested too deeply" in frozen.shown()
