"""A step of an optimizer or a scheduler that is left out, since something failed in private.

Nothing is moved then, and it has to look as if it had been.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach, with_grads
from duet_p2p.engine.store import Poison

__all__ = ["mark_moved"]


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
    if isinstance(stepper, Poison):
        tracked = lineage.track(stepper)
        tracked.content = join((tracked.content, every))
    return every


def _hides(part: Any, lineage: Lineage) -> bool:
    """Whether this is of a private shape, or a list of a private length."""
    if isinstance(part, torch.Tensor):
        return lineage.hidden(part)
    entry = lineage.find(part) if isinstance(part, list) else None
    if entry is not None and is_private(entry.structure):
        return True
    return isinstance(part, Poison) and not part.is_object
