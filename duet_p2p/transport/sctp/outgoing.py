"""A message that is given to the association, and how much of one fits in a packet."""

from __future__ import annotations

from dataclasses import dataclass

from duet_p2p.transport.sctp.chunks import DATA_HEADER_BYTES
from duet_p2p.transport.sctp.packet import HEADER_BYTES

__all__ = ["Outgoing", "user_data_of"]


def user_data_of(packet: int) -> int:
    """Bytes of a message in a full packet of `packet` bytes."""
    return (packet - HEADER_BYTES - DATA_HEADER_BYTES) & ~3


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way out."""

    stream: int
    ppid: int
    data: bytes
    is_ordered: bool = True
    max_retransmits: int | None = None
    expires: float | None = None
    """Time after which it is given up."""
    sequence: int = 0
    position: int = 0
    """Bytes that are cut into fragments."""
    is_given_up: bool = False

    @property
    def is_reliable(self) -> bool:
        """Whether it is never given up."""
        return self.max_retransmits is None and self.expires is None
