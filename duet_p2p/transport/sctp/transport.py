"""The fast association on an event loop: the thin shell around the parts that do no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannelParameters, RTCDtlsTransport, RTCSctpCapabilities

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost, ProtocolError
from duet_p2p.transport.sctp.association import Association
from duet_p2p.transport.sctp.channels import Channels, DataChannel
from duet_p2p.transport.sctp.datagrams import DatagramPath
from duet_p2p.transport.sctp.events import Ended, Established, Event, Message
from duet_p2p.transport.sctp.internals import Wire
from duet_p2p.transport.sctp.options import Options

__all__ = ["FastSctpTransport"]


class FastSctpTransport:
    """One association over a DTLS transport of aiortc.

    Args:
        dtls: not connected yet.
        on_end: called once with the reason when the association ends by itself: None for an
            orderly end, `ConnectionLost` or `ProtocolError` otherwise.
        on_channel: called with a channel that the other side opened.
        max_message: largest message in bytes that is taken.
    """

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        on_end: Callable[[Exception | None], None],
        on_channel: Callable[[DataChannel], object],
        max_message: int = limits.MESSAGE_MAX_BYTES,
        port: int = 5000,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dtls = dtls
        self._on_end = on_end
        self._max_message = max_message
        self.port = port
        self._on_channel = on_channel
        self._association = Association(Options(port, port, max_message))
        self._channels = Channels(self._association, self._loop.time, self._wake, on_channel)
        self._path: DatagramPath | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_flushing = False
        self._is_held = False
        self._is_stopped = False
        self._packet_limit = 0
        self._is_established = False
        self._wire: Wire | None = None

    def add_channel(self, parameters: RTCDataChannelParameters) -> DataChannel:
        """A channel of ours; see `Channels.add`."""
        return self._channels.add(parameters)

    async def start(self, capabilities: RTCSctpCapabilities, port: int) -> None:
        """Begins, once DTLS is connected.

        Args:
            capabilities: largest message that the other side takes; 0: any.
            port: SCTP port of the other side.

        Raises:
            ConnectFailed: aiortc is not as expected, although its version is.
        """
        self._association.set_peer_port(port)
        self._channels.max_message = capabilities.maxMessageSize
        self._channels.first_id = 1 if self._dtls._role == "server" else 0
        # What the pump had in its queue, or reads after a change of ours, comes by this way.
        self._dtls._register_data_receiver(self)
        try:
            self._path = DatagramPath(
                self._dtls,
                self._association.receive,
                self._flush,
                self._on_wire,
                self._on_refused,
            )
        except (AttributeError, TypeError, LookupError) as problem:
            remedy = "An internal part of aiortc has changed. Use sctp='stock'."
            raise ConnectFailed(stage="channel", remedy=remedy) from problem
        self._association.start(self._loop.time())
        self._flush()

    @property
    def is_idle(self) -> bool:
        """Whether the other side has everything that was sent."""
        return self._association.is_idle

    def facts(self) -> dict[str, Any]:
        """Counters for people."""
        outbound = self._association.outbound
        facts: dict[str, Any] = {"retransmissions": outbound.retransmissions}
        if outbound.round_trip.smoothed is not None:
            facts["rtt"] = outbound.round_trip.smoothed
        path = self._path
        if path is not None:
            facts["packets_sent"] = path.packets_sent
            facts["packets_received"] = path.packets_received
            facts["bytes_sent"] = path.bytes_sent
            facts["bytes_received"] = path.bytes_received
        return facts

    async def stop(self) -> None:
        """Ends at once, with a word to the other side; may be called twice."""
        if self._is_stopped:
            return
        self._association.abort()
        self._flush()
        self._close()

    def _close(self) -> None:
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._path is not None:
            self._path.close()
            self._dtls._unregister_data_receiver(self)

    # packets

    async def _handle_data(self, data: bytes) -> None:
        """A packet that aiortc's own task has read."""
        self._association.receive(data, self._loop.time())
        self._wake()

    def _wake(self) -> None:
        if not (self._is_scheduled or self._is_held or self._is_flushing or self._path is None):
            self._is_scheduled = True
            self._loop.call_soon(self._on_turn)

    def hold(self) -> None:
        """What is sent from here on waits for `let_go`, and asks for no turn of the loop."""
        self._is_held = True

    def let_go(self) -> None:
        """Sends now what was held."""
        self._is_held = False
        self._flush()

    def _on_turn(self) -> None:
        self._is_scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Hands out what arrived and sends what can be sent, until nothing is left to do."""
        path = self._path
        if self._is_flushing or path is None:
            return
        self._is_flushing = True
        association, channels = self._association, self._channels
        outbound = association.outbound
        try:
            while self._may_flush():
                for event in association.take_events():
                    if type(event) is Message:
                        channels.receive(event)  # nearly all of them
                    else:
                        self._take(event)
                packets = association.transmit(self._loop.time())
                if packets:
                    path.send(packets, association.packet_size.size)
                probe = association.take_probe()
                if probe is not None:
                    path.send_probe(probe)
                if outbound.released:
                    released, outbound.released = outbound.released, {}
                    channels.release(released)
                elif not (packets or probe or association.events):
                    break
                if not association.has_work:
                    break
            if not self._is_stopped:
                self._set_timer()
        except ProtocolError as problem:
            self._fail(problem)
        finally:
            self._is_flushing = False

    def _may_flush(self) -> bool:
        return not self._is_stopped  # a listener may have stopped it

    def _take(self, event: Event) -> None:
        if isinstance(event, Established):
            self._packet_limit = event.packet_limit
            self._is_established = True
            self._size_packets()
        elif isinstance(event, Ended) and not self._is_stopped:
            error: Exception | None = None
            if event.is_violation:
                error = ProtocolError(event.reason or "")
            elif event.reason is not None:
                error = ConnectionLost(event.reason)
            if error is not None:
                self._on_end(error)
        self._channels.take(event)

    def _fail(self, problem: Exception) -> None:
        """The other side broke a rule of the channels."""
        self._association.abort()
        if self._path is not None:
            packets = self._association.transmit(self._loop.time())
            self._path.send(packets, self._association.packet_size.size)
        self._on_end(problem)

    def _on_wire(self, wire: Wire) -> None:
        self._wire = wire
        self._size_packets()

    def _on_refused(self, is_probe: bool) -> None:
        size, now = self._association.packet_size, self._loop.time()
        if is_probe:
            size.refused(now)
        else:
            size.fall_back(now)

    def _size_packets(self) -> None:
        """Large packets where both sides are ours and nothing but this machine is between them.

        Elsewhere the association finds out what the path takes, except behind a relay or on another
        kind of event loop: whether a packet may be cut is a matter of the socket.
        """
        size, wire = self._association.packet_size, self._wire
        if not self._is_established or wire is None:
            return
        theirs = self._packet_limit
        if wire.is_local and theirs:
            size.give(max(limits.SCTP_PACKET_BYTES, min(theirs, limits.SCTP_PACKET_MAX_BYTES)))
        elif wire.can_probe:
            most = limits.SCTP_PROBE_SIZES[0]
            size.search(min(theirs or most, most), self._loop.time())
        else:
            size.give(limits.SCTP_PACKET_BYTES)

    # time

    def _set_timer(self) -> None:
        """The timer may be early, which costs one look, but never late."""
        deadline = self._association.next_deadline()
        timer = self._timer
        if deadline is None:
            if timer is not None:
                timer.cancel()
                self._timer = None
        elif timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._is_stopped:
            return
        now, deadline = self._loop.time(), self._association.next_deadline()
        if deadline is not None and deadline <= now:  # else what was due is not due any more
            self._association.tick(now)
            self._flush()
        if self._timer is None:
            self._set_timer()
