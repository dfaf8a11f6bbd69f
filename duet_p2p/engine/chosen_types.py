"""Whether private values decided of which type something is that a command gives.

Then nobody is told, and what is made of it is as hidden, since in another data set it may be a
number, a tensor, an object or nothing. All that decides it is what the command was given and what
is known of that: where it failed in one data set the answer is the same (damage.py).
"""

from __future__ import annotations

from typing import Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import of_shapes
from duet_p2p.engine.containers import GETTERS, LENGTHS, OF_TUPLES, WITH_LENGTH, of_lengths
from duet_p2p.engine.labels import Label, join
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.selection import is_of_records, labels_of
from duet_p2p.engine.store import Poison

__all__ = ["is_loose"]

_COMPARISONS: Final = frozenset({"__lt__", "__le__", "__gt__", "__ge__"})


def is_loose(name: str, given: Arguments, label: Label, lineage: Lineage) -> bool:
    """Whether values decided the type of a number that this call gives.

    Args:
        name: of the call.
        given: its arguments.
        label: of the result.
        lineage: where labels are kept.
    """
    if name == "torch.Tensor.grad" and any(map(lineage.is_chosen, given.tensors()[:1])):
        return True  # a backward through what was chosen may not have reached it
    if not is_private(label) or given.item is not None:
        return False
    if any(slot.is_loose for slot in given.slots.values()):
        return True
    short = name.rpartition(".")[2]
    first = given.args[0] if given.args else None
    if short in _COMPARISONS and isinstance(first, list | tuple | Poison) and ".Set." not in name:
        return True  # of two elements that are tensors the answer is one, and may fail
    is_object = isinstance(first, Poison) and (first.is_object or first.is_list)
    if short in LENGTHS and (is_object or isinstance(first, WITH_LENGTH)):
        # what lies in it does not decide how its length is told; that of batches is None or an int
        return short == "batch_size" and is_private(labels_of([first], lineage)[1])
    is_pass = isinstance(first, DataLoader | Dataset) or getattr(first, "records", "") == "one"
    if short == "random_split" or (is_pass and short in ("iter", "__iter__")):
        return False  # they say themselves that their length is private
    if is_of_records(name, given):
        return is_private(
            join((given.label_from(1, 2, lineage), of_shapes(given.args[0], lineage)))
        )
    if short in OF_TUPLES and name.startswith("python."):  # how long one is has no other place
        structure = join((labels_of(given.args[:1], lineage)[1], *of_lengths(given, lineage)))
        if short == "Tuple" and isinstance(first, str | range):
            structure = join((structure, given.label_at(0)))
        return is_private(join((given.label_from(1, 2, lineage), structure)))
    if short in GETTERS and given.args and not isinstance(first, torch.Tensor):
        structure = labels_of([first, getattr(first, "source", first)], lineage)[1]
        has_default = short not in ("__getitem__", "__next__") and len(given.args) > 2
        return has_default or is_private(join((given.label_from(1, 2, lineage), structure)))
    if name.startswith("python."):  # what lies in a container is not what it is made of
        parts = [slot.value for slot in given.slots.values()]
        return any(isinstance(part, torch.Tensor) and lineage.hidden(part) for part in parts)
    if name.startswith("torch.optim.") and isinstance(first, LRScheduler | Optimizer | Poison):
        entry = lineage.find(first)  # of an object that may hold a tensor, or is missing
        if entry is not None and is_private(entry.structure):
            return True
    elif is_private(given.structure(lineage)):
        return True  # which tensors lie in a container is a matter of values, and if any does
    return any(map(lineage.hidden, given.tensors()))
