"""No more commands a second than the owner allows.

What comes faster waits here, in order, and goes on when its time has come: nothing is lost. A
sender that does not wait for it is stopped by the session's window, which bounds what can pile up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from duet_p2p.wire.messages import Message

__all__ = ["Gate"]


class Gate:
    """Passes messages on, at most so many a second and as many at once.

    Args:
        deliver: takes a message and its number.
        per_second: messages; 0 lets none through.
        loop: whose clock counts.
    """

    def __init__(
        self,
        deliver: Callable[[int, Message], None],
        per_second: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._deliver = deliver
        self._per_second = per_second
        self._loop = loop
        self._left = float(per_second)
        self._at = loop.time()
        self._held: deque[tuple[int, Message]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_shut = False

    @property
    def held(self) -> int:
        """Messages that wait."""
        return len(self._held)

    def message(self, seq: int, message: Message) -> None:
        """One message, in order."""
        if not self._is_shut and not self._held and self._take():
            self._deliver(seq, message)
        else:
            self._held.append((seq, message))
            self._wait()

    def shut(self) -> None:
        """Everything waits until `begin`: there is nobody yet to execute it."""
        self._is_shut = True

    def begin(self) -> None:
        """What waited goes on, in order and no faster than allowed."""
        self._is_shut = False
        self._go_on()

    def open(self) -> None:
        """Lets everything pass that waits: nothing of it will be executed any more."""
        self._stop()
        while self._held:
            self._deliver(*self._held.popleft())

    def close(self) -> None:
        """Forgets what waits."""
        self._stop()
        self._held.clear()

    def _take(self) -> bool:
        now = self._loop.time()
        grown = self._left + (now - self._at) * self._per_second
        self._left, self._at = min(float(self._per_second), grown), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _wait(self) -> None:
        if self._timer is None and self._per_second and not self._is_shut:
            self._timer = self._loop.call_later(
                max(0.0, 1 - self._left) / self._per_second, self._go_on
            )

    def _go_on(self) -> None:
        self._stop()
        while self._held and self._take():
            self._deliver(*self._held.popleft())
        if self._held:
            self._wait()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
