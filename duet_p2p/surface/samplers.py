"""In which order a loader goes through its data set, where the scientist says so.

A sampler is code, and does not travel. The scientist's side says which of torch's own it is, and
with which numbers (scientist/samplers.py makes that of a sampler object); it is made again here, of
copies, so that nothing can be written into it later. Whatever chooses records closes the way to
aggregates, see engine/batches.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.utils.data import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from duet_p2p.surface.sizes import admit_items

__all__ = ["batches_of", "sampler_of"]


def sampler_of(order: Any, dataset: Any) -> Any:
    """The sampler of an order.

    Args:
        order: a tuple of the sampler's name and its numbers: ``("sequential", length)``,
            ``("random", length, replacement, count)``, ``("subset", indices)``,
            ``("weighted", weights, count, replacement)``, ``("list", indices)``. A length of None
            is the data set's own.
        dataset: map-style.

    Raises:
        TypeError, ValueError, IndexError, QuotaExceeded: the order is none, or too long.
    """
    if not isinstance(order, tuple) or not order or not isinstance(order[0], str):
        raise TypeError("an order is a tuple that begins with a name")
    make = _MAKERS.get(order[0])
    if make is None:
        raise ValueError(f"no sampler is called {order[0]!r:.40}")
    return make(dataset, *order[1:])


def batches_of(order: Any, dataset: Any) -> BatchSampler:
    """The batch sampler of ``(order, batch_size, drop_last)``."""
    if not isinstance(order, tuple) or len(order) != 3:
        raise TypeError("batches are an order, a size and whether the last one is dropped")
    inner, size, drop_last = order
    return BatchSampler(sampler_of(inner, dataset), _count(size, least=1), bool(drop_last))


def _count(value: Any, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise ValueError("a number of records is an int, and not negative")
    admit_items(value)
    return value


def _numbers(values: Any) -> list[Any]:
    """A copy: the scientist's own list or tensor must not be the sampler's."""
    if isinstance(values, torch.Tensor):
        if values.dim() != 1:
            raise TypeError("a list of numbers is needed")
        admit_items(len(values))
        return list(values.tolist())
    if not isinstance(values, list | tuple | range):
        raise TypeError("a list of numbers is needed")
    admit_items(len(values))
    return list(values)


def _indices(values: Any, dataset: Any) -> list[int]:
    length, found = len(dataset), _numbers(values)
    if not all(type(i) is int and -length <= i < length for i in found):
        raise IndexError(f"an index is out of range of {length} items")
    return found


def _source(length: Any, dataset: Any) -> Any:
    if length is None:
        return dataset
    if _count(length) > len(dataset):
        raise IndexError(f"an index is out of range of {len(dataset)} items")
    return range(length)


def _sequential(dataset: Any, length: Any = None) -> SequentialSampler:
    return SequentialSampler(_source(length, dataset))


def _random(
    dataset: Any, length: Any = None, replacement: Any = False, count: Any = None
) -> RandomSampler:
    number = None if count is None else _count(count, least=1)
    return RandomSampler(_source(length, dataset), bool(replacement), number)


def _subset(dataset: Any, indices: Any) -> SubsetRandomSampler:
    return SubsetRandomSampler(_indices(indices, dataset))


def _weighted(dataset: Any, weights: Any, count: Any, replacement: Any) -> WeightedRandomSampler:
    chances = _numbers(weights)
    if len(chances) > len(dataset):
        raise IndexError(f"an index is out of range of {len(dataset)} items")
    if not all(type(chance) in (int, float) and 0 <= chance < math.inf for chance in chances):
        raise ValueError("weights are numbers, and not negative")
    number = _count(count, least=1)
    if not replacement and number > len(chances):
        raise ValueError("more records than there are, without replacement")
    return WeightedRandomSampler(chances, number, bool(replacement))


_MAKERS: Final[dict[str, Callable[..., Any]]] = {
    "sequential": _sequential,
    "random": _random,
    "subset": _subset,
    "weighted": _weighted,
    "list": lambda dataset, indices: _indices(indices, dataset),
}
