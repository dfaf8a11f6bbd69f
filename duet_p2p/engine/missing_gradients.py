"""Gradients of tensors that are missing, and gradients that are missing, since something failed.

A gradient is no part of the graph of the tensor that holds it: there is none where nothing has put
one there, and one that was set goes back to its own leaves. So what is read off a missing tensor
goes back to what was set, and not to the leaves of the tensor. A backward that keeps the graph of
the way back gives a graph to the gradients of tensors that retain them; which of its leaves that
reaches nobody can tell, so it is all of them.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.choice import mark_graphs, mark_set
from duet_p2p.engine.gradients import keeps_graph, leaves_behind
from duet_p2p.engine.joined import joined
from duet_p2p.engine.judge import may_join
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.store import Poison
from duet_p2p.engine.unmade import BACKWARD

__all__ = ["SET", "MissingGradients", "behind_result", "put"]

SET: Final = "torch.Tensor.grad="
_READ: Final = "torch.Tensor.grad"
_RETAIN: Final = "torch.Tensor.retain_grad"
_WITHOUT_GRAPH: Final = frozenset({
    "torchvision.transforms.functional.to_pil_image", "torch.Tensor.data", "torch.Tensor.item",
    "torch.Tensor.size",
})  # fmt: skip
"""They give an image of PIL, numbers, or a tensor without its graph."""


class MissingGradients:
    """What missing tensors would have had as gradients, in one engine."""

    def __init__(self) -> None:
        self._retaining: WeakSet[Poison] = WeakSet()

    def left_out(
        self, name: str, given: Arguments, poison: Poison, lineage: Lineage,
        retained: list[torch.Tensor],
    ) -> None:  # fmt: skip
        """A command did not run, since something that it names has failed.

        Args:
            name: of the command.
            given: its arguments.
            poison: the failure.
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
        if not isinstance(first, Poison):
            return
        if name == _RETAIN:
            self._retaining.add(first)
        elif name == BACKWARD and keeps_graph(given):
            mark_graphs(first.leaves.values(), retained, lineage)
            named = reach(given.setting("inputs", 4, None))
            for holder in (*self._retaining, *named):
                if isinstance(holder, Poison) and holder.leaves.keys() <= first.leaves.keys():
                    holder.gradient.append(first)


def put(given: Arguments, poison: Poison, lineage: Lineage) -> None:
    """A gradient was not set, since that failed in private: something stands for it.

    Args:
        given: the tensor and the gradient.
        poison: the failure.
        lineage: gets the labels.
    """
    holder, gradient = given.args[:2] if len(given.args) > 1 else (None, None)
    if isinstance(holder, Poison):
        holder.gradient[:] = [gradient]
        return
    leaves = list(leaves_behind([gradient]).values())
    if not isinstance(holder, torch.Tensor) or lineage.own(holder).is_shared:
        return
    if isinstance(gradient, torch.Tensor | Poison) and may_join(holder):
        made = torch.zeros_like(holder, requires_grad=False)
        with torch.enable_grad():
            holder.grad = joined(made, leaves) if leaves else made
        lineage.spoil(holder.grad, poison, hidden=True)
        lineage.own(holder.grad).stays = True


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
    holder = given.args[0] if given.args else None
    return leaves_behind(holder.gradient) if isinstance(holder, Poison) else {}
