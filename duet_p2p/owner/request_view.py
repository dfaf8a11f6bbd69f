"""`duet.requests` on the owner's side, as the user's thread sees it.

What a position means, ``duet.requests[0]``, stands in positions.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, Protocol, TypeVar

from duet_p2p import limits
from duet_p2p.engine.departure import in_memory
from duet_p2p.engine.messages import Facts
from duet_p2p.errors import NotAllowed, RequestClosed
from duet_p2p.objects import cards
from duet_p2p.objects.words import clean_line, whole_text
from duet_p2p.owner.binding import Binding
from duet_p2p.owner.desk import Desk
from duet_p2p.owner.policy import Look
from duet_p2p.owner.positions import Positions
from duet_p2p.owner.request_table import COLUMNS, as_html, as_text, row_of
from duet_p2p.owner.request_text import (
    full_text,
    records_text,
    rows_text,
    rows_texts,
    tagged_texts,
    training_text,
)
from duet_p2p.owner.requests import Record, Status
from duet_p2p.owner.totals import Released

__all__ = ["COLUMNS", "Caller", "OwnerRequest", "RequestList", "ValueReader"]

T = TypeVar("T")


class Caller(Protocol):
    """The way from the user's thread to the loop."""

    def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs a plain function on the loop and returns what it returns."""
        ...

    def read(self, fn: Callable[..., T], *args: Any) -> T:
        """The same for one that changes nothing; it works after the end, too."""
        ...

    def wait_on(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Runs a coroutine function on the loop and returns what it returns."""
        ...


class ValueReader(Protocol):
    """What requests need to know of the store."""

    def key(self, object_id: int) -> str:
        """The text id of an object."""
        ...

    def source_name(self, object_id: int) -> str:
        """A tag of a private source, or its text id."""
        ...

    def source_tags(self, object_id: int) -> tuple[str, ...]:
        """All tags of a private source that is in the store."""
        ...

    def source_records(self, object_id: int) -> str:
        """How many records a private source has, and along which axis."""
        ...

    def decode(self, value: Any, data: Any) -> Any:
        """A closed value as Python and torch objects."""
        ...


class OwnerRequest:
    """One request: what is asked, what it is, and the owner's answer."""

    def __init__(
        self,
        record: Record,
        desk: Desk,
        caller: Caller,
        reader: ValueReader,
        on_shown: Callable[[], None] = lambda: None,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._record = record
        self._desk = desk
        self._caller = caller
        self._reader = reader
        self._on_shown = on_shown
        self._on_read = on_read

    # decisions

    def accept(self, *, always: bool = False) -> None:
        """Releases the value as it was when it was asked for, once.

        Returns when it is on its way, which is after the audit log has kept that it leaves; at
        latest after `ACCEPT_SECONDS`.

        Args:
            always: also accept later requests that are bound to this one: the same commands with
                the same scalars, loader settings and contents of all public inputs, of the same
                sources, kind, injected, type and shape, with at least as many records behind each
                number. Which batch of a loader it is may differ. State may have been trained, by
                steps that this request's value has behind it already, or that the line ``always``
                of its text foresees. Refused where the recipe was cut, and for values that can name
                single records.

        Raises:
            RequestClosed: it is not pending any more; nothing was changed.
            NotAllowed: it cannot be bound, or cannot be sent at all.
        """
        self._caller.run(lambda: self._desk.accept(self._own_call(), always=always))
        self._caller.wait_on(_until_queued, self._desk, self._record.call)

    approve = grant = accept

    def deny(self, reason: str | None = None) -> None:
        """Denies it; the reason is told to the scientist.

        Raises:
            RequestClosed: it is not pending any more; nothing was changed.
        """
        self._caller.run(lambda: self._desk.deny(self._own_call(), reason or ""))

    reject = withdraw = deny

    def wait(self, timeout: float | None = None) -> Status:
        """Waits until it is decided or `timeout` seconds are over, and returns the status."""
        if self._record.is_pending:
            self._caller.wait_on(self._desk.decided, self._record.call, timeout)
        return self._record.status

    # what was asked

    @property
    def id(self) -> str:
        """16 hex digits."""
        return self._record.id

    request_id = id

    @property
    def call(self) -> int:
        """The same as a number."""
        return self._record.call

    @property
    def name(self) -> str:
        """The scientist's own word, cleaned."""
        return self._seen.name

    @property
    def request_description(self) -> str:
        """The scientist's reason, cleaned."""
        return self._seen.reason

    reason = request_description

    @property
    def requester(self) -> str:
        """ID of the scientist."""
        return self._record.requester

    requester_verify_key = requester

    @property
    def object_id(self) -> str:
        """Text id of the object that is asked for."""
        return self._reader.key(self._seen.object_id)

    @property
    def object_tags(self) -> list[str]:
        """Its tags, inherited operation names included, cleaned."""
        return [clean_line(tag, limits.NAME_CHARS) for tag in self._facts.tags]

    @property
    def object_type(self) -> str:
        """Type name, ``torch.Tensor`` for example."""
        return self._facts.type

    @property
    def timeout_secs(self) -> float:
        """The request's limit in seconds; -1: none."""
        return -1 if self._record.limit_s is None else self._record.limit_s

    @property
    def arrival_time(self) -> float:
        """When it came in, seconds since 1970."""
        return self._record.arrival_time.timestamp()

    @property
    def arrived(self) -> datetime:
        """The same as a date."""
        return self._record.arrival_time

    @property
    def status(self) -> Status:
        """``Pending``, ``Accepted``, ``Rejected``, ``Expired`` or ``Withdrawn``."""
        return self._record.status

    @property
    def why(self) -> str:
        """Why it waits, or who or what decided."""
        return self._seen.why

    # what it is

    @property
    def kind(self) -> str:
        """``metadata``, ``aggregate``, ``model``, ``per_record`` or ``verbatim``."""
        return self._facts.kind

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a tensor."""
        return self._facts.shape

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return self._facts.elements

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self._facts.nbytes

    @property
    def sources(self) -> list[str]:
        """The private objects that it depends on, by tag or text id."""
        facts = self._facts
        named = itertools.zip_longest(facts.sources, facts.source_names, fillvalue="")
        return [name or self._reader.source_name(int(source)) for source, name in named]

    @property
    def source_tags(self) -> list[list[str]]:
        """All tags of each of `sources`, in the same order."""
        return [list(self._reader.source_tags(int(source))) for source in self._facts.sources]

    @property
    def rows(self) -> list[str]:
        """Which records of each of `sources` are behind it and of how many, in the same order."""
        pairs = zip(self._facts.sources, self._facts.rows, strict=False)
        return [rows_text(rows, self._reader.source_records(int(id))) for id, rows in pairs]

    @property
    def min_records(self) -> int:
        """Smallest number of records behind any one number."""
        return self._facts.min_records

    @property
    def injected(self) -> bool:
        """Whether something public met the data along its records."""
        return self._facts.injected

    @property
    def recipe(self) -> str:
        """The last operations as torch code, for people."""
        return self._facts.recipe

    @property
    def summary(self) -> str:
        """The recipe in one line: ``mean of nll_loss of a network (…) on batch of 64 of …``."""
        return self._facts.summary

    @property
    def training(self) -> list[str]:
        """Of a model: steps, batch sizes, learning rates, who chose the first weights."""
        return list(self._facts.training)

    @property
    def model_lines(self) -> list[str]:
        """`training`, with what has to be known of everything that was trained."""
        return training_text(self._facts)

    @property
    def released_before(self) -> list[Released]:
        """What left of each of `sources` in this session, in the same order."""
        return self._caller.read(self._desk.releases.totals.about, self._facts.sources)

    @property
    def failed(self) -> str:
        """The full text of the failure if this could not be computed, else empty; cleaned."""
        return whole_text(self._facts.failed)

    @property
    def value(self) -> Any:
        """The value that accepting would release, for the owner's own eyes.

        Raises:
            RequestClosed: it is not pending any more.
            NotAllowed: there is none (it failed), or it cannot be shown.
        """

        async def fetch() -> tuple[Any, Any]:
            record = await self._desk.look(self._own_call())
            return record.value, in_memory(record.data)

        if self._facts.failed:
            raise NotAllowed(f"There is no value, this failed: {self.failed}")
        return self._reader.decode(*self._caller.wait_on(fetch))

    def _own_call(self) -> int:
        """Its number at the desk; on the loop. One that is over was perhaps used again since."""
        if not self._record.is_pending:
            raise RequestClosed(
                f"Request {self.id} ({self.name!r}) is {self.status.value}; nothing was changed."
            )
        return self._record.call

    @property
    def _facts(self) -> Facts:
        if not self._record.is_told:  # for a moment
            self._caller.wait_on(self._desk.decided, self._record.call, limits.OWNER_CALL_SECONDS)
        facts = self._seen.facts
        assert facts is not None, "a request is listed when its facts are there"
        return facts

    @property
    def _seen(self) -> Record:
        """The request, of which somebody reads something that a decision may go by."""
        if self._record.is_pending:
            self._on_read()
        return self._record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnerRequest) and other._record is self._record

    def __hash__(self) -> int:
        return hash(self._record.call)

    def __str__(self) -> str:
        """Everything about it, over several lines: ``print(duet.requests[0])``."""
        self._on_shown()
        looks = self.looks()
        return full_text(self, self._facts, self.sources, self.released_before, looks)

    def looks(self) -> tuple[Look, ...]:
        """How the handlers in force look at it, decided or not."""
        return self._caller.read(self._desk.explain, self._seen)

    def bind(self) -> Binding:
        """What ties later requests to this one, decided or not; see `Policy.bind`."""
        return self._caller.run(self._desk.policy.bind, self._facts)

    def __repr__(self) -> str:
        self._on_shown()
        facts = self._facts
        count = f"{self.elements:,} number{'s' * (self.elements != 1)}"
        what = f"failed: {facts.failed_op}" if facts.failed else count
        data = clean_line(", ".join(self.sources), 200) or "none of your objects"
        told = clean_line(facts.summary, 200)
        return (
            f"<Request {self.id} {self.name!r} {self.status.value}: {self.object_type}, "
            f"{self.kind}, {what}, {records_text(facts)}, depends on {data}; {told}; "
            f"reason: {self.request_description!r}; {self.why}>"
        )

    def _repr_html_(self) -> str:
        self._on_shown()
        code = f"failed: {self.failed}" if self.failed else self.recipe
        return cards.card(
            "Request", self.facts() | self.around(), state=self.status.value, code=code
        )

    def facts(self) -> dict[str, Any]:
        """What the owner decides by, as names and plain values for people."""
        return {
            "name": self.name,
            "reason": self.request_description,
            "object": f"{self.object_type}, tags {self.object_tags}",
            "kind": self.kind,
            "shape": self.shape,
            "numbers": self.elements,
            "bytes": self.nbytes,
            "records": self.min_records,
            "injected": self.injected,
            "sources": tagged_texts(self.sources, self.source_tags),
            "rows": rows_texts(self.sources, self.rows),
            **({"model": model[:-1], "care": model[-1]} if (model := self.model_lines) else {}),
            "why": self.why,
            "from": self.requester,
            "id": self.id,
        }

    def around(self) -> dict[str, Any]:
        """The same of what changes while it waits: what else left, and how handlers look at it."""
        before = zip(self.sources, self.released_before, strict=True)
        return {
            "released before": [f"{name}: {text}" for name, text in before],
            "handlers": [str(look) for look in self.looks()],
        }


class RequestList:
    """What waits for the owner's decision, oldest first."""

    def __init__(self, desk: Desk, caller: Caller, reader: ValueReader) -> None:
        self._desk = desk
        self._caller = caller
        self._reader = reader
        self._positions = Positions()

    @property
    def requests(self) -> list[OwnerRequest]:
        """All of them as a list."""
        pending = self._pending()
        self._positions.show(pending)
        return [self._view(record) for record in pending]

    @property
    def history(self) -> list[OwnerRequest]:
        """The decided ones, oldest first."""
        decided = self._caller.read(self._desk.book.decided)
        return [self._view(record) for record in decided if record.facts is not None]

    @property
    def pandas(self) -> Any:
        """A `pandas.DataFrame` with the columns of `COLUMNS`, empty when nothing waits."""
        from duet_p2p.objects.frame import frame_of

        rows = [row_of(request) for request in self.requests]
        return frame_of(rows, COLUMNS)

    def explain(self, request: OwnerRequest | str | int) -> list[Look]:
        """Which handlers look at a request, and why each takes it or not."""
        view = request if isinstance(request, OwnerRequest) else self[request]
        return list(view.looks())

    def get_request_id_from_object_id(self, object_id: str | int) -> str | None:
        """Id of the open request for an object (its text id), newest first; None if none."""
        for record in reversed(self._pending()):
            if object_id in (record.object_id, self._reader.key(record.object_id)):
                return record.id
        return None

    def __getitem__(self, key: int | str) -> OwnerRequest:
        if isinstance(key, str):
            return self._by_id(key)
        if isinstance(key, bool) or not isinstance(key, int):
            raise TypeError(f"a request is named by position or full id, not by {key!r}")
        record, rows = self._positions.at(key, self._pending())
        show, read = self._positions.show, self._positions.read
        return self._view(record, lambda: show(rows), lambda: read(rows, record))

    def __len__(self) -> int:
        return len(self._pending())

    def __iter__(self) -> Iterator[OwnerRequest]:
        return iter(self.requests)

    def __repr__(self) -> str:
        return as_text(self.requests)

    def _repr_html_(self) -> str:
        return as_html(self.requests)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # Both forms of one listing: a position means a row of what was shown.
        requests = self.requests
        return {"text/plain": as_text(requests), "text/html": as_html(requests)}

    def _pending(self) -> list[Record]:
        return self._caller.read(self._desk.book.pending)

    def _view(self, record: Record, *on_seen: Callable[[], None]) -> OwnerRequest:
        return OwnerRequest(record, self._desk, self._caller, self._reader, *on_seen)

    def _by_id(self, key: str) -> OwnerRequest:
        record = next((shown for shown in self._positions.shown if shown.id == key), None)
        with contextlib.suppress(ValueError):
            record = record or self._caller.read(self._desk.book.find, int(key, 16))
        if record is None or record.id != key or record.facts is None:
            raise KeyError(f"no request has the id {key!r}")
        return self._view(record)


async def _until_queued(desk: Desk, call: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.ACCEPT_SECONDS):
            while desk.is_leaving(call):
                await asyncio.sleep(0.002)
