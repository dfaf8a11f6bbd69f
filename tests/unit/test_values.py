from collections import OrderedDict
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.surface.values import (
    DTYPES,
    BlobWriter,
    from_wire,
    logical_numbers,
    pack,
    to_wire,
    unpack,
)
from duet_p2p.wire.values import (
    Device,
    Dtype,
    Layout,
    MemoryFormat,
    Ref,
    Size,
    Span,
    TensorData,
)

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support")


def blob_of(buffers: list[memoryview]) -> bytes:
    return b"".join(buffers)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return bool(
            isinstance(b, torch.Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.requires_grad == b.requires_grad
            and bytes(a.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
            == bytes(b.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
        )
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5,), (2, 3)])
def test_tensors_of_every_dtype_and_shape_come_back(name: str, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(1.0, 1 + max(torch.Size(shape).numel(), 0)).reshape(shape)
    tensor = tensor.to(DTYPES[name])
    assert same(from_wire(to_wire(tensor, None)), tensor)
    packed = pack([tensor, tensor.clone()])
    assert same(unpack(packed.value, blob_of(packed.buffers)), [tensor, tensor])


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.builds(range, st.integers(-9, 9), st.integers(-9, 9))
    | st.sampled_from(
        [
            torch.tensor([1.5, 2.5]),
            torch.tensor(3, dtype=torch.int16),
            torch.zeros(2, 0),
            torch.ones(2, requires_grad=True),
            torch.float64,
            torch.device("cpu"),
            torch.device("cuda:1"),
            torch.strided,
            torch.channels_last,
            torch.Size([2, 3]),
            slice(1, None, 2),
            Ellipsis,
        ]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_what_goes_to_the_wire_comes_back(value: Any) -> None:
    assert same(from_wire(to_wire(value, None)), value)
    packed = pack(value)
    blob = blob_of(packed.buffers)
    assert len(blob) == packed.nbytes
    assert same(unpack(packed.value, blob), value)


def test_views_transposes_and_conjugates_travel_as_their_own_bytes() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    for tensor in (base[1], base.t(), base[:, ::2], torch.tensor([1 + 2j]).conj()):
        packed = pack(tensor)
        assert packed.nbytes == tensor.numel() * tensor.element_size()
        assert torch.equal(unpack(packed.value, blob_of(packed.buffers)), tensor)


def test_the_same_bytes_travel_once_and_share_storage_again() -> None:
    weight = torch.arange(100.0)
    packed = pack({"a": weight, "b": weight, "c": weight.clone()})
    assert packed.nbytes == 400 + (-400 % limits.BLOB_ALIGNMENT) + 400
    back = unpack(packed.value, blob_of(packed.buffers))
    assert back["a"].data_ptr() == back["b"].data_ptr()
    assert back["a"].data_ptr() != back["c"].data_ptr()


def test_a_view_that_turns_the_sign_is_not_what_it_is_a_view_of() -> None:
    numbers, reals = torch.complex(torch.ones(8), torch.arange(8.0)), torch.arange(8.0)
    turned = torch._neg_view(reals)
    for pair in ([numbers, numbers.conj()], [numbers.conj(), numbers], [reals, turned]):
        packed = pack(pair)
        back = unpack(packed.value, blob_of(packed.buffers))
        assert all(torch.equal(got, sent) for got, sent in zip(back, pair, strict=True))


def test_spans_begin_at_multiples_of_the_alignment() -> None:
    packed = pack([torch.ones(1), torch.ones(3), torch.ones(70)])
    offsets = [item.data.offset for item in packed.value]
    assert all(offset % limits.BLOB_ALIGNMENT == 0 for offset in offsets)


def test_overlapping_spans_give_tensors_in_memory_of_their_own() -> None:
    # labels hang on storages: two storages over one memory would let a secret leave by the other
    blob = bytearray(64)
    value = [
        TensorData("float32", (4,), Span(0, 16)),
        TensorData("float32", (4,), Span(8, 16)),
        TensorData("int32", (4,), Span(0, 16)),
    ]
    first, second, third = from_wire(value, blob)
    first.fill_(1.0)
    assert second.sum() == 0
    assert third.sum() == 0
    assert bytes(blob) == bytes(64)


@given(st.lists(st.tuples(st.sampled_from(["float32", "int32", "uint8", "bool", "complex64"]),
                          st.sampled_from([0, 8, 64]), st.sampled_from([0, 8, 56, 64])),
                min_size=2, max_size=5))  # fmt: skip
def test_no_two_storages_lie_over_the_same_bytes_of_a_blob_that_is_given_away(
    found: list[tuple[str, int, int]],
) -> None:
    value = [
        TensorData(dtype, (nbytes // DTYPES[dtype].itemsize,), Span(at, nbytes))
        for dtype, at, nbytes in found
        if at + nbytes <= 64
    ]
    tensors = [tensor for tensor in from_wire(value, bytearray(64), is_owned=True) if len(tensor)]
    lying = {
        (store.data_ptr(), store.nbytes(), store._cdata)
        for store in (tensor.untyped_storage() for tensor in tensors)
    }
    for one, other in combinations(lying, 2):
        assert one[0] + one[1] <= other[0] or other[0] + other[1] <= one[0]


def test_arrived_tensors_may_be_written_to_and_outlive_the_blob() -> None:
    packed = pack(torch.ones(50))
    blob = bytearray(blob_of(packed.buffers))
    tensor = unpack(packed.value, blob)
    blob[:] = bytes(len(blob))
    tensor += 1
    assert torch.equal(tensor, torch.full((50,), 2.0))


def test_small_tensors_go_inline_and_large_ones_into_the_blob() -> None:
    blobs = BlobWriter()
    small, large = to_wire([torch.zeros(4), torch.zeros(5)], blobs, 16)
    assert small.data == bytes(16)
    assert large.data == Span(0, 20)
    with pytest.raises(ValueError, match="too large to travel inline"):
        to_wire(torch.zeros(5), None, 16)


def test_references_are_resolved_and_pointers_referred() -> None:
    class Pointer:
        pass

    pointer = Pointer()
    wire = to_wire([pointer, 1], None, refer=lambda v: Ref(7) if v is pointer else None)
    assert wire == [Ref(7), 1]
    assert from_wire(wire, None, {Ref(7): "object"}.__getitem__) == ["object", 1]
    with pytest.raises(ProtocolError):
        from_wire(Ref(7))


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: None,
        torch.nn.Linear(1, 1),
        torch.eye(2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.Generator(),
        {object()},
    ],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_wire_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        to_wire(value, None)


def test_values_nested_without_end_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested too deeply"):
        to_wire(loop, None)
    with pytest.raises(ValueError, match="nested too deeply"):
        logical_numbers(loop)


@pytest.mark.parametrize(
    "value",
    [
        TensorData("float31", (1,), b"0000"),
        TensorData("float32", (2,), b"0000"),
        TensorData("float32", (-1,), b""),
        TensorData("float32", (2**62, 2**62, 0), b""),
        TensorData("float32", (1,) * 65, b"0000"),
        TensorData("float32", (1,), Span(0, 4)),
        TensorData("int64", (1,), b"00000000", True),
        Dtype("Generator"),
        Device("meta"),
        Device("no such"),
        Layout("sparse_coo"),
        MemoryFormat("other"),
        Size((-1,)),
        object(),
    ],
)
def test_bad_wire_values_are_protocol_errors(value: Any) -> None:
    with pytest.raises(ProtocolError):
        from_wire([value])


@pytest.mark.parametrize("span", [Span(-4, 4), Span(0, 20), Span(13, 4), Span(2**70, 4)])
def test_spans_outside_of_the_blob_are_protocol_errors(span: Span) -> None:
    with pytest.raises(ProtocolError):
        from_wire(TensorData("float32", (span.nbytes // 4,), span), bytes(16))


def test_bools_of_other_bytes_become_true() -> None:
    tensor = from_wire(TensorData("bool", (3,), b"\0\2\xff"))
    assert tensor.view(torch.uint8).tolist() == [0, 1, 1]


def test_a_value_of_more_parts_than_are_counted_is_refused(monkeypatch: Any) -> None:
    """Lists that stand twice in each other have as many as one likes."""
    monkeypatch.setattr(limits, "COUNTED_PARTS", 100)
    assert logical_numbers([0] * 100) == (100, 800)
    doubled: list[Any] = [0]
    for _ in range(30):
        doubled = [doubled, doubled]
    for value in ([0] * 101, doubled):
        with pytest.raises(ValueError, match="too many parts"):
            logical_numbers(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.zeros(3, 4), (12, 48)),
        (torch.zeros(1).expand(1000), (1000, 4000)),
        (torch.zeros(3, dtype=torch.complex64), (3, 24)),
        (torch.zeros(3, dtype=torch.complex128), (6, 48)),
        (1.5, (1, 8)),
        (True, (1, 8)),
        (None, (1, 8)),
        (1j, (2, 16)),
        (2**63, (1, 8)),
        (2**64, (2, 9)),
        (1 << 8 * 100, (13, 101)),
        ("x" * 17, (3, 17)),
        (b"x" * 8, (1, 8)),
        ([1, 2.0, [3]], (3, 24)),
        ({"ab": torch.zeros(2)}, (3, 10)),
        (range(10**9), (3, 24)),
        ([slice([1, 2], None), [[5] * 3] * 2], (10, 80)),
    ],
)
def test_logical_numbers_counts_long_values_as_many(value: Any, expected: Any) -> None:
    assert logical_numbers(value) == expected


def test_zeros_without_memory_travel_as_zeros() -> None:
    """torch gives such a one as the gradient of a sign."""
    x = torch.randn(3, requires_grad=True)
    (zeros,) = torch.autograd.grad(x.sgn().sum(), x)
    assert zeros._is_zerotensor()
    for inline in (1 << 20, 0):
        blobs = BlobWriter()
        closed = to_wire(zeros, blobs, inline)
        assert torch.equal(unpack(closed, b"".join(blobs.buffers)), torch.zeros(3))
