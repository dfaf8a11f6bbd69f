"""The header of a message on channel 2; session/bulk.py explains it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import ProtocolError

__all__ = [
    "CHUNK_BYTES",
    "EARLY",
    "HEADER_BYTES",
    "SIZE",
    "Kind",
    "charge",
    "early_of",
    "pack",
    "unpack",
]

_HEADER = struct.Struct("!BQQQ")
HEADER_BYTES = _HEADER.size
SIZE = struct.Struct("!I")
"""Bytes of a compressed chunk when it is inflated; in front of them."""
CHUNK_BYTES = limits.BULK_MESSAGE_BYTES - HEADER_BYTES

EARLY: Final = "early"
"""Key of the signed capabilities: bytes of a transfer that a side takes before it says GO."""


class Kind(IntEnum):
    """What a message is about."""

    CHUNK = 1
    CANCEL = 2
    GO = 3
    REFUSE = 4
    DEFLATED = 5


_WITH_BYTES = frozenset({Kind.CHUNK, Kind.DEFLATED})


def pack(kind: Kind, transfer_id: int, offset: int = 0, total: int = 0) -> bytes:
    """A header."""
    return _HEADER.pack(kind, transfer_id, offset, total)


def unpack(data: bytes) -> tuple[Kind, int, int, int]:
    """Kind, transfer, offset and total of a message.

    Raises:
        ProtocolError: It has no header, or bytes that its kind does not have.
    """
    try:
        number, transfer_id, offset, total = _HEADER.unpack_from(data)
        kind = Kind(number)
    except (struct.error, ValueError):
        raise ProtocolError("A message of a transfer has no header.") from None
    if kind not in _WITH_BYTES and (len(data) != HEADER_BYTES or offset or total):
        raise ProtocolError("A message of a transfer has bytes that it may not have.")
    return kind, transfer_id, offset, total


def charge(size: int, early: int) -> int:
    """What a transfer of some bytes counts for while there is no GO.

    Args:
        size: of the transfer.
        early: bytes of one transfer that may come without a GO; of all, `limits.TRANSFERS` times.
    """
    return max(min(size, early), limits.BULK_CHARGE_BYTES)


def early_of(caps: Mapping[str, Any]) -> int:
    """Bytes of a transfer that may be sent to a partner before its GO, by its capabilities.

    Who says nothing of it, or nonsense, takes `limits.BULK_EARLY_BYTES`, as everybody does.
    """
    said = caps.get(EARLY)
    if type(said) is not int:
        return limits.BULK_EARLY_BYTES
    return min(max(said, limits.BULK_EARLY_BYTES), limits.BULK_EARLY_WIDE_BYTES)
