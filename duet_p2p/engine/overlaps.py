"""Writes that land in each other: what stands in a row then is not of that record alone.

torch writes to views that have one number at several places (``unfold``, ``expand``), and reads
operands that lie a step beside what it writes, where it cannot tell that they do. Row by row it
finds there what it wrote for the records before. So a rule on the record axis holds for a write
only if each number of the target has a place of its own, and nothing else that is read is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.axes import base_name
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import to_per_record
from duet_p2p.engine.lineage import Lineage, storage_of

__all__ = ["lies_over_itself", "of_write"]

_STATISTICS: Final = frozenset({"batch_norm", "instance_norm"})
"""What they write is read by the calls after them only."""


def of_write(
    verdict: Verdict, name: str, targets: list[torch.Tensor], given: Arguments, lineage: Lineage
) -> Verdict:
    """The verdict on a call that wrote to these: no rows and no aggregate where writes meet."""
    if not targets or not is_private(verdict.label) or base_name(name) in _STATISTICS:
        return verdict
    if any(map(lies_over_itself, targets)) or _is_read_beside(targets, given, lineage):
        label = to_per_record(verdict.label)
        return replace(verdict, label=label, rows=None, axes=(), states=None)
    return verdict


def lies_over_itself(tensor: torch.Tensor) -> bool:
    """Whether two numbers of a tensor may have one place in memory."""
    if tensor.layout is not torch.strided or tensor.is_contiguous() or not tensor.numel():
        return False
    reached = 0  # by the axes of smaller strides
    axes = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(axis for axis in axes if axis[1] > 1):
        if stride <= reached:
            return True
        reached += (size - 1) * stride
    return False


def _is_read_beside(targets: Iterable[torch.Tensor], given: Arguments, lineage: Lineage) -> bool:
    """Whether an operand without records lies over the memory of a target, by whatever view."""
    for target in targets:
        storage, places = storage_of(target)._cdata, 0
        for tensor in given.tensors():
            if storage_of(tensor)._cdata != storage or given.rows(tensor, lineage) is not None:
                continue
            places += 1
            if tensor is not target or places > 1:
                return True
    return False
