"""A way back that failed in private, or had nothing to go back from, uses up graphs all the same.

Whether a graph is used up is told as soon as the next way back goes through it. So it is used up by
the command, and by where that goes back to, and not by whether it worked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import Side, T

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
GRAD = "torch.autograd.grad"
ENDS = ("leaf", "other", "below", "inner", "beside", "missing")


def from_what_is_missing(s: Side, inner: Ref, beside: Ref) -> tuple[Ref, Ref, Any]:
    """The root, what is missing in its graph, and the gradient that it begins with."""
    missing = s.missing(inner)
    return s.op("torch.sum", s.op("torch.mul", missing, beside)), missing, None


def with_a_gradient_that_is_missing(s: Side, inner: Ref, beside: Ref) -> tuple[Ref, Ref, Any]:
    return s.op("torch.mul", inner, beside), inner, s.missing(s.third())


def with_one_that_does_not_fit(s: Side, inner: Ref, beside: Ref) -> tuple[Ref, Ref, Any]:
    return s.op("torch.mul", inner, beside), inner, s.hidden(s.third())


def go_back(s: Side, way: str, root: Ref, start: Any, end: Ref | None, **settings: Any) -> None:
    if way == GRAD:
        s.op(GRAD, [root], [end], None if start is None else [start], **settings)
        return
    s.do(way, root, start, **({} if end is None else {"inputs": [end]}), **settings)


def told(
    number: int, way: str, begin: Callable[..., tuple[Ref, Ref, Any]], end: str, **settings: Any
) -> list[Any]:  # fmt: skip
    """Which of three tensors nothing goes back through any more, and their sources."""
    s = Side(number)
    below, beside = s.op("torch.exp", s.leaf), s.op("torch.exp", s.other)
    inner = s.op("torch.exp", below)
    root, missing, start = begin(s, inner, beside)
    ends = {"leaf": s.leaf, "other": s.other, "below": below, "inner": inner, "beside": beside,
            "missing": missing}  # fmt: skip
    go_back(s, way, root, start, ends.get(end), **settings)
    found: list[Any] = []
    for tensor in (below, inner, beside):
        before = len(s.failures())
        s.do(T + "backward", s.op("torch.sum", tensor), retain_graph=True)
        found.append(len(s.failures()) - before)
    return [*found, s.shown(below, inner, beside)]


@pytest.mark.parametrize("way", [T + "backward", GRAD])
@pytest.mark.parametrize("end", [*ENDS, ""])
@pytest.mark.parametrize("begin", [
    from_what_is_missing, with_a_gradient_that_is_missing, with_one_that_does_not_fit,
])  # fmt: skip
def test_it_does_not_show_whether_a_way_back_worked(
    begin: Callable[..., tuple[Ref, Ref, Any]], end: str, way: str
) -> None:
    if end or way != GRAD:
        assert told(1, way, begin, end) == told(2, way, begin, end)


@pytest.mark.parametrize("way", [T + "backward", GRAD])
def test_what_is_to_be_kept_is_kept(way: str) -> None:
    for number in (1, 2):
        found = told(number, way, from_what_is_missing, "leaf", retain_graph=True)
        assert found[:3] == [0, 0, 0]
        assert told(number, way, from_what_is_missing, "leaf")[:3] == [1, 1, 0]
