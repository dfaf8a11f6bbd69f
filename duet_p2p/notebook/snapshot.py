"""A session as one plain value for the page. Every text of the other side is cleaned and cut."""

from __future__ import annotations

from typing import Any

from duet_p2p import limits
from duet_p2p.notebook.messages import Fact, Request, Snapshot, Transfer, seen_hash
from duet_p2p.objects.cards import shown
from duet_p2p.objects.words import clean_line, clean_text
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.owner.request_view import OwnerRequest
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.scientist.requests import Request as OwnRequest

__all__ = ["closed", "of_owner", "of_owners_request", "of_scientist"]


def of_owner(duet: OwnerDuet) -> Snapshot:
    """The owner's panel; crosses to the loop, sends nothing.

    Raises:
        SessionClosed: the session ended meanwhile.
    """
    status = duet.status()
    book = duet._service.desk.book
    waiting = [record.id for record in duet.read(book.pending)]
    state = "suspended" if status["suspended"] and status["is_open"] else _state(status)
    counts = ("objects", "handlers", "operations")
    return {
        "side": "owner",
        "id": duet.id,
        "partner": duet.peer,
        "state": state,
        "path": _path(status),
        "counts": [_fact(name, status[name]) for name in counts],
        "is_open_to_all": bool(status["OPEN"]),
        "has_console": hasattr(duet, "console"),
        # by their ids: a listing would change what positions mean to the owner's cells
        "requests": [of_owners_request(duet.requests[i]) for i in waiting[: limits.PANEL_REQUESTS]],
        "more": max(0, len(waiting) - limits.PANEL_REQUESTS),
        "transfers": _transfers(duet._session),
    }


def of_owners_request(request: OwnerRequest) -> Request:
    """One request of the scientist, with the hash of what the owner sees of it."""
    hidden = ("name", "reason", "why", "from", "id")  # shown elsewhere on the panel
    made: Request = {
        "id": request.id,
        "seen": "",
        "name": shown(request.name) if request.name else "",
        "reason": clean_line(request.reason, limits.REQUEST_REASON_CHARS),
        "state": request.status.value,
        "facts": [_fact(k, v) for k, v in request.facts().items() if k not in hidden],
        "code": clean_text(request.failed or request.recipe, limits.CARD_CODE_CHARS),
        "around": [_fact(k, v) for k, v in request.around().items()],
        "why": shown(request.why),
    }
    made["seen"] = seen_hash(made)
    return made


def of_scientist(duet: ScientistDuet) -> Snapshot:
    """The scientist's panel: own requests, the waiting ones first, then the newest decided."""
    status = duet.status()
    waiting, decided = duet.requests.requests, duet.requests.history[::-1]
    room = max(0, limits.PANEL_REQUESTS - len(waiting))
    rows = [*waiting[: limits.PANEL_REQUESTS], *decided[: min(room, limits.PANEL_DECIDED)]]
    state = "suspended" if status["suspended"] and status["is_open"] else _state(status)
    return {
        "side": "scientist",
        "id": duet.id,
        "partner": duet.peer,
        "state": state,
        "path": _path(status),
        "counts": [_fact(name, status[name]) for name in ("objects", "operations")],
        "is_open_to_all": False,
        "has_console": False,
        "requests": [_own(request) for request in rows],
        "more": max(0, len(waiting) - limits.PANEL_REQUESTS),
        "transfers": _transfers(duet._session),
    }


def closed(last: Snapshot) -> Snapshot:
    """The panel of a session that has ended: nothing waits any more."""
    return {
        **last,
        "state": "closed",
        "path": "",
        "is_open_to_all": False,
        "has_console": False,
        "requests": [] if last["side"] == "owner" else last["requests"],
        "more": 0,
        "transfers": [],
    }


def _own(request: OwnRequest) -> Request:
    return {
        "id": request.id,
        "seen": "",
        "name": shown(request.name) if request.name else "",
        "reason": clean_line(request.reason, limits.REQUEST_REASON_CHARS),
        "state": request.status.value,
        "facts": [_fact("object", request.object_type), _fact("tags", request.object_tags)],
        "code": "",
        "around": [],
        "why": "",
    }


def _state(status: dict[str, Any]) -> str:
    return str(status.get("state", "closed")) if status["is_open"] else "closed"


def _path(status: dict[str, Any]) -> str:
    path = status.get("path")
    return "" if path is None else str(path.kind)


def _fact(name: str, value: object) -> Fact:
    return {"name": name, "value": shown(value)}


def _transfers(session: Any) -> list[Transfer]:
    moving = session.transfers.moving()[: limits.PANEL_TRANSFERS]
    return [
        {"way": "out" if m.is_outgoing else "in", "done": m.done, "total": m.nbytes} for m in moving
    ]
