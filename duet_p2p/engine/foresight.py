"""What training does with a loss after it was asked for: what `accept(always=True)` takes with it.

The first loss of a run is that of a network that was not trained, so no training step is behind it,
and a decision about it would cover no later one. But the steps of the usual loop can be told before
they are made: a plain ``backward()`` of this very loss to leaves that have no gradients, a plain
``step()`` of the one optimizer that holds any of them, as it is set at this moment, and the norms
of the network, which keep statistics. Their forms are worked out as writers.py will do it then. A
step that differs in anything, or is made by anything else, has another form and is not covered.

Nothing is foreseen where that would leave a choice: two optimizers for one network, a state that
was loaded. The owner reads what is foreseen, or why nothing is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

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
from duet_p2p.engine.store import Slot
from duet_p2p.wire.values import Ref

__all__ = ["NOTHING", "Foresight", "foreseen"]

_COPIES: Final = frozenset({"item", "detach", "clone"})
"""A loss is mostly asked for as one of these of it."""
_COPIES_DEEP: Final = 4


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
    training = [o for o in optimizers if not moved.isdisjoint(map(id, parameters_of(o)))]
    if len(training) != 1:
        why = f"{len(training)} optimizers hold" if training else "no optimizer holds"
        return Foresight((), f"{why} the parameters of its network")
    optimizer = training[0]
    if any(True for _ in writers.state_of(optimizer, lineage)):
        return Foresight((), "the state of its optimizer was not made by steps of this run")
    nodes, forms = inputs_of({0: loss}, lineage)
    backward = made(BACKWARD, (Ref(0),), {}, nodes, forms)
    norms = [node for node in collected(backward)[0] if axes.base_name(node.op) in NORMS]
    every = {*map(writers.of_node, (backward, *norms)), writers.of_step(optimizer, lineage, ())}
    if UNBOUND in every:
        return Foresight((), "how it is trained cannot be told completely")
    text = f"backward() of this very loss and step() of {_said(optimizer)}"
    return Foresight(tuple(sorted(every)), text)


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


def _said(optimizer: Optimizer) -> str:
    """``SGD (lr=0.1, momentum=0.9)``: all settings that are not the defaults."""
    kind: Any = type(optimizer)  # which mypy does not take for hashable
    known, groups = _defaults(kind), []
    for group in optimizer.param_groups:
        groups.append(", ".join(
            f"{key}={_setting(value)}" for key, value in group.items()
            if key == "lr" or (key != "params" and not (
                key in known and _setting(value) == known[key]
            ))
        ))  # fmt: skip
    return f"{kind.__name__} ({'; '.join(groups)})"


def _setting(value: Any) -> str:
    return "<tensor>" if isinstance(value, torch.Tensor) else repr(value)


@lru_cache(64)
def _defaults(kind: type[Optimizer]) -> dict[str, str]:
    parameters = inspect.signature(kind).parameters.values()
    return {parameter.name: _setting(parameter.default) for parameter in parameters}
