"""The graphs of tensors that are missing, since something failed.

What is missing has links to what it was to be computed from: other missing tensors, and nodes of
torch's graphs, which are kept by that as they would have been by the tensor itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.gradients import chosen_in, leaves_of
from duet_p2p.engine.joined import joined
from duet_p2p.engine.judge import may_join
from duet_p2p.engine.kept import Entry, chosen_among, note_behind
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.nodes import is_leaf, node_of
from duet_p2p.engine.store import Poison

__all__ = [
    "below", "chosen_below", "give_graph", "gone_through", "graph_of", "is_missing",
    "known_behind", "missing_in", "moved_with", "take_graph",
]  # fmt: skip


def missing_in(given: Arguments, *, is_deep: bool = True) -> list[Poison]:
    """What is missing among these arguments.

    Args:
        given: the arguments of a command.
        is_deep: also in lists of tensors.
    """
    found = {id(slot.value): slot.value for slot in given.slots.values()}
    if is_deep:
        found |= {id(part): part for part in given.reached() if is_missing(part)}
    return [part for part in found.values() if isinstance(part, Poison)]


def is_missing(part: Any) -> bool:
    """Whether this stands for a tensor, or what may be one, that failed in private."""
    return isinstance(part, Poison) and not (part.is_public or part.is_object or part.is_list)


def known_behind(
    given: Arguments, lineage: Lineage, *, only_given: bool = False
) -> dict[int, Any]:  # fmt: skip
    """Leaves that a backward through a failure for all to see would have reached, by identity.

    Not those behind what is hidden: in another data set that has another graph, or is missing.

    Args:
        given: the arguments of the command that failed.
        lineage: knows what is hidden.
        only_given: only those that are arguments themselves.
    """
    loose = {id(slot.value) for slot in given.slots.values() if slot.is_loose}
    tensors = [
        tensor for tensor in given.tensors()
        if tensor.requires_grad and not (id(tensor) in loose or lineage.hidden(tensor))
    ]  # fmt: skip
    leaves = leaves_of(tensor for tensor in tensors if is_leaf(tensor) or not only_given)
    found: dict[int, Any] = {id(leaf): leaf for leaf in leaves}
    for part in missing_in(given, is_deep=not only_given):
        if part.is_public:
            found |= part.leaves
    return found


def graph_of(given: Iterable[Any], missing: Iterable[Poison]) -> tuple[Any, ...]:
    """What a result that is missing was to be computed from; see `Poison.made_of`."""
    tensors = [value for value in given if isinstance(value, torch.Tensor)]
    nodes = [node for tensor in tensors if (node := node_of(tensor)) is not None]
    others = [value for value in given if isinstance(value, Poison)]
    return (*nodes, *(part for part in (*others, *missing) if part.leaves))


def below(roots: Iterable[Any]) -> tuple[set[Any], list[Poison]]:
    """All that lies in the graphs of these tensors and missing ones: nodes, and what is missing."""
    nodes: set[Any] = set()
    missing: dict[int, Poison] = {}
    stack: list[Any] = [root for root in roots if isinstance(root, Poison)]
    stack += [node_of(root) for root in roots if isinstance(root, torch.Tensor)]
    while stack:
        part = stack.pop()
        if isinstance(part, Poison):
            if id(part) not in missing:
                missing[id(part)] = part
                stack += part.made_of
        elif part is not None and part not in nodes:
            nodes.add(part)
            stack += [node for node, _ in part.next_functions]
    return nodes, list(missing.values())


def chosen_below(roots: Iterable[Any], lineage: Lineage) -> list[Label]:
    """As `gradients.chosen_of`, of graphs of which some is missing."""
    nodes, missing = below(roots)
    return [*chosen_in(nodes, lineage), *chosen_among(_kept(missing, lineage))]


def _kept(missing: Iterable[Poison], lineage: Lineage) -> list[Entry]:
    return [entry for part in missing for entry in (lineage.track(part), *part.kept)]


def gone_through(
    roots: Iterable[Any], inputs: Any = None, *, puts_gradients: bool = False
) -> set[Any]:  # fmt: skip
    """The nodes that a way back from these uses up, tensors and missing ones.

    Args:
        roots: what it goes back from.
        inputs: what it goes back to; None: to all leaves.
        puts_gradients: it leaves gradients there, for which torch goes to the end of their nodes.
    """
    nodes, missing = below(roots)
    if inputs is None:
        return nodes
    named = [part for part in reach(inputs) if isinstance(part, torch.Tensor | Poison)]
    ends = {id(part.gradient if isinstance(part, Poison) else part) for part in named}
    inner = {node for part in tensors_in(named) if (node := node_of(part)) is not None}
    above: dict[Any, list[Any]] = {}
    for part in (*nodes, *missing):
        is_poison = isinstance(part, Poison)
        for child in part.made_of if is_poison else [node for node, _ in part.next_functions]:
            above.setdefault(child, []).append(part)
    stack = [
        part for part in (*nodes, *missing)
        if part in inner or id(getattr(part, "variable", part)) in ends
        or (isinstance(part, Poison) and id(part.gradient) in ends)
    ]  # fmt: skip
    found: set[Any] = set(inner) if puts_gradients else set()
    while stack:
        stack += [part for part in above.pop(stack.pop(), ()) if part not in found]
        found.update(stack)
    return found & nodes


def give_graph(
    targets: Iterable[torch.Tensor], given: Arguments, lineage: Lineage,
    behind: Iterable[torch.Tensor] = (),
) -> None:  # fmt: skip
    """Gives what was to be written to the graph that it would have got.

    Whether a tensor wants a gradient is public, and so is a backward that finds no graph.

    Args:
        targets: to be written to.
        given: the arguments of the call.
        lineage: where entries are kept.
        behind: leaves of what is missing among those.
    """
    nodes, missing = below(missing_in(given))
    kept = [*map(lineage.own, given.tensors()), *_kept(missing, lineage)] if missing else []
    sources = [t for t in (*given.tensors(), *behind) if t.requires_grad]
    for target in targets:
        if not sources or not may_join(target) or (target.requires_grad and is_leaf(target)):
            continue  # torch refuses the last of these before it writes
        with torch.enable_grad():
            try:
                target.copy_(joined(target.detach().clone(), sources))
            except RuntimeError:  # so would the call have: a view that cannot be written
                continue
        if missing and (node := node_of(target)) is not None:
            note_behind(node, nodes, kept)


def take_graph(target: Poison, written: Poison) -> None:
    """What is missing was to be written to: its graph is that of what was written, too."""
    target.leaves |= written.leaves
    target.made_of = tuple(dict.fromkeys((*target.made_of, *written.made_of)))
    target.kept = tuple(dict.fromkeys((*target.kept, *written.kept)))


def moved_with(part: Poison) -> dict[int, Any]:
    """What an optimizer would move that was given this, by identity.

    A tensor itself, and nothing that it was made of; one that torch refuses there counts as moved.
    """
    leaves = [leaf for leaf in part.leaves.values() if isinstance(leaf, Poison)]
    is_leaf = any(leaf.gradient is part.gradient for leaf in leaves)
    return {id(part): part} if part.is_tensor and not is_leaf else part.leaves
