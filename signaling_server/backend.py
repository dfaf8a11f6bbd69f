"""The seam between one server process and the state that several of them may share.

A backend knows which instance holds the socket of an ID, its links, and the messages that wait
for it. Everything that happens to a socket of *this* instance comes back through `deliver`, so
that a backend on another machine can be the one that decides. All methods may wait; none blocks
the loop. No method lists IDs to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from signaling_server.ids import Role

__all__ = [
    "Backend",
    "BackendError",
    "Deliver",
    "Delivery",
    "Event",
    "Link",
    "Message",
    "Presence",
    "Replaced",
]


class BackendError(Exception):
    """The backend cannot be reached: the frame gets an error ``backend`` and may be tried again."""


@dataclass(frozen=True, slots=True)
class Message:
    """One opaque body on its way."""

    kind: Literal["join", "signal"]
    sender: str
    to: str
    body: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A linked partner came or went."""

    id: str
    online: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another socket registered the same ID."""


Event = Message | Presence | Replaced
Deliver = Callable[[str, Event], bool]
"""Called with (connection, event). False: this socket cannot take it, keep the message."""


class Delivery(Enum):
    """What `Backend.send` found."""

    DELIVERED = "delivered"
    OFFLINE = "offline"  # known, but without a socket that could take the message
    UNKNOWN = "unknown"


class Link(Enum):
    """How two IDs are linked, seen from the first one."""

    NONE = "none"
    GONE = "gone"  # there was a link; the partner said bye or expired
    BOTH = "both"
    FULL = "full"  # only from `link`: this session has as many links as it may


class Backend(Protocol):
    """State of sessions and clients; `memory.MemoryBackend` is the default."""

    def bind(self, deliver: Deliver) -> None:
        """Names the function that gets events for the sockets of this instance; called once."""
        ...

    async def ready(self) -> bool:
        """Whether the state can be reached now."""
        ...

    async def close(self) -> None:
        """Ends; forgets nothing that others share."""
        ...

    async def claim(
        self, id: str, role: Role, conn: str, ttl: float, *, is_own: bool = True
    ) -> int | None:
        """Makes a connection the holder of an ID; an older holder gets `Replaced`.

        Messages are delivered to the connection from now on, or stay queued while `deliver`
        returns False.

        Args:
            id: which was proved.
            role: of the ID.
            conn: the connection.
            ttl: seconds that the ID stays known.
            is_own: it is of the user whom this server is for; all are, on one for everybody.

        Returns:
            How many registrations the ID has had, or None where there is no room for another ID.
        """
        ...

    async def touch(self, id: str, conn: str, ttl: float) -> None:
        """Keeps an ID that `conn` holds known for `ttl` seconds from now."""
        ...

    async def release(self, id: str, conn: str, *, forget: bool) -> None:
        """The connection is gone: the ID is offline, or forgotten with its queue and links.

        Linked partners are told by the caller, through `presence`, before it forgets. Nothing
        happens if another connection holds the ID by now.
        """
        ...

    async def holds(self, id: str, conn: str) -> bool:
        """Whether this connection is still the holder of the ID."""
        ...

    async def linked(self, id: str, partner: str) -> Link:
        """Whether two IDs are linked, seen from `id`."""
        ...

    async def has_links(self, id: str) -> bool:
        """Whether an ID is linked with anybody: it then lives longer."""
        ...

    async def link(self, session: str, client: str) -> Link:
        """Links a session with a client whose join it was sent; `NONE` without such a join."""
        ...

    async def send(self, message: Message) -> Delivery:
        """Hands a message to the socket of its destination, wherever that is."""
        ...

    async def queue(self, message: Message) -> bool:
        """Keeps a message for a known ID; False where the queue is full."""
        ...

    async def take(self, id: str) -> list[Message]:
        """Takes the messages that wait for an ID, oldest first, without those that are too old."""
        ...

    async def presence(self, id: str, *, online: bool) -> None:
        """Tells the partners linked with an ID that it came or went."""
        ...

    async def bucket(self, scope: str, key: str, per_minute: float, burst: float) -> float:
        """Takes one token: 0.0, or the seconds until there is one."""
        ...

    async def sweep(self) -> None:
        """Drops what is over its time; called every few seconds."""
        ...

    def waiting(self) -> int:
        """Messages that wait, for the metrics."""
        ...

    def sessions(self) -> int:
        """Sessions that are known, for the metrics."""
        ...
