"""A word that is said again until it is answered: timers T1 and T2 of RFC 9260."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Repetition"]


class Repetition:
    """At most one word at a time.

    Attributes:
        deadline: when it is said again, or None.
        count: how often it was said again.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.count = 0
        self._say: Callable[[], None] | None = None

    def begin(self, say: Callable[[], None], now: float, pause: float) -> None:
        """Says a word, in place of any other one."""
        self._say = say
        self.count = 0
        say()
        self.deadline = now + pause

    def again(self, now: float, pause: float, attempts: int) -> bool:
        """The deadline passed: says it again; False when that was done often enough."""
        self.count += 1
        if self.count > attempts or self._say is None:
            return False
        self._say()
        self.deadline = now + pause
        return True

    def stop(self) -> None:
        """It was answered."""
        self._say = None
        self.deadline = None
        self.count = 0
