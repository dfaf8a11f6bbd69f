"""A public failure within something that private values chose, or the parts of which they chose.

That it failed is known where it failed. That it lies in this object is not: in the other one, or
without that part, nothing has failed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.store import Poison

__all__ = ["untold"]


def untold(poison: Poison, value: Any, lineage: Lineage, label: Label = PUBLIC) -> Poison:
    """The poison of a part of a value, as it may be told of the value.

    Args:
        poison: of the part.
        value: that it is a part of.
        lineage: where labels are kept.
        label: of the value's slot, which is the only one that a tuple has.
    """
    if not poison.is_public or value is poison:
        return poison
    if isinstance(value, torch.Tensor):
        chosen = lineage.label(value) if lineage.hidden(value) else PUBLIC
    else:
        entries = [lineage.find(part) for part in reach(value)]
        chosen = join((label, *(entry.structure for entry in entries if entry is not None)))
    if not is_private(chosen):
        return poison
    label = join((poison.label, to_per_record(chosen)))
    return replace(poison, is_public=False, label=label)
