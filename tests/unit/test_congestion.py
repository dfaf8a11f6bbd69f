"""How much may be on its way: window, bursts and timeouts, counted in bytes and seconds."""

import pytest

from duet_p2p import limits
from duet_p2p.transport.sctp.congestion import CongestionWindow, RoundTrip
from duet_p2p.transport.sctp.outgoing import user_data_of

PACKET = 1_160
WIDE = 1 << 20


def bursts(window: CongestionWindow) -> int:
    return window.burst // PACKET


def quiet_rounds(window: CongestionWindow, count: int) -> None:
    """So many windows arrive whole after slow start."""
    for _ in range(count):
        window.grow(window.size)


def test_a_window_begins_with_ten_packets_and_grows_by_what_arrived() -> None:
    window = CongestionWindow(PACKET, WIDE)
    assert window.size == 10 * PACKET
    window.grow(3 * PACKET)
    assert window.size == 13 * PACKET


def test_packets_of_loopback_begin_with_what_a_transfer_sends_by_itself() -> None:
    window = CongestionWindow(PACKET, WIDE)
    window.set_packet(user_data_of(limits.SCTP_PROBE_SIZES[0]))
    assert window.size == 10 * user_data_of(limits.SCTP_PROBE_SIZES[0])
    window.set_packet(user_data_of(limits.SCTP_PACKET_MAX_BYTES))
    sent = limits.BULK_EARLY_BYTES // limits.BULK_MESSAGE_BYTES * limits.BULK_MESSAGE_BYTES
    assert window.size == sent


def test_beyond_its_threshold_a_window_grows_by_a_packet_for_each_window_that_arrived() -> None:
    window = CongestionWindow(PACKET, 12 * PACKET)
    window.grow(5 * PACKET)
    assert window.size == 15 * PACKET
    window.grow(14 * PACKET)
    assert window.size == 15 * PACKET
    window.grow(PACKET)
    assert window.size == 16 * PACKET


def test_a_window_grows_no_further_than_its_limit() -> None:
    window = CongestionWindow(PACKET, 1 << 30)
    for _ in range(40):
        window.grow(window.size)
    assert window.size == limits.SCTP_CONGESTION_MAX_BYTES


def test_a_loss_halves_window_and_burst_once_until_it_is_repaired() -> None:
    window = CongestionWindow(PACKET, WIDE)
    window.grow(30 * PACKET)
    assert bursts(window) == limits.SCTP_BURST_PACKETS
    window.lost(newest=99)
    window.lost(newest=120)
    assert (window.size, bursts(window)) == (20 * PACKET, limits.SCTP_BURST_PACKETS // 2)
    window.grow(20 * PACKET)
    assert window.size == 20 * PACKET  # not while it recovers
    window.arrived(98)
    window.lost(newest=120)
    assert window.size == 20 * PACKET
    window.arrived(99)
    window.lost(newest=120)
    assert window.size == 10 * PACKET


def test_bursts_shrink_to_eight_packets_and_grow_back_slowly() -> None:
    window = CongestionWindow(PACKET, WIDE)
    for number in range(10):
        window.lost(number)
        window.arrived(number)
    assert bursts(window) == limits.SCTP_BURST_MIN_PACKETS == 8
    # After a loss the window is at its threshold: the first whole one takes it past that.
    quiet_rounds(window, 1 + 8)
    assert bursts(window) == 9
    quiet_rounds(window, 8)
    assert bursts(window) == 10
    quiet_rounds(window, 8 * limits.SCTP_BURST_PACKETS)
    assert bursts(window) == limits.SCTP_BURST_PACKETS


def test_after_a_timeout_one_packet_may_be_on_its_way() -> None:
    window = CongestionWindow(PACKET, WIDE)
    window.grow(30 * PACKET)
    window.timed_out()
    assert window.size == PACKET
    window.grow(PACKET)
    assert window.size == 2 * PACKET  # slow start, up to half of what it was


def test_smaller_packets_make_no_window_larger() -> None:
    window = CongestionWindow(PACKET, WIDE)
    window.timed_out()
    window.set_packet(PACKET - 200)
    assert window.size == PACKET
    window.set_packet(PACKET)
    assert window.size == 10 * PACKET


def test_a_timeout_is_between_200_milliseconds_and_4_seconds() -> None:
    trip = RoundTrip()
    assert trip.timeout == limits.SCTP_RTO_INITIAL_SECONDS
    for _ in range(50):
        trip.measured(0.001)
    assert trip.timeout == limits.SCTP_RTO_MIN_SECONDS == 0.2
    for expected in (0.4, 0.8, 1.6, 3.2, 4.0, 4.0):
        trip.back_off()
        assert trip.timeout == pytest.approx(expected)
    trip.restore()
    assert trip.timeout == limits.SCTP_RTO_MIN_SECONDS
    for _ in range(50):
        trip.measured(9.0)
    assert trip.timeout == limits.SCTP_RTO_MAX_SECONDS


def test_an_answer_is_late_long_before_it_is_given_up() -> None:
    trip = RoundTrip()
    assert trip.probe is None
    for _ in range(100):
        trip.measured(0.05)
    assert trip.probe is not None
    assert trip.probe == pytest.approx(0.1 + 2 * limits.SCTP_ACK_SECONDS, abs=0.001)
    assert trip.probe < trip.timeout
