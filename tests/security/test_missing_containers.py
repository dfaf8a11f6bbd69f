"""Containers that one of two data sets cannot make, and what is put into them or taken out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_containers import PROGRAMS
from tests.security.failing_kit import ONE, OTHER, Side, difference, whole
from tests.security.neighbour_kit import DATA
from tests.security.test_labels_behind_failures import differences
from tests.unit.engine_kit import Driver

BRIEF = {
    "tensors_into_a_dict_of_a_text", "tensors_into_a_list_of_a_number",
    "boxes_into_keys_of_a_number", "tensors_into_a_list_or_nothing",
    "out_of_parts_of_a_text", "trained_by_what_lies_in_one",
    "a_tuple_that_nothing_is_added_to", "an_element_of_a_tensor_or_of_a_dict",
    "a_pass_over_a_loader_that_may_be_missing",
}  # fmt: skip


@PROGRAMS.program
def a_pass_over_a_loader_that_may_be_missing(p: Any) -> list[Ref]:
    """Who chooses the pass may go through the loader."""
    data = p.op(DATA + "TensorDataset", p.put(torch.arange(4.0)))
    size = p.op("python.Int.__sub__", whole(p), 1)  # 0 or 8
    loader = p.op(DATA + "DataLoader", data, batch_size=size)
    both = p.op("python.collect", p.op("python.iter", loader), p.put([1]))
    chosen = p.op("python.List.__getitem__", both, whole(p))
    return [p.op("python.List", loader), p.op("python.Tuple", data), chosen, data]


def _case(name: str) -> Any:
    return pytest.param(name, marks=[] if name in BRIEF else [pytest.mark.slow])


@pytest.mark.parametrize("name", [_case(name) for name in PROGRAMS])
def test_nothing_shows_or_is_labelled_otherwise(name: str) -> None:
    with torch.random.fork_rng(()):
        assert not difference(*[Side(data).shown(PROGRAMS[name]) for data in (ONE, OTHER)])
        one, other = Side(ONE), Side(OTHER)
        refs = list(zip(PROGRAMS[name](one), PROGRAMS[name](other), strict=True))
        assert not differences(one, other, refs)


@pytest.mark.parametrize("make", ["python.Dict", "python.List", "python.Tuple", "python.Set"])
def test_what_is_made_of_a_failure_is_one(make: str) -> None:
    """An empty container stands for it; the owner is told that it failed all the same."""
    d = Driver()
    number = d.run("python.Int", d.share(7, "python.Int"))
    either = d.run("python.Dict.dict_get", {7: 1}, number, [1])  # a number, though it may be a list
    missing = d.run(make, either)
    copy = d.run("python.List", missing)
    longer = d.run("python.List.__add__", copy, [3])
    for ref in (missing, copy, longer, d.run("python.len", copy)):
        facts = d.facts(ref)
        assert facts.failed and not facts.failed_is_public, ref


def test_what_is_put_into_one_is_no_failure() -> None:
    d = Driver()
    own, missing = d.run("torch.zeros", 2), d.run("python.Dict", d.share("12", "python.String"))
    d.run("python.Dict.__setitem__", missing, 0, own, outs=0)
    d.run("python.Dict.pop", missing, 0)
    facts = d.facts(own)
    assert facts.kind == "per_record" and not facts.failed  # it may lie in there, and be reached
