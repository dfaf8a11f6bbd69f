"""What stands for the gradients that a backward did not make, since it failed on private values.

A step behind it would quietly do less without them, and whether there are any is told, as is
whether they have a graph. So there are some wherever a backward that works leaves some, and what it
goes back through is used up, unless it was to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.form import keep_root
from duet_p2p.engine.gradients import goes_back_to, gradient_of, keeps_graph, leaves_of
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.kept import use_up
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.missing_graphs import gone_through
from duet_p2p.engine.nodes import is_leaf
from duet_p2p.engine.retraced import retraced
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import tie
from duet_p2p.surface.sparse import settled

__all__ = [
    "BACKWARD", "GRAD", "WAYS_BACK", "asked_for", "drop_gradients", "gone_back",
    "is_differentiable", "spoil_gradients", "use_up_graphs",
]  # fmt: skip

GRAD: Final = "torch.autograd.grad"
BACKWARD: Final = "torch.Tensor.backward"
WAYS_BACK: Final = frozenset({GRAD, BACKWARD})


def gone_back(
    name: str, poison: Poison, given: Arguments, lineage: Lineage, retained: list[torch.Tensor]
) -> None:
    """A way back failed on private values: gradients are spoilt, and its graph is used up.

    Args:
        name: of the command.
        poison: the failure.
        given: its arguments.
        lineage: gets the labels.
        retained: tensors that keep a gradient although they are no leaves.
    """
    if name == BACKWARD:
        _put_gradients(poison, given, lineage, retained)
    use_up_graphs(name, given)


def use_up_graphs(name: str, given: Arguments) -> None:
    """A way back that did not work leaves of its graphs what one that works does."""
    place, has_graph = 3, is_differentiable(given)
    inputs = given.setting("inputs", 1, None)
    if name == BACKWARD:
        place, has_graph = 2, keeps_graph(given)
        inputs = given.setting("inputs", 4, None)
    is_said = given.setting("retain_graph", place, None) is not None
    if not (given.flag("retain_graph", place) if is_said else has_graph):
        roots = reach(given.setting("outputs", 0, None))
        use_up(gone_through(roots, inputs, puts_gradients=name == BACKWARD))


def is_differentiable(given: Arguments) -> bool:
    """Whether gradients that a call gives have a graph; what says so is public."""
    return given.flag("create_graph", 4)


def _put_gradients(
    poison: Poison, given: Arguments, lineage: Lineage, retained: list[torch.Tensor]
) -> None:
    root, has_graph = given.args[0], keeps_graph(given)
    if not isinstance(root, torch.Tensor):
        return
    named = given.setting("inputs", 4, None)
    wanted = [*leaves_of([root]), *retained] if named is None else tensors_in(named)
    inner = [tensor for tensor in wanted if not is_leaf(tensor)]
    start = given.setting("gradient", 1, None)
    start = start if isinstance(start, torch.Tensor) else None
    found = retraced([(root, start)], _counters(lineage), inner, has_graph=has_graph)
    for tensor in wanted:
        new, known = found.get(id(tensor)), gradient_of(tensor)
        if new is None:
            continue
        new = settled(new) if new.is_sparse else new
        if new.shape != tensor.shape or new.dtype is not tensor.dtype:  # by a private choice
            new = torch.zeros_like(tensor)
        if known is None:
            tensor.grad = new if has_graph else torch.zeros_like(tensor)
        elif has_graph:  # of which some may have been made before it failed
            with torch.enable_grad():
                tensor.grad = known + new if known.shape == new.shape else new
        assert tensor.grad is not None
        lineage.spoil(tensor.grad, poison)
        lineage.own(tensor.grad).stays = True


def asked_for(given: Arguments, lineage: Lineage) -> Any:
    """What stands for the gradients that a call would have given; None if there are none."""
    outputs, inputs = given.args[:2] if len(given.args) > 1 else (None, None)
    roots, wanted = tensors_in(outputs), tensors_in(inputs)
    starts: list[Any] = tensors_in(given.setting("grad_outputs", 2, None)) or [None] * len(roots)
    if not roots or not wanted or len(starts) != len(roots):
        return None
    found = retraced(
        list(zip(roots, starts, strict=True)), _counters(lineage), wanted,
        has_graph=is_differentiable(given),
    )  # fmt: skip
    return tuple([found.get(id(tensor)) for tensor in wanted])


def _counters(lineage: Lineage) -> list[torch.Tensor]:
    return [counter for _, counter in lineage.chosen]


def spoil_gradients(
    poison: Poison, lineage: Lineage, wanted: Iterable[Any] | None = None,
    *, has_graph: bool = False,
) -> None:  # fmt: skip
    """A backward changes gradients, never the leaves themselves.

    Args:
        poison: the failure.
        lineage: gets the labels.
        wanted: what was to get a gradient; None: the leaves.
        has_graph: gradients were to have one. Then there are new ones, which reach all leaves.
    """
    leaves = tensors_in(list(poison.leaves.values()))
    for tensor in leaves if wanted is None else tensors_in(list(wanted)):
        known = held_gradient(tensor)
        if known is None and poison.is_public:
            lineage.spoil(tensor, poison)
            continue
        if known is None:
            tensor.grad = known = torch.zeros_like(tensor, requires_grad=False)
        else:  # its form is that of one to which a backward added
            keep_root([known], lineage)
        if has_graph and not poison.is_public:
            tensor.grad = known = goes_back_to(known.clone(), leaves)
        lineage.spoil(known, poison, hidden=has_graph)
        lineage.own(known).stays = True
        if (entry := lineage.own(tensor)).tie is not None or lineage.hidden(tensor):
            tie([entry, lineage.own(known)], lineage)


def drop_gradients(given: Arguments) -> None:
    """As the optimizer would have done that is missing here."""
    first, is_dropped = given.args[0], given.flag("set_to_none", 1, True)
    for leaf in first.leaves.values() if isinstance(first, Poison) else ():
        if isinstance(leaf, Poison):
            if is_dropped:
                leaf.gradient.clear()
        elif leaf.grad is not None and is_dropped:
            leaf.grad = None
        elif leaf.grad is not None:
            leaf.grad.zero_()
