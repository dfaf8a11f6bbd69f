"""What an engine's process says on its terminal: to the owner's log, so much of it a minute.

torch warns of what a scientist does, and may do so for each command anew. An owner who writes the
log to a file has a disk that it would fill.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from duet_p2p import limits

__all__ = ["Terminal"]

_log = logging.getLogger("duet_p2p.engine")

_MINUTE: Final = 60.0


class Terminal:
    """The lines of one engine.

    Args:
        clock: whose time counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._left = 0
        self._unsaid = 0

    def say(self, data: bytes) -> None:
        """Logs lines, or the number of bytes that they have."""
        now = self._clock()
        if now >= self._until:
            self.end()
            self._until, self._left = now + _MINUTE, limits.ENGINE_LOG_BYTES
        said, unsaid = data[: self._left], data[self._left :]
        self._left -= len(said)
        for line in said.decode(errors="replace").splitlines():
            if line.strip():
                # words of the scientist's can be in it
                _log.info("%s", "".join(c if c.isprintable() else "?" for c in line))
        if unsaid and not self._unsaid:
            _log.warning(
                "the engine has written %d bytes to its terminal within a minute: what else it "
                "writes in this minute is left out", limits.ENGINE_LOG_BYTES,
            )  # fmt: skip
        self._unsaid += len(unsaid)

    def end(self) -> None:
        """Logs how much was left out, if anything was."""
        if self._unsaid:
            _log.warning("%d bytes of the engine's terminal were left out", self._unsaid)
        self._unsaid = 0
