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
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.binding import Binding, same_text, why_unbound
from duet_p2p.owner.handlers import (
    ACTIONS,
    KINDS,
    UNSET,
    Case,
    Conditions,
    Handler,
)

__all__ = ["ACCEPT", "DENY", "GUARDED_KINDS", "QUEUE", "Decision", "Look", "Policy", "Reservation"]

ACCEPT: Final = "accept"
DENY: Final = "deny"
QUEUE: Final = "queue"

GUARDED_KINDS: Final = frozenset({"public", "metadata", "aggregate"})
_WITHOUT_RECORDS: Final = frozenset({"public", "metadata"})
"""Kinds that hold no record's value: conditions on records do not concern them."""


@dataclass(slots=True, eq=False)
class Reservation:
    """What an acceptance took in advance. Ended once: released, or given back."""

    handler: Handler
    elements: int
    counted: tuple[int, ...]
    """Sources whose numbers the guard counts for this release."""
    is_model: bool
    run: tuple[int, int] | None = None
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
        _check(handler)
        replaced = [h for h in self._handlers if h.conditions == handler.conditions]
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
        if case.refusal and case.facts.kind in _WITHOUT_RECORDS:
            return Decision(DENY, case.refusal, is_hard=True)
        for handler in self._in_order(now):
            against = self._against(handler, case)
            if against:
                self._count_silence(handler, case)
                continue
            if handler.action == DENY:
                handler.uses += 1
                self._remember_recipe(handler, case.facts)
                return Decision(DENY, f"denied by handler: {_said(handler)}", handler)
            full = _over_quota(handler, case.facts)
            if full:
                return Decision(DENY, full, handler)
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
            if against:
                looks.append(Look(handler, False, against))
            elif handler.action == ACCEPT and (full := _over_quota(handler, case.facts)):
                looks.append(Look(handler, True, f"and denies: {full}"))
            else:
                looks.append(Look(handler, True, "filters and conditions hold"))
        return tuple(looks)

    def against(self, handler: Handler, case: Case) -> str:
        """Why a handler, in force or not, would not take a case; empty if it would."""
        return self._against(handler, case)

    # decisions by hand

    def remember(self, action: str, facts: Facts) -> None:
        """Keeps a decision by hand for handlers with ``seen_only``."""
        bindings = self._by_hand[action]
        binding = Binding.of(facts)
        if not facts.recipe or facts.failed or binding in bindings:
            return
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
        return Binding.of(facts)

    # parts

    def _in_order(self, now: float) -> Iterator[Handler]:
        alive = [h for h in self._handlers if _is_alive(h, now)]
        for action in (DENY, ACCEPT):
            yield from (h for h in alive if h.action == action)

    def _against(self, handler: Handler, case: Case) -> str:
        """Why a handler does not take a case; empty if it does."""
        conditions, facts = handler.conditions, case.facts
        if case.refusal and handler.action == ACCEPT:
            return case.refusal
        if not (handler.action == DENY and same_text(facts.recipe) in handler.denied_recipes):
            against = _label_against(conditions, case)
            if against:
                return against
        return (
            _facts_against(handler, facts, self.min_records)
            or self._seen_against(handler, facts)
            or self._count_against(handler, facts)
        )

    def _seen_against(self, handler: Handler, facts: Facts) -> str:
        if not handler.conditions.seen_only:
            return ""
        if any(not binding.difference(facts) for binding in self._by_hand[handler.action]):
            return ""
        return "it takes only what matches an earlier decision by hand (seen_only)"

    def _count_against(self, handler: Handler, facts: Facts) -> str:
        for source in self._counts_for(handler, facts):
            if self._counted[source] + charged(facts) > self.numbers_per_source:
                return (
                    f"guard: {self._counted[source]:,} numbers of one source went out by handlers "
                    f"on labels, the limit is {self.numbers_per_source:,}; widen with "
                    "max_elements=None"
                )
        return ""

    def _count_silence(self, handler: Handler, case: Case) -> None:
        """A failure under a label that is accepted otherwise counts as the number that it is not.

        That no answer comes tells that it failed. If that were free, a program whose failure hangs
        on the data would ask as often as it likes.
        """
        if not handler.is_guarded or not case.facts.failed or case.is_again:
            return
        if _label_against(handler.conditions, case):
            return
        handler.uses += 1
        handler.elements += 1
        for source in self._counts_for(handler, case.facts):
            self._counted[source] += 1

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
        recipe = same_text(facts.recipe)
        handler.denied_recipes.pop(recipe, None)
        handler.denied_recipes[recipe] = None
        while len(handler.denied_recipes) > limits.REMEMBERED_DECISIONS:
            del handler.denied_recipes[next(iter(handler.denied_recipes))]

    def _why_queued(self, case: Case, now: float) -> str:
        if case.refusal:
            return case.refusal
        # The most useful line: a handler whose labels fit and that something else stopped.
        for look in self.explain(case, now):
            if _label_against(look.handler.conditions, case) == "":
                return str(look)
        return "no handler is about this request"


def charged(facts: Facts) -> int:
    """Numbers that a release counts for; of a hidden size, as many as it could have been."""
    return max(facts.elements, facts.charge)


def _said(handler: Handler) -> str:
    return handler.conditions.described() or "everything"


def _is_alive(handler: Handler, now: float) -> bool:
    end = handler.expires_at()
    return end is None or now < end


def _over_quota(handler: Handler, facts: Facts) -> str:
    left = handler.quota_left
    if left is None or charged(facts) <= left:
        return ""
    return f"its element_quota has {left:,} numbers left, this has {charged(facts):,}"


def _label_against(conditions: Conditions, case: Case) -> str:
    if conditions.name is not None and case.name.strip().lower() != conditions.name:
        return f"the name is {case.name!r}, not {conditions.name!r}"
    if conditions.tags is not None and frozenset(case.facts.tags) != conditions.tags:
        return f"the tags are {sorted(case.facts.tags)}, not {sorted(conditions.tags)}"
    return ""


def _facts_against(handler: Handler, facts: Facts, guard_records: int) -> str:
    """What was said, and for a labelled accept handler the guard where nothing was said."""
    said, is_guarded = handler.conditions, handler.is_guarded
    word = "guard: " if is_guarded else ""
    if facts.failed and handler.action == ACCEPT and not said.is_bare:
        return f"{word}this failed; the failure of a computation is for the owner to see first"
    if said.plan is not None:
        return said.plan.against(facts, guard_records)
    if said.binding is not None and (difference := said.binding.difference(facts)):
        return difference
    if said.recipe is not UNSET and same_text(facts.recipe) != same_text(said.recipe):
        return "the recipe is another one"
    if said.sources is not UNSET and not said.sources.issuperset(facts.sources):
        return "it depends on other sources too"
    kinds = said.kinds if said.kinds is not UNSET else GUARDED_KINDS if is_guarded else KINDS
    if facts.kind not in kinds:
        return f"{word}the kind is {facts.kind}, not one of {', '.join(sorted(kinds))}"
    return (
        _size_against(handler, facts)
        or _records_against(said, facts, guard_records if is_guarded else 1)
        or _injection_against(said, facts, is_guarded=is_guarded)
        or _uses_against(handler, facts)
    )


def _size_against(handler: Handler, facts: Facts) -> str:
    most = handler.conditions.max_elements
    if most is UNSET:
        most = 1 if handler.is_guarded else None
    if most is None or charged(facts) <= most:
        return ""
    word = "guard: " if handler.is_guarded else ""
    return f"{word}it has {charged(facts):,} numbers, max_elements is {most:,}"


def _records_against(said: Conditions, facts: Facts, guard_records: int) -> str:
    if facts.kind in _WITHOUT_RECORDS:
        return ""
    if said.min_records is not UNSET:
        least = said.min_records
    else:
        # Of a model too: a step over one record would hand out that record's gradient.
        least = guard_records if facts.kind in ("aggregate", "model") else 1
    if facts.min_records >= least:
        return ""
    return f"a number may come from {facts.min_records} records, min_records is {least}"


def _injection_against(said: Conditions, facts: Facts, *, is_guarded: bool) -> str:
    allowed = not is_guarded if said.allow_injected is UNSET else said.allow_injected
    if allowed or not facts.injected:
        return ""
    return (
        "something public met the data along its records (injected); so does a dropout over fewer "
        "than 64 records, which drop_last=True avoids and allow_injected=True lets pass"
    )


def _uses_against(handler: Handler, facts: Facts) -> str:
    most = handler.conditions.max_uses
    if most is UNSET:
        is_once = facts.kind == "model" and handler.action == ACCEPT
        if is_once and not handler.conditions.is_bare and handler.model_uses:
            return "it let one model out; max_uses= says how many it may"
        return ""
    if most is None or handler.uses < most:
        return ""
    return f"it was used {handler.uses} times, max_uses is {most}"


def _check(handler: Handler) -> None:
    said = handler.conditions
    if handler.action not in ACTIONS:
        raise ValueError(f"action is 'accept' or 'deny', not {handler.action!r}")
    if said.kinds is not UNSET and not said.kinds <= KINDS:
        wrong = sorted(said.kinds - KINDS)
        raise ValueError(f"no such kind: {wrong}; there are {sorted(KINDS)}")
    numbers = {
        "max_elements": said.max_elements,
        "min_records": said.min_records,
        "max_uses": said.max_uses,
        "element_quota": handler.element_quota,
    }
    for name, value in numbers.items():
        if value is None or value is UNSET:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} is a number of at least 0, not {value!r}")
    life = handler.timeout_secs
    if isinstance(life, bool) or not (life == -1 or 0 <= life < float("inf")):
        raise ValueError(f"timeout_secs is a number of seconds, or -1 for ever, not {life!r}")
