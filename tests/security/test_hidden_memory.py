"""Facts of an own tensor, and of a view of it, after a write that private values keep from working.

What is written has a private shape, or is missing since it failed; or the write itself fails. In
each of these data sets as many facts of the tensor are hidden, and of all that lies in its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.test_soundness import told

T, F = "torch.Tensor.", "torch.nn.functional."
SIZES, PLACE = Ref(-1), Ref(-2)
FACTS = ("numel", "size", "requires_grad", "is_leaf", "dtype")


class Written(NamedTuple):
    """An own tensor, a view of it, and a number of a private shape: 2, or missing."""

    own: Ref
    view: Ref
    number: Ref

    def scaled(self, d: Holder, factor: float = 1.0) -> Ref:
        return d.run("python.Float.__mul__", d.run("python.Float", self.number), factor)

    def flag(self, d: Holder) -> Ref:
        return d.run("python.Bool", self.number)


Write = Callable[[Holder, Written], None]
WRITES: dict[str, Write] = {
    "data of a view": lambda d, w: d.run(T + "data=", w.view, w.number, outs=0),
    "data of the whole": lambda d, w: d.run(T + "data=", w.own, w.number, outs=0),
    "data that fit": lambda d, w: d.run(
        T + "data=", w.view, d.run("torch.reshape", w.number, [1]), outs=0),
    "a gradient of a view": lambda d, w: d.run(T + "grad=", w.view, w.number, outs=0),
    "a gradient of the whole": lambda d, w: d.run(T + "grad=", w.own, w.number, outs=0),
    "whether a view wants one": lambda d, w: d.run(T + "requires_grad_", w.view, w.flag(d)),
    "whether the whole wants one": lambda d, w: d.run(T + "requires_grad_", w.own, w.flag(d)),
    "the same by its name": lambda d, w: d.run(
        T + "requires_grad=", w.own, w.flag(d), outs=0),
    "a mask of a chance that is none": lambda d, w: d.run(
        F + "dropout", w.view, w.scaled(d), True, True),
    "a mask of a chance": lambda d, w: d.run(
        F + "dropout", w.view, w.scaled(d, 0.25), True, True),
    "slopes out of their order": lambda d, w: d.run(
        F + "rrelu", w.view, w.scaled(d), 0.9, True, True),
    "a slope": lambda d, w: d.run(F + "leaky_relu", w.view, w.scaled(d), inplace=True),
    "an element": lambda d, w: d.run(T + "__setitem__", w.view, 0, w.number, outs=0),
    "a copy": lambda d, w: d.run(T + "copy_", w.view, w.number),
}  # fmt: skip


def look(place: int, write: Write) -> list[object]:
    """What shows of a program on one of two data sets."""
    with torch.random.fork_rng(()):
        d = Holder({
            "sizes": Kept(torch.ones(2), "torch.Tensor", False),
            "place": Kept(torch.tensor([place]), "torch.Tensor", True),
        })  # fmt: skip
        own = d.run("torch.zeros", [6])
        view = d.run(T + "__getitem__", own, slice(0, 1))
        zero = d.run(T + "long", d.run("torch.mul", SIZES, 0))
        rows = d.run(F + "embedding", d.run("torch.add", zero, PLACE), d.run("torch.ones", [4, 1]))
        write(d, Written(own, view, d.run("torch.sum", rows)))
        for ref in (own, view):
            for fact in FACTS:
                d.run(T + fact, ref)
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.parametrize("name", WRITES)
def test_facts_of_what_was_to_be_written_to_show_the_same(name: str) -> None:
    assert look(0, WRITES[name]) == look(9, WRITES[name])
