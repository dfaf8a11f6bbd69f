"""What one side tells the other about its half of an association, and the channels of one.

Transport makes and uses these; protocol/sdp.py turns them into the text that is signed and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Candidate", "Channel", "Description"]


class Channel(IntEnum):
    """The three channels of an association, by their SCTP stream number."""

    CTL = 0
    OPS = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ICE candidate, UDP, component 1."""

    foundation: str
    priority: int
    address: str
    """IPv4 or IPv6 literal, or an mDNS name ending in ``.local``."""
    port: int
    kind: str
    """``host``, ``srflx``, ``prflx`` or ``relay``."""


@dataclass(frozen=True, slots=True)
class Description:
    """One side's half of an association: an SDP without the text."""

    ufrag: str
    pwd: str
    fingerprint: bytes
    """SHA-256 of the DTLS certificate, 32 bytes."""
    setup: str
    """``actpass``, ``active`` or ``passive``."""
    candidates: tuple[Candidate, ...]
    mid: str = "0"
    sctp_port: int = 5000
    max_message_size: int = 65536
