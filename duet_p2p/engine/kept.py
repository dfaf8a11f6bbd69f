"""What a node of a graph kept for its way back, also where it was written to since.

torch refuses to give that out, and to go back through the node: it counts the writes to a tensor.
Of tensors that private values chose a count is at hand, so it can be set to what a node expects.

A backward gives back what the nodes kept, and none goes through them a second time. One that failed
half-way has left some of them whole. They are marked, so that the next one fails like behind one
that worked.

What a node of something that is missing would have kept nobody knows. So wherever it is private if
there is a node at all, in the good case too, it may have kept all that its command was given, and
what that gave.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, Owned, Tracked, is_atomic
from duet_p2p.engine.nodes import node_of
from duet_p2p.engine.store import Poison

__all__ = [
    "Entry", "check_not_used_up", "chosen_among", "is_used_up", "kept_by", "nodes_of",
    "note_behind", "note_kept", "perhaps_behind", "perhaps_kept", "perhaps_kept_by", "unwritten",
    "use_up",
]  # fmt: skip

_EXPECTED: Final = re.compile(r"expected version (\d+)")

_USED_UP: Final = "duet_used_up"
_PERHAPS, _BEHIND = "duet_perhaps_kept", "duet_behind"
"""In the dict that torch keeps with a node."""
Entry = Owned | Tracked
"""Of a tensor, or of one that is missing."""
_READ: Final = "torch.Tensor.grad"


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


def perhaps_kept(name: str, given: Arguments, lineage: Lineage) -> tuple[Entry, ...]:
    """Entries of what the way back of a result of a call may keep.

    Args:
        name: of the call.
        given: its arguments.
        lineage: where entries are kept.
    """
    if name == _READ or _gives_parts(name, given):
        return ()  # they have the graph that they had
    return tuple([
        lineage.own(part) if isinstance(part, torch.Tensor) else lineage.track(part)
        for part in given.reached() if isinstance(part, torch.Tensor | Poison)
    ])  # fmt: skip


def _gives_parts(name: str, given: Arguments) -> bool:
    first = given.args[0] if given.args else None
    if not name.startswith("python.") or isinstance(first, torch.Tensor) or is_atomic(first):
        return False
    return not (isinstance(first, Poison) and first.is_tensor)


def note_kept(
    name: str, given: Arguments, results: Iterable[torch.Tensor], lineage: Lineage
) -> None:
    """A call gave or wrote these: the nodes of those that may be missing keep it in mind.

    Args:
        name: of the call.
        given: its arguments.
        results: what it gave and wrote.
        lineage: knows what is hidden.
    """
    for result in results:
        if result.requires_grad and lineage.hidden(result):
            node = node_of(result)
            if node is not None and _PERHAPS not in node.metadata:
                parts = perhaps_kept(name, given, lineage)
                node.metadata[_PERHAPS] = (*parts, lineage.own(result))


def note_behind(node: Any, nodes: Iterable[Any], kept: Iterable[Entry]) -> None:
    """This node stands in for a graph of which some is missing.

    Args:
        node: of what stands in.
        nodes: of that graph.
        kept: what else was perhaps kept there.
    """
    node.metadata[_BEHIND], node.metadata[_PERHAPS] = tuple(nodes), tuple(kept)


def perhaps_kept_by(node: Any) -> tuple[Entry, ...]:
    """What was noted of a node that it may have kept."""
    found: tuple[Entry, ...] = node.metadata.get(_PERHAPS, ())
    return found


def perhaps_behind(nodes: Iterable[Any]) -> Iterator[Any]:
    """These nodes, and those that they stand in for."""
    seen: set[Any] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack += node.metadata.get(_BEHIND, ())


def chosen_among(kept: Iterable[Entry]) -> list[Label]:
    """Labels of those of these that private values chose."""
    return [
        part.label if isinstance(part, Owned) else part.content for part in kept if part.is_chosen
    ]
