"""Log lines without IDs and addresses.

Our own lines never contain any. aiohttp's do, so of its records only the logger, the level and the
class of the error are written, never the text.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["SafeFormatter", "configure"]

_OWN = "signaling_server"


class SafeFormatter(logging.Formatter):
    """One line per record, as text or as a JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.partition(".")[0] == _OWN:
            entry["message"] = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            if frames:  # where, not what: the text of an error may repeat what was sent
                entry["at"] = f"{frames[-1].name}:{frames[-1].lineno}"
        if self._as_json:
            return json.dumps(entry)
        return " ".join(str(value) for value in entry.values())


def configure(*, as_json: bool, level: str, stream: TextIO | None = None) -> None:
    """Sends all records of this process to one stream; for the command line only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(SafeFormatter(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level.upper())
