"""Steps with a closure in which something fails in one of two data sets: what shows of it.

Before the first backward or behind it, with gradients of before or none, by what something stands
in for or nothing does: the writes that a step did not make count, and what an optimizer keeps does
not tell that it made one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from duet_p2p.engine import messages as m
from tests.security import failing_kit
from tests.security.failing_closures import PROGRAMS
from tests.security.failing_kit import ONE, OTHER, Program, Side
from tests.security.test_known_again import difference, facts_of

FEW = [name for name in PROGRAMS if name.startswith(("LBFGS", "Adam")) and "gradient" not in name]


class Versions(Side):
    """Keeps which change of what is asked for is the last."""

    def ask(self, ref: Any) -> None:
        self.next_call += 1
        (candidate,) = self.engine.handle(m.Snapshot(self.next_call, ref.id))
        self.told.append(candidate.facts and candidate.facts.version)


def changed(data: tuple[torch.Tensor, ...], made: Program) -> list[bool]:
    """Which objects that were asked for before the step are other values behind it."""
    side = Versions(data)
    made(side)
    half = len(side.told) // 2
    return [a != b for a, b in zip(side.told[:half], side.told[half:], strict=True)]


@pytest.fixture(autouse=True)
def generator() -> Any:
    with torch.random.fork_rng(()):
        torch.manual_seed(1)
        yield


def all_the_same(name: str) -> None:
    made = PROGRAMS[name]
    assert not failing_kit.difference(Side(ONE).shown(made), Side(OTHER).shown(made))
    assert changed(ONE, made) == changed(OTHER, made)


@pytest.mark.parametrize("name", FEW)
def test_what_fails_in_a_closure_shows_nowhere(name: str) -> None:
    all_the_same(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in FEW])
def test_nor_does_it_with_other_optimizers_and_gradients(name: str) -> None:
    all_the_same(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_leaves_the_same_words(name: str) -> None:
    one, other = (facts_of(Side(data), PROGRAMS[name]) for data in (ONE, OTHER))
    assert not [found for pair in zip(one, other, strict=True) if (found := difference(*pair))]


def test_no_error_tells_how_often_private_numbers_moved_a_weight() -> None:
    side = Side(ONE)
    PROGRAMS["LBFGS_private_numbers_and_no_failure_by_them"](side)
    told = [event for event in side.events if isinstance(event, m.OpFailed)]
    texts = [event.text for event in told if event.is_public]
    (text,) = [text for text in texts if "modified by an inplace operation" in text]
    assert "was written to since" in text
    assert not re.search(r"version [0-9]", text)


def test_that_many_failures_are_those_of_commands() -> None:
    """A program that failed in public before its step would show nothing at all."""
    side = Side(ONE)
    PROGRAMS["LBFGS_a_loss_that_something_stands_in_for"](side)
    told = [event for event in side.events if isinstance(event, m.OpFailed) and event.is_public]
    assert {event.op for event in told} == {"torch.sum", "torch.Tensor.backward"}
