"""Public facts of results that the scientist's side cannot work out for itself (`Learnt`).

Sent for: loaders (what a batch looks like), data sets and iterators (length), containers
(length), elements taken out of containers (type, shape), and results whose shape depends on
public values. Nothing is sent where a private value decided the fact, and nothing for what `next`
of a loader gives: the loader's own facts say it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine import messages as m
from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.facts import dtype_name, type_of
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.surface.loader import loader_facts
from duet_p2p.surface.python import RemoteIterator
from duet_p2p.surface.table import find
from duet_p2p.wire.messages import Op

__all__ = ["of_results"]

_NEXT = ("python.next", "python.Iterator.__next__", "python.Any.__next__")


def of_results(op: Op, store: Store, lineage: Lineage) -> list[m.Event]:
    """What to tell about the results of a command that worked."""
    rule = find(op.name)
    if rule is None or (
        rule.result in ("tensor", "self", "none", "item") and (rule.shape != "dynamic")
    ):
        return []
    events: list[m.Event] = []
    for id in op.outs:
        slot = store.find(id)
        if slot is None or isinstance(slot.value, Poison):
            continue
        value = slot.value
        if rule.name in _NEXT and not is_atomic(value) and _is_batch(value, lineage):
            continue
        fact = _fact(id, slot, lineage)
        if fact is not None:
            events.append(fact)
    return events


def _is_batch(value: Any, lineage: Lineage) -> bool:
    return any(
        lineage.rows(part) is not None for part in reach(value) if isinstance(part, torch.Tensor)
    )


def _fact(id: int, slot: Slot, lineage: Lineage) -> m.Learnt | None:
    value = slot.value
    if isinstance(value, torch.Tensor):
        if lineage.hidden(value):
            return None
        facts = {"requires_grad": True} if value.requires_grad else {}
        return m.Learnt(id, type_of(slot), tuple(value.shape), dtype_name(value), None, facts)
    if is_atomic(value) or is_private(slot.label) or _is_hidden(value, lineage):
        return None
    if isinstance(value, DataLoader):
        return m.Learnt(id, type_of(slot), None, None, len(value), loader_facts(value))
    if isinstance(value, Dataset | RemoteIterator | list | tuple | dict | set):
        return m.Learnt(id, type_of(slot), None, None, _length(value), {})
    return None


def _length(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:
        return None


def _is_hidden(value: Any, lineage: Lineage) -> bool:
    """Whether a private value decided how long this is, or anything that it runs over."""
    entry = lineage.find(value)
    if entry is not None and is_private(entry.structure):
        return True
    if isinstance(value, list | tuple | dict | set):
        return False
    for part in reach(value):
        if isinstance(part, torch.Tensor):
            if lineage.hidden(part):
                return True
        elif (found := lineage.find(part)) is not None and is_private(found.structure):
            return True
    return False
