"""The seams between sessions and whatever carries their bytes.

Two things are carried, by two kinds of objects. A `Signaling` passes small signed JSON bodies
while two parties look for each other; it is never trusted. A `Peer` is one attempt at a direct
association, with three ordered channels once it is connected; who is at the other end is proved
on channel 0 by protocol/pairing.py, before anything else is believed.

All methods and callbacks belong to one asyncio loop, the session's. Callbacks never block and
never raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from duet_p2p.errors import ConnectFailed
from duet_p2p.protocol.description import Candidate, Channel, Description

__all__ = [
    "Candidate",
    "Channel",
    "Description",
    "Path",
    "Peer",
    "PeerFactory",
    "Signaling",
]


@dataclass(frozen=True, slots=True)
class Path:
    """How packets travel at the moment, for people."""

    kind: str
    """``direct``, ``relayed``, ``memory`` or ``unknown``."""
    local: str = ""
    remote: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """Counters: packets, bytes, retransmissions, round-trip time in seconds, where known."""


class Peer(Protocol):
    """One attempt at an association. Used once: `gather`, `connect`, frames, `close`."""

    on_frame: Callable[[int, bytes], None]
    """Called with (channel, whole message). The first few messages (`limits.EARLY_FRAMES`) wait
    until `connect` has returned and this is set: set it once the certificate was compared."""
    on_closed: Callable[[Exception | None], None]
    """Called once, when an open association ends by itself; not after `close`. With None when the
    other side closed it in an orderly way, `ConnectionLost` when the path broke, `ProtocolError`
    when it sent what it may not."""

    async def gather(self) -> Description:
        """This side's half, within `limits.GATHER_SECONDS`.

        `setup` is ``actpass`` for the controlling side, ``active`` for the other.

        Raises:
            ConnectFailed: stage ``gathering``.
        """
        ...

    async def connect(self, remote: Description) -> bytes:
        """Checks paths, shakes hands, opens the three channels.

        Returns:
            SHA-256 of the certificate that the other side really used, 32 bytes. The caller
            compares it; nothing here does.

        Raises:
            ConnectFailed: with the stage that failed and a remedy. It sets no deadline of its
                own beyond those of its parts: the caller cancels it.
        """
        ...

    def failure(self) -> ConnectFailed:
        """The error for the stage that was reached, when the caller's deadline ends `connect`."""
        ...

    def send(self, channel: int, data: bytes) -> None:
        """Queues one message of at most 65,536 bytes; raises `ConnectionLost` when closed."""
        ...

    def send_now(self, messages: Iterable[tuple[int, bytes]]) -> None:
        """Queues (channel, message) in order; they leave now, not at the end of this turn.

        Raises:
            ConnectionLost: closed. Those before it were queued.
        """
        ...

    def buffered(self, channel: int) -> int:
        """Bytes that were queued on a channel and have not left yet."""
        ...

    async def drain(self, channel: int, below: int) -> None:
        """Waits until fewer than `below` bytes are queued; raises `ConnectionLost` when closed."""
        ...

    def path(self) -> Path:
        """The path in use."""
        ...

    async def close(self) -> None:
        """Ends the association and frees sockets and tasks; may be called twice, and any time."""
        ...


class PeerFactory(Protocol):
    """Makes a fresh `Peer` for each attempt."""

    def __call__(
        self,
        *,
        controlling: bool,
        ice_servers: Sequence[dict[str, Any]],
        loopback: bool,
        relay_only: bool = False,
    ) -> Peer:
        """The owner controls. With `loopback`, 127.0.0.1 and ::1 are gathered too."""
        ...


class Signaling(Protocol):
    """The way to the partner while there is no association."""

    on_message: Callable[[str, bytes], None]
    """Called with (from_id, body): opaque bytes of at most 36 KiB, from an untrusted relay."""
    on_event: Callable[[str, str], None]
    """Called with (event, id): ``registered`` with "", ``online`` and ``offline`` with the
    partner's id, ``closed`` with the name of the error class when it ended for good."""
    ice_servers: list[dict[str, Any]]
    """What the server handed out at registration, newest."""
    url: str
    """Normalised address of the server, or "" for a folder."""
    is_local: bool
    """Whether the server is at a loopback address (or is a folder): then loopback candidates
    may be used."""

    async def start(self) -> None:
        """Connects and registers, once; later losses are mended in the background.

        Raises:
            SignalingUnreachable, OriginMismatch, SessionReplaced, SessionExpired: see errors.
        """
        ...

    def post(self, to: str, body: bytes, *, is_join: bool = False) -> None:
        """Queues one body for a partner. Losing it is allowed: the handshake repeats itself."""
        ...

    def hurry(self, on: bool) -> None:
        """Whether an open session was lost: then the server is looked for more often."""
        ...

    def rest(self) -> None:
        """Nothing is to be said for now; the next `post` connects again if needed."""
        ...

    async def refresh_ice(self) -> list[dict[str, Any]]:
        """Fresh ICE servers and credentials, for a new attempt."""
        ...

    async def close(self, *, forget: bool) -> None:
        """Ends. With `forget`, says ``bye``, so that the server drops id, queue and links."""
        ...
