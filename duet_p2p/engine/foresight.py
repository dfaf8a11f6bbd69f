"""What training does with a loss after it was asked for: what `accept(always=True)` takes with it.

The first loss of a run is that of a network that was not trained, so no training step is behind it,
and a decision about it would cover no later one. But the steps of the usual loop can be told before
they are made: a plain ``backward()`` of this very loss to leaves that have no gradients, a plain
``step()`` of each optimizer that holds any of them, as it is set at this moment or by the schedule
that it follows (schedules.py), and the norms of the network, which keep statistics. How gradients
are clipped nobody can foretell; but a loss is mostly asked for when the first step was made, and
then the clipping was, too. Their forms are worked out as writers.py will do it then. A step that
differs in anything, or is made by anything else, has another form and is not covered.

Nothing is foreseen where that would leave a choice: two optimizers for the same weights, a state
that was loaded. The owner reads what is foreseen, or why nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import torch
from torch.optim import Optimizer

from duet_p2p.engine import axes, writers
from duet_p2p.engine.form import inputs_of
from duet_p2p.engine.gradients import leaves_of
from duet_p2p.engine.holding import parameters_of
from duet_p2p.engine.judge import is_joined
from duet_p2p.engine.labels import UNBOUND, Kind, Label
from duet_p2p.engine.lineage import Lineage, is_atomic
from duet_p2p.engine.provenance import BACKWARD, NORMS
from duet_p2p.engine.recipe import Made, collected, made
from duet_p2p.engine.schedules import said, scheduled
from duet_p2p.engine.store import Slot
from duet_p2p.wire.values import Ref

__all__ = ["NOTHING", "Foresight", "foreseen"]

_COPIES: Final = frozenset({"item", "detach", "clone"})
"""A loss is mostly asked for as one of these of it."""
_COPIES_DEEP: Final = 4
_CLIPS: Final = 2  # more than a loop has, and than a line tells


class Foresight(NamedTuple):
    """Of one value."""

    writers: tuple[str, ...]
    """Forms of the training steps that are foreseen."""
    text: str
    """What they are, or why there are none; empty if the value is no loss of something trained."""


NOTHING: Final = Foresight((), "")


def foreseen(slot: Slot, label: Label, lineage: Lineage, slots: Iterable[Slot]) -> Foresight:
    """The training steps that a value's run makes next, if it goes on as it looks.

    Args:
        slot: of the value, as it is when it is asked for.
        label: of it.
        lineage: where forms are kept.
        slots: all objects of the session.
    """
    is_number = isinstance(slot.value, torch.Tensor) or is_atomic(slot.value)
    if label.kind is not Kind.AGGREGATE or slot.origin is not None or not is_number:
        return NOTHING
    loss, optimizers = _found(slot, slots)
    if loss is None:
        return NOTHING
    leaves = leaves_of([loss.value])  # of a graph that may be used up
    if not leaves:
        return NOTHING
    moved = {id(leaf) for leaf in leaves}
    held = [(o, list(map(id, parameters_of(o)))) for o in optimizers]
    training = [o for o, parameters in held if not moved.isdisjoint(parameters)]
    if not training:
        return Foresight((), "no optimizer holds the parameters of its network")
    every_held = [p for o, parameters in held if o in training for p in parameters]
    if len(every_held) > len(set(every_held)):
        why = f"{len(training)} optimizers hold the parameters of its network, some in common"
        return Foresight((), why)
    if any(True for o in training for _ in writers.state_of(o, lineage)):
        return Foresight((), "the state of its optimizer was not made by steps of this run")
    clips = _clips(training, lineage)
    if len(clips) > _CLIPS:
        return Foresight((), "its gradients were clipped in too many ways")
    nodes, forms = inputs_of({0: loss}, lineage)
    backward = made(BACKWARD, (Ref(0),), {}, nodes, forms)
    norms = [node for node in collected(backward)[0] if axes.base_name(node.op) in NORMS]
    every = {*map(writers.of_node, (backward, *norms)), *clips}
    every |= {writers.of_step(optimizer, lineage, ()) for optimizer in training}
    if UNBOUND in every:
        return Foresight((), "how it is trained cannot be told completely")
    steps = [f"step() of {_told(optimizer, lineage)}" for optimizer in training]
    *most, last = ["backward() of this very loss", *sorted(clips.values()), *steps]
    return Foresight(tuple(sorted(every)), f"{', '.join(most)} and {last}")


def _clips(training: list[Optimizer], lineage: Lineage) -> dict[str, str]:
    """How the gradients of these were clipped last, by form: that was done before it is asked."""
    entries = [lineage.entry(p) for optimizer in training for p in parameters_of(optimizer)]
    return dict([entry.clipped for entry in entries if entry and entry.clipped])


def _told(optimizer: Optimizer, lineage: Lineage) -> str:
    plan = scheduled(optimizer, lineage)
    return said(optimizer) if plan is None else plan.text


def _found(slot: Slot, slots: Iterable[Slot]) -> tuple[Slot | None, list[Optimizer]]:
    """The loss itself, of which a value may be a copy, and all optimizers."""
    if slot.made is None:
        return None, []
    node: Made | None = slot.made
    for _ in range(_COPIES_DEEP):
        if node is None or node.op.rpartition(".")[2] not in _COPIES or len(node.inputs) != 1:
            break
        (node,) = node.inputs.values()
    every = list(slots)
    same = [other for other in every if other.made is node]
    losses = [s for s in same if isinstance(s.value, torch.Tensor) and is_joined(s.value)]
    if not losses:  # as for most values: then nobody asks for them
        return None, []
    return losses[-1], [other.value for other in every if isinstance(other.value, Optimizer)]
