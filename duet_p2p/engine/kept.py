"""What a node of a graph kept for its way back, also where it was written to since.

torch refuses to give that out, and to go back through the node: it counts the writes to a tensor.
Of tensors that private values chose a count is at hand, so it can be set to what a node expects.

A backward gives back what the nodes kept, and none goes through them a second time. One that failed
half-way has left some of them whole. They are marked, so that the next one fails like behind one
that worked.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import tensors_in
from duet_p2p.engine.nodes import node_of

__all__ = ["check_not_used_up", "is_used_up", "kept_by", "nodes_of", "unwritten", "use_up"]

_EXPECTED: Final = re.compile(r"expected version (\d+)")

_USED_UP: Final = "duet_used_up"
"""In the dict that torch keeps with a node."""


def nodes_of(roots: Iterable[torch.Tensor]) -> Iterator[Any]:
    """Every node of the graphs of these tensors."""
    seen: set[Any] = set()
    stack = [node for root in roots if (node := node_of(root)) is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack += [below for below, _ in node.next_functions if below is not None]


def use_up(nodes: Iterable[Any]) -> None:
    """Nothing goes back through these a second time."""
    for node in nodes:
        node.metadata[_USED_UP] = True


def is_used_up(node: Any) -> bool:
    """Whether a backward that failed would have used this up."""
    return _USED_UP in node.metadata


def check_not_used_up(roots: Iterable[torch.Tensor]) -> None:
    """Nothing that a backward through these needs is used up.

    Raises:
        RuntimeError: what torch says of it.
    """
    if any(is_used_up(node) and _keeps(node) for node in nodes_of(roots)):
        twice = torch.ones(1, requires_grad=True).exp()
        for _ in range(2):
            torch.autograd.backward(twice)


def _keeps(node: Any) -> bool:
    """Whether a node keeps a tensor, or kept one."""
    for name in dir(node):
        if name.startswith(("_saved_", "saved_tensors")):
            try:
                if tensors_in(getattr(node, name)):
                    return True
            except RuntimeError:  # it was written to, or is gone
                return True
    return False


def kept_by(node: Any, chosen: list[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that a node kept; of those that were written to only what is among these."""
    names = [name for name in dir(node) if name.startswith(("_saved_", "saved_tensors"))]
    return [tensor for name in names for tensor in tensors_in(_kept(node, name, chosen))]


@contextlib.contextmanager
def unwritten(error: Exception, chosen: list[torch.Tensor]) -> Iterator[bool]:
    """In its block these have the count that a node expects; whether it complained of that."""
    expected = _EXPECTED.search(str(error))
    if expected is None:
        yield False
        return
    versions = [tensor._version for tensor in chosen]
    set_versions = torch._C._autograd._unsafe_set_version_counter
    set_versions(tuple(chosen), tuple([int(expected[1])] * len(chosen)))
    try:
        yield True
    finally:
        set_versions(tuple(chosen), tuple(versions))


def _kept(node: Any, name: str, chosen: list[torch.Tensor]) -> Any:
    """What a node kept under a name; None where that cannot be had, or is used up."""
    try:
        return getattr(node, name)
    except RuntimeError as error:
        with unwritten(error, chosen) as is_of_writes:
            try:
                return getattr(node, name) if is_of_writes else None
            except RuntimeError:
                return None
