"""`sy.lib.python`: built-in Python values that can be tagged, described and sent.

A method cannot be put on `int`, so these carry the value and the note together. They subclass the
built-in type where Python allows it, and so work wherever the plain value does; `Bool`, `Range` and
`Slice` hold the value and pass everything on to it. `plain` takes the wrappers off, at any depth.
"""

from __future__ import annotations

import builtins
import collections as std
import enum
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar, Final

from duet_p2p.objects.notes import NO_NOTE, Noted, checked_tags

__all__ = [
    "Bool",
    "Complex",
    "Dict",
    "Float",
    "Int",
    "List",
    "OrderedDict",
    "Range",
    "Set",
    "Slice",
    "String",
    "Tuple",
    "collections",
    "plain",
]


class _Sendable:
    """The note and the way to the other side, for every wrapper."""

    _plain: ClassVar[type]
    _note: Noted = NO_NOTE

    def tag(self, *tags: str) -> Any:
        """Sets the tags, in place, and returns the same object."""
        self._note = replace(self._note, tags=checked_tags(tags))
        return self

    def describe(self, description: str) -> Any:
        """Sets the description, in place, and returns the same object."""
        if not isinstance(description, str):
            raise TypeError(f"a description is text, not {type(description).__name__}")
        self._note = replace(self._note, description=description)
        return self

    @property
    def tags(self) -> list[str]:
        """The tags that were set."""
        return list(self._note.tags)

    @property
    def description(self) -> str:
        """The description that was set."""
        return self._note.description

    def send(
        self,
        duet: Any,
        pointable: bool = True,
        description: str = "",
        tags: list[str] | None = None,
        searchable: bool | None = None,
        *,
        keys: str | None = None,
    ) -> Any:
        """Copies the value to the owner's engine and returns a pointer to it.

        Args:
            duet: the session, of either side.
            pointable: listed in the other side's store and kept until deleted.
            description: instead of what `describe` set.
            tags: instead of what `tag` set.
            searchable: the older word for `pointable`.
            keys: ``"public"`` or ``"private"`` (owner only), of a dict, may a look-up tell them.
        """
        return duet.send(
            self,
            pointable=pointable,
            description=description,
            tags=tags,
            searchable=searchable,
            keys=keys,
        )

    def _unwrapped(self) -> Any:
        return self._plain(self)


class Int(_Sendable, int):
    """An int that can be sent."""

    _plain = int


class Float(_Sendable, float):
    """A float that can be sent."""

    _plain = float


class Complex(_Sendable, complex):
    """A complex number that can be sent."""

    _plain = complex


class String(_Sendable, str):
    """A text that can be sent."""

    _plain = str


class List(_Sendable, list[Any]):
    """A list that can be sent."""

    _plain = list


class Tuple(_Sendable, tuple[Any, ...]):
    """A tuple that can be sent."""

    _plain = tuple


class Dict(_Sendable, dict[Any, Any]):
    """A dict that can be sent."""

    _plain = dict


class Set(_Sendable, set[Any]):
    """A set that can be sent."""

    _plain = set


class OrderedDict(_Sendable, std.OrderedDict[Any, Any]):
    """An OrderedDict that can be sent."""

    _plain = std.OrderedDict


class _Holding(_Sendable):
    """A wrapper of a type that Python does not let anybody subclass."""

    def __init__(self, *args: Any) -> None:
        self.value = self._plain(*args)

    def _unwrapped(self) -> Any:
        return self.value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "value":
            raise AttributeError(name)
        return getattr(self.value, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == plain(other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


class Bool(_Holding):
    """A bool that can be sent."""

    _plain = bool
    value: bool

    def __bool__(self) -> bool:
        return self.value

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __and__(self, other: Any) -> Any:
        return self.value & plain(other)

    def __or__(self, other: Any) -> Any:
        return self.value | plain(other)

    def __xor__(self, other: Any) -> Any:
        return self.value ^ plain(other)


class Range(_Holding):
    """A range that can be sent."""

    _plain = range
    value: range

    def __iter__(self) -> Any:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, item: Any) -> Any:
        return self.value[item]

    def __contains__(self, item: object) -> bool:
        return item in self.value


class Slice(_Holding):
    """A slice that can be sent."""

    _plain = slice
    value: slice


collections: Final = SimpleNamespace(OrderedDict=OrderedDict)
"""`sy.lib.python.collections`, where the original had its OrderedDict."""


def plain(value: Any) -> Any:
    """The value without wrappers, at any depth; anything that has none is returned itself."""
    if isinstance(value, _Sendable):
        value = value._unwrapped()
    if type(value).__name__ == "InterpolationMode" and isinstance(value, enum.Enum):
        return value.value  # torchvision's, which is not imported here
    match type(value):
        case builtins.list | builtins.tuple | builtins.set:
            if any(_may_wrap(item) for item in value):
                return type(value)(plain(item) for item in value)
        case builtins.dict | std.OrderedDict:
            if any(_may_wrap(key) or _may_wrap(item) for key, item in value.items()):
                return type(value)((plain(key), plain(item)) for key, item in value.items())
        case builtins.slice:
            if any(_may_wrap(part) for part in (value.start, value.stop, value.step)):
                return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


_BARE: Final = frozenset({type(None), bool, int, float, complex, str, bytes})


def _may_wrap(value: Any) -> bool:
    return type(value) not in _BARE
