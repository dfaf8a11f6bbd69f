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
from duet_p2p.wire.values import parts_of

__all__ = ["charge_of_structure", "sized_by_values"]

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


def charge_of_structure(value: Any) -> int:
    """Numbers that the containers of a value count for, where values may have decided them.

    A list of so many empty lists holds no number and tells one, and which of its elements are
    empty lists can tell more. So each container in a value counts as one where it stands, and the
    outermost if there is nothing else.
    """
    containers, leaves = _counts(value, {})
    return max(containers - (leaves > 0), 0)


def _counts(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Containers and everything else in a value that could be copied, so it is not too deep."""
    if not isinstance(value, list | tuple | set | frozenset | dict):
        return 0, 1
    found = known.get(id(value))
    if found is None:
        containers, leaves = 1, 0
        for part in parts_of(value):
            more = _counts(part, known)
            containers, leaves = containers + more[0], leaves + more[1]
        found = known[id(value)] = containers, leaves
    return found


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
