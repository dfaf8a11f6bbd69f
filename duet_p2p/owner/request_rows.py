"""The rows of the audit log about requests: what was asked, of which data, and what became of it.

Somebody who reads them months later has neither session nor store, so a row says in words what was
asked for and which sources it depends on, by the names that they had. Values are not in it.

What a handler takes is asked for, decided and released before the engine has said how it came to
be, so the words of it come in a row of their own, behind the release.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.journal import Journal
from duet_p2p.owner.release import facts_for_journal
from duet_p2p.owner.request_text import what_text
from duet_p2p.owner.requests import Record

__all__ = ["RequestRows"]


class RequestRows:
    """Tells the journal of one scientist's requests.

    Args:
        journal: keeps the rows.
        source_name: of an object that the owner shared; empty: it has none.
    """

    def __init__(self, journal: Journal, source_name: Callable[[int], str]) -> None:
        self._journal = journal
        self._source_name = source_name
        self._logged = 0  # characters of the scientist's words
        self._facts: Facts | None = None  # of the last row; mostly the next one is about the same
        self._known: dict[str, Any] = {}

    def asked(self, record: Record) -> None:
        """A request is there, with the facts that are known."""
        self._note("request", record)

    def decided(self, record: Record) -> None:
        """A request has ended."""
        self._note("decision", record)

    def told(self, record: Record) -> None:
        """All facts of a request are there that was decided without them."""
        if not self._journal.is_kept or record.facts is None or not record.facts.summary:
            return
        what = self._what(record.facts)
        if what != _NO_WORDS:
            self._journal.record("recipe", {"request": record.id, "what": what})

    def _note(self, kind: str, record: Record) -> None:
        if not self._journal.is_kept:
            return
        facts = record.facts
        self._journal.record(
            kind,
            {
                "request": record.id,
                "requester": record.requester,
                "object": record.object_id,
                "name": self._words(record.name),
                "reason": self._words(record.reason),
                "status": record.status.value,
                "why": record.why,
                **({"answer": record.answer} if record.answer else {}),
                **({"what": self._what(facts)} if facts is not None and facts.summary else {}),
                **({} if facts is None else self._known_of(facts)),
            },
        )

    def _known_of(self, facts: Facts) -> dict[str, Any]:
        if facts is not self._facts:
            named = itertools.zip_longest(facts.sources, facts.source_names, fillvalue="")
            first = itertools.islice(named, limits.AUDIT_NAMED_SOURCES)
            names = [name or self._name_of(int(source)) for source, name in first]
            shown = [clean_line(name, limits.AUDIT_WHAT_CHARS) for name in names]
            self._facts = facts
            self._known = {**facts_for_journal(facts), "source_names": shown}
        return self._known

    def _name_of(self, source: int) -> str:
        return self._source_name(source) or f"object {source}"  # as its own row has it

    def _what(self, facts: Facts) -> str:
        return self._words(clean_line(what_text(facts), limits.AUDIT_WHAT_CHARS))

    def _words(self, words: str) -> str:
        """Words of the scientist; none after very many, which would fill the owner's disk."""
        self._logged += len(words)
        return words if self._logged <= limits.AUDIT_WORDS_CHARS else words and _NO_WORDS


_NO_WORDS = "…"
