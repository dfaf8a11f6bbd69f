"""The widget: one snapshot that the page shows, and a few messages back.

`snapshot` is a trait, not a message, so that a page that is opened or reloaded while a cell runs
shows the present state at once. Only the callback thread sets it. Sending from there is what
ipykernel allows: a comm message is handed to the kernel's own IOPub thread by a queue. The page may
not set it: a state that comes from there is refused, which also keeps ipywidgets' bookkeeping of
"who changed this" (it is not made for threads) out of the way.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from functools import cache
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from duet_p2p.errors import DuetError, SessionClosed
from duet_p2p.notebook import snapshot
from duet_p2p.notebook.feed import Feed
from duet_p2p.notebook.messages import Answer, Decide, Snapshot, read
from duet_p2p.objects.cards import shown
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.scientist.duet import ScientistDuet

__all__ = ["Panel", "panel_of"]

_LOG = logging.getLogger("duet_p2p.notebook")
_FOLDER: Final = Path(__file__).parent


@cache
def _front_end(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


class Panel(anywidget.AnyWidget):
    """Shows one session. The session does not live longer for it.

    Args:
        duet: either side.
    """

    _esm = _front_end("panel.js")
    _css = _front_end("panel.css")
    snapshot: Any = traitlets.Dict().tag(sync=True)

    def __init__(self, duet: OwnerDuet | ScientistDuet) -> None:
        self._duet = weakref.ref(duet)
        super().__init__(snapshot=_snapshot_of(duet))
        self.on_msg(self._on_page)
        self._feed = Feed(duet, self._push, _gauge)
        if isinstance(duet, OwnerDuet):
            duet._service.watchers.append(self._feed.soon)
        self._feed.start()

    # to the page, on the callback thread

    def _push(self) -> None:
        duet = self._duet()
        new = snapshot.closed(self.snapshot)
        if duet is not None and duet.is_open:
            with contextlib.suppress(SessionClosed):  # since the question; closed it is
                new = _snapshot_of(duet)
        if new != self.snapshot:
            self.snapshot = new

    # from the page, on whatever thread the kernel takes its messages

    def set_state(self, sync_data: Any) -> None:
        """A state that the page sends; it has none of its own."""
        self._refuse("the page cannot set anything")

    def _on_page(self, _: Any, content: Any, buffers: Any) -> None:
        try:
            message = read(content)
            duet = self._duet()
            if not isinstance(duet, OwnerDuet):
                raise ValueError("there is nothing to decide on this side")
        except ValueError as error:
            self._refuse(str(error))
            return
        if message["type"] == "console":
            self._open_console(duet)
        else:
            self._decide(duet, message)

    def _decide(self, duet: OwnerDuet, message: Decide) -> None:
        request_id = message["request"]
        try:
            request = duet.requests[request_id]
        except KeyError:
            self._answer("error", request_id, "There is no such request any more.")
            return
        except DuetError as error:
            self._answer("error", request_id, str(error))
            return
        if snapshot.of_owners_request(request)["seen"] != message["seen"]:
            self._refuse("what was shown is not what waits", request_id)
            return
        try:
            if message["type"] == "accept":
                request.accept()
            else:
                request.deny(message["reason"])
        except DuetError as error:
            self._answer("error", request_id, str(error))
        else:
            self._answer("done", request_id, request.status.value)

    def _open_console(self, duet: OwnerDuet) -> None:
        try:
            opening = duet.console()
        except (DuetError, OSError) as error:
            self._answer("error", "", str(error))
        else:
            self._answer("done", "", str(opening))

    def _refuse(self, why: str, request: str = "") -> None:
        _LOG.warning("The panel ignored a message of the page: %s.", why)
        self._answer("error", request, f"Ignored: {why}.")

    def _answer(self, kind: Any, request: str, text: str) -> None:
        answer: Answer = {"type": kind, "request": request, "text": shown(text)}
        self.send(answer)


def panel_of(duet: OwnerDuet | ScientistDuet) -> Panel:
    """A panel for a session."""
    return Panel(duet)


def _snapshot_of(duet: OwnerDuet | ScientistDuet) -> Snapshot:
    if isinstance(duet, OwnerDuet):
        return snapshot.of_owner(duet)
    return snapshot.of_scientist(duet)


def _gauge(duet: OwnerDuet | ScientistDuet) -> object:
    """On the loop: what can change without anybody telling."""
    session: Any = duet._session
    link, moving = session.status(), tuple(session.transfers.moving())
    common = (link["state"], link["path"] and link["path"].kind, moving, duet.is_open)
    if isinstance(duet, OwnerDuet):
        return common
    requests = (len(duet.requests), duet.requests.history[-1:])
    return *common, requests, len(duet.store), duet._client.operations, duet._client._is_suspended
