"""Tensors on channel 2, in chunks.

A transfer is a number of bytes under an id. Its declaration, what it is and how long, travels in a
command on another channel, and channels are not ordered among each other, so the first chunks may
come before it. A receiver cannot hold back what SCTP delivers. Hence the one rule here:

    of each transfer the sender sends a part by itself, and the rest when the receiver says GO,
    which it does once the transfer was declared to it and has begun; and what was sent of all
    transfers without a GO is at most `limits.TRANSFERS` such parts.

A part is `limits.BULK_EARLY_BYTES`, or what the receiver said in its signed capabilities (`early`):
ours says `limits.BULK_EARLY_WIDE_BYTES`, which is what leaves on loopback until GO is back. So a
receiver never holds more than `TRANSFERS` times that without a declaration, and an honest sender
never gets there. After GO no more flow control is needed: the memory is reserved, and SCTP's own
windows pace the network.

A message is a header and bytes, at most `limits.MESSAGE_MAX_BYTES` together:

    kind u8 │ transfer u64 │ offset u64 │ total u64 │ bytes

CHUNK goes from sender to receiver, with the bytes that belong at an offset; chunks of a transfer
follow each other without gaps, and at most `limits.TRANSFERS` are under way at once. CANCEL says
that no more will come. GO and REFUSE come back; CANCEL answers a REFUSE unless everything was sent
before. DEFLATED is a CHUNK whose bytes are compressed (session/deflation.py), with their size as a
u32 in front of them; offsets count what is inflated. Only an owner sends it, where both sides said
in their capabilities that they can. The ids of the two directions have nothing to do with each
other.
"""

from __future__ import annotations

from collections.abc import Callable

from duet_p2p import limits
from duet_p2p.session.bulk_header import Kind
from duet_p2p.session.bulk_receiver import BulkReceiver
from duet_p2p.session.bulk_sender import BulkSender
from duet_p2p.transport.base import Peer

__all__ = ["Bulk", "BulkReceiver", "BulkSender"]

_TO_SENDER = frozenset({Kind.GO, Kind.REFUSE})


class Bulk:
    """Channel 2 of one association, both directions.

    Feed it each message of that channel. After a reconnect `attach` the new peer: what was being
    received goes on; what was being sent ended with `ConnectionLost` and is sent again from the
    offset that the other side's `BulkReceiver.pending` named.

    Args:
        on_complete: Called with (transfer, bytes) when all of a declared transfer is there.
        on_progress: Called with (transfer, bytes received, total).
        on_cancelled: Called with (transfer) when the other side gave one up.
        on_failed: Called with (transfer, error) when what came could not be kept here.
    """

    def __init__(
        self,
        on_complete: Callable[[int, memoryview], None],
        on_progress: Callable[[int, int, int], None] | None = None,
        on_cancelled: Callable[[int], None] | None = None,
        on_failed: Callable[[int, Exception], None] | None = None,
    ) -> None:
        self.receiver = BulkReceiver(on_complete, on_progress, on_cancelled, on_failed)
        self._sender: BulkSender | None = None
        self._sent_before = 0

    @property
    def sender(self) -> BulkSender:
        """The sender of the present association; there is none before `attach`."""
        if self._sender is None:
            raise LookupError("no association is attached")
        return self._sender

    @property
    def sent_bytes(self) -> int:
        """Bytes of chunks that were sent, over all associations."""
        return self._sent_before + (self._sender.sent_bytes if self._sender else 0)

    def attach(
        self,
        peer: Peer,
        *,
        deflates: bool = False,
        inflates: bool = False,
        early: int = limits.BULK_EARLY_BYTES,
    ) -> None:
        """Uses an association, the first or a new one.

        Args:
            peer: the association.
            deflates: whether this side may send compressed chunks.
            inflates: whether it takes them.
            early: bytes of a transfer that the other side takes before it says GO.
        """
        self._sent_before = self.sent_bytes
        self._sender = BulkSender(peer, deflates=deflates, early=early)
        self.receiver.attach(peer, inflates=inflates)

    def feed(self, data: bytes) -> None:
        """Takes one message of channel 2.

        Raises:
            ProtocolError: The other side broke a rule; close the association.
        """
        if data and data[0] in _TO_SENDER:
            self.sender.feed(data)
        else:
            self.receiver.feed(data)
