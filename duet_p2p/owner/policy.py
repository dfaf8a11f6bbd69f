"""Who may have what: plain facts in, a decision out.

No store, no network, no clock: `now` and the facts are arguments, so plain values test all of it.

The idea. A name or a tag is the scientist's own word, and raw data has been requested under the
name ``loss``. So a handler that *accepts by a label* is guarded: it lets out one number at a time,
of kinds that name no single record, and not more than a session's worth of them; the owner widens
each of these in words. A handler that *denies* is not guarded, goes first, and also denies the
recipe that it denied when it comes back under another name. The guard never denies: what it stops
waits for the owner.

Quotas are reserved when a handler takes a value and given back unless the value left. Deciding is
one plain call on one thread, so two requests cannot both have the last number.

A private failure has other facts than the value would have had, so a rule on facts answers it in
another way, and that tells that it failed. Such answers are counted like numbers: of an accept
handler as its own, of deny handlers per source.

A size or a type that private values may have decided tells them in the same way. A deny handler
takes it as the smallest that it could be, whatever it is. An accept handler that leaves it is
counted, as a number of its own and per source; after so many it leaves them all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.binding import Binding, why_unbound
from duet_p2p.owner.essence import essence_of
from duet_p2p.owner.guard import (
    GUARDED_KINDS,
    WITHOUT_RECORDS,
    answers_by_size,
    charged,
    facts_against,
    is_about,
    is_denied_again,
    is_left_by_size,
    label_against,
)
from duet_p2p.owner.handlers import (
    ACTIONS,
    UNSET,
    Case,
    Conditions,
    Handler,
)
from duet_p2p.owner.plan_terms import Run
from duet_p2p.owner.rule_checks import check
from duet_p2p.owner.rule_quotas import element_quota_against, source_quota_against

__all__ = ["ACCEPT", "DENY", "GUARDED_KINDS", "QUEUE", "Decision", "Look", "Policy", "Reservation"]

ACCEPT: Final = "accept"
DENY: Final = "deny"
QUEUE: Final = "queue"


@dataclass(slots=True, eq=False)
class Reservation:
    """What an acceptance took in advance. Ended once: released, or given back."""

    handler: Handler
    elements: int
    counted: tuple[int, ...]
    """Sources whose numbers the guard counts for this release."""
    is_model: bool
    run: Run | None = None
    """Of a plan's output, the runs that it counts for."""
    is_ended: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one case."""

    action: str
    """``accept``, ``deny`` or ``queue``."""
    why: str
    """For the owner: the rule in words. For a hard denial, also told to the scientist."""
    handler: Handler | None = None
    reservation: Reservation | None = None
    is_hard: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """One handler's look at one request."""

    handler: Handler
    took: bool
    why: str

    def __str__(self) -> str:
        verb = "would take it" if self.took else "does not take it"
        said = self.handler.conditions.described() or "everything"
        return f"{self.handler.action} handler for {said} {verb}: {self.why}"


@dataclass(slots=True)
class Policy:
    """The handlers of one session, in order, with what the guard has counted."""

    min_records: int = limits.MIN_RECORDS
    numbers_per_source: int = limits.GUARDED_NUMBERS_PER_SOURCE
    _handlers: list[Handler] = field(default_factory=list)
    _counted: Counter[int] = field(default_factory=Counter)
    _told: Counter[int] = field(default_factory=Counter)
    """Of one source, failures that deny handlers on facts could answer in another way, and values
    that accept handlers left by a size or type which private values may have decided."""
    _by_hand: dict[str, list[Binding]] = field(
        default_factory=lambda: {action: [] for action in ACTIONS}
    )

    # the list

    def add(self, handler: Handler) -> list[Handler]:
        """Puts a handler last; one with the same filters and conditions goes.

        Returns:
            The handlers that it replaced.

        Raises:
            ValueError: an action, kind, number or limit that does not exist.
        """
        check(handler)
        replaced = [h for h in self._handlers if h.conditions == handler.conditions]
        for old in replaced:  # said once more, it goes on denying what it denied
            if handler.action == DENY:
                handler.denied_recipes |= old.denied_recipes
        self._handlers = [h for h in self._handlers if h not in replaced] + [handler]
        return replaced

    def remove(self, handler: Handler) -> bool:
        """Takes a handler off; False if it was gone already."""
        if handler not in self._handlers:
            return False
        self._handlers.remove(handler)
        return True

    def clear(self) -> int:
        """Takes all handlers off and tells how many there were."""
        count = len(self._handlers)
        self._handlers = []
        return count

    def expire(self, now: float) -> list[Handler]:
        """Takes off the handlers whose time is over, and returns them."""
        over = [h for h in self._handlers if not _is_alive(h, now)]
        self._handlers = [h for h in self._handlers if h not in over]
        return over

    def handlers(self) -> tuple[Handler, ...]:
        """All of them, oldest first."""
        return tuple(self._handlers)

    def next_expiry(self) -> float | None:
        """When the next handler ends; None: never."""
        ends = [end for h in self._handlers if (end := h.expires_at()) is not None]
        return min(ends, default=None)

    def is_open(self, now: float) -> bool:
        """Whether everything is accepted."""
        return any(h.is_open and _is_alive(h, now) for h in self._handlers)

    @property
    def reads_no_account(self) -> bool:
        """Whether something may be accepted, and no rule asks how a value came to be."""
        handlers = self._handlers
        return bool(handlers) and not any([h.reads_account for h in handlers])

    def counted(self, source: int) -> int:
        """Numbers of one source that handlers on labels let out or hold reserved."""
        return self._counted[source]

    # deciding

    def decide(self, case: Case, now: float) -> Decision:
        """Hard denials, then deny handlers, then accept handlers, then the owner's queue.

        What cannot be sent at all is denied hard only where its type is a public fact. Of what
        depends on private values the type may do so too: an answer at once would tell it.


        An accepted case holds a reservation: end it with `release` or `give_back`.
        """
        if case.refusal and case.facts.kind in WITHOUT_RECORDS:
            return Decision(DENY, case.refusal, is_hard=True)
        for handler in self._in_order(now):
            if self._tells_too_much(handler, case):
                handler.uses += handler.action == DENY
                return Decision(DENY, f"denied by handler: {_said(handler)}: {_TOLD}", handler)
            against = self._against(handler, case)
            is_left = bool(against) and is_left_by_size(handler, case)
            if (case.facts.failed or is_left) and not case.is_again:
                self._count_failure(handler, case, is_silent=bool(against))
            if against or self._sizes_against(handler, case):
                continue
            if handler.action == DENY:
                handler.uses += 1
                self._remember_recipe(handler, case.facts)
                return Decision(DENY, f"denied by handler: {_said(handler)}", handler)
            full = element_quota_against(handler, charged(case.facts))
            if full:
                if not case.is_again:
                    handler.elements += case.facts.sized_by_values
                return Decision(DENY, f"denied by handler: {_said(handler)}: {full}", handler)
            return Decision(
                ACCEPT,
                f"accepted by handler: {_said(handler)}",
                handler,
                self._reserve(handler, case.facts),
            )
        return Decision(QUEUE, self._why_queued(case, now))

    def release(self, reservation: Reservation) -> None:
        """The value left: what was reserved is used."""
        reservation.is_ended = True

    def give_back(self, reservation: Reservation) -> None:
        """The value did not leave: what was reserved is free again. A second time does nothing."""
        if reservation.is_ended:
            return
        reservation.is_ended = True
        handler = reservation.handler
        handler.uses -= 1
        handler.model_uses -= reservation.is_model
        handler.elements -= reservation.elements
        for source in reservation.counted:
            self._counted[source] -= reservation.elements
        if handler.conditions.plan is not None and reservation.run is not None:
            handler.conditions.plan.give_back(reservation.run)

    def explain(self, case: Case, now: float) -> tuple[Look, ...]:
        """Which handlers would look at a case, in their order, and why each would take it or not.

        Nothing is reserved.
        """
        looks = []
        for handler in self._in_order(now):
            against = self._against(handler, case)
            if self._tells_too_much(handler, case):
                looks.append(Look(handler, True, f"and denies: {_TOLD}"))
            elif against := against or self._sizes_against(handler, case):
                counts = _COUNTS if is_left_by_size(handler, case) else ""
                looks.append(Look(handler, False, f"{against}{counts}"))
            elif handler.action == ACCEPT and (
                full := element_quota_against(handler, charged(case.facts))
            ):
                looks.append(Look(handler, True, f"and denies: {full}"))
            else:
                is_smallest = handler.action == DENY and _is_of_any_size(handler, case.facts)
                looks.append(Look(handler, True, _HOLDS + _SMALLEST * is_smallest))
        return tuple(looks)

    def against(self, handler: Handler, case: Case) -> str:
        """Why a handler, in force or not, would not take a case; empty if it would."""
        return self._against(handler, case)

    def engine_died(self) -> None:
        """The next engine counts runs of plans anew; those that were used stay used."""
        for handler in self._handlers:
            if handler.conditions.plan is not None:
                handler.conditions.plan.engine_died()

    # decisions by hand

    def remember(self, action: str, facts: Facts) -> None:
        """Keeps a decision by hand for handlers with ``seen_only``."""
        bindings = self._by_hand[action]
        binding = Binding.of(facts)
        if not facts.recipe or facts.failed or binding in bindings:
            return
        if action == ACCEPT and why_unbound(facts):
            return  # it would let out record after record, as `always` would
        bindings.append(binding)
        del bindings[: -limits.REMEMBERED_DECISIONS]

    def always(self, facts: Facts) -> Handler:
        """The handler that ``accept(always=True)`` stands for; not added yet.

        Raises:
            NotAllowed: the value cannot be bound to its recipe.
        """
        # max_uses=None: "always" is what the owner said, also for a model.
        return Handler(ACCEPT, Conditions(binding=self.bind(facts), max_uses=None))

    def bind(self, facts: Facts) -> Binding:
        """What ties later requests to this value.

        Raises:
            NotAllowed: too little would be bound.
        """
        reason = why_unbound(facts)
        if reason:
            raise NotAllowed(reason)
        return Binding.of(facts, is_ahead=True)

    # parts

    def _in_order(self, now: float) -> list[Handler]:
        alive = [h for h in self._handlers if _is_alive(h, now)]
        return [h for h in alive if h.action == DENY] + [h for h in alive if h.action == ACCEPT]

    def _against(self, handler: Handler, case: Case) -> str:
        """Why a handler does not take a case; empty if it does."""
        conditions, facts = handler.conditions, case.facts
        if case.refusal and handler.action == ACCEPT:
            return case.refusal
        if not is_denied_again(handler, facts) and (against := label_against(conditions, case)):
            return against
        return (
            facts_against(handler, facts, self.min_records)
            or self._seen_against(handler, facts)
            or self._count_against(handler, facts)
        )

    def _seen_against(self, handler: Handler, facts: Facts) -> str:
        if not handler.conditions.seen_only:
            return ""
        if any(not binding.difference(facts) for binding in self._by_hand[handler.action]):
            return ""
        return (
            "it takes only what matches an earlier decision by hand (seen_only), of values that "
            "could be accepted always"
        )

    def _count_against(self, handler: Handler, facts: Facts) -> str:
        sources = self._counts_for(handler, facts)
        for number, source in enumerate(sources, 1):
            which = "its source" if len(sources) == 1 else f"source {number} of {len(sources)}"
            counted, most = self._counted[source], self.numbers_per_source
            if full := source_quota_against(counted, most, charged(facts), which):
                return full
        return ""

    def _count_failure(self, handler: Handler, case: Case, *, is_silent: bool) -> None:
        """A failure where a value would perhaps have been answered counts as a number.

        So does a value that a private number may have chosen for its size or type. That no answer
        comes, or another one, tells that it failed, or which it is. If that were free, a program
        whose failure hangs on the data would ask as often as it likes.
        """
        facts = case.facts
        if not is_about(handler, case):
            return
        if _answers_by_facts(handler) or not facts.failed:
            self._told.update(facts.sources)
        if handler.action == ACCEPT and is_silent:
            handler.uses += 1
            handler.elements += 1
            handler.model_uses += handler.conditions.kinds == frozenset({"model"})
            for source in self._counts_for(handler, facts):
                self._counted[source] += 1
            if handler.conditions.plan is not None:
                handler.conditions.plan.count_failure(facts)

    def _tells_too_much(self, handler: Handler, case: Case) -> bool:
        """Whether it denies whatever is about these sources from now on, to tell no more."""
        if not _answers_by_facts(handler) or not self._told_much(case.facts):
            return False
        return is_about(handler, case)

    def _sizes_against(self, handler: Handler, case: Case) -> str:
        """Why an accept handler leaves all whose size or type values may have decided; or empty."""
        if handler.action == DENY or not case.facts.sized_by_values or not answers_by_size(handler):
            return ""
        if not self._told_much(case.facts):
            return ""
        return (
            "private values may have decided its size or type, and for one of its sources rules "
            f"have told {self.numbers_per_source:,} times which it was"
        )

    def _told_much(self, facts: Facts) -> bool:
        return any(self._told[source] >= self.numbers_per_source for source in facts.sources)

    def _counts_for(self, handler: Handler, facts: Facts) -> tuple[int, ...]:
        # max_elements=None is the owner's word for "any number"; so it is for the sum as well.
        if not handler.is_guarded or handler.conditions.max_elements is None:
            return ()
        return tuple(dict.fromkeys(facts.sources))

    def _reserve(self, handler: Handler, facts: Facts) -> Reservation:
        counted = self._counts_for(handler, facts)
        is_model = facts.kind == "model"
        handler.uses += 1
        handler.model_uses += is_model
        numbers = charged(facts)
        handler.elements += numbers
        for source in counted:
            self._counted[source] += numbers
        terms = handler.conditions.plan
        run = None if terms is None else terms.take(facts)
        return Reservation(handler, numbers, counted, is_model, run)

    def _remember_recipe(self, handler: Handler, facts: Facts) -> None:
        if not handler.conditions.is_labelled or not facts.recipe:
            return
        recipe = essence_of(facts.recipe)
        handler.denied_recipes.pop(recipe, None)
        handler.denied_recipes[recipe] = None
        while len(handler.denied_recipes) > limits.REMEMBERED_DECISIONS:
            del handler.denied_recipes[next(iter(handler.denied_recipes))]

    def _why_queued(self, case: Case, now: float) -> str:
        if case.refusal:
            return case.refusal
        # The most useful line: a handler whose labels fit and that something else stopped.
        for look in self.explain(case, now):
            if label_against(look.handler.conditions, case) == "":
                return str(look)
        return "no handler is about this request"


_HOLDS: Final = "filters and conditions hold"
_SMALLEST: Final = (
    "; private values may have decided its size or type, so it counts as the smallest there is"
)
_COUNTS: Final = (
    "; private values may have decided its size or type, so that it waits counts as a number"
)
_TOLD: Final = (
    "denials and silence have told of too many failures of one source. Remove the rule, or say it "
    "without conditions on facts, on a name, tags or sources alone"
)


def _answers_by_facts(handler: Handler) -> bool:
    """Whether it denies, at once, what has certain facts, and not what failed; or the reverse."""
    if handler.action == DENY:
        return handler.conditions.has_facts
    return handler.quota_left == 0 and not handler.conditions.is_bare


def _is_of_any_size(handler: Handler, facts: Facts) -> bool:
    """Whether a rule looks at a size, or at what was decided by hand, and takes any here."""
    said = handler.conditions
    is_asked = said.max_elements not in (UNSET, None) or said.seen_only
    return facts.sized_by_values and is_asked


def _said(handler: Handler) -> str:
    return handler.conditions.described() or "everything"


def _is_alive(handler: Handler, now: float) -> bool:
    end = handler.expires_at()
    return end is None or now < end
