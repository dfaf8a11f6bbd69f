"""From an object in the owner's hands to what the engine gets: a closed value and its bytes.

The bytes are copied once, here, so that nothing that the owner does to the object later reaches
the engine, and nothing that runs there reaches the object.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from duet_p2p.errors import NotAllowed
from duet_p2p.objects import python
from duet_p2p.surface import types, values

__all__ = ["Prepared", "is_state", "prepare"]

_TABLES = "Tables and arrays are not in this version. Send a tensor: torch.as_tensor(…)."
_CHECKED_ITEMS = 1_000_000
_AXIS_OF_A_TENSOR = (
    "record_axis= is for a single tensor. The records of a data set are its items, so turn its "
    "tensors (x.movedim(1, 0)) before you make it. Other objects are not divided into records: "
    "send each of their tensors by itself."
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `Share` needs of an object."""

    value: Any
    data: bytes | None
    type: str
    record_axis: int | None = 0
    """Where the records of a tensor or a data set lie; None if it has none."""


def prepare(obj: Any, record_axis: int | None = 0) -> Prepared:
    """An owner's object in the form that the engine takes.

    Tensors and parameters; the built-in Python types and the wrappers of `sy.lib.python`, nested;
    an `nn.Module` as its state dict; a `TensorDataset`, or a map-style data set whose items are
    tensors, numbers, or tuples of these of one shape each, as a `TensorDataset` of them stacked.

    Args:
        obj: what is shared.
        record_axis: of a tensor, where its records lie; None: it is one record as a whole.

    Raises:
        NotAllowed: it is of another kind; the text says what to do. Or of one that takes no
            `record_axis`.
        ValueError: the tensor has no such axis.
        TypeError: this is no axis.
    """
    axis = _record_axis(obj, record_axis)
    if isinstance(obj, nn.Module):
        state = collections.OrderedDict(
            (name, value.detach()) for name, value in _state_of(obj).items()
        )
        return _packed(state, "torch.nn.Module", axis)
    if isinstance(obj, Dataset):
        return _packed(list(_tensors_of(obj)), "torch.utils.data.Dataset", axis)
    value = python.plain(obj)
    _check(value)
    return _packed(value, types.type_name_of(value), axis)


def is_state(obj: Any) -> bool:
    """Whether the keys of an object are names of a program: a module, or a `state_dict()` of one.

    torch puts `_metadata` on those.
    """
    return isinstance(obj, nn.Module) or (isinstance(obj, dict) and hasattr(obj, "_metadata"))


def _record_axis(obj: Any, given: int | None) -> int | None:
    """Where the records of an object lie, counted from the left; None if it has none."""
    if given is not None:
        if isinstance(given, bool):
            raise TypeError(f"record_axis is the number of an axis, or None, not {given!r}")
        given = operator.index(given)
    if not isinstance(obj, torch.Tensor):
        if given != 0:
            raise NotAllowed(_AXIS_OF_A_TENSOR)
        return 0 if isinstance(obj, Dataset) else None
    if given is None or (given == 0 and obj.ndim == 0):
        return None
    if not -obj.ndim <= given < obj.ndim:
        has = f"axes 0 to {obj.ndim - 1}" if obj.ndim else "no axis"
        raise ValueError(
            f"record_axis={given}, but this tensor has {has}. Say along which of them its records "
            "lie, or None if it is one record as a whole."
        )
    return given % obj.ndim


def _packed(value: Any, type_name: str, record_axis: int | None) -> Prepared:
    try:
        packed = values.pack(value)
    except (TypeError, ValueError) as error:
        raise NotAllowed(f"This cannot be sent: {error}") from error
    data = b"".join(packed.buffers) if packed.nbytes else None
    return Prepared(packed.value, data, type_name, record_axis)


def _check(value: Any) -> None:
    """A clear word for what users of the original try; the rest is refused while packing."""
    module = type(value).__module__.partition(".")[0]
    if module in ("numpy", "pandas"):
        raise NotAllowed(_TABLES)
    if isinstance(value, list | tuple | set):
        for item in value:
            _check(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key)
            _check(item)
    elif callable(value) and not isinstance(value, torch.Tensor):
        raise NotAllowed(f"Callables do not travel, so {value!r} cannot be sent.")


def _state_of(module: nn.Module) -> Mapping[str, torch.Tensor]:
    state = module.state_dict()
    for name, value in state.items():
        if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise NotAllowed(f"{name} is not initialised yet. Call the module once, then send it.")
        if not isinstance(value, torch.Tensor):
            raise NotAllowed(f"{name} of this module's state is no tensor.")
    return state


def _tensors_of(dataset: Dataset[Any]) -> tuple[torch.Tensor, ...]:
    if isinstance(dataset, TensorDataset):
        return tuple(tensor.detach() for tensor in dataset.tensors)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise NotAllowed("Only a data set with a length can be sent, read into tensors.")
    count = len(dataset)
    if not 0 < count <= _CHECKED_ITEMS:
        raise NotAllowed(f"A data set of {count:,} items cannot be read into tensors.")
    rows = [_row(dataset[index], index) for index in range(count)]
    if len({len(row) for row in rows}) != 1:
        raise NotAllowed("The items of this data set have different numbers of parts.")
    try:
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))
    except RuntimeError as error:
        raise NotAllowed(
            "The items of this data set differ in shape or dtype, so they make no tensors."
        ) from error


def _row(item: Any, index: int) -> tuple[torch.Tensor, ...]:
    parts = item if isinstance(item, tuple | list) else (item,)
    row = []
    for part in parts:
        if isinstance(part, torch.Tensor):
            row.append(part.detach())
        elif isinstance(part, bool | int | float):
            row.append(torch.tensor(part))
        else:
            raise NotAllowed(
                f"Item {index} of this data set holds a {type(part).__name__}. Only data sets of "
                "tensors and numbers can be sent; give it a transform, or send a TensorDataset."
            )
    return tuple(row)
