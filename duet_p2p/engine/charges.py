"""What a result of hidden size counts for: as much as it could be, so that no quota tells its size.

The bound follows from public facts: from the name, and from the sizes of the arguments, or what
those counted for. Where a name can make more than it was given, a result counts for a fixed number,
and as it is beyond that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from duet_p2p.engine import axes
from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.axis_losses import LOSSES, is_reduced
from duet_p2p.engine.lineage import Lineage
from duet_p2p.limits import HIDDEN_NUMBERS
from duet_p2p.surface.table import Rule

__all__ = ["bound_of", "charge", "numbers_of"]

_SELECTS = frozenset({
    "masked_select", "getitem", "unique", "unique_consecutive", "nonzero", "argwhere", "take",
    "index_select", "gather", "select", "narrow", "sort", "argsort", "topk", "flip", "split",
    "chunk", "unbind",
})  # fmt: skip
_SUMS = frozenset({
    "sum", "mean", "nansum", "nanmean", "std", "var", "count_nonzero", "std_mean", "var_mean",
})  # fmt: skip
"""Not all that the table calls ``reduce``: an outer product is one of its names."""
_HOW = frozenset({"dtype", "correction", "unbiased"})
"""Their arguments that name no axis."""
_MASKS = frozenset({torch.bool, torch.uint8})
"""Types of an index that takes each part once at most."""
_JOINS = frozenset({"cat", "stack", "hstack", "vstack", "dstack", "collect"})


def bound_of(rule: Rule, given: Arguments, lineage: Lineage) -> int:
    """Most numbers in a result whose size is hidden."""
    tensors = given.tensors()
    numbers = [numbers_of(tensor, lineage) for tensor in tensors]
    most = max(numbers, default=0)
    short = axes.base_name(rule.name)
    # how many axes a hidden shape has is as private as their sizes
    hidden = [lineage.hidden(tensor) for tensor in tensors]
    if short in ("nonzero", "argwhere"):
        if any(hidden):
            return max(HIDDEN_NUMBERS, most)
        return most * max((tensor.ndim for tensor in tensors), default=1)
    at_least = max(HIDDEN_NUMBERS, most)
    if short in ("getitem", "index_select"):
        return min(at_least, most * _times(given, lineage))
    if short in _SUMS and _is_over_all(rule, given):
        return 1  # of each result, whatever the shape was
    if short in axes.COPIES or short in _SELECTS or short in _SUMS:
        return most
    if short in LOSSES and is_reduced(short, given.args, given.kwargs):
        return most
    many = [h or t.ndim > 0 for t, h in zip(tensors, hidden, strict=True)]
    if (short in axes.ELEMENTWISE or short in LOSSES) and sum(many) < 2:
        return most  # two of them can be broadcast to a product of their sizes
    return max(HIDDEN_NUMBERS, sum(numbers)) if short in _JOINS else at_least


def _is_over_all(rule: Rule, given: Arguments) -> bool:
    """Whether it sums one tensor up, along no axis that was named."""
    is_one = rule.name.startswith("torch.") and len(given.args) == 1 and given.kwargs.keys() <= _HOW
    return is_one and type(given.args[0]) is torch.Tensor


def _times(given: Arguments, lineage: Lineage) -> int:
    """How often an index of numbers can take one and the same part."""
    times = 1
    for index in given.beside_first():
        for part in index if type(index) is tuple else (index,):
            numbers = [t for t in tensors_in(part) if t.dtype not in _MASKS]
            if isinstance(part, list):
                times *= max(1, _leaves(part))
            for tensor in numbers:
                times *= max(1, numbers_of(tensor, lineage))
    return times


def _leaves(value: list[Any]) -> int:
    return sum(_leaves(part) if isinstance(part, list) else 1 for part in value)


def numbers_of(tensor: torch.Tensor, lineage: Lineage) -> int:
    """Numbers of a tensor; of a hidden one, what it counts for."""
    entry = lineage.entry(tensor)
    if entry is None or not entry.hidden:
        return tensor.numel()
    return max(tensor.numel(), entry.nbytes // max(1, tensor.element_size()))


def charge(tensors: Iterable[torch.Tensor], numbers: int, lineage: Lineage) -> None:
    """Lets hidden results count for so much; one that is larger counts as it is."""
    for tensor in tensors:
        entry = lineage.entry(tensor)
        if entry is not None and entry.hidden:
            entry.nbytes = max(numbers * tensor.element_size(), entry.nbytes)
