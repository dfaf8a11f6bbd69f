"""What a registered socket may do: sessions, joins, links, signals, presence. No sockets here.

A stranger must not be able to tell an unknown ID from one that is offline. So a join of a client
that is not linked is always acknowledged with ``accepted``, before anything is looked up; delivery
status, presence and signals exist on links only; and only a session can make a link, by answering
a join that it was sent.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from signaling_server import frames
from signaling_server.backend import (
    Backend,
    BackendError,
    Delivery,
    Event,
    Link,
    Message,
    Presence,
    Replaced,
)
from signaling_server.buckets import Bucket, LookupGuard
from signaling_server.frames import Close
from signaling_server.ids import Role, id_of, register_input, role_of, verify
from signaling_server.limits import REFUSAL_SECONDS, REFUSALS, REFUSED_WAIT_SECONDS, Limits
from signaling_server.metrics import Metrics
from signaling_server.turn import IceConfig

__all__ = ["Member", "Rooms", "Socket"]

log = logging.getLogger(__name__)


class Socket(Protocol):
    """What rooms need of a socket; neither method waits."""

    def put(self, frame: frames.FromServer) -> bool:
        """Queues a frame; False where the socket is closing or too slow to take it."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Closes after the frames that were queued before."""
        ...


@dataclass(slots=True, eq=False)
class Member:
    """One socket, registered or not yet."""

    conn: str
    source: str
    origin: str
    challenge: bytes
    messages: Bucket
    ice: Bucket
    active: float
    is_own: bool = True
    """Of the user whom this server is for; on one for everybody all are."""
    socket: Socket = field(init=False)
    id: str = ""
    role: Role = "scientist"
    registered: bool = False
    closed: bool = False
    linked: bool = False
    refusals: deque[float] = field(default_factory=deque)
    first_join: float | None = None

    def close(self, code: int, reason: str = "") -> None:
        """Closes its socket; no further frame of it is looked at."""
        self.closed = True
        self.socket.close(code, reason)


class Rooms:
    """All members of one server instance."""

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        *,
        ice: IceConfig | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._ice = ice or IceConfig()
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._wall = wall
        self._members: dict[str, Member] = {}
        self._guard = LookupGuard(limits.lookup_failures, limits.block_max, limits.limiter_entries)
        backend.bind(self._deliver)

    def enter(self, conn: str, source: str, origin: str, challenge: bytes) -> Member:
        """Somebody new, not registered yet; the caller gives it its socket."""
        now = self._clock()
        return Member(
            conn=conn,
            source=source,
            origin=origin,
            challenge=challenge,
            messages=Bucket(self._limits.message_burst, now),
            ice=Bucket(self._limits.ice_rate, now),
            active=now,
        )

    async def handle(self, member: Member, text: str) -> None:
        """One text frame of a socket."""
        if member.closed:
            return
        member.active = self._clock()
        self._metrics.count("bytes_total", len(text), dir="in")
        try:
            frame = frames.parse_to_server(text, max_body=self._limits.max_body)
        except frames.FrameViolation as error:
            member.close(Close.PROTOCOL, str(error))
            return
        except frames.FrameRefused as error:
            if self._charge(member, error.mid):
                self._error(member, error.code, str(error), error.mid)
            return
        kind = str(frame.__struct_config__.tag)
        if isinstance(frame, frames.Bye) and member.registered:
            await self._bye(member)
            return
        if not self._charge(member, getattr(frame, "mid", None)):
            self._metrics.count("messages_total", type=kind, result="rate")
            return
        try:
            if isinstance(frame, frames.Register):
                await self._register(member, frame)
            elif not member.registered:
                self._error(member, "not_registered", "register first", getattr(frame, "mid", None))
            elif isinstance(frame, frames.Join):
                await self._join(member, frame)
            elif isinstance(frame, frames.Signal):
                await self._signal(member, frame)
            elif isinstance(frame, frames.IceRequest):
                self._fresh_ice(member)
        except BackendError:
            self._metrics.count("backend_errors_total")
            self._error(member, "backend", "try again", getattr(frame, "mid", None))

    def refuse_binary(self, member: Member) -> None:
        """A frame that is not text was received."""
        member.close(Close.PROTOCOL, "text frames only")

    def charge_ping(self, member: Member) -> bool:
        """A ping was received: it costs as much as a frame. False where it is refused."""
        return not member.closed and self._charge(member, None)

    async def leave(self, member: Member) -> None:
        """The socket of a member is gone."""
        member.closed = True
        if not member.registered or self._members.pop(member.conn, None) is None:
            return
        self._metrics.gauge("connections", -1, role=member.role)
        if await self._backend.holds(member.id, member.conn):
            await self._backend.touch(member.id, member.conn, self._ttl(member))
            await self._backend.presence(member.id, online=False)
            await self._backend.release(member.id, member.conn, forget=False)

    async def sweep(self) -> None:
        """Ends members that were idle for too long; called every few seconds."""
        now = self._clock()
        for member in list(self._members.values()):
            member.linked = await self._backend.has_links(member.id)
            left = self._ttl(member) - (now - member.active)
            if left > 0:
                await self._backend.touch(member.id, member.conn, left)
            else:
                await self._forget(member)
                member.close(Close.EXPIRED, "expired")
        await self._backend.sweep()
        self._metrics.gauge_to("sessions", self._backend.sessions())
        self._metrics.gauge_to("queue_depth", self._backend.waiting())

    def everyone(self) -> list[Member]:
        """All registered members of this instance."""
        return list(self._members.values())

    # one method per frame

    async def _register(self, member: Member, frame: frames.Register) -> None:
        if member.registered:
            self._error(member, "bad_frame", "registered already")
            return
        if not _is_proof(member, frame):
            self._metrics.count("registrations_total", result="proof")
            member.close(Close.PROOF, "proof failed")
            return
        epoch = await self._backend.claim(
            frame.id, frame.role, member.conn, self._limits.ttl_unpaired, is_own=member.is_own
        )
        if epoch is None:
            self._metrics.count("registrations_total", result="overload")
            self._error(member, "overload", "too many sessions")
            member.close(Close.OVERLOAD, "overload")
            return
        member.id, member.role = frame.id, frame.role
        member.linked = await self._backend.has_links(member.id)
        await self._backend.touch(member.id, member.conn, self._ttl(member))
        ice, expires = self._ice.for_id(member.id, self._wall())
        member.socket.put(frames.Registered(epoch, self._ttl(member), ice, expires))
        # From here on `_deliver` finds it, so nothing can overtake `registered`.
        member.registered = True
        self._members[member.conn] = member
        self._metrics.count("registrations_total", result="ok")
        self._metrics.gauge("connections", 1, role=member.role)
        for message in await self._backend.take(member.id):
            self._deliver(member.conn, message)
        await self._backend.presence(member.id, online=True)

    async def _join(self, member: Member, frame: frames.Join) -> None:
        if member.role != "scientist" or role_of(frame.to) != "owner":
            self._error(member, "bad_frame", "a join goes from a client to a session", frame.mid)
            return
        message = Message("join", member.id, frame.to, frame.body)
        member.first_join = member.first_join or self._clock()
        if await self._backend.linked(member.id, frame.to) is Link.BOTH:
            await self._forward(member, message, frame.mid)
            return
        wait = await self._may_join(member, frame.to)
        if wait:
            self._metrics.count("joins_total", result="rate")
            self._refuse(member, wait, "join", frame.mid)
            return
        member.socket.put(frames.Ack(frame.mid, "accepted"))  # before the lookup, always the same
        delivery = await self._backend.send(message)
        if delivery is Delivery.UNKNOWN:
            self._guard.failed(member.source, frame.to, self._clock())
        elif delivery is Delivery.OFFLINE and not await self._backend.queue(message):
            self._metrics.count("dropped_total", reason="full")
        self._metrics.count("joins_total", result=delivery.value)

    async def _may_join(self, member: Member, session: str) -> float:
        """Seconds to wait, or 0.0. Known and unknown sessions are charged alike."""
        rate = self._limits.join_rate
        return (
            self._guard.blocked(member.source, self._clock())
            or await self._backend.bucket("join-source", member.source, rate, rate)
            or await self._backend.bucket("join-session", session, rate, rate)
        )

    async def _signal(self, member: Member, frame: frames.Signal) -> None:
        link = await self._backend.linked(member.id, frame.to)
        if member.role == "owner" and link is not Link.BOTH:
            formed = await self._backend.link(member.id, frame.to)
            if formed is Link.FULL:
                self._error(member, "overload", "this session has too many clients", frame.mid)
                return
            if formed is Link.BOTH:
                link = formed
        if link is Link.NONE:
            self._error(member, "not_linked", "no link with this ID", frame.mid)
        elif link is Link.GONE:
            member.socket.put(frames.Ack(frame.mid, "no_peer"))
        else:
            await self._forward(
                member, Message("signal", member.id, frame.to, frame.body), frame.mid
            )

    async def _forward(self, member: Member, message: Message, mid: str) -> None:
        member.linked = True
        delivery = await self._backend.send(message)
        status: frames.Status = "delivered"
        if delivery is Delivery.UNKNOWN:
            status = "no_peer"
        elif delivery is Delivery.OFFLINE:
            status = "queued" if await self._backend.queue(message) else "full"
        self._metrics.count("messages_total", type=message.kind, result=status)
        member.socket.put(frames.Ack(mid, status))

    def _fresh_ice(self, member: Member) -> None:
        rate = self._limits.ice_rate
        wait = member.ice.take(rate, rate, self._clock())
        if wait:
            self._refuse(member, wait, "ice")
            return
        self._metrics.count("ice_credentials_total")
        member.socket.put(frames.Ice(*self._ice.for_id(member.id, self._wall())))

    async def _bye(self, member: Member) -> None:
        try:
            await self._forget(member)
        except BackendError:
            self._metrics.count("backend_errors_total")
        member.close(Close.BYE, "bye")

    # what happens to members

    def _deliver(self, conn: str, event: Event) -> bool:
        member = self._members.get(conn)
        if member is None:
            return False
        if isinstance(event, Replaced):
            member.close(Close.REPLACED, "replaced")
            return True
        if member.closed:
            return False
        if isinstance(event, Presence):
            return member.socket.put(frames.Peer(event.id, "online" if event.online else "offline"))
        if event.kind == "join":
            delivered = member.socket.put(frames.JoinFrom(event.sender, event.body))
        else:
            delivered = member.socket.put(frames.SignalFrom(event.sender, event.body))
            member.linked = True
            if member.first_join is not None:
                self._metrics.observe("pairing_seconds", self._clock() - member.first_join)
                member.first_join = None
        if delivered:
            member.active = self._clock()
        return delivered

    async def _forget(self, member: Member) -> None:
        if await self._backend.holds(member.id, member.conn):
            await self._backend.presence(member.id, online=False)
            await self._backend.release(member.id, member.conn, forget=True)

    def _ttl(self, member: Member) -> float:
        return self._limits.ttl_idle if member.linked else self._limits.ttl_unpaired

    def _charge(self, member: Member, mid: str | None) -> bool:
        limits = self._limits
        wait = member.messages.take(limits.message_rate, limits.message_burst, self._clock())
        if wait:
            self._refuse(member, wait, "message", mid)
        return not wait

    def _refuse(self, member: Member, wait: float, scope: str, mid: str | None = None) -> None:
        self._metrics.count("rate_limited_total", scope=scope)
        now = self._clock()
        member.refusals.append(now)
        while now - member.refusals[0] > REFUSAL_SECONDS:
            member.refusals.popleft()
        # Rounded up, or a client that waits exactly so long could come a moment too early.
        self._error(member, "rate", "too fast", mid, retry_after=math.ceil(wait * 1000) / 1000)
        if len(member.refusals) >= REFUSALS:
            member.close(Close.RATE, f"retry_after={max(REFUSED_WAIT_SECONDS, math.ceil(wait))}")

    def _error(
        self,
        member: Member,
        code: frames.ErrorCode,
        message: str,
        mid: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        member.socket.put(frames.Error(code, message, retry_after, mid))


def _is_proof(member: Member, frame: frames.Register) -> bool:
    """Whether the holder of the ID's key signed the challenge of this very socket."""
    try:
        pub, signature = frame.keys()
        if id_of(frame.role, pub) != frame.id:
            return False
    except ValueError:  # not base64url, or a refused key
        return False
    proof = register_input(member.origin, member.challenge, frame.id, frame.role)
    return verify(pub, proof, signature)
