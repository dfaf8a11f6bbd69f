"""What training does with a loss after it was asked for: what `accept(always=True)` takes with it.

The first loss of a run is that of a network that was not trained, so no training step is behind it,
and a decision about it would cover no later one. But the steps of the usual loop can be told before
they are made: a plain ``backward()`` of this very loss to leaves that have no gradients, a plain
``step()`` of each optimizer that holds any of them, as it is set at this moment or by the schedule
that it follows (schedules.py), and the norms of the network, which keep statistics. How gradients
are clipped nobody can foretell, nor how many are added up for a step, nor by what number the loss
is scaled for its backward; but a loss is mostly asked for when the first step was made, and then
all of this was, too. Their forms are worked out as writers.py will do it then. A step that differs
in anything, or is made by anything else, has another form and is not covered.

Nothing is foreseen where that would leave a choice: two optimizers for the same weights, a state
that was loaded. The owner reads what is foreseen, or why nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import torch
from torch.optim import Optimizer

from duet_p2p.engine import axes, writers
from duet_p2p.engine.form import inputs_of
from duet_p2p.engine.gradients import leaves_of
from duet_p2p.engine.holding import parameters_of
from duet_p2p.engine.labels import UNBOUND, Kind, Label
from duet_p2p.engine.lineage import Lineage, is_atomic
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.provenance import BACKWARD, NORMS
from duet_p2p.engine.recipe import Made, collected, made
from duet_p2p.engine.schedules import said, scheduled
from duet_p2p.engine.store import Slot
from duet_p2p.limits import FORESEEN_CHARS
from duet_p2p.wire.values import Ref

__all__ = ["NOTHING", "Foresight", "foreseen"]

_COPIES: Final = frozenset({"item", "detach", "clone"})
"""A loss is mostly asked for as one of these of it."""
_COPIES_DEEP: Final = 4
_NUMBER_BITS: Final = 63
_SCALES: Final = {
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), "*"),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), "/"),
}
"""By a plain number, for the mean of several losses that are added up in gradients, or back."""
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
    loss, scaled, optimizers = _found(slot, slots, lineage)
    leaves = [] if loss is None else leaves_of([loss.value])  # of a graph that may be used up
    if loss is None or not leaves:
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
    added = [None if (e := lineage.find(o)) is None else e.added for o in training]
    if not any(a is not None for a in added) and writers.added_to(leaves, lineage):
        return Foresight((), "its gradients are added up, and no step shows yet how many")
    if any((more or 0) < 0 for of_step in added for more in of_step or ()):
        return Foresight((), "a backward failed that was to add to its gradients")
    clips = _clips(training, lineage)
    if len(clips) > _CLIPS:
        return Foresight((), "its gradients were clipped in too many ways")
    backward, text = _backward(loss, lineage)
    norms = [node for node in collected(backward)[0] if axes.base_name(node.op) in NORMS]
    every = {*map(writers.of_node, (backward, *norms)), *clips}
    if any(added):
        every.add(writers.of_node(backward, is_added=True))
    every |= {writers.of_step(o, lineage, a or ()) for o, a in zip(training, added, strict=True)}
    if UNBOUND in every:
        return Foresight((), "how it is trained cannot be told completely")
    steps = [f"step() of {_told(optimizer, lineage)}" for optimizer in training]
    scaled = f" before it was scaled ({scaled})" if scaled else ""
    of_loss = f"backward() of this very loss{scaled}{text}{_many(added)}"
    *most, last = [of_loss, *sorted(clips.values()), *steps]
    told = f"{', '.join(most)} and {last}"
    if len(told) > FORESEEN_CHARS:  # nobody would allow more than they have read
        return Foresight((), "it has more settings than can be read in a line")
    return Foresight(tuple(sorted(every)), told)


def _backward(loss: Slot, lineage: Lineage) -> tuple[Made, str]:
    """The node of a loss's backward, and by what the loss is scaled for it, in words.

    A plain one is foreseen, unless the last one that was made is that of this loss, scaled.
    """
    for node, text in _trained(lineage):
        if node is loss.made and text and lineage.backward is not None:
            return lineage.backward, f" {text}"
    nodes, forms = inputs_of({0: loss}, lineage)
    return made(BACKWARD, (Ref(0),), {}, nodes, forms), ""


def _trained(lineage: Lineage) -> list[tuple[Made, str]]:
    """What the last backward went out from, and of what that is a plain multiple."""
    last = lineage.backward
    if last is None or last.kwargs or not len(last.args) == len(last.inputs) == 1:
        return []
    return list(_scalings(*last.inputs.values()))


def _many(added: Iterable[writers.Added | None]) -> str:
    """How many gradients are added up for a step, in words; empty if one is."""
    every = [more + 1 for of_step in added for more in of_step or (0,) if more is not None]
    if max(every) == 1:
        return ""
    least = f"{min(every)} to " if min(every) < max(every) else ""
    return f", {least}{max(every)} of them added up for each step"


def _clips(training: list[Optimizer], lineage: Lineage) -> dict[str, str]:
    """How the gradients of these were clipped last, by form: that was done before it is asked."""
    entries = [lineage.entry(p) for optimizer in training for p in parameters_of(optimizer)]
    return dict([entry.clipped for entry in entries if entry and entry.clipped])


def _told(optimizer: Optimizer, lineage: Lineage) -> str:
    plan = scheduled(optimizer, lineage)
    return said(optimizer) if plan is None else plan.text


def _found(
    slot: Slot, slots: Iterable[Slot], lineage: Lineage
) -> tuple[Slot | None, str, list[Optimizer]]:
    """The loss itself, of which a value may be a copy, scaled like this, and all optimizers.

    If there are several, the one that the last backward went out from, or a multiple of which.
    """
    if slot.made is None:
        return None, "", []
    every = list(slots)
    found: list[tuple[Slot, str]] = []
    trained = [node for node, _ in _trained(lineage)]
    for node, text in _scalings(slot.made):
        same = [other for other in every if other.made is node]
        losses = [s for s in same if isinstance(s.value, torch.Tensor) and is_joined(s.value)]
        if losses and any(node is other for other in trained):
            found = [(losses[-1], text)]
            break
        if losses:
            found.append((losses[-1], text))
    if not found:  # as for most values: then nobody asks for optimizers
        return None, "", []
    return *found[0], [other.value for other in every if isinstance(other.value, Optimizer)]


def _scalings(node: Made) -> Iterator[tuple[Made, str]]:
    """A value and those that it is a copy of, or a plain multiple: each with how, in words."""
    text = ""
    for _ in range(_COPIES_DEEP):
        yield node, text
        short, many = node.op.rpartition(".")[2], len(node.args)
        if len(node.inputs) != 1 or node.kwargs or many > 2:
            return
        numbers = [value for value in node.args if _is_short(value)]
        if short in _SCALES and len(numbers) == 1 and many == 2:
            is_last = numbers[0] is node.args[1] or _SCALES[short] == "*"
            if not is_last:
                return
            text = f"{_SCALES[short]} {numbers[0]!r}{text and ' '}{text}"
        elif short not in _COPIES or numbers:
            return
        (node,) = node.inputs.values()
    yield node, text


def _is_short(value: object) -> bool:
    """Whether this is a plain number that can be read."""
    return type(value) is float or (type(value) is int and value.bit_length() <= _NUMBER_BITS)
