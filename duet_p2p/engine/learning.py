"""Public facts of results that the scientist's side cannot work out for itself (`Learnt`).

Sent for: loaders (what a batch looks like), data sets and iterators (length), containers
(length), elements taken out of containers (type, shape), and results whose shape depends on
public values, with what is computed from them. Nothing is sent where a private value decided the
fact, and nothing for what `next` of a loader gives: the loader's own facts say it.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset

from duet_p2p import limits
from duet_p2p.engine import messages as m
from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.batches import Pass, of_shapes
from duet_p2p.engine.facts import dtype_name, type_of
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.surface.loader import loader_facts
from duet_p2p.surface.python import RemoteIterator
from duet_p2p.surface.table import TABLE, find
from duet_p2p.wire.codec import encode_value
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["KNOWN", "of_results"]

_log = logging.getLogger("duet_p2p.engine")

KNOWN: Final = frozenset(
    name
    for rule in TABLE.values()
    for name in (rule.name, *rule.aliases)
    if rule.result in ("tensor", "self") and rule.shape != "dynamic"
)
"""Names of which the scientist's side works the result's shape out as well."""
_SAID: Final = frozenset({"python.state_dict"})
"""Names whose arguments say all that could be told of the result."""
_NEXT = ("python.next", "python.Iterator.__next__", "python.Any.__next__")


def of_results(op: Op, store: Store, lineage: Lineage, is_inferred: bool = True) -> list[m.Event]:
    """What to tell about the results of a command that worked.

    Args:
        op: the command.
        store: with its results.
        lineage: says what is hidden.
        is_inferred: the results' shapes followed from those of the arguments.
    """
    if is_inferred and op.name in KNOWN and not (store.has_told and _is_told(op, store)):
        return []
    rule = find(op.name)
    if rule is None or rule.result in ("none", "item") or rule.name in _SAID:
        return []
    events: list[m.Event] = []
    for id in op.outs:
        slot = store.find(id)
        if slot is None or isinstance(slot.value, Poison):
            continue
        value = slot.value
        if rule.name in _NEXT and not is_atomic(value) and _is_batch(op, value, store, lineage):
            continue
        fact = _fact(id, slot, lineage)
        if fact is not None:
            events.append(fact)
            if isinstance(value, torch.Tensor):
                slot.is_told = store.has_told = True
    return events


def _is_told(op: Op, store: Store) -> bool:
    """Whether the scientist's side could not work with an argument's shape when it sent this."""
    pending: list[Any] = [*op.args, *op.kwargs.values()]
    while pending:
        value = pending.pop()
        if type(value) is Ref:
            slot = store.find(value.id)
            if slot is not None and slot.is_told:
                return True
        elif isinstance(value, list | tuple):
            pending += value
    return False


def _is_batch(op: Op, value: Any, store: Store, lineage: Lineage) -> bool:
    """Whether a loader gave this; by facts that no value has changed."""
    if op.args and isinstance(op.args[0], Ref):
        slot = store.find(op.args[0].id)
        entry = None if slot is None else lineage.find(slot.value)
        return entry is not None and isinstance(entry.origin, Pass)
    # the result of a plan
    return any(
        is_private(lineage.label(part)) for part in reach(value) if isinstance(part, torch.Tensor)
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
        if is_private(of_shapes(value, lineage)):
            return None
        try:
            facts = loader_facts(value)
            encode_value(facts, limits.LOADER_FACTS_BYTES)
        except Exception as error:  # its first item cannot be read, or has thousands of parts
            _log.info("nothing is told of a loader: %s", type(error).__name__)
            return None
        return m.Learnt(id, type_of(slot), None, None, _length(value), facts)
    if isinstance(value, Dataset | RemoteIterator | list | tuple | dict | set):
        return m.Learnt(id, type_of(slot), None, None, _length(value), {})
    return None


def _length(value: Any) -> int | None:
    try:
        return len(value)
    except (TypeError, OverflowError):
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
        elif isinstance(part, Poison):
            if not (part.is_object or part.is_public):  # it would be hidden
                return True
        elif (found := lineage.find(part)) is not None and is_private(found.structure):
            return True
    return False
