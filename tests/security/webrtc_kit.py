"""Two handshakes over a malicious relay, with real sockets and real WebRTC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from duet_p2p import limits
from duet_p2p.identity.keys import Key
from duet_p2p.transport.signaling import WebSocketSignaling
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.handshake_kit import Side, until
from tests.security.malicious_relay import MaliciousRelay

OPERATION = b"\x92\x01secret operation"
PATIENCE = 10.0
SILENCE = 0.3  # how long a test waits for what must not happen
TIMES = {
    "CONNECT_SECONDS": 5.0,
    "CONFIRM_SECONDS": 2.0,
    "JOIN_RESEND_SECONDS": 0.05,
    "JOIN_RESEND_MAX_SECONDS": 0.1,
    "RETRY_SECONDS": 0.02,
    "RECONNECT_MAX_SECONDS": 0.05,
}


def speed_up(monkeypatch) -> None:
    """Short time limits, but long enough for real connections on a busy machine."""
    for name, seconds in TIMES.items():
        monkeypatch.setattr(limits, name, seconds)


class Peers:
    """Makes the peers of both sides, and counts them."""

    def __init__(self, owner: type[WebRtcPeer], scientist: type[WebRtcPeer]) -> None:
        self.kinds = {"owner": owner, "scientist": scientist}
        self.made = {"owner": 0, "scientist": 0}

    def __call__(self, *, controlling: bool, **options: Any) -> WebRtcPeer:
        role = "owner" if controlling else "scientist"
        self.made[role] += 1
        return self.kinds[role](controlling=controlling, **options)


def side(relay: MaliciousRelay, peers: Peers, key: Key, **options: Any) -> Side:
    return Side(None, peers, key, signaling=WebSocketSignaling(relay.url, key), **options)


@asynccontextmanager
async def victims(
    relay: MaliciousRelay,
    *,
    owner_key: Key | None = None,
    scientist_key: Key | None = None,
    owner_peer: type[WebRtcPeer] = WebRtcPeer,
    scientist_peer: type[WebRtcPeer] = WebRtcPeer,
    **options: Any,
) -> AsyncIterator[tuple[Side, Side, Peers]]:
    """An owner who expects a scientist, who was told the right session ID; both at `relay`."""
    owner_key = owner_key or Key.fresh("owner")
    scientist_key = scientist_key or Key.fresh("scientist")
    peers = Peers(owner_peer, scientist_peer)
    o = side(relay, peers, owner_key, expected=[scientist_key.id], **options)
    s = side(relay, peers, scientist_key, partner_id=owner_key.id)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: problems.append(found))
    try:
        await o.handshake.start()
        await s.handshake.start()
        yield o, s, peers
    finally:
        await asyncio.gather(o.handshake.close(), s.handshake.close())
    assert problems == []


def assert_nothing_opened(*sides: Side) -> None:
    for one in sides:
        assert one.links == [] and one.frames == [] and one.handshake.link is None
        assert one.handshake.pinned is None


async def assert_alive(o: Side, s: Side) -> None:
    """The link that is open still carries frames both ways."""
    o.handshake.link.peer.send(0, b"to the scientist")
    s.handshake.link.peer.send(1, b"to the owner")
    await until(lambda: (0, b"to the scientist") in s.frames and (1, b"to the owner") in o.frames)
