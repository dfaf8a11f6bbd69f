"""Pointers to what has a length: lists, dicts, texts, data sets.

The length is free where it is public. Else it is asked for, once, with a blocking request of its
own name, so that the owner can write a rule for it; a refusal raises, since code that needs a
length cannot go on without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from duet_p2p.limits import LENGTH_SECONDS
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.surface import types
from duet_p2p.surface.shapes import UNKNOWN

__all__ = ["DictPointer", "Length", "ListPointer", "SizedPointer", "asked_length"]


class Length(int):
    """A length that is known here; `get` gives it again, for code that asks for it."""

    _pointer: Pointer

    @classmethod
    def of(cls, pointer: Pointer, value: int) -> Length:
        """The length of this pointer's object."""
        made = cls(value)
        made._pointer = pointer
        return made

    def get(self, *args: Any, **kwargs: Any) -> int:
        """The number itself; it was public, or released to this scientist already."""
        return int(self)

    get_copy = get

    def resolve_pointer_type(self) -> Length:
        """The same object."""
        return self


def asked_length(pointer: Any, name: str) -> int:
    """The length, with a request of this name if it is not public.

    Raises:
        RequestDenied, RequestExpired: the owner did not release it.
    """
    known = pointer._public_length()
    if known is not None:
        return int(known)
    from duet_p2p.scientist.release import fetch

    config = pointer.get_request_config()
    value = fetch(
        pointer._client.call("python.len", pointer),
        request_block=True,
        timeout_secs=config.get("timeout_secs", LENGTH_SECONDS),
        reason=config.get("reason", ""),
        name=config.get("name", name),
        raises=True,
    )
    return int(value)


class SizedPointer(Pointer):
    """A remote object with a length: a text, a set, a data set."""

    __slots__ = ()
    _expects_meta = True

    def __len__(self) -> int:
        length = asked_length(self, self._length_name())
        if self._length_is_fixed():
            self._length = length
        return Length.of(self, length)

    def len(self) -> Any:
        """The length as a pointer; asks nothing."""
        return self._client.call("python.len", self)

    def _public_length(self) -> int | None:
        if self._length is None:
            self._await_facts()
        return self._length

    def _run(self, method: str, *args: Any) -> Any:
        """A method of the remote type, found through its bases."""
        return self._client.call(types.resolve(self._type, method) or method, self, *args)

    def _length_name(self) -> str:
        return "train_size" if self._type.startswith(("torch.utils", "torchvision")) else "len"

    def _length_is_fixed(self) -> bool:
        return self._type not in {"python.Set", "python.List", "python.Dict", "python.OrderedDict"}

    def _facts_shown(self) -> str:
        return "" if self._length is None else f" len={self._length}"

    def __iter__(self) -> Iterator[Any]:
        if self._type == "python.Set":
            raise TypeError("a remote set cannot be iterated; make a List of it first")
        return (self.__getitem__(i) for i in range(int(self.__len__())))

    def __reversed__(self) -> Any:
        if types.resolve(self._type, "__reversed__") is not None:
            return self._run("__reversed__")
        return (self.__getitem__(i) for i in reversed(range(int(self.__len__()))))


class ListPointer(SizedPointer):
    """A remote list, tuple or size; elements that this side put there are given back themselves."""

    __slots__ = ()

    def _spec_for_inference(self) -> Any:
        from duet_p2p.scientist import dispatch, knowledge

        if not isinstance(self._items, list):
            return UNKNOWN
        specs = []
        for item in self._items:
            if isinstance(item, knowledge.Known):
                specs.append(item.spec if item.spec is not None else UNKNOWN)
            else:
                specs.append(dispatch.spec_of(item))
        return specs

    def _public_length(self) -> int | None:
        if isinstance(self._items, list):
            return len(self._items)
        return super()._public_length()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(self._items, list) and type(key) is int:
            item = self._items[key]  # an IndexError is right here: the length is known
            if isinstance(item, Pointer | nn.Module):
                return item
        return self._run("__getitem__", key)

    def __next__(self) -> Any:
        # `next(model.parameters())` is how ordinary code asks for a model's device or dtype
        more = self._extra()
        if more.turn >= int(self.__len__()):
            raise StopIteration
        more.turn += 1
        return self[more.turn - 1]


class DictPointer(SizedPointer):
    """A remote dict; also a module's state dict that the owner shared."""

    __slots__ = ()

    def _public_length(self) -> int | None:
        if isinstance(self._items, dict):
            return len(self._items)
        return super()._public_length()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(self._items, dict) and isinstance(key, str | int):
            item = self._items.get(key)
            if isinstance(item, Pointer):
                return item
        return self._run("__getitem__", key)

    def keys(self) -> Any:
        """The keys: plain values where this side knows them all, else a pointer."""
        if isinstance(self._items, dict):
            return self._items.keys()
        return self._run("keys")

    def items(self) -> Any:
        """Pairs of key and pointer where the keys are known, else a pointer."""
        if isinstance(self._items, dict):
            return [(key, self[key]) for key in self._items]
        return self._run("items")

    def values(self) -> Any:
        """Pointers to the values where the keys are known, else a pointer."""
        if isinstance(self._items, dict):
            return [self[key] for key in self._items]
        return self._run("values")

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._items, dict):
            return iter(list(self._items))
        raise TypeError("the keys of this remote dict are not known here; ask for list(d.keys())")
