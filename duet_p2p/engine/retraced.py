"""The graphs of gradients that a backward did not make, since it failed half-way.

With ``create_graph=True`` a gradient has a graph of its own or none, as the operations decide, and
anybody may ask which. So where a backward fails on private values its way is gone once more, node
by node. What a node that fails would have given are zeros, in the graph of all that they would have
been computed from. The numbers mean nothing; only the graphs are like those of a way that worked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd.function import BackwardCFunction

from duet_p2p.engine.joined import joined
from duet_p2p.engine.judge import may_join
from duet_p2p.engine.kept import kept_by, unwritten
from duet_p2p.engine.nodes import node_of

__all__ = ["retraced"]


def retraced(
    roots: Iterable[tuple[torch.Tensor, torch.Tensor | None]],
    chosen: list[torch.Tensor],
    inner: Iterable[torch.Tensor] = (),
    *,
    has_graph: bool,
) -> dict[int, torch.Tensor]:
    """What comes to the leaves of these graphs, each with the graph that it would have.

    Args:
        roots: where to begin, each with its gradient; None: ones.
        chosen: tensors that private values chose, or what counts the writes to them.
        inner: tensors that are no leaves, and whose gradients are wanted, too.
        has_graph: what comes has a graph, where it depends on something that has one.

    Returns:
        By the identity of the leaf, or inner tensor; without those that nothing comes to.
    """
    found: dict[int, torch.Tensor] = {}
    arrived: dict[Any, list[torch.Tensor | None]] = {}
    wanted: dict[Any, list[torch.Tensor]] = {}
    for tensor in inner:
        if (node := node_of(tensor)) is not None:
            wanted.setdefault(node, []).append(tensor)
    with torch.set_grad_enabled(has_graph):
        starts = []
        for root, start in roots:
            begin = torch.ones_like(root) if start is None else start
            if (first := node_of(root)) is None:
                found[id(root)] = _sum(found.get(id(root)), begin)
                continue
            starts.append(first)
            _arrive(arrived, first, root.output_nr, begin)
        for node in _in_order(starts):
            grads = arrived.pop(node, None)
            if grads is None:
                continue
            for tensor in wanted.get(node, ()):
                if (grad := grads[tensor.output_nr]) is not None:
                    found[id(tensor)] = grad
            if (leaf := getattr(node, "variable", None)) is not None and not node.next_functions:
                if grads[0] is not None:
                    found[id(leaf)] = _sum(found.get(id(leaf)), grads[0])
                continue
            given = _given(node, grads, chosen)
            for (below, number), grad in zip(node.next_functions, given, strict=False):
                if below is not None and grad is not None:
                    _arrive(arrived, below, number, grad)
    return found


def _in_order(starts: list[Any]) -> list[Any]:
    """All nodes below these, each before what lies below it."""
    done: list[Any] = []
    seen: set[Any] = set()
    stack = [(node, False) for node in starts]
    while stack:
        node, is_over = stack.pop()
        if is_over:
            done.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack += [(below, False) for below, _ in node.next_functions if below is not None]
    return done[::-1]


def _arrive(
    arrived: dict[Any, list[torch.Tensor | None]], node: Any, number: int, grad: torch.Tensor
) -> None:
    """One more gradient of one of a node's outputs, in the form that this has."""
    metadata = node._input_metadata
    if number < len(metadata):
        grad = _fitted(grad, metadata[number])
    listed = arrived.setdefault(node, [None] * max(1, len(metadata), number + 1))
    listed[number] = _sum(listed[number], grad)


def _fitted(grad: torch.Tensor, of: Any) -> torch.Tensor:
    """A gradient as the engine of torch hands it on: summed where there was a broadcast."""
    with contextlib.suppress(RuntimeError):
        grad = grad if grad.shape == of.shape else grad.sum_to_size(of.shape)
        return grad.to(of.dtype)
    return _zeros(of, [grad])


def _zeros(of: Any, sources: list[torch.Tensor]) -> torch.Tensor:
    """Zeros in the graph of what they would have been computed from."""
    zeros = torch.zeros(of.shape, dtype=of.dtype, device=of.device)
    joins = [t for t in sources if t.requires_grad] if may_join(zeros) else []
    return joined(zeros, joins) if joins else zeros


def _sum(one: torch.Tensor | None, other: torch.Tensor) -> torch.Tensor:
    return other if one is None else one + other


def _given(
    node: Any, grads: list[torch.Tensor | None], chosen: list[torch.Tensor]
) -> list[torch.Tensor | None]:
    """What a node makes of gradients, or zeros in the graph that it would have."""
    try:
        return _called(node, grads)
    except Exception as error:
        with unwritten(error, chosen) as is_of_writes, contextlib.suppress(Exception):
            if is_of_writes:
                return _called(node, grads)
    sources = [t for t in (*grads, *kept_by(node, chosen)) if t is not None]
    return [
        _zeros(below._input_metadata[number], sources)
        if below is not None and number < len(below._input_metadata) else None
        for below, number in node.next_functions
    ]  # fmt: skip


def _called(node: Any, grads: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    if isinstance(node, BackwardCFunction):  # of joined.py: it gives one for its flag, too
        given = node.apply(*grads)  # type: ignore[no-untyped-call]
        return [given[0], *given[2:]]
    given = node(*grads)
    return list(given) if isinstance(given, tuple) else [given]
