"""The store as this scientist may see it: pushed by the owner's side, read from memory."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from duet_p2p.objects import cards
from duet_p2p.objects.notes import object_key
from duet_p2p.objects.plan import PLAN_TYPE
from duet_p2p.scientist.pointer import Pointer, make
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.values import DTYPES
from duet_p2p.wire.messages import StoreEntry

if TYPE_CHECKING:
    from pandas import DataFrame

    from duet_p2p.scientist.client import Client

__all__ = ["StoreView"]

_ID_CHARS = 5
"""At least so many characters of an id are an abbreviation of it, not a tag."""


class StoreView:
    """A sequence of pointers in the order of sending; also by tag, id or beginning of an id.

    It is read from memory. Only a key that is not there asks the owner's side first whether
    something is on its way, which takes a round trip and up to a tick.

    Attributes:
        removed: ids that were listed and are gone.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._entries: dict[int, StoreEntry] = {}
        self.removed: frozenset[int] = frozenset()

    # on the loop: each assigns whole objects, so that a reader sees the one or the other

    def replace(self, entries: Sequence[StoreEntry]) -> None:
        """The whole store."""
        fresh = {entry.id: entry for entry in entries}
        gone = {ident for ident in self._entries if ident < 0} - fresh.keys()
        self.removed = (self.removed | gone) - fresh.keys()
        self._entries = fresh

    def change(self, added: Sequence[StoreEntry], removed: Sequence[int]) -> None:
        """What was added, changed or removed."""
        entries = {ident: e for ident, e in self._entries.items() if ident not in removed}
        entries.update({entry.id: entry for entry in added})
        self.removed = (self.removed | set(removed)) - entries.keys()
        self._entries = entries

    # for the user

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._pointer(entry) for entry in self._entries.values()])

    @overload
    def __getitem__(self, key: int | str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> list[Any]: ...
    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return [self._pointer(entry) for entry in list(self._entries.values())[key]]
        try:
            return self._pointer(self._at(key))
        except (KeyError, IndexError):  # it may be on its way
            if not self._client.catch_up():
                raise
        return self._pointer(self._at(key))

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Pointer):
            return key._client is self._client and key._id in self._entries
        if not isinstance(key, str):
            return False
        try:
            self._find(key)
        except KeyError as error:
            return "several" in str(error)
        return True

    def __delitem__(self, key: int | str) -> None:
        """Deletes an object of one's own; the owner's objects raise `WrongSide`."""
        self[key].delete()

    @property
    def pandas(self) -> DataFrame:
        """The store as a table."""
        from duet_p2p.objects.frame import frame_of

        rows = [
            (
                self._key(entry),
                list(entry.tags),
                entry.description,
                entry.type,
                entry.shape,
                entry.dtype,
            )
            for entry in self._entries.values()
        ]
        columns = ["ID", "Tags", "Description", "object_type", "Shape", "dtype"]
        return frame_of(rows, columns)

    def update_vars(self, variables: MutableMapping[str, Any]) -> DataFrame:
        """Makes a variable of each tag that can be one and shadows nothing.

        A tag is the owner's text. It becomes a variable only if it is an identifier, no keyword, no
        builtin and not bound to anything but a pointer already, so that no owner can replace
        `torch` or `open` in the scientist's notebook.
        """
        for entry in self._entries.values():
            for tag in entry.tags:
                free = tag not in variables or isinstance(variables[tag], Pointer)
                usable = tag.isidentifier() and not keyword.iskeyword(tag)
                if usable and free and not hasattr(builtins, tag) and not tag.startswith("__"):
                    variables[tag] = self._pointer(entry)
        return self.pandas

    def __repr__(self) -> str:
        head = ("#", "ID", "type", "shape", "tags, description")
        rows = [
            (
                *(str(number), self._key(entry)[:8], entry.type),
                "" if entry.shape is None else tuple(entry.shape),
                " ".join(filter(None, [", ".join(entry.tags), entry.description])),
            )
            for number, entry in enumerate(self._entries.values())
        ]
        return cards.lines([head, *rows] if rows else [], empty="<store: empty>")

    def _repr_html_(self) -> str:
        columns = ("", "tags", "description", "type", "shape", "dtype", "id")
        rows = [
            (
                *(f"[{n}]", list(e.tags), e.description, e.type),
                *(None if e.shape is None else tuple(e.shape), e.dtype, self._key(e)[:10]),
            )
            for n, e in enumerate(self._entries.values())
        ]
        return cards.table("The store", columns, rows, empty="Nothing is shared.")

    def _key(self, entry: StoreEntry) -> str:
        return object_key(self._client.session_id, entry.id)

    def _at(self, key: int | str) -> StoreEntry:
        return self._find(key) if isinstance(key, str) else list(self._entries.values())[key]

    def _find(self, key: str) -> StoreEntry:
        tagged = [entry for entry in self._entries.values() if key in entry.tags]
        if len(tagged) > 1:
            ids = ", ".join(self._key(entry)[:8] for entry in tagged)
            raise KeyError(f"several objects have the tag {key!r}; name one by its id: {ids}")
        if tagged:
            return tagged[0]
        if len(key) >= _ID_CHARS:
            matching = [e for e in self._entries.values() if self._key(e).startswith(key.lower())]
            if len(matching) == 1:
                return matching[0]
            if matching:
                raise KeyError(f"several ids begin with {key!r}")
        raise KeyError(f"nothing in the store has the tag or the id {key!r}")

    def _pointer(self, entry: StoreEntry) -> Any:
        spec = None
        dtype = DTYPES.get(entry.dtype or "")
        if entry.shape is not None and dtype is not None:
            spec = TensorSpec(tuple(entry.shape), dtype, entry.requires_grad)
        pointer = make(
            self._client,
            entry.id,
            entry.type,
            tags=tuple(entry.tags),
            spec=spec,
            items=_items_of(entry),
            length=entry.length,
        )
        more = pointer._extra()
        more.description, more.listed, more.kept = entry.description, True, True
        # what is hidden of a shared object stays hidden: nothing is on its way
        more.hidden = True
        return pointer


def _items_of(entry: StoreEntry) -> Any:
    if entry.type == PLAN_TYPE:
        return entry.signature
    return None if entry.keys is None else dict.fromkeys(entry.keys, _UNKNOWN)


class _Unknown:
    """Stands for a value of a known key."""


_UNKNOWN = _Unknown()
