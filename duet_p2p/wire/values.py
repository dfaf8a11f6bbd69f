"""The values that may cross the wire and have no class of their own in Python.

The set is closed: None, bool, int, float, complex, str, bytes, list, tuple, set, range, dict,
OrderedDict, slice, Ellipsis, and the classes below. Nothing else can be encoded and nothing else
comes out of the decoder. There is no torch here: names of dtypes and devices are text, tensors are
bytes with a shape; surface/values.py turns them into torch objects and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Blob",
    "Device",
    "Dtype",
    "Layout",
    "MemoryFormat",
    "Ref",
    "Size",
    "Span",
    "TensorData",
    "atoms_of",
    "parts_of",
]


@dataclass(frozen=True, slots=True)
class Ref:
    """An object in the owner's engine, by its id."""

    id: int
    """Positive: made by the scientist. Negative: shared by the owner. Never 0."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a tensor's bytes lie in the blob that its message announces."""

    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class TensorData:
    """One dense tensor: dtype name, shape, contiguous little-endian bytes."""

    dtype: str
    """``float32``, ``bfloat16``, … as in torch, without the prefix."""
    shape: tuple[int, ...]
    data: bytes | memoryview | Span
    requires_grad: bool = False


@dataclass(frozen=True, slots=True)
class Dtype:
    """A torch.dtype by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """A torch.device as text, ``cpu`` or ``cuda:0``."""

    name: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A torch.layout by name."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryFormat:
    """A torch.memory_format by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Size:
    """A torch.Size."""

    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blob:
    """Announces bytes that travel in chunks on the bulk channel."""

    transfer: int
    """Chosen by the sender, unique in its direction for the life of the session, > 0."""
    nbytes: int


def parts_of(value: Any) -> Iterable[Any]:
    """What stands in a container or a slice, one level down; keys of a dict, too."""
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return (value.start, value.stop, value.step) if isinstance(value, slice) else value


def atoms_of(value: Any) -> Iterator[Any]:
    """What stands in a value at any depth and is no container or slice itself."""
    if isinstance(value, list | tuple | set | dict | slice):
        for part in parts_of(value):
            yield from atoms_of(part)
    else:
        yield value
