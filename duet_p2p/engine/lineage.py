"""Labels on storages and on stateful objects: what the engine remembers about each of them.

A tensor's storage is known by its address together with a weak reference, which keeps the address
from being used again; so `.data`, views, `detach()` and every other alias find the same entry. A
container, optimizer or loader is known by identity. Storages without an entry are public and were
never written to by a command.

Lists and dicts cannot be referred to weakly, so the table holds them itself and `forget` gives them
back; most other objects are held weakly.

A tensor's `Rows` are an attribute of the Python object, valid only while no command has written
the storage since. A copy of that object (deepcopy) has another storage and so no rows.
"""

from __future__ import annotations

import gc
import hashlib
import os
import struct
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, Final, cast

import torch

from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.labels import PUBLIC, Kind, Label, Rows, join, to_per_record
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.reference_counts import IN_FORGET, IN_SWEEP
from duet_p2p.engine.store import Poison

__all__ = [
    "ATOMIC", "HIDDEN_MARK", "OF_THE_OWNER", "ROWS_MARK", "Lineage", "Owned", "Tracked",
    "is_atomic", "reach", "storage_of", "with_grads",
]  # fmt: skip

ROWS_MARK: Final = "_duet_rows"
"""Attribute of a tensor: its rows, and the `uid` and version of the entry that they hold for."""
HIDDEN_MARK: Final = "_duet_hidden"
"""Attribute of a tensor whose own shape is private."""
_CHOSEN: Final = "_duet_chosen"

ATOMIC: Final = (
    bool, int, float, complex, str, bytes, range, slice, type(None), type(Ellipsis),
    torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, torch.Generator,
)  # fmt: skip
"""Values without parts: their label is kept by whoever holds them."""

OF_THE_OWNER: Final = "The owner's objects are read-only. Work on a copy: clone() it first."
"""Why they cannot be written to."""

_OF_A_GRADIENT: Final = (
    "This is a dense copy of a sparse gradient, and writing to it would not change the gradient. "
    "clone() it, or set .grad to what you make of it."
)

_ATOMIC_TYPES: Final = frozenset(ATOMIC)
_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})
_WITH_PARTS: Final = _TENSORS | {list, dict, tuple, set}


def is_atomic(value: Any) -> bool:
    """Whether a value has no parts; several times a command, so the usual types are looked up."""
    kind = type(value)
    if kind is slice:  # a tensor can stand in it
        return is_atomic(value.start) and is_atomic(value.stop) and is_atomic(value.step)
    if kind in _ATOMIC_TYPES:
        return True
    return kind not in _WITH_PARTS and isinstance(value, ATOMIC)


_NOT_PARTS: Final = (
    *ATOMIC, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, CodeType, FrameType,
    property, classmethod, staticmethod, weakref.ReferenceType,
)  # fmt: skip


_free_reference: Final[Callable[[Any], None]] = torch.UntypedStorage._free_weak_ref


class Owned:
    """Entry of one storage.

    One is made with nearly each operation, so what few of them have stands on the class.
    """

    __slots__ = ("__dict__", "label", "made", "nbytes", "reference", "uid", "version")

    hidden: bool = False
    """The shape of what lies here is a private fact."""
    in_graph: bool = False
    """A private tensor with a graph behind it lies here: what is written over its numbers changes
    no gradient that will come through it, so its label stays."""
    stays: bool = False
    """No write takes a source off: it is chosen, or stands in for what lies otherwise in memory."""
    is_shared: bool = False  # an owner's object: read-only on every path
    is_apart: bool = False  # over the bytes of an owner's object, see choice.py
    is_copy: bool = False  # the dense copy of a sparse gradient: who writes to it means that one
    is_chosen: bool = False  # one of several lies here, of which private values chose one
    tie: Any = None  # to what else could have been chosen, see ties.py
    may_alias: bool = False  # private values decide what else lies here, see aliases.py
    poison: Poison | None = None
    written: Made | None = None
    """The newest of the commands that wrote to it in place; training steps are in the label."""
    root: str = ""
    """Hash of the last public content, once private values were written over it."""
    hash: tuple[tuple[int, int], str] | None = None
    """Hash of a public content, and the version that it is of."""
    zeroed: int = -1
    """Of a gradient: its version when a `zero_grad` had set it to zeros."""
    added: int = 0  # of a gradient: how many backwards added to the first one
    training: Any = None
    """Of a parameter that was trained: what the owner is told about it (training.py)."""
    clipped: tuple[str, str] | None = None  # form and text of the last time, see writers.py

    def __init__(self, storage: torch.UntypedStorage, uid: int) -> None:
        self.reference: Any = storage._weak_ref()
        """Until this is freed no other storage has its address."""
        self.uid = uid
        self.label = PUBLIC
        self.version = 0
        """Commands that could have written it."""
        self.made: Made | None = None
        """How a private storage came to be; for form.py, as are `written`, `root` and `hash`."""
        self.nbytes = storage.nbytes()

    def __del__(self, free: Callable[[Any], None] = _free_reference) -> None:
        free(self.reference)

    @property
    def read_only(self) -> str:
        """Why nobody may write here; empty if anybody may."""
        if self.is_shared:
            return OF_THE_OWNER
        return _OF_A_GRADIENT if self.is_copy else ""


class Tracked:
    """Entry of one stateful object that is no tensor."""

    __slots__ = (
        "added", "content", "has_private_rate", "has_public_numbers", "held", "is_chosen",
        "is_shared", "origin", "poison", "ref", "structure", "tie", "uid", "version", "written",
    )  # fmt: skip

    def __init__(self, uid: int) -> None:
        self.ref: Callable[[], Any] | None = None
        self.held: Any = None
        """The object itself where it cannot be referred to weakly."""
        self.uid = uid
        self.content = PUBLIC
        """Joined label of parts that cannot carry one: numbers, texts, internal state."""
        self.structure = PUBLIC
        """What decided its length, its keys and their order."""
        self.is_shared = self.has_public_numbers = self.has_private_rate = False  # see rates.py
        self.is_chosen = False  # of what is missing: as `Owned.is_chosen`
        self.tie: Any = None
        self.poison: Poison | None = None
        self.version, self.origin = 0, cast(Any, None)  # see batches.py, schedules.py, form.py
        self.written: Made | None = None
        """The newest of the commands that changed it, for form.py."""
        self.added: tuple[int | None, ...] | None = None
        """Of an optimizer that made a step: what `writers.added_to` gave for it."""


class Lineage:
    """All entries of one engine."""

    def __init__(self) -> None:
        self._storages: dict[int, Owned] = {}
        self.at: Final = self._storages.get
        """The entry of a living storage by its address, as `storage_of` gives it."""
        self._objects: dict[int, Tracked] = {}
        self._uid = 0
        self._key = os.urandom(16)
        self._sweep_at = self._objects_at = 4096
        self.epoch = self.count = 0  # of what happens: see score.py, and likeness.py
        self.has_poison = self.has_aliases = self.has_leaves = False  # two of them: aliases.py
        """Nothing is poisoned most of the time, and then nothing is searched for it."""
        self.generator = PUBLIC  # label of the session's random state
        self.chosen: list[tuple[Owned, torch.Tensor]] = []  # what `is_chosen`, see choice.py
        self.ties: list[Any] = []  # of what private values chose among, see ties.py
        self.seeds = ""
        """Stands for every seed that the scientist set, in order; empty if none was."""
        self.backward: Made | None = None  # the last one outside of plans, for foresight.py

    # tensors

    def entry(self, tensor: torch.Tensor) -> Owned | None:
        """The entry of the storage under a tensor, if it has one."""
        try:
            return self._storages.get(tensor.untyped_storage()._cdata)
        except NotImplementedError:  # a sparse one
            return self._storages.get(storage_of(tensor)._cdata)

    def own(self, tensor: torch.Tensor) -> Owned:
        """The entry of the storage under a tensor, made now if need be."""
        return self.entry(tensor) or self.own_storage(storage_of(tensor))

    def own_storage(self, storage: torch.UntypedStorage) -> Owned:
        """The entry of a storage, made now if need be."""
        return self._storages.get(storage._cdata) or self.enter(storage, storage._cdata)

    def enter(self, storage: torch.UntypedStorage, address: int) -> Owned:
        """The entry of a storage that has none yet."""
        if len(self._storages) >= self._sweep_at:
            self.sweep()
        self._uid += 1
        entry = self._storages[address] = Owned(storage, self._uid)
        return entry

    def label(self, tensor: torch.Tensor) -> Label:
        """The label of the storage under a tensor."""
        return PUBLIC if (entry := self.entry(tensor)) is None else entry.label

    def rows(self, tensor: torch.Tensor) -> Rows | None:
        """Where the records lie in this tensor; None if that is not known (any more)."""
        mark = getattr(tensor, ROWS_MARK, None)
        if mark is None:
            return None
        rows, uid, version = mark
        entry = self.entry(tensor)
        if entry is None or entry.uid != uid or entry.version != version:
            return None
        if entry.label.kind not in (Kind.ROWS, Kind.VERBATIM):
            return None
        if not (rows.axis < tensor.ndim and tensor.shape[rows.axis] == rows.records):
            return None
        found: Rows = rows
        return found

    def set_rows(self, tensor: torch.Tensor, rows: Rows) -> None:
        """Say where the records lie in this tensor, until its storage is next written."""
        self.mark_rows(tensor, rows, self.own(tensor))

    def mark_rows(self, tensor: torch.Tensor, rows: Rows, entry: Owned) -> None:
        """`set_rows` of a tensor whose entry is known."""
        setattr(tensor, ROWS_MARK, (rows, entry.uid, entry.version))

    def written(self, tensor: torch.Tensor) -> Owned:
        """A command may write this tensor: its storage's rows and version are no longer valid."""
        entry = self.own(tensor)
        entry.version += 1
        return entry

    # objects

    def find(self, obj: Any) -> Tracked | None:
        """The entry of a container or stateful object, if it has one."""
        return self._objects.get(id(obj))

    def track(self, obj: Any) -> Tracked:
        """The entry of a container or stateful object, made now if need be."""
        key = id(obj)
        entry = self._objects.get(key)
        if entry is None:
            self._uid += 1
            entry = self._objects[key] = Tracked(self._uid)
            # Either reference keeps the identity from being taken by another object unnoticed.
            if type(obj).__weakrefoffset__ == 0:
                entry.held = obj
                if len(self._objects) > self._objects_at:
                    self.sweep()
            else:
                entry.ref = self.enter_name(obj, entry)
        return entry

    def enter_name(self, obj: Any, entry: Tracked) -> weakref.ref[Any]:
        """This object has this entry, as long as the caller keeps what is returned."""
        key = id(obj)
        self._objects[key] = entry
        return weakref.ref(obj, lambda _: self._objects.pop(key, None))

    def forget(self, value: Any) -> None:
        """A slot let go of this value: give back containers that nothing else holds.

        The caller must hold `value` in exactly one name.
        """
        gone = [value]  # not by recursion: a list can lie as deep in lists as one likes
        del value
        for obj in gone:  # which grows
            entry = self._objects.get(id(obj))
            if entry is None or entry.held is None or sys.getrefcount(obj) > IN_FORGET:
                continue
            del self._objects[id(obj)]
            entry.held = None
            if isinstance(obj, dict | list | tuple | set):  # an iterator would be used up
                parts = obj.values() if isinstance(obj, dict) else obj
                gone += [part for part in parts if type(part) not in _ATOMIC_TYPES]

    def sweep(self) -> None:
        """Drop entries of storages that are gone, and of objects that only this table holds."""
        is_gone = torch.UntypedStorage._expired
        for key in [key for key, entry in self._storages.items() if is_gone(entry.reference)]:
            del self._storages[key]
        for key, tracked in list(self._objects.items()):
            if tracked.held is not None and sys.getrefcount(tracked.held) <= IN_SWEEP:
                del self._objects[key]
        self._sweep_at = max(4096, 2 * len(self._storages))
        self._objects_at = max(4096, 2 * len(self._objects))

    def stored_bytes(self) -> int:
        """Bytes of living storages that commands made."""
        self.sweep()
        return sum(entry.nbytes for entry in self._storages.values() if not entry.is_shared)

    # anything

    def whole(self, value: Any) -> Label:
        """Joined label of everything that can be reached from a value, by whatever way."""
        return join(self._labels(value))

    def _labels(self, value: Any) -> Iterator[Label]:
        for part in reach(value):
            if isinstance(part, torch.Tensor):
                yield self.label(part)
                continue
            entry = self._objects.get(id(part))
            if entry is not None:
                yield entry.content
                yield entry.structure

    def poison(self, value: Any) -> Poison | None:
        """The poison of the first reachable part that has one; a public one goes first.

        So that what is told of a public failure does not depend on private ones beside it.
        """
        if not self.has_poison or is_atomic(value):
            return None
        found = None
        for part in reach(value):
            poison = self._poison_of(part)
            if poison is not None and poison.is_public:
                return poison
            found = found or poison
        return found

    def _poison_of(self, part: Any) -> Poison | None:
        if isinstance(part, Poison):
            return part
        if isinstance(part, torch.Tensor):
            owned = self.entry(part)
            return None if owned is None else owned.poison
        tracked = self._objects.get(id(part))
        return None if tracked is None else tracked.poison

    def spoil(self, value: Any, poison: Poison, *, hidden: bool = False) -> None:
        """A command that failed would have changed this value; its content means nothing now.

        It is labelled as if the command had worked.
        """
        self.has_poison = True
        label = to_per_record(poison.label)
        if isinstance(value, torch.Tensor):
            owned = self.written(value)
            if owned.poison is None or not owned.poison.is_public:  # that stays told
                owned.poison = poison
            owned.label = join((owned.label, label))
            if hidden:
                self.hide(value)
        elif not isinstance(value, (*ATOMIC, tuple)):
            tracked = self.track(value)
            if not tracked.is_shared:  # an owner's object is as it was
                tracked.poison = poison
            tracked.version += 1
            tracked.content = join((tracked.content, label))
            if hidden:
                tracked.structure = join((tracked.structure, label))

    def hidden(self, tensor: torch.Tensor) -> bool:
        """Whether the shape of this tensor is a private fact."""
        entry = self.entry(tensor)
        return (entry is not None and entry.hidden) or self.is_hidden_view(tensor)

    @staticmethod
    def is_hidden_view(tensor: torch.Tensor) -> bool:
        """Whether the shape of this tensor is private although that of its storage need not be."""
        return HIDDEN_MARK in tensor.__dict__

    def hide(self, view: torch.Tensor) -> None:
        """The shape of this view is private; that of what it is a view of need not be."""
        setattr(view, HIDDEN_MARK, True)

    def choose(self, leaf: torch.Tensor) -> None:
        """A private value chose among tensors whose graphs reach this leaf."""
        setattr(leaf, _CHOSEN, True)

    def is_chosen(self, leaf: torch.Tensor) -> bool:
        """Whether one did: whether a graph above it was used up is private from then on."""
        return getattr(leaf, _CHOSEN, False)

    def add(self, value: Any, label: Label, *, hidden: bool = False) -> None:
        """Join a label into everything that can be reached from a value."""
        if label.is_public and not hidden:
            return
        for part in reach(value):
            if isinstance(part, torch.Tensor):
                entry = self.own(part)
                entry.label = join((entry.label, label))
                entry.hidden = entry.hidden or hidden
            elif not isinstance(part, tuple | frozenset | slice | Poison):
                tracked = self.track(part)
                tracked.content = join((tracked.content, label))
                if hidden:
                    tracked.structure = join((tracked.structure, to_per_record(label)))

    def version(self, value: Any, uid: int, touches: int = 0) -> int:
        """Changes whenever a command could have written the value.

        What was released once is given again under the same version, so nobody may be able to count
        commands until two of them meet: the numbers behind it are hashed with a key of the session.
        """
        seen: list[int] = [uid, touches]
        for part in reach(value):
            entry: Owned | Tracked | None = self._objects.get(id(part))
            entry = self.own(part) if isinstance(part, torch.Tensor) else entry
            if entry is not None:
                touched = 0 if entry.tie is None else entry.tie.whole().touched + 1
                seen += (entry.uid, entry.version, touched)
        packed = struct.pack(f"<{len(seen)}q", *seen)
        code = hashlib.blake2b(packed, digest_size=8, key=self._key).digest()
        return int.from_bytes(code, "little") >> 2


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The storage whose label is the tensor's; a sparse one has none but those of its parts."""
    return (tensor._values() if tensor.is_sparse else tensor).untyped_storage()


def reach(value: Any, *, grads: bool = False) -> list[Any]:
    """The value and all its parts that can hold a state, each once.

    Tensors (with `grads` their gradients, too), containers, optimizers, loaders and their parts.
    """
    if is_atomic(value):
        return []
    if grads:
        return with_grads(reach(value))
    if isinstance(value, torch.Tensor):
        return [value]
    seen: set[int] = {id(value)}
    found = []  # parts may be made on the fly: their identity must last as long as `seen`
    stack = [value]
    while stack:
        part = stack.pop()
        found.append(part)
        kind = type(part)
        if kind in _TENSORS:
            continue
        parts = part if kind is list else _parts(part)
        for below in parts:
            if type(below) not in _WITH_PARTS and is_atomic(below):
                continue
            key = id(below)
            if key not in seen:
                seen.add(key)
                stack.append(below)
    return found


def with_grads(parts: list[Any]) -> list[Any]:
    """What `reach` found, with the gradients of the tensors among it, and theirs."""
    seen = {id(part) for part in parts}
    found = list(parts)
    for part in found:  # which grows
        grad = held_gradient(part) if isinstance(part, torch.Tensor) else None
        if grad is not None and id(grad) not in seen:
            seen.add(id(grad))
            found.append(grad)
    return found


def _parts(part: Any) -> Iterable[Any]:
    if isinstance(part, Poison):
        return [p for p in part.parts if not is_atomic(p)]
    if isinstance(part, torch.Tensor):
        return ()
    if type(part) is dict:
        return [*part, *part.values()]
    if isinstance(part, list | tuple | set | frozenset):
        return [p for p in part if type(p) in _WITH_PARTS or not is_atomic(p)]
    if isinstance(part, slice):
        return [p for p in (part.start, part.stop, part.step) if not is_atomic(p)]
    if isinstance(part, dict):
        keys = [k for k in part if type(k) not in _ATOMIC_TYPES and not is_atomic(k)]
        # the usual types first, without a call: an optimizer has many of them
        return keys + [
            v for v in part.values()
            if (kind := type(v)) in _WITH_PARTS or (kind not in _ATOMIC_TYPES and not is_atomic(v))
        ]  # fmt: skip
    if hasattr(part, "__dict__"):
        values = vars(part).values()
        if isinstance(part, torch.optim.Optimizer):  # six dicts for hooks, which nobody can set
            values = [v for k, v in vars(part).items() if not k.startswith("_optimizer_")]
        return [v for v in values if type(v) not in _ATOMIC_TYPES and not isinstance(v, _NOT_PARTS)]
    # Iterators of C types and generators show their parts to the garbage collector only.
    return [p for p in gc.get_referents(part) if not isinstance(p, _NOT_PARTS)]
