"""The receiving half of channel 2; session/bulk.py explains the rules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, ProtocolError
from duet_p2p.session.bulk_header import HEADER_BYTES, SIZE, Kind, charge, pack, unpack
from duet_p2p.session.deflation import inflate
from duet_p2p.transport.base import Channel, Peer

__all__ = ["BulkReceiver", "Sink"]


_PACKED_AT = HEADER_BYTES + SIZE.size


class Sink(Protocol):
    """Somewhere else than memory of this process."""

    nbytes: int

    def write(self, offset: int, part: bytes | memoryview) -> None:
        """Puts bytes in their place."""
        ...


@dataclass(slots=True)
class _Incoming:
    """A transfer that is being received, or that was given up."""

    total: int | None = None
    """Known from the declaration or the first chunk."""
    received: int = 0
    is_declared: bool = False
    has_begun: bool = False
    """On the present association."""
    is_refused: bool = False
    is_cancelled: bool = False
    """By the other side, before it was declared."""
    early: list[bytes] = field(default_factory=list)
    into: memoryview | Sink | None = None


class BulkReceiver:
    """Puts chunks together; outlives an association. See `Bulk` for its callbacks."""

    def __init__(
        self,
        on_complete: Callable[[int, Any], None],
        on_progress: Callable[[int, int, int], None] | None = None,
        on_cancelled: Callable[[int], None] | None = None,
        on_failed: Callable[[int, Exception], None] | None = None,
    ) -> None:
        self._on_failed = on_failed
        self._on_complete = on_complete
        self._on_progress = on_progress
        self._on_cancelled = on_cancelled
        self._peer: Peer | None = None
        self._inflates = False
        self._transfers: dict[int, _Incoming] = {}
        self._begun: dict[int, _Incoming] = {}  # those of them that have
        self._refused: set[int] = set()  # those that this side wants no more of
        self._cancelled: set[int] = set()  # that the other side gave up before they were declared

    def attach(self, peer: Peer, *, inflates: bool = False) -> None:
        """Uses an association, the first or a new one; what nobody declared is forgotten.

        Args:
            peer: the association.
            inflates: whether compressed chunks were agreed on; otherwise they break a rule.
        """
        self._peer, self._inflates = peer, inflates
        self._begun.clear()
        for transfer_id, incoming in list(self._transfers.items()):
            incoming.has_begun = False
            if incoming.is_refused:
                incoming.total, incoming.received = None, 0
                self._say(Kind.REFUSE, transfer_id)
            elif not incoming.is_declared and not incoming.is_cancelled:
                self._forget(transfer_id)

    def expect(self, transfer_id: int, total: int, into: memoryview | Sink | None = None) -> None:
        """Declares a transfer; its size was checked against the quota by the caller.

        Memory is taken when the first chunk arrives. May call `on_complete` at once.

        Args:
            transfer_id: The other side's id.
            total: Bytes.
            into: Where to write, exactly `total` bytes; new memory if None.

        Raises:
            ProtocolError: Declared twice, or begun with another size.
            ValueError: `into` has another size.
        """
        if into is not None and into.nbytes != total:
            raise ValueError(f"a transfer of {total} bytes does not fit {into.nbytes}")
        view = into if total else None
        if isinstance(view, memoryview):
            view = view.cast("B")
        incoming = self._transfers.setdefault(transfer_id, _Incoming())
        if incoming.is_refused:
            return
        if incoming.is_cancelled:
            self._forget(transfer_id)
            self._tell_cancelled(transfer_id)
            return
        if incoming.is_declared or incoming.total not in (None, total):
            raise ProtocolError("A transfer was declared twice, or with another size.")
        incoming.is_declared, incoming.total, incoming.into = True, total, view
        early, incoming.early = incoming.early, []
        incoming.received = 0
        if incoming.has_begun:
            self._say(Kind.GO, transfer_id)
        is_kept = True
        for part in early:
            if is_kept:
                is_kept = self._write(transfer_id, incoming, part)
            else:  # there was no room for the one before
                self._skip(transfer_id, incoming, len(part))

    def refuse(self, transfer_id: int) -> None:
        """Wants no more of a transfer, declared or not; its memory is freed.

        Raises:
            ProtocolError: The other side has left too many refusals without an answer.
        """
        incoming = self._transfers.setdefault(transfer_id, _Incoming())
        if incoming.is_refused:
            return
        if incoming.is_cancelled:
            self._forget(transfer_id)
            return
        if incoming.has_begun and incoming.received == incoming.total:
            self._forget(transfer_id)
            self._say(Kind.GO, transfer_id)
            return
        incoming.is_refused, incoming.into, incoming.early = True, None, []
        self._refused.add(transfer_id)
        # All that were declared may be refused at once, before the other side can answer.
        if len(self._refused) > limits.BULK_UNANSWERED:
            raise ProtocolError("Too many transfers were refused and go on.")
        self._say(Kind.REFUSE, transfer_id)

    def pending(self) -> dict[int, int]:
        """Bytes received of each declared transfer that is not complete: where to go on."""
        return {
            transfer_id: incoming.received
            for transfer_id, incoming in self._transfers.items()
            if incoming.is_declared and not incoming.is_refused
        }

    def feed(self, data: bytes) -> None:
        """Takes a CHUNK or CANCEL of the other side.

        Raises:
            ProtocolError: The other side broke a rule; close the association.
        """
        kind, transfer_id, offset, total = unpack(data)
        if kind is Kind.CHUNK:
            self._take(transfer_id, offset, total, data, len(data) - HEADER_BYTES)
        elif kind is Kind.DEFLATED and self._inflates:
            if len(data) < _PACKED_AT:
                raise ProtocolError("A compressed chunk has no size.")
            (size,) = SIZE.unpack_from(data, HEADER_BYTES)
            self._take(transfer_id, offset, total, data, size, is_deflated=True)
        elif kind is Kind.CANCEL:
            self._give_up(transfer_id)
        else:
            raise ProtocolError("A message of a transfer went the wrong way.")

    def _take(
        self,
        transfer_id: int,
        offset: int,
        total: int,
        data: bytes,
        size: int,
        *,
        is_deflated: bool = False,
    ) -> None:
        incoming = self._transfers.get(transfer_id) or _Incoming()
        if incoming.is_cancelled:
            raise ProtocolError("A transfer went on after its end.")
        if offset != incoming.received or offset + size > total or (size == 0) != (total == 0):
            raise ProtocolError("A chunk does not follow the one before.")
        if incoming.total not in (None, total):
            raise ProtocolError("A transfer changed its size.")
        part = memoryview(data)[HEADER_BYTES:]
        if is_deflated and not incoming.is_refused:
            # Before anything changes: after an error the transfer can go on where it was.
            part = memoryview(inflate(part[SIZE.size :], size))
        if not incoming.has_begun:
            self._begin(transfer_id, incoming, total)
        if incoming.is_refused:
            self._skip(transfer_id, incoming, size)
        elif incoming.is_declared:
            self._write(transfer_id, incoming, part)
        elif incoming.received + size > limits.BULK_EARLY_WIDE_BYTES:
            raise ProtocolError("More of a transfer came than may come undeclared.")
        else:
            incoming.received += size
            incoming.early.append(bytes(part))

    def _begin(self, transfer_id: int, incoming: _Incoming, total: int) -> None:
        incoming.has_begun, incoming.total = True, total
        self._transfers[transfer_id] = self._begun[transfer_id] = incoming
        begun = self._begun.values()
        if sum(found.received < (found.total or 0) for found in begun) > limits.TRANSFERS:
            raise ProtocolError("Too many transfers at once.")
        if incoming.is_declared:
            self._say(Kind.GO, transfer_id)
        elif not incoming.is_refused:
            undeclared = [found for found in begun if not found.is_declared]
            early = limits.BULK_EARLY_WIDE_BYTES
            due = sum(charge(found.total or 0, early) for found in undeclared)
            if due > limits.TRANSFERS * early:
                raise ProtocolError("Too much came without a declaration.")

    def _write(self, transfer_id: int, incoming: _Incoming, part: bytes | memoryview) -> bool:
        """Puts a part in its place; False if that cannot be, and the transfer has failed."""
        total = incoming.total or 0
        end = incoming.received + len(part)
        try:
            self._keep(incoming, part)
        except (OSError, MemoryError) as error:  # it alone ends: others have their memory
            self._fail(transfer_id, incoming, end, error)
            return False
        incoming.received = end
        if self._on_progress is not None:
            self._on_progress(transfer_id, end, total)
        if end == total:
            self._forget(transfer_id)
            self._on_complete(transfer_id, incoming.into)
        return True

    def _skip(self, transfer_id: int, incoming: _Incoming, size: int) -> None:
        incoming.received += size
        if incoming.received == incoming.total:
            self._forget(transfer_id)

    def _keep(self, incoming: _Incoming, part: bytes | memoryview) -> None:
        if incoming.into is None:
            # Not a bytearray: that would write a gigabyte of zeros here, on the network's thread.
            incoming.into = np.empty(incoming.total or 0, dtype=np.uint8).data
        at = incoming.received
        if isinstance(incoming.into, memoryview):
            incoming.into[at : at + len(part)] = part
        else:
            incoming.into.write(at, part)

    def _fail(self, transfer_id: int, incoming: _Incoming, end: int, error: Exception) -> None:
        """What came cannot be kept: no more of this transfer is wanted."""
        if end == incoming.total:
            self._forget(transfer_id)  # nothing more of it will come
        else:
            self.refuse(transfer_id)
            incoming.received = end
        if self._on_failed is not None:
            self._on_failed(transfer_id, error)

    def _give_up(self, transfer_id: int) -> None:
        incoming = self._transfers.get(transfer_id)
        self._forget(transfer_id)
        if incoming is not None and incoming.is_declared and not incoming.is_refused:
            self._tell_cancelled(transfer_id)
        elif incoming is None or not incoming.is_refused:
            # Its declaration may still be on its way, on the other channel.
            self._transfers[transfer_id] = _Incoming(is_cancelled=True)
            self._cancelled.add(transfer_id)
            if len(self._cancelled) > limits.BULK_REFUSED:
                raise ProtocolError("Too many transfers were given up.")

    def _forget(self, transfer_id: int) -> None:
        self._transfers.pop(transfer_id, None)
        self._begun.pop(transfer_id, None)
        self._refused.discard(transfer_id)
        self._cancelled.discard(transfer_id)

    def _tell_cancelled(self, transfer_id: int) -> None:
        if self._on_cancelled is not None:
            self._on_cancelled(transfer_id)

    def _say(self, kind: Kind, transfer_id: int) -> None:
        if self._peer is not None:
            with contextlib.suppress(ConnectionLost):
                self._peer.send(Channel.BULK, pack(kind, transfer_id))
