"""torch's own samplers, told to the owner's side by name and numbers.

`torch.utils.data.RandomSampler(dataset)` and its kin are made on this side, of a remote data set as
of any other; a remote loader gets what they would do (surface/samplers.py makes them again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils import data

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist.pointer import Pointer

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["SAMPLERS", "make_loader"]

SAMPLERS: Final = (
    data.BatchSampler,
    data.RandomSampler,
    data.SequentialSampler,
    data.SubsetRandomSampler,
    data.WeightedRandomSampler,
)
"""The classes that can be told; `duet.torch.utils.data` has them as they are."""
_INLINE: Final = 1024
"""Indices or weights that go inside the command; more are uploaded as a tensor."""


def make_loader(
    client: Client,
    dataset: Any,
    batch_size: Any = 1,
    shuffle: Any = None,
    sampler: Any = None,
    batch_sampler: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A remote `DataLoader`; takes what torch's takes, callables excepted.

    Raises:
        NotAllowed: a sampler of another class, or one with a generator of this side.
        ValueError: arguments that exclude each other, in torch's words.
    """
    name = "torch.utils.data.DataLoader"
    if sampler is None and batch_sampler is None:
        return client.call(name, dataset, batch_size, shuffle, None, None, *args, **kwargs)
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is None:
        order = _order(client, sampler, dataset)
        return client.call(
            name, dataset, batch_size, None, None, None, *args, order=order, **kwargs
        )
    if batch_size != 1 or shuffle or sampler is not None or kwargs.get("drop_last"):
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )
    if type(batch_sampler) is not data.BatchSampler:
        raise _refused(batch_sampler)
    batches = (
        _order(client, batch_sampler.sampler, dataset),
        batch_sampler.batch_size,
        batch_sampler.drop_last,
    )
    return client.call(name, dataset, 1, None, None, None, *args, batches=batches, **kwargs)


def _order(client: Client, sampler: Any, dataset: Any) -> tuple[Any, ...]:
    kind = type(sampler)
    if getattr(sampler, "generator", None) is not None:
        raise NotAllowed(
            "a generator does not travel: leave it out, and seed with duet.torch.manual_seed"
        )
    if kind is data.SequentialSampler:
        return ("sequential", _length(sampler.data_source, dataset))
    if kind is data.RandomSampler:
        length = _length(sampler.data_source, dataset)
        return ("random", length, sampler.replacement, sampler._num_samples)
    if kind is data.SubsetRandomSampler:
        return ("subset", _numbers(client, sampler.indices))
    if kind is data.WeightedRandomSampler:
        weights = _numbers(client, sampler.weights)
        return ("weighted", weights, sampler.num_samples, sampler.replacement)
    if kind in (list, tuple, range, torch.Tensor) or isinstance(sampler, Pointer):
        return ("list", _numbers(client, sampler))
    raise _refused(sampler)


def _refused(sampler: Any) -> NotAllowed:
    return NotAllowed(
        f"a {type(sampler).__name__} is code, which does not travel: a loader takes a list of "
        f"indices, or one of {', '.join(cls.__name__ for cls in SAMPLERS)}"
    )


def _length(source: Any, dataset: Any) -> int | None:
    return None if source is dataset else len(source)


def _numbers(client: Client, values: Any) -> Any:
    if isinstance(values, Pointer):
        return values
    if isinstance(values, torch.Tensor):
        listed = values.tolist()
    else:
        listed = [v.item() if isinstance(v, torch.Tensor) else v for v in values]
    if len(listed) <= _INLINE:
        return listed
    return client.put_many([torch.tensor(listed)])[0]
