"""The engine's objects by id.

The rules are closed: an id that exists is never written again; positive ids are the scientist's to
make and to delete, negative ones are the owner's and no command of the scientist deletes or
replaces them. Each slot has a `uid` of its own, so whoever remembered an id can tell that another
object is under it now.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.recipe import Made

__all__ = ["IdError", "Memory", "MissingGradient", "PlanOutput", "Poison", "Slot", "Store"]


class IdError(KeyError):
    """An id that does not exist, exists already, or is not the scientist's; a public fact."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingGradient(list[Any]):
    """What was set as the gradient of a missing tensor, and what backwards would have left there.

    All names of one tensor have the same.
    """

    is_kept = False
    """A backward leaves one: the tensor is a leaf, or was to retain it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[weakref.ref[Poison]] = []
        """What stands for the tensor, where that is a leaf: all of it has one label."""

    of: tuple[Any, ...] = ()
    """Tensors, some of them missing, of which a private value was to choose one: it is that's."""


class Memory(list[weakref.ref["Poison"]]):
    """All that would lie in the same memory, if it were not missing: it has one label."""

    def __call__(self) -> Poison | None:
        """One of them that is still there."""
        return next((part for name in self if (part := name()) is not None), None)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Poison:
    """What stands in place of a result that could not be computed.

    What is computed from it is poison with the same words, and with its own leaves.
    """

    seq: int
    op: str
    code: str
    text: str
    """For the owner's eyes unless `is_public`."""
    is_public: bool
    label: Label
    """Learning that this failed is learning something about these sources."""
    parts: tuple[Any, ...] = ()
    """What an object that could not be made would have held."""
    is_object: bool = False
    """It stands for an object, whose shape is no secret; else for what has a hidden shape."""
    is_list: bool = False
    """It stands for a container, whose length is private."""
    is_tensor: bool = False
    """It stands for a tensor, whose shape is private."""
    is_number: bool = False
    """It stands for a number, or for what else has no parts."""
    is_tuple: bool = False
    """It stands for a tuple of tensors, whose length its name says."""
    is_loader: bool = False
    """It stands for a loader or a pass over one, which gives copies of its records."""
    has_batches: bool = False
    """It stands for a loader that was given its batches, and so has no size of them."""
    is_group: bool = False
    """It stands for groups, settings or a state of an optimizer, or for a part of those."""
    may_alias: bool = False
    """It stands for what might lie where another tensor does, see aliases.py."""
    records: str = ""
    """``"one"``: it stands for a loader, a data set or a pass; ``"many"``: for a list of them;
    ``"copies"``: for a distribution, whose parameters are no views of what it is made of."""
    leaves: dict[int, Any] = field(default_factory=dict)
    """Leaves with gradients that met it, by identity: what a backward would have reached.

    Some are missing themselves: then they are a poison with the same `gradient`.
    """
    memory: Memory = field(default_factory=Memory)
    made_of: tuple[Any, ...] = ()
    """Its graph: nodes of torch's, and what is missing, that it was to be computed from."""
    kept: tuple[Any, ...] = ()
    """What its way back may keep, see kept.py."""
    gradient: MissingGradient = field(default_factory=MissingGradient)


@dataclass(slots=True, weakref_slot=True)
class Slot:
    """One object with what the store keeps beside it."""

    value: Any
    label: Label = PUBLIC
    """Of what has no storage of its own: numbers, texts, tuples. Tensors and containers carry
    their labels themselves, see lineage.py."""
    tags: tuple[str, ...] = ()
    description: str = ""
    listed: bool = False
    made: Made | None = None
    type: str = ""
    """Type name of an owner's object, where the value alone does not tell it."""
    uid: int = 0
    """Fresh for each slot, part of a value's version."""
    origin: PlanOutput | None = None
    """Of what a plan gave."""
    poison: Poison | None = None
    """Of a number or tuple that stands in for a result that could not be computed."""
    is_told: bool = False
    """The scientist's side could not work the shape out and was told, so it will be of results."""
    is_loose: bool = False
    """Of a number: values decided which type it has, and so the types of what it is added to."""
    is_element: bool = False
    """It lay in a container: where it is loose, it need not be a tensor though it is one."""
    perhaps: tuple[Any, ...] = ()
    """Entries of the lists, dicts and sets that it may be, as a private value chose."""
    likeness: Any = None
    """Of a tensor: what rules may ask about it (likeness.py), as it was `seen`."""
    records: tuple[str | int, ...] | None = None
    """The `Rows.key` that belongs to the likeness."""
    seen: int = -1
    """`Lineage.count` when the tensor was looked at last."""
    is_shared: bool = False
    """It is an object of the owner's itself, and nothing that was made of one."""


@dataclass(frozen=True, slots=True)
class PlanOutput:
    """Which output of which plan a value is; only while nothing wrote it since."""

    digest: str
    output: int
    run: int
    """Number of the (first) run among all runs of plans in this session, from 1."""
    runs: int
    """How many runs are in it."""
    version: int
    """`Lineage.version` of the value when the run was over."""
    given: str = ""
    """Stands for the plan and all that the run was given."""


class Store:
    """Id to `Slot`, with the rules of who may write what."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self.has_told = False
        """Some object `is_told`; else nobody needs to look."""
        self._uid = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def ids(self) -> list[int]:
        """All ids, positive ones made by the scientist."""
        return list(self._slots)

    def __contains__(self, id: int) -> bool:
        return id in self._slots

    def get(self, id: int) -> Slot:
        """The slot of an id; `IdError` if there is none."""
        slot = self._slots.get(id)
        if slot is None:
            raise IdError(f"no object has the id {id}")
        return slot

    def find(self, id: int) -> Slot | None:
        """The slot of an id or None."""
        return self._slots.get(id)

    def check_fresh(self, ids: Iterable[int]) -> None:
        """Raise `IdError` unless a command of the scientist may write these ids."""
        ids = tuple(ids)
        if len(ids) == 1 and ids[0] > 0 and ids[0] not in self._slots:
            return
        seen: set[int] = set()
        for id in ids:
            if id <= 0:
                raise IdError(f"{id} is not an id that a scientist can make")
            if id in seen or id in self._slots:
                raise IdError(f"the id {id} exists already")
            seen.add(id)

    def is_fresh(self, id: int) -> bool:
        """Whether a command of the scientist may write this id."""
        return id > 0 and id not in self._slots

    def place(self, id: int, slot: Slot) -> None:
        """Store under an id that `is_fresh`."""
        self._add(id, slot)

    def put(self, id: int, slot: Slot) -> None:
        """Store under a fresh positive id."""
        self.check_fresh((id,))
        self._add(id, slot)

    def share(self, id: int, slot: Slot) -> None:
        """Store an owner's object under a fresh negative id."""
        if id >= 0:
            raise IdError(f"{id} is not an owner's id")
        if id in self._slots:
            raise IdError(f"the id {id} exists already")
        self._add(id, slot)

    def new_uid(self) -> int:
        """A number that no slot of this session had."""
        self._uid += 1
        return self._uid

    def _add(self, id: int, slot: Slot) -> None:
        slot.uid = self._uid = self._uid + 1
        self._slots[id] = slot

    def delete(self, ids: Iterable[int]) -> list[Slot]:
        """A scientist's `Del`: own ids only; unknown ones are dead already."""
        ids = tuple(ids)
        for id in ids:
            if id < 0:
                raise IdError("an owner's object can be deleted by the owner only")
        return self._remove(ids)

    def drop(self, ids: Iterable[int]) -> list[Slot]:
        """The owner removes objects, of either side."""
        return self._remove(ids)

    def _remove(self, ids: Iterable[int]) -> list[Slot]:
        take = self._slots.pop
        return [slot for id in ids if (slot := take(id, None)) is not None]
