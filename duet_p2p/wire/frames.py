"""One frame: the unit that travels on the ops and ctl channels.

A frame is a msgpack array [first_seq, message, …]. Its messages are either all numbered, the first
with `first_seq` and the others following on, or all life messages, and then `first_seq` is 0.
Encoded messages are joined as they are, so a message that waits to be sent again is never encoded
twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.codec import read, unpack_message
from duet_p2p.wire.messages import ANSWERS, COMMANDS, LIFE, Message, Op
from duet_p2p.wire.packing import INT_MAX, Buffer

__all__ = ["Unread", "decode_frame", "encode_frame", "fits", "split"]

_GROUP: Final[dict[int, int]] = {
    tag: number for number, group in enumerate((LIFE, COMMANDS, ANSWERS)) for tag in group
}

_OP: Final = next(tag for tag, kind in COMMANDS.items() if kind is Op)
_OP_ITEMS: Final = 1 + len(Op.__dataclass_fields__)


class Unread(NamedTuple):
    """An `Op` that is read where it runs, and not on the way there.

    Whoever carries it has no use for names, ids and values. It is one msgpack array with the tag
    and as many items as an `Op` has; `codec.decode_message` reads it, or refuses it.
    """

    data: bytes


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


def decode_frame(data: Buffer, *, leaves_ops: bool = False) -> tuple[int, list[Message | Unread]]:
    """The number of the first message and the messages.

    Args:
        data: of the frame.
        leaves_ops: each `Op` is left `Unread`.

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
    if leaves_ops:
        messages = [_left(item) or unpack_message(item) for item in packed[1:]]
    else:
        messages = [unpack_message(item) for item in packed[1:]]
    groups = {_GROUP[item[0]] for item in packed[1:]}
    if len(groups) > 1 or (0 in groups) != (first_seq == 0):
        raise ProtocolError("A frame mixes messages with and without a number")
    return first_seq, messages


_pack = msgpack.Packer().pack  # of the thread that reads frames


def _left(item: Any) -> Unread | None:
    """An `Op` as it came; None if it is another message, or one of many bytes.

    What is nested deeper than a reader on the way can bear has many bytes.
    """
    if type(item) is not list or len(item) != _OP_ITEMS or item[0] != _OP:
        return None
    try:
        data = _pack(item)
    except ValueError:  # deeper than this writer can bear
        return None
    return Unread(data) if len(data) <= limits.UNREAD_BYTES else None


def _array_header(count: int) -> bytes:
    header: Any = msgpack.Packer().pack_array_header(count)
    return bytes(header)
