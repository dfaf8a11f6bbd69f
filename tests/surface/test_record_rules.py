"""Every rule on the record axis against torch itself, by torch's own database of samples.

A sample's tensor is said to have its records on each of its axes in turn. Where the rule keeps the
axis without calling anything injected, the oracle is brute force: records in another order give
the results in that order, and a change of one record changes nothing of the others. Where it
reduces the axis, another order changes nothing.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_unflatten

from duet_p2p.engine import axes
from duet_p2p.engine.judge import OVERWRITES
from duet_p2p.engine.labels import Atom, Rows
from duet_p2p.surface.table import TABLE
from tests.surface import (
    record_sweep,
    replay,  # noqa: F401 - makes samples quick
)

ATOMS = frozenset({Atom(frozenset({-1}), ("whole",))})
SAMPLES = 4
KNOWN = {*axes._RULES, *OVERWRITES}
MIXES = frozenset({"torch.nn.functional.batch_norm"})
"""In training the mean of the batch is in each of its rows."""
TURNED = frozenset({"torch.nn.functional.embedding"})
"""The database calls it with its first two arguments in another order."""


def name_of(op: Any) -> str:
    names = [f"torch.{op.name}"] + [f"torch.Tensor.{op.name}"] * ("." not in op.name)
    return next((n for n in names if n in TABLE and axes.base_name(n) in axes._RULES), "")


OPS = {op.formatted_name: op for op in op_db if name_of(op) and name_of(op) not in TURNED}


class Case:
    """One sample with records on some axes of some of its tensors."""

    def __init__(self, op: Any, given: Any, marked: dict[int, int]) -> None:
        leaves, self.spec = tree_flatten(given)
        self.leaves = [t.detach().clone() if isinstance(t, torch.Tensor) else t for t in leaves]
        self.marked, self.op = marked, op
        at, axis = next(iter(marked.items()))
        self.count = self.leaves[at].shape[axis]

    def call(self, leaves: list[Any]) -> list[torch.Tensor] | None:
        args, kwargs = tree_unflatten(leaves, self.spec)
        torch.manual_seed(0)
        try:
            self.result = self.op.op(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError, TypeError):
            return None  # indices that were moved can be out of range
        self.args, self.kwargs = args, kwargs
        return [t for t in tree_flatten(self.result)[0] if isinstance(t, torch.Tensor)]

    def outcome(self) -> axes.Outcome | None:
        rows = {
            id(self.leaves[at]): Rows(axis, self.count, ("whole",), ATOMS)
            for at, axis in self.marked.items()
        }
        return axes.outcome(
            axes.Call(
                axes.base_name(name_of(self.op)), self.args, self.kwargs, self.result,
                lambda t: rows.get(id(t)), lambda t: False,
            )
        )  # fmt: skip

    def moved(self, order: torch.Tensor) -> list[Any]:
        return [
            t.index_select(self.marked[at], order) if at in self.marked else t
            for at, t in enumerate(self.leaves)
        ]

    def changed(self) -> list[Any]:
        leaves = [t.clone() if isinstance(t, torch.Tensor) else t for t in self.leaves]
        for at, axis in self.marked.items():
            target = leaves[at].select(axis, 0)
            target.copy_(target * 0.5 + 0.25)
        return leaves


def cases(op: Any) -> Iterator[Case]:
    dtype = torch.float32 if torch.float32 in op.dtypes else torch.int64
    for sample in itertools.islice(op.sample_inputs("cpu", dtype), SAMPLES):
        given = (sample.input, *sample.args), sample.kwargs
        leaves = tree_flatten(given)[0]
        places = [
            [(at, axis) for axis in range(leaf.ndim) if leaf.shape[axis] > 1]
            for at, leaf in enumerate(leaves)
            if isinstance(leaf, torch.Tensor)
        ][:3]
        for place in itertools.chain(*places):
            yield Case(op, given, dict([place]))
        for one, other in itertools.product(*places[:2]) if len(places) > 1 else ():
            if leaves[one[0]].shape[one[1]] == leaves[other[0]].shape[other[1]]:
                yield Case(op, given, dict([one, other]))


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


def broken(case: Case) -> str:
    """What a rule promises that torch does not keep; empty if it keeps it."""
    before = case.call(case.leaves)
    found = None if before is None else case.outcome()
    if found is None or before is None or found.injected or found.thinned or found.rekeyed:
        return ""
    places = found.axes or (found.axis,) * len(before)
    if not found.is_reduced and any(
        axis >= t.ndim or t.shape[axis] != case.count
        for axis, t in zip(places, before, strict=False)
    ):
        return ""  # then the rows count for nothing (Lineage.rows)
    order = torch.arange(case.count).roll(1)
    after = case.call(case.moved(order))
    for axis, one, other in zip(places, before, after or (), strict=False):
        if not same(one if found.is_reduced else one.index_select(axis, order), other):
            return "another order of the records gives something else"
    is_float = all(case.leaves[at].is_floating_point() for at in case.marked)
    if found.is_reduced or not is_float or name_of(case.op) in MIXES:
        return ""
    after = case.call(case.changed())
    for axis, one, other in zip(places, before, after or (), strict=False):
        rest = slice(1, case.count)
        kept = torch.arange(case.count)[rest]
        if not same(one.index_select(axis, kept), other.index_select(axis, kept)):
            return "a change of one record changed another's result"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("entry", OPS)
def test_a_rule_keeps_what_it_promises(entry: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [(case.marked, why) for case in cases(OPS[entry]) if (why := broken(case))]
    assert found == []


def test_the_oracle_finds_a_rule_that_promises_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(axes._RULES, "cumsum", axes._RULES["relu"])
    assert any(broken(case) for case in cases(OPS["cumsum"]))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_calls_of_every_rule_keep_its_promises() -> None:
    found = []
    for base, name in {axes.base_name(n): n for n in reversed(record_sweep.NAMES)}.items():
        # the elementwise ones have one rule
        found += record_sweep.sweep(name, 3 if base in axes.ELEMENTWISE else 15)[1]
    assert found == []


@pytest.mark.parametrize(("name", "like", "why"), [
    ("torch.softmax", "relu", "a change of one record changed another's result"),
    ("torch.sort", "relu", "another order of the records gives something else"),
    ("torch.amax", "sum", "a number over all records depends on one of them"),
    ("torch.roll", "relu", "another order of the records gives something else"),
])  # fmt: skip
def test_random_calls_find_a_rule_that_promises_too_much(
    monkeypatch: pytest.MonkeyPatch, name: str, like: str, why: str
) -> None:
    monkeypatch.setitem(axes._RULES, axes.base_name(name), axes._RULES[like])
    _, found = record_sweep.sweep(name, 300)
    assert any(text.endswith(why) for text in found)


def test_names_without_a_rule_are_told_and_those_with_one_are_not() -> None:
    names = record_sweep.closed()
    assert {"bincount", "unique", "torch.linalg.lstsq", "pdist"} <= set(names)
    assert not {"histc", "index_add", "fft_fft", "relu", "ctc_loss"} & set(names)


def test_the_table_says_of_each_name_whether_it_has_a_rule() -> None:
    wrong = []
    for name, rule in TABLE.items():
        if not name.startswith("torch."):
            continue  # Python's own types have no records
        base = axes.base_name(name)
        if rule.record == "opaque" and base in axes._RULES:
            wrong.append(f"{name} has a rule")
        elif rule.record in ("row_uniform", "reduce") and base not in KNOWN:
            wrong.append(f"{name} has none")
    assert wrong == []


def test_what_sums_over_records_is_called_so() -> None:
    """Where random calls of a name were reduced, its column says that this can be."""
    names = ["torch.sum", "torch.tensordot", "torch.relu", "torch.index_add", "torch.addbmm"]
    for name in names:
        found = [
            attempt for attempt in record_sweep.attempts(name, 200)
            if (call := attempt.run()) and (made := axes.outcome(call)) and made.is_reduced
        ]  # fmt: skip
        assert bool(found) == (TABLE[name].record == "reduce"), name


def test_most_names_with_a_rule_are_in_the_database() -> None:
    assert len(OPS) > 200
