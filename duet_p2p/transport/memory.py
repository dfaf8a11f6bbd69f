"""Peers and signalling without a network: for tests, and for two sessions in one process.

They keep the promises of the real ones, so that what works here works there: frames are ordered
per channel, channel 0 goes first, what is queued counts as buffered until it was delivered, the
certificate's fingerprint comes from the other side and not from its description. Two peers may
belong to two event loops in two threads.

What goes wrong in a network can be made to go wrong: `MemoryPeer.lose`, `MemoryPeer.pause`, and
the relay's `tamper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost
from duet_p2p.transport.base import Candidate, Channel, Description, Path
from duet_p2p.transport.inbox import Inbox
from duet_p2p.transport.outbox import Outbox
from duet_p2p.transport.remedies import connect_failed

__all__ = ["MemoryNetwork", "MemoryPeer", "MemoryRelay", "MemorySignaling", "memory_pair"]

# Called with (from, to, body): the bodies to deliver instead, none to drop, two to duplicate.
Tamper = Callable[[str, str, bytes], Iterable[bytes]]

_QUEUED_BODIES = 16  # for a partner who is not there, as the real server does


class MemoryNetwork:
    """Where peers find each other by their ICE user names. Its instances are peer factories."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, MemoryPeer] = {}

    def __call__(
        self,
        *,
        controlling: bool,
        ice_servers: Sequence[dict[str, Any]] = (),
        loopback: bool = False,
        relay_only: bool = False,
    ) -> MemoryPeer:
        """Makes a peer; servers and addresses mean nothing here."""
        return MemoryPeer(self, controlling=controlling)

    def _meet(self, peer: MemoryPeer, remote: Description) -> None:
        """Joins two peers as soon as each knows the other's user name and password."""
        with self._lock:
            self._waiting[peer.ufrag] = peer
            other = self._waiting.get(remote.ufrag)
            if (
                other is None
                or other.wanted != (peer.ufrag, peer.pwd)
                or peer.wanted != (other.ufrag, other.pwd)
            ):
                return
            del self._waiting[peer.ufrag], self._waiting[other.ufrag]
        _call(other, other._join, peer)
        _call(peer, peer._join, other)

    def _leave(self, peer: MemoryPeer) -> None:
        with self._lock:
            if self._waiting.get(peer.ufrag) is peer:
                del self._waiting[peer.ufrag]


class _Pipe:
    """A channel of a `MemoryPeer`, as far as its `Outbox` is concerned."""

    def __init__(self, wire: Callable[[bytes], None]) -> None:
        self.bufferedAmount = 0
        self._wire = wire

    def send(self, data: bytes) -> None:
        self.bufferedAmount += len(data)
        self._wire(data)


class MemoryPeer:
    """One end of an association in memory; see `duet_p2p.transport.base.Peer`.

    Args:
        network: Where the other end is.
        controlling: Whether this is the owner's end.
        fingerprint: Of the certificate that this end really uses. A test gives `gather`'s result
            another one to play a man in the middle.
    """

    def __init__(
        self, network: MemoryNetwork, *, controlling: bool, fingerprint: bytes | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._network = network
        self._controlling = controlling
        self.fingerprint = fingerprint or secrets.token_bytes(32)
        self.ufrag, self.pwd = secrets.token_hex(8), secrets.token_hex(16)
        self.wanted = ("", "")
        self.stage = "gathering"
        self._on_closed: Callable[[Exception | None], None] | None = None
        self._reports: deque[Exception | None] = deque(maxlen=1)
        self._joined: asyncio.Future[bytes] = self._loop.create_future()
        self._other: MemoryPeer | None = None
        self._is_over = False
        self._is_paused = False
        self._is_cut = False
        self._wire: deque[tuple[int, bytes]] = deque()
        self._pipes = {int(channel): _Pipe(self._wire_of(channel)) for channel in Channel}
        self._outbox = Outbox(self._pipes)
        self._inbox = Inbox(fail=self._end)
        self._frames = 0

    # connecting

    async def gather(self) -> Description:
        """Describes this end, with an address that nobody uses."""
        if self._is_over:
            raise ConnectionLost("This attempt at a connection is closed.")
        return Description(
            ufrag=self.ufrag,
            pwd=self.pwd,
            fingerprint=self.fingerprint,
            setup="actpass" if self._controlling else "active",
            candidates=(Candidate("1", 2_130_706_431, "127.0.0.1", 9, "host"),),
        )

    async def connect(self, remote: Description) -> bytes:
        """Waits for the other end, for ever if `remote` is not of one in this network."""
        if self._is_over or self.stage != "gathering":
            raise ConnectionLost("A peer connects once. Make a new one for a new attempt.")
        self.stage = "ice"
        self.wanted = (remote.ufrag, remote.pwd)
        self._network._meet(self, remote)
        try:
            fingerprint = await self._joined
        except BaseException:
            await self.close()
            raise
        if fingerprint != remote.fingerprint:
            self.stage = "dtls"
            await self.close()
            return fingerprint
        self.stage = "open"
        self._inbox.open()
        return fingerprint

    def failure(self) -> ConnectFailed:
        """The error for the stage that was reached."""
        return connect_failed(self.stage, asks_relay=False, has_relay=False, relay_only=False)

    def _join(self, other: MemoryPeer) -> None:
        if not self._is_over and not self._joined.done():
            self._other = other
            self._joined.set_result(other.fingerprint)
        else:
            _call(other, other._end, None)

    # frames

    @property
    def on_frame(self) -> Callable[[int, bytes], None]:
        """Called with (channel, whole message), once `connect` has returned and this is set."""
        return self._inbox.listener

    @on_frame.setter
    def on_frame(self, listener: Callable[[int, bytes], None]) -> None:
        self._inbox.listener = listener

    def send(self, channel: int, data: bytes) -> None:
        """Queues one message; see `Peer.send`."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("A peer belongs to one event loop.")
        if self._is_over or self.stage != "open":
            raise ConnectionLost()
        if len(data) > limits.MESSAGE_MAX_BYTES:
            raise ValueError(f"a message of {len(data)} bytes; {limits.MESSAGE_MAX_BYTES} fit")
        self._outbox.put(channel, bytes(data))

    def send_now(self, messages: Iterable[tuple[int, bytes]]) -> None:
        """The same as `send`, which waits for nothing; see `Peer.send_now`."""
        for channel, data in messages:
            self.send(channel, data)

    def buffered(self, channel: int) -> int:
        """Bytes that were queued and not delivered."""
        return self._outbox.buffered(channel)

    async def drain(self, channel: int, below: int) -> None:
        """Waits until fewer than `below` bytes are queued; see `Peer.drain`."""
        if self._is_over or self.stage != "open":
            raise ConnectionLost()
        await self._outbox.drain(channel, below)

    def path(self) -> Path:
        """``memory`` once connected."""
        kind = "memory" if self._other is not None else "unknown"
        return Path(kind, "memory", "memory", {"frames_sent": self._frames})

    def _wire_of(self, channel: int) -> Callable[[bytes], None]:
        def put(data: bytes) -> None:
            self._wire.append((channel, data))
            if len(self._wire) == 1:
                self._loop.call_soon(self._transmit)

        return put

    def _transmit(self) -> None:
        while self._wire and not self._is_paused:
            channel, data = self._wire.popleft()
            self._frames += 1
            if self._other is not None and not self._is_cut:
                _call(self._other, self._other._receive, channel, data)
            self._pipes[channel].bufferedAmount -= len(data)
        if not self._wire:
            self._outbox.feed()

    def _receive(self, channel: int, data: bytes) -> None:
        if not self._is_cut:
            self._inbox.put(channel, data)

    # what goes wrong

    def pause(self) -> None:
        """Lets nothing leave, as a congested network does; `resume` goes on."""
        self._is_paused = True

    def resume(self) -> None:
        """Ends a `pause`."""
        self._is_paused = False
        self._loop.call_soon(self._transmit)

    def lose(self, *, silently: bool = False) -> None:
        """Breaks the path between both ends.

        Args:
            silently: Nobody is told, as when a machine is switched off: packets just vanish.
        """
        other = self._other
        self._is_cut = True
        if other is not None:
            _call(other, other._cut)
        if not silently:
            self._end(ConnectionLost())
            if other is not None:
                _call(other, other._end, ConnectionLost())

    def _cut(self) -> None:
        self._is_cut = True

    # the end

    def _end(self, error: Exception | None) -> None:
        if self._is_over:
            return
        was_open = self.stage == "open"
        self._finish(keep=error is None)
        if was_open:
            # After what arrived before it.
            self._reports.append(error)
            self._loop.call_soon(self._report)

    @property
    def on_closed(self) -> Callable[[Exception | None], None]:
        """Called once when an open association ends by itself; see `Peer.on_closed`."""
        return self._on_closed or _ignore_end

    @on_closed.setter
    def on_closed(self, listener: Callable[[Exception | None], None]) -> None:
        self._on_closed = listener
        if self._reports:
            self._loop.call_soon(self._report)

    def _report(self) -> None:
        if self._reports and self._on_closed is not None:
            self._on_closed(self._reports.pop())

    async def close(self) -> None:
        """Ends the association; the other end hears what was sent on channel 0 before."""
        self._reports.clear()
        if not self._is_over:
            self._outbox.drop((Channel.OPS, Channel.BULK))
            while self._outbox.buffered(Channel.CTL) and not self._is_paused:
                self._outbox.feed()
                self._transmit()
            self._finish(keep=False)

    def _finish(self, *, keep: bool) -> None:
        self._is_over = True
        self._network._leave(self)
        self._inbox.close(keep=keep)
        self._outbox.fail()
        self._outbox.drop(Channel)
        self._wire.clear()
        if not self._joined.done():
            self._joined.set_exception(
                ConnectionLost("The connection was closed while it was made.")
            )
            self._joined.exception()  # retrieved: nobody may be waiting
        if self._other is not None and not self._is_cut:
            _call(self._other, self._other._end, None)


async def memory_pair(network: MemoryNetwork | None = None) -> tuple[MemoryPeer, MemoryPeer]:
    """Two connected peers of one event loop, the owner's first."""
    network = network or MemoryNetwork()
    owner, scientist = network(controlling=True), network(controlling=False)
    offer, answer = await owner.gather(), await scientist.gather()
    await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    return owner, scientist


class MemoryRelay:
    """A signalling server in memory; with `tamper`, a malicious one.

    Args:
        tamper: Called with (from, to, body) for each body; returns what is delivered instead.
    """

    def __init__(self, tamper: Tamper | None = None) -> None:
        self.tamper = tamper
        self._lock = threading.Lock()
        self._ends: dict[str, MemorySignaling] = {}
        self._queues: dict[str, deque[tuple[str, bytes]]] = {}

    def end(self, own_id: str) -> MemorySignaling:
        """The signalling of one party, not started yet."""
        return MemorySignaling(self, own_id)

    def _register(self, end: MemorySignaling) -> None:
        with self._lock:
            others = list(self._ends.items())
            self._ends[end.own_id] = end
            queue = self._queues.pop(end.own_id, deque())
        _call(end, end._tell, "registered", "")
        for other_id, other in others:
            _call(other, other._tell, "online", end.own_id)
            _call(end, end._tell, "online", other_id)
        for sender, body in queue:
            _call(end, end._hear, sender, body)

    def _leave(self, end: MemorySignaling, *, forget: bool) -> None:
        with self._lock:
            if self._ends.get(end.own_id) is not end:
                return
            del self._ends[end.own_id]
            if forget:
                self._queues.pop(end.own_id, None)
            others = list(self._ends.values())
        for other in others:
            _call(other, other._tell, "offline", end.own_id)

    def _pass_on(self, sender: str, to: str, body: bytes) -> None:
        bodies = [body] if self.tamper is None else list(self.tamper(sender, to, body))
        with self._lock:
            end = self._ends.get(to)
            if end is None:
                queue = self._queues.setdefault(to, deque(maxlen=_QUEUED_BODIES))
                queue.extend((sender, changed) for changed in bodies)
        if end is not None:
            for changed in bodies:
                _call(end, end._hear, sender, changed)


class MemorySignaling:
    """One party's way to a `MemoryRelay`; see `duet_p2p.transport.base.Signaling`."""

    def __init__(self, relay: MemoryRelay, own_id: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self.own_id = own_id
        self.on_message: Callable[[str, bytes], None] = _ignore_body
        self.on_event: Callable[[str, str], None] = _ignore_event
        self.ice_servers: list[dict[str, Any]] = []
        self.url = ""
        self.is_local = True
        self._is_open = False

    async def start(self) -> None:
        """Registers; bodies that waited are delivered."""
        self._is_open = True
        self._relay._register(self)

    def post(self, to: str, body: bytes, *, is_join: bool = False) -> None:
        """Passes one body on, through `tamper`; nothing once closed."""
        if self._is_open:
            self._relay._pass_on(self.own_id, to, body)

    def hurry(self, on: bool) -> None:
        """There is no server to look for."""

    def rest(self) -> None:
        """There is no connection to save."""

    async def refresh_ice(self) -> list[dict[str, Any]]:
        """There are no ICE servers."""
        return self.ice_servers

    async def close(self, *, forget: bool) -> None:
        """Leaves; with `forget`, what waits for this party is dropped."""
        self._is_open = False
        self._relay._leave(self, forget=forget)

    def _hear(self, sender: str, body: bytes) -> None:
        if self._is_open:
            self.on_message(sender, body)

    def _tell(self, event: str, about: str) -> None:
        if self._is_open:
            self.on_event(event, about)


def _call(party: MemoryPeer | MemorySignaling, function: Callable[..., None], *args: Any) -> None:
    """Calls on the party's own loop, later; a loop that is closed hears nothing."""
    if asyncio.get_running_loop() is party._loop:
        party._loop.call_soon(function, *args)
    else:
        with contextlib.suppress(RuntimeError):
            party._loop.call_soon_threadsafe(function, *args)


def _ignore_end(_error: Exception | None) -> None:
    """What `on_closed` is before somebody sets it, and after `close`."""


def _ignore_body(_sender: str, _body: bytes) -> None:
    """What `on_message` is before somebody sets it."""


def _ignore_event(_event: str, _about: str) -> None:
    """What `on_event` is before somebody sets it."""
