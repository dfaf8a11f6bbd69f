"""The backend of a server that runs alone: everything in this process, nothing on a disk.

No method waits for anything, so each runs as one step of the loop and needs no lock.

An ID stays known while it is offline, so that its queue and links outlive a lost socket. Whoever
makes keys and registers them one after another could fill the table with such IDs; so when it is
full, the ID that is offline and unlinked for the longest time makes room. IDs that are online or
linked never do.

A server in an owner's process is for that user. Strangers could fill it with IDs that they link
among themselves. So those that are offline make room there as well, before any ID that is the
user's or linked with one that is, and those that stay have half of the sessions, and what waits
for them half of the bytes.
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
    is_own: bool
    """Of the user whom this server is for; on one for everybody all are."""
    epoch: int = 0
    conn: str | None = None
    expires: float = 0.0
    partners: set[str] = field(default_factory=set)
    joiners: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Clients whose join this session was sent, newest last."""
    queue: deque[_Waiting] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Waiting:
    until: float
    message: Message
    is_for_own: bool

    @property
    def nbytes(self) -> int:
        return len(self.message.body) + MESSAGE_OVERHEAD_BYTES


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
        self._has_strangers = False  # or ever had
        self._buckets = Buckets(limits.limiter_entries)
        self._queued_bytes = {True: 0, False: 0}  # for those that serve the user, for others
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
        self._queued = 0
        self._queued_bytes = {True: 0, False: 0}

    async def claim(
        self, id: str, role: Role, conn: str, ttl: float, *, is_own: bool = True
    ) -> int | None:
        """See `Backend.claim`."""
        known = self._known.get(id)
        if known is None:
            if not self._has_room(role, is_own=is_own):
                return None
            known = self._known[id] = _Known(role, is_own)
            self._count[role] += 1
        known.is_own = is_own
        self._has_strangers |= not is_own
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
            if entry.message == message:
                self._unqueue(known, entry)
                break
        added = _Waiting(now + self._limits.queue_seconds, message, self._serves(message.to))
        if len(known.queue) >= self._limits.queue_messages:
            return False
        others, most = self._queued_bytes[False], self._limits.queue_total
        if sum(self._queued_bytes.values()) + added.nbytes > most:
            return False
        if not added.is_for_own and others + added.nbytes > most // 2:
            return False
        known.queue.append(added)
        self._queued += 1
        self._queued_bytes[added.is_for_own] += added.nbytes
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
            self._note_join(known, entry.message)
        return [entry.message for entry in taken]

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

    def _has_room(self, role: Role, *, is_own: bool) -> bool:
        limit = self._limits.max_sessions if role == "owner" else self._limits.max_sockets
        if not is_own and role == "owner" and self._strangers(role) >= limit // 2:
            return self._makes_room(role, of_own=False)
        return self._count[role] < limit or self._makes_room(role, of_own=True)

    def _strangers(self, role: Role) -> int:
        return sum(known.role == role and not known.is_own for known in self._known.values())

    def _makes_room(self, role: Role, *, of_own: bool) -> bool:
        """Forgets one ID that is offline: one that does not serve the user, else one unlinked."""
        linked = ""
        unlinked = ""  # of the user's
        for id in self._offline[role]:
            has_links = self._has_links(id)
            if not self._serves(id):
                if not has_links:
                    self._forget(id)
                    return True
                linked = linked or id
            elif not has_links:
                unlinked = unlinked or id
                if not self._has_strangers:
                    break
        found = linked or (unlinked if of_own else "")
        if found:
            self._forget(found)
        return bool(found)

    def _serves(self, id: str) -> bool:
        """Whether an ID is of the user whom this server is for, or linked with one that is."""
        known = self._known[id]
        return known.is_own or any(
            self._known[partner].is_own
            for partner in known.partners
            if self._link_of(id, partner) is Link.BOTH
        )

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
        while known.queue and known.queue[0].until <= now:
            self._unqueue(known, known.queue[0])

    def _unqueue(self, known: _Known, entry: _Waiting) -> None:
        known.queue.remove(entry)
        self._queued -= 1
        self._queued_bytes[entry.is_for_own] -= entry.nbytes


def _no_sockets(conn: str, event: object) -> bool:
    return False
