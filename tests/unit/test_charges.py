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


N = 300
"""Of so many records n by n are more than count for a hidden size at least."""
OPERANDS = {
    "mse_loss": 2, "l1_loss": 2, "smooth_l1_loss": 2, "huber_loss": 2, "poisson_nll_loss": 2,
    "kl_div": 2, "hinge_embedding_loss": 2, "gaussian_nll_loss": 3,
}  # fmt: skip


def column(d: Driver, value: Ref) -> Ref:
    return d.ok("torch.unsqueeze", value, 1)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.filterwarnings("ignore:size_average and reduce args")
@pytest.mark.parametrize("name", [*OPERANDS, "mse_loss as it was"])
def test_a_loss_for_each_number_can_be_a_product_of_sizes(name):
    name, *old = name.split(" ", 1)
    reduction = {"reduce": False} if old else {"reduction": "none"}
    charges = set()
    for many in (200, 2):
        d = driver((torch.arange(N) < many).float())
        value = chosen(d)
        given = [column(d, value), value, value][: OPERANDS[name]]
        loss = d.run(f"torch.nn.functional.{name}", *given, **reduction)
        charges.add(d.facts(loss).charge)
    assert charges == {65_536}


def test_one_that_is_reduced_is_no_larger_than_its_operands():
    d = driver(torch.ones(N))
    value = chosen(d)
    for reduction in ("mean", "sum"):
        loss = d.ok("torch.nn.functional.mse_loss", value, value, reduction=reduction)
        assert d.facts(loss).charge == N
    loss = d.ok("torch.nn.functional.mse_loss", value, value, reduction="none")
    assert d.facts(loss).charge == 65_536


@pytest.mark.parametrize("count", [200, 218, 219])
def test_an_index_can_take_a_record_often(count):
    charges = set()
    for many in (2, N):
        d = driver((torch.arange(N) < many).float())
        wide = column(d, chosen(d))
        index = d.put(torch.zeros(count, dtype=torch.int64))
        made = [d.run("torch.index_select", wide, 0, index)]
        made.append(d.run("torch.Tensor.__getitem__", wide, index))
        made.append(d.run("torch.Tensor.__getitem__", wide, [0] * count))
        charges |= {d.facts(ref).charge for ref in made}
    assert charges == {min(count * N, 65_536)}


def test_what_is_not_hidden_counts_as_it_is():
    d = driver(torch.ones(1000))
    assert d.facts(d.ok("torch.Tensor.__add__", X, 1.0)).charge == 1000
    assert d.facts(d.ok("torch.Tensor.sum", X)).charge == 1


@pytest.mark.parametrize("values", [torch.zeros(1000), torch.ones(1000)])
@pytest.mark.parametrize("name", ["sum", "mean", "std", "count_nonzero", "nansum"])
def test_a_sum_over_all_is_one_number_however_many_there_were(values, name):
    """A mean over those that a mask chose counted as all of them, as if its size were private."""
    d = driver(values)
    value = chosen(d)
    facts = d.facts(d.ok(f"torch.Tensor.{name}", value))
    assert max(facts.charge, facts.elements) <= 1
    over_rows = d.ok("torch.Tensor.sum", d.ok("torch.Tensor.unsqueeze", value, 1), 1)
    assert d.facts(over_rows).charge >= 1000
