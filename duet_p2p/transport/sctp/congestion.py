"""How much may be on its way, and for how long an answer is waited for.

RFC 9260 sections 6.3 and 7.2.
"""

from __future__ import annotations

from duet_p2p import limits

__all__ = ["CongestionWindow", "RoundTrip"]


class RoundTrip:
    """The smoothed round-trip time, and the retransmission timeout that follows from it.

    Attributes:
        smoothed: seconds, or None before the first measurement.
        timeout: seconds.
    """

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._variation = 0.0
        self.timeout = limits.SCTP_RTO_INITIAL_SECONDS

    def measured(self, seconds: float) -> None:
        """One round trip of a fragment that was sent once."""
        if self.smoothed is None:
            self.smoothed = seconds
            self._variation = seconds / 2
        else:
            self._variation += (abs(self.smoothed - seconds) - self._variation) / 4
            self.smoothed += (seconds - self.smoothed) / 8
        self.restore()

    @property
    def probe(self) -> float | None:
        """Seconds after which an answer is late, long before it is given up; None: unknown yet."""
        if self.smoothed is None:
            return None
        usual = self.smoothed + max(self.smoothed, 4 * self._variation)
        return min(usual + 2 * limits.SCTP_ACK_SECONDS, self.timeout)

    def restore(self) -> None:
        """Something new arrived: what was backed off is forgotten, measured again or not."""
        if self.smoothed is None:
            self.timeout = limits.SCTP_RTO_INITIAL_SECONDS
            return
        timeout = self.smoothed + 4 * self._variation
        self.timeout = min(max(timeout, limits.SCTP_RTO_MIN_SECONDS), limits.SCTP_RTO_MAX_SECONDS)

    def back_off(self) -> None:
        """No answer came in time."""
        self.timeout = min(self.timeout * 2, limits.SCTP_RTO_MAX_SECONDS)


class CongestionWindow:
    """Slow start, congestion avoidance and recovery, counted in bytes.

    Args:
        packet: bytes of user data in a full packet.
        peer_window: bytes that the other side first said it takes.

    Attributes:
        size: bytes that may be in flight.
        burst: bytes that may be sent at once. Large bursts are what makes segmentation offload
            pay; they shrink at each loss and grow back slowly, because a path that drops them
            is not made faster by more of them.
        recovery: number of the fragment whose arrival ends a recovery, or None.
    """

    def __init__(self, packet: int, peer_window: int) -> None:
        self.size = _initial(packet)
        self._packet = packet
        self._threshold = max(peer_window, 4 * packet)
        self._acknowledged = 0
        self._burst_packets = limits.SCTP_BURST_PACKETS
        self.burst = self._burst_packets * packet
        self.recovery: int | None = None
        self._quiet = 0

    def set_packet(self, packet: int) -> None:
        """Packets are of another size from now on."""
        if packet > self._packet:
            self.size = max(self.size, _initial(packet))
        self._packet = packet
        self.burst = self._burst_packets * packet

    def grow(self, arrived: int) -> None:
        """Bytes arrived while the window was in full use."""
        if self.recovery is not None:
            return
        if self.size <= self._threshold:
            self.size += arrived
        else:
            self._acknowledged += arrived
            if self._acknowledged >= self.size:
                self._acknowledged -= self.size
                self.size += self._packet
                self._calm()
        self.size = min(self.size, limits.SCTP_CONGESTION_MAX_BYTES)

    def _calm(self) -> None:
        self._quiet += 1
        if self._quiet >= 8 and self._burst_packets < limits.SCTP_BURST_PACKETS:
            self._quiet = 0
            self._burst_packets += 1
            self.burst = self._burst_packets * self._packet

    def lost(self, newest: int) -> None:
        """A fragment was lost; `newest` is the last one sent so far."""
        if self.recovery is not None:
            return
        self.recovery = newest
        self._halve()
        self.size = self._threshold

    def timed_out(self) -> None:
        """Nothing was heard for a whole timeout."""
        self.recovery = None
        self._halve()
        self.size = self._packet

    def arrived(self, last: int) -> None:
        """Everything up to a number has arrived."""
        if self.recovery is not None and last >= self.recovery:
            self.recovery = None

    def _halve(self) -> None:
        self._threshold = max(self.size // 2, 4 * self._packet)
        self._acknowledged = 0
        self._quiet = 0
        self._burst_packets = max(self._burst_packets // 2, limits.SCTP_BURST_MIN_PACKETS)
        self.burst = self._burst_packets * self._packet


def _initial(packet: int) -> int:
    """Bytes in flight at first. Packets that no network carries do not leave the machine."""
    is_large = packet > limits.SCTP_PROBE_SIZES[0]
    return packet * (limits.SCTP_INITIAL_LARGE_PACKETS if is_large else limits.SCTP_INITIAL_PACKETS)
