"""An assignment at places of each record is a function of it; one that names records is none."""

from __future__ import annotations

import pytest
import torch

from tests.unit.axes_kit import CLASSES, X2, N, judged, records

MASK = X2 > 0.5
ASSIGNED = {
    "a mask of all numbers": lambda x, m: m,
    "a mask of records": lambda x, m: m[:, 0],
    "a feature": lambda x, m: (slice(None), 1),
    "features by a mask": lambda x, m: (slice(None), torch.tensor([True, False, True])),
    "the last ones": lambda x, m: (..., slice(1, None)),
}
REFUSED = {
    "a record": lambda x, m: 2,
    "some records": lambda x, m: slice(1, None),
    "records by number": lambda x, m: torch.tensor([0, 1]),
    "one of each": lambda x, m: (torch.arange(N), CLASSES),
    "a mask of one's own": lambda x, m: torch.arange(N) > 2,
    "a mask that lies across": lambda x, m: m[:3, 0],
    "a new axis": lambda x, m: (None, slice(None)),
}


def assigned(x, mask, index):
    made, key = x.clone(), index(x, mask)
    places = [(made, 0), *([(key, 0)] if isinstance(key, torch.Tensor) else [])]
    made[key] = 0.25
    return made, key, places


@pytest.mark.parametrize("name", ASSIGNED)
def test_an_assignment_of_a_number_is_one_function_of_each_record(name):
    index, order = ASSIGNED[name], torch.tensor([3, 1, 5, 0, 4, 2])
    made, key, places = assigned(X2, MASK, index)
    found = judged("setitem", (made, key, 0.25), {}, places, None)
    assert (found.axis, found.injected) == (0, False)
    assert torch.equal(assigned(X2[order], MASK[order], index)[0], made[order])
    other, changed = X2.clone(), MASK.clone()
    other[3], changed[3] = 1.2 - other[3], ~changed[3]
    differs = (assigned(other, changed, index)[0] != made).any(1)
    assert not differs[[0, 1, 2, 4, 5]].any()


@pytest.mark.parametrize("name", REFUSED)
def test_an_assignment_that_names_records_closes_the_way(name):
    key = REFUSED[name](X2, MASK)
    assert judged("setitem", (X2, key, 0.25), {}, [(X2, 0)], None) is None


@pytest.mark.parametrize("value", [records(N), records(3), torch.tensor(0.5, requires_grad=True)])
def test_an_assignment_of_more_than_a_number_closes_the_way(value):
    assert judged("setitem", (X2, MASK, value), {}, [(X2, 0), (MASK, 0)], None) is None
