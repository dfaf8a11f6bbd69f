"""What leaves: a decided value on its way from the engine to the scientist.

A value leaves as the snapshot that was judged. Small ones came with the facts; others are fetched
with one more command. Before anything that is not public leaves, the journal has kept that it
leaves; if it cannot, nothing leaves. What a handler reserved is used when the value was queued to
the scientist, and given back if that could not be done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.errors import DuetError, QuotaExceeded
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.objects.words import clean_text
from duet_p2p.owner.journal import Journal, SignHead
from duet_p2p.owner.policy import Policy, Reservation
from duet_p2p.owner.requests import Why, Words, request_id
from duet_p2p.owner.totals import Totals
from duet_p2p.wire import messages as wire

__all__ = ["PUBLIC", "REPEAT", "Leaving", "Outlet", "Releases", "facts_for_journal"]

PUBLIC = "public"
REPEAT = "repeat"


class Outlet(Protocol):
    """The two ways out: to the engine and to the scientist."""

    def to_engine(self, command: engine.Command) -> None:
        """One command, in order."""
        ...

    def post(self, message: wire.Message) -> None:
        """One numbered answer, in order; `DuetError` if it cannot be sent."""
        ...

    def send_value(self, call: int, value: Any, data: engine.Payload | None) -> None:
        """A released value, with its bytes on the bulk channel if there are any.

        `DuetError`, `TypeError` or `ValueError` if it cannot be sent; nothing was sent then.
        """
        ...


@dataclass(frozen=True, slots=True)
class Leaving:
    """A decided value."""

    call: int
    object_id: int
    facts: engine.Facts
    how: str
    """`PUBLIC`, `REPEAT` or the rule or person that let it out."""
    reservation: Reservation | None = None


class Releases:
    """Sends what was decided, and keeps what was said about each object.

    Args:
        outlet: the ways out.
        policy: whose reservations end here.
        journal: keeps what leaves.
        on_not_sent: called with a request's call and why what was accepted did not leave.

    Attributes:
        words: the owner's last word about each object.
        totals: what left, by source.
        together: bytes that may wait for the journal at once; one value may in any case.
    """

    def __init__(
        self,
        outlet: Outlet,
        policy: Policy,
        journal: Journal,
        on_not_sent: Callable[[int, str], object],
    ) -> None:
        self.words = Words()
        self.totals = Totals()
        self.together = limits.DOWNLOADS_BYTES
        self._outlet = outlet
        self._policy = policy
        self._journal = journal
        self._on_not_sent = on_not_sent
        self._leaving: dict[int, Leaving] = {}
        self._recording: dict[int, Leaving] = {}  # at hand, until the journal has kept it
        self._recorded = 0  # bytes of those, and of others that the journal still reads
        self._head: SignHead | None = None  # of the journal, to be sent

    def __contains__(self, call: int) -> bool:
        return call in self._leaving or call in self._recording

    def asked(self) -> None:
        """The engine freezes a value that somebody asked for: there may be one to give soon."""
        self._journal.expect()

    def give(
        self,
        leaving: Leaving,
        value: Any,
        has_value: bool,
        data: engine.Payload | None = None,
        *,
        is_frozen: bool = True,
    ) -> None:
        """Sends a value from its snapshot in the engine, or at once if it is at hand.

        Args:
            leaving: what was decided.
            value: closed, if it is at hand.
            has_value: whether it is, without `data`.
            data: the bytes that its spans point into.
            is_frozen: False: the engine has no snapshot any more; it has given the value, or will.
        """
        if leaving.facts.failed or has_value or data is not None:
            self.send(leaving, value, data)
            if is_frozen:
                self._outlet.to_engine(engine.Discard(leaving.call))
        else:
            self.expect(leaving)
            if is_frozen:
                self._outlet.to_engine(engine.Release(leaving.call))

    def expect(self, leaving: Leaving) -> None:
        """The engine is about to give this value's bytes."""
        self._leaving[leaving.call] = leaving

    def bytes(self, event: engine.Bytes) -> None:
        """The engine gave them."""
        leaving = self._leaving.pop(event.call, None)
        if leaving is not None:
            self.send(leaving, event.value, event.data)

    def refused(self, event: engine.Refused) -> None:
        """The engine cannot give them."""
        leaving = self._leaving.pop(event.call, None)
        if leaving is not None:  # the engine's words can hold a private value
            self._not_sent(leaving, "the engine cannot give it")

    def send(self, leaving: Leaving, value: Any, data: engine.Payload | None) -> None:
        """Has it kept in the journal, then queues it to the scientist."""
        if leaving.how == PUBLIC or not self._journal.is_kept:
            self._queue(leaving, value, data)
            return
        call, facts = leaving.call, leaving.facts
        nbytes = _bytes_of(data)
        if self._recorded and self._recorded + nbytes > self.together:
            why = f"{self._recorded} bytes wait to be recorded in the audit log: get it again later"
            self._not_sent(leaving, why, told=why)
            return
        try:
            kept = self._journal.commit(
                REPEAT if leaving.how == REPEAT else "release",
                {"request": request_id(call), "how": leaving.how, **facts_for_journal(facts)},
                (facts.failed, None) if facts.failed else (value, data),
            )
        except (TypeError, ValueError) as error:
            self._not_sent(leaving, str(error))
            return
        if kept is None:
            self._queue(leaving, value, data)
            return
        self._recording[call] = leaving
        self._recorded += nbytes
        if kept.done():
            self._kept(leaving, value, data, kept)
        else:
            kept.add_done_callback(partial(self._kept, leaving, value, data))

    def _kept(
        self,
        leaving: Leaving,
        value: Any,
        data: engine.Payload | None,
        kept: asyncio.Future[SignHead],
    ) -> None:
        """The journal has kept the release, or cannot."""
        self._recorded -= _bytes_of(data)
        if self._recording.pop(leaving.call, None) is not leaving:
            # The engine died meanwhile: what this value belongs to is gone.
            if not kept.cancelled():
                kept.exception()
            self._journal.record(
                "fault", {"request": request_id(leaving.call), "reason": "not sent after all"}
            )
        elif kept.cancelled() or kept.exception() is not None:
            self._not_sent(leaving, "" if kept.cancelled() else str(kept.exception()))
        elif self._queue(leaving, value, data):
            if self._head is None:  # one for all that leave in a moment, behind them
                kept.get_loop().call_later(limits.AUDIT_HEAD_SECONDS, self._post_head)
            self._head = kept.result()

    def close(self, head: SignedHead | None) -> None:
        """The journal has ended with this head, which is the last that the scientist gets."""
        self._head = None
        if head is not None:
            self._tell_head(head)

    def _post_head(self) -> None:
        """Signs the newest head of the journal and sends it."""
        sign, self._head = self._head, None
        if sign is not None:
            self._tell_head(sign())

    def _tell_head(self, head: SignedHead) -> None:
        with contextlib.suppress(DuetError):  # the session has ended: nobody is left to be told
            self._outlet.post(wire.AuditHead(head.head, head.pub, head.signature))

    def _queue(self, leaving: Leaving, value: Any, data: engine.Payload | None) -> bool:
        """Queues the value to the scientist and ends its reservation; False if it cannot be."""
        call, facts = leaving.call, leaving.facts
        try:
            if facts.failed:
                self._outlet.post(_failure(call, facts))
            else:
                self._outlet.send_value(call, value, data)
        except QuotaExceeded as error:
            self._not_sent(leaving, str(error), told=str(error))
            return False
        except (DuetError, TypeError, ValueError) as error:
            self._not_sent(leaving, str(error))
            return False
        if leaving.reservation is not None:
            self._policy.release(leaving.reservation)
        if leaving.how == PUBLIC:  # nothing of the owner's, so it is not waited for
            self._journal.record("public", {"request": request_id(call), "type": facts.type})
        elif leaving.how != REPEAT:
            self.totals.add(leaving.call, facts)
        if leaving.how != PUBLIC:
            self.words.released(leaving.object_id, facts.version)
        return True

    def post(self, message: wire.Message) -> None:
        """One answer. If the session has ended, nobody is left to be told."""
        try:
            self._outlet.post(message)
        except DuetError as error:
            self._journal.record("fault", {"not_sent": type(message).__name__, "why": str(error)})

    def refuse(self, call: int, reason: str) -> None:
        """A request that no decision is needed for."""
        self._journal.record("refusal", {"request": request_id(call), "reason": reason})
        self.post(wire.Denied(call, reason))

    def unknown(self, call: int, state: Why = Why.UNKNOWN, reason: str = "") -> None:
        """Asked for what this scientist may not have: told in one word, and on record."""
        self._journal.record(
            "refusal", {"request": request_id(call), "reason": f"get: {state.value}"}
        )
        self.post(wire.NotYours(call, state.value, reason))

    def lost(self, why: str) -> None:
        """The engine died: nothing comes any more, and no object is what it was."""
        for leaving in [*self._leaving.values(), *self._recording.values()]:
            if leaving.reservation is not None:
                self._policy.give_back(leaving.reservation)
            if leaving.how != PUBLIC:
                self._on_not_sent(leaving.call, why)
            if leaving.how != PUBLIC and leaving.call in self._leaving:  # others: see `_kept`
                reason = {"request": request_id(leaving.call), "reason": f"not sent: {why}"}
                self._journal.record("fault", reason)
        self._leaving.clear()
        self._recording.clear()
        self._policy.engine_died()
        self.words.clear()

    def _not_sent(
        self, leaving: Leaving, reason: str, *, told: str = "this value cannot be sent"
    ) -> None:
        if leaving.reservation is not None:
            self._policy.give_back(leaving.reservation)
        self._journal.record("fault", {"request": request_id(leaving.call), "reason": reason})
        self._on_not_sent(leaving.call, reason)
        self.refuse(leaving.call, told)


def _bytes_of(data: engine.Payload | None) -> int:
    if data is None:
        return 0
    return data.nbytes if isinstance(data, engine.Departure) else memoryview(data).nbytes


def facts_for_journal(facts: engine.Facts) -> dict[str, Any]:
    """The facts without text that came from values."""
    return {
        "value_kind": facts.kind,
        "type": facts.type,
        "elements": facts.elements,
        "nbytes": facts.nbytes,
        "sources": list(facts.sources),
        "min_records": facts.min_records,
        "injected": facts.injected,
        "dropout": facts.dropout,
        "failed": bool(facts.failed),
    }


def _failure(call: int, facts: engine.Facts) -> wire.Failed:
    text = clean_text(facts.failed, limits.MESSAGE_TEXT_CHARS)
    return wire.Failed(call, facts.failed_seq, facts.failed_op, facts.failed_code, text)
