"""The listed objects of one session, in the order of sending: facts about them, not the objects.

The owner's own carry the command that shared them: its bytes stay in the owner's process, so that
a restarted engine gets its objects back and `get` needs no engine. An object that is not listed is
not in the engine either, so no guessed id can meet it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.engine.messages import Share, Shared, SharePlan, Started
from duet_p2p.objects.plan import PLAN_TYPE, is_signature
from duet_p2p.objects.words import clean_line
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.messages import (
    DefinePlan,
    Note,
    Put,
    StoreChanged,
    StoreEntry,
    StoreSnapshot,
)
from duet_p2p.wire.values import Size, TensorData

__all__ = ["Catalog", "Item", "pages", "whole_store"]

_PAGE_BYTES: Final = limits.MESSAGE_MAX_BYTES // 2
"""Of entries in one message; the rest of it is for settings and headers."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object."""

    id: int
    type: str
    tags: tuple[str, ...]
    description: str
    shape: tuple[int, ...] | None
    dtype: str | None
    length: int | None
    requires_grad: bool
    keys: tuple[str, ...] | None
    listed: bool
    nbytes: int = 0
    signature: Any = None
    """Of a plan."""
    share: Share | SharePlan | None = None
    """How to put it into an engine; None for an object of the scientist."""

    @property
    def is_mine(self) -> bool:
        """Whether the owner sent it."""
        return self.share is not None

    @property
    def record_axis(self) -> int | None:
        """Where the records of a tensor or a data set of the owner lie; None if it has none."""
        return self.share.record_axis if isinstance(self.share, Share) else None

    @property
    def records(self) -> str:
        """How many records it has and where they lie, in words for the owner; else empty."""
        value = self.share.value if isinstance(self.share, Share) else None
        axis = self.record_axis
        is_dataset = self.type == "torch.utils.data.Dataset" and isinstance(value, list)
        tensor = value[0] if is_dataset and value else value
        if not isinstance(tensor, TensorData) or axis is None or axis >= len(tensor.shape):
            return ""
        many = tensor.shape[axis]
        return f"{many:,} record{'s' * (many != 1)}{'' if is_dataset else f' along axis {axis}'}"

    def entry(self) -> StoreEntry:
        """What the scientist may see of it."""
        return StoreEntry(
            id=self.id,
            type=self.type,
            tags=self.tags,
            description=self.description,
            shape=self.shape,
            dtype=self.dtype,
            length=self.length,
            requires_grad=self.requires_grad,
            keys=self.keys,
            signature=self.signature,
        )


class Catalog:
    """Objects by id, oldest first."""

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._newest = 0
        self._source_names: dict[int, str] = {}
        self._source_records: dict[int, str] = {}
        self._noted_bytes = 0  # tags and descriptions of the scientist

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, object_id: int) -> bool:
        return object_id in self._items

    def __iter__(self) -> Iterator[Item]:
        return iter(tuple(self._items.values()))

    def find(self, object_id: int) -> Item | None:
        """The object of an id, if it is there."""
        return self._items.get(object_id)

    def new_id(self) -> int:
        """A fresh id for an object of the owner."""
        self._newest -= 1
        return self._newest

    def shared(self, share: Share | SharePlan, event: Shared, *, listed: bool) -> Item:
        """The engine took an object of the owner."""
        noted: Any = share
        if isinstance(share, SharePlan):
            noted = decode_message(share.parts[-1])
        item = Item(
            id=share.id,
            type=event.type,
            tags=noted.tags,
            description=noted.description,
            signature=getattr(noted, "signature", None),
            shape=event.shape,
            dtype=event.dtype,
            length=event.length,
            requires_grad=event.requires_grad,
            keys=event.keys,
            listed=listed,
            nbytes=event.nbytes,
            share=share,
        )
        self._items[item.id] = item
        self._source_names[item.id] = item.tags[0] if item.tags else ""
        self._source_records[item.id] = item.records
        return item

    def put(self, message: Put) -> Item | None:
        """The scientist sent an object; only a listed one is kept here."""
        if not message.listed or not message.outs or not message.values or message.outs[0] <= 0:
            return None
        value = message.values[0]
        tensor = value if isinstance(value, TensorData) else None
        item = Item(
            id=message.outs[0],
            type=_type_of(value),
            tags=_clean_tags(message.tags),
            description=clean_line(message.description, limits.MESSAGE_TEXT_CHARS),
            shape=tensor.shape if tensor else None,
            dtype=tensor.dtype if tensor else None,
            length=_length_of(value),
            requires_grad=tensor.requires_grad if tensor else False,
            keys=None,
            listed=True,
        )
        return self._keep(item)

    def plan(self, message: DefinePlan) -> Item | None:
        """The scientist defined a plan; only a listed one is kept here."""
        if not message.listed or not message.is_last:
            return None
        return self._keep(
            Item(
                id=message.plan,
                type=PLAN_TYPE,
                tags=_clean_tags(message.tags),
                description=clean_line(message.description, limits.MESSAGE_TEXT_CHARS),
                shape=None,
                dtype=None,
                length=None,
                requires_grad=False,
                keys=None,
                listed=True,
                signature=message.signature if is_signature(message.signature) else None,
            )
        )

    def described(self, object_id: int) -> str:
        """What an object is, in words for a listing."""
        item = self._items.get(object_id)
        if item is None:
            return f"object {object_id} of the scientist" if object_id > 0 else "an object of yours"
        noted = f" {', '.join(map(ascii, item.tags))}" if item.tags else ""
        return f"{item.type}{noted}, {'shared by you' if item.is_mine else 'sent by the scientist'}"

    def note(self, message: Note) -> Item | None:
        """The scientist noted an object of its own; only a listed one is kept here."""
        if message.id <= 0 or not message.listed:
            return None
        known = self._items.get(message.id)
        if known is None:
            known = Item(
                message.id, "python.Any", (), "", None, None, None, False, None, listed=True
            )
        return self._keep(
            replace(
                known,
                tags=_clean_tags(message.tags),
                description=clean_line(message.description, limits.MESSAGE_TEXT_CHARS),
            )
        )

    def set_listed(self, object_id: int, listed: bool) -> Item:
        """Changes whether an object of the owner is listed."""
        item = replace(self._items[object_id], listed=listed)
        self._items[object_id] = item
        return item

    def remove(self, ids: Iterable[int]) -> list[Item]:
        """Takes objects off and returns those that were there."""
        found = (self._items.pop(object_id, None) for object_id in ids)
        removed = [item for item in found if item is not None]
        self._noted_bytes -= sum(map(_noted_bytes_of, removed))
        return removed

    def drop_theirs(self) -> list[Item]:
        """All objects of the scientist are gone."""
        return self.remove([item.id for item in self if not item.is_mine])

    def visible(self) -> tuple[StoreEntry, ...]:
        """What the scientist may see: what is listed, of both sides, in the order of sending."""
        return tuple(item.entry() for item in self if item.listed)

    def source_name(self, object_id: int) -> str:
        """First tag of an object that the owner shared, also after it was deleted."""
        return self._source_names.get(object_id, "")

    def source_records(self, object_id: int) -> str:
        """How many records an object that the owner shared has, also after it was deleted."""
        return self._source_records.get(object_id, "")

    def _keep(self, item: Item) -> Item | None:
        # The list is for people; a scientist who sends a million listed objects fills no memory.
        old = self._items.get(item.id)
        noted = self._noted_bytes + _noted_bytes_of(item) - (_noted_bytes_of(old) if old else 0)
        if noted > limits.LISTED_BYTES or (not old and len(self) >= limits.LISTED_OBJECTS):
            return None
        self._items[item.id], self._noted_bytes = item, noted
        return item


def _noted_bytes_of(item: Item) -> int:
    return 0 if item.is_mine else sum(map(sys.getsizeof, (*item.tags, item.description)))


def pages(entries: Iterable[StoreEntry]) -> list[tuple[StoreEntry, ...]]:
    """The entries in portions that fit into a message each; at least one portion.

    The key names of one very large module do not fit; it is listed without them.
    """
    packed: list[tuple[StoreEntry, ...]] = []
    page: list[StoreEntry] = []
    room = _PAGE_BYTES
    for entry in entries:
        nbytes = _nbytes(entry)
        if nbytes > _PAGE_BYTES:
            entry = replace(entry, keys=None, signature=None)
            nbytes = _nbytes(entry)
        if page and nbytes > room:
            packed.append(tuple(page))
            page, room = [], _PAGE_BYTES
        page.append(entry)
        room -= nbytes
    return [*packed, tuple(page)]


def _nbytes(entry: StoreEntry) -> int:
    try:
        return len(encode_message(StoreChanged((entry,), ())))
    except ValueError:
        return limits.MESSAGE_MAX_BYTES


def _clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    clean = (clean_line(tag, limits.NAME_CHARS) for tag in tuple(tags)[: limits.TAGS])
    return tuple(dict.fromkeys(tag for tag in clean if tag))


# Exact types of closed values: bool is an int in Python, so no isinstance.
_TYPES = {
    type(None): "python.NoneType",
    bool: "python.Bool",
    int: "python.Int",
    float: "python.Float",
    complex: "python.Complex",
    str: "python.String",
    list: "python.List",
    tuple: "python.Tuple",
    dict: "python.Dict",
    set: "python.Set",
    range: "python.Range",
    slice: "python.Slice",
    TensorData: "torch.Tensor",
    Size: "torch.Size",
}


def _type_of(value: Any) -> str:
    if type(value).__name__ == "OrderedDict":
        return "python.OrderedDict"
    return _TYPES.get(type(value), "python.Any")


def _length_of(value: Any) -> int | None:
    if isinstance(value, TensorData):
        return value.shape[0] if value.shape else None
    return len(value) if isinstance(value, str | list | tuple | dict | set | range) else None


def whole_store(
    entries: Sequence[StoreEntry], started: Started, data: list[str]
) -> Iterator[StoreSnapshot | StoreChanged]:
    """The first answer of a session: all that a scientist may see, in messages that fit.

    Args:
        entries: of the store.
        started: the engine that runs.
        data: names of directories that data sets may read.
    """
    versions = {name: str(text) for name, text in started.versions.items()}
    first, *others = pages(entries)
    yield StoreSnapshot(first, started.epoch, {"versions": versions, "data": data})
    for more in others:
        yield StoreChanged(more, ())
