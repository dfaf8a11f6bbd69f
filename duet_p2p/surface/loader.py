"""Data sets of tensors, loaders over them, and what a loader tells of its batches beforehand.

A loader runs in the engine's own process with torch's default collation. Shuffling draws from the
default generator, which is the session's while a command runs, in the order of a local run: so
equal seeds give equal batches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, random_split

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.samplers import batches_of, sampler_of
from duet_p2p.surface.sizes import admit_items

__all__ = ["LOADERS", "loader_facts"]


def _dataset(value: Any) -> Dataset[Any]:
    if not isinstance(value, Dataset) or not hasattr(value, "__len__"):
        raise TypeError("a map-style data set is needed")
    return value


def _tensor_dataset(*tensors: Any) -> TensorDataset:
    if not tensors or not all(isinstance(t, torch.Tensor) and t.dim() for t in tensors):
        raise TypeError("TensorDataset takes tensors with at least one dimension")
    if any(len(t) != len(tensors[0]) for t in tensors):
        raise ValueError("the tensors have different lengths")
    return TensorDataset(*tensors)


def _subset(dataset: Any, indices: Any) -> Subset[Any]:
    length = len(_dataset(dataset))  # type: ignore[arg-type]
    if isinstance(indices, torch.Tensor):
        if indices.dim() != 1 or indices.is_floating_point():
            raise TypeError("indices are ints")
        admit_items(len(indices))
        indices = indices.tolist()
    admit_items(len(indices))
    chosen = list(indices)
    if not all(type(i) is int and -length <= i < length for i in chosen):
        raise IndexError(f"an index is out of range of {length} items")
    return Subset(dataset, chosen)


def _concat(datasets: Any) -> ConcatDataset[Any]:
    if not isinstance(datasets, (list, tuple)):
        raise TypeError("ConcatDataset takes a list of data sets")
    parts: list[Any] = [_dataset(dataset) for dataset in datasets]
    if sum(len(part) for part in parts) > sys.maxsize:  # a data set may stand there many times
        raise QuotaExceeded("a data set that long")
    return ConcatDataset(parts)


def _random_split(dataset: Any, lengths: Any) -> list[Subset[Any]]:
    admit_items(len(_dataset(dataset)))  # type: ignore[arg-type]
    return list(random_split(dataset, list(lengths)))


def _loader(
    dataset: Any,
    batch_size: Any = 1,
    shuffle: Any = None,
    sampler: None = None,
    batch_sampler: None = None,
    num_workers: Any = 0,
    collate_fn: None = None,
    pin_memory: Any = False,
    drop_last: Any = False,
    *,
    order: Any = None,
    batches: Any = None,
    **_: Any,
) -> DataLoader[Any]:
    # num_workers, pin_memory and the like change speed only: the engine has one process. The
    # keywords that may not be given at all are refused by the guard.
    if sampler is not None or batch_sampler is not None or collate_fn is not None:
        raise TypeError("a loader takes an order, but neither a sampler nor a collate_fn here")
    if batches is not None:
        if order is not None or shuffle or drop_last:
            raise ValueError("batches exclude order, shuffle and drop_last")
        return DataLoader(dataset, batch_sampler=batches_of(batches, _dataset(dataset)))
    size = int(batch_size)
    if not 0 < size <= limits.CONTAINER_ITEMS:
        raise QuotaExceeded(f"batches of {size}")
    return DataLoader(
        _dataset(dataset),
        batch_size=size,
        shuffle=bool(shuffle),
        sampler=None if order is None else sampler_of(order, dataset),
        drop_last=bool(drop_last),
    )


def _item(dataset: Any, index: Any) -> Any:
    if not isinstance(index, int):
        raise TypeError("a data set is indexed by an int")
    length = len(_dataset(dataset))  # type: ignore[arg-type]
    if not -length <= index < length:
        raise IndexError(f"an index is out of range of {length} items")
    return dataset[index]


def _element(sample: Any) -> list[dict[str, Any]] | None:
    parts = list(sample) if isinstance(sample, (list, tuple)) else [sample]
    found: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, torch.Tensor):
            shape, dtype = tuple(part.shape), part.dtype
        elif isinstance(part, bool):
            shape, dtype = (), torch.bool
        elif isinstance(part, int):
            shape, dtype = (), torch.int64
        elif isinstance(part, float):
            shape, dtype = (), torch.float64
        else:
            return None
        name = str(dtype).removeprefix("torch.")
        found.append({"type": "torch.Tensor", "shape": shape, "dtype": name})
    return found


def loader_facts(loader: DataLoader[Any]) -> dict[str, Any]:
    """What is known of a loader's batches before the first one.

    The engine tells them to the scientist where the data set's shapes are public. The structure
    comes from item 0, read under a saved generator state, so that asking draws no number.

    Returns:
        ``batches``, ``batch_size``, ``last`` (records in the last batch), ``is_list`` (a batch is a
        list of its parts, else one tensor), and ``element``: for each part ``type``, ``shape``
        without the batch axis and ``dtype`` as text; None if they cannot be told.
    """
    plan: Any = loader.batch_sampler
    length, size, batches = len(plan.sampler), plan.batch_size, len(loader)
    last = 0 if not batches else size if plan.drop_last else length - size * (batches - 1)
    element = None
    is_list = True
    if len(loader.dataset):  # type: ignore[arg-type]
        state = torch.get_rng_state()
        try:
            sample = loader.dataset[0]
            is_list = isinstance(sample, (list, tuple))
            element = _element(sample)
        finally:
            torch.set_rng_state(state)
    return {
        "batches": batches,
        "batch_size": size,
        "last": last,
        "is_list": is_list,
        "element": element,
    }


LOADERS: Final[dict[str, Callable[..., Any]]] = {
    "torch.utils.data.TensorDataset": _tensor_dataset,
    "torch.utils.data.Subset": _subset,
    "torch.utils.data.ConcatDataset": _concat,
    "torch.utils.data.random_split": _random_split,
    "torch.utils.data.DataLoader": _loader,
    "torch.utils.data.Dataset.__getitem__": _item,
    "torch.utils.data.DataLoader.__len__": len,
    "torch.utils.data.Dataset.__len__": len,
}
