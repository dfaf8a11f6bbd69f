"""What service and facade need of their surroundings, named here so that tests need no network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from duet_p2p.engine.messages import Departure
from duet_p2p.errors import DuetError
from duet_p2p.owner.printing import CallbackThread
from duet_p2p.wire import messages as wire

__all__ = [
    "ConsoleWay",
    "LoopBridge",
    "OwnerConsole",
    "OwnerSession",
    "Pairing",
    "Sent",
    "SessionEnd",
]

T = TypeVar("T")


class Sent(Protocol):
    """What the scientist does not have yet of what was sent (session/transfers.py)."""

    out_bytes: int
    out_files: int


class SessionEnd(Protocol):
    """The owner's end of a session (session/session.py), on the loop."""

    on_message: Callable[[int, wire.Message], None]
    on_state: Callable[[str, Exception | None], None]
    partner_id: str

    @property
    def transfers(self) -> Sent:
        """The blobs under way."""
        ...

    def post(self, message: wire.Message, *, at_once: bool = False) -> int:
        """Numbers and queues an answer, or sends it before it returns."""
        ...

    def send_blob(self, buffers: Sequence[memoryview | Departure], nbytes: int) -> int:
        """Queues bytes on bulk and gives the transfer's number."""
        ...

    def expect_blob(self, transfer: int, nbytes: int, *, into: Any = None) -> asyncio.Future[Any]:
        """The bytes of a transfer that a message announced, or `into` once it holds them."""
        ...

    def refuse_blob(self, transfer: int) -> None:
        """Bytes that nobody wants."""
        ...

    def settled(self, seq: int) -> None:
        """Everything up to here was executed."""
        ...

    def fail(self, error: DuetError) -> None:
        """Ends the session for good, with a goodbye; `on_state` hears it."""
        ...


class LoopBridge(Protocol):
    """The bridge between threads (session/bridge.py)."""

    @property
    def callback_thread(self) -> CallbackThread:
        """Runs printing and user callbacks."""
        ...

    def call(self, coro: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine on the loop and waits for it here."""
        ...


class OwnerSession(SessionEnd, Protocol):
    """The session as the facade needs it (session/session.py)."""

    def status(self) -> dict[str, Any]:
        """Facts about the connection."""
        ...

    async def close(self, reason: str = "closed") -> None:
        """Says goodbye and ends."""
        ...


class Pairing(Protocol):
    """The handshake as the facade needs it (session/handshake.py)."""

    @property
    def pinned(self) -> str | None:
        """ID of the partner, once there was a connection."""
        ...

    def expect(self, client_id: str) -> bool:
        """Admits a client."""
        ...

    async def wait(self, timeout: float | None = None) -> Any:
        """Waits for the connection."""
        ...


class ConsoleWay(Protocol):
    """A way into the console (console/console.py)."""

    @property
    def path(self) -> Path:
        """The file that leads a browser there."""
        ...


class OwnerConsole(Protocol):
    """The console as the facade needs it."""

    async def open(self) -> ConsoleWay:
        """Makes a way in."""
        ...
