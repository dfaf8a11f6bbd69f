"""Clips of gradients: functions that scale several gradients by what all of them are."""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.labels import join, to_per_record, written_by
from duet_p2p.engine.lineage import Lineage, Owned, Tracked
from duet_p2p.engine.ties import add

__all__ = ["CLIPS", "clipped_by", "label_clipped"]

CLIPS: Final = frozenset({"torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_value_"})
"""They scale gradients, by a number that all of them decide."""


def clipped_by(given: Arguments) -> list[torch.Tensor]:
    """The gradients that one of `CLIPS` scales."""
    return [grad for tensor in given.tensors() if (grad := held_gradient(tensor)) is not None]


def label_clipped(given: Arguments, result: Any, lineage: Lineage, writers: frozenset[str]) -> None:
    """Each gradient, and their norm, depends on all of them.

    A gradient that is a sum over records stays one: it is multiplied by a function of such sums.
    """
    grads = clipped_by(given)
    # a tensor that is a norm is a number
    numbers = [v for v in given.beside_first() if isinstance(v, torch.Tensor)]
    every = join([given.beside(lineage), *map(lineage.label, (*grads, *numbers))])
    if not is_private(every):
        return
    every = written_by(every, writers)
    entry: Owned | Tracked | None
    for part in given.reached():  # of one that was chosen there may be none
        if isinstance(part, torch.Tensor):
            entry = lineage.entry(part) if held_gradient(part) is None else None
        else:
            entry = lineage.find(part)  # of a list to which it was perhaps added
        if entry is not None and entry.tie is not None:
            add(entry, to_per_record(every))
    for tensor in (*grads, *([result] if isinstance(result, torch.Tensor) else ())):
        entry = lineage.own(tensor)
        entry.label = join((entry.label, every))
