"""Heartbeats: whether a side that has nothing to say is still there (RFC 9260 section 8.3)."""

from __future__ import annotations

import secrets
from struct import pack

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import Heartbeat

__all__ = ["Pulse"]

_INFO = 1  # the parameter that is echoed


class Pulse:
    """Asks after a silence, and counts silences.

    Attributes:
        heard_at: when the last packet of the other side came.
        deadline: when the silence is looked at again, or None before the start.
        misses: heartbeats in a row that brought no packet at all.
    """

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.deadline: float | None = None
        self.misses = 0
        self._asked_at: float | None = None
        self._info = b""

    def start(self, now: float) -> None:
        """The association is established."""
        self.heard_at = now
        self.deadline = now + limits.SCTP_HEARTBEAT_SECONDS

    def beat(self, now: float, timeout: float) -> Heartbeat | None:
        """The deadline passed: a heartbeat, if nothing was heard for long enough.

        Args:
            now: the time.
            timeout: seconds that an answer may take.
        """
        if self._asked_at is not None and self.heard_at < self._asked_at:
            self.misses += 1
        else:
            self.misses = 0
            self._asked_at = None
            quiet_until = self.heard_at + limits.SCTP_HEARTBEAT_SECONDS
            if quiet_until > now:
                self.deadline = quiet_until
                return None
        self._asked_at = now
        self._info = secrets.token_bytes(8)
        self.deadline = now + max(timeout, limits.SCTP_RTO_INITIAL_SECONDS)
        return Heartbeat(pack("!HH", _INFO, 4 + len(self._info)) + self._info)

    def answered(self, info: bytes, now: float) -> None:
        """An echo came; one of something else counts as a packet like any other."""
        if info[4:] == self._info:
            self.misses = 0
            self._asked_at = None
            self.deadline = now + limits.SCTP_HEARTBEAT_SECONDS
