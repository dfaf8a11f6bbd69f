"""From a request to its facts: freeze, and what needs no decision.

Everything here runs on the loop. The way of one value:

    Request → Snapshot to the engine → Candidate (facts) → public, or released before? give it
            → accepted whatever an account says? desk.py → Described (the account) → desk.py

An account (how a value came to be, as text and as a form) is the longer part of the engine's work
on a snapshot. Where no rule reads it, it comes after the facts, and a handler that accepts does not
wait for it. A request that is not accepted so is nowhere to be seen until all facts are there.

The other side's numbers are never trusted: a call that was used, an id that is none and a limit
that is no number are answered as unknown or read as nothing; nothing here raises into the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Final, Protocol

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.handlers import Case
from duet_p2p.owner.policy import ACCEPT, Decision, Policy
from duet_p2p.owner.release import PUBLIC, REPEAT, Leaving, Outlet, Releases
from duet_p2p.owner.requests import Record, RequestBook, Why, is_id
from duet_p2p.wire import messages as wire

__all__ = ["Intake", "Judge", "case_of", "refusal_of"]

_UNSENDABLE: Final = (
    "torch.optim.",
    "torch.utils.data.",
    "torch.distributions.",
    "torchvision.",
)
"""Type names of objects that live on the owner's side only: what they hold can be asked for."""
_ACCOUNT: Final = tuple(f.name for f in fields(engine.Described) if f.name != "call")


class Judge(Protocol):
    """Who decides about requests."""

    def arrived(self, record: Record) -> None:
        """The engine froze what a request wants, and its facts are there."""
        ...

    def accepted_at_once(self, record: Record, decision: Decision) -> None:
        """The same, for one that a handler took before all of its facts were there."""
        ...

    def told(self, record: Record) -> None:
        """All facts of such a one are there."""
        ...


class Intake:
    """Takes requests and gets in.

    Attributes:
        requester: ID of the scientist.
    """

    def __init__(
        self,
        outlet: Outlet,
        releases: Releases,
        book: RequestBook,
        policy: Policy,
        judge: Judge,
        *,
        clock: Callable[[], float],
        requester: str = "",
    ) -> None:
        self.requester = requester
        self._outlet = outlet
        self._releases = releases
        self._book = book
        self._policy = policy
        self._judge = judge
        self._clock = clock
        self._gets: dict[int, int] = {}  # whose snapshot is under way: call to object
        self._asks: dict[int, Record] = {}  # requests of the same state
        self._undescribed: dict[int, tuple[Record, engine.Candidate]] = {}

    # from the scientist

    def request(self, message: wire.Request) -> bool:
        """A request arrived. True if the engine was asked, so that an answer follows."""
        call = message.call
        if self._is_used(call) or not is_id(message.id):
            self._releases.unknown(call)
            return False
        if self._book.is_full:
            self._releases.refuse(call, self._book.why_full)
            return False
        account = "after" if self._policy.reads_no_account else "with"
        self._outlet.to_engine(engine.Snapshot(call, message.id, account))
        record = self._asks[call] = Record(  # while the engine works
            call=call,
            object_id=message.id,
            name=clean_line(message.name, limits.REQUEST_NAME_CHARS),
            reason=clean_line(message.reason, limits.REQUEST_REASON_CHARS),
            limit_s=_limit(message.limit_s),
            arrived_at=self._clock(),
            requester=self.requester,
        )
        self._book.add(record)
        self._releases.asked()
        return True

    def get(self, message: wire.Get) -> bool:
        """A get arrived: it never asks anybody. True if the engine was asked."""
        if self._is_used(message.call) or not is_id(message.id):
            self._releases.unknown(message.call)
            return False
        self._gets[message.call] = message.id
        self._outlet.to_engine(engine.Snapshot(message.call, message.id, "never"))
        self._releases.asked()
        return True

    # from the engine

    def candidate(self, event: engine.Candidate) -> bool:
        """The engine froze a value: answer, have it judged, or wait for its account.

        Returns:
            False if it waits.
        """
        call, facts = event.call, event.facts
        record = self._asks.pop(call, None)
        object_id = self._gets.pop(call, 0) if record is None else record.object_id
        if object_id == 0 or (record is not None and not record.is_pending):
            self._outlet.to_engine(engine.Discard(call))  # withdrawn or expired meanwhile
            return True
        if facts is None:
            self._book.forget(call)
            self._releases.unknown(call)
            return True
        how = self._free(object_id, facts)
        if how:
            self._book.forget(call)
            leaving = Leaving(call, object_id, facts, how)
            self._releases.give(leaving, event.value, event.has_value, event.data)
        elif record is None:
            self._outlet.to_engine(engine.Discard(call))
            self._releases.unknown(call, *self._word_about(object_id))
        elif event.is_described:
            record.froze(event)
            self._judge.arrived(record)
        else:
            self._undescribed[call] = record, event
            if not self._is_accepted(record, event, facts):
                self._outlet.to_engine(engine.Describe())
                return False
        return True

    def described(self, event: engine.Described) -> None:
        """The account of a value."""
        record, candidate = self._undescribed.pop(event.call, (None, None))
        if record is None or candidate is None or candidate.facts is None:
            return  # needed no decision
        account = {name: getattr(event, name) for name in _ACCOUNT}
        facts = replace(candidate.facts, **account)
        if not record.is_told:
            record.facts = facts
            self._judge.told(record)
        elif record.is_pending:
            record.froze(replace(candidate, facts=facts))
            self._judge.arrived(record)
        else:  # withdrawn or expired meanwhile
            self._outlet.to_engine(engine.Discard(event.call))

    def lost(self) -> None:
        """The engine died: nothing comes any more."""
        left, self._undescribed = self._undescribed, {}
        self._gets.clear()
        self._asks.clear()
        for record, _ in left.values():
            if not record.is_told:
                self._judge.told(record)

    # parts

    def _is_accepted(self, record: Record, event: engine.Candidate, facts: engine.Facts) -> bool:
        """Whether a handler takes a value whose account is still to come."""
        if facts.failed or not self._policy.reads_no_account:
            return False
        case = case_of(record, facts, is_again=True)  # what is not accepted counts when it is anew
        decision = self._policy.decide(case, self._clock())
        if decision.action != ACCEPT:
            return False  # nothing came of it: whoever decides about it does so anew
        record.froze(event)
        record.is_told = False
        self._judge.accepted_at_once(record, decision)
        return True

    def _is_used(self, call: int) -> bool:
        return (
            not is_id(call)
            or call < 0
            or call in self._book
            or call in self._gets
            or call in self._undescribed
            or call in self._releases
        )

    def _free(self, object_id: int, facts: engine.Facts) -> str:
        """Why a value needs nobody's decision; empty if it does."""
        if facts.failed_is_public if facts.failed else facts.kind == "public":
            return PUBLIC
        return REPEAT if self._releases.words.covers(object_id, facts.version) else ""

    def _word_about(self, object_id: int) -> tuple[Why, str]:
        if any(record.object_id == object_id for record in self._book.opened()):
            return Why.WAITING, ""
        return self._releases.words.about(object_id)


def case_of(record: Record, facts: engine.Facts, *, is_again: bool = False) -> Case:
    """What handlers see of a request."""
    return Case(record.name, facts, refusal_of(facts), is_again=is_again or bool(record.why))


def refusal_of(facts: engine.Facts) -> str:
    """Why nobody can send a value; empty if it can be sent."""
    if not facts.failed and facts.type.startswith(_UNSENDABLE):
        return "objects of this kind stay on the owner's side; ask for what they hold"
    return ""


def _limit(limit_s: object) -> float | None:
    """A limit that is no number is none; a negative one lets handlers answer only."""
    if isinstance(limit_s, bool) or not isinstance(limit_s, int | float):
        return None
    if math.isnan(limit_s) or limit_s <= 0:
        return 0
    return None if limit_s > limits.REQUEST_LIMIT_SECONDS else float(limit_s)
