"""What one side brings to an association."""

from __future__ import annotations

from dataclasses import dataclass

from duet_p2p import limits

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What one side brings along."""

    port: int
    peer_port: int
    max_message: int
    """Largest message in bytes that is taken from the other side."""
    packet: int = limits.SCTP_PACKET_BYTES
    """Size of our packets until something better is known."""
    packet_limit: int = limits.SCTP_PACKET_MAX_BYTES
    """Largest packet that is taken."""
    window: int = limits.SCTP_WINDOW_BYTES
    first: int | None = None
    """Number of our first fragment; None: random."""
