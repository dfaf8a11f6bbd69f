"""Where the service says what happened: names, kinds, ids and decisions, never values.

The audit log (audit.py) is one `Journal`. `LogJournal` is what is left with ``audit=False``: lines
for the standard logger ``duet_p2p.audit``, which an owner can send anywhere with `logging`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from duet_p2p.engine.messages import Configure, Payload
from duet_p2p.identity.signed_head import SignedHead

__all__ = ["Content", "Journal", "LogJournal", "SignHead", "facts_of_start"]

Content = tuple[Any, Payload | None]
"""A value in closed form and the bytes that its spans point into."""


SignHead = Callable[[], SignedHead]
"""Gives the log's head with the owner's signature. What left need not wait for that."""


def facts_of_start(configure: Configure, min_records: int) -> dict[str, Any]:
    """What a session begins with; `Service.configure` tells of directories that come later."""
    dirs = {"data_dirs": dict(configure.data_dirs)} if configure.data_dirs else {}
    return {"state": "started", "limits": configure.quotas, "min_records": min_records, **dirs}


class Journal(Protocol):
    """Keeps what happened."""

    @property
    def is_kept(self) -> bool:
        """Whether anybody keeps it now: if not, there is no need to put facts together."""
        ...

    def record(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Keeps one event, soon.

        Args:
            kind: ``session``, ``peer``, ``share``, ``drop``, ``handler``, ``request``,
                ``decision``, ``refusal``, ``public`` (a value that needed no decision left),
                ``recipe`` (of what was decided before it was known), ``engine`` or ``fault``.
            facts: names, ids, numbers and decisions; no values.
        """
        ...

    def expect(self) -> None:
        """Something was asked for, so there may be a `commit` soon; on the loop."""
        ...

    def commit(
        self, kind: str, facts: Mapping[str, Any], content: Content
    ) -> asyncio.Future[SignHead] | None:
        """Keeps one event for good before anything else happens.

        Args:
            kind: ``release`` or ``repeat``.
            facts: as for `record`.
            content: what leaves; only an HMAC of it is kept.

        Returns:
            A future of what signs the log's new head, with `AuditUnavailable` if the event could
            not be kept: then nothing may leave. It is done already where the event was kept at
            once. None where nothing is kept: go on.
        """
        ...

    async def finish(self) -> SignedHead | None:
        """Keeps what is left and ends; the last head, if there is one."""
        ...


class LogJournal:
    """Writes each event as one line of JSON to the logger ``duet_p2p.audit``, level INFO."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._log = logging.getLogger("duet_p2p.audit")

    @property
    def is_kept(self) -> bool:
        """Whether the logger takes lines of this level."""
        return self._log.isEnabledFor(logging.INFO)

    def record(self, kind: str, facts: Mapping[str, Any]) -> None:
        """One line; what JSON does not know is written as text."""
        if self.is_kept:
            line = {"kind": kind, "session": self._session_id, **facts}
            self._log.info("%s", json.dumps(line, default=str, sort_keys=True))

    def expect(self) -> None:
        """Nothing to prepare."""

    def commit(
        self, kind: str, facts: Mapping[str, Any], content: Content
    ) -> asyncio.Future[SignHead] | None:
        """One line, without the content."""
        self.record(kind, facts)
        return None

    async def finish(self) -> SignedHead | None:
        """Nothing is left."""
        return None
