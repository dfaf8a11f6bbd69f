"""What a private value chose among has one label, behind each command."""

from __future__ import annotations

import gc

import torch

from duet_p2p.engine.labels import PUBLIC, Kind, Label, to_per_record
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.store import Slot
from duet_p2p.engine.ties import entries_of, settle, tie, tied


def _of(*sources: int) -> Label:
    return Label(Kind.PER_RECORD, frozenset(sources), frozenset(), 1, False)


def _tied(count: int) -> tuple[Lineage, list[torch.Tensor]]:
    lineage, tensors = Lineage(), [torch.zeros(1) for _ in range(count)]
    tie([lineage.own(tensor) for tensor in tensors], lineage)
    return lineage, tensors


def test_what_one_gets_all_of_them_have() -> None:
    lineage, (one, other) = _tied(2)
    lineage.own(one).label = _of(-1)
    settle(lineage)
    assert lineage.label(other) == _of(-1)


def test_nothing_is_taken_off_by_writing_over_one() -> None:
    lineage, (one, other) = _tied(2)
    lineage.own(one).label = _of(-1)
    settle(lineage)
    lineage.own(one).label = lineage.own(other).label = PUBLIC
    settle(lineage)
    assert lineage.label(one) == lineage.label(other) == _of(-1)


def test_ties_that_meet_are_one() -> None:
    lineage, tensors = _tied(2)
    more = [torch.zeros(1), torch.zeros(1)]
    tie([lineage.own(tensor) for tensor in more], lineage)
    assert len(lineage.ties) == 2
    tie([lineage.own(tensors[0]), lineage.own(more[1])], lineage)
    assert len(lineage.ties) == 1
    lineage.own(tensors[1]).label = _of(-1)
    settle(lineage)
    assert lineage.label(more[0]) == _of(-1)


def test_a_list_has_it_as_its_length_and_a_number_in_its_slot() -> None:
    lineage, (one,) = _tied(1)
    box, number = [one], Slot(5, _of(-1))
    tie([*tied([lineage.entry(one)]), *entries_of(box, lineage)], lineage, [number, Slot(6)])
    lineage.own(one).label = _of(-2)
    settle(lineage)
    assert number.label == lineage.track(box).structure == lineage.track(box).content == _of(-1, -2)


def test_an_owners_tensor_keeps_its_label() -> None:
    lineage = Lineage()
    theirs = torch.zeros(1)
    entry = lineage.own(theirs)
    entry.is_shared, entry.label = True, to_per_record(_of(-1))
    assert entry not in entries_of([theirs], lineage)


def test_what_is_gone_is_let_go_of() -> None:
    lineage, tensors = _tied(3)
    tensors.clear()
    gc.collect()
    lineage.epoch = 64
    settle(lineage)
    assert not lineage.ties


def test_one_that_was_let_go_of_is_one_again_with_something_new() -> None:
    lineage, tensors = _tied(2)
    gone = lineage.ties[0]
    tensors.clear()
    gc.collect()
    lineage.epoch = 64
    settle(lineage)
    one, two, three, four = [torch.zeros(1) for _ in range(4)]
    tie([lineage.own(one)], lineage, others=[gone])
    tie([lineage.own(two), lineage.own(three)], lineage)
    lineage.own(one).label = _of(-1)
    settle(lineage)
    assert gone.label == _of(-1) and lineage.label(two) == PUBLIC
    lineage.ties.remove(gone)  # as it is once what it had is gone
    tie([lineage.own(two), lineage.own(four)], lineage, others=[gone])
    settle(lineage)
    assert lineage.label(three) == lineage.label(four) == _of(-1)
