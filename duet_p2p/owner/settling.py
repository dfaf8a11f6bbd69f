"""Up to where everything that arrived was executed.

Commands go to the engine and come back settled in order; requests and gets come back as
candidates; some messages need no engine at all. What the scientist is told is one number: every
message up to it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Settling"]


class Settling:
    """Turns answers of the engine into one rising number."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._seen = 0
        self._told = 0
        self._open: deque[int] = deque()  # numbers that the engine has, ascending
        self._calls: dict[int, int] = {}  # open requests and gets: call to number

    def seen(self, seq: int) -> None:
        """A message arrived."""
        self._seen = seq

    def given(self, seq: int) -> None:
        """The engine has commands up to this number."""
        self._open.append(seq)

    def asked(self, seq: int, call: int) -> None:
        """The engine has a snapshot of this message to make."""
        self._open.append(seq)
        self._calls[call] = seq

    def done(self, seq: int) -> None:
        """The engine executed everything up to this number."""
        while self._open and self._open[0] <= seq:
            self._open.popleft()
        self._advance(seq)

    def answered(self, call: int) -> None:
        """The engine made a snapshot; it works in order, so what came before is done too."""
        seq = self._calls.pop(call, None)
        if seq is not None:
            self.done(seq)

    def settle(self) -> None:
        """A message needed no engine."""
        self._advance(0)

    def restart(self) -> None:
        """The engine is another one: it has nothing, and nothing of the old one will be done."""
        self._open.clear()
        self._calls.clear()
        self._advance(self._seen)

    def _advance(self, seq: int) -> None:
        if not self._open:
            seq = self._seen
        if seq > self._told:
            self._told = seq
            self._tell(seq)
