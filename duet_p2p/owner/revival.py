"""The first engine, a new one after each death, and the owner's word before it goes on if needed.

An engine that dies in the middle of work on private data may have died of the values: that it died
is an answer, and an endless supply of such answers would spell the data out. So the session is
suspended until the owner has looked; everything that the scientist sends meanwhile is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from duet_p2p import limits
from duet_p2p.engine.messages import Started
from duet_p2p.errors import DuetError

__all__ = ["Revival"]

_log = logging.getLogger("duet_p2p")


class Revival:
    """Starts engines, each while everything else goes on.

    Args:
        start: starts one; `DuetError` if it cannot.
        on_up: one runs.
        on_end: it makes no sense to go on, with the reason.
    """

    def __init__(
        self,
        start: Callable[[], Coroutine[Any, Any, Started]],
        *,
        on_up: Callable[[Started], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.is_suspended = False
        self._start = start
        self._on_up = on_up
        self._on_end = on_end
        self._deaths: deque[float] = deque(maxlen=limits.ENGINE_RESTARTS)
        self._restarting: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether an engine is being started."""
        return self._restarting is not None and not self._restarting.done()

    def begin(self) -> None:
        """Starts the first engine."""
        self._restarting = asyncio.get_running_loop().create_task(self._start_one())

    def died(self, *, was_private: bool) -> None:
        """The engine died."""
        self.is_suspended |= was_private
        self._restarting = asyncio.get_running_loop().create_task(self._restart())

    def renew(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ends an engine in which nothing was done yet, and starts another."""
        self._restarting = asyncio.get_running_loop().create_task(self._renew(stop))

    async def done(self) -> None:
        """Returns when no engine is being started any more."""
        if self._restarting is not None:
            await asyncio.wait([self._restarting])

    async def close(self) -> None:
        """Starts nothing any more."""
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.wait([self._restarting])

    async def _restart(self) -> None:
        now = asyncio.get_running_loop().time()
        is_looping = (
            len(self._deaths) == limits.ENGINE_RESTARTS
            and now - self._deaths[0] < limits.ENGINE_RESTART_SECONDS
        )
        self._deaths.append(now)
        if is_looping:
            self._on_end("The engine ended again and again; see duet.errors.")
            return
        await self._start_one()

    async def _renew(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await stop()
        await self._start_one()

    async def _start_one(self) -> None:
        try:
            started = await self._started()
        except DuetError as error:
            self._on_end(str(error))
            return
        except Exception as error:  # no process, no memory, our own mistake: nobody may wait on
            _log.exception("the engine could not be started")
            self._on_end(f"The engine could not be started: {type(error).__name__}: {error}")
            return
        self._on_up(started)

    async def _started(self) -> Started:
        """Another try where the system is short of something, descriptors or processes."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limits.PIPE_SHORT_SECONDS
        while True:
            try:
                return await self._start()
            except OSError as error:
                if isinstance(error, DuetError) or loop.time() > until:
                    raise
                _log.warning("the engine could not be started, and is tried again: %s", error)
            await asyncio.sleep(limits.ENGINE_AGAIN_SECONDS)
