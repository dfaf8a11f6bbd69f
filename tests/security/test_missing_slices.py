"""Whether one end of a slice is there does not show in the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.test_soundness import WHOLE, Seen, T, V, X, told

DIST = "torch.distributions."
LIST = "python.List."
SLICE = "python.Slice"


def number(d: Seen) -> Ref:
    return d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))


ENDS: dict[str, Callable[[Seen, Ref], Ref]] = {
    "an element": lambda d, own: d.run(T + "__getitem__", V, number(d)),
    "a part": lambda d, own: d.run(T + "narrow", X, 0, number(d), 1),
    "a sample": lambda d, own: d.run(DIST + "Distribution.sample", d.run(DIST + "Poisson", V)),
    "a distribution": lambda d, own: d.run(DIST + "Beta", V, own),
    "a distribution with a view": lambda d, own: d.run(DIST + "Normal", own, V),
}
USES: dict[str, Callable[[Seen, Ref], Any]] = {
    "none": lambda d, made: None,
    "a list": lambda d, made: d.run(
        LIST + "__setitem__", d.run("python.collect", X, 1), made, [1], outs=0
    ),
    "its start": lambda d, made: d.run(T + "add_", d.run(SLICE + ".start", made), 1),
    "a tensor": lambda d, made: d.run(
        T + "__setitem__", d.run("torch.zeros", 3), made, 1.0, outs=0
    ),
    "an element": lambda d, made: d.run(
        LIST + "__getitem__", d.run("python.collect", made, 1), number(d)
    ),
    "its length": lambda d, made: d.run("python.len", d.run("python.collect", made, 1)),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("end", ENDS)
def test_an_end_of_a_slice_tells_not_whether_the_other_is_there(end: str, use: str) -> None:
    whole, v = torch.zeros(6, dtype=torch.int64), torch.full((6,), 0.5)
    seen = []
    for values, index in ((v, whole), (-v, whole - 9)):
        d = Seen({"x": torch.ones(6, 4), "v": values, "i": index, "b": whole > 0})
        own, leaf = d.run("torch.zeros", []), d.run("torch.full", [6], 2.0, requires_grad=True)
        view, joined = d.run(T + "view", own, 1), d.run("torch.sum", leaf)
        USES[use](d, d.run(SLICE, own, ENDS[end](d, leaf), joined))
        for tensor in (own, view, leaf, joined):
            d.run("torch.add", tensor, 1)
        d.run(T + "backward", joined, outs=0)
        d.run(T + "grad", leaf)
        seen.append(d)
    first, second = seen
    assert told(first) == told(second)
    for id in range(1, first.next_id + 1):
        assert first.verdict(id) == second.verdict(id), id
