"""Two handshakes in one loop, over a relay and a network in memory."""

import asyncio
from contextlib import asynccontextmanager

from duet_p2p import limits
from duet_p2p.identity.keys import Key
from duet_p2p.session.handshake import Handshake
from duet_p2p.transport.memory import MemoryNetwork, MemoryRelay

CAPS = b'{"v":1,"sw":"test","max_msg":65536,"ops":"00","conf":1}'
HEAD = b"h" * 32
FAST = {
    "GATHER_SECONDS": 0.5,
    "CONNECT_SECONDS": 0.3,
    "CONFIRM_SECONDS": 0.3,
    "JOIN_RESEND_SECONDS": 0.03,
    "JOIN_RESEND_MAX_SECONDS": 0.1,
    "JOIN_RENEW_SECONDS": 0.6,
    "RETRY_SECONDS": 0.02,
    "RECONNECT_MAX_SECONDS": 0.05,
}


def speed_up(monkeypatch) -> None:
    """Makes every time limit of pairing short."""
    for name, seconds in FAST.items():
        monkeypatch.setattr(limits, name, seconds)


class Side:
    """One handshake and everything that it told its session."""

    def __init__(self, relay, network, key, *, attach=True, **arguments) -> None:
        self.key = key
        self.links = []
        self.frames = []
        self.closed = []
        self.events = []
        self.attach = attach
        self.signaling = arguments.pop("signaling", None) or relay.end(key.id)
        self.handshake = Handshake(
            key=key,
            caps=arguments.pop("caps", CAPS),
            signaling=self.signaling,
            make_peer=network,
            on_link=self._on_link,
            on_event=self.events.append,
            audit_head=lambda: HEAD,
            **arguments,
        )

    def _on_link(self, link) -> None:
        self.links.append(link)
        if self.attach:
            self.listen(link)

    def listen(self, link) -> None:
        link.attach(lambda channel, data: self.frames.append((channel, data)), self.closed.append)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def pair(relay=None, network=None, *, owner=None, scientist=None, start=True):
    """An owner who expects a scientist, both started; closed at the end."""
    relay, network = relay or MemoryRelay(), network or MemoryNetwork()
    owner_key, scientist_key = Key.fresh("owner"), Key.fresh("scientist")
    o = Side(relay, network, owner_key, **{"expected": [scientist_key.id], **(owner or {})})
    scientist = {"partner_id": owner_key.id, **(scientist or {})}
    s = Side(relay, scientist.pop("network", network), scientist_key, **scientist)
    try:
        if start:
            await o.handshake.start()
            await s.handshake.start()
        yield o, s
    finally:
        await o.handshake.close()
        await s.handshake.close()


async def both(o, s, timeout=5.0):
    """The two ends of the open link."""
    return await asyncio.gather(o.handshake.wait(timeout), s.handshake.wait(timeout))


async def until(condition, timeout=5.0) -> None:
    """Waits for something that callbacks bring about."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)
