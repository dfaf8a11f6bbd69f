"""The expected partner misbehaves on the channel: a raw peer over real WebRTC, with the right key.

Each attack has one line that says what the partner hopes for. The association is closed, nothing of
what was sent is delivered, and the honest side has a typed error.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, WEBRTC_STRING

from duet_p2p import limits
from duet_p2p.errors import ConfirmFailed, ConnectFailed, DuetError, ProtocolError
from duet_p2p.protocol.effects import AttemptFailed, LinkClosed
from duet_p2p.protocol.proofs import Ready, parse_proof
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.handshake_kit import Side, both, until
from tests.sctp_kit import inject
from tests.security.malicious_relay import MaliciousRelay, running
from tests.security.webrtc_kit import (
    OPERATION,
    PATIENCE,
    assert_alive,
    assert_nothing_opened,
    speed_up,
    victims,
)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    speed_up(monkeypatch)


class RawPeer(WebRtcPeer):
    """Proves the right key, and then says something else than it should.

    `instead` is called with this peer and each proof that the honest code would send.
    """

    instead: Callable[["RawPeer", bytes], None]

    def send(self, channel: int, data: bytes) -> None:
        if channel == 0 and is_a_proof(data):
            self.instead(data)
        else:
            super().send(channel, data)

    def say(self, *messages: tuple[int, bytes]) -> None:
        for channel, data in messages:
            super().send(channel, data)

    def say_as(self, stream: int, kind: int, data: bytes) -> None:
        """Past the channels, as a program of one's own could."""
        self._said = asyncio.ensure_future(inject(self, stream, kind, data))


def is_a_proof(data: bytes) -> bool:
    try:
        parse_proof(data)
    except ValueError:
        return False
    return True


def is_ready(data: bytes) -> bool:
    return isinstance(parse_proof(data), Ready)


def raw(instead: Callable[[RawPeer, bytes], None]) -> type[RawPeer]:
    return type("Raw", (RawPeer,), {"instead": instead})


def at_confirm(*make: Callable[[bytes], tuple[int, bytes]]) -> type[RawPeer]:
    """Other messages in place of the confirm; the ready is right."""
    return raw(
        lambda peer, data: peer.say(*([(0, data)] if is_ready(data) else (m(data) for m in make)))
    )


def past_the_channels(stream: int, kind: int, data: bytes) -> type[RawPeer]:
    """Once, in place of the confirm, what a program of one's own can send."""
    return raw(lambda peer, proof: None if is_ready(proof) else peer.say_as(stream, kind, data))


def at_ready(*make: Callable[[bytes], tuple[int, bytes]]) -> type[RawPeer]:
    """The right confirm, then other messages in place of the ready."""
    return raw(
        lambda peer, data: peer.say(*(m(data) for m in make) if is_ready(data) else [(0, data)])
    )


CONFIRM = lambda data: (0, data)
EXTRA = bytes([DATA_CHANNEL_OPEN, *bytes(8), 5, 0, 0]) + b"extra"


def other_role(data: bytes) -> bytes:
    confirm = parse_proof(data)
    return replace(confirm, role="owner" if confirm.role == "scientist" else "scientist").encode()


def unsigned(data: bytes) -> bytes:
    return replace(parse_proof(data), sig=bytes(64)).encode()


def other_th(data: bytes) -> bytes:
    return replace(parse_proof(data), th=bytes(32)).encode()


def other_head(data: bytes) -> bytes:
    return replace(parse_proof(data), audit_head=b"a" * 32).encode()


RAW = {
    "operation before confirm": ("it runs unproved", at_confirm(lambda d: (1, OPERATION), CONFIRM)),
    "bulk before confirm": ("it is stored", at_confirm(lambda d: (2, OPERATION), CONFIRM)),
    "operation on channel 0": ("any frame is taken", at_confirm(lambda d: (0, OPERATION), CONFIRM)),
    "flood before confirm": (
        "memory fills up",
        at_confirm(*[lambda d: (2, bytes(60_000))] * 20, CONFIRM),
    ),
    "confirm twice": ("states are confused", at_confirm(CONFIRM, CONFIRM)),
    "wrong th": ("any transcript will do", at_confirm(lambda d: (0, other_th(d)))),
    "unsigned confirm": ("the hash is enough", at_confirm(lambda d: (0, unsigned(d)))),
    "confirm in the other's role": (
        "roles are not bound",
        at_confirm(lambda d: (0, other_role(d))),
    ),
    "another audit head": ("the head is not bound", at_confirm(lambda d: (0, other_head(d)))),
    "a byte after confirm": ("the rest is parsed later", at_confirm(lambda d: (0, d + b"\0"))),
    "too long a confirm": ("long frames are parsed", at_confirm(lambda d: (0, d + bytes(1024)))),
    "ready first": ("ready implies confirm", at_confirm(lambda d: (0, Ready(bytes(32)).encode()))),
    "no confirm": ("silence is taken for it", at_confirm()),
    "no ready": ("confirm alone opens", at_ready()),
    "ready of another transcript": (
        "its hash is not read",
        at_ready(lambda d: (0, Ready(bytes(32)).encode())),
    ),
    "operation for ready": ("it runs at once", at_ready(lambda d: (0, OPERATION))),
    "operation and no ready": ("what overtakes ready runs", at_ready(lambda d: (1, OPERATION))),
    "text on a channel": (
        "strings take another way",
        past_the_channels(0, WEBRTC_STRING, b"confirm"),
    ),
    "extra channel before confirm": (
        "a channel that nobody guards",
        past_the_channels(3, WEBRTC_DCEP, EXTRA),
    ),
}


BY_TRANSPORT = {"flood before confirm", "text on a channel", "extra channel before confirm"}


def failures(one: Side) -> list[DuetError]:
    return [event.error for event in one.told(AttemptFailed) + one.told(LinkClosed)]


@pytest.mark.parametrize("liar", ["scientist", "owner"])
@pytest.mark.parametrize("name", RAW)
async def test_a_partner_who_breaks_the_order_is_closed_and_nothing_is_delivered(
    name, liar, monkeypatch
):
    if name in ("no confirm", "no ready", "operation and no ready"):
        monkeypatch.setattr(limits, "CONFIRM_SECONDS", 0.3)
    peer = {f"{liar}_peer": RAW[name][1]}
    async with running(MaliciousRelay()) as relay, victims(relay, **peer) as (o, s, _):
        honest = o if liar == "scientist" else s
        await until(lambda: failures(honest), PATIENCE)
        # Before the channels are open on its side too, the transport names the reason itself.
        expected = (ConfirmFailed, ProtocolError) if name in BY_TRANSPORT else ConfirmFailed
        assert isinstance(failures(honest)[0], expected), failures(honest)
        assert_nothing_opened(honest)


async def test_a_partner_who_hangs_up_instead_of_confirming_is_reported_as_that():
    """Not as a missing path between the networks, which would send people after the wrong cause."""

    def hang_up(peer, data):
        peer._said = asyncio.ensure_future(peer.close())

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=raw(hang_up)) as (o, _, _),
    ):
        await until(lambda: failures(o), PATIENCE)
        error = failures(o)[0]
        assert isinstance(error, ConnectFailed) and error.stage == "channel"
        assert "ended the connection before it was confirmed" in str(error)
        assert_nothing_opened(o)


async def test_the_confirm_of_an_earlier_association_opens_nothing():
    """The partner hopes that an old confirm is as good as a new one."""
    first: list[bytes] = []

    def replay(peer, data):
        if not is_ready(data):
            first.append(data)
            data = first[0]
        peer.say((0, data))

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=raw(replay)) as (o, s, _),
    ):
        await both(o, s, PATIENCE)
        s.handshake.link_lost()
        await until(lambda: any(isinstance(e, ConfirmFailed) for e in failures(o)), PATIENCE)
        assert len(o.links) == 1 and o.frames == []


async def test_the_honest_sides_own_confirm_sent_back_opens_nothing():
    """The partner hopes that any confirm of this association will do, also the receiver's own."""

    echoed: list[bytes] = []

    class Mirror(WebRtcPeer):
        on_frame = property(lambda self: None, lambda self, _: self.listen())

        def send(self, channel: int, data: bytes) -> None:
            """Says nothing of its own."""

        def listen(self) -> None:
            def echo(channel: int, data: bytes) -> None:
                echoed.append(data)
                WebRtcPeer.send(self, channel, data)

            self._inbox.listener = echo

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=Mirror) as (o, _, _),
    ):
        await until(lambda: failures(o), PATIENCE)
        assert isinstance(failures(o)[0], ConfirmFailed) and not is_ready(echoed[0])
        assert_nothing_opened(o)


@pytest.mark.parametrize("name", ["confirm", "ready", "extra channel", "text"])
async def test_an_open_link_ends_when_the_partner_starts_over_on_it(name):
    """The partner hopes to change who or what was agreed, once it is open."""
    sent: dict[str, bytes] = {}

    def note(peer, data):
        sent["ready" if is_ready(data) else "confirm"] = data
        peer.say((0, data))

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=raw(note)) as (o, s, _),
    ):
        owners, scientists = await both(o, s, PATIENCE)
        peer = scientists.peer
        if name in sent:
            peer.say((0, sent[name]))
        elif name == "text":
            peer.say_as(1, WEBRTC_STRING, b"text")
        else:
            peer.say_as(3, WEBRTC_DCEP, EXTRA)
        await until(lambda: not owners.is_open)
        assert isinstance(o.closed[0], ProtocolError) and o.frames == []


async def test_control_what_an_honest_partner_says_is_delivered():
    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, peers):
        await both(o, s, PATIENCE)
        await assert_alive(o, s)
        assert peers.made == {"owner": 1, "scientist": 1}
