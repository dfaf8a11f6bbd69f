"""The conditions of one rule against one value, and what the guard says where the owner did not.

Plain functions of a handler and facts. What is behind them stands in policy.py.
"""

from __future__ import annotations

import math
from typing import Final

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.owner.binding import same_text
from duet_p2p.owner.essence import essence_of
from duet_p2p.owner.handlers import (
    KINDS,
    UNSET,
    Case,
    Conditions,
    Handler,
    normal_name,
    shown_tags,
)
from duet_p2p.owner.rule_quotas import uses_against

__all__ = [
    "GUARDED_KINDS",
    "WITHOUT_RECORDS",
    "answers_by_size",
    "charged",
    "facts_against",
    "is_about",
    "is_denied_again",
    "is_left_by_size",
    "label_against",
]

GUARDED_KINDS: Final = frozenset({"public", "metadata", "aggregate"})
WITHOUT_RECORDS: Final = frozenset({"public", "metadata"})
"""Kinds that hold no record's value: conditions on records do not concern them."""


def charged(facts: Facts) -> int:
    """Numbers that a release counts for; of a hidden size, as many as it could have been.

    The text of a failure can hold private numbers, so it counts by its length.
    """
    if facts.failed:
        nbytes = min(len(facts.failed.encode()), limits.MESSAGE_TEXT_CHARS)
        return math.ceil(nbytes / 8)
    return max(facts.elements, facts.charge)


def is_about(handler: Handler, case: Case) -> bool:
    """Whether all holds that is the same for a value and for its failure.

    Labels, sources and how it was made; a failure has no kind, size or group to compare.
    """
    said, facts = handler.conditions, case.facts
    if said.plan is not None:
        return said.plan.is_about(facts)
    if said.binding is not None and facts.form != said.binding.form:
        return False
    if said.recipe is not UNSET and same_text(facts.recipe) != same_text(said.recipe):
        return False
    if sources_against(handler, facts):
        return False
    return is_denied_again(handler, facts) or not label_against(said, case)


def is_left_by_size(handler: Handler, case: Case) -> bool:
    """Whether an accept handler leaves a value by a size or type that values may have decided."""
    if handler.action != "accept" or not case.facts.sized_by_values:
        return False
    if handler.conditions.plan is not None:
        return False
    is_size = bool(case.refusal) or bool(_size_against(handler, case.facts))
    return is_size and not _kind_against(handler, case.facts)


def answers_by_size(handler: Handler) -> bool:
    """Whether an accept handler has another answer for what is larger, or cannot be sent.

    One that takes everything gives it all away, and a plan's outputs are bound to their runs.
    """
    return not handler.conditions.is_bare and handler.conditions.plan is None


def is_denied_again(handler: Handler, facts: Facts) -> bool:
    """Whether a deny handler denied this recipe before, under a name or tags of its own."""
    return bool(handler.denied_recipes) and essence_of(facts.recipe) in handler.denied_recipes


def label_against(conditions: Conditions, case: Case) -> str:
    """Why the scientist's words are not those of a rule; empty if they are."""
    if conditions.name is not None and normal_name(case.name) != conditions.name:
        return f"the name is {case.name!r}, not {conditions.name!r}"
    if conditions.tags is not None and (tags := shown_tags(case.facts.tags)) != conditions.tags:
        return f"the tags are {sorted(tags)}, not {sorted(conditions.tags)}"
    return ""


def facts_against(handler: Handler, facts: Facts, guard_records: int) -> str:
    """What was said, and for a labelled accept handler the guard where nothing was said."""
    said, is_guarded = handler.conditions, handler.is_guarded
    word = "guard: " if is_guarded else ""
    if facts.failed and handler.action == "accept" and not said.is_bare:
        return f"{word}this failed; the failure of a computation is for the owner to see first"
    if said.plan is not None:
        return said.plan.against(facts, guard_records)
    if said.binding is not None and (difference := said.binding.difference(facts)):
        return difference
    if said.recipe is not UNSET and same_text(facts.recipe) != same_text(said.recipe):
        return "the recipe is another one"
    if against := sources_against(handler, facts):
        return against
    if against := _kind_against(handler, facts):
        return against
    return (
        _size_against(handler, facts)
        or _records_against(said, facts, guard_records if is_guarded else 1)
        or _injection_against(handler, facts)
        or _dropout_against(handler, facts)
        or uses_against(handler, is_model=facts.kind == "model")
    )


def sources_against(handler: Handler, facts: Facts) -> str:
    """An accept handler allows its sources and no other; a deny handler wants one of them."""
    said = handler.conditions.sources
    if said is UNSET:
        return ""
    if handler.action == "deny":
        return "" if said.intersection(facts.sources) else "it depends on none of the sources"
    return "" if said.issuperset(facts.sources) else "it depends on other sources too"


def _kind_against(handler: Handler, facts: Facts) -> str:
    said = handler.conditions.kinds
    kinds = said if said is not UNSET else GUARDED_KINDS if handler.is_guarded else KINDS
    if facts.kind in kinds:
        return ""
    word = "guard: " if handler.is_guarded else ""
    return f"{word}the kind is {facts.kind}, not one of {', '.join(sorted(kinds))}"


def _size_against(handler: Handler, facts: Facts) -> str:
    if facts.sized_by_values and handler.action == "deny":
        return ""  # whatever it is, it counts as the smallest that it could be
    most = handler.conditions.max_elements
    if most is UNSET:
        most = 1 if handler.is_guarded else None
    if most is None or charged(facts) <= most:
        return ""
    word = "guard: " if handler.is_guarded else ""
    return f"{word}it has {charged(facts):,} numbers, max_elements is {most:,}"


def _records_against(said: Conditions, facts: Facts, guard_records: int) -> str:
    if facts.kind in WITHOUT_RECORDS:
        return ""
    if said.min_records is not UNSET:
        least = said.min_records
    else:
        # Of a model too: a step over one record would hand out that record's gradient.
        least = guard_records if facts.kind in ("aggregate", "model") else 1
    if facts.min_records >= least:
        return ""
    return f"a number may come from {facts.min_records} records, min_records is {least}"


def _injection_against(handler: Handler, facts: Facts) -> str:
    if handler.takes_injected or not facts.injected:
        return ""
    return (
        "something public met the data along its records (injected); so does a dropout over fewer "
        "than 64 records, which drop_last=True avoids and allow_injected=True lets pass"
    )


def _dropout_against(handler: Handler, facts: Facts) -> str:
    if handler.conditions.allow_dropout is not False or not facts.dropout:
        return ""
    return (
        "a dropout by the scientist's seed fell on the records, here or in the training of what it "
        "is computed with, and allow_dropout is False"
    )
