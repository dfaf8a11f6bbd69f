"""The tensors of a value arrive in memory of their own, without a copy in between."""

from collections import OrderedDict
from typing import Any

import pytest
import torch

from duet_p2p.errors import ProtocolError
from duet_p2p.surface.arrival import Arrival
from duet_p2p.surface.values import from_wire, pack, unpack
from duet_p2p.wire.values import Span, TensorData

STATE = OrderedDict(
    weight=torch.arange(5000, dtype=torch.float32).view(50, 100),
    flags=torch.tensor([True, False, True]),
    same=torch.zeros(0),
    steps=torch.tensor(7),
    half=torch.ones(33, dtype=torch.bfloat16),
)


def arrived(value: Any, step: int) -> tuple[Any, Arrival]:
    """A packed value, its blob written in pieces of `step` bytes."""
    packed = pack(value)
    into = Arrival.of(packed.value, packed.nbytes)
    assert into is not None and into.nbytes == packed.nbytes
    data = b"".join(packed.buffers)
    for at in range(0, len(data), step):
        into.write(at, data[at : at + step])
    return packed.value, into


@pytest.mark.parametrize("step", [1, 63, 64, 65, 1000, 1 << 20])
def test_whatever_pieces_it_comes_in_the_value_is_the_same(step: int) -> None:
    value = [STATE, (STATE["weight"], {"x": STATE["half"]})]
    found, (again, inner) = unpack(*arrived(value, step), is_owned=True)
    assert list(found) == list(STATE) and isinstance(found, OrderedDict)
    for name, tensor in STATE.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert again.data_ptr() == found["weight"].data_ptr()
    assert inner["x"].data_ptr() == found["half"].data_ptr()


def test_each_tensor_is_written_to_where_it_lives() -> None:
    value, into = arrived([torch.zeros(100), torch.ones(100)], 77)
    places = [torch.frombuffer(part, dtype=torch.uint8).data_ptr() for part in into._parts]
    first, second = unpack(value, into, is_owned=True)
    assert [first.data_ptr(), second.data_ptr()] == places
    first.add_(1)
    assert torch.equal(second, torch.ones(100))
    assert first.untyped_storage().nbytes() == 400


def test_the_same_bytes_as_two_types_are_two_tensors() -> None:
    span = Span(0, 4)
    value = [
        TensorData("int32", (1,), span, False),
        TensorData("uint8", (4,), span, False),
        TensorData("uint8", (1,), Span(64, 1), False),
    ]
    into = Arrival.of(value, 65)
    assert into is not None
    into.write(0, bytes([1, 0, 0, 0]) + bytes(60) + b"\5")
    whole, parts, last = from_wire(value, into, is_owned=True)
    whole.zero_()
    assert parts.tolist() == [1, 0, 0, 0] and last.tolist() == [5]


@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, 4), Span(2, 4)],
        [Span(0, 4), Span(0, 8)],
        [Span(0, 4), Span(64, 5)],
        [Span(0, 4), Span(2**62, 4)],
        [Span(0, 4), Span(8, 0)],
        [Span(0, 4)],
        [],
    ],
    ids=["overlap", "inside", "past the end", "far away", "empty", "one", "none"],
)
def test_others_land_in_one_piece_and_take_no_memory_here(spans: list[Span]) -> None:
    value = [TensorData("uint8", (span.nbytes,), span, False) for span in spans]
    assert Arrival.of(value, 68) is None


def test_a_tensor_that_was_not_named_or_does_not_fit_is_an_error() -> None:
    value, into = arrived([torch.zeros(100), torch.ones(100)], 77)
    with pytest.raises(ProtocolError, match="did not name"):
        from_wire(TensorData("uint8", (3,), Span(1, 3), False), into)
    with pytest.raises(ProtocolError, match="do not fit"):
        from_wire(TensorData("uint8", (3,), value[0].data, False), into)
