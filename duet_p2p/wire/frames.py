"""One frame: the unit that travels on the ops and ctl channels.

A frame is a msgpack array [first_seq, message, …]. Its messages are either all numbered, the first
with `first_seq` and the others following on, or all life messages, and then `first_seq` is 0.
Encoded messages are joined as they are, so a message that waits to be sent again is never encoded
twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgpack

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.codec import read, unpack_message
from duet_p2p.wire.messages import ANSWERS, COMMANDS, LIFE, Message
from duet_p2p.wire.packing import INT_MAX, Buffer

__all__ = ["decode_frame", "encode_frame", "fits", "split"]

_GROUP: Final[dict[int, int]] = {
    tag: number for number, group in enumerate((LIFE, COMMANDS, ANSWERS)) for tag in group
}


def encode_frame(first_seq: int, messages: Sequence[bytes]) -> bytes:
    """Joins encoded messages into a frame.

    Args:
        first_seq: number of the first message; 0 for life messages.
        messages: what `codec.encode_message` gave, at least one; together within the limits of
            `fits`.

    Raises:
        ValueError: no message, or too many or too large for one frame.
    """
    if not messages or not 0 <= first_seq <= INT_MAX - len(messages):
        raise ValueError("a frame has messages and a number")
    frame = b"".join((_array_header(len(messages) + 1), msgpack.packb(first_seq), *messages))
    if not fits(len(messages), len(frame) - limits.FRAME_HEADER_BYTES):
        raise ValueError(f"{len(messages)} messages in {len(frame)} bytes")
    return frame


def fits(count: int, nbytes: int) -> bool:
    """Whether `count` messages of `nbytes` together are one frame.

    Several messages share a frame of at most `limits.FRAME_MAX_BYTES`; a single one may be as
    large as the channel allows.
    """
    room = limits.MESSAGE_MAX_BYTES if count == 1 else limits.FRAME_MAX_BYTES
    return count <= limits.FRAME_MESSAGES and nbytes <= room - limits.FRAME_HEADER_BYTES


def split(first_seq: int, messages: Sequence[bytes]) -> Iterator[bytes]:
    """Frames of any number of encoded messages, each as full as it may be."""
    start, nbytes = 0, 0
    for index, message in enumerate(messages):
        if index > start and not fits(index - start + 1, nbytes + len(message)):
            yield encode_frame(first_seq and first_seq + start, messages[start:index])
            start, nbytes = index, 0
        nbytes += len(message)
    if messages:
        yield encode_frame(first_seq and first_seq + start, messages[start:])


def decode_frame(data: Buffer) -> tuple[int, list[Message]]:
    """The number of the first message and the messages.

    Raises:
        ProtocolError: it is not a frame, or one of its messages is malformed.
    """
    packed = read(data, limits.MESSAGE_MAX_BYTES)
    if type(packed) is not list or len(packed) < 2:
        raise ProtocolError("A frame has a number and messages")
    first_seq = packed[0]
    count = len(packed) - 1
    if type(first_seq) is not int or not 0 <= first_seq <= INT_MAX - count:
        raise ProtocolError("A frame starts with a number")
    if count > limits.FRAME_MESSAGES or (count > 1 and len(data) > limits.FRAME_MAX_BYTES):
        raise ProtocolError(f"A frame of {count} messages in {len(data)} bytes")
    messages = [unpack_message(item) for item in packed[1:]]
    groups = {_GROUP[item[0]] for item in packed[1:]}
    if len(groups) > 1 or (0 in groups) != (first_seq == 0):
        raise ProtocolError("A frame mixes messages with and without a number")
    return first_seq, messages


def _array_header(count: int) -> bytes:
    header: Any = msgpack.Packer().pack_array_header(count)
    return bytes(header)
