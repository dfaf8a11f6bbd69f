"""Data channels over an association (RFC 8831), opened in band (RFC 8832) or agreed beforehand.

No I/O here either: events of the association go in, calls to the association come out. A channel
has the face of aiortc's RTCDataChannel as far as it is used, so that either may carry frames.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from struct import Struct, error
from typing import Any, Final, Literal

from aiortc import RTCDataChannelParameters

from duet_p2p.errors import ConnectionLost, ProtocolError
from duet_p2p.transport.sctp.association import Association
from duet_p2p.transport.sctp.events import (
    Ended,
    Established,
    Event,
    Message,
    StreamsReset,
    StreamsRestarted,
)
from duet_p2p.transport.sctp.outgoing import Outgoing
from duet_p2p.transport.sctp.states import SENDS_DATA

__all__ = ["Channels", "DataChannel"]

_OPEN: Final = Struct("!BBHLHH")  # message, type, priority, reliability, label, protocol
_OPEN_MESSAGE: Final = 3
_ACK_MESSAGE: Final = 2
_UNORDERED: Final = 0x80
_REXMIT: Final = 1
_TIMED: Final = 2


class Ppid(IntEnum):
    """Payload protocols of WebRTC."""

    DCEP = 50
    TEXT = 51
    BINARY = 53
    TEXT_EMPTY = 56
    BINARY_EMPTY = 57


_BINARY: Final = int(Ppid.BINARY)

ReadyState = Literal["connecting", "open", "closing", "closed"]
Listener = Callable[..., object]


class DataChannel:
    """One channel.

    Attributes:
        id: stream number; None until an in-band channel gets one.
        bufferedAmount: bytes that were handed over and are not cut into packets yet.
        readyState: as in the browser.
    """

    def __init__(self, owner: Channels, parameters: RTCDataChannelParameters) -> None:
        self._owner = owner
        self.id = parameters.id
        self.label = parameters.label
        self.protocol = parameters.protocol
        self.negotiated = parameters.negotiated
        self.ordered = parameters.ordered
        self.max_retransmits = parameters.maxRetransmits
        self.max_lifetime = parameters.maxPacketLifeTime
        self.readyState: ReadyState = "connecting"
        self.bufferedAmount = 0
        self.resets = 0  # bit 1: theirs, bit 2: ours
        self._listeners: dict[str, Listener] = {}

    def on(self, event: str, listener: Listener) -> None:
        """Sets the listener of ``open``, ``message``, ``bufferedamountlow`` or ``close``."""
        self._listeners[event] = listener

    def emit(self, event: str, *arguments: Any) -> None:
        """Calls the listener of an event, if there is one."""
        listener = self._listeners.get(event)
        if listener is not None:
            listener(*arguments)

    def send(self, data: bytes | str) -> None:
        """Queues one message.

        Raises:
            ConnectionLost: the channel is not open.
            ValueError: the message is larger than the other side takes.
        """
        self._owner.send(self, data)

    def close(self) -> None:
        """Ends the channel after what was sent; the association goes on."""
        self._owner.close(self)

    def become(self, state: ReadyState) -> None:
        """Moves to a state and tells who listens."""
        if state == self.readyState:
            return
        self.readyState = state
        if state == "open":
            self.emit("open")
        elif state == "closed":
            self.emit("close")
            self._listeners.clear()


class Channels:
    """All channels of one association.

    Args:
        association: not started yet.
        clock: the time that `association` is driven by, in seconds.
        wake: called when there is something to transmit.
        on_channel: called with a channel that the other side opened.

    Attributes:
        max_message: bytes of the largest message that the other side takes; 0: any.
        first_id: 0 for the DTLS client, 1 for the server: parity of channels opened in band.
    """

    def __init__(
        self,
        association: Association,
        clock: Callable[[], float],
        wake: Callable[[], None],
        on_channel: Callable[[DataChannel], object],
    ) -> None:
        self._association = association
        self._clock = clock
        self._wake = wake
        self._on_channel = on_channel
        self._channels: dict[int, DataChannel] = {}
        self._unnumbered: list[DataChannel] = []
        self.max_message = 0
        self.first_id = 0

    def add(self, parameters: RTCDataChannelParameters) -> DataChannel:
        """A channel of ours; `negotiated` ones have their number, others are opened in band.

        Raises:
            ValueError: the number is missing, out of range, or in use.
        """
        channel = DataChannel(self, parameters)
        number = channel.id
        if number is not None and (not 0 <= number <= 65_534 or number in self._channels):
            raise ValueError(f"A data channel cannot have the number {number}.")
        if number is not None:
            self._channels[number] = channel
        elif channel.negotiated:
            raise ValueError("A negotiated data channel needs a number.")
        if self._association.state in SENDS_DATA:
            self._begin(channel)
        elif number is None:
            self._unnumbered.append(channel)
        return channel

    def send(self, channel: DataChannel, data: bytes | str) -> None:
        """Queues one message; see `DataChannel.send`."""
        if channel.readyState != "open" or channel.id is None:
            raise ConnectionLost("The data channel is not open.")
        ppid: int
        if isinstance(data, str):
            ppid, body = (Ppid.TEXT, data.encode()) if data else (Ppid.TEXT_EMPTY, b"\0")
        else:
            ppid, body = (_BINARY, data) if data else (Ppid.BINARY_EMPTY, b"\0")
        size = len(body)
        if self.max_message and size > self.max_message:
            raise ValueError(f"a message of {size} bytes; at most {self.max_message} fit")
        expires = None
        if channel.max_lifetime is not None:
            expires = self._clock() + channel.max_lifetime / 1000
        channel.bufferedAmount += size
        message = Outgoing(
            channel.id, ppid, body, channel.ordered, channel.max_retransmits, expires
        )
        self._association.post(message)
        self._wake()

    def close(self, channel: DataChannel) -> None:
        """Ends a channel; see `DataChannel.close`."""
        if channel.readyState in ("closing", "closed"):
            return
        if channel.id is None or self._association.state not in SENDS_DATA:
            if channel in self._unnumbered:
                self._unnumbered.remove(channel)
            self._forget(channel)
            return
        channel.become("closing")
        self._association.reset_stream(channel.id)
        self._wake()

    # events

    def take(self, event: Event) -> None:
        """Takes one event of the association.

        Raises:
            ProtocolError: the other side sent what is not of the protocol.
        """
        match event:
            case Message():
                self.receive(event)
            case Established():
                for channel in [*self._channels.values(), *self._unnumbered]:
                    self._begin(channel)
                self._unnumbered.clear()
            case StreamsReset(streams):
                for channel in self._find(streams or tuple(self._channels)):
                    self.close(channel)
                    self._reset(channel, 1)
            case StreamsRestarted(streams):
                for channel in self._find(streams):
                    self._reset(channel, 2)
            case Ended():
                for channel in [*self._channels.values(), *self._unnumbered]:
                    self._forget(channel)
                self._unnumbered.clear()

    def release(self, released: dict[int, int]) -> None:
        """Bytes by stream were cut into packets."""
        for number, size in released.items():
            channel = self._channels.get(number)
            if channel is not None and channel.bufferedAmount:
                channel.bufferedAmount = max(channel.bufferedAmount - size, 0)
                if not channel.bufferedAmount:
                    channel.emit("bufferedamountlow")

    def _find(self, streams: tuple[int, ...]) -> list[DataChannel]:
        return [self._channels[number] for number in streams if number in self._channels]

    def receive(self, message: Message) -> None:
        """Takes a message; see `take`."""
        channel = self._channels.get(message.stream)
        ppid = message.ppid
        if ppid == _BINARY and channel is not None:
            channel.emit("message", message.data)
        elif ppid == Ppid.DCEP:
            self._receive_dcep(message)
        elif channel is None:
            return
        elif ppid == Ppid.TEXT:
            try:
                text = message.data.decode()
            except UnicodeDecodeError:
                raise ProtocolError("The partner sent text that is not UTF-8.") from None
            channel.emit("message", text)
        elif ppid == Ppid.BINARY_EMPTY:
            channel.emit("message", b"")
        elif ppid == Ppid.TEXT_EMPTY:
            channel.emit("message", "")

    def _reset(self, channel: DataChannel, side: int) -> None:
        channel.resets |= side
        if channel.resets == 3:
            self._forget(channel)

    def _forget(self, channel: DataChannel) -> None:
        if channel.id is not None and self._channels.get(channel.id) is channel:
            del self._channels[channel.id]
        channel.become("closed")

    # opening in band

    def _begin(self, channel: DataChannel) -> None:
        if channel.negotiated:
            channel.become("open")
            return
        if channel.id is None:
            number = self.first_id
            while number in self._channels:
                number += 2
            channel.id = number
            self._channels[number] = channel
        kind, reliability = 0, 0
        if channel.max_retransmits is not None:
            kind, reliability = _REXMIT, channel.max_retransmits
        elif channel.max_lifetime is not None:
            kind, reliability = _TIMED, channel.max_lifetime
        if not channel.ordered:
            kind |= _UNORDERED
        label, protocol = channel.label.encode(), channel.protocol.encode()
        head = _OPEN.pack(_OPEN_MESSAGE, kind, 0, reliability, len(label), len(protocol))
        self._association.send(channel.id, Ppid.DCEP, head + label + protocol)
        self._wake()

    def _receive_dcep(self, message: Message) -> None:
        if message.data[0] == _ACK_MESSAGE:
            channel = self._channels.get(message.stream)
            if channel is not None and channel.readyState == "connecting":
                channel.become("open")
            return
        if message.data[0] != _OPEN_MESSAGE:
            return
        if message.stream in self._channels:
            raise ProtocolError("The partner opened a channel that is open.")
        channel = DataChannel(self, _parse_open(message))
        self._channels[message.stream] = channel
        self._association.send(message.stream, Ppid.DCEP, bytes([_ACK_MESSAGE]))
        channel.become("open")
        self._on_channel(channel)


def _parse_open(message: Message) -> RTCDataChannelParameters:
    data = message.data
    try:
        _, kind, _, reliability, label_size, protocol_size = _OPEN.unpack_from(data)
    except error:
        raise ProtocolError("The partner opened a channel without a description.") from None
    label = data[_OPEN.size : _OPEN.size + label_size]
    protocol = data[_OPEN.size + label_size : _OPEN.size + label_size + protocol_size]
    if len(label) + len(protocol) != label_size + protocol_size:
        raise ProtocolError("The partner opened a channel whose name is cut off.")
    try:
        return RTCDataChannelParameters(
            label=label.decode(),
            protocol=protocol.decode(),
            ordered=not kind & _UNORDERED,
            maxRetransmits=reliability if kind & 3 == _REXMIT else None,
            maxPacketLifeTime=reliability if kind & 3 == _TIMED else None,
            id=message.stream,
        )
    except UnicodeDecodeError:
        raise ProtocolError("The partner opened a channel whose name is not UTF-8.") from None
