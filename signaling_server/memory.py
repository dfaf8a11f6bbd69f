"""The backend of a server that runs alone: everything in this process, nothing on a disk.

No method waits for anything, so each runs as one step of the loop and needs no lock.

An ID stays known while it is offline, so that its queue and links outlive a lost socket. Whoever
makes keys and registers them one after another could fill the table with such IDs; so when it is
full, the ID that is offline and unlinked for the longest time makes room. IDs that are online or
linked never do.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from signaling_server.backend import Deliver, Delivery, Link, Message, Presence, Replaced
from signaling_server.buckets import Buckets
from signaling_server.ids import Role
from signaling_server.limits import JOINERS, MESSAGE_OVERHEAD_BYTES, Limits

__all__ = ["MemoryBackend"]


@dataclass(slots=True)
class _Known:
    role: Role
    epoch: int = 0
    conn: str | None = None
    expires: float = 0.0
    partners: set[str] = field(default_factory=set)
    joiners: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Clients whose join this session was sent, newest last."""
    queue: deque[tuple[float, Message]] = field(default_factory=deque)
    """(time at which it is too old, message)."""


class MemoryBackend:
    """Implements `backend.Backend`."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._deliver: Deliver = _no_sockets
        self._known: dict[str, _Known] = {}
        self._count: dict[Role, int] = {"owner": 0, "scientist": 0}
        self._offline: dict[Role, OrderedDict[str, None]] = {
            "owner": OrderedDict(),
            "scientist": OrderedDict(),
        }
        self._buckets = Buckets(limits.limiter_entries)
        self._queued_bytes = 0
        self._queued = 0

    def bind(self, deliver: Deliver) -> None:
        """See `Backend.bind`."""
        self._deliver = deliver

    async def ready(self) -> bool:
        """Memory is always there."""
        return True

    async def close(self) -> None:
        """Forgets everything."""
        self._known.clear()
        self._queued = self._queued_bytes = 0

    async def claim(self, id: str, role: Role, conn: str, ttl: float) -> int | None:
        """See `Backend.claim`."""
        known = self._known.get(id)
        if known is None:
            if not self._has_room(role):
                return None
            known = self._known[id] = _Known(role)
            self._count[role] += 1
        older, known.conn = known.conn, conn
        known.epoch += 1
        known.expires = self._clock() + ttl
        self._offline[role].pop(id, None)
        if older is not None:
            self._deliver(older, Replaced())
        return known.epoch

    async def touch(self, id: str, conn: str, ttl: float) -> None:
        """See `Backend.touch`."""
        known = self._known.get(id)
        if known is not None and known.conn == conn:
            known.expires = self._clock() + ttl

    async def release(self, id: str, conn: str, *, forget: bool) -> None:
        """See `Backend.release`."""
        known = self._known.get(id)
        if known is None or known.conn != conn:
            return
        if forget:
            self._forget(id)
        else:
            known.conn = None
            self._offline[known.role][id] = None

    async def holds(self, id: str, conn: str) -> bool:
        """See `Backend.holds`."""
        known = self._known.get(id)
        return known is not None and known.conn == conn

    async def linked(self, id: str, partner: str) -> Link:
        """See `Backend.linked`."""
        return self._link_of(id, partner)

    async def has_links(self, id: str) -> bool:
        """See `Backend.has_links`."""
        return self._has_links(id)

    async def link(self, session: str, client: str) -> Link:
        """See `Backend.link`."""
        ours, theirs = self._known.get(session), self._known.get(client)
        if ours is None or theirs is None or client not in ours.joiners:
            return Link.NONE
        if client not in ours.partners and len(ours.partners) >= self._limits.links_per_session:
            ours.partners = {p for p in ours.partners if self._link_of(session, p) is Link.BOTH}
            if len(ours.partners) >= self._limits.links_per_session:
                return Link.FULL
        ours.partners.add(client)
        theirs.partners.add(session)
        return Link.BOTH

    async def send(self, message: Message) -> Delivery:
        """See `Backend.send`."""
        known = self._known.get(message.to)
        if known is None:
            return Delivery.UNKNOWN
        if known.conn is None or not self._deliver(known.conn, message):
            return Delivery.OFFLINE
        self._note_join(known, message)
        return Delivery.DELIVERED

    async def queue(self, message: Message) -> bool:
        """See `Backend.queue`; the same message again only waits longer."""
        known = self._known.get(message.to)
        if known is None:
            return False
        now = self._clock()
        self._drop_old(known, now)
        for entry in known.queue:
            if entry[1] == message:
                self._unqueue(known, entry)
                break
        size = len(message.body) + MESSAGE_OVERHEAD_BYTES
        if len(known.queue) >= self._limits.queue_messages:
            return False
        if self._queued_bytes + size > self._limits.queue_total:
            return False
        known.queue.append((now + self._limits.queue_seconds, message))
        self._queued += 1
        self._queued_bytes += size
        return True

    async def take(self, id: str) -> list[Message]:
        """See `Backend.take`."""
        known = self._known.get(id)
        if known is None:
            return []
        self._drop_old(known, self._clock())
        taken = list(known.queue)
        for entry in taken:
            self._unqueue(known, entry)
            self._note_join(known, entry[1])
        return [message for _, message in taken]

    async def presence(self, id: str, *, online: bool) -> None:
        """See `Backend.presence`."""
        known = self._known.get(id)
        for partner in sorted(known.partners) if known else ():
            if self._link_of(id, partner) is Link.BOTH:
                conn = self._known[partner].conn
                if conn is not None:
                    self._deliver(conn, Presence(id, online))

    async def bucket(self, scope: str, key: str, per_minute: float, burst: float) -> float:
        """See `Backend.bucket`."""
        return self._buckets.take(scope, key, per_minute, burst, self._clock())

    async def sweep(self) -> None:
        """See `Backend.sweep`."""
        now = self._clock()
        for id, known in list(self._known.items()):
            if known.conn is None and known.expires <= now:
                self._forget(id)
            else:
                self._drop_old(known, now)

    def waiting(self) -> int:
        """See `Backend.waiting`."""
        return self._queued

    def sessions(self) -> int:
        """See `Backend.sessions`."""
        return self._count["owner"]

    def _has_room(self, role: Role) -> bool:
        limit = self._limits.max_sessions if role == "owner" else self._limits.max_sockets
        if self._count[role] < limit:
            return True
        for id in self._offline[role]:
            if not self._has_links(id):
                self._forget(id)
                return True
        return False

    def _forget(self, id: str) -> None:
        known = self._known.pop(id)
        self._count[known.role] -= 1
        self._offline[known.role].pop(id, None)
        for entry in list(known.queue):
            self._unqueue(known, entry)

    def _link_of(self, id: str, partner: str) -> Link:
        ours, theirs = self._known.get(id), self._known.get(partner)
        if ours is None or partner not in ours.partners:
            return Link.NONE
        return Link.BOTH if theirs is not None and id in theirs.partners else Link.GONE

    def _has_links(self, id: str) -> bool:
        known = self._known.get(id)
        return known is not None and any(
            self._link_of(id, partner) is Link.BOTH for partner in known.partners
        )

    def _note_join(self, known: _Known, message: Message) -> None:
        if message.kind == "join":
            known.joiners[message.sender] = None
            known.joiners.move_to_end(message.sender)
            if len(known.joiners) > JOINERS:
                known.joiners.popitem(last=False)

    def _drop_old(self, known: _Known, now: float) -> None:
        while known.queue and known.queue[0][0] <= now:
            self._unqueue(known, known.queue[0])

    def _unqueue(self, known: _Known, entry: tuple[float, Message]) -> None:
        known.queue.remove(entry)
        self._queued -= 1
        self._queued_bytes -= len(entry[1].body) + MESSAGE_OVERHEAD_BYTES


def _no_sockets(conn: str, event: object) -> bool:
    return False
