"""All that a stretch of a plan's commands finds: what its outcome follows from, beside numbers.

A run that finds what an earlier run found gives and leaves what that one did (stretch.py). So this
is a list of every fact that the executor, or anything it asks, looks at for the commands of a
stretch: of each object that they name, and of all that can be reached from it, gradients too. Two
runs have found the same if their lists are equal. What is not in the list is no fact that decides:
numbers, and which storages they are in. Which *parts* share a storage is in it.

Batches of one pass are told apart by nothing here: of the rows behind a tensor the list has all but
their key, and in its place which operands have the *same* key. Nor does it matter which node made a
value, as long as the form is the same. Keys and nodes are noted beside the list, since results
speak of those that came.

Where anything is out of the ordinary (public operands, hidden shapes, poison, sparse tensors,
graphs from outside, objects that are no optimizers) there is no fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.address import address_of
from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.form import form_of
from duet_p2p.engine.holding import holding_of, parameters_of
from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import HIDDEN_MARK, ROWS_MARK, Lineage, Owned
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.schedules import Schedule
from duet_p2p.engine.store import Slot
from duet_p2p.engine.training import Training

__all__ = ["Fingerprint", "Held", "fingerprint"]

_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})


@dataclass(slots=True)
class Held:
    """Entries of what one optimizer holds, and of the gradients that it steps with."""

    owned: list[Owned]
    """Of its tensors, in the order of its holding."""
    training: Training | None
    """Of all its parameters, if they have one and the same."""
    of_grads: list[Owned] | None = None
    """As the last step found them; None: look for them."""
    addresses: list[int] = field(default_factory=list)
    """Of the storages of its tensors, in the same order."""


@dataclass(slots=True)
class Fingerprint:
    """What was found, and what results speak of.

    It holds no tensor and no object, nor what does (`Tracked`): a plan keeps it between its runs,
    and what the scientist has deleted counts against no quota.
    """

    facts: list[Any]
    keys: list[tuple[str | int, ...]] = field(default_factory=list)
    """The `Rows.key` of operands, each once, in the order of their first mention."""
    nodes: dict[int, Made] = field(default_factory=dict)
    """Of the objects, by local number."""
    storages: dict[int, int] = field(default_factory=dict)
    """Of tensors among the objects, by local number."""
    shared: frozenset[int] = frozenset()
    """Which of them are the owner's."""
    held: dict[int, Held] = field(default_factory=dict)
    """Of optimizers among them, by local number."""


def fingerprint(
    slots: Iterable[tuple[int, Slot]], run: str, lineage: Lineage
) -> Fingerprint | None:
    """What commands that name these objects find; None if that is out of the ordinary.

    Args:
        slots: the objects by local number, always in the same order.
        run: stands for the plan and all that it was given.
        lineage: where labels are kept.
    """
    look = _Look(run, lineage)
    found = look.found
    shared = []
    for local, slot in slots:
        node, value = slot.made, slot.value
        if slot.label is not PUBLIC or slot.poison is not None or slot.is_loose or node is None:
            return None
        look.facts += (slot.tags, form_of(node), node.has_random, node.depth, node.is_boundary)
        found.nodes[local] = node
        if isinstance(value, Optimizer):
            held = look.optimizer(value)
            if held is None:
                return None
            found.held[local] = held
        else:
            entry = look.tensor(value)
            if entry is None:
                return None
            found.storages[local] = value.untyped_storage()._cdata
            if entry.is_shared:
                shared.append(local)
    found.shared = frozenset(shared)
    return found


class _Look:
    """One look at some objects; each part is looked at once, and stands for itself later on."""

    def __init__(self, run: str, lineage: Lineage) -> None:
        self.facts: list[Any] = [run]
        self.found = Fingerprint(self.facts)
        self._lineage = lineage
        self._entries: dict[int, tuple[int, Owned]] = {}
        self._kept: list[torch.Tensor] = []  # so that no identity is used twice
        self._places: dict[int, int] = {}

    def tensor(self, tensor: Any) -> Owned | None:
        """Adds the facts of a tensor and its gradients; its entry, None if it is not ordinary."""
        known = self._entries.get(id(tensor))
        if known is not None:
            self.facts.append(known[0])
            return known[1]
        if type(tensor) not in _TENSORS or tensor.layout is not torch.strided or not tensor.is_cpu:
            return None
        storage, marks = tensor.untyped_storage()._cdata, tensor.__dict__
        entry = self._lineage.at(storage)
        if entry is None or not is_private(entry.label) or entry.hidden or entry.is_copy:
            return None
        if entry.poison is not None or HIDDEN_MARK in marks or self._lineage.is_chosen(tensor):
            return None
        if is_joined(tensor) or tensor.is_inference():
            return None  # a graph is not looked at, and writes to inference tensors are not counted
        self._entries[id(tensor)] = (len(self._entries), entry)
        self._kept.append(tensor)
        self.facts += (
            type(tensor), tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype,
            tensor.requires_grad, tensor.is_conj(), tensor.is_neg(),
            entry.label, entry.in_graph, entry.stays, entry.is_shared, entry.written, entry.root,
            entry.training,
            None if entry.made is None else form_of(entry.made),
            self._places.setdefault(storage, len(self._places)),
        )  # fmt: skip
        mark = marks.get(ROWS_MARK)
        if mark is None or mark[1] != entry.uid or mark[2] != entry.version:
            self.facts.append(None)
        else:
            rows, keys = mark[0], self.found.keys
            if rows.key not in keys:
                keys.append(rows.key)
            place = keys.index(rows.key)
            self.facts += (rows.axis, rows.records, rows.atoms, rows.floor, rows.thinned, place)
        if (grad := tensor.grad) is None:
            self.facts.append(None)
        elif self.tensor(grad) is None:
            return None
        return entry

    def optimizer(self, optimizer: Optimizer) -> Held | None:
        """Adds the facts of all that an optimizer holds; None if that is not ordinary."""
        holding = holding_of(optimizer)
        if holding is None or not holding.has_plain_settings:
            return None
        self.facts += (type(optimizer), holding.number)
        for part in (optimizer, *holding.objects):
            entry = self._lineage.find(part)
            if entry is None or entry.poison is not None:
                return None
            is_scheduled = isinstance(entry.origin, Schedule)
            if entry.origin is not None and not is_scheduled:
                return None
            self.facts.append(entry.origin.form if is_scheduled else None)
            self.facts += (entry.content, entry.structure, entry.is_shared, entry.written)
            self.facts += (entry.has_public_numbers, entry.has_private_rate)
        owned = []
        for tensor in holding.tensors:
            of_tensor = self.tensor(tensor)
            if of_tensor is None:
                return None
            owned.append(of_tensor)
        entries = self._entries
        trainings = [entries[id(p)][1].training for p in parameters_of(optimizer)]
        is_one = bool(trainings) and all([known is trainings[0] for known in trainings])
        addresses = [address_of(tensor) for tensor in holding.tensors]
        return Held(owned, trainings[0] if is_one else None, addresses=addresses)
