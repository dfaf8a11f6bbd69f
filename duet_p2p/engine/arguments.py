"""The arguments of one command: wire values with references become objects with labels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch

from duet_p2p.engine.holding import parts_of
from duet_p2p.engine.labels import PUBLIC, Kind, Label, Rows, join
from duet_p2p.engine.lineage import ATOMIC, Lineage, Owned, is_atomic, with_grads
from duet_p2p.engine.store import Slot, Store
from duet_p2p.surface import shapes
from duet_p2p.surface.plan import refs_of
from duet_p2p.surface.tags import result_tags
from duet_p2p.surface.values import from_wire
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["Arguments", "is_private", "resolve", "spec_of", "tensors_in"]

_PUBLIC, _METADATA = Kind.PUBLIC, Kind.METADATA
_FIRST: Final = ("input", "optimizer", "logits", "A")
"""Keywords for what a call works on, where it is not the first positional argument."""
_SUBJECTS: Final = frozenset({"params", "dataset", "data", "datasets", "optimizer"})


class Arguments:
    """What one call gets, and where it came from.

    Args:
        args: positional ones.
        kwargs: by name.
        slots: of every id that is named anywhere in the arguments.
        at: of positional arguments that are a reference as they stand.
        wire: positional arguments as they came.
    """

    __slots__ = ("__dict__", "args", "at", "kwargs", "slots", "wire")

    named: Mapping[str, Any] = MappingProxyType({})
    """Arguments by name as they came."""
    sources: Sequence[torch.Tensor] = ()
    """The tensors that were there before the call, as `refresh` last found them."""
    graph: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
    """Of a backward: leaves and statistics that the graph of its root reaches, once looked for."""
    loss: Label = PUBLIC
    """Of a backward: of what it goes back from, with what the graph of that kept."""
    written: Mapping[int, Rows] = MappingProxyType({})
    """Where the records lay in tensors that the call wrote to in place; by identity."""
    alike: Mapping[int, frozenset[int]] = MappingProxyType({})
    """Of public tensors that the call writes over: axes along which they were the same before."""
    item: shapes.TensorSpec | None = None
    """Of a look-up in a dict of which all items have this form: see keyed.py."""
    is_alias: bool = False
    """Private values decide which of them, or which view, the result is: see aliases.py."""
    _parts: list[list[Any]] | None = None
    _tensors: list[torch.Tensor] | None = None
    _is_plain: bool | None = None
    _beside: Label | None = None
    _with_grads: list[Any] | None = None
    _owned: dict[int, Owned] | None = None

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], slots: dict[int, Slot] | None = None,
        at: tuple[Slot | None, ...] = (), wire: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        self.args = args
        self.kwargs = kwargs
        self.slots = {} if slots is None else slots
        self.at = at
        self.wire = wire

    def is_plain(self) -> bool:
        """Only tensors, numbers and texts: nothing that the call could change but tensors."""
        if self._is_plain is None:
            self._is_plain = all(
                [isinstance(value, torch.Tensor) or is_atomic(value) for value in self.values()]
            )
        return self._is_plain

    def refresh(self) -> None:
        """The call begins: it may change what stateful arguments hold."""
        self.sources = self.tensors()
        self.forget()

    def forget(self) -> None:
        """Look at stateful arguments anew: the call may have changed what they hold."""
        self._parts = self._tensors = self._beside = self._with_grads = self._owned = None

    def lay(self, tensor: torch.Tensor, rows: Rows) -> None:
        """The call wrote to a tensor, in which the records lay there."""
        self.written = {**self.written, id(tensor): rows}

    def rows(self, tensor: torch.Tensor, lineage: Lineage) -> Rows | None:
        """Where the records lay in an argument that the call was given."""
        return self.written.get(id(tensor)) or lineage.rows(tensor)

    def remade(self, look_up: Callable[[Slot], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other values in the place of what stands in the store."""

        def of(ref: Ref) -> Any:
            return look_up(self.slots[ref.id])

        if not self.wire:  # made here, of an object that is its own
            return self.args, self.kwargs
        args = tuple([from_wire(value, None, of) for value in self.wire])
        named = {key: from_wire(value, None, of) for key, value in self.named.items()}
        return args, named or self.kwargs  # of a call that is repeated they are constants

    def values(self) -> list[Any]:
        """All arguments, positional ones first."""
        return [*self.args, *self.kwargs.values()] if self.kwargs else list(self.args)

    def beside_first(self) -> list[Any]:
        """All arguments but the one that the call works on; all of them where that is not told.

        Keywords come in any order.
        """
        if self.args:
            return self.values()[1:]
        first = next((key for key in _FIRST if key in self.kwargs), None)
        return [value for key, value in self.kwargs.items() if key != first]

    def setting(self, name: str, position: int, default: Any = False) -> Any:
        """An argument by name or position."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def flag(self, name: str, position: int, default: Any = False) -> bool:
        """A switch by name or position; off where what stands there is none, which is refused."""
        try:
            return bool(self.setting(name, position, default))
        except (RuntimeError, TypeError, ValueError):  # a tensor of several numbers
            return False

    def label_at(self, position: int) -> Label:
        """The label that the slot of a positional argument holds."""
        slot = self.at[position] if position < len(self.at) else None
        return PUBLIC if slot is None else slot.label

    def label_from(self, start: int, stop: int, lineage: Lineage) -> Label:
        """The label of some positional arguments as indices, keys or counts.

        A tensor is a number here, and what stands in a slice or in a tuple counts too.
        """
        labels = [
            self.slots[number].label
            for value in self.wire[start:stop]
            for number in refs_of(value)
            if number in self.slots
        ]
        labels += [lineage.whole(v) for v in self.args[start:stop] if not is_atomic(v)]
        return join(labels)

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor that can be reached from the arguments."""
        if self._tensors is None:
            if self.is_plain():
                every = self.values()
            else:
                every = list(itertools.chain.from_iterable(self._reached()))
            self._tensors = [part for part in every if isinstance(part, torch.Tensor)]
        return self._tensors

    def _reached(self) -> list[list[Any]]:
        """What each argument holds; looked up once, since an optimizer holds a lot."""
        if self._parts is None:
            self._parts = [
                [value] if isinstance(value, torch.Tensor) else parts_of(value)
                for value in self.values()
                if not is_atomic(value)
            ]
        return self._parts

    def reached(self) -> Iterator[Any]:
        """Everything that can be reached from the arguments."""
        return itertools.chain.from_iterable(self._reached())

    def held_by_first(self) -> list[Any]:
        """What the first argument holds."""
        return next(iter(self._reached()), []) if self.args and not is_atomic(self.args[0]) else []

    def with_grads(self) -> list[Any]:
        """What the first argument holds, gradients too."""
        if self._with_grads is None:
            self._with_grads = with_grads(self.held_by_first())
        return self._with_grads

    def owned(self, tensor: torch.Tensor, lineage: Lineage) -> Owned | None:
        """The entry of a tensor that `tensors` or `with_grads` found.

        Of what an optimizer or a container holds it is looked up once, since that is a lot. It is
        forgotten as the call begins and when it is over: a call can give a tensor another storage.
        """
        if self.is_plain():
            return lineage.entry(tensor)
        if self._owned is None:
            self._owned = {}
        entry = self._owned.get(id(tensor))
        if entry is None:  # one that has none yet may get one at any time
            entry = lineage.entry(tensor)
            if entry is not None:
                self._owned[id(tensor)] = entry
        return entry

    def beside(self, lineage: Lineage) -> Label:
        """Joined label of everything in the arguments that is not a tensor."""
        if self._beside is not None:
            return self._beside
        labels = [slot.label for slot in self.slots.values()]
        for parts in () if self.is_plain() else self._reached():
            for part in parts:
                if not isinstance(part, torch.Tensor) and (entry := lineage.find(part)):
                    labels += (entry.content, entry.structure)
        self._beside = join(labels)
        return self._beside

    def settings(self, lineage: Lineage) -> Label:
        """Joined label of what a constructor is told beside the data, parameters or data sets.

        A tensor that stands where a number is meant is a number.
        """
        labels = [slot.label for slot in self.slots.values()]
        first = [*self.args[:1], *(self.kwargs[key] for key in _SUBJECTS & self.kwargs.keys())]
        others = [*self.args[1:], *(v for k, v in self.kwargs.items() if k not in _SUBJECTS)]
        for value in first:
            if isinstance(value, list | tuple | dict | set) and (entry := lineage.find(value)):
                labels += (entry.content, entry.structure)
            for group in value if isinstance(value, list | tuple) else ():
                if isinstance(group, dict):  # of parameters
                    others += [part for key, part in group.items() if key != "params"]
        labels += [
            lineage.whole(value) for value in others
            if isinstance(value, torch.Tensor | list | tuple | dict | set)
        ]  # fmt: skip
        return join(labels)

    def structure(self, lineage: Lineage) -> Label:
        """Joined label of what decided how long containers among the arguments are."""
        return join(
            [
                entry.structure
                for parts in self._reached()
                for part in parts
                if not isinstance(part, torch.Tensor) and (entry := lineage.find(part))
            ]
        )

    def all(self, lineage: Lineage) -> Label:
        """Joined label of all arguments."""
        labels = [self.beside(lineage)]
        for tensor in self.tensors():
            entry = self.owned(tensor, lineage)
            # of hundreds of an optimizer nearly all have one and the same
            if entry is not None and entry.label is not labels[-1]:
                labels.append(entry.label)
        return join(labels)

    def has_public_facts(self, lineage: Lineage) -> bool:
        """Shapes and everything but the values in tensors are public."""
        return not is_private(self.beside(lineage)) and not self.has_hidden(lineage)

    def tags(self, name: str) -> tuple[str, ...]:
        """The tags of what a command of this name gives, or would have given."""
        return result_tags(name, tuple([slot.tags for slot in self.slots.values()]))

    def has_hidden(self, lineage: Lineage) -> bool:
        """The shape of some tensor is private."""
        for tensor in self.tensors():
            entry = self.owned(tensor, lineage)
            if (entry is not None and entry.hidden) or lineage.is_hidden_view(tensor):
                return True
        return False


def is_private(label: Label) -> bool:
    """It depends on values; metadata follows from public shapes."""
    kind = label.kind
    return kind is not _PUBLIC and kind is not _METADATA


_PLAIN: Final = frozenset({bool, int, float, str, type(None)})
"""Wire values that are what they stand for."""


def resolve(op: Op, store: Store) -> Arguments:
    """The arguments of a command.

    Raises:
        IdError: an id that does not exist.
        ProtocolError: a value that cannot be made.
    """
    slots: dict[int, Slot] = {}
    get = store.get

    def look_up(ref: Ref) -> Any:
        slot = slots[ref.id] = get(ref.id)
        return slot.value

    args: list[Any] = []
    at: list[Slot | None] = []
    for value in op.args:
        kind = type(value)
        slot = None
        if kind is Ref:
            slot = slots[value.id] = get(value.id)
            value = slot.value
        elif kind not in _PLAIN:
            value = from_wire(value, None, look_up)
        args.append(value)
        at.append(slot)
    kwargs: dict[str, Any] = {}
    for key, value in op.kwargs.items():
        kwargs[key] = value if type(value) in _PLAIN else from_wire(value, None, look_up)
    given = Arguments(tuple(args), kwargs, slots, tuple(at), op.args)
    if kwargs:
        given.named = op.kwargs
    return given


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors that a value is, or holds as a list or tuple; each list is looked at once."""
    if isinstance(value, torch.Tensor):
        return [value]
    found, seen, lists = [], set[int](), [value]
    while lists:
        part = lists.pop()
        if isinstance(part, torch.Tensor):
            found.append(part)
        elif isinstance(part, list | tuple) and id(part) not in seen:
            seen.add(id(part))
            lists += reversed(part)
    return found


def spec_of(value: Any) -> Any:
    """What shape inference sees of a value: the shape of a tensor, everything else as it is."""
    if isinstance(value, torch.Tensor):
        device = "cpu" if value.is_cpu else str(value.device)
        return shapes.TensorSpec(tuple(value.shape), value.dtype, value.requires_grad, device)
    if type(value) is slice:
        return slice(spec_of(value.start), spec_of(value.stop), spec_of(value.step))
    if isinstance(value, list):
        return [spec_of(item) for item in value]
    if type(value) is tuple:
        return tuple([spec_of(item) for item in value])
    return value if isinstance(value, (dict, *ATOMIC)) else shapes.UNKNOWN
