"""The original's `sy.logger`: where the records of the standard ``duet_p2p`` logger go."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

__all__ = ["logger"]


class _Logger:
    """Attaches handlers to the standard ``duet_p2p`` logger."""

    def __init__(self) -> None:
        self._handlers: dict[int, logging.Handler] = {}
        self._numbers = itertools.count(1)

    def add(self, sink: Any, level: str | int = "INFO") -> int:
        """Sends records to a path or an open stream; the number is for `remove`."""
        handler: logging.Handler
        if isinstance(sink, str | Path):
            handler = logging.FileHandler(sink)
        else:
            handler = logging.StreamHandler(sink)
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        target = logging.getLogger("duet_p2p")
        target.addHandler(handler)
        if target.getEffectiveLevel() > handler.level:
            target.setLevel(handler.level)
        number = next(self._numbers)
        self._handlers[number] = handler
        return number

    def remove(self, number: int | None = None) -> None:
        """Takes one handler off, or all.

        Raises:
            ValueError: there is no handler of that number.
        """
        if number is not None and number not in self._handlers:
            raise ValueError(f"no handler has the number {number}")
        for key in [number] if number is not None else list(self._handlers):
            handler = self._handlers.pop(key)
            logging.getLogger("duet_p2p").removeHandler(handler)
            handler.close()


logger = _Logger()
