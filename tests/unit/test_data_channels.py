"""Data channels of the fast association without a network: two associations in virtual time."""

from typing import Any

import pytest
from aiortc import RTCDataChannelParameters

from duet_p2p.errors import ConnectionLost, ProtocolError
from duet_p2p.transport.sctp.channels import Channels, DataChannel
from duet_p2p.transport.sctp.events import Established
from tests.protocol.network_kit import Network


class Two(Network):
    """Two sides with channels; sent and released by hand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.opened: list[list[DataChannel]] = [[], []]
        self.channels = [
            Channels(side, lambda: self.now, lambda: None, opened.append)
            for side, opened in zip(self.sides, self.opened, strict=True)
        ]
        self.channels[1].first_id = 1
        self.taken = [0, 0]

    def settle(self) -> None:
        for _ in range(20):
            self.run(seconds=0.05)
            for number, channels in enumerate(self.channels):
                events = self.events[number][self.taken[number] :]
                self.taken[number] += len(events)
                for event in events:
                    channels.take(event)
                outbound = self.sides[number].outbound
                released, outbound.released = outbound.released, {}
                channels.release(released)


def negotiated(number: int) -> RTCDataChannelParameters:
    return RTCDataChannelParameters(label="n", negotiated=True, id=number)


def pair() -> tuple[Two, DataChannel, DataChannel]:
    two = Two()
    mine, theirs = (channels.add(negotiated(5)) for channels in two.channels)
    two.start()
    two.settle()
    return two, mine, theirs


def test_negotiated_channels_open_with_the_association_and_carry_every_kind() -> None:
    two, mine, theirs = pair()
    assert mine.readyState == theirs.readyState == "open"
    heard: list[Any] = []
    theirs.on("message", heard.append)
    for message in (b"bytes", "text", b"", ""):
        mine.send(message)
    assert mine.bufferedAmount == len(b"bytestext") + 2
    two.settle()
    assert heard == [b"bytes", "text", b"", ""]
    assert mine.bufferedAmount == 0


def test_a_buffer_that_has_emptied_says_so_once() -> None:
    two, mine, _ = pair()
    lows: list[int] = []
    mine.on("bufferedamountlow", lambda: lows.append(mine.bufferedAmount))
    mine.send(bytes(60_000))
    two.settle()
    assert lows == [0]


def test_a_channel_is_opened_in_band_with_all_that_it_promises() -> None:
    two, _, _ = pair()
    made = two.channels[1].add(
        RTCDataChannelParameters(label="é", protocol="p", ordered=False, maxPacketLifeTime=70)
    )
    two.settle()
    [found] = two.opened[0]
    assert (made.id, found.id, made.readyState, found.readyState) == (1, 1, "open", "open")
    assert (found.label, found.protocol, found.ordered, found.max_lifetime) == ("é", "p", False, 70)


@pytest.mark.parametrize("closer", [0, 1])
def test_a_channel_closes_on_both_sides_and_the_others_go_on(closer: int) -> None:
    two, *ends = pair()
    others = [channels.add(negotiated(6)) for channels in two.channels]
    closed: list[int] = []
    for number, end in enumerate(ends):
        end.on("close", lambda number=number: closed.append(number))
    ends[closer].close()
    assert ends[closer].readyState == "closing"
    two.settle()
    assert sorted(closed) == [0, 1]
    with pytest.raises(ConnectionLost):
        ends[0].send(b"late")
    heard: list[bytes] = []
    others[1].on("message", heard.append)
    others[0].send(b"still")
    two.settle()
    assert heard == [b"still"]


def test_a_channel_is_open_or_it_refuses_to_send() -> None:
    two = Two()
    early = two.channels[0].add(negotiated(5))
    with pytest.raises(ConnectionLost):
        early.send(b"early")
    early.close()
    assert early.readyState == "closed"


@pytest.mark.parametrize("number", [-1, 65_535, None, 5])
def test_a_number_that_cannot_be_is_refused(number: int | None) -> None:
    two, _, _ = pair()
    parameters = RTCDataChannelParameters(negotiated=True, id=number)
    with pytest.raises(ValueError):
        two.channels[0].add(parameters)


def test_the_other_sides_limit_is_honoured() -> None:
    two, mine, _ = pair()
    two.channels[0].max_message = 10
    with pytest.raises(ValueError, match="11 bytes"):
        mine.send(bytes(11))
    mine.send(bytes(10))


@pytest.mark.parametrize(
    ("stream", "ppid", "data"),
    [
        (5, 50, bytes([3, *bytes(11)])),
        (9, 50, bytes([3])),
        (9, 50, bytes([3, *bytes(7), 0, 9, 0, 0]) + b"short"),
        (9, 50, bytes([3, *bytes(7), 0, 1, 0, 0]) + b"\xff"),
        (5, 51, b"\xff"),
    ],
    ids=["open again", "no description", "name cut off", "name not UTF-8", "text not UTF-8"],
)
def test_what_is_not_of_the_protocol_is_an_error(stream: int, ppid: int, data: bytes) -> None:
    two, _, _ = pair()
    two.sides[0].send(stream, ppid, data)
    with pytest.raises(ProtocolError):
        two.settle()


def test_the_end_of_the_association_closes_every_channel() -> None:
    two, mine, theirs = pair()
    waiting = two.channels[0].add(RTCDataChannelParameters(label="in band"))
    two.sides[1].abort()
    two.settle()
    assert {mine.readyState, theirs.readyState, waiting.readyState} == {"closed"}
    assert any(isinstance(event, Established) for event in two.events[0])
