"""What the service needs of a session, named here so that its tests need no network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from duet_p2p.wire import messages as wire

__all__ = ["SessionEnd"]


class SessionEnd(Protocol):
    """The owner's end of a session (session/session.py), on the loop."""

    on_message: Callable[[int, wire.Message], None]
    on_state: Callable[[str, Exception | None], None]
    partner_id: str

    def post(self, message: wire.Message) -> int:
        """Numbers and queues an answer."""
        ...

    def send_blob(self, buffers: Sequence[memoryview], nbytes: int) -> int:
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
