"""A step of an optimizer or a scheduler, or a clipping, that is left out, as something failed.

It failed in private, so nothing is moved then, and it has to look as if it had been.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.clips import CLIPS, clipped_by, label_clipped
from duet_p2p.engine.groups import before_group, takes_up
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach, with_grads
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import add, entry_for, entry_of
from duet_p2p.surface.table import Rule

__all__ = ["is_step", "left_out", "mark_perhaps_moved"]

_STEPS: Final = frozenset({"step", "load_state_dict", "add_param_group", "follow", "feed"})


def is_step(rule: Rule) -> bool:
    """Whether calls of a name move what an optimizer or a scheduler holds, or give it something."""
    return rule.short in _STEPS


def left_out(
    rule: Rule, given: Arguments, targets: list[torch.Tensor], poison: Poison, lineage: Lineage
) -> list[torch.Tensor]:
    """What a command that is left out would have moved or scaled, is marked as if it had been.

    Args:
        rule: of the command.
        given: its arguments.
        targets: what it would have written to by its name.
        poison: of the failure.
        lineage: takes the labels.

    Returns:
        What a step of an optimizer would have written to besides.
    """
    held: list[torch.Tensor] = []
    if _may_move(rule, given):
        first = given.args[0]
        held = [part for part in reach(first, grads=True) if isinstance(part, torch.Tensor)]
        if isinstance(first, Poison):  # its parameters, which it was made of
            held += first.leaves.values()
        every = _mark_moved(first, [*targets, *held], poison, lineage)
        if not poison.is_public and takes_up(first, rule.short, given, lineage):
            before_group(given, every, lineage)
    if rule.name in CLIPS and not poison.is_public:
        _mark_clipped(given, poison, lineage)
    return held


def _may_move(rule: Rule, given: Arguments) -> bool:
    """Whether this is a step, of what may be an optimizer or a scheduler."""
    first = given.args[0] if given.args else None
    is_none = isinstance(first, Poison) and (first.is_tensor or first.is_number or first.is_list)
    return is_step(rule) and bool(given.args) and not is_none


def _mark_moved(stepper: Any, held: Iterable[Any], poison: Poison, lineage: Lineage) -> Label:
    """A step that is left out mixes the labels of all that it would have read.

    A hidden shape among those that it would have moved hides them, as in `Effects`.

    Args:
        stepper: what would have made it, or what is missing in its place.
        held: its tensors, among other things.
        poison: of the failure.
        lineage: takes the labels.

    Returns:
        What its tensors have now.
    """
    if poison.is_public:
        return PUBLIC
    held = list(held)
    own = [part for part in held if isinstance(part, torch.Tensor)]
    tensors = with_grads(list(own))
    every = to_per_record(join([poison.label, *map(lineage.label, tensors)]))
    moved = reach(stepper.parts[0]) if isinstance(stepper, Poison) and stepper.parts else own
    is_hidden = any(_hides(part, lineage) for part in with_grads(moved))
    for tensor in tensors:
        if not (owned := lineage.own(tensor)).is_shared:
            owned.label = join((owned.label, every))
    for tensor in moved if is_hidden else ():
        if isinstance(tensor, torch.Tensor) and not (owned := lineage.own(tensor)).is_shared:
            owned.hidden = True
    for part in held:
        if isinstance(part, Poison) and not part.is_public:
            names = [name for known in part.gradient.names if (name := known()) is not None]
            for name in (part, *names):  # of a leaf
                add(lineage.track(name), every)
    if isinstance(stepper, Poison):
        tracked = lineage.track(stepper)
        tracked.content = join((tracked.content, every))
    return every


def mark_perhaps_moved(
    rule: Rule, given: Arguments, held: Iterable[Any], poison: Poison, lineage: Lineage
) -> None:  # fmt: skip
    """A step failed since a private value chose what is no stepper, and might be another one.

    Where what it chose is missing, it counts as one: nobody knows what that would have been.

    Args:
        rule: of the command.
        given: its arguments.
        held: tensors that it would have moved, among other things.
        poison: of the failure.
        lineage: takes the labels.
    """
    slot = given.at[0] if given.at else None
    is_chosen = slot is not None and slot.is_loose and slot.is_element
    if slot is None or not (is_step(rule) and is_chosen):
        return
    first = slot.value
    if isinstance(first, Optimizer | LRScheduler):
        return
    every = _mark_moved(first, held, poison, lineage)
    entry = entry_of(first, lineage)
    if entry is not None:
        add(entry, every)
    if takes_up(first, rule.short, given, lineage):
        before_group(given, every, lineage)


def _mark_clipped(given: Arguments, poison: Poison, lineage: Lineage) -> None:
    """A clipping that is left out scales no gradient: those that there are count as scaled.

    Args:
        given: the arguments of the clipping.
        poison: of the failure.
        lineage: takes the labels.
    """
    label_clipped(given, None, lineage, frozenset())
    label = to_per_record(poison.label)
    for part in given.reached():
        for grad in part.gradient if isinstance(part, Poison) else ():
            add(entry_for(grad, lineage), label)
    for grad in clipped_by(given):
        entry = lineage.own(grad)
        if not entry.is_shared:
            lineage.has_poison, entry.poison = True, poison
            entry.label, entry.stays = join((entry.label, label)), True
            entry.version += 1


def _hides(part: Any, lineage: Lineage) -> bool:
    """Whether this is of a private shape, or a list of a private length."""
    if isinstance(part, torch.Tensor):
        return lineage.hidden(part)
    entry = lineage.find(part) if isinstance(part, list) else None
    if entry is not None and is_private(entry.structure):
        return True
    return isinstance(part, Poison) and not part.is_object
