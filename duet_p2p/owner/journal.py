"""Where the service says what happened: names, kinds, ids and decisions, never values.

An audit log on disk is one implementation of `Journal`; the present one writes to the standard
logger ``duet_p2p.audit``, so an owner can send it anywhere with `logging`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Journal", "LogJournal"]


class Journal(Protocol):
    """Keeps what happened."""

    def record(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Keeps one event.

        Args:
            kind: ``session``, ``share``, ``drop``, ``handler``, ``request``, ``decision``,
                ``release``, ``repeat``, ``refusal`` or ``fault``.
            facts: names, ids, numbers and decisions; no values.
        """
        ...


class LogJournal:
    """Writes each event as one line of JSON to the logger ``duet_p2p.audit``, level INFO."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._log = logging.getLogger("duet_p2p.audit")

    def record(self, kind: str, facts: Mapping[str, Any]) -> None:
        """One line; what JSON does not know is written as text."""
        if self._log.isEnabledFor(logging.INFO):
            line = {"kind": kind, "session": self._session_id, **facts}
            self._log.info("%s", json.dumps(line, default=str, sort_keys=True))
