"""The owner's view of the shared objects: facts, `get`, `delete`, no operators.

An owner has the data itself, so a handle computes nothing; it is for looking after what is shared.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Protocol, overload

from duet_p2p.errors import PointerDeleted
from duet_p2p.objects import cards
from duet_p2p.owner.catalog import Catalog, Item
from duet_p2p.owner.request_view import Caller

__all__ = ["Handle", "OwnerStore", "StoreWork"]


class StoreWork(Protocol):
    """What the store can have done on the loop."""

    async def read(self, object_id: int) -> tuple[Any, Any]:
        """The closed value of an object and its bytes."""
        ...

    def delete(self, object_id: int) -> None:
        """Removes an object of either side."""
        ...

    def set_listed(self, object_id: int, listed: bool) -> None:
        """Whether the scientist may see an object of the owner."""
        ...


class Handle:
    """One shared object."""

    def __init__(self, item: Item, store: OwnerStore) -> None:
        self._id = item.id
        self._last = item
        self._store = store

    @property
    def _item(self) -> Item:
        item = self._store.catalog.find(self._id)
        if item is not None:
            self._last = item
        return self._last

    @property
    def id(self) -> str:
        """Text id, the same on both sides."""
        return self._store.key(self._id)

    id_at_location = id

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self._item.tags)

    @property
    def description(self) -> str:
        """Its description."""
        return self._item.description

    @property
    def object_type(self) -> str:
        """Type name, ``torch.Tensor`` for example."""
        return self._item.type

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a tensor, where the scientist may see it."""
        return self._item.shape

    @property
    def dtype(self) -> str | None:
        """Name of the dtype of a tensor, where the scientist may see it."""
        return self._item.dtype

    @property
    def record_axis(self) -> int | None:
        """Along which axis the records of your tensor or data set lie; None if it has none."""
        return self._item.record_axis

    @property
    def is_mine(self) -> bool:
        """Whether you sent it; otherwise the scientist did."""
        return self._item.is_mine

    @property
    def pointable(self) -> bool:
        """Whether it is listed."""
        return self._item.listed

    def get(
        self,
        request_block: bool = False,
        timeout_secs: float = 20,
        reason: str = "",
        delete_obj: bool = False,
        verbose: bool = False,
        *,
        name: str = "",
    ) -> Any:
        """A copy of the value. Needs no request; only `delete_obj` has a meaning here.

        Raises:
            PointerDeleted: it was deleted.
        """
        value = self._store.read(self._id)
        if delete_obj:
            self.delete()
        return value

    def get_copy(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `get`; it stays for 0.5 code."""
        return self.get(*args, **kwargs)

    def delete(self) -> None:
        """Removes it from the session, for both sides.

        Raises:
            PointerDeleted: it was deleted before.
        """
        self._store.delete(self._id)

    def update_searchability(self, pointable: bool = True, searchable: bool | None = None) -> None:
        """Whether the scientist may see it. One that is not listed answers as unknown.

        Raises:
            PointerDeleted: it was deleted.
        """
        self._store.set_listed(self._id, pointable if searchable is None else searchable)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other._id == self._id and other._store is self._store

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        item = self._item
        parts = [item.type, self.id[:10]]
        if item.shape is not None:
            parts.append(f"shape {item.shape}")
        if item.records:
            parts.append(item.records)
        if item.tags:
            parts.append(f"tags {list(item.tags)}")
        if not item.listed:
            parts.append("not listed")
        if self._id not in self._store.catalog:
            parts.append("deleted")
        return f"<Shared {' '.join(parts)}>"

    def _repr_html_(self) -> str:
        item = self._item
        is_there = self._id in self._store.catalog
        state = ("" if item.listed else "not listed") if is_there else "deleted"
        facts = {
            "tags": list(item.tags),
            "description": item.description,
            "type": item.type,
            "shape": item.shape,
            "dtype": item.dtype,
            "records": item.records,
            "sent by": "you" if item.is_mine else "the scientist",
            "id": self.id,
        }
        return cards.card("Shared object", facts, state=state)


class OwnerStore:
    """What is shared, of both sides, in the order of sending.

    The scientist's objects come and go as they like, and those of the owner behind them would move
    into other rows than were read. So a position means the row that this process last showed, as
    one of `duet.requests` does. What was shared since counts on from there, the owner's first.
    """

    def __init__(
        self,
        catalog: Catalog,
        work: StoreWork,
        caller: Caller,
        *,
        object_key: Callable[[int], str],
        decode: Callable[[Any, Any], Any],
    ) -> None:
        self.catalog = catalog
        self._work = work
        self._caller = caller
        self._object_key = object_key
        self._decode = decode
        self._shown: list[int] = []  # ids of the listing that was shown last

    # reading

    def key(self, object_id: int) -> str:
        """Text id of an object."""
        return self._object_key(object_id)

    def decode(self, value: Any, data: Any) -> Any:
        """A closed value as Python and torch objects."""
        return self._decode(value, data)

    def source_name(self, object_id: int) -> str:
        """First tag of an object, or its text id."""
        return self.catalog.source_name(object_id) or self.key(object_id)

    def source_tags(self, object_id: int) -> tuple[str, ...]:
        """All tags of an object; none of one that is not in the store any more."""
        item = self.catalog.find(object_id)
        return () if item is None else tuple(item.tags)

    def source_records(self, object_id: int) -> str:
        """How many records an object of yours has, and along which axis; empty if none."""
        return self.catalog.source_records(object_id)

    def resolve_source(self, source: Any) -> int:
        """Id of an object of the owner's, listed or not, by handle, tag, text id or its beginning.

        The scientist may tag an object of its own like one of the owner's, or with its text id.
        """
        if isinstance(source, str):
            every: list[Item] = self._caller.read(lambda: list(self.catalog))
            return self._one_of([item for item in every if item.is_mine], source).id
        found: int = source._id if isinstance(source, Handle) else self._find(source).id
        if found > 0:
            raise KeyError(f"{source!r} was sent by the scientist; sources are objects of yours")
        return found

    @property
    def pandas(self) -> Any:
        """A `pandas.DataFrame`: ID, Tags, Description, object_type, Shape, dtype, Records."""
        from duet_p2p.objects.frame import frame_of

        rows = [
            (self.key(i.id), list(i.tags), i.description, i.type, i.shape, i.dtype, i.records)
            for i in self._show()
        ]
        columns = ["ID", "Tags", "Description", "object_type", "Shape", "dtype", "Records"]
        return frame_of(rows, columns)

    def update_vars(self, variables: MutableMapping[str, Any]) -> Any:
        """Binds each tag that is a free identifier to its handle; returns `.pandas`.

        A name that means something else already stays as it is: a tag must not shadow `torch`.
        Nor does a tag of the scientist's stand for what is called so of the owner's.
        """
        for item in sorted(self._listed(), key=lambda item: item.is_mine):  # the last one stays
            for tag in item.tags:
                is_name = tag.isidentifier() and not keyword.iskeyword(tag)
                is_free = tag not in variables or isinstance(variables[tag], Handle)
                if is_name and is_free and not hasattr(builtins, tag) and tag[:2] != "__":
                    variables[tag] = Handle(item, self)
        return self.pandas

    @overload
    def __getitem__(self, key: int | str) -> Handle: ...

    @overload
    def __getitem__(self, key: slice) -> list[Handle]: ...

    def __getitem__(self, key: int | str | slice) -> Handle | list[Handle]:
        if isinstance(key, slice):
            return [Handle(item, self) for item in self._show()[key]]
        return Handle(self._find(key), self)

    def __delitem__(self, key: int | str) -> None:
        self.delete(self._find(key).id)

    def __len__(self) -> int:
        return len(self._listed())

    def __iter__(self) -> Iterator[Handle]:
        return iter([Handle(item, self) for item in self._show()])

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Handle):
            return key._id in self.catalog
        try:
            self._find(key)
        except (LookupError, TypeError, PointerDeleted):
            return False
        return True

    def __repr__(self) -> str:
        return self._as_text(self._show())

    def _repr_html_(self) -> str:
        return self._as_html(self._show())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        items = self._show()  # one listing: a position means a row of what was shown
        return {"text/plain": self._as_text(items), "text/html": self._as_html(items)}

    def _as_text(self, items: list[Item]) -> str:
        return cards.lines(
            [
                (
                    *(f"[{n}]", self.key(i.id)[:10], i.type, i.shape or "", i.dtype or ""),
                    *(i.records, ", ".join(i.tags), i.description),
                )
                for n, i in enumerate(items)
            ],
            empty="Nothing is shared.",
        )

    def _as_html(self, items: list[Item]) -> str:
        columns = ("", "tags", "description", "type", "shape", "dtype", "records", "sent by", "id")
        rows = [
            (
                *(f"[{n}]", list(i.tags), i.description, i.type, i.shape, i.dtype),
                *(i.records, "you" if i.is_mine else "the scientist", self.key(i.id)[:10]),
            )
            for n, i in enumerate(items)
        ]
        return cards.table("Shared objects", columns, rows, empty="Nothing is shared.")

    # changing

    def read(self, object_id: int) -> Any:
        """The value of an object, as Python and torch objects of its own.

        Raises:
            PointerDeleted: there is no such object any more.
        """
        self._check(object_id)
        return self._decode(*self._caller.wait_on(self._work.read, object_id))

    def delete(self, object_id: int) -> None:
        """Removes an object of either side, for both.

        Raises:
            PointerDeleted: there is no such object any more.
        """
        self._check(object_id)
        self._caller.run(self._work.delete, object_id)
        self._make_room(object_id)

    def set_listed(self, object_id: int, listed: bool) -> None:
        """Lists an object or takes it off the list.

        Raises:
            PointerDeleted: there is no such object any more.
        """
        self._check(object_id)
        self._caller.run(self._work.set_listed, object_id, listed)
        if not listed:
            self._make_room(object_id)

    def _make_room(self, object_id: int) -> None:
        """What the owner took off the list by hand leaves no empty row."""
        self._shown = [shown for shown in self._shown if shown != object_id]

    def _check(self, object_id: int) -> None:
        if object_id not in self.catalog:
            raise PointerDeleted("This object was deleted from the session.")

    def _listed(self) -> list[Item]:
        items: list[Item] = self._caller.read(lambda: [i for i in self.catalog if i.listed])
        return items

    def _show(self) -> list[Item]:
        items = self._listed()
        self._shown = [item.id for item in items]
        return items

    def _in_row(self, row: int, items: list[Item]) -> Item:
        since = [item for item in items if item.id not in self._shown]
        mine = [item.id for item in since if item.is_mine]
        rows = self._shown + mine + [item.id for item in since if not item.is_mine]
        if row < 0 and self._shown:  # from the last one that the owner saw or sent
            rows = self._shown + mine
        if not -len(rows) <= row < len(rows):
            raise IndexError(f"there are {len(items)} objects, none at {row}")
        found = next((item for item in items if item.id == rows[row]), None)
        if found is None:
            raise PointerDeleted(
                f"The object that was shown in row {row} is not listed any more. "
                "Look at duet.store again."
            )
        return found

    def _find(self, key: object) -> Item:
        """A listed object. What fits one of the owner's is none of the scientist's."""
        items = self._listed()
        if isinstance(key, int) and not isinstance(key, bool):
            return self._in_row(key, items)
        mine = [item for item in items if item.is_mine]
        if isinstance(key, str) and self._called(mine, key):
            return self._one_of(mine, key)
        return self._one_of(items, key)

    def _one_of(self, items: list[Item], key: object) -> Item:
        if not isinstance(key, str):
            raise TypeError(f"an object is named by position, tag or id, not by {key!r}")
        found = self._called(items, key)
        if not found:
            raise KeyError(f"no object has the tag or id {key!r}: look at duet.store")
        if len(found) > 1:
            several = ", ".join(self.key(item.id)[:10] for item in found)
            raise KeyError(f"{key!r} fits several objects: {several}")
        return found[0]

    def _called(self, items: list[Item], key: str) -> list[Item]:
        """Those of this id, else of this tag, else of an id that begins so."""
        found = [item for item in items if self.key(item.id) == key.lower()]
        found = found or [item for item in items if key in item.tags]
        if not found and len(key) >= 5:
            found = [item for item in items if self.key(item.id).startswith(key.lower())]
        return found
