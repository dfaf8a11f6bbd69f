"""Gradients of tensors that are missing, and gradients that are missing, since something failed.

A gradient is no part of the graph of the tensor that holds it: there is none where nothing has put
one there, and one that was set goes back to its own leaves. So what is read off a missing tensor
goes back to what was set, and not to the leaves of the tensor.

A backward that keeps the graph of the way back gives a graph to the gradients that it leaves.
Which of its leaves that of one reaches nobody can tell if what it goes back from is missing. So
wherever that may be missing all of them reach all leaves, whether it is there (`Gradients.after`)
or not, and all of that is tied. A leaf can be missing itself: in the graphs of others there is
something in its place, which has the same gradient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from weakref import ref

import torch

from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.choice import mark_graphs, mark_set, tie_held
from duet_p2p.engine.gradients import keeps_graph, leaves_behind, tensors_within
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.joined import joined
from duet_p2p.engine.judge import may_join
from duet_p2p.engine.labels import Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.missing_graphs import below, chosen_below, graph_of
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import add, tie
from duet_p2p.engine.unmade import BACKWARD, WAYS_BACK, spoil_gradients, use_up_graphs
from duet_p2p.surface.table import Rule

__all__ = [
    "SET",
    "behind_result",
    "graph_behind",
    "has_none",
    "left_out",
    "met_on",
    "new_leaf",
    "put",
    "wants_one",
]

SET: Final = "torch.Tensor.grad="
_READ: Final = "torch.Tensor.grad"
_RETAIN: Final = "torch.Tensor.retain_grad"
_FLAGS: Final = frozenset({"torch.Tensor.requires_grad_", "torch.Tensor.requires_grad="})
_PARAMETER: Final = "torch.nn.Parameter"
_WITHOUT_GRAPH: Final = frozenset({
    "torchvision.transforms.functional.to_pil_image", "torch.Tensor.data", "torch.Tensor.item",
    "torch.Tensor.size",
})  # fmt: skip
"""They give an image of PIL, numbers, or a tensor without its graph."""


def left_out(
    name: str, given: Arguments, poison: Poison, lineage: Lineage, retained: list[torch.Tensor]
) -> None:  # fmt: skip
    """A command did not run, since something that it names has failed.

    Args:
        name: of the command.
        given: its arguments.
        poison: the failure, which becomes that of the results.
        lineage: gets the labels.
        retained: tensors that keep a gradient although they are no leaves.
    """
    if name == SET:
        mark_set(given, lineage)
    if poison.is_public:
        return
    if name == SET:
        put(given, poison, lineage)
    first = given.args[0] if given.args else None
    if name == BACKWARD:
        _go_back(given, poison, lineage, retained)
    if name in WAYS_BACK:
        use_up_graphs(name, given)
    elif isinstance(first, Poison) and name == _RETAIN:
        first.gradient.is_kept = True
    elif isinstance(first, Poison) and name in _FLAGS:
        if given.setting("requires_grad", 1, True) is False:
            first.leaves, first.made_of, first.kept = {}, (), ()  # torch takes it off leaves only
        elif not first.leaves:
            new_leaf(first)
        poison.leaves, poison.made_of, poison.kept = first.leaves, first.made_of, first.kept


def _go_back(
    given: Arguments, poison: Poison, lineage: Lineage, retained: list[torch.Tensor]
) -> None:  # fmt: skip
    """Gradients that a backward would have left: zeros, and links where they are missing."""
    roots, inputs = given.args[:1], given.setting("inputs", 4, None)
    (nodes, missing), leaves = below(roots), leaves_behind(list(roots))
    named = [*leaves.values(), *retained, *missing] if inputs is None else reach(inputs)
    inner = tensors_within([part for part in named if isinstance(part, torch.Tensor)], nodes)
    holders = [part for part in named if isinstance(part, Poison)]
    for part in holders if inputs is not None else ():
        part.gradient.is_kept = True
    inside = [part for part in (*missing, *leaves.values()) if isinstance(part, Poison)]
    met = {id(part.gradient) for part in inside if part.gradient.is_kept}
    holders = [part for part in holders if id(part.gradient) in met]
    wanted = [*inner, *(part for part in named if id(part) in leaves)]
    if keeps_graph(given):
        behind = leaves | leaves_behind([given.setting("gradient", 1, None)])
        kept = [*tensors_within(retained, nodes), *(p for p in missing if p.gradient.is_kept)]
        by = poison.label  # also what keeps one and is not named in `inputs=`
        mark_graphs(behind.values(), [*wanted, *holders, *kept], lineage, by, by)
    for holder in {id(part.gradient): part for part in holders}.values():
        _leave(holder, poison, lineage, has_graph=keeps_graph(given))
    spoil_gradients(poison, lineage, wanted, has_graph=keeps_graph(given))


def _leave(holder: Poison, poison: Poison, lineage: Lineage, *, has_graph: bool) -> None:
    """What is missing gets a gradient, or more is added to the one that it has."""
    last = holder.gradient[-1] if holder.gradient else None
    if has_graph or not (isinstance(last, Poison) and not last.leaves):
        leaves = poison.leaves if has_graph else {}
        last = replace(poison, parts=(), made_of=(), kept=(), leaves=leaves)
        holder.gradient.append(last)
    add(lineage.track(last), to_per_record(poison.label))
    tie([lineage.track(holder), lineage.track(last)], lineage)  # see Gradients.after


def new_leaf(poison: Poison) -> None:
    """What is missing wants a gradient from now on, and goes back to nothing else."""
    leaf = replace(poison, parts=(), leaves={}, made_of=(), kept=())
    poison.leaves, poison.made_of, poison.kept = {id(leaf): leaf}, (), ()
    poison.gradient.is_kept = True
    poison.gradient.names.append(ref(poison))


def wants_one(rule: Rule, given: Arguments) -> bool:
    """Whether the result of a call is a leaf that wants a gradient."""
    if rule.name == _PARAMETER:
        return given.setting("requires_grad", 1, True) is not False
    return given.kwargs.get("requires_grad", False) is not False


def put(given: Arguments, poison: Poison, lineage: Lineage) -> None:
    """A gradient was not set, since that failed in private: something stands for it.

    Args:
        given: the tensor and the gradient.
        poison: the failure.
        lineage: gets the labels.
    """
    holder, gradient = given.args[:2] if len(given.args) > 1 else (None, None)
    if isinstance(holder, Poison):
        holder.gradient[:] = [] if gradient is None else [gradient]
        return
    leaves = tensors_in(list(leaves_behind([gradient]).values()))
    if not isinstance(holder, torch.Tensor) or lineage.own(holder).is_shared:
        return
    if isinstance(gradient, torch.Tensor | Poison) and may_join(holder):
        made = torch.zeros_like(holder, requires_grad=False)
        with torch.enable_grad():
            holder.grad = joined(made, leaves) if leaves else made
        lineage.spoil(holder.grad, poison, hidden=True)
        lineage.own(holder.grad).stays = True
        tie_held(holder, gradient, lineage)


def met_on(name: str, given: Arguments, label: Label, lineage: Lineage) -> Label:
    """The label of a way back that was left out, with what its graph kept and was chosen since.

    Args:
        name: of the command.
        given: its arguments.
        label: of these, and of why it was left out.
        lineage: where labels are kept.
    """
    if name not in WAYS_BACK:
        return label
    roots = given.args[:1] if name == BACKWARD else given.reached()
    return join((label, *chosen_below(list(roots), lineage)))


def behind_result(name: str, leaves: dict[int, Any], given: Arguments) -> dict[int, Any]:
    """The leaves that a missing result of this command goes back to, by identity.

    Args:
        name: of the command.
        leaves: that its arguments go back to.
        given: those.
    """
    if name in _WITHOUT_GRAPH:
        return {}
    if name != _READ:
        return leaves
    return leaves_behind(_held(given))


def graph_behind(name: str, given: Arguments, missing: list[Poison]) -> tuple[Any, ...]:
    """The graph of a missing result of this command, see `Poison.made_of`.

    Args:
        name: of the command.
        given: its arguments.
        missing: those of them that are missing.
    """
    return graph_of(given.tensors(), missing) if name != _READ else graph_of(_held(given), ())


def has_none(name: str, given: Arguments) -> bool:
    """Whether this reads the gradient of what is missing, and nothing can have put one there."""
    holder = given.args[0] if given.args else None
    if name != _READ or not (isinstance(holder, Poison) and holder.is_tensor):
        return False
    slot, gradient = given.at[0], holder.gradient
    is_one_of_several = slot is None or slot.is_element
    return not (
        holder.is_public or is_one_of_several or gradient.is_kept or gradient.of or gradient
    )


def _held(given: Arguments) -> list[Any]:
    holder = given.args[0] if given.args else None
    if not isinstance(holder, Poison):
        return []
    found = list(holder.gradient)
    for part in holder.gradient.of:
        found += part.gradient if isinstance(part, Poison) else [held_gradient(part)]
    return found
