"""When the panel looks again, and on which thread.

Events of a session happen on its loop, and a cell may keep the main thread busy for hours. So the
loop only says "something changed", at most every `PANEL_SECONDS`, and the callback thread looks and
pushes: it is one thread, so pushes have an order, and it may block without stopping the network.

What changes without an event (bytes of a transfer, the path) is compared by a slow pulse.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from duet_p2p import limits

__all__ = ["Feed"]


class Feed:
    """Calls `push` on the callback thread after changes of one session.

    Args:
        duet: a session; it is not kept alive.
        push: looks and shows; called one at a time.
        gauge: a cheap value, read on the loop, that differs when something changed without an
            event.
    """

    def __init__(self, duet: Any, push: Callable[[], None], gauge: Callable[[Any], object]) -> None:
        self._duet = weakref.ref(duet)
        self._push = push
        self._gauge = gauge
        self._last: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._bridge = duet._bridge

    def start(self) -> None:
        """Begins; from any thread but the loop's."""
        self._bridge.loop.call_soon_threadsafe(self._pulse)

    def soon(self) -> None:
        """Something changed. On the loop."""
        if self._timer is None:
            self._timer = self._bridge.loop.call_later(limits.PANEL_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self._bridge.callback_thread.tell(self._push)

    def _pulse(self) -> None:
        duet = self._duet()
        if duet is None:
            return
        gauge = self._gauge(duet)
        if gauge != self._last:
            self._last = gauge
            self.soon()
        if duet.is_open:
            self._bridge.loop.call_later(limits.PANEL_PULSE_SECONDS, self._pulse)
