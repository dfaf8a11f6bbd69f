"""What one turn of the loop reads, and what waits for a line that takes too little."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from duet_p2p import limits
from duet_p2p.transport.sctp.datagrams import DatagramPath
from duet_p2p.transport.sctp.internals import Wire

AT = ("192.0.2.1", 5)


class Udp:
    """There is always one more datagram."""

    def __init__(self) -> None:
        self.reads = 0

    def recvmsg_into(self, buffers: list[bytearray], _: int) -> tuple[int, list[Any], int, Any]:
        self.reads += 1
        return 20, [], 0, AT


def read(seconds: float) -> tuple[int, int]:
    """Reads and batches of one turn, each look at the clock so much later than the one before."""
    path, udp, batches = object.__new__(DatagramPath), Udp(), []
    clock = iter(range(10**6))
    path._loop = SimpleNamespace(time=lambda: seconds * next(clock))  # type: ignore[assignment]
    path._records = SimpleNamespace(inbox=bytearray(64))  # type: ignore[assignment]
    path._on_packet = lambda packet, now: None
    path._on_batch = lambda: batches.append(1)
    path._is_closed, path.bytes_received, path.packets_received = False, 0, 0
    wire = SimpleNamespace(is_closed=False, pass_on=lambda datagram, address: None)
    path._on_readable(wire, udp)  # type: ignore[arg-type]
    return udp.reads, len(batches)


def test_packets_that_take_long_leave_the_loop_to_others() -> None:
    many, _ = read(0.0)
    few, batches = read(0.008)
    assert many == 64 and 1 <= few <= 3 and batches == 1


def test_so_many_bytes_wait_for_a_line_and_the_rest_is_lost() -> None:
    sent: list[int] = []
    wire = object.__new__(Wire)
    wire.socket, wire.address = object(), AT  # type: ignore[assignment]
    wire._transport = SimpleNamespace(
        is_closing=lambda: False,
        get_write_buffer_size=lambda: 1_200 * len(sent),
        sendto=lambda data, address: sent.append(len(data)),
    )
    for _ in range(20_000):
        wire.send(bytes(1_200))
    waiting = sum(sent)
    assert limits.UNSENT_DATAGRAM_BYTES < waiting <= limits.UNSENT_DATAGRAM_BYTES + 1_200
