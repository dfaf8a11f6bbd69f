"""What meets the records and tells them apart: public tensors, first states, dropout."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.engine import axes
from duet_p2p.engine.labels import Rows
from tests.unit.axes_kit import ATOMS, GATES, STATE, X2, X3, X4, N, judged, records


@pytest.mark.parametrize("public", [records(N, 1), records(N, 3)])
def test_a_public_tensor_that_tells_records_apart_is_injected(public):
    found = judged("mul", (X2, public), {}, [(X2, 0)], X2 * public)
    assert found is not None and found.injected
    assert judged("mse_loss", (X2, records(N, 3)), {}, [(X2, 0)], torch.zeros(())).injected


@pytest.mark.parametrize(("state", "injected"), [
    (torch.zeros(N, 2), False), (torch.ones(N, 2), False), (records(N, 2), True),
])  # fmt: skip
def test_a_first_state_that_is_the_same_for_all_records_tells_none_apart(state, injected):
    result = torch.lstm_cell(X2, (state, state), *GATES)
    found = judged("lstm_cell", (X2, (state, state), *GATES), {}, [(X2, 0)], result)
    assert found is not None and found.axis == 0 and found.injected is injected


def test_a_private_or_trained_state_that_is_not_the_records_own_closes_the_way():
    trained = torch.zeros(N, 2, requires_grad=True)
    for state, private in ((trained, False), (torch.zeros(N, 2), True)):
        result = torch.lstm_cell(X2, (state, state), *GATES)
        arguments = (X2, (state, state), *GATES)
        assert judged("lstm_cell", arguments, {}, [(X2, 0)], result, lambda t, p=private: p) is None


def test_a_private_vector_along_the_records_closes_the_way():
    vector = records(N, 1)
    assert judged("mul", (X2, vector), {}, [(X2, 0)], X2 * vector, lambda t: True) is None


@pytest.mark.parametrize(("chance", "count", "injected"), [
    (0.5, 64, False), (0.5, 63, True), (0.6, 1000, True), (0.25, 39, False), (0.25, 38, True),
    (0.1, 106, False), (0.1, 105, True),
    (0.0, 1, False), (1, 100, True),
])  # fmt: skip
def test_dropout_is_injected_where_it_could_leave_one_record(chance, count, injected):
    x = torch.ones(count, 2)
    found = axes.outcome(
        axes.Call("dropout", (x, chance), {}, x, lambda t: Rows(0, count, (), ATOMS), bool)
    )
    assert found is not None and found.injected is injected


@pytest.mark.parametrize(("before", "chance", "injected"), [
    ((0.25,), 0.5, False), ((0.5,), 0.5, True), ((0.25, 0.25), 0.5, True),
])  # fmt: skip
def test_dropouts_behind_each_other_are_injected_where_together_they_could_leave_one(
    before, chance, injected
):
    x = torch.ones(64, 2)
    rows = Rows(0, 64, (), ATOMS, thinned=frozenset(enumerate(before)))
    found = axes.outcome(axes.Call("dropout", (x, chance), {}, x, lambda t: rows, bool))
    assert found is not None and found.injected is injected


def test_a_mask_within_attention_or_between_layers_counts_as_dropout():
    found = judged("scaled_dot_product_attention", (X4, X4, X4, None, 0.5), {}, [(X4, 0)], X4)
    assert found is not None and found.injected and found.thinned is not None
    layers = ([*GATES], True, 1, 0.5, True, False, True)
    found = judged("lstm", (X3, (STATE, STATE), *layers), {}, [(X3, 0)], (X3, STATE, STATE))
    assert found is not None and found.injected and found.axes == (0, 1, 1)
