"""The closed set of values <-> what msgpack writes.

CLOSED SET. `_PACK` and `_UNPACK` below are everything that can cross: None, bool, int of 64 bits,
float, str, bytes and list stand for themselves; every other type is a map of exactly one pair,
{tag: payload}. There are no ext types, no classes by name and no callables, so decoding can make
nothing but the types listed here.

What one side refuses to read the other refuses to write, and nothing is written in two ways: an int
that fits 64 bits is never a big int, a dict never holds two equal keys, a set goes in the order of
its items' bytes.

Tensors may travel beside the message instead of in it: with a list of `buffers`, the bytes of each
`TensorData` are appended to the list and only their index is written, without any copy. The pipe
to the engine uses this; the network does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, Final

import msgpack

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.pairs import check_hashes
from duet_p2p.wire.values import (
    Blob,
    Device,
    Dtype,
    Layout,
    MemoryFormat,
    Ref,
    Size,
    Span,
    TensorData,
)

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "TAGS",
    "Buffer",
    "pack_item",
    "pack_value",
    "unpack_item",
    "unpack_value",
]

Buffer = bytes | bytearray | memoryview

INT_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**63)

TAGS: Final[dict[type, str]] = {
    int: "i",
    complex: "c",
    tuple: "t",
    set: "s",
    range: "g",
    dict: "d",
    OrderedDict: "o",
    slice: "l",
    EllipsisType: "e",
    Ref: "r",
    TensorData: "x",
    Span: "p",
    Blob: "b",
    Size: "z",
    Dtype: "y",
    Device: "v",
    Layout: "a",
    MemoryFormat: "m",
}
"""The tag of each type that does not stand for itself (an int only beyond 64 bits)."""

_PLAIN: Final = frozenset({type(None), bool, float})

_SHORT: Final = limits.STRING_BYTES // 4  # characters that are never too many bytes

_WORD_CHARS: Final = 64  # the name of a dtype, device, layout or memory format


def pack_value(value: Any, buffers: list[Buffer] | None = None) -> Any:
    """Turns a value of the closed set into what msgpack can write.

    Args:
        value: any value of the closed set, of exactly these types (no subclasses).
        buffers: where the bytes of tensors go instead of into the result; None keeps them inside,
            at most `limits.INLINE_TENSOR_BYTES` each.

    Raises:
        TypeError: something in it is not of the closed set.
        ValueError: something in it is past a limit.
    """
    return pack_item(value, 0, buffers)


def unpack_value(packed: Any, buffers: Sequence[Buffer] | None = None) -> Any:
    """Turns what msgpack read into a value of the closed set.

    Args:
        packed: what `pack_value` made, after a trip through msgpack. The length of each str and
            bytes is the business of the msgpack reader (`codec.read`).
        buffers: the buffers that `pack_value` filled; they are taken as they are, without a copy.

    Raises:
        ProtocolError: on anything else.
    """
    try:
        return unpack_item(packed, 0, buffers)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"A value is malformed: {error}") from error


# packing


def pack_item(value: Any, depth: int = 0, buffers: list[Buffer] | None = None) -> Any:
    """`pack_value` inside of `depth` containers."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is Ref:
        return {"r": _object_id(value.id)}
    if kind is int:
        return value if INT_MIN <= value <= INT_MAX else {"i": _big_bytes(value)}
    if kind is str or kind is bytes:
        if len(value) > _SHORT:
            _check_string(value)
        return value
    pack = _PACK.get(kind)
    if pack is None:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be sent")
    return pack(value, depth, buffers)


def _check_string(value: str | bytes) -> None:
    size = len(value) if isinstance(value, bytes) else len(value.encode())
    if size > limits.STRING_BYTES:
        raise ValueError(f"{size} bytes of text or bytes, {limits.STRING_BYTES} allowed")


def _big_bytes(value: int) -> bytes:
    bits = (value if value >= 0 else ~value).bit_length() + 1  # with the sign
    data = value.to_bytes((bits + 7) // 8, "big", signed=True)
    if len(data) > limits.INT_BYTES:
        raise ValueError(f"an int of {len(data)} bytes, {limits.INT_BYTES} allowed")
    return data


def _enter(depth: int, count: int, most: int) -> int:
    """Goes one container deeper; the same rule for both directions."""
    if depth >= limits.VALUE_DEPTH:
        raise ValueError(f"nested deeper than {limits.VALUE_DEPTH}")
    if count > most:
        raise ValueError(f"{count} items, {most} allowed")
    return depth + 1


def _pack_items(items: Any, depth: int, buffers: list[Buffer] | None) -> list[Any]:
    depth = _enter(depth, len(items), limits.ARRAY_ITEMS)
    return [pack_item(item, depth, buffers) for item in items]


def _pack_tuple(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"t": _pack_items(value, depth, buffers)}


def _pack_set(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    check_hashes(value)
    items = _pack_items(value, depth, buffers)
    if buffers is None:  # it lies in the order of hashes and addresses, nobody's business
        items.sort(key=msgpack.packb)
    return {"s": items}


def _pairs(value: Any, depth: int, buffers: list[Buffer] | None) -> list[Any]:
    depth = _enter(depth, len(value), limits.PAIR_ITEMS)
    check_hashes(value)
    return [
        [pack_item(key, depth, buffers), pack_item(item, depth, buffers)]
        for key, item in value.items()
    ]


def _pack_dict(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"d": _pairs(value, depth, buffers)}


def _pack_ordered(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"o": _pairs(value, depth, buffers)}


def _pack_complex(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"c": [value.real, value.imag]}


def _pack_range(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"g": _pack_items((value.start, value.stop, value.step), depth, buffers)}


def _pack_slice(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"l": _pack_items((value.start, value.stop, value.step), depth, buffers)}


def _pack_ellipsis(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"e": None}


def _pack_size(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"z": [_int(dim) for dim in _dims(value.dims)]}


def _pack_span(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"p": [_count(value.offset), _count(value.nbytes)]}


def _pack_blob(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    return {"b": [_positive(value.transfer), _count(value.nbytes)]}


def _pack_tensor(value: Any, depth: int, buffers: list[Buffer] | None) -> Any:
    data = value.data
    packed: Any
    if type(data) is Span:
        packed = [_count(data.offset), _count(data.nbytes)]
    elif not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"the bytes of a tensor are a {type(data).__name__}")
    elif buffers is not None:
        packed = len(buffers)
        buffers.append(data)
    else:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size > limits.INLINE_TENSOR_BYTES:
            raise ValueError(f"{size} bytes inline, {limits.INLINE_TENSOR_BYTES} allowed")
        packed = data
    shape = [_count(dim) for dim in _dims(value.shape)]
    return {"x": [_word(value.dtype), shape, packed, _bool(value.requires_grad)]}


def _named(tag: str) -> Callable[[Any, int, list[Buffer] | None], Any]:
    return lambda value, depth, buffers: {tag: _word(value.name)}


_PACK: Final[dict[type, Callable[[Any, int, list[Buffer] | None], Any]]] = {
    list: _pack_items,
    complex: _pack_complex,
    tuple: _pack_tuple,
    set: _pack_set,
    range: _pack_range,
    dict: _pack_dict,
    OrderedDict: _pack_ordered,
    slice: _pack_slice,
    EllipsisType: _pack_ellipsis,
    TensorData: _pack_tensor,
    Span: _pack_span,
    Blob: _pack_blob,
    Size: _pack_size,
    Dtype: _named(TAGS[Dtype]),
    Device: _named(TAGS[Device]),
    Layout: _named(TAGS[Layout]),
    MemoryFormat: _named(TAGS[MemoryFormat]),
}


# leaves, the same rules in both directions


def _int(value: Any) -> int:
    if type(value) is not int or not INT_MIN <= value <= INT_MAX:
        raise ValueError("not an int of 64 bits")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise ValueError("not a count of 63 bits")
    return value


def _positive(value: Any) -> int:
    if type(value) is not int or not 0 < value <= INT_MAX:
        raise ValueError("not a positive int of 63 bits")
    return value


def _object_id(value: Any) -> int:
    if type(value) is not int or not value or not -INT_MAX <= value <= INT_MAX:
        raise ValueError("not an object's id")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("not a bool")
    return value


def _float(value: Any) -> float:
    if type(value) is not float:
        raise ValueError("not a float")
    return value


def _word(value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= _WORD_CHARS:
        raise ValueError("not a short name")
    return value


def _dims(value: Any) -> Any:
    if type(value) not in (list, tuple) or len(value) > limits.TENSOR_DIMS:
        raise ValueError(f"not a shape of at most {limits.TENSOR_DIMS} dimensions")
    return value


def _list(value: Any, length: int) -> list[Any]:
    if type(value) is not list or len(value) != length:
        raise ValueError(f"not a list of {length}")
    return value


# unpacking


def unpack_item(packed: Any, depth: int = 0, buffers: Sequence[Buffer] | None = None) -> Any:
    """`unpack_value` inside of `depth` containers; raises TypeError or ValueError instead."""
    kind = type(packed)
    if kind in _PLAIN or kind is str or kind is bytes:
        return packed
    if kind is int:
        if packed > INT_MAX:
            raise ValueError("not an int of 64 bits")
        return packed
    if kind is dict:
        if len(packed) != 1:
            raise ValueError("a tagged value is a map of one pair")
        ((tag, payload),) = packed.items()
        if tag == "r" and type(payload) is int and 0 < payload <= INT_MAX:
            return Ref(payload)  # as nearly always
        unpack = _UNPACK.get(tag)
        if unpack is None:
            raise ValueError("unknown tag")
        return unpack(payload, depth, buffers)
    if kind is list:
        return _unpack_items(packed, depth, buffers)
    raise ValueError(f"{kind.__name__} is not of the closed set")


def _unpack_items(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> list[Any]:
    if type(packed) is not list:
        raise ValueError("not a list of items")
    depth = _enter(depth, len(packed), limits.ARRAY_ITEMS)
    return [unpack_item(item, depth, buffers) for item in packed]


def _unpack_int(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> int:
    if type(packed) is not bytes or len(packed) > limits.INT_BYTES:
        raise ValueError("not a big int")
    value = int.from_bytes(packed, "big", signed=True)
    if INT_MIN <= value <= INT_MAX or _big_bytes(value) != packed:
        raise ValueError("a big int in more bytes than it needs")
    return value


def _unpack_complex(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> complex:
    real, imag = _list(packed, 2)
    return complex(_float(real), _float(imag))


def _unpack_tuple(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    return tuple(_unpack_items(packed, depth, buffers))


def _unpack_set(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    items = _unpack_items(packed, depth, buffers)
    check_hashes(items)
    value = set(items)
    if len(value) != len(items):
        raise ValueError("equal items in a set")
    return value


def _unpack_range(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> range:
    start, stop, step = _unpack_items(_list(packed, 3), depth, buffers)
    if not (type(start) is type(stop) is type(step) is int):
        raise ValueError("a range has ints")
    return range(start, stop, step)


def _unpack_slice(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    start, stop, step = _unpack_items(_list(packed, 3), depth, buffers)
    return slice(start, stop, step)


def _fill(
    value: dict[Any, Any], packed: Any, depth: int, buffers: Sequence[Buffer] | None
) -> dict[Any, Any]:
    if type(packed) is not list:
        raise ValueError("not a list of pairs")
    depth = _enter(depth, len(packed), limits.PAIR_ITEMS)
    keys = [unpack_item(_list(pair, 2)[0], depth, buffers) for pair in packed]
    check_hashes(keys)
    for key, (_, item) in zip(keys, packed, strict=True):
        if key in value:
            raise ValueError("a key twice")
        value[key] = unpack_item(item, depth, buffers)
    return value


def _unpack_dict(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    return _fill({}, packed, depth, buffers)


def _unpack_ordered(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    return _fill(OrderedDict(), packed, depth, buffers)


def _unpack_ellipsis(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Any:
    if packed is not None:
        raise ValueError("an ellipsis carries nothing")
    return ...


def _unpack_ref(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Ref:
    return Ref(_object_id(packed))


def _unpack_span(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Span:
    offset, nbytes = _list(packed, 2)
    return Span(_count(offset), _count(nbytes))


def _unpack_blob(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Blob:
    transfer, nbytes = _list(packed, 2)
    return Blob(_positive(transfer), _count(nbytes))


def _unpack_size(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> Size:
    if type(packed) is not list:
        raise ValueError("a size is a list")
    return Size(tuple([_int(dim) for dim in _dims(packed)]))


def _unpack_tensor(packed: Any, depth: int, buffers: Sequence[Buffer] | None) -> TensorData:
    dtype, shape, data, requires_grad = _list(packed, 4)
    content: Any
    if type(data) is list:
        content = _unpack_span(data, depth, buffers)
    elif buffers is not None:
        if type(data) is not int or not 0 <= data < len(buffers):
            raise ValueError("a tensor without its buffer")
        content = buffers[data]
    else:
        if type(data) is not bytes or len(data) > limits.INLINE_TENSOR_BYTES:
            raise ValueError("not the bytes of a small tensor")
        content = data
    if type(shape) is not list:
        raise ValueError("a shape is a list")
    dims = tuple([_count(dim) for dim in _dims(shape)])
    return TensorData(_word(dtype), dims, content, _bool(requires_grad))


def _unpack_named(kind: type) -> Callable[[Any, int, Sequence[Buffer] | None], Any]:
    return lambda packed, depth, buffers: kind(_word(packed))


_UNPACK: Final[dict[Any, Callable[[Any, int, Sequence[Buffer] | None], Any]]] = {
    "i": _unpack_int,
    "c": _unpack_complex,
    "t": _unpack_tuple,
    "s": _unpack_set,
    "g": _unpack_range,
    "d": _unpack_dict,
    "o": _unpack_ordered,
    "l": _unpack_slice,
    "e": _unpack_ellipsis,
    "r": _unpack_ref,
    "x": _unpack_tensor,
    "p": _unpack_span,
    "b": _unpack_blob,
    "z": _unpack_size,
    "y": _unpack_named(Dtype),
    "v": _unpack_named(Device),
    "a": _unpack_named(Layout),
    "m": _unpack_named(MemoryFormat),
}
