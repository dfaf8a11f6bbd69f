"""A pass over a loader that one of two data sets cannot make: no fact says that it is missing.

A batch size of zero, or of less, makes no loader, nor does a shuffle of no records. So what differs
between a pass and what stands in its place would tell whether a private number is positive, and
with one that is added before, each digit of it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.test_soundness import told

DATA = "torch.utils.data."
X, N = Ref(-1), Ref(-2)
Made = Callable[[Holder], Ref]


def of_a_private_size(d: Holder) -> Ref:
    """Batches of so many of one's own records."""
    data = d.run(DATA + "TensorDataset", d.put(torch.ones(4, 2)))
    return d.run(DATA + "DataLoader", data, batch_size=N)


def of_private_records(d: Holder) -> Ref:
    """Of as many as the owner has, in any order."""
    return d.run(DATA + "DataLoader", d.run(DATA + "TensorDataset", X), batch_size=2, shuffle=True)


LOADERS = (of_a_private_size, of_private_records)
WAYS: dict[str, tuple[str, ...]] = {
    "the loader": (),
    "a pass": ("python.iter",),
    "a pass of a pass": ("python.iter", "python.iter"),
    "itself": ("python.iter", "python.Iterator.__iter__"),
    "of any type": ("python.Any.__iter__", "python.Iterator.__iter__"),
    "by another name": ("python.Iterator.__iter__",),
    "a batch": ("python.iter", "python.next"),
}
USES = (
    "python.Dict.keys", "python.Bool.__pow__", "python.List.pop", "python.List", "python.Set",
    "python.Tuple", "python.String", "python.Int", "python.len", "python.Any.__len__",
    "python.Iterator.__len__", "python.next", "python.iter", "python.Iterator.__iter__",
    "python.collect", "python.Dict.fromkeys", DATA + "DataLoader", DATA + "ConcatDataset",
    DATA + "DataLoader.dataset", DATA + "DataLoader.batch_size", "torch.sum",
)  # fmt: skip


def look(number: int, made: Made, way: tuple[str, ...], use: str) -> list[object]:
    """What shows of a program on one of two data sets."""
    with torch.random.fork_rng(()):
        d = Holder({
            "x": Kept(torch.ones(number, 2), "torch.Tensor", False),
            "n": Kept(number, "python.Int", True),
        })  # fmt: skip
        value = made(d)
        for name in way:
            value = d.run(name, value)
        answer = d.run(use, value)
        d.run("python.len", answer)
        d.run("python.collect", answer)
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.parametrize("made", LOADERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_pass_shows_the_same_whether_it_could_be_made(made: Made, way: str) -> None:
    shown = [use for use in USES
             if look(4, made, WAYS[way], use) != look(0, made, WAYS[way], use)]  # fmt: skip
    assert shown == []
