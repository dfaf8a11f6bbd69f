"""What the list of shared objects tells of them by itself, before anybody asks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import against


def net(weight: float) -> nn.Module:
    made = nn.Linear(2, 2)
    nn.init.constant_(made.weight, weight)
    return made


ALIKE: dict[str, tuple[Any, Any]] = {
    "persons as the keys of a dict": ({"Anna": 31, "Bob": 25}, {"Ines": 31, "Kim": 25}),
    "keys of other lengths": ({"Anna": 31}, {"A person with a long name": 31}),
    "keys of an ordered dict": (OrderedDict(a=1.0, b=2.0), OrderedDict(c=1.0, d=2.0)),
    "keys over tensors": ({"Anna": torch.ones(2)}, {"Ines": torch.ones(2)}),
    "keys within": ({"x": {"Anna": 31}}, {"x": {"Ines": 31}}),
    "numbers as keys": ({31: "a"}, {10**30: "a"}),
    "texts of other lengths": (["ill"], ["well, and a good deal better than before"]),
    "one text": ("ill", "well, and a good deal better than before"),
    "bytes": (b"\0", b"\0" * 100),
    "numbers of other sizes": (1, 10**40),
    "no number": (0.5, float("nan")),
    "yes and no": (True, False),
    "what is in a set": ({1, 2}, {3, 10**20}),
    "numbers in a tensor": (torch.zeros(3), torch.tensor([float("nan"), 1e30, -1.0])),
    "a data set": (TensorDataset(torch.zeros(3)), TensorDataset(torch.ones(3))),
    "weights": (net(0.0), net(1.0)),
}
HIDDEN: dict[str, tuple[Any, Any]] = {
    "how many records": (torch.zeros(3), torch.zeros(30_000)),
    "their type": (torch.zeros(3), torch.zeros(3, dtype=torch.int8)),
    "how many axes": (torch.zeros(3), torch.zeros(3, 1, 2)),
    "how many are in a list": ([1], [1] * 300),
    "how many are in a dict": ({"a": 1}, {str(n): 1 for n in range(300)}),
    "how many are in a data set": (TensorDataset(torch.zeros(3)), TensorDataset(torch.ones(300))),
    "the layers of a network": (net(0.0), nn.Sequential(net(0.0), net(1.0))),
    "a long text": ("", "x" * 10_000),
}


def told(value: Any, shapes: str) -> list[bytes]:
    """Every numbered message but the first, which has a random epoch in it."""
    with against() as (duet, raw):
        duet.send(value, tags=["shared"], description="a shared object", shapes=shapes)
        for name in ("python.len", "torch.Tensor.shape", "torch.Tensor.dtype", "python.Dict.keys"):
            raw.ask_for(raw.op(name, Ref(-1)))
        raw.wait_for_end()
        raw.wait(lambda: len([m for m in raw.answers if hasattr(m, "call")]) == 4)
        return [encode_message(m) for m in raw.answers if not isinstance(m, wire.StoreSnapshot)]


@pytest.mark.parametrize("what", ALIKE)
def test_no_value_is_told_by_the_list(what: str) -> None:
    """It told the keys of a dict, which are values like others, and nobody was asked."""
    one, other = (told(value, "public") for value in ALIKE[what])
    assert one == other


@pytest.mark.parametrize("what", HIDDEN)
def test_of_private_shapes_it_tells_no_size_and_no_type(what: str) -> None:
    one, other = (told(value, "private") for value in HIDDEN[what])
    assert one == other
