"""What the first four examples must print, in whatever form they run; by the name of each file."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Printed = dict[str, str]


def numbers(pattern: str, text: str) -> list[float]:
    """The first group of every match."""
    return [float(found) for found in re.findall(pattern, text)]


def three_numbers_and_not_the_ages(printed: Printed) -> None:
    assert "not yet: " in printed["scientist"], "a value came without a request"
    assert "denied: " in printed["scientist"], "a denied value came"
    assert "mean age: 46.8333" in printed["scientist"]
    assert "from 22 to 88" in printed["scientist"]
    assert "the ages themselves: None (Rejected)" in printed["scientist"]
    assert "guard: the kind is verbatim" in printed["owner"]
    assert "one mean and two extremes left" in printed["owner"]


def digits_are_learnt_and_the_model_leaves_by_hand(printed: Printed) -> None:
    assert "loss ?" in printed["scientist"]
    assert re.search(r"loss \d\.\d{4}", printed["scientist"])
    before, after = re.findall(r"before ([\d.]+)%, after ([\d.]+)%", printed["scientist"])[0]
    assert float(before) < 40 and float(after) > 50
    assert "HANDLER deny 'loss'" in printed["owner"]
    assert "1 model released" in printed["owner"]


def iris_is_learnt_as_in_a_local_run(printed: Printed) -> None:
    losses = numbers(r"iteration +\d+  loss ([\d.]+)", printed["scientist"])
    assert len(losses) == 6 and losses[-1] < 0.3 < losses[0]
    assert "the remote losses equal local ones" in printed["scientist"]
    assert "owner: 60 losses, 1 model, denied ['loss']" in printed["owner"]


def two_owners_lines_are_averaged(printed: Printed) -> None:
    assert "Pointers of two sessions cannot meet" in printed["scientist"]
    lines = numbers(r"an owner's line: ([\d.]+) x", printed["scientist"])
    average = numbers(r"the average: ([\d.]+) x", printed["scientist"])
    assert average == [pytest.approx(sum(lines) / 2, abs=2e-3)]
    for owner in ("owner1", "owner2"):
        assert "released 4 losses and 2 times the line" in printed[owner]


EXAMPLES: dict[str, tuple[tuple[str, ...], Callable[[Printed], None]]] = {
    "01-basics": (("owner",), three_numbers_and_not_the_ages),
    "02-mnist": (("owner",), digits_are_learnt_and_the_model_leaves_by_hand),
    "03-iris": (("owner",), iris_is_learnt_as_in_a_local_run),
    "04-federated": (("owner1", "owner2"), two_owners_lines_are_averaged),
}
"""Folder to its owners and what must have been printed."""
