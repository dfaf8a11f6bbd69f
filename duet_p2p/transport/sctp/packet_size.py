"""How large packets may be on a path that says nothing about it (RFC 8899).

A router that drops what is too large need not say so, and what it says may be forged. So larger
packets are tried with something that may get lost: a heartbeat, padded to the size in question
(RFC 4820), that no router may cut. Its echo proves the size; partners that do not know the padding
skip it. What lost probes do not show is a path that becomes narrower later: then answers to
large fragments stay away while nothing smaller is tried, so after a few timeouts in a row packets
are small again, and the search begins anew.

No I/O: `due` gives what is to be sent, and the time comes in as `now`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from enum import Enum
from struct import pack
from typing import Final

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import Heartbeat, build_padding
from duet_p2p.transport.sctp.packet import HEADER_BYTES

__all__ = ["PacketSize", "Phase"]

_INFO: Final = 1  # the parameter of a heartbeat that is echoed
_NONCE_BYTES: Final = 8
_CHUNK_HEADER_BYTES: Final = 4


class Phase(Enum):
    """What is known about the path."""

    GIVEN = "the size was told, nothing is tried"
    SEARCHING = "a larger size is being tried"
    FOUND = "the largest size that got through; larger ones are tried again later"


class PacketSize:
    """The search for the largest packet.

    Args:
        on_change: called with the size when it has changed.

    Attributes:
        phase: what is known.
        size: bytes that packets may have now.
        deadline: when `expire` has something to do, or None.
    """

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self._on_change = on_change
        self.phase = Phase.GIVEN
        self.size = limits.SCTP_PACKET_BYTES
        self.deadline: float | None = None
        self._largest = self.size
        self._left: list[int] = []  # sizes to be tried, the next one first
        self._tries = 0
        self._nonce = b""
        self._is_due = False

    def give(self, size: int) -> None:
        """The size is known; a search ends."""
        self.phase, self.deadline = Phase.GIVEN, None
        self._left, self._nonce, self._is_due = [], b"", False
        self._become(size)

    def search(self, largest: int, now: float) -> None:
        """A new path: packets that fit every path, and the search for larger ones."""
        self.give(limits.SCTP_PACKET_BYTES)
        self._largest = largest
        self._begin(now)

    def fall_back(self, now: float) -> None:
        """Packets of this size do not arrive any more; nothing when they are small anyway."""
        if self.phase is Phase.GIVEN or self.size <= limits.SCTP_PACKET_BYTES:
            return
        self.give(limits.SCTP_PACKET_BYTES)
        self.phase = Phase.FOUND
        self.deadline = now + limits.SCTP_PROBE_SECONDS  # what was lost goes first

    def refused(self, now: float) -> None:
        """This machine itself does not send a probe of that size."""
        if self.phase is Phase.SEARCHING:
            self._next(now)

    def expire(self, now: float, timeout: float) -> None:
        """The deadline passed.

        Args:
            now: the time.
            timeout: seconds that an answer may take.
        """
        self.deadline = None
        if self.phase is Phase.FOUND:
            self._begin(now)
        elif self.phase is Phase.SEARCHING and self._tries >= limits.SCTP_PROBES:
            self._next(now)
        elif self.phase is Phase.SEARCHING:
            self._try(now, timeout)

    def answered(self, info: bytes, now: float) -> None:
        """The echo of a heartbeat: if it is that of a probe, its size has arrived."""
        if self.phase is Phase.SEARCHING and info[4:] == self._nonce:
            self._become(self._left[0])
            self._rest(now)

    def due(self) -> list[bytes] | None:
        """The chunks of a probe that is to be sent now, each only once."""
        if not self._is_due:
            return None
        self._is_due = False
        info = pack("!HH", _INFO, _CHUNK_HEADER_BYTES + _NONCE_BYTES) + self._nonce
        beat = bytes(Heartbeat(info))
        room = self._left[0] - HEADER_BYTES - len(beat)
        return [beat, build_padding(room)]

    def _become(self, size: int) -> None:
        if size != self.size:
            self.size = size
            self._on_change(size)

    def _begin(self, now: float) -> None:
        self._left = [size for size in limits.SCTP_PROBE_SIZES if self.size < size <= self._largest]
        self._start(now)

    def _next(self, now: float) -> None:
        self._left.pop(0)
        self._start(now)

    def _start(self, now: float) -> None:
        """Tries the first of what is left."""
        if not self._left:
            self._rest(now)
            return
        self.phase = Phase.SEARCHING
        self._tries = 0
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._try(now, 0.0)

    def _try(self, now: float, timeout: float) -> None:
        self._tries += 1
        self._is_due = True
        self.deadline = now + max(timeout, limits.SCTP_PROBE_SECONDS)

    def _rest(self, now: float) -> None:
        """Nothing larger for now."""
        self.phase = Phase.FOUND
        self._left, self._nonce, self._is_due = [], b"", False
        has_more = any(self.size < size <= self._largest for size in limits.SCTP_PROBE_SIZES)
        self.deadline = now + limits.SCTP_PROBE_AGAIN_SECONDS if has_more else None
