"""A hidden size counts for its upper bound: no quota tells it."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

X = Ref(-1)


def driver(values: torch.Tensor, **quotas: int) -> Driver:
    made = Driver(quotas)
    made.share(values, tags=["x"])
    made.last = []
    return made


def chosen(d: Driver) -> Ref:
    return d.ok("torch.Tensor.__getitem__", X, d.ok("torch.Tensor.__gt__", X, 0.0))


@pytest.mark.parametrize("name", ["torch.Tensor.nonzero", "torch.masked_select", "torch.unique"])
def test_how_many_results_fit_does_not_depend_on_values(name):
    counts = set()
    for values in (torch.zeros(1000), torch.ones(1000)):
        d = driver(values, stored_bytes=48_000)
        mask = [d.ok("torch.Tensor.__gt__", X, 0.0)] if name == "torch.masked_select" else []
        fits = 0
        while not d.failures() and fits < 100:
            d.run(name, X, *mask)
            fits += 1
        (failure,) = d.failures()
        assert failure.is_public and failure.code == "QuotaExceeded"
        counts.add(fits)
    (fits,) = counts
    assert 1 < fits < 20


@pytest.mark.parametrize("values", [torch.zeros(1000), torch.ones(1000)])
def test_what_is_computed_from_a_hidden_size_counts_for_its_bound_too(values):
    d = driver(values, stored_bytes=20_000)
    value = chosen(d)
    for _ in range(2):
        value = d.ok("torch.Tensor.__add__", value, 1.0)
    assert d.failed("torch.Tensor.__add__", value, 1.0).is_public


def test_a_request_for_a_hidden_size_counts_for_its_bound():
    for values in (torch.zeros(1000), torch.ones(1000)):
        d = driver(values)
        facts = d.facts(chosen(d))
        assert facts.charge >= 1000 and facts.elements in (0, 1000)
    assert len({driver(v).facts(X).charge for v in (torch.zeros(9), torch.ones(9))}) == 1


def test_charges_do_not_depend_on_values():
    charges = set()
    for values in (torch.zeros(1000), torch.ones(1000)):
        d = driver(values)
        charges.add(d.facts(d.ok("torch.Tensor.mul", chosen(d), 2.0)).charge)
    assert len(charges) == 1


def test_what_is_not_hidden_counts_as_it_is():
    d = driver(torch.ones(1000))
    assert d.facts(d.ok("torch.Tensor.__add__", X, 1.0)).charge == 1000
    assert d.facts(d.ok("torch.Tensor.sum", X)).charge == 1
