"""An answer that is still to come: set on the loop's thread, waited for in the user's.

A `Future` of the standard library does this and more, with a condition, an inner lock for each
waiter and some forty calls from the wait to the result. All of that is between the arrival of a
value and the cell that wants it. Here it is one lock, held until there is an outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Promise"]

T = TypeVar("T")


class Promise(Generic[T]):
    """One outcome, set once; a second one changes nothing. Any thread.

    Args:
        on_done: called with the promise by whoever sets the outcome.
    """

    __slots__ = ("_lock", "_on_done", "_outcomes")

    def __init__(self, on_done: Callable[[Promise[T]], object] | None = None) -> None:
        self._outcomes: list[tuple[T | None, Exception | None]] = []  # the first one counts
        self._on_done = on_done
        self._lock = threading.Lock()
        self._lock.acquire()

    def done(self) -> bool:
        """Whether there is an outcome."""
        return bool(self._outcomes)

    def result(self) -> T:
        """The value; raises what was set in its place. Only when `done`."""
        value, error = self._outcomes[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # it was set without an error

    def exception(self, timeout: float = 0.0) -> Exception | None:
        """Waits for an outcome; the error, or None if it is a value.

        Raises:
            TimeoutError: `timeout` seconds passed.
        """
        if not self._outcomes:
            if not self._lock.acquire(timeout=timeout):
                raise TimeoutError
            self._lock.release()  # for whoever else waits
        return self._outcomes[0][1]

    def set_result(self, value: T) -> None:
        """The value is there."""
        self._set((value, None))

    def set_exception(self, error: Exception) -> None:
        """There will be none."""
        self._set((None, error))

    def _set(self, outcome: tuple[T | None, Exception | None]) -> None:
        self._outcomes.append(outcome)  # in one step, whoever else does
        if self._outcomes[0] is outcome:
            self._lock.release()
            if self._on_done is not None:
                self._on_done(self)
