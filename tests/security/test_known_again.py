"""Rules that compare words and labels: tags, sources, forms, a recipe that was denied before.

A rule that denied something under a name knows its recipe again under another one, a rule on tags
compares those that a result has of its inputs and its operation, one on sources compares those, and
what is accepted always compares forms. All of them look at private values too, so all that they
compare must be worked out of the commands, whatever the values are: failed or not, one batch or
another, written to or not. Each program made for two data sets leaves the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p.engine import messages as m
from duet_p2p.engine.labels import UNBOUND
from duet_p2p.owner.essence import essence_of
from duet_p2p.wire.values import Ref
from tests.security import failing_kit, neighbour_kit, test_neighbour_containers, test_neighbours
from tests.security.failing_kit import Program, Side
from tests.security.raw_peer import against
from tests.security.test_neighbour_containers import Neighbour
from tests.security.test_neighbour_failures import PROGRAMS as FAILING
from tests.unit.test_datasets import write_files

NEIGHBOURS = {**test_neighbours.PROGRAMS, **test_neighbour_containers.PROGRAMS}
ALL = {**NEIGHBOURS, **FAILING}


def both_sides(name: str, folder: Path) -> Iterator[Side]:
    """An engine with each of the two data sets that a program is made for."""
    if name in NEIGHBOURS:
        yield from map(Neighbour, (neighbour_kit.ONE, neighbour_kit.OTHER))
    else:
        write_files(folder)
        for data in (failing_kit.ONE, failing_kit.OTHER):
            yield Side(data, {"digits": str(folder)})


def facts_of(side: Side, made: Program) -> list[m.Facts | None]:
    """Facts of what a program made."""
    told: list[m.Facts | None] = []
    for ref in made(side):
        side.next_call += 1
        (candidate,) = side.engine.handle(m.Snapshot(side.next_call, ref.id))
        told.append(candidate.facts)
    return told


def difference(one: m.Facts | None, other: m.Facts | None) -> str:
    """What rules compare of a value, and is another one in the other data set; empty if nothing is.

    A failure has no kind, and nothing is bound to what has no form.
    """
    if one is None or other is None:
        return "" if one is other else "facts at all"
    compared = {"tags", "sources", "injected", "source_names", "form", "has_random"}
    if not (one.failed or other.failed):
        compared |= {"kind", "min_records", "rows"}
        compared |= {"writers", "foreseen"} if one.form != UNBOUND else set()
    found = sorted(name for name in compared if getattr(one, name) != getattr(other, name))
    is_same = essence_of(one.recipe) == essence_of(other.recipe)
    return ", ".join(found if is_same else ["recipe", *found])


@pytest.mark.parametrize("name", ALL)
def test_a_program_leaves_the_same_words_of_two_data_sets(name: str, tmp_path: Path) -> None:
    told = []
    with torch.random.fork_rng(()):
        for side in both_sides(name, tmp_path):
            torch.manual_seed(1)  # for what a program uploads
            told.append(facts_of(side, ALL[name]))
    one, other = told
    assert len(one) == len(other)
    assert not any([difference(*pair) for pair in zip(one, other, strict=True)])


# the same by the raw wire, with the rule that told it


def _answers(data: tuple[torch.Tensor, ...], rule: dict[str, Any], made: Any) -> list[str]:
    with against(dict(zip("mpcn", data, strict=True))) as (duet, raw):
        duet.requests.add_handler(action="deny", **rule)
        first, second = made(raw)
        return [raw.ask(first, "big"), raw.ask(second, "other")]


def _inverse(p: Any) -> tuple[Ref, Ref]:
    made = p.op("torch.linalg.inv", failing_kit.M)
    return made, made


def _two_batches(p: Any) -> tuple[Ref, Ref]:
    """Of which the second one is missing where there are three numbers, and not where four."""
    data = p.op("torch.utils.data.TensorDataset", failing_kit.few(p))
    passing = p.op("python.iter", p.op("torch.utils.data.DataLoader", data, batch_size=3))
    return p.op("python.next", passing), p.op("python.next", passing)


def _two_lists(p: Any) -> tuple[Ref, Ref]:
    """Of which a private number chooses the one that grows, and one that was chosen and did not."""
    first, second, third, fourth = (p.put([1]) for _ in range(4))
    place = p.op("python.Int.__floordiv__", failing_kit.whole(p), 9)
    chosen = p.op("python.List.__getitem__", p.op("python.collect", first, second), place)
    p.op("python.List.__getitem__", p.op("python.collect", third, fourth), place)
    p.do("python.List.append", chosen, 7)
    return p.op("python.len", first), p.op("python.len", third)


ASKED = {
    "tags of what failed": ({"tags": ["inv", "m"]}, _inverse),
    "a batch that is missing": ({"name": "big"}, _two_batches),
    "which list grew": ({"name": "big"}, _two_lists),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_rule_that_denies_tells_nothing_of_it(what: str) -> None:
    rule, made = ASKED[what]
    answers = [_answers(data, rule, made) for data in (failing_kit.ONE, failing_kit.OTHER)]
    assert answers[0] == answers[1]
    assert "Denied" in answers[0]
