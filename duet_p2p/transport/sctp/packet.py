"""An SCTP packet: a common header with a checksum, and chunks.

The header of an association's packets is the same all the time, so it and the part of the checksum
that covers it are made once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from google_crc32c import extend, value

from duet_p2p.errors import ProtocolError

__all__ = ["HEADER_BYTES", "Envelope", "PlacedChunk", "find_chunks", "header_of", "sort_chunks"]

HEADER_BYTES: Final = 12
_HEADER: Final = Struct("!HHL")
_CHUNK: Final = Struct("!BBH")
_CHECKSUM: Final = Struct("<L")
_NO_CHECKSUM: Final = b"\0\0\0\0"

PlacedChunk = tuple[int, int, int, int]
"""Kind, flags, and where the body begins and ends."""


class Envelope:
    """Makes the packets of one direction, and recognises those of the other.

    Args:
        source: port of the side that sends.
        destination: port of the side that receives.
        tag: verification tag that the receiving side chose; 0 for INIT.
    """

    def __init__(self, source: int, destination: int, tag: int) -> None:
        self.header = _HEADER.pack(source, destination, tag)
        self._checksum = value(self.header + _NO_CHECKSUM)

    def wrap(self, chunks: list[bytes]) -> bytes:
        """One packet of chunks that are padded already."""
        body = b"".join(chunks) if len(chunks) > 1 else chunks[0]
        return b"".join((self.header, _CHECKSUM.pack(extend(self._checksum, body)), body))

    def is_mine(self, packet: bytes) -> bool:
        """Whether ports, tag and checksum are those of this direction."""
        return packet[:8] == self.header and packet[8:12] == _CHECKSUM.pack(
            extend(self._checksum, packet[12:])
        )


def header_of(packet: bytes) -> tuple[int, int, int]:
    """Source port, destination port and tag of a packet whose checksum is right.

    Raises:
        ProtocolError: it is too short, or damaged.
    """
    if len(packet) < HEADER_BYTES + 4:
        raise ProtocolError("An SCTP packet is too short.")
    expected = value(packet[:8] + _NO_CHECKSUM + packet[HEADER_BYTES:])
    if packet[8:HEADER_BYTES] != _CHECKSUM.pack(expected):
        raise ProtocolError("An SCTP packet has a wrong checksum.")
    source, destination, tag = _HEADER.unpack_from(packet)
    return source, destination, tag


def find_chunks(packet: bytes) -> list[PlacedChunk]:
    """Where the chunks of a packet are; all lengths are checked before one is used.

    Raises:
        ProtocolError: a chunk is shorter than its header or longer than the packet.
    """
    size = len(packet)
    if size > 16:
        kind, flags, length = _CHUNK.unpack_from(packet, HEADER_BYTES)
        if 4 <= length <= size - HEADER_BYTES <= length + 3:
            return [(kind, flags, 16, HEADER_BYTES + length)]  # one chunk: most of bulk data
    found = []
    position = HEADER_BYTES
    while position + 4 <= size:
        kind, flags, length = _CHUNK.unpack_from(packet, position)
        end = position + length
        if length < 4 or end > size:
            raise ProtocolError("An SCTP chunk has a wrong length.")
        found.append((kind, flags, position + 4, end))
        position = (end + 3) & ~3
    if not found:
        raise ProtocolError("An SCTP packet without a chunk.")
    return found


def sort_chunks(chunks: list[bytes], packet: int) -> list[list[bytes]]:
    """Sorts chunks, in order, into packets of `packet` bytes; the last may have room left."""
    packets: list[list[bytes]] = [[]]
    room = packet - HEADER_BYTES
    for chunk in chunks:
        if len(chunk) > room and packets[-1]:
            packets.append([])
            room = packet - HEADER_BYTES
        packets[-1].append(chunk)
        room -= len(chunk)
    return packets
