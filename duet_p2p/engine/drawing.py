"""Calls that draw random numbers although their names do not say so.

A transform draws as its settings and the size of the image say; attention and recurrent layers
draw for their dropout, as many numbers as their input has. Where a private value decided that, all
random numbers behind the call are as private: the next public one would tell it.
"""

from __future__ import annotations

from typing import Final

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.batches import of_shapes
from duet_p2p.engine.labels import PUBLIC, Label, join
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.surface.transforms import is_transform

__all__ = ["drawn_by"]

_ITEM: Final = "torch.utils.data.Dataset.__getitem__"
_APPLYING: Final = frozenset({
    _ITEM, "torchvision.transforms.Transform.__call__", "torchvision.transforms.FiveCrop.__call__",
    "torchvision.transforms.TenCrop.__call__",
})  # fmt: skip
"""They apply transforms."""
_STARTING: Final = "torch.lobpcg"
"""It draws where it starts, whatever its numbers are."""
_WITH_DROPOUT: Final = frozenset({
    "torch.lstm", "torch.gru", "torch.rnn_tanh", "torch.rnn_relu",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
})  # fmt: skip


def drawn_by(name: str, given: Arguments, lineage: Lineage) -> Label:
    """What private values decided of how many numbers a call draws; public for all other names."""
    if name in _APPLYING:
        return join(_of_applied(name, given, lineage))
    if name in _WITH_DROPOUT and not any(type(v) is float and v > 0 for v in given.values()):
        return PUBLIC
    if name in _WITH_DROPOUT or name == _STARTING:
        # lengths of a packed sequence are whole numbers
        counts = [t for t in given.tensors() if t.dtype is torch.int64]
        labels = [given.beside(lineage), *map(lineage.label, counts)]
        return join((*labels, *_of_sizes(given, lineage)))
    return PUBLIC


def _of_applied(name: str, given: Arguments, lineage: Lineage) -> list[Label]:
    """Settings of the transforms, sizes, and which item it is."""
    labels = _of_sizes(given, lineage)
    if name == _ITEM and any(map(is_transform, reach(given.values()))):
        labels.append(given.label_from(1, 2, lineage))
    return labels


def _of_sizes(given: Arguments, lineage: Lineage) -> list[Label]:
    labels = [slot.label for slot in given.slots.values() if slot.is_loose]
    return labels + [of_shapes(value, lineage) for value in given.values() if not is_atomic(value)]
