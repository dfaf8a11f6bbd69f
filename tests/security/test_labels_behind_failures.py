"""What a command that failed on private values leaves has the labels of one that worked.

A rule reads them. That a value failed is counted (release.md), so of those only the sources have to
be the same, by which a rule may deny. What has not failed itself has the same facts whatever failed
beside it, and what is written over is public in both or in neither.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.engine.labels import Label, join
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, P, Side, last
from tests.security.failing_labels import ONE, OTHER, PROGRAMS
from tests.security.neighbour_kit import T
from tests.security.random_programs import Program, data_sets
from tests.security.raw_peer import against
from tests.security.test_soundness import FREE, Seen


def facts(side: Seen, ref: Ref) -> tuple[Any, ...]:
    """What a rule may go by: always, and where nothing failed."""
    found = side.candidate(ref).facts
    if found is None:
        return ("unknown",), None
    if found.failed:
        return ("public failure" if found.failed_is_public else "private", found.sources), None
    kind = "free" if found.kind in FREE else "private"
    is_bound = found.kind not in ("per_record", "verbatim")  # no rule is bound to others
    every = found.kind, found.min_records, found.injected, found.rows
    return (kind, found.sources), (*every, found.writers if is_bound else ())


def differences(one: Seen, other: Seen, refs: list[tuple[Ref, Ref]]) -> list[Any]:
    """Of which objects a rule could tell the two apart."""
    found = []
    for left, right in refs:
        (known, facts_of_one), (also, facts_of_other) = facts(one, left), facts(other, right)
        has_both = facts_of_one is not None and facts_of_other is not None
        if known != also or (has_both and facts_of_one != facts_of_other):
            found.append((left.id, known, facts_of_one, also, facts_of_other))
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rule_cannot_tell_by_labels_what_failed(name: str) -> None:
    one, other = Side(ONE), Side(OTHER)
    refs = list(zip(PROGRAMS[name](one), PROGRAMS[name](other), strict=True))
    assert not differences(one, other, refs)
    for pair in refs:
        for side, ref in zip((one, other), pair, strict=True):
            side.do(T + "zero_", side.op(T + "detach", ref))
    assert not differences(one, other, refs)


def test_a_list_of_no_rows_has_the_sources_of_one_of_some() -> None:
    def made(side: Side) -> list[Ref]:
        rows = side.op(T + "__getitem__", C, side.op(T + "__gt__", C, 5))
        box = side.op("python.collect", side.op("python.List", rows))
        end = side.op("python.Int", last(side, P))
        side.op("python.List.__getitem__", box, slice(0, end))
        return [rows]

    one, other = Side(ONE), Side(OTHER)
    assert not differences(one, other, list(zip(made(one), made(other), strict=True)))


LOSSES = ("a_class_that_is_too_large", "two_steps_of_which_one_fails", "statistics_of_what_failed",
          "an_old_gradient_that_a_failed_one_was_added_to")  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_by_a_loss_that_failed_leaves_the_labels_of_one_that_worked(name: str) -> None:
    """Kind, records, sources and writers, below what a rule is shown of a failure."""

    def labels(side: Side) -> list[Label]:
        lineage = side.engine._executor._lineage
        slots = [side.engine.store.get(ref.id) for ref in PROGRAMS[name](side)]
        return [join((slot.label, lineage.whole(slot.value))) for slot in slots]

    one, other = labels(Side(ONE)), labels(Side(OTHER))
    assert one == other
    assert {label.kind for label in one} >= {"aggregate" if "old" in name else "model"}


def test_a_rule_denies_by_a_source_whether_it_failed_or_not() -> None:
    told = []
    for matrix in (torch.eye(2), torch.zeros(2, 2)):
        with against({"m": matrix, "n": torch.ones(2)}) as (duet, raw):
            duet.requests.add_handler("deny", sources=["n"])
            total = raw.op("torch.add", raw.op("torch.linalg.inv", Ref(-1)), Ref(-2))
            raw.op("torch.Tensor.mul_", total, 2.0)
            told.append([raw.ask(ref, "a") for ref in (total, raw.op("torch.sum", total))])
    assert told[0] == told[1] == ["Denied", "Denied"]


def check(seed: int) -> None:
    """One random program; what it makes has the same labels on both data sets."""
    draw = Random(seed)
    steps = [draw.randrange(1 << 48) for _ in range(draw.randint(3, 12))]
    first, second = map(Seen, data_sets(Random(sum(steps))))
    program = Program([ref.id for ref in first.refs], first.look)
    for number in steps:
        for command in program.step(number):
            assert first.do(command) == second.do(command), (seed, command)
    refs = [Ref(id) for id in program.own]
    assert not differences(first, second, list(zip(refs, refs, strict=True))), seed


def test_random_programs_leave_the_same_labels() -> None:
    with torch.random.fork_rng(()):
        for seed in range(SEEDS):
            check(seed)


@pytest.mark.parametrize("seed", [
    8477,  # a list of tensors was to be written to, and something else was missing
    9673,  # of whole numbers torch knows no shape of a normal, but with a deviation of zero
])  # fmt: skip
def test_a_program_that_left_others_once(seed: int) -> None:
    with torch.random.fork_rng(()):
        check(seed)


SEEDS = 60
