"""Answers after an operation whose time depends on private values: on a tick, all together.

Without it, a scientist would fetch a public value right behind such an operation and read the
operation's time off the answer. With it they learn on which tick it ended. From the moment it has
ended until the tick nothing that the engine says goes on, in whatever order it was asked for: an
answer that overtook the tick would tell the end as well. The same holds for an engine that died of
private values.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from duet_p2p.engine.messages import Died, Event, Hold
from duet_p2p.limits import TIMED_TICK_SECONDS

__all__ = ["Tick"]


class Tick:
    """Passes the engine's events on, those after a `Hold` on the next tick.

    Args:
        deliver: takes an event.
        loop: whose clock ticks.
    """

    def __init__(self, deliver: Callable[[Event], None], loop: asyncio.AbstractEventLoop) -> None:
        self._deliver = deliver
        self._loop = loop
        self._due = 0.0
        self._held: deque[tuple[float, Event]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def event(self, event: Event) -> None:
        """One event, in order."""
        now = self._loop.time()
        is_death = isinstance(event, Died) and event.was_private
        if is_death or isinstance(event, Hold):
            self._due = TIMED_TICK_SECONDS * (math.floor(now / TIMED_TICK_SECONDS) + 1)
        if isinstance(event, Hold):
            return
        if self._held or now < self._due:
            self._held.append((self._due, event))
            self._wait()
        else:
            self._deliver(event)

    def close(self) -> None:
        """Passes on what waits: nobody is there any more who could measure it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held:
            self._deliver(self._held.popleft()[1])

    def _wait(self) -> None:
        if self._timer is None and self._held:
            self._timer = self._loop.call_at(self._held[0][0], self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            self._deliver(self._held.popleft()[1])
        self._wait()
