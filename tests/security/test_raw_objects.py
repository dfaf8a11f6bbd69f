"""An object of the owner's is raw data to every rule and text, also one of a private shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import owner_bridge, owner_pair

__all__ = ["owner_bridge", "owner_pair"]

OBJECTS: dict[str, Any] = {
    "tensor": torch.rand(12, 3),
    "list": [1, 2.0, torch.ones(2)],
    "tuple": (1, torch.ones(2)),
    "dict": {"Anna": 34},
    "set": {1, 2},
    "text": "Anna",
    "int": 2**70,
    "module": torch.nn.Linear(3, 1),
}


@pytest.mark.parametrize("shapes", ["public", "private"])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_rule_that_denies_raw_data_denies_it(pair, name, shapes):
    """Of a private shape it was called `per_record`, and left by a rule that accepts the rest."""
    duet, scientist = pair
    duet.send(OBJECTS[name], tags=["data"], shapes=shapes)
    scientist.request(-1, "first")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    assert (request.kind, request.min_records) == ("verbatim", 1)
    assert f"value       verbatim: {request.object_type}" in str(request)
    request.deny()
    duet.requests.add_handler("deny", kinds="verbatim")
    duet.requests.add_handler("accept")
    answer = scientist.answer(scientist.request(-1, "again"))
    assert type(answer).__name__ == "Denied"


def test_what_is_made_of_it_is_judged_as_before(pair):
    """Its size may tell a number, so it is no copy of records alone; nor is a length one."""
    duet, scientist = pair
    duet.send(OBJECTS["tensor"], tags=["data"], shapes="private")
    for out, name in enumerate(("torch.Tensor.clone", "torch.mean", "python.len"), 1):
        scientist.op(name, out, Ref(-1))
        scientist.request(out, name)
    scientist.wait_for(lambda: len(duet.requests) == 3)
    assert [request.kind for request in duet.requests] == ["per_record"] * 3
