"""Whether values may have decided the size or the type of what is to be released.

A rule that looks at either answers by them then, so the policy has to know it (owner/policy.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Slot

__all__ = ["sized_by_values"]

_OF_ONE_SIZE: Final = (bool, float, complex, type(None), torch.dtype, torch.device, torch.layout)
"""Whatever they are, they count for the same; an int or a text can be long."""


def sized_by_values(slot: Slot, label: Label, lineage: Lineage) -> bool:
    """Whether another value of something private could have given another size or type.

    Args:
        slot: of the value.
        label: of all that a release of it would give away.
        lineage: knows what is hidden.
    """
    if not is_private(label):
        return False
    value = slot.value
    if slot.is_loose:
        return True
    if isinstance(value, torch.Tensor):
        return lineage.hidden(value)
    if is_atomic(value):
        return _can_be_long((value,))
    return any(_is_of_any_size(part, slot, lineage) for part in reach(value))


def _is_of_any_size(part: Any, slot: Slot, lineage: Lineage) -> bool:
    if isinstance(part, torch.Tensor):
        return lineage.hidden(part)
    if isinstance(part, tuple):  # its numbers have the label of the slot
        return is_private(slot.label) and _can_be_long(part)
    entry = lineage.find(part)
    if entry is None:
        return False
    if is_private(entry.structure):
        return True
    if not isinstance(part, list | set | dict) or not is_private(entry.content):
        return False
    return _can_be_long(part.values() if isinstance(part, dict) else part)


def _can_be_long(values: Iterable[Any]) -> bool:
    return any(is_atomic(value) and not isinstance(value, _OF_ONE_SIZE) for value in values)
