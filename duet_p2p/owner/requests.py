"""What waits for the owner's decision, and what was decided.

The book knows neither store nor network: it keeps records, their states and their deadlines. The
clock is the owner's and comes in as `now`; a request's limit starts when it arrives here.

A request is `Pending` until exactly one thing ends it; `TRANSITIONS` is the whole table.
"""

from __future__ import annotations

import secrets
import sys
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.engine.messages import Candidate, Facts
from duet_p2p.errors import RequestClosed

__all__ = [
    "TRANSITIONS",
    "Record",
    "RequestBook",
    "Status",
    "Why",
    "Words",
    "is_id",
    "request_id",
]


class Status(StrEnum):
    """Where a request stands."""

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    EXPIRED = "Expired"
    WITHDRAWN = "Withdrawn"


TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset(Status) - {Status.PENDING},
    Status.ACCEPTED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.WITHDRAWN: frozenset(),
}


_RECORD_BYTES: Final = 4_096
"""Of a record besides its texts."""


@dataclass(slots=True, eq=False)
class Record:
    """One request, from its arrival until it is forgotten."""

    call: int
    """The scientist's random number; `request_id` shows it."""
    object_id: int
    name: str
    reason: str
    limit_s: float | None
    """Seconds from arrival; None: no limit; 0: handlers only."""
    arrived_at: float
    """On the owner's clock (monotonic)."""
    requester: str = ""
    arrival_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    """For people."""
    status: Status = Status.PENDING
    facts: Facts | None = None
    """None until the engine has frozen the value: the owner sees the request from then on."""
    value: Any = None
    """The frozen value in closed form where it is at hand: with the facts, or fetched for the eyes
    of the owner."""
    has_value: bool = False
    data: Any = None
    """The bytes of `value`; those of a large one perhaps not written yet (`departure.written`)."""
    text: str = ""
    """The value as text, if it was fetched."""
    why: str = ""
    """Why it waits, or the rule or person that decided."""
    answer: str = ""
    """The reason that was given to the scientist with a denial."""
    is_told: bool = True
    """False: it was decided before all of its facts were there, and some still are not."""
    nbytes: int = _RECORD_BYTES
    """What it takes of the owner's memory when it is decided: most is texts of the scientist."""

    @property
    def id(self) -> str:
        """16 hex digits."""
        return request_id(self.call)

    @property
    def is_pending(self) -> bool:
        """Whether it can still be decided."""
        return self.status is Status.PENDING

    def froze(self, event: Candidate) -> None:
        """The engine froze the value."""
        self.facts, self.value, self.data = event.facts, event.value, event.data
        self.nbytes = _nbytes_of(self)
        self.has_value = event.has_value or event.data is not None

    def ends_at(self) -> float | None:
        """When it expires, on the owner's clock; None: never, or as soon as handlers looked."""
        return None if not self.limit_s else self.arrived_at + self.limit_s


def _nbytes_of(record: Record) -> int:
    facts = record.facts
    assert facts is not None
    texts = [record.name, record.reason, facts.recipe, facts.failed, facts.summary]
    lists = (facts.tags, facts.rows, facts.writers, facts.training, facts.foreseen)
    for texts_of in lists:
        texts += texts_of
    return _RECORD_BYTES + sum(map(sys.getsizeof, texts))


class RequestBook:
    """Pending requests, oldest first, and the decided ones."""

    def __init__(self, *, open_limit: int = limits.OPEN_REQUESTS) -> None:
        self._open_limit = open_limit
        self._open: dict[int, Record] = {}
        self._decided: OrderedDict[int, Record] = OrderedDict()
        self._decided_bytes = 0
        self._forgotten = Numbers()

    def __contains__(self, call: int) -> bool:
        return call in self._open or call in self._decided or call in self._forgotten

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return len(self._open) >= self._open_limit or self.is_over

    @property
    def why_full(self) -> str:
        """What the scientist is told then."""
        if self.is_over:
            return f"there were {limits.REQUESTS:,} requests; the owner has to start a new session"
        return f"{self._open_limit} open requests (open_requests)"

    @property
    def is_over(self) -> bool:
        """Whether so many were decided that their numbers cannot be remembered."""
        return len(self._forgotten) >= limits.REQUESTS

    def add(self, record: Record) -> None:
        """A request arrived."""
        if record.call in self:
            raise ValueError(f"request {record.id} exists")
        self._open[record.call] = record

    def forget(self, call: int) -> None:
        """Drops an open request that turned out to be none (no such object, no need to ask)."""
        self._open.pop(call, None)

    def find(self, call: int) -> Record | None:
        """A request in any state."""
        return self._open.get(call) or self._decided.get(call)

    def pending(self) -> list[Record]:
        """Those that the owner can decide, oldest first."""
        return [record for record in self._open.values() if record.facts is not None]

    def opened(self) -> list[Record]:
        """All that are not decided, also those that the engine has not frozen yet."""
        return list(self._open.values())

    def decided(self) -> list[Record]:
        """The decided ones, oldest first; the oldest are forgotten in the end."""
        return list(self._decided.values())

    def end(self, call: int, status: Status, *, why: str = "", answer: str = "") -> Record:
        """Moves a request to its last state.

        Raises:
            RequestClosed: it is not pending, and nothing was changed.
        """
        record = self.find(call)
        if record is None:
            raise RequestClosed(f"There is no request {request_id(call)} any more.")
        if status not in TRANSITIONS[record.status]:
            raise RequestClosed(
                f"Request {record.id} ({record.name!r}) is {record.status.value}; "
                "nothing was changed."
            )
        record.status, record.answer = status, answer
        record.why = why or record.why
        del self._open[call]
        self._decided[call] = record
        self._decided_bytes += record.nbytes
        while len(self._decided) > limits.REQUEST_HISTORY or (
            self._decided_bytes > limits.REQUEST_HISTORY_BYTES and len(self._decided) > 1
        ):
            forgotten, old = self._decided.popitem(last=False)
            self._decided_bytes -= old.nbytes
            self._forgotten.add(forgotten)
        return record

    def due(self, now: float) -> list[Record]:
        """Open requests whose limit has passed."""
        return [r for r in self._open.values() if (end := r.ends_at()) is not None and end <= now]

    def ends_before(self, call: int, time: float) -> bool:
        """Whether a request has to be looked at before `time`."""
        record = self._open.get(call)
        return record is not None and (record.ends_at() or time) < time

    def next_deadline(self) -> float | None:
        """When the next one expires; None: none does."""
        ends = [end for r in self._open.values() if (end := r.ends_at()) is not None]
        return min(ends, default=None)


class Numbers:
    """Numbers of requests that are forgotten, 8 bytes each.

    None may stand for another request: its id may be on a page, in a chat or in a log.
    """

    def __init__(self) -> None:
        self._salt = secrets.randbits(64)  # so that nobody can fill one of the rows
        self._rows: list[array[int]] = [array("Q") for _ in range(4096)]
        self._count = 0

    def add(self, call: int) -> None:
        """One more."""
        self._row(call).append(call)
        self._count += 1

    def __contains__(self, call: int) -> bool:
        return call in self._row(call)

    def __len__(self) -> int:
        return self._count

    def _row(self, call: int) -> array[int]:
        return self._rows[hash((self._salt, call)) % len(self._rows)]


class Why(StrEnum):
    """What a get of a value that is not released is told (`wire.messages.NotYours.state`)."""

    NEVER = "never"
    WAITING = "waiting"
    DENIED = "denied"
    EXPIRED = "expired"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Word:
    state: Why
    reason: str = ""
    version: int | None = None
    """The content that was released; None: nothing was."""


class Words:
    """The owner's last word about each object that was asked for.

    An acceptance covers the content at the decision, so it is kept with that content's version.
    A version is never used again by the engine, also not by another object under the same id.
    """

    def __init__(self) -> None:
        self._words: OrderedDict[int, _Word] = OrderedDict()

    def released(self, object_id: int, version: int) -> None:
        """This content left."""
        self._put(object_id, _Word(Why.CHANGED, version=version))

    def said(self, object_id: int, state: Why, reason: str = "") -> None:
        """The last request ended otherwise; what had left stays released."""
        word = self._words.get(object_id)
        self._put(object_id, _Word(state, reason, word.version if word else None))

    def covers(self, object_id: int, version: int) -> bool:
        """Whether exactly this content was released before."""
        word = self._words.get(object_id)
        return word is not None and word.version == version

    def about(self, object_id: int) -> tuple[Why, str]:
        """State and reason for a content that was not released."""
        word = self._words.get(object_id)
        return (word.state, word.reason) if word else (Why.NEVER, "")

    def forget(self, object_id: int) -> None:
        """The id is dead."""
        self._words.pop(object_id, None)

    def clear(self) -> None:
        """All ids are dead."""
        self._words.clear()

    def _put(self, object_id: int, word: _Word) -> None:
        self._words.pop(object_id, None)
        self._words[object_id] = word
        while len(self._words) > limits.REMEMBERED_OBJECTS:
            self._words.popitem(last=False)


def is_id(object_id: object) -> bool:
    """Whether this can be the id of an object; anything may have come."""
    return type(object_id) is int and 0 < abs(object_id) < 2**63


def request_id(call: int) -> str:
    """How a request's number is shown: 16 hex digits."""
    return f"{call:016x}"
