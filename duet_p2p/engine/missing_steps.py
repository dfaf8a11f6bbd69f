"""A step of an optimizer or a scheduler, or a clipping, that is left out, as something failed.

It failed in private, so nothing is moved then, and it has to look as if it had been.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.clips import clipped_by, label_clipped
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach, with_grads
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import add, entry_for

__all__ = ["mark_clipped", "mark_moved"]


def mark_moved(stepper: Any, held: Iterable[Any], poison: Poison, lineage: Lineage) -> Label:
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


def mark_clipped(given: Arguments, poison: Poison, lineage: Lineage) -> None:
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
