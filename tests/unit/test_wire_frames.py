"""Frames: joined messages with one number."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.frames import Unread, decode_frame, encode_frame, split
from duet_p2p.wire.messages import Ack, Del, Denied, Op, Ping, Value, Withdraw
from duet_p2p.wire.packing import INT_MAX
from duet_p2p.wire.values import Ref

OP = Op("torch.relu", (3,), (Ref(1),), {}, "g")


def test_numbered_messages_share_a_frame() -> None:
    messages = [OP, Del((1,)), Withdraw(9)]
    frame = encode_frame(7, [encode_message(message) for message in messages])
    assert decode_frame(frame) == (7, messages)


def test_a_frame_is_one_msgpack_array() -> None:
    assert msgpack.unpackb(encode_frame(7, [encode_message(Del((1,)))])) == [7, [3, [1]]]


def test_life_messages_have_no_number() -> None:
    frame = encode_frame(0, [encode_message(Ping(1)), encode_message(Ack(5))])
    assert decode_frame(frame) == (0, [Ping(1), Ack(5)])


@pytest.mark.parametrize(
    "packed",
    [
        [],
        [1],
        5,
        [0, [3, [1]]],
        [1, [66, 1]],
        [1, [3, [1]], [66, 1]],
        [1, [3, [1]], [37, 1, ""]],
        [-1, [3, [1]]],
        [True, [3, [1]]],
        [1.0, [3, [1]]],
        [2**63, [3, [1]]],
        [INT_MAX, [3, [1]]],
        ["1", [3, [1]]],
        [1, [3, [1]], 5],
        [1, [99]],
    ],
)
def test_what_is_no_frame_is_refused(packed: object) -> None:
    with pytest.raises(ProtocolError):
        decode_frame(msgpack.packb(packed))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_a_protocol_error(data: bytes) -> None:
    try:
        first, messages = decode_frame(data)
    except ProtocolError:
        return
    assert decode_frame(encode_frame(first, [encode_message(m) for m in messages])) == (
        first,
        messages,
    )


def test_a_single_message_may_fill_the_channel() -> None:
    room = limits.MESSAGE_MAX_BYTES - limits.FRAME_HEADER_BYTES
    message = Value(1, b"x" * (room - 7), None)
    frame = encode_frame(2**40, [encode_message(message)])
    assert limits.MESSAGE_MAX_BYTES - 12 < len(frame) <= limits.MESSAGE_MAX_BYTES
    assert decode_frame(frame) == (2**40, [message])
    with pytest.raises(ProtocolError):
        decode_frame(frame + bytes(limits.MESSAGE_MAX_BYTES + 1 - len(frame)))


def test_several_messages_fit_into_the_smaller_size() -> None:
    half = encode_message(Value(1, b"x" * (limits.FRAME_MAX_BYTES // 2 - 20), None))
    frame = encode_frame(1, [half, half])
    assert len(decode_frame(frame)[1]) == 2
    large = encode_message(Value(1, b"x" * (limits.FRAME_MAX_BYTES // 2), None))
    with pytest.raises(ValueError, match="messages in"):
        encode_frame(1, [large, large])
    with pytest.raises(ProtocolError, match="messages in"):
        decode_frame(b"\x93\x01" + large + large)


def test_the_number_of_messages_has_a_limit() -> None:
    tiny = encode_message(Withdraw(1))
    first, messages = decode_frame(encode_frame(1, [tiny] * limits.FRAME_MESSAGES))
    assert (first, len(messages)) == (1, limits.FRAME_MESSAGES)
    with pytest.raises(ValueError, match="messages in"):
        encode_frame(1, [tiny] * (limits.FRAME_MESSAGES + 1))
    with pytest.raises(ProtocolError):
        decode_frame(b"\xdc\x10\x02\x01" + tiny * (limits.FRAME_MESSAGES + 1))


def test_no_message_and_no_number_are_our_own_mistakes() -> None:
    with pytest.raises(ValueError):
        encode_frame(1, [])
    with pytest.raises(ValueError):
        encode_frame(-1, [encode_message(OP)])


@given(st.lists(st.integers(0, 20_000), max_size=40), st.integers(1, 2**40))
def test_frames_of_many_messages_have_all_of_them_in_order(sizes: list[int], first: int) -> None:
    messages = [Denied(index + 1, "") for index in range(len(sizes))]
    encoded = [
        encode_message(Value(index + 1, bytes(size), None)) for index, size in enumerate(sizes)
    ]
    got: list[int] = []
    for frame in split(first, encoded):
        number, found = decode_frame(frame)
        assert number == first + len(got)
        assert len(frame) <= limits.FRAME_MAX_BYTES or len(found) == 1
        got += [message.call for message in found if isinstance(message, Value)]
    assert got == [message.call for message in messages]


def test_life_messages_are_split_without_numbers() -> None:
    frames = list(split(0, [encode_message(Ping(INT_MAX))] * 5000))
    assert sum(len(decode_frame(frame)[1]) for frame in frames) == 5000
    assert {decode_frame(frame)[0] for frame in frames} == {0}


def test_operations_can_be_left_for_who_runs_them() -> None:
    messages = [Op("torch.relu", (1,), (2.5,), {}, "g"), Del((1,))]
    encoded = [encode_message(message) for message in messages]
    first, (left, read) = decode_frame(encode_frame(7, encoded), leaves_ops=True)
    assert (first, left, read) == (7, Unread(encoded[0]), messages[1])
    assert decode_message(encoded[0]) == messages[0]


@pytest.mark.parametrize("nested", [1, limits.UNREAD_BYTES, 1_010])
def test_what_is_no_operation_or_has_many_bytes_is_read_at_once(nested: int) -> None:
    fields = b"\x96\x01\xa1n\x91\x01\x91" + b"\x91" * nested + b"\xc0\x90\xa1g"
    short = b"\x93\x01\xa1n\x91\x01"
    assert len(fields) > limits.UNREAD_BYTES or nested == 1
    with pytest.raises(ProtocolError):
        decode_frame(b"\x92\x01" + (fields if nested > 1 else short), leaves_ops=True)


@pytest.mark.parametrize("more", [0, 1])
def test_the_largest_operation_that_is_left(more: int) -> None:
    op = Op("n", (1,), ("",), {}, "g")
    room = limits.UNREAD_BYTES - len(encode_message(op)) - 2
    op = Op("n", (1,), ("x" * (room + more),), {}, "g")
    data = encode_message(op)
    assert len(data) == limits.UNREAD_BYTES + more
    (found,) = decode_frame(encode_frame(1, [data]), leaves_ops=True)[1]
    assert found == (op if more else Unread(data))
