"""Sources of what is made of a container that a private number cut, or that holds what failed.

A rule that denies by a source would tell by them whether the number was a key of it, or whether
something that lies in it has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

T, DICT = "torch.Tensor.", "python.OrderedDict."


class Box:
    """A private number, and a matrix of another source that can be inverted or not."""

    def __init__(self, number: int, matrix: torch.Tensor) -> None:
        self.engine = Driver()
        self.op = self.engine.run
        secret = self.engine.share(torch.tensor([number]))
        self.number = self.op("python.Int", self.op(T + "__getitem__", secret, 0))
        self.inverse = self.op("torch.linalg.inv", self.engine.share(matrix))
        self.own = self.engine.put(torch.ones(2))

    def do(self, name: str, *args: Any) -> None:
        self.op(name, *args, outs=0)

    def sources(self, refs: list[Ref]) -> list[tuple[int, ...]]:
        assert not any(getattr(event, "is_public", False) for event in self.engine.events)
        return [self.engine.facts(ref).sources for ref in (*refs, self.own)]


def moved(box: Box) -> list[Ref]:
    """There may be no such key."""
    held = box.op("python.OrderedDict", [(0, box.inverse), (1, box.own)])
    box.do(DICT + "move_to_end", held, box.number)
    listed = box.op("python.List", held)
    return [held, listed, box.op("python.len", held), box.op("python.iter", held)]


def inserted(box: Box) -> list[Ref]:
    """How long it is tells nothing of what failed."""
    number = box.op(T + "item", box.op("torch.sum", box.inverse))
    held = box.op("python.collect", number, box.own)
    box.do("python.List.insert", held, box.number, box.own)
    return [box.op("python.len", held), held]


def popped(box: Box) -> list[Ref]:
    held = box.op("python.OrderedDict", [(0, box.inverse), (1, box.own)])
    taken = box.op(DICT + "pop", held, box.number, 0)
    return [held, taken, box.op("python.len", held)]


@pytest.mark.parametrize("program", [moved, inserted, popped])
def test_sources_behind_a_container_that_was_cut_tell_no_more_of_it(
    program: Callable[[Box], list[Ref]],
) -> None:
    found = []
    for number in (0, 1, 5):
        for matrix in (torch.eye(2), torch.zeros(2, 2)):
            box = Box(number, matrix)
            found.append(box.sources(program(box)))
    assert all(sources == found[0] for sources in found), found


def test_how_long_a_list_is_that_could_not_be_cut_has_failed() -> None:
    box = Box(5, torch.zeros(2, 2))
    held = box.op("python.collect", box.inverse, box.own)
    box.do("python.List.__delitem__", held, box.number)
    assert box.engine.facts(box.op("python.len", held)).failed


def test_how_long_a_list_is_has_not_failed_with_what_lies_in_it() -> None:
    box = Box(5, torch.zeros(2, 2))
    number = box.op(T + "item", box.op("torch.sum", box.inverse))
    held = box.op("python.collect", number, box.own)
    box.do("python.List.insert", held, box.number, box.own)
    length = box.op("python.len", held)
    facts = box.engine.facts(length)
    assert not facts.failed and facts.sources == (-1,)
    assert box.engine.release(length) == 3


@pytest.mark.parametrize("beside", ["an object", "a text", "a number", "an own tensor"])
def test_what_was_chosen_has_the_sources_of_a_second_choice_whatever_it_is(beside: str) -> None:
    """The owner's tensor, which nobody writes to, what lies beside it, or nothing."""
    found = []
    for number in (0, 1, 2):
        box = Box(number, torch.eye(2))
        other = box.engine.share(torch.zeros(2))
        shared = box.engine.share(torch.ones(2))
        second = box.op("python.Int", box.op(T + "__getitem__", other, 0))
        values = {"an object": other, "a text": "abc", "a number": 1, "an own tensor": box.own}
        parts = box.op("python.collect", shared, values[beside])
        chosen = box.op("python.List.__getitem__", parts, box.number)
        box.op("python.List.__getitem__", box.op("python.collect", chosen, 1), second)
        found.append(box.sources([chosen, shared, other]))
    assert found[0] == found[1] == found[2]
    assert -3 in found[0][0]
