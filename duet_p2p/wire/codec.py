"""Values and messages <-> bytes.

One msgpack reader with explicit limits, and one promise: whatever the bytes are, the answer is a
value or a `ProtocolError`, never another exception. msgpack itself limits neither the depth (it
only stops at its own stack of 1,024) nor the sum of what small inputs expand to; wire/packing.py
does the first, and the size of the input bounds the second.

Writing refuses what reading would refuse, with `TypeError` or `ValueError`: our own mistake is not
a `ProtocolError`, which is the partner's.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NoReturn

import msgpack

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.fields import pack_fields, unpack_fields
from duet_p2p.wire.messages import Message
from duet_p2p.wire.packing import Buffer, pack_value, unpack_value

__all__ = [
    "decode_message",
    "decode_value",
    "encode_message",
    "encode_value",
    "pack_value",
    "read",
    "unpack_message",
    "unpack_value",
]


class _Writer(threading.local):
    """A msgpack packer for each thread; to make one costs as much as to pack an operation."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack


_writer = _Writer()


def encode_value(value: Any, most: int = limits.VALUE_MAX_BYTES) -> bytes:
    """The bytes of a value of the closed set.

    Args:
        value: of that set.
        most: bytes.

    Raises:
        TypeError: something in it is not of the closed set.
        ValueError: a limit is passed, of the value or of its bytes.
    """
    data: bytes = msgpack.packb(pack_value(value))
    return _bounded(data, most)


def decode_value(data: Buffer) -> Any:
    """The value of these bytes.

    Raises:
        ProtocolError: they are not exactly one value of the closed set within its limits.
    """
    return unpack_value(read(data, limits.VALUE_MAX_BYTES))


def encode_message(message: Message) -> bytes:
    """The bytes of a message: a msgpack array of its tag and its fields.

    Raises:
        TypeError: something in it is not of the closed set.
        ValueError: a field breaks its rule or a limit, or the whole does not fit into a frame.
    """
    data: bytes = _writer.pack(pack_fields(message))
    return _bounded(data, limits.MESSAGE_MAX_BYTES - limits.FRAME_HEADER_BYTES)


def decode_message(data: Buffer) -> Message:
    """The message of these bytes.

    Raises:
        ProtocolError: they are not exactly one message.
    """
    return unpack_message(read(data, limits.MESSAGE_MAX_BYTES))


def unpack_message(packed: Any) -> Message:
    """The message of what msgpack read.

    Raises:
        ProtocolError: it is none.
    """
    try:
        message: Message = unpack_fields(packed)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"A message is malformed: {error}") from error
    return message


def read(data: Buffer, max_bytes: int) -> Any:
    """What msgpack makes of these bytes, within the limits of the wire.

    Raises:
        ProtocolError: too many bytes, not msgpack, more than one object, or past a limit.
    """
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > max_bytes:
        raise ProtocolError(f"{size} bytes at once, {max_bytes} allowed")
    try:
        try:
            return _unpackb(data, limits.FRAME_MESSAGES + 1)
        except ValueError:
            if size <= limits.FRAME_MESSAGES:
                raise
            # perhaps a large dict
            _check_claims(bytes(data))
            return _unpackb(data, limits.PAIR_ITEMS)
    except (TypeError, ValueError, OverflowError) as error:
        # msgpack's own errors are all ValueErrors, bad UTF-8 too
        raise ProtocolError(f"Not msgpack of this protocol: {error!s:.100}") from error


def _unpackb(data: Buffer, most: int) -> Any:
    return msgpack.unpackb(
        data,
        strict_map_key=True,  # the keys of maps are tags; dicts are lists of pairs
        max_str_len=limits.STRING_BYTES,
        max_bin_len=limits.STRING_BYTES,
        max_array_len=most,
        max_map_len=1,
        max_ext_len=0,
        ext_hook=_no_extension,
    )


_LENGTHS: Final[dict[int, tuple[int, int]]] = {
    # heads with a length: its width in bytes, and items per unit of it (0: it counts bytes)
    **{0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0)},  # bin
    **{0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)},  # str
    **{0xDC: (2, 1), 0xDD: (4, 1)},  # array
    **{0xDE: (2, 2), 0xDF: (4, 2)},  # map
}

_FIXED: Final[dict[int, int]] = {
    # heads with a fixed number of bytes behind them
    **{0xC0: 0, 0xC2: 0, 0xC3: 0},  # nil, false, true
    **{0xCA: 4, 0xCB: 8},  # float
    **{0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8},  # uint
    **{0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8},  # int
}


def _check_claims(data: bytes) -> None:
    """Refuses arrays that claim more items than there are bytes left.

    msgpack makes room for an array as soon as it has read its header, and headers may nest: 5 kB
    of them would take 500 MB. One pass over the heads tells. It is slow, so only inputs with a
    large array go through it; for the others the sum is small enough.
    """
    position, open_items, size = 0, 1, len(data)
    while open_items:
        if position + open_items > size:
            raise ValueError("more items than bytes")
        head = data[position]
        position += 1
        open_items -= 1
        if head < 0x80 or head >= 0xE0:  # a small int
            continue
        if head < 0x90:  # a small map
            open_items += 2 * (head & 0x0F)
        elif head < 0xA0:  # a small array
            open_items += head & 0x0F
        elif head < 0xC0:  # a short str
            position += head & 0x1F
        elif head in _LENGTHS:
            width, items = _LENGTHS[head]
            length = int.from_bytes(data[position : position + width], "big")
            position += width
            if items:
                open_items += items * length
            else:
                position += length
        else:
            fixed = _FIXED.get(head)
            if fixed is None:
                raise ValueError("extension types are not used")
            position += fixed


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError("extension types are not used")


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise ValueError(f"{len(data)} bytes, {most} allowed")
    return data
