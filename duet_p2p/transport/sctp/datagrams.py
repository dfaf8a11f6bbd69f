"""The way of packets between an association and the network, which is where the speed comes from.

A datagram costs some twenty microseconds in asyncio, and a system call each. Here the socket is
emptied at one wake-up, the kernel hands over runs of datagrams as one buffer (GRO) and takes
them so (GSO), and records pass between OpenSSL and the socket without a queue or a task. Where
that is not to be had (a relay, another event loop, an old kernel) the same packets go one by one.

ICE keeps the socket: its own messages are passed on, and when it changes the pair, packets follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

from aiortc import RTCDtlsTransport

from duet_p2p import limits
from duet_p2p.transport.sctp.fragmentation import Cutting, Scissors
from duet_p2p.transport.sctp.internals import Diversion, Records, Wire, wire_of

__all__ = ["DatagramPath"]

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_CONTROL_BYTES: Final = 64
_STUN_FIRST_BYTES: Final = 4  # RFC 7983: below it STUN, 20 to 63 DTLS
_APPLICATION_DATA: Final = 23
_TURN_BYTES: Final = 512 * 1024  # read until the event loop has its turn …
_TURN_READS: Final = 64  # … or so many datagrams that came one by one …
_TURN_SECONDS: Final = 0.02  # … or for so long: a packet can hold thousands of tiny chunks
_BATCH_BYTES: Final = 128 * 1024  # after which what follows from them is sent …
_BATCH_READS: Final = 16  # … or so many reads
_RUN_BYTES: Final = 65_000
_RUN_PACKETS: Final = 60
_RECORD_BYTES: Final = 64  # that a record adds to a packet, and more
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.EINVAL)  # the latter for a run


class DatagramPath:
    """Sends and receives the packets of one association over a connected DTLS transport.

    Args:
        dtls: connected.
        on_packet: called with each packet that arrived, and the loop's time.
        on_batch: called after the packets that one wake-up brought.
        on_wire: called with the wire in use, at the start and when ICE has changed it.
        on_refused: called when this machine does not send packets of a size on the path, with
            whether that was a probe.

    Attributes:
        packets_sent, packets_received, bytes_sent, bytes_received: counters, of datagrams.
    """

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        on_packet: Callable[[bytes, float], None],
        on_batch: Callable[[], None],
        on_wire: Callable[[Wire], None],
        on_refused: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dtls = dtls
        self._on_packet = on_packet
        self._on_batch = on_batch
        self._on_wire = on_wire
        self._on_refused = on_refused
        self._records = Records(dtls)
        self._diversion = Diversion(dtls, self._take)
        self._wire: Wire | None = None
        self._scissors: dict[object, Scissors] = {}  # by protocol, of sockets that are read here
        self._has_segmentation = True
        self._is_scheduled = False
        self._is_closed = False
        self.packets_sent = self.packets_received = 0
        self.bytes_sent = self.bytes_received = 0
        self._follow()

    def close(self) -> None:
        """Takes nothing any more; what still arrives is passed on."""
        self._is_closed = True
        self._diversion.end()

    def _follow(self) -> Wire | None:
        """The wire in use; looks whether ICE has changed it."""
        wire = wire_of(self._dtls, self._wire)
        if wire is self._wire or wire is None:
            return wire
        self._wire = wire
        if wire.socket is not None and not wire.is_closed:
            self._prepare(wire, wire.socket)
        self._on_wire(wire)
        return wire

    def _prepare(self, wire: Wire, udp: socket.socket) -> None:
        if wire.protocol in self._scissors:
            return
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            udp.setsockopt(socket.SOL_SOCKET, option, limits.UDP_BUFFER_BYTES)
        with contextlib.suppress(OSError):
            # Linux before 5.0 has it not: datagrams come one by one, the rest is the same.
            udp.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        self._scissors[wire.protocol] = Scissors(udp)
        wire.take_over(self._loop, lambda: self._on_readable(wire, udp))

    # receiving

    def _on_readable(self, wire: Wire, udp: socket.socket) -> None:
        inbox = [self._records.inbox]
        left, unsaid = _TURN_BYTES, 0
        until = self._loop.time() + _TURN_SECONDS
        for read in range(1, _TURN_READS + 1):
            if left <= 0 or wire.is_closed or self._loop.time() > until:
                break
            try:
                size, control, _, address = udp.recvmsg_into(inbox, _CONTROL_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as problem:
                wire.report(problem)
                break
            left -= size
            unsaid += size
            self._split(wire, size, control, address)
            if unsaid >= _BATCH_BYTES or not read % _BATCH_READS:
                unsaid = 0
                self._on_batch()
        if not self._is_closed:
            self._on_batch()

    def _split(
        self,
        wire: Wire,
        size: int,
        control: list[tuple[int, int, bytes]],
        address: tuple[str, int],
    ) -> None:
        """Takes the datagrams of one read."""
        segment = size
        for level, kind, data in control:
            if (level, kind) == (_SOL_UDP, _UDP_GRO):
                segment = struct.unpack_from("=i", data)[0] or size
        records, on_packet, now = self._records, self._on_packet, self._loop.time()
        inbox = records.inbox
        count = 0
        for start in range(0, size, segment or 1):
            length = min(segment, size - start)
            kind = inbox[start]
            if self._is_closed or not _is_data(kind):
                datagram = bytes(inbox[start : start + length])
                if kind < _STUN_FIRST_BYTES or self._is_closed:
                    wire.pass_on(datagram, address)
                else:
                    self._diversion.pass_on(datagram)
                continue
            count += 1
            packet = records.open_at(start, length)
            if packet:
                on_packet(packet, now)
            else:
                self._answer(packet)
        self.bytes_received += size
        self.packets_received += count

    def _take(self, datagram: bytes) -> bool:
        """A datagram that came the ordinary way."""
        if self._is_closed or not datagram or not _is_data(datagram[0]):
            return False
        self.packets_received += 1
        self.bytes_received += len(datagram)
        packet = self._records.open(datagram)
        if packet:
            self._on_packet(packet, self._loop.time())
        else:
            self._answer(packet)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._end_of_turn)
        return True

    def _end_of_turn(self) -> None:
        self._is_scheduled = False
        if not self._is_closed:
            self._on_batch()

    def _answer(self, packet: bytes | None) -> None:
        """Whatever a record means that is no packet."""
        if packet is None:
            self._diversion.close_pump()
        answer = self._records.pending()
        if answer and self._wire is not None:
            self._wire.send(answer)

    # sending

    def send(self, packets: list[bytes], whole: int) -> None:
        """Sends packets in order. One that finds no way is a lost packet.

        Args:
            packets: of any size.
            whole: bytes; what is larger was made for a wider path, and may be cut on this one.
        """
        wire = self._follow()
        if wire is None:
            return
        udp = wire.socket
        can_run = udp is not None and self._has_segmentation
        start, count = 0, len(packets)
        while start < count:
            size = len(packets[start])
            end = start + 1
            if size > whole:
                self._send_single(wire, packets[start], Cutting.ALWAYS)
                start = end
                continue
            if can_run:
                last = min(count, start + min(_RUN_PACKETS, max(_RUN_BYTES // (size + 64), 1)))
                while end < last and len(packets[end - 1]) == size >= len(packets[end]):
                    end += 1
            data, segment = self._records.seal(packets, start, end)
            self.packets_sent += end - start
            self.bytes_sent += len(data)
            if segment:
                self._send_run(wire, udp, data, segment)
            start = end

    def send_probe(self, packet: bytes) -> None:
        """Sends a packet that arrives whole or not at all."""
        wire = self._follow()
        if wire is not None and wire.can_probe:
            self._send_single(wire, packet, Cutting.NEVER)

    def _send_single(self, wire: Wire, packet: bytes, cutting: Cutting) -> None:
        data, size = self._records.seal([packet], 0, 1)
        if not size:
            return
        self.packets_sent += 1
        self.bytes_sent += size
        if wire.socket is None or wire.is_closed:
            wire.send(bytes(data))
            return
        try:
            self._scissors[wire.protocol].set(cutting)
            wire.socket.sendmsg([data], [], 0, wire.address)
        except (BlockingIOError, InterruptedError):
            pass  # no room: a lost packet
        except OSError as problem:
            if cutting is Cutting.NEVER:
                self._on_refused(True)
            else:
                wire.report(problem)

    def _send_run(
        self, wire: Wire, udp: socket.socket | None, data: memoryview, segment: int
    ) -> None:
        if udp is not None and not wire.is_closed:
            control = []
            if segment < len(data):
                control = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", segment))]
            is_large = segment > limits.SCTP_PACKET_BYTES + _RECORD_BYTES and not wire.is_local
            scissors = self._scissors[wire.protocol]
            try:
                scissors.set(Cutting.NEVER if is_large else Cutting.BY_PATH)
                udp.sendmsg([data], control, 0, wire.address)
                return
            except (BlockingIOError, InterruptedError):
                pass  # the event loop keeps them until there is room
            except OSError as problem:
                if is_large and problem.errno in _TOO_LARGE:
                    self._on_refused(False)  # the path is narrower than it was: the kernel cuts
                    scissors.set(Cutting.ALWAYS)
                elif control:
                    self._has_segmentation = False  # this kernel, or this network card, cannot
                else:
                    wire.report(problem)
                    return
        for start in range(0, len(data), segment):
            wire.send(bytes(data[start : start + segment]))


def _is_data(first_byte: int) -> bool:
    """Whether a datagram is a DTLS record of data: the 1.2 kind, or the unified one of 1.3."""
    return first_byte == _APPLICATION_DATA or 32 <= first_byte < 64
