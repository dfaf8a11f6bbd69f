"""Values and messages to bytes and back; whatever the bytes are, a value or a ProtocolError."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.codec import decode_value, encode_value, pack_value, read, unpack_value
from duet_p2p.wire.packing import _PACK, _UNPACK, INT_MAX, INT_MIN, TAGS
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

words = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=12)
counts = st.integers(0, INT_MAX)
shapes = st.lists(counts, max_size=5).map(tuple)
spans = st.builds(Span, counts, counts)
big_ints = st.one_of(
    st.integers(),
    st.integers(min_value=INT_MAX - 2, max_value=INT_MAX + 2),
    st.integers(min_value=INT_MIN - 2, max_value=INT_MIN + 2),
    st.integers(min_value=-(2**300), max_value=2**300),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    big_ints,
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.just(...),
    st.builds(Ref, st.integers(-INT_MAX, INT_MAX).filter(bool)),
    spans,
    st.builds(Blob, st.integers(1, INT_MAX), counts),
    st.builds(Size, st.lists(st.integers(INT_MIN, INT_MAX), max_size=5).map(tuple)),
    st.builds(Dtype, words),
    st.builds(Device, words),
    st.builds(Layout, words),
    st.builds(MemoryFormat, words),
    st.builds(TensorData, words, shapes, st.binary(max_size=64) | spans, st.booleans()),
    st.builds(range, st.integers(), st.integers(), st.integers().filter(bool)),
)


@st.composite
def leaves(draw: st.DrawFn) -> Any:
    # a name of its own, because Hypothesis writes strategies out as often as they are used
    return draw(LEAVES)


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@st.composite
def containers(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    keys = inner.filter(is_hashable)
    kind = draw(st.sampled_from([list, tuple, set, dict, OrderedDict, slice]))
    if kind is slice:
        return slice(draw(inner), draw(inner), draw(inner))
    if kind in (dict, OrderedDict):
        return kind(draw(st.dictionaries(keys, inner, max_size=4)))
    return kind(draw(st.lists(keys if kind is set else inner, max_size=4)))


values = st.recursive(leaves(), containers, max_leaves=12)


def same(a: Any, b: Any) -> bool:
    """Equal in type and content; NaN equals NaN, and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (a != a and b != b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, slice):
        return all(map(same, (a.start, a.stop, a.step), (b.start, b.stop, b.step)))
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, list(a.items()), list(b.items())))
    if isinstance(a, set):
        # a NaN is not found again by ==, its text is
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return bool(a == b)


@given(values)
def test_what_was_encoded_is_decoded(value: Any) -> None:
    assert same(decode_value(encode_value(value)), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_protocol_error(data: bytes) -> None:
    try:
        value = decode_value(data)
    except ProtocolError:
        return
    encode_value(value)


packed_leaves = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, 2**64 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=9)
)


@given(
    st.recursive(
        packed_leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*TAGS.values(), "?", b"d"]), inner, max_size=2)
        ),
        max_leaves=10,
    )
)
def test_any_msgpack_with_our_tags_is_a_value_or_a_protocol_error(packed: Any) -> None:
    try:
        value = decode_value(msgpack.packb(packed))
    except ProtocolError:
        return
    assert same(decode_value(encode_value(value)), value)


@given(values, st.data())
def test_a_cut_or_a_changed_byte_is_a_value_or_a_protocol_error(value: Any, data: Any) -> None:
    whole = encode_value(value)
    with pytest.raises(ProtocolError):
        decode_value(whole[:-1])
    with pytest.raises(ProtocolError):
        decode_value(whole + b"\xc0")
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        decode_value(changed)


def test_the_tables_of_both_directions_name_the_same_tags() -> None:
    assert len(set(TAGS.values())) == len(TAGS)
    assert set(_UNPACK) == set(TAGS.values())
    # int and Ref are packed before the table is asked, list stands for itself
    assert set(_PACK) == set(TAGS) - {int, Ref} | {list}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


AT_THE_LIMIT = {
    "depth": (nested(limits.VALUE_DEPTH), nested(limits.VALUE_DEPTH + 1)),
    "items": ([0] * limits.ARRAY_ITEMS, [0] * (limits.ARRAY_ITEMS + 1)),
    "tuple": ((0,) * limits.ARRAY_ITEMS, (0,) * (limits.ARRAY_ITEMS + 1)),
    "set": (set(range(limits.ARRAY_ITEMS)), set(range(limits.ARRAY_ITEMS + 1))),
    "pairs": (
        dict.fromkeys(range(limits.PAIR_ITEMS), 0),
        dict.fromkeys(range(limits.PAIR_ITEMS + 1), 0),
    ),
    "bytes": (b"x" * limits.STRING_BYTES, b"x" * (limits.STRING_BYTES + 1)),
    "text": ("x" * limits.STRING_BYTES, "x" * (limits.STRING_BYTES + 1)),
    "wide text": ("é" * (limits.STRING_BYTES // 2), "é" * (limits.STRING_BYTES // 2) + "x"),
    "int": (2 ** (limits.INT_BYTES * 8 - 1) - 1, 2 ** (limits.INT_BYTES * 8 - 1)),
    "negative int": (-(2 ** (limits.INT_BYTES * 8 - 1)), -(2 ** (limits.INT_BYTES * 8 - 1)) - 1),
    "dims": (
        TensorData("int8", (1,) * limits.TENSOR_DIMS, b"x"),
        TensorData("int8", (1,) * (limits.TENSOR_DIMS + 1), b"x"),
    ),
    "inline tensor": (
        TensorData("uint8", (limits.INLINE_TENSOR_BYTES,), bytes(limits.INLINE_TENSOR_BYTES)),
        TensorData("uint8", (8193,), bytes(limits.INLINE_TENSOR_BYTES + 1)),
    ),
    "name": (Dtype("x" * 64), Dtype("x" * 65)),
    "id": (Ref(-INT_MAX), Ref(-INT_MAX - 1)),
    "another id": (Ref(INT_MAX), Ref(INT_MAX + 1)),
    "no id": (Ref(1), Ref(0)),
    "transfer": (Blob(1, 0), Blob(0, 0)),
    "span": (Span(0, 0), Span(-1, 0)),
}


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_a_value_at_the_limit_passes_and_one_past_it_is_refused(name: str) -> None:
    at, past = AT_THE_LIMIT[name]
    assert same(decode_value(encode_value(at)), at)
    with pytest.raises(ValueError):
        encode_value(past)


def test_the_whole_encoding_has_a_limit() -> None:
    parts = limits.VALUE_MAX_BYTES // limits.STRING_BYTES
    with pytest.raises(ValueError, match="allowed"):
        encode_value([bytes(limits.STRING_BYTES)] * parts)
    with pytest.raises(ProtocolError, match="at once"):
        decode_value(bytes(limits.VALUE_MAX_BYTES + 1))


PAST_IN_THE_BYTES = {
    "depth": nested(limits.VALUE_DEPTH + 1),
    "items": [0] * (limits.ARRAY_ITEMS + 1),
    "tuple": {"t": [0] * (limits.ARRAY_ITEMS + 1)},
    "pairs": {"d": [[index, 0] for index in range(limits.PAIR_ITEMS + 1)]},
    "bytes": b"x" * (limits.STRING_BYTES + 1),
    "text": "x" * (limits.STRING_BYTES + 1),
    "int": {"i": (2 ** (limits.INT_BYTES * 8)).to_bytes(limits.INT_BYTES + 1, "big")},
    "unsigned": 2**63,
    "a small int as a big one": {"i": b"\x05"},
    "a big int with a byte too many": {"i": b"\x00\x00" + b"\xff" * 8},
    "dims": {"x": ["int8", [1] * (limits.TENSOR_DIMS + 1), b"", False]},
    "inline tensor": {"x": ["uint8", [8193], bytes(limits.INLINE_TENSOR_BYTES + 1), False]},
    "negative shape": {"x": ["uint8", [-1], b"", False]},
    "shape of floats": {"x": ["uint8", [1.0], b"", False]},
    "tensor with an index and no buffers": {"x": ["uint8", [1], 0, False]},
    "tensor without a field": {"x": ["uint8", [1], b""]},
    "requires_grad as int": {"x": ["uint8", [1], b"x", 1]},
    "a key twice": {"d": [[1, 0], [1, 0]]},
    "True and 1 as keys": {"d": [[1, 0], [True, 0]]},
    "a list as key": {"d": [[[], 0]]},
    "an item twice": {"s": [1, 1]},
    "an unhashable item": {"s": [[]]},
    "a pair of three": {"d": [[1, 2, 3]]},
    "pairs that are none": {"d": {"t": []}},
    "unknown tag": {"?": 1},
    "bytes as tag": {b"r": 1},
    "empty map": {},
    "two tags": {"r": 1, "e": None},
    "id 0": {"r": 0},
    "id True": {"r": True},
    "id as text": {"r": "1"},
    "step 0": {"g": [0, 1, 0]},
    "range of floats": {"g": [0.0, 1.0, 1.0]},
    "range of bools": {"g": [False, True, True]},
    "ellipsis with something": {"e": 0},
    "complex of ints": {"c": [1, 2]},
    "no name": {"y": ""},
    "name as bytes": {"y": b"float32"},
    "size as tuple": {"z": {"t": [1]}},
    "blob without transfer": {"b": [0, 1]},
}


@pytest.mark.parametrize("name", PAST_IN_THE_BYTES)
def test_bytes_past_a_limit_or_against_a_rule_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        decode_value(msgpack.packb(PAST_IN_THE_BYTES[name]))


def test_extension_types_are_refused() -> None:
    for packed in (
        msgpack.ExtType(5, b"x"),
        msgpack.ExtType(5, b""),
        msgpack.ExtType(5, bytes(2000)),
        msgpack.Timestamp(1, 2),
    ):
        with pytest.raises(ProtocolError):
            decode_value(msgpack.packb(packed))
        with pytest.raises(ProtocolError):
            # beside an array that makes the reader look twice
            decode_value(msgpack.packb([[0] * (limits.ARRAY_ITEMS + 2), packed]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xa2\xff\xfe",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x00",
    ],
)
def test_hostile_heads_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_value(data)


def test_nested_arrays_cannot_claim_more_items_than_there_are_bytes() -> None:
    data = b"\xdd\x00\x01\x00\x00" * 900 + bytes(60_000)
    with pytest.raises(ProtocolError, match="more items than bytes"):
        read(data, limits.MESSAGE_MAX_BYTES)


def test_a_set_does_not_tell_in_which_order_it_lay():
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)
    assert pack_value(one) == pack_value(other)


@pytest.mark.parametrize(
    "value", [object(), print, int, frozenset(), bytearray(b"x"), memoryview(b"x"), {"a": object()}]
)
def test_what_is_not_of_the_set_is_our_own_mistake(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_value(value)


def test_subclasses_are_not_of_the_set() -> None:
    class Text(str):
        pass

    class Number(int):
        pass

    for value in (Text("x"), Number(1)):
        with pytest.raises(TypeError):
            encode_value([value])


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested"):
        encode_value(value)


def test_a_lone_surrogate_is_our_own_mistake() -> None:
    with pytest.raises(ValueError):
        encode_value("\ud800")


def test_a_view_of_a_tensor_is_written_like_bytes() -> None:
    view = memoryview(bytearray(16)).cast("f")
    sent = TensorData("float32", (4,), view)
    assert decode_value(encode_value(sent)) == TensorData("float32", (4,), bytes(16))


def test_tensors_beside_the_message_are_not_copied() -> None:
    large = memoryview(bytearray(limits.INLINE_TENSOR_BYTES * 4))
    span = TensorData("uint8", (3,), Span(0, 3))
    value = [TensorData("uint8", (len(large),), large), span, {"b": TensorData("int8", (1,), b"x")}]
    buffers: list[Any] = []
    packed = msgpack.unpackb(msgpack.packb(pack_value(value, buffers)))
    assert [buffer is item for buffer, item in zip(buffers, [large, b"x"], strict=True)] == [1, 1]
    back = unpack_value(packed, buffers)
    assert back[0].data is large
    assert back[1] == span
    assert back[2]["b"].data == b"x"
    with pytest.raises(ProtocolError):
        unpack_value(packed, buffers[:1])
    with pytest.raises(ProtocolError):
        unpack_value(packed)
