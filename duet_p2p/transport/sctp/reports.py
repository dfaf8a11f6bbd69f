"""When the other side is told what has arrived (RFC 9260 section 6.2).

A report (SACK) is due for every second packet with data, at once when something is missing, and
else after a moment, or with whatever is sent anyway. Packets come in batches, and between two of
ours one report for a whole batch is best: our windows count bytes, not reports. Other
implementations send at most four packets for each report, and widen their window by at most one
packet for it, so a report for a batch of twenty would hold them at four packets a round trip. They
get one for every third packet of a batch, each in a packet of its own, and one for what is left of
it if that is two: a flow that stands still after two packets goes on at once, and one that runs
still grows by a packet for each report. To read a report costs Chromium as much as to send, and two
processes are woken for it. (Whether every second or third packet is faster changed from one
measurement to the next, see docs/performance.md.)
"""

from __future__ import annotations

from typing import Final

from duet_p2p import limits
from duet_p2p.transport.sctp.inbound import Inbound

__all__ = ["Reports"]

_FEW: Final = 2  # packets, at the end of a batch
_SOME: Final = 3  # packets, within one


class Reports:
    """Decides when reports are due.

    Args:
        inbound: what has arrived.
        for_batches: whether one report for a batch is enough for the other side.

    Attributes:
        deadline: when a report is due at the latest, or None.
    """

    def __init__(self, inbound: Inbound, *, for_batches: bool) -> None:
        self._inbound = inbound
        self._for_batches = for_batches
        self._packets = 0  # with data, since the last report
        self._waiting: list[bytes] = []
        self.deadline: float | None = None

    def heard(self) -> None:
        """A packet with data was taken."""
        self._packets += 1
        if not self._for_batches and (self._inbound.wants_sack or self._packets >= _SOME):
            self._waiting.append(self._build())

    def take_waiting(self) -> list[bytes]:
        """Reports that are to be sent now, each in a packet of its own."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def due(self, *, has_company: bool, now: float) -> bytes | None:
        """A report that is to be sent now; None if there is nothing to say, or time to wait.

        Args:
            has_company: whether other chunks may be sent too.
            now: the time.
        """
        if self._is_due or (self._packets and has_company):
            return self._build()
        if self._packets and self.deadline is None:
            self.deadline = now + limits.SCTP_ACK_SECONDS
        return None

    def expire(self) -> None:
        """The deadline passed."""
        self.deadline = None
        self._inbound.wants_sack = True

    @property
    def _is_due(self) -> bool:
        return self._inbound.wants_sack or self._packets >= _FEW

    def _build(self) -> bytes:
        self._packets = 0
        self.deadline = None
        return self._inbound.build_sack()
