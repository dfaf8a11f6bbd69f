"""Loaders on the owner's side, iterated from here without waiting for each batch.

The number of batches is known, or asked once. Each `next` is an operation like any other and leaves
in its place in the program, since the first shuffled `next` draws from the session's generator. So
nothing is fetched ahead; but the program itself may be ahead of the owner's side, and at most eight
batches, which is memory there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from duet_p2p.limits import BATCHES_AHEAD
from duet_p2p.scientist.containers import Length, SizedPointer, asked_length
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.progress import pass_bar
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.values import DTYPES
from duet_p2p.wire.messages import Meta

__all__ = ["IteratorPointer", "LoaderPointer"]


class IteratorPointer(Pointer):
    """A remote iterator; `next` gives a pointer to its next element."""

    __slots__ = ()

    def __next__(self) -> Any:
        return self._client.call("python.next", self)

    def __len__(self) -> int:
        return asked_length(self, "len")

    def _public_length(self) -> int | None:
        if self._length is None:
            self._await_facts()
        return self._length

    def __iter__(self) -> Any:
        raise TypeError(
            "a remote iterator does not tell this side where it ends; iterate over the loader or "
            "list itself, or call next() as often as needed"
        )


class LoaderPointer(SizedPointer):
    """A remote DataLoader."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        count = int(self.__len__())
        return pass_bar(self._client, _Pass(self, count), count)

    def take(self, n: int) -> Iterator[Any]:
        """The first `n` batches of a new pass; needs no length."""
        return pass_bar(self._client, _Pass(self, n), n)

    def __len__(self) -> int:
        self._length = asked_length(self, "train_size")
        return Length.of(self, self._length)

    def _learn(self, meta: Meta) -> None:
        self._items = _batches_of(meta.facts)  # first: whoever sees the length finds it
        super()._learn(meta)

    def _batch(self, number: int) -> Any:
        """What is known of batch `number`, counted from 0."""
        from duet_p2p.scientist.knowledge import Known

        batches: _Batches | None = self._items
        if batches is None:
            return None
        rows = batches.last if number == batches.count - 1 else batches.rows
        columns = [
            Known("torch.Tensor", TensorSpec((rows, *shape), dtype))
            for shape, dtype in batches.columns
        ]
        return Known("python.List", None, columns, len(columns)) if batches.is_list else columns[0]


@dataclass(frozen=True, slots=True)
class _Batches:
    """What the owner's side told of a loader's batches."""

    count: int
    rows: int
    last: int
    """Rows of the last batch."""
    is_list: bool
    columns: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    """Shape of an element and dtype."""


def _batches_of(facts: Mapping[str, Any]) -> _Batches | None:
    """The facts in a `Meta`, None if there are none or they make no sense."""
    count, rows, last = (facts.get(name) for name in ("batches", "batch_size", "last"))
    element = facts.get("element")
    if not isinstance(element, list | tuple) or not element:
        return None
    columns = []
    for part in element:
        shape, dtype = part.get("shape"), DTYPES.get(part.get("dtype", ""))
        if dtype is None or not isinstance(shape, list | tuple):
            return None
        columns.append((tuple(shape), dtype))
    if not (isinstance(count, int) and isinstance(rows, int) and isinstance(last, int)):
        return None
    return _Batches(count, rows, last, bool(facts.get("is_list")), tuple(columns))


class _Pass:
    """One pass over a loader, in the program's own order."""

    def __init__(self, loader: LoaderPointer, batches: int) -> None:
        self._loader = loader
        loader._public_length()  # waits once for what is known of a batch
        self._batches = batches
        self._number = 0
        self._ahead: deque[int] = deque()
        self._iterator = loader._client.call("python.iter", loader)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return self._batches - self._number

    def __next__(self) -> Any:
        if self._number >= self._batches:
            raise StopIteration
        if len(self._ahead) >= BATCHES_AHEAD:
            self._loader._client.settle(self._ahead.popleft())
        self._iterator._items = self._loader._batch(self._number)
        batch = self._loader._client.call("python.next", self._iterator)
        self._ahead.append(batch._seq)
        self._number += 1
        return batch
