"""One verified association, as pairing hands it to the session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, DuetError
from duet_p2p.protocol.description import Channel
from duet_p2p.protocol.proofs import is_proof
from duet_p2p.transport.base import Path, Peer

__all__ = ["Link", "close_peer"]


class Link:
    """Both keys were proved on it, and both sides are ready.

    Frames that arrive before `attach` wait here, in order: the partner may speak as soon as it is
    ready itself.

    Attributes:
        peer: the association; its callbacks belong to this object, use `attach`.
        partner_id: canonical ID.
        partner_pub: 33 bytes.
        th: the transcript hash, 32 bytes; the same on both sides, different for every association.
        caps: the partner's capabilities, as signed by it.
        audit_head: head of the partner's audit chain, 32 bytes, or nothing.
        attempt: number of the attempt that led here.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        partner_id: str,
        partner_pub: bytes,
        th: bytes,
        caps: Mapping[str, Any],
        audit_head: bytes,
        attempt: int,
        on_second_proof: Callable[[bytes], None],
    ) -> None:
        self.peer = peer
        self.partner_id = partner_id
        self.partner_pub = partner_pub
        self.th = th
        self.caps = caps
        self.audit_head = audit_head
        self.attempt = attempt
        self._on_second_proof = on_second_proof
        self._on_frame: Callable[[int, bytes], None] | None = None
        self._on_closed: Callable[[DuetError], None] | None = None
        self._early: list[tuple[int, bytes]] = []
        self._early_bytes = 0
        self._error: DuetError | None = None

    @property
    def path(self) -> Path:
        """How packets travel at the moment."""
        return self.peer.path()

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent."""
        return self._error is None

    def attach(
        self, on_frame: Callable[[int, bytes], None], on_closed: Callable[[DuetError], None]
    ) -> None:
        """Hands over what waited, in order, and from now on everything.

        Args:
            on_frame: called with (channel, whole message).
            on_closed: called once, whoever noticed the end; at once if it is over already.
        """
        self._on_frame, self._on_closed = on_frame, on_closed
        early, self._early = self._early, []
        for channel, data in early:
            self.deliver(channel, data)
        if self._error is not None:
            on_closed(self._error)
        else:
            self.peer.on_frame = self.deliver  # past the handshake: this is the hot path

    def deliver(self, channel: int, data: bytes) -> None:
        """For the handshake: one frame of the open association."""
        if self._on_frame is None:
            self._early.append((channel, data))
            self._early_bytes += len(data)
        elif channel == Channel.CTL and is_proof(data):
            self._on_second_proof(data)
        elif self._error is None:
            self._on_frame(channel, data)

    @property
    def is_flooded(self) -> bool:
        """For the handshake: more waits than a session takes this long to attach for."""
        return self._on_frame is None and self._early_bytes > limits.LINK_EARLY_BYTES

    def end(self, error: DuetError) -> None:
        """For the handshake: the association is over."""
        if self._error is None:
            self._error = error
            if self._on_closed is not None:
                self._on_closed(error)


async def close_peer(peer: Peer, tasks: Sequence[asyncio.Task[None]], *, flush: bool) -> None:
    """Closes an association, and ends what still sends on it.

    Args:
        peer: of the association.
        tasks: that send on it.
        flush: whether last words on channel 0 may arrive first.
    """
    if flush:
        with contextlib.suppress(ConnectionLost, TimeoutError):
            async with asyncio.timeout(limits.CLOSE_SECONDS):
                await peer.drain(Channel.CTL, 1)
    try:
        await peer.close()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
