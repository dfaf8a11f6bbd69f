"""Torch objects and Python values to closed wire values and back, tensors to bytes and back.

A tensor travels as dtype, shape and contiguous little-endian bytes: inline when small, else as a
`Span` of one blob whose parts begin at multiples of `BLOB_ALIGNMENT`. Two tensors over the very
same bytes travel once and share storage again on arrival. All others arrive in memory of their own,
even if spans overlap: labels hang on storages, so no two storages may lie over the same bytes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.surface.arrival import Arrival
from duet_p2p.surface.members import member
from duet_p2p.surface.tensors import DEVICE_TYPES
from duet_p2p.wire.values import (
    Device,
    Dtype,
    Layout,
    MemoryFormat,
    Ref,
    Size,
    Span,
    TensorData,
    parts_of,
)

__all__ = [
    "DTYPES",
    "BlobWriter",
    "Packed",
    "from_wire",
    "logical_numbers",
    "pack",
    "plain_slice",
    "to_wire",
    "unpack",
]

Buffer = bytes | bytearray | memoryview
Resolve = Callable[[Ref], object]

DTYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {
        name: getattr(torch, name)
        for name in str.split(
            "float64 float32 float16 bfloat16 complex32 complex64 complex128 int64 int32 "
            "int16 int8 uint8 uint16 uint32 uint64 bool float8_e4m3fn float8_e5m2 "
            "float8_e4m3fnuz float8_e5m2fnuz"
        )
        if hasattr(torch, name)
    }
)
"""The dtypes that travel, by name."""

_NAME_OF_DTYPE: Final = MappingProxyType({dtype: name for name, dtype in DTYPES.items()})
_NUMPY: Final[Mapping[torch.dtype, Any]] = MappingProxyType(
    {
        getattr(torch, name): np.dtype(name)
        for name in str.split("float64 float32 float16 complex64 complex128 int64 int32 int16 int8")
    }
)
"""The dtypes that NumPy has too, with any bytes as a value."""
_MEMORY_FORMATS: Final = MappingProxyType(
    {
        name: getattr(torch, name)
        for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
    }
)
_MAX_DIMS: Final = 64
_MAX_DIM: Final = 2**48


class BlobWriter:
    """Collects the bytes of tensors for one blob, in order, each tensor's bytes once."""

    def __init__(self) -> None:
        self.buffers: list[memoryview] = []
        """What the blob consists of, padding included; they keep their tensors alive."""
        self.nbytes = 0
        self._spans: dict[tuple[int, int], Span] = {}

    def add(self, data: memoryview, key: tuple[int, int]) -> Span:
        """Append bytes; the same address and size again give the same span."""
        span = self._spans.get(key)
        if span is None:
            padding = -self.nbytes % limits.BLOB_ALIGNMENT
            if padding:
                self.buffers.append(memoryview(bytes(padding)))
                self.nbytes += padding
            span = self._spans[key] = Span(self.nbytes, data.nbytes)
            self.buffers.append(data)
            self.nbytes += data.nbytes
        return span


@dataclass(frozen=True, slots=True)
class Packed:
    """A value ready for a blob."""

    value: Any
    """Closed, with a `Span` for each tensor."""
    buffers: list[memoryview]
    """The blob, in parts that follow each other without gaps."""
    nbytes: int


def _plain_array(tensor: torch.Tensor) -> Any:
    """The numbers of a tensor as they lie in memory; None where torch has to be asked for them.

    Calls of torch are most of the work with a small tensor, and of the wait for a model.
    """
    is_plain = tensor.dtype in _NUMPY and tensor.is_cpu and not tensor._is_zerotensor()
    return tensor.detach().numpy() if is_plain and not tensor.is_neg() | tensor.is_conj() else None


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    array: Any = _plain_array(tensor)
    if array is not None and array.flags.c_contiguous:
        return memoryview(array.reshape(-1).view(np.uint8))
    if tensor._is_zerotensor():  # has no memory; a gradient of a sign is one
        tensor = tensor.clone()
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel() == 1 and flat.stride() != (1,):
        flat = flat.as_strided((1,), (1,))  # one element is contiguous at any stride
    array = flat.view(torch.uint8).numpy()
    return memoryview(array)


def _few_bytes_of(tensor: torch.Tensor) -> bytes:
    """The same of a small tensor, copied."""
    array = _plain_array(tensor)
    return bytes(array.tobytes()) if array is not None else bytes(_bytes_of(tensor))


def _tensor_to_wire(
    tensor: torch.Tensor, blobs: BlobWriter | None, inline_limit: int
) -> TensorData:
    dtype = tensor.dtype
    name = _NAME_OF_DTYPE.get(dtype)
    if tensor.layout is not torch.strided or tensor.is_nested or (not name and tensor.is_quantized):
        raise TypeError("sparse, quantised and nested tensors cannot be sent; use .to_dense()")
    if tensor.is_meta:
        raise TypeError("a tensor without data cannot be sent")
    if name is None:
        raise TypeError(f"a tensor of {dtype} cannot be sent")
    shape = tuple(tensor.shape)
    nbytes = math.prod(shape) * dtype.itemsize
    data: bytes | Span
    if not nbytes:
        data = b""
    elif nbytes <= inline_limit:
        data = _few_bytes_of(tensor)
    elif blobs is None:
        raise ValueError(f"a tensor of {nbytes} bytes is too large to travel inline")
    else:
        view = _bytes_of(tensor)
        is_copied = not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg()
        data = blobs.add(view, (id(view) if is_copied else tensor.data_ptr(), nbytes))
    # written into a tensor of whole numbers, a number with a graph leaves the mark of one there
    wants = tensor.requires_grad and (tensor.is_floating_point() or tensor.is_complex())
    return TensorData(name, shape, data, wants)


def to_wire(
    value: Any,
    blobs: BlobWriter | None,
    inline_limit: int = limits.INLINE_TENSOR_BYTES,
    refer: Callable[[Any], Ref | None] | None = None,
) -> Any:
    """A closed wire value.

    Args:
        value: torch object, Python value or container of them.
        blobs: takes the bytes of tensors above the limit; None: such tensors are an error.
        inline_limit: bytes up to which a tensor goes inline.
        refer: gives the `Ref` of what is a reference (a pointer), None for what is not.

    Raises:
        TypeError: something in it has no wire form.
        ValueError: too deep, or too large to go inline.
    """

    def convert(item: Any, depth: int) -> Any:
        kind = type(item)
        if kind in _AS_IT_IS:
            return item
        if isinstance(item, torch.Tensor):
            return _tensor_to_wire(item, blobs, inline_limit)
        if refer is not None:
            reference = refer(item)
            if reference is not None:
                return reference
        if depth >= limits.VALUE_DEPTH:
            raise ValueError("a value is nested too deeply to be sent")
        if kind is torch.Size:
            return Size(tuple(item))
        if isinstance(item, list):
            return [convert(part, depth + 1) for part in item]
        if isinstance(item, tuple):
            return tuple(convert(part, depth + 1) for part in item)
        if isinstance(item, OrderedDict):
            return OrderedDict(
                (convert(k, depth + 1), convert(v, depth + 1)) for k, v in item.items()
            )
        if isinstance(item, dict):
            return {convert(k, depth + 1): convert(v, depth + 1) for k, v in item.items()}
        if isinstance(item, (set, frozenset)):
            return {convert(part, depth + 1) for part in item}
        if kind is slice:
            return slice(
                convert(item.start, depth + 1),
                convert(item.stop, depth + 1),
                convert(item.step, depth + 1),
            )
        return _single_to_wire(item)

    return convert(value, 0)


def _single_to_wire(item: Any) -> Any:
    """What is no container and no tensor."""
    kind = type(item)
    if kind is torch.dtype:
        name = _NAME_OF_DTYPE.get(item)
        if name is None:
            raise TypeError(f"{item} cannot be sent")
        return Dtype(name)
    if kind is torch.device:
        return Device(str(item))
    if kind is torch.layout:
        return Layout(str(item).removeprefix("torch."))
    if kind is torch.memory_format:
        return MemoryFormat(str(item).removeprefix("torch."))
    for plain in _SUBCLASSED:
        if isinstance(item, plain):
            return plain(item)
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be sent")


# Wrappers of them are sent as what they wrap.
_SUBCLASSED: Final[tuple[Any, ...]] = (bool, int, float, complex, str, bytes)
_AS_IT_IS: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, type(Ellipsis), Ref}
)


def _tensor_from_wire(
    data: TensorData,
    blob: memoryview | Arrival | None,
    shared: dict[tuple[int, int, str], torch.Tensor],
    is_owned: bool,
) -> torch.Tensor:
    dtype = DTYPES.get(data.dtype)
    shape = data.shape
    if dtype is None:
        raise ProtocolError(f"unknown dtype {data.dtype!r:.40}")
    if len(shape) > _MAX_DIMS or not all(0 <= dim < _MAX_DIM for dim in shape):
        raise ProtocolError("a tensor's shape is out of range")
    nbytes = math.prod(shape) * dtype.itemsize
    if data.requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ProtocolError("only tensors of floating point can require grad")
    key = None
    source: Buffer
    if isinstance(data.data, Span):
        span = data.data
        if blob is None or span.offset < 0 or span.offset + span.nbytes > blob.nbytes:
            raise ProtocolError("a tensor lies outside of its blob")
        key = (span.offset, span.nbytes, data.dtype)
        found = shared.get(key)
        if isinstance(blob, Arrival):
            taken = blob.take(span) if found is None else (b"", False)
            if taken is None:
                raise ProtocolError("a tensor that its value did not name")
            source, is_owned = taken
        else:
            source = blob[span.offset : span.offset + span.nbytes]
            # A tensor that is not all of the blob would keep the rest of it in memory, and a second
            # one over all of it, of another type, would lie in the memory of the first.
            is_owned = is_owned and len(source) == blob.nbytes and not (blob.readonly or shared)
    else:
        source = data.data
        found, is_owned = None, False
    if (len(source) if found is None or key is None else key[1]) != nbytes:
        raise ProtocolError("a tensor's bytes do not fit its shape")
    try:
        if found is not None:
            tensor = found.view(shape)
        elif not nbytes:
            tensor = torch.zeros(shape, dtype=dtype)
        elif key is None and not shape and (plain := _NUMPY.get(dtype)) is not None:
            tensor = torch.from_numpy(np.ndarray((), plain, bytearray(source)))  # in half the time
        else:
            if not is_owned:
                source = bytearray(source)
            if dtype == torch.bool:  # of another byte than 0 and 1 it confuses torch's kernels
                own = torch.frombuffer(source, dtype=torch.uint8).ne(0)
            else:
                own = torch.frombuffer(source, dtype=dtype)
            tensor = own.view(shape)
    except RuntimeError as error:
        raise ProtocolError(f"a tensor that cannot be made: {error}") from None
    if key is not None and found is None:
        shared[key] = tensor
    if data.requires_grad:
        tensor = tensor.detach().requires_grad_()
    return tensor


def from_wire(
    value: Any,
    blob: Buffer | Arrival | None = None,
    resolve: Resolve | None = None,
    *,
    is_owned: bool = False,
) -> Any:
    """The objects of a closed wire value.

    Args:
        value: what the codec decoded.
        blob: the bytes that spans point into.
        resolve: gives the object of a `Ref`; without it a reference is an error.
        is_owned: nobody else will read or write the blob: a tensor may live in it, uncopied.

    Raises:
        ProtocolError: it does not describe what it claims.
    """
    if blob is None and type(value) is TensorData:  # most answers
        return _tensor_from_wire(value, None, {}, False)
    view = blob if blob is None or isinstance(blob, Arrival) else memoryview(blob).cast("B")
    shared: dict[tuple[int, int, str], torch.Tensor] = {}

    def convert(item: Any) -> Any:
        kind = type(item)
        if kind is Ref:
            if resolve is None:
                raise ProtocolError("a reference where none can be")
            return resolve(item)
        if kind in _AS_IT_IS:
            return item
        if kind is TensorData:
            return _tensor_from_wire(item, view, shared, is_owned)
        if kind is list:
            return [convert(part) for part in item]
        if kind is tuple:
            return tuple([convert(part) for part in item])
        if kind is dict:
            return {convert(k): convert(v) for k, v in item.items()}
        if kind is OrderedDict:
            return OrderedDict((convert(k), convert(v)) for k, v in item.items())
        if kind is set:
            return {member(convert(part)) for part in item}
        if kind is slice:
            bounds = [item.start, item.stop, item.step]
            # that an object is a slice may be private, and its operation's failure is judged
            return plain_slice(*[
                _NO_BOUND if type(bound) is Ref and type(part) is slice else part
                for bound, part in zip(bounds, map(convert, bounds), strict=True)
            ])  # fmt: skip
        if kind is Size:
            if not all(type(dim) is int and 0 <= dim < 2**63 for dim in item.dims):
                raise ProtocolError("a size is out of range")
            return torch.Size(item.dims)
        return _name_from_wire(item)

    try:
        return convert(value)
    except (TypeError, RecursionError):  # an unhashable key, or nested without end
        raise ProtocolError("a value that cannot be made") from None


class _NoBound:
    """Stands where a slice was to stand in a slice: nothing takes it for a number."""


_NO_BOUND: Final = _NoBound()


def plain_slice(*bounds: Any) -> slice:
    """A slice with no slice in it.

    Whoever looks for what lies in a slice would look 3**n times at one that is n deep.
    """
    if any(type(bound) is slice for bound in bounds):
        raise TypeError("a slice in a slice")
    return slice(*bounds)


def _name_from_wire(item: Any) -> Any:
    kind = type(item)
    if kind is Dtype and item.name in DTYPES:
        return DTYPES[item.name]
    if kind is Device:
        try:
            device = torch.device(item.name)
        except RuntimeError:
            raise ProtocolError("an unknown device") from None
        if device.type in DEVICE_TYPES:
            return device
    if kind is Layout and item.name == "strided":
        return torch.strided
    if kind is MemoryFormat and item.name in _MEMORY_FORMATS:
        return _MEMORY_FORMATS[item.name]
    raise ProtocolError(f"{kind.__name__} {getattr(item, 'name', '')!r:.40} is not offered")


def pack(value: Any) -> Packed:
    """A value with all its tensors in one blob, shared bytes once."""
    blobs = BlobWriter()
    closed = to_wire(value, blobs, 0)
    return Packed(closed, blobs.buffers, blobs.nbytes)


def unpack(value: Any, buffer: Buffer | Arrival | None, *, is_owned: bool = False) -> Any:
    """What `pack` packed; `is_owned`: see `from_wire`."""
    return from_wire(value, buffer, is_owned=is_owned)


def words_of(tensor: torch.Tensor) -> int:
    """How many numbers one element counts for: a complex one of 16 bytes holds two."""
    return math.ceil(tensor.element_size() / 8)


def logical_numbers(value: Any) -> tuple[int, int]:
    """How many numbers a value holds, and its bytes, both as if nothing were shared.

    A tensor counts its elements, those of 16 bytes twice. An int longer than 8 bytes, a text or
    bytes count one number for each 8 bytes begun.

    Returns:
        Elements and bytes.

    Raises:
        ValueError: nested too deeply, or too many parts: a list that stands twice in a list that
            stands twice in one and so on has as many as one likes.
    """
    elements, nbytes, _, _ = _counted(value, 0, {})
    return elements, nbytes


_Count = tuple[int, int, int, int]
"""Elements, bytes, parts, and how deep the containers in it lie."""


def _counted(value: Any, depth: int, known: dict[int, _Count]) -> _Count:
    """The count of a value; what stands in it several times is looked at once."""
    if not isinstance(value, (list, tuple, set, frozenset, dict, slice)):
        return (*_counted_leaf(value), 1, 0)
    count = known.get(id(value))
    if count is None:
        if depth >= limits.VALUE_DEPTH:
            raise ValueError("a value is nested too deeply to be counted")
        elements = nbytes = parts = height = 0
        for part in parts_of(value):
            found = _counted(part, depth + 1, known)
            elements, nbytes, parts = elements + found[0], nbytes + found[1], parts + found[2]
            height = max(height, found[3])
        count = known[id(value)] = (elements, nbytes, parts, height + 1)
    if depth + count[3] > limits.VALUE_DEPTH:
        raise ValueError("a value is nested too deeply to be counted")
    if count[2] > limits.COUNTED_PARTS:
        raise ValueError("a value has too many parts to be counted")
    return count


def _counted_leaf(item: Any) -> tuple[int, int]:
    """Elements and bytes of what is no container."""
    if isinstance(item, torch.Tensor):
        return item.numel() * words_of(item), item.numel() * item.element_size()
    if isinstance(item, range):
        each = [_counted_leaf(part) for part in (item.start, item.stop, item.step)]
        return sum(elements for elements, _ in each), sum(nbytes for _, nbytes in each)
    if isinstance(item, complex):
        size = 16
    elif isinstance(item, int) and not isinstance(item, bool):
        size = max((item.bit_length() + 7) // 8, 8)
    elif isinstance(item, str):
        size = max(len(item.encode("utf-8", "surrogatepass")), 1)
    elif isinstance(item, (bytes, bytearray)):
        size = max(len(item), 1)
    else:
        size = 8
    return math.ceil(size / 8), size
