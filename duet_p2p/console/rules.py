"""From a page's draft of a rule to a handler, and what it will do in sentences.

The sentences are made from the handler itself with the defaults that the policy applies, so they
also say what was *not* said: a rule by name lets out one number at a time although nobody typed
that. A page adds a rule with the digest of the sentences that it showed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from msgspec import UnsetType

from duet_p2p.console.messages import Rule
from duet_p2p.errors import NotAllowed
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.binding import Binding
from duet_p2p.owner.desk import Desk
from duet_p2p.owner.handlers import (
    UNSET,
    Conditions,
    Handler,
    Unset,
    normal_name,
    shown_tags,
)
from duet_p2p.owner.policy import ACCEPT, DENY, GUARDED_KINDS
from duet_p2p.owner.rule_checks import misread

__all__ = ["Meaning", "handler_of", "meaning_of"]

SourceName = Callable[[int], str]
Said = TypeVar("Said")

_KINDS: Final = {
    "public": "public values",
    "metadata": "facts about sizes and types",
    "aggregate": "aggregates over records",
    "model": "trained models",
    "per_record": "values of single records",
    "verbatim": "raw data",
}
"""In the order in which they tell more and more."""
_RECIPE_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a rule will do, in words."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What `AddRule` repeats."""
        text = json.dumps([self.lines, self.warnings])
        return hashlib.sha256(text.encode()).hexdigest()


def handler_of(rule: Rule, desk: Desk) -> Handler:
    """The handler that a draft stands for; not added yet.

    Raises:
        RequestClosed: the request that it names is gone.
        NotAllowed: nothing can be bound to that request.
    """
    binding: Binding | None = None
    recipe: str | Unset = UNSET
    if isinstance(rule.like, str):
        call = int(rule.like, 16)
        if rule.action == ACCEPT:
            binding = desk.bind(call)
        else:
            record = desk.book.find(call)
            if record is None or record.facts is None or not record.facts.recipe:
                raise NotAllowed("This request has no recipe that a rule could name.")
            recipe = record.facts.recipe
    name = normal_name(rule.name or "")
    conditions = Conditions(
        name=name or None,
        tags=None if rule.tags is None else shown_tags(rule.tags),
        kinds=UNSET if isinstance(rule.kinds, UnsetType) else frozenset(rule.kinds),
        max_elements=_said(rule.max_elements),
        min_records=_said(rule.min_records),
        sources=UNSET if isinstance(rule.sources, UnsetType) else frozenset(rule.sources),
        recipe=recipe,
        allow_injected=_said(rule.allow_injected),
        allow_dropout=_said(rule.allow_dropout),
        max_uses=_said(rule.max_uses),
        seen_only=rule.seen_only,
        binding=binding,
    )
    return Handler(
        action=rule.action,
        conditions=conditions,
        print_local=rule.print_local,
        log_local=rule.log_local,
        element_quota=rule.element_quota,
        timeout_secs=-1 if rule.seconds is None else rule.seconds,
    )


def meaning_of(handler: Handler, *, min_records: int, source_name: SourceName) -> Meaning:
    """What a handler will do, in sentences.

    Args:
        handler: in force or not.
        min_records: the guard's smallest group, of the session.
        source_name: how a person knows a source.
    """
    lines = [*_which(handler, min_records, source_name), *_how_often(handler)]
    return Meaning(tuple(lines), tuple(_warnings(handler)))


def _which(handler: Handler, guard: int, source_name: SourceName) -> Iterable[str]:
    said, is_accept = handler.conditions, handler.action == ACCEPT
    verb = "Accepts" if is_accept else "Denies"
    if is_accept and said.is_bare:
        yield "Accepts every request, without asking you."
        return
    if said.plan is not None:
        yield f"Accepts outputs of one recorded step: {said.plan.described()}."
        return
    about = []
    if said.name is not None:
        about.append(f"named {_quoted(said.name)}")
    if said.tags is not None:
        about.append(
            f"for objects with exactly the tags {', '.join(map(_quoted, sorted(said.tags)))}"
            if said.tags
            else "for objects without tags"
        )
    yield f"{verb} requests {' '.join(about)}." if about else f"{verb} requests of any name."
    if said.binding is not None:
        yield (
            "Only for the computation that you saw: same recipe, sources, kind, type and shape, "
            f"over at least {said.binding.min_records:,} records. "
            f"Recipe: {clean_line(said.binding.recipe, _RECIPE_CHARS)}"
        )
    if isinstance(said.recipe, str):
        yield f"Only for exactly this recipe: {clean_line(said.recipe, _RECIPE_CHARS)}"
    if not isinstance(said.sources, Unset):
        names = ", ".join(_quoted(source_name(source)) for source in sorted(said.sources))
        if handler.action == DENY:
            yield f"Whatever depends on one of these: {names or 'none'}."
        else:
            yield (
                f"Only for what is made from nothing but {names}."
                if names
                else ("Only for what is made from none of your objects.")
            )
    if said.seen_only:
        yield "Only for what matches an earlier decision that you made by hand."
    yield from _form(handler, guard)


def _form(handler: Handler, guard: int) -> Iterable[str]:
    """Kind, size, records, injection: what was said, or the guard's word."""
    said, is_guarded = handler.conditions, handler.is_guarded
    kinds = said.kinds if not isinstance(said.kinds, Unset) else None
    if kinds is None and is_guarded:
        kinds = GUARDED_KINDS
    if kinds is not None:
        yield f"Only {_joined(words for kind, words in _KINDS.items() if kind in kinds)}."
    elif said.binding is None:
        yield "Of any kind, raw data included."
    most = said.max_elements
    if isinstance(most, Unset):
        most = 1 if is_guarded else None
    if most is not None:
        yield f"At most {_count(most, 'number')} in each release."
        if handler.action == DENY:
            yield "That is also what private values may have made so small."
    elif is_guarded:
        yield "Any count of numbers in each release."
    least = said.min_records
    if isinstance(least, Unset):
        least = guard if is_guarded else 0
    if least > 1 and (kinds is None or kinds - {"public", "metadata"}):
        yield f"Every number must come from at least {least:,} records."
    if not handler.takes_injected:
        yield "Not if something public met the data along its records (injected)."
    elif is_guarded or least > 1:
        yield "Also if something public met the data along its records (injected)."
    if said.allow_dropout is False:
        yield "Not if a dropout fell on the records, here or in a training before."


def _how_often(handler: Handler) -> Iterable[str]:
    said = handler.conditions
    if isinstance(said.max_uses, int):
        yield f"It decides {_count(said.max_uses, 'time')} at most."
    elif isinstance(said.max_uses, Unset) and handler.action == ACCEPT and not said.is_bare:
        kinds = said.kinds if not isinstance(said.kinds, Unset) else None
        if (kinds is None and not handler.is_guarded) or (kinds and "model" in kinds):
            yield "Of models, it lets one out."
    if handler.element_quota is not None and handler.action == ACCEPT:
        yield (
            f"It releases {_count(handler.element_quota, 'number')} in all; a request beyond that "
            "is denied."
        )
    if handler.timeout_secs >= 0:
        yield f"It ends after {_count(int(handler.timeout_secs), 'second')}."
    if handler.action == DENY:
        yield "It goes before every accept rule."
        if said.is_labelled:
            yield "What it denied stays denied under another name, copies of it included."
    if handler.print_local or handler.log_local:
        where = _joined(
            word
            for word, is_on in (
                ("on your screen", handler.print_local),
                ("in your log", handler.log_local),
            )
            if is_on
        )
        yield f"It shows you each value that it decides about, {where}."


def _warnings(handler: Handler) -> Iterable[str]:
    said = handler.conditions
    if handler.action != ACCEPT:
        yield from filter(None, [misread(handler)])
        return
    if handler.is_open:
        yield (
            "OPEN: any value, your raw data included, is given to the scientist without asking "
            "you, until you remove this rule."
        )
        return
    if said.plan is not None:
        return
    kinds = frozenset(_KINDS) if isinstance(said.kinds, Unset) else said.kinds
    if isinstance(said.kinds, Unset) and handler.is_guarded:
        kinds = GUARDED_KINDS
    if said.binding is not None:
        kinds = kinds & {said.binding.kind}
    if kinds & {"per_record", "verbatim"}:
        yield "It can release single records and raw data."
    if "model" in kinds:
        yield "A trained model can contain exact records."
    if kinds & {"aggregate", "model"} and said.binding is None and handler.takes_injected:
        yield "A mask of the scientist's can leave one record of those behind a number (injected)."
    if said.is_labelled:
        yield (
            "Name and tags are the scientist's own words: what is called a loss can be any "
            "question about your data. The conditions limit number and form, not meaning."
        )


def _said(value: Said | UnsetType) -> Said | Unset:
    return UNSET if isinstance(value, UnsetType) else value


def _quoted(text: str) -> str:
    return f"“{clean_line(text, 100)}”"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _joined(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
