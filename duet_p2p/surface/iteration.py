"""Iteration over remote objects: what ``iter``, ``next`` and ``len`` take and give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch

from duet_p2p.surface.sizes import admit_items

__all__ = ["ITERABLE", "RemoteIterator", "advance", "items_of", "iterate", "length"]


class RemoteIterator:
    """The iterator that ``iter`` gives; it knows what it runs over."""

    surface_type = "python.Iterator"

    __slots__ = ("_iterator", "is_exhausted", "source")

    def __init__(self, source: Any) -> None:
        self.source = source
        self._iterator: Iterator[Any] = iter(source)
        self.is_exhausted = False

    def __iter__(self) -> RemoteIterator:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            self.is_exhausted = True
            # a StopIteration would be lost in generators on the way to the scientist
            raise IndexError("the iterator is exhausted") from None

    def __len__(self) -> int:
        return len(self.source)


ITERABLE: Final[tuple[Any, ...]] = (
    list,
    tuple,
    dict,
    set,
    range,
    str,
    torch.Tensor,
    torch.utils.data.DataLoader,
    torch.utils.data.Dataset,
    RemoteIterator,
)
"""What can be iterated over."""


def iterate(value: Any) -> RemoteIterator:
    """A fresh iterator over a container, a loader or a data set."""
    if not isinstance(value, ITERABLE):
        raise TypeError(f"{type(value).__name__} is not iterable here")
    return value if isinstance(value, RemoteIterator) else RemoteIterator(value)


def advance(value: Any) -> Any:
    """The next item; `IndexError` at the end."""
    if not isinstance(value, RemoteIterator):
        raise TypeError("next takes an iterator")
    return next(value)


def length(value: Any) -> int:
    """What ``len`` gives."""
    if not isinstance(value, ITERABLE) and not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} has no length")
    return len(value)


def items_of(value: Any) -> list[Any]:
    """All items of a container, admitted by number first."""
    if isinstance(value, RemoteIterator) or not isinstance(value, ITERABLE):
        raise TypeError(f"{type(value).__name__} cannot be made into a container")
    admit_items(len(value))
    return list(value)
