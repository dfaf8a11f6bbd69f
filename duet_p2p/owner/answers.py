"""What goes back to the scientist: the whole visible store first, then one answer after the other.

The store can be told only when an engine is up, which may be later than the scientist; nothing that
an engine says comes before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from duet_p2p import limits
from duet_p2p.engine.messages import Departure, Payload, Started
from duet_p2p.errors import DuetError, QuotaExceeded
from duet_p2p.owner.catalog import pages
from duet_p2p.owner.ends import SessionEnd
from duet_p2p.owner.journal import Journal
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Blob

__all__ = ["Answers"]


class Answers:
    """The service's words to the scientist.

    Args:
        session: takes them.
        journal: hears of what could not be sent.
        store: the messages that tell the whole visible store.
        quotas: of the session; `downloads_bytes` of all values that the scientist does not have.

    Attributes:
        engine: the newest engine that was up; None before the first.
    """

    def __init__(
        self,
        session: SessionEnd,
        journal: Journal,
        store: Callable[[Started], Iterable[wire.Message]],
        quotas: Mapping[str, int],
    ) -> None:
        self.engine: Started | None = None
        self._session = session
        self._journal = journal
        self._store = store
        self._together = quotas.get("downloads_bytes", limits.DOWNLOADS_BYTES)
        self._is_open = True
        self._is_expected = False  # the scientist is there and waits for the store
        self._has_greeted = False

    def greet(self) -> None:
        """The scientist is there: its first answer is the whole visible store."""
        self._is_expected = True
        if not self._has_greeted and self.engine is not None:
            self._has_greeted = True
            self._tell_all(self.engine)

    def up(self, started: Started) -> None:
        """The first engine is up; whoever waits for the store gets it."""
        self.engine = started
        if self._is_expected:
            self.greet()

    def another(self, started: Started, reason: str) -> None:
        """Another engine: what the scientist made is gone; what the owner shares is there."""
        self.tell(wire.EngineRestarted(started.epoch, reason))
        if self._has_greeted:
            self._tell_all(started)

    def _tell_all(self, started: Started) -> None:
        for message in self._store(started):
            self.tell(message)

    def tell(self, message: wire.Message) -> None:
        """One answer that is no release: one that cannot be sent is noted."""
        if not self._is_open:
            return
        try:
            self._session.post(message)
        except (DuetError, TypeError, ValueError) as error:
            self._journal.record("fault", {"not_sent": type(message).__name__, "why": str(error)})

    def tell_store(self, change: wire.StoreChanged) -> None:
        """A change of the visible store."""
        if self._has_greeted:
            (added,) = pages(change.added)
            self.tell(wire.StoreChanged(added, change.removed))

    def post(self, message: wire.Message) -> None:
        """One answer; `DuetError` if it cannot be sent."""
        self._session.post(message)

    def send_value(self, call: int, value: Any, data: Payload | None) -> None:
        """A released value; its bytes go on the bulk channel.

        Raises:
            QuotaExceeded: the scientist has not taken what was sent before.
        """
        if data is None:  # the scientist waits for it: what is to be noted comes after
            self._session.post(wire.Value(call, value, None), at_once=True)
            return
        view = data if isinstance(data, Departure) else memoryview(data)
        self._check_room(view.nbytes)
        # Encoded once in vain, so that no transfer begins whose message cannot be sent.
        encode_message(wire.Value(call, value, Blob(1, view.nbytes)))
        transfer = self._session.send_blob([view], view.nbytes)
        self._session.post(wire.Value(call, value, Blob(transfer, view.nbytes)))

    def _check_room(self, nbytes: int) -> None:
        """A partner who asks and takes nothing would have everything kept here."""
        sent = self._session.transfers
        is_full = sent.out_bytes and sent.out_bytes + nbytes > self._together
        is_file = nbytes >= limits.PIPE_MEMORY_FILE_BYTES
        if is_full or (is_file and sent.out_files >= limits.DOWNLOAD_FILES):
            raise QuotaExceeded(
                f"values of {sent.out_bytes} bytes are on their way, another of {nbytes} would be "
                f"more than the {self._together} allowed (downloads_bytes), or than "
                f"{limits.DOWNLOAD_FILES} large ones: get it again when they are there"
            )

    def close(self) -> None:
        """Nobody is there any more."""
        self._is_open = False
