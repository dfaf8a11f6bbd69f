"""What the page is shown of requests, handlers, objects and the session: plain JSON values.

Everything that the scientist chose is cleaned and cut here, and again by the page, which sets it
with `textContent` only.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterable
from typing import Final, TypedDict

from duet_p2p import limits
from duet_p2p.console.rules import meaning_of
from duet_p2p.engine.messages import Facts
from duet_p2p.errors import NotAllowed
from duet_p2p.objects.notes import object_key
from duet_p2p.objects.words import clean_line, clean_text
from duet_p2p.owner.binding import always_text
from duet_p2p.owner.catalog import Catalog, Item
from duet_p2p.owner.desk import Desk
from duet_p2p.owner.handlers import Handler
from duet_p2p.owner.policy import Policy
from duet_p2p.owner.request_text import rows_text
from duet_p2p.owner.requests import Record, RequestBook
from duet_p2p.session.transfers import Moving

__all__ = [
    "DecidedView",
    "HandlerView",
    "ObjectView",
    "RequestView",
    "SourceNames",
    "SourceView",
    "TransferView",
    "Views",
    "digest_of",
    "transfer_view",
]

_LOOKS: Final = 20


class SourceView(TypedDict):
    """A private object that a value depends on."""

    id: int
    name: str
    tags: list[str]
    description: str
    type: str
    shape: list[int] | None
    rows: str
    """Which of its records are behind the value."""
    values: int
    """Released before, in this session."""
    numbers: int
    newest: list[str]
    """Names of the last requests that were released."""


class LookView(TypedDict):
    """How one handler sees a request."""

    action: str
    rule: str
    why: str


class RequestView(TypedDict):
    """A request that waits."""

    id: str
    digest: str
    arrived: float
    """Seconds since 1970, for people and for the order."""
    ends: float | None
    name: str
    reason: str
    requester: str
    object: str
    tags: list[str]
    type: str
    dtype: str | None
    shape: list[int] | None
    kind: str
    elements: int
    bytes: int
    sources: list[SourceView]
    records: int
    injected: bool
    dropout: bool
    summary: str
    """The recipe in one line, or empty."""
    training: list[str]
    """Of what was trained: steps, batches, learning rates, who chose the first weights."""
    charge: int
    """Numbers that quotas count; more than `elements` where the size is private."""
    recipe: str
    failed: str
    why: str
    looks: list[LookView]
    fixed: str
    """Why accepting always cannot be offered, or empty."""
    always: str
    """What accepting always takes of a training run, or empty."""
    refusal: str
    """Why it cannot be released at all, or empty."""


class DecidedView(TypedDict):
    """A request that is over."""

    id: str
    arrived: float
    name: str
    reason: str
    status: str
    why: str
    answer: str
    kind: str
    elements: int
    sources: list[str]


class HandlerView(TypedDict):
    """A rule in force."""

    id: str
    order: int
    action: str
    lines: list[str]
    warnings: list[str]
    uses: int
    uses_left: int | None
    quota: int | None
    quota_left: int | None
    ends: float | None
    is_open: bool


class ObjectView(TypedDict):
    """A listed object."""

    id: int
    key: str
    order: int
    mine: bool
    listed: bool
    tags: list[str]
    description: str
    type: str
    shape: list[int] | None
    dtype: str | None
    bytes: int


class TransferView(TypedDict):
    """A large value under way."""

    id: str
    out: bool
    done: int
    bytes: int


class SourceNames:
    """How a person knows a source, also after it is gone."""

    def __init__(self, catalog: Catalog, session_id: str) -> None:
        self._catalog = catalog
        self._session_id = session_id
        self._files: dict[int, str] = {}

    def learn(self, facts: Facts) -> None:
        """Data sets in the owner's directories are named by the facts only."""
        for source, name in zip(facts.sources, facts.source_names, strict=False):
            if name:
                self._files[source] = name

    def of(self, source: int) -> str:
        """First tag, name of the data set, or text id."""
        known = self._files.get(source) or self._catalog.source_name(source)
        return known or object_key(self._session_id, source)


def digest_of(record: Record) -> str:
    """What a decision repeats: of everything about a request that does not change by itself."""
    facts = record.facts
    assert facts is not None, "a request is listed when its facts are there"
    shown = {name: getattr(facts, name) for name in Facts.__dataclass_fields__}
    text = json.dumps(
        [record.id, record.object_id, record.name, record.reason, record.requester, shown],
        default=str,
        sort_keys=True,
    )
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Views:
    """Makes the views of one session.

    Args:
        desk: of the session.
        catalog: of the session.
        session_id: the owner's ID.
    """

    def __init__(self, desk: Desk, catalog: Catalog, session_id: str) -> None:
        self.names = SourceNames(catalog, session_id)
        self._desk = desk
        self._catalog = catalog
        self._session_id = session_id
        self._clock = time.time() - desk.now()  # taken once, so that no end ever moves

    def request(self, record: Record) -> RequestView:
        """A pending request, with its facts."""
        facts = record.facts
        assert facts is not None, "a request is listed when its facts are there"
        self.names.learn(facts)
        case = self._desk.case(record.call)
        return RequestView(
            id=record.id,
            digest=digest_of(record),
            arrived=record.arrival_time.timestamp(),
            ends=self._date(record.ends_at()),
            name=record.name,
            reason=record.reason,
            requester=record.requester,
            object=object_key(self._session_id, record.object_id),
            tags=_lines(facts.tags),
            type=clean_line(facts.type, limits.NAME_CHARS),
            dtype=facts.dtype,
            shape=None if facts.shape is None else list(facts.shape),
            kind=facts.kind,
            elements=facts.elements,
            bytes=facts.nbytes,
            sources=[
                self._source(int(source), rows)
                for source, rows in itertools.zip_longest(facts.sources, facts.rows, fillvalue="")
            ],
            records=facts.min_records,
            injected=facts.injected,
            dropout=facts.dropout,
            summary=clean_line(facts.summary, limits.MESSAGE_TEXT_CHARS),
            training=_lines(facts.training),
            charge=max(facts.charge, facts.elements),
            recipe=clean_text(facts.recipe, limits.RECIPE_CHARS),
            failed=clean_text(facts.failed, limits.MESSAGE_TEXT_CHARS),
            why=clean_line(record.why, limits.MESSAGE_TEXT_CHARS),
            looks=[
                LookView(
                    action=look.handler.action,
                    rule=clean_line(look.handler.conditions.described() or "everything", 500),
                    why=clean_line(look.why, 500),
                )
                for look in self._desk.explain(record)[:_LOOKS]
            ],
            fixed=_why_not_bound(self._desk.policy, facts),
            always=clean_line(always_text(facts), limits.ALWAYS_CHARS),
            refusal=case.refusal,
        )

    def _source(self, source: int, rows: str | int) -> SourceView:
        item = self._catalog.find(source)
        (left,) = self._desk.releases.totals.about((source,))
        return SourceView(
            id=source,
            name=clean_line(self.names.of(source), limits.NAME_CHARS),
            tags=_lines(item.tags if item else ()),
            description=clean_line(item.description if item else "", 500),
            type=item.type if item else "",
            shape=None if item is None or item.shape is None else list(item.shape),
            rows=clean_line(rows_text(str(rows), self._catalog.source_records(source)), 500),
            values=left.releases,
            numbers=left.numbers,
            newest=_names(left.newest, self._desk.book),
        )

    def decided(self, record: Record) -> DecidedView:
        """A request that is over."""
        facts = record.facts
        return DecidedView(
            id=record.id,
            arrived=record.arrival_time.timestamp(),
            name=record.name,
            reason=record.reason,
            status=record.status.value,
            why=clean_line(record.why, 500),
            answer=record.answer,
            kind=facts.kind if facts else "",
            elements=facts.elements if facts else 0,
            sources=_lines(map(self.names.of, facts.sources)) if facts else [],
        )

    def handler(self, handler: Handler, order: int) -> HandlerView:
        """A rule in force."""
        meaning = meaning_of(
            handler, min_records=self._desk.policy.min_records, source_name=self.names.of
        )
        most = handler.conditions.max_uses
        return HandlerView(
            id=handler.id,
            order=order,
            action=handler.action,
            lines=list(meaning.lines),
            warnings=list(meaning.warnings),
            uses=handler.uses,
            uses_left=max(0, most - handler.uses) if isinstance(most, int) else None,
            quota=handler.element_quota,
            quota_left=handler.quota_left,
            ends=self._date(handler.expires_at()),
            is_open=handler.is_open,
        )

    def object(self, item: Item, order: int) -> ObjectView:
        """A listed object, of either side."""
        return ObjectView(
            id=item.id,
            key=object_key(self._session_id, item.id),
            order=order,
            mine=item.is_mine,
            listed=item.listed,
            tags=_lines(item.tags),
            description=clean_line(item.description, 500),
            type=clean_line(item.type, limits.NAME_CHARS),
            shape=None if item.shape is None else list(item.shape),
            dtype=item.dtype,
            bytes=item.nbytes,
        )

    def _date(self, end: float | None) -> float | None:
        """Seconds since 1970 of a moment on the desk's clock."""
        return None if end is None else round(self._clock + end, 1)


def transfer_view(moving: Moving) -> TransferView:
    """A blob under way."""
    return TransferView(
        id=f"{'out' if moving.is_outgoing else 'in'} {moving.transfer}",
        out=moving.is_outgoing,
        done=moving.done,
        bytes=moving.nbytes,
    )


def _why_not_bound(policy: Policy, facts: Facts) -> str:
    try:
        policy.bind(facts)
    except NotAllowed as error:
        return str(error)
    return ""


def _names(calls: Iterable[int], book: RequestBook) -> list[str]:
    found = (book.find(call) for call in calls)
    return [record.name or "without a name" for record in found if record is not None]


def _lines(texts: Iterable[str]) -> list[str]:
    return [clean_line(text, limits.NAME_CHARS) for text in texts]
