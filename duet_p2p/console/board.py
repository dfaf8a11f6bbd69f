"""The whole picture of one session, as the page has it: sections of entries, each a JSON text.

A picture is made when something changed, once for all pages; each page then gets what differs from
the picture that it has. So a slow page falls behind by pictures that it never sees, not by a queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypedDict

from duet_p2p import limits
from duet_p2p.console.views import Views, transfer_view
from duet_p2p.objects.words import clean_text
from duet_p2p.owner.service import Service
from duet_p2p.session.transfers import Moving

__all__ = ["EMPTY", "Board", "Picture", "SessionView", "WatchedSession", "difference"]

Picture = Mapping[str, Mapping[str, str]]
"""Section to key to the JSON text of the entry."""

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
        self._made: dict[str, dict[str, tuple[object, str]]] = {}
        self._operations = 0
        self._rtt: float | None = None
        self.gauge()

    def gauge(self) -> None:
        """Reads what changes all the time; pictures show what was read last."""
        self._operations = self._service.operations
        rtt = self._session.status().get("rtt")
        self._rtt = None if rtt is None else round(1000 * rtt, 1)

    def picture(self) -> Picture:
        """How everything is now."""
        desk, views = self._service.desk, self.views
        handlers = desk.policy.handlers()
        objects = list(self._service.catalog)[-limits.CONSOLE_OBJECTS :]
        transfers = self._session.transfers.moving()[: limits.CONSOLE_TRANSFERS]
        # What handlers say and what was released concerns all requests; little else ever changes.
        about = (
            tuple((handler.id, handler.uses, handler.elements) for handler in handlers),
            tuple((source, left.releases) for source, left in desk.releases.totals),
            tuple((item.id, id(item)) for item in objects if item.is_mine),
        )
        return {
            "session": {"session": _text(self._session_view())},
            "requests": self._texts(
                "requests",
                ((r.id, (about, r.why), partial(views.request, r)) for r in desk.book.pending()),
            ),
            "decided": self._texts(
                "decided",
                (
                    (record.id, None, partial(views.decided, record))
                    for record in desk.book.decided()[-limits.CONSOLE_DECIDED :]
                ),
            ),
            "handlers": self._texts(
                "handlers",
                (
                    (h.id, (h.uses, h.elements, order), partial(views.handler, h, order))
                    for order, h in enumerate(handlers)
                ),
            ),
            "objects": self._texts(
                "objects",
                (
                    (str(item.id), (item, order), partial(views.object, item, order))
                    for order, item in enumerate(objects)
                ),
            ),
            "transfers": {view["id"]: _text(view) for view in map(transfer_view, transfers)},
        }

    def _texts(
        self, section: str, entries: Iterable[tuple[str, object, Callable[[], Mapping[str, Any]]]]
    ) -> dict[str, str]:
        """The texts of a section; those whose state is what it was are not made again.

        A picture is made up to thirty times a second, on the thread that serves the network.
        """
        old, made = self._made.get(section, {}), {}
        for key, state, make in entries:
            known = old.get(key)
            made[key] = known if known and known[0] == state else (state, _text(make()))
        self._made[section] = made
        return {key: text for key, (_, text) in made.items()}

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


def difference(old: Picture, new: Picture) -> str:
    """The `change` message that leads from one picture to the other; empty if they are equal."""
    sections = []
    for section in SECTIONS:
        was, now = old[section], new[section]
        changed = [f"{_text(key)}:{text}" for key, text in now.items() if was.get(key) != text]
        gone = [key for key in was if key not in now]
        if changed or gone:
            sections.append(f'"{section}":{{"set":{{{",".join(changed)}}},"gone":{_text(gone)}}}')
    return f'{{"t":"change","sections":{{{",".join(sections)}}}}}' if sections else ""


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
