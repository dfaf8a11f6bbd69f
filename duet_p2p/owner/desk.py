"""From a request to its decision: judge, decide.

Everything here runs on the loop. The way of one value:

    intake.py → policy: accept, deny, or wait for the owner → release.py

What is judged and what is released are one and the same snapshot, so nothing that the scientist
does between the two changes what leaves.

Nothing here raises into the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.engine.departure import written
from duet_p2p.errors import NotAllowed, RequestClosed, SessionClosed
from duet_p2p.objects.words import clean_line, whole_text
from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.owner.handlers import Case, Handler
from duet_p2p.owner.intake import Intake, case_of, refusal_of
from duet_p2p.owner.journal import Journal
from duet_p2p.owner.policy import ACCEPT, DENY, Decision, Look, Policy
from duet_p2p.owner.printing import Printer
from duet_p2p.owner.release import Leaving, Outlet, Releases
from duet_p2p.owner.request_rows import RequestRows
from duet_p2p.owner.requests import Record, RequestBook, Status, Why, request_id
from duet_p2p.owner.rule_checks import misread
from duet_p2p.wire import messages as wire

__all__ = ["Desk"]


class Desk:
    """The owner's desk for one scientist: requests in, decisions out."""

    def __init__(
        self,
        outlet: Outlet,
        *,
        policy: Policy,
        book: RequestBook,
        journal: Journal,
        printer: Printer,
        clock: Callable[[], float],
        source_name: Callable[[int], str],
        requester: str = "",
    ) -> None:
        self.policy = policy
        self.book = book
        self.on_change: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None  # decided: no deadline is new
        self.releases = Releases(outlet, policy, journal, self._not_sent)
        self.intake = Intake(
            outlet, self.releases, book, policy, self, clock=clock, requester=requester
        )
        self._outlet = outlet
        self._journal = journal
        self._rows = RequestRows(journal, source_name)
        self._printer = printer
        self._clock = clock
        self._frozen: set[int] = set()  # calls of which the engine holds a snapshot
        self._peeks: dict[int, tuple[Record, Handler, str]] = {}
        self._looks: dict[int, asyncio.Future[Record]] = {}  # the owner reads a pending value
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}

    # from the scientist

    def withdraw(self, call: int) -> None:
        """The scientist takes a request back; one that is decided stays decided."""
        record = self.book.find(call)
        if record is not None and record.is_pending:
            self._end(record, Status.WITHDRAWN, why="withdrawn by the scientist")

    def deleted(self, ids: tuple[int, ...]) -> None:
        """These ids are dead; the engine gives them to no other object."""
        for object_id in ids:
            self.releases.words.forget(object_id)

    # from the engine

    def arrived(self, record: Record) -> None:
        """The engine froze what a request wants, and its facts are there."""
        self._frozen.add(record.call)
        self._rows.asked(record)
        self._judge(record)

    def accepted_at_once(self, record: Record, decision: Decision) -> None:
        """The same, for one that a handler took before all of its facts were there."""
        self._frozen.add(record.call)
        self._rows.asked(record)
        self._accepted(record, decision, decision.why)

    def told(self, record: Record) -> None:
        """All facts of such a one are there: who waits for its end sees it whole."""
        record.is_told = True
        self._rows.told(record)
        self._tell_end(record)

    def bytes(self, event: engine.Bytes) -> None:
        """The engine gave a frozen value."""
        look, record = self._looks.pop(event.call, None), self.book.find(event.call)
        if look is not None and record is not None and not look.done():
            if record.is_pending:
                record.value, record.has_value, record.data = event.value, True, event.data
                look.set_result(record)
            else:
                look.set_exception(RequestClosed(f"Request {record.id} was decided meanwhile."))
        self.releases.bytes(event)

    def text(self, event: engine.Text) -> None:
        """The engine gave a frozen value as text, for the owner's eyes."""
        record = self.book.find(event.call)
        if record is not None and record.is_pending:
            record.text = event.text
        asked = self._peeks.pop(event.call, None)
        if asked is not None:
            self._print(*asked, event.text)

    def refused(self, event: engine.Refused) -> None:
        """The engine cannot give a value that was decided about, or that the owner looks at."""
        look = self._looks.pop(event.call, None)
        if look is not None and not look.done():
            look.set_exception(
                NotAllowed(f"This value cannot be shown: {whole_text(event.reason)}")
            )
        self.releases.refused(event)

    # from the owner

    def accept(self, call: int, *, always: bool = False) -> None:
        """The owner accepts by hand, once, or for whatever is bound by the recipe.

        Raises:
            RequestClosed: it is not pending any more.
            NotAllowed: it cannot be bound (with `always`), or not be sent at all.
        """
        record = self._pending(call)
        facts = _facts(record)
        refusal = refusal_of(facts)
        if self._is_gone(record):
            refusal = "the engine could not give it when you looked, and has it no more"
        if refusal:
            raise NotAllowed(f"This cannot be accepted: {refusal}.")
        handler = self.policy.always(facts) if always else None
        self.policy.remember(ACCEPT, facts)
        self._accepted(record, None, f"accepted by hand{', always' if always else ''}")
        if always and (text := always_text(facts)):
            self._printer.say(f"Always: {text}.")
        if handler is not None:
            self.add_handler(handler)

    def deny(self, call: int, reason: str = "") -> None:
        """The owner denies by hand; the reason is told.

        Raises:
            RequestClosed: it is not pending any more.
        """
        record = self._pending(call)
        self.policy.remember(DENY, _facts(record))
        self._denied(
            record, None, "denied by hand", clean_line(reason, limits.REQUEST_REASON_CHARS)
        )

    def add_handler(self, handler: Handler) -> None:
        """Adds a handler, whose life begins now, and applies it at once to what waits."""
        handler.created_at = self._clock()
        replaced = self.policy.add(handler)
        self._journal.record(
            "handler",
            {
                "id": handler.id,
                "action": handler.action,
                "said": handler.conditions.described(),
                "element_quota": handler.element_quota,
                "timeout_secs": handler.timeout_secs,
                "replaced": [old.id for old in replaced],
            },
        )
        if handler.is_open:
            self._printer.warn_open()
        if text := misread(handler):
            self._printer.warn(text)
        for record in self.book.pending():
            if record.is_pending:  # an answer that cannot be sent ends the session, and all of them
                self._judge(record)
        self.on_change()

    def bind(self, call: int) -> Binding:
        """What ties later requests to this one, decided or not; see `Policy.bind`."""
        return self.policy.bind(_facts(self._frozen_record(call)))

    def outputs_of_plan(self, digest: str) -> list[Record]:
        """What waits for a decision and is an output of this plan."""
        return [r for r in self.book.pending() if r.facts and r.facts.plan == digest]

    def remove_handler(self, handler: Handler) -> None:
        """Takes a handler off; what waits goes on waiting."""
        if self.policy.remove(handler):
            self._journal.record("handler", {"id": handler.id, "removed": True})
            self.on_change()

    def clear_handlers(self) -> None:
        """Takes all handlers off."""
        for handler in self.policy.handlers():
            self.remove_handler(handler)

    def explain(self, record: Record) -> tuple[Look, ...]:
        """How the present handlers look at a request, decided or not."""
        return self.policy.explain(_case(record), self._clock())

    def case(self, call: int) -> Case:
        """What handlers see of a request, decided or not."""
        return _case(self._frozen_record(call))

    async def look(self, call: int) -> Record:
        """Fetches the value of a pending request for the owner's own eyes.

        It stays what would be released: the bytes are kept with the request.
        """
        record = self._pending(call)
        if record.has_value or _facts(record).failed:
            await written(record.data)
            return record
        future = self._looks.get(call)
        if future is None:
            future = self._looks[call] = asyncio.get_running_loop().create_future()
            self._frozen.discard(call)  # `Release` gives the snapshot up
            self._outlet.to_engine(engine.Peek(call, limits.PRINTED_VALUE_CHARS))
            self._outlet.to_engine(engine.Release(call, is_look=True))
        async with asyncio.timeout(limits.OWNER_CALL_SECONDS):
            return await asyncio.shield(future)

    def is_leaving(self, call: int) -> bool:
        """Whether an accepted value has still to be queued to the scientist."""
        return call in self.releases

    async def decided(self, call: int, timeout: float | None) -> None:
        """Returns when a request is decided and its facts are whole, or after `timeout` seconds.

        Raises:
            SessionClosed: the session ended first.
        """
        record = self.book.find(call)
        if record is None or (not record.is_pending and record.is_told):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(call, [])
        waiters.append(future)
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return
        finally:
            if future in waiters:
                waiters.remove(future)

    # time and ends

    def tick(self) -> None:
        """Ends what is over: requests, then handlers."""
        now = self._clock()
        for record in self.book.due(now):
            if record.is_pending:  # as in `add_handler`
                self._expired(record, "nobody decided in time")
        for handler in self.policy.expire(now):
            self._journal.record("handler", {"id": handler.id, "expired": True})
            self.on_change()

    def now(self) -> float:
        """The clock of requests and handlers."""
        return self._clock()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        ends = (self.book.next_deadline(), self.policy.next_expiry())
        return min((end for end in ends if end is not None), default=None)

    def engine_died(self, why: str = "the engine was restarted") -> None:
        """The snapshots are gone: open requests expire, nothing is told (the session tells)."""
        self.releases.lost(why)
        self.intake.lost()
        for look in self._looks.values():
            if not look.done():
                look.set_exception(RequestClosed(f"This value is gone: {why}."))
        for state in (self._frozen, self._peeks, self._looks):
            state.clear()
        self._expire_all(why)

    def closes(self) -> None:
        """The owner is about to close: what waits has expired, while that can still be logged."""
        self._end_waits()
        self._expire_all("the session ended")
        self._journal.record("session", {"state": "closed", "why": "by the owner"})

    def _expire_all(self, why: str) -> None:
        for record in self.book.opened():
            self._end(record, Status.EXPIRED, why=why)

    def closed(self) -> None:
        """The session is over: nothing waits any longer."""
        self._end_waits()
        self.engine_died("the session ended")

    def _end_waits(self) -> None:
        for future in (future for futures in self._waiters.values() for future in futures):
            if not future.done():
                future.set_exception(SessionClosed())
        self._waiters.clear()

    # parts

    def _frozen_record(self, call: int) -> Record:
        """A request in any state whose facts are known."""
        record = self.book.find(call)
        if record is None or record.facts is None:
            raise RequestClosed(f"There is no request {request_id(call)} any more.")
        return record

    def _pending(self, call: int) -> Record:
        record = self.book.find(call)
        if record is None:
            raise RequestClosed(f"There is no request {request_id(call)} any more.")
        if not record.is_pending or record.facts is None:
            raise RequestClosed(
                f"Request {record.id} ({record.name!r}) is {record.status.value}; "
                "nothing was changed."
            )
        return record

    def _judge(self, record: Record) -> None:
        """Handlers look at a request that is not decided."""
        decision = self.policy.decide(_case(record), self._clock())
        if decision.action == ACCEPT:
            self._accepted(record, decision, decision.why)
        elif decision.action == DENY:
            self._denied(record, decision, decision.why, decision.why if decision.is_hard else "")
        elif record.limit_s == 0:
            self._expired(record, f"only handlers were asked; {decision.why}")
        else:
            record.why = decision.why
            self.on_change()

    def _accepted(self, record: Record, decision: Decision | None, why: str) -> None:
        self._peek(record, decision)
        reservation = decision.reservation if decision else None
        leaving = Leaving(record.call, record.object_id, _facts(record), why, reservation)
        value, has_value, data = record.value, record.has_value, record.data
        is_frozen = record.call in self._frozen  # not if the owner has looked, or is about to
        is_gone = self._is_gone(record)
        self._close(record, Status.ACCEPTED, why=why)
        self.releases.give(leaving, value, has_value, data, is_frozen=is_frozen)
        if is_gone:
            self.releases.refused(engine.Refused(record.call, "it has this value no more"))
        self._tell_end(record)  # after the value left

    def _denied(self, record: Record, decision: Decision | None, why: str, answer: str) -> None:
        self._peek(record, decision)
        self.releases.words.said(record.object_id, Why.DENIED, answer)
        self._end(record, Status.REJECTED, why=why, answer=answer)
        self.releases.post(wire.Denied(record.call, answer))

    def _expired(self, record: Record, why: str) -> None:
        self.releases.words.said(record.object_id, Why.EXPIRED)
        self._end(record, Status.EXPIRED, why=why)
        self.releases.post(wire.Expired(record.call))

    def _end(self, record: Record, status: Status, *, why: str, answer: str = "") -> None:
        """A last state in which the snapshot is not needed any more."""
        if record.call in self._frozen:
            self._outlet.to_engine(engine.Discard(record.call))
        self._close(record, status, why=why, answer=answer)
        self._tell_end(record)

    def _is_gone(self, record: Record) -> bool:
        """Whether nobody has the value: the owner looked, and the engine could not give it."""
        is_here = record.has_value or record.data is not None or bool(_facts(record).failed)
        return not (is_here or record.call in self._frozen or record.call in self._looks)

    def _close(self, record: Record, status: Status, *, why: str, answer: str = "") -> None:
        self.book.end(record.call, status, why=why, answer=answer)
        self._frozen.discard(record.call)
        # The history keeps facts, not values.
        record.value, record.has_value, record.data, record.text = None, False, None, ""
        self._rows.decided(record)

    def _not_sent(self, call: int, reason: str) -> None:
        """What was accepted did not leave: the owner must not read that it did."""
        record = self.book.find(call)
        if record is not None:
            record.why = f"not sent: {reason or 'it was given up'} ({record.why})"
            self.on_change()

    def _tell_end(self, record: Record) -> None:
        if not record.is_told:
            return
        for future in self._waiters.pop(record.call, ()):
            if not future.done():
                future.set_result(None)
        self.on_end()

    def _peek(self, record: Record, decision: Decision | None) -> None:
        """Shows the value where the deciding handler says so, denials included."""
        handler = decision.handler if decision else None
        if decision is None or handler is None or not (handler.print_local or handler.log_local):
            return
        text = _facts(record).failed or record.text
        if text:
            self._print(record, handler, decision.action, text)
            return
        self._peeks[record.call] = (record, handler, decision.action)
        if record.call not in self._looks:  # which has asked for the text already
            self._outlet.to_engine(engine.Peek(record.call, limits.PRINTED_VALUE_CHARS))

    def _print(self, record: Record, handler: Handler, action: str, text: str) -> None:
        self._printer.value(
            action,  # of the decision: an accept handler without quota denies
            record.name,
            record.reason,
            text,
            to_screen=handler.print_local,
            to_log=handler.log_local,
        )


def _facts(record: Record) -> engine.Facts:
    assert record.facts is not None, "a request is listed when its facts are there"
    return record.facts


def _case(record: Record) -> Case:
    return case_of(record, _facts(record))
