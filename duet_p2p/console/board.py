"""The whole picture of one session, as the page has it: sections of entries, each a JSON text.

A picture is made when something changed, once for all pages; each page then gets what differs from
the picture that it has. So a slow page falls behind by pictures that it never sees, not by a queue.

How much there is to be shown is the scientist's doing, and the loop that makes it serves the
network. So one picture takes so long to make what is new, and one message holds so many characters;
what is left comes with the next ones, in the order in which it changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol, TypedDict

from duet_p2p import limits
from duet_p2p.console.views import Views, transfer_view
from duet_p2p.objects.words import clean_text
from duet_p2p.owner.service import Service
from duet_p2p.session.transfers import Moving

__all__ = ["EMPTY", "Board", "Picture", "SessionView", "WatchedSession", "difference"]

Picture = Mapping[str, Mapping[str, str]]
"""Section to key to the JSON text of the entry."""

Make = Callable[[], Mapping[str, Any]]
"""Makes an entry."""

SECTIONS: Final = ("session", "requests", "decided", "handlers", "objects", "transfers")
EMPTY: Final[Picture] = {section: {} for section in SECTIONS}


class Moves(Protocol):
    """The transfers of a session (session/transfers.py)."""

    on_change: Callable[[], None]

    def moving(self) -> list[Moving]:
        """What is under way."""
        ...


class WatchedSession(Protocol):
    """What the board reads of a session (session/session.py)."""

    @property
    def transfers(self) -> Moves:
        """The blobs under way."""
        ...

    def status(self) -> dict[str, Any]:
        """Facts about the connection."""
        ...


class SessionView(TypedDict):
    """The session as a whole."""

    id: str
    peer: str
    """Verified ID of the scientist, or empty before the first connection."""
    state: str
    """``connecting``, ``open``, ``lost`` or ``closed``."""
    why: str
    rtt: float | None
    """Milliseconds."""
    path: str
    operations: int
    open: bool
    """Everything is accepted."""
    suspended: bool
    failure: str
    """The last one, while the session is suspended."""
    audit: str
    """``on``, ``off``, or what is wrong."""
    min_records: int


class Board:
    """Makes pictures of one session; on its loop.

    Args:
        service: of the session.
        session: its end of the connection.
        session_id: the owner's ID.
        audit_state: ``on``, ``off`` or what is wrong, for people.
    """

    def __init__(
        self,
        service: Service,
        session: WatchedSession,
        session_id: str,
        *,
        audit_state: Callable[[], str] = lambda: "off",
    ) -> None:
        self.views = Views(service.desk, service.catalog, session_id)
        self._audit_state = audit_state
        self._service = service
        self._session = session
        self._session_id = session_id
        self._made: dict[tuple[str, str], tuple[object, str]] = {}  # by section and key
        self._due: dict[tuple[str, str], None] = {}  # changed, and not made again; oldest first
        self._about: object = None
        self._operations = 0
        self._rtt: float | None = None
        self.gauge()

    def gauge(self) -> None:
        """Reads what changes all the time; pictures show what was read last."""
        self._operations = self._service.operations
        rtt = self._session.status().get("rtt")
        self._rtt = None if rtt is None else round(1000 * rtt, 1)

    @property
    def is_behind(self) -> bool:
        """Whether the last picture does not show everything yet: one more is wanted."""
        return bool(self._due)

    def picture(self) -> Picture:
        """How everything is now; of what one picture has no time for, how it was before."""
        transfers = self._session.transfers.moving()[: limits.CONSOLE_TRANSFERS]
        entries = {
            (section, key): (state, make)
            for section, of_section in self._entries()
            for key, state, make in of_section
        }
        self._make_texts(entries)
        picture: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
        picture["session"]["session"] = _text(self._session_view())
        for place in entries:
            if place in self._made:
                picture[place[0]][place[1]] = self._made[place][1]
        picture["transfers"] = {v["id"]: _text(v) for v in map(transfer_view, transfers)}
        return picture

    def _entries(self) -> Iterator[tuple[str, Iterable[tuple[str, object, Make]]]]:
        """Of each section: keys, what an entry is made of, and what makes it."""
        desk, views = self._service.desk, self.views
        handlers = desk.policy.handlers()
        objects = list(self._service.catalog)[-limits.CONSOLE_OBJECTS :]
        # What handlers say and what was released concerns all requests; little else ever changes.
        about = (
            tuple((handler.id, handler.uses, handler.elements) for handler in handlers),
            tuple((source, left.releases) for source, left in desk.releases.totals),
            tuple((item.id, id(item)) for item in objects if item.is_mine),
        )
        if about == self._about:
            about = self._about  # the same one is compared at once
        self._about = about
        yield (
            "requests",
            ((r.id, (about, r.why), partial(views.request, r)) for r in desk.book.pending()),
        )
        yield (
            "decided",
            (
                (record.id, None, partial(views.decided, record))
                for record in desk.book.decided()[-limits.CONSOLE_DECIDED :]
            ),
        )
        yield (
            "handlers",
            (
                (h.id, (h.uses, h.elements, order), partial(views.handler, h, order))
                for order, h in enumerate(handlers)
            ),
        )
        yield (
            "objects",
            (
                (str(item.id), (item, order), partial(views.object, item, order))
                for order, item in enumerate(objects)
            ),
        )

    def _make_texts(self, entries: Mapping[tuple[str, str], tuple[object, Make]]) -> None:
        """Makes what changed, the owner's rules and then longest ago first, while there is time.

        A picture is made up to thirty times a second, on the thread that serves the network.
        """
        made = self._made = {place: self._made[place] for place in entries if place in self._made}
        self._due = {
            place: None
            for place in (*self._due, *entries)
            if place in entries and (place not in made or made[place][0] != entries[place][0])
        }
        end = perf_counter() + limits.CONSOLE_PICTURE_SECONDS
        for place in sorted(self._due, key=lambda place: place[0] != "handlers"):
            del self._due[place]
            state, make = entries[place]
            made[place] = state, _text(make())
            if perf_counter() >= end:
                break

    def _session_view(self) -> SessionView:
        service, status = self._service, self._session.status()
        counts, path = service.counts(), status.get("path")
        is_suspended = service.revival.is_suspended
        failure = service.failures[-1] if is_suspended and service.failures else None
        return SessionView(
            id=self._session_id,
            peer=service.desk.intake.requester,
            state=status["state"] if service.is_open else "closed",
            why=clean_text(str(service.error or status.get("error") or ""), 500),
            rtt=self._rtt,
            path=path.kind if path is not None else "",
            operations=self._operations,
            open=counts.is_open_to_all,
            suspended=is_suspended,
            failure=clean_text(str(failure or ""), 1_000),
            audit=clean_text(self._audit_state(), 500),
            min_records=service.desk.policy.min_records,
        )


def difference(
    old: Picture, new: Picture, most: int = limits.CONSOLE_CHANGE_CHARS
) -> tuple[str, Picture]:
    """The `change` message that leads from one picture towards the other.

    Args:
        old: what the page has.
        new: what there is.
        most: characters of entries after which the message ends.

    Returns:
        The message, empty if the pictures are equal, and the picture that the page has then.
    """
    sections = []
    reached = dict(old)
    for section in SECTIONS:
        was, now = old[section], new[section]
        changed: dict[str, str] = {}
        for key, text in now.items():
            if most > 0 and was.get(key) != text:
                changed[key] = text
                most -= len(text)
        gone = [key for key in was if key not in now]
        if changed or gone:
            texts = ",".join(f"{_text(key)}:{text}" for key, text in changed.items())
            sections.append(f'"{section}":{{"set":{{{texts}}},"gone":{_text(gone)}}}')
            reached[section] = {key: text for key, text in {**was, **changed}.items() if key in now}
    message = f'{{"t":"change","sections":{{{",".join(sections)}}}}}' if sections else ""
    return message, reached if most <= 0 else new


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
