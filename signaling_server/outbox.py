"""The way out of one socket: a bounded queue and the single task that writes from it.

Nobody waits for another's socket. Whoever queues a frame gets an answer at once; a socket that
does not read fast enough is closed with 4005, and its transport aborted a second later, because a
close frame waits behind everything that was not read either.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.limits import ABORT_SECONDS, Limits
from signaling_server.metrics import Metrics

__all__ = ["Outbox"]


class Outbox:
    """Implements `rooms.Socket` on an aiohttp WebSocket."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.BaseTransport | None,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._ws = ws
        self._transport = transport
        self._limits = limits
        self._metrics = metrics
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._close: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._abort: asyncio.TimerHandle | None = None
        self._closer: asyncio.Task[None] | None = None
        self._writer = asyncio.create_task(self._write(), name="signaling writer")

    @property
    def is_closing(self) -> bool:
        """Whether a close was asked for."""
        return self._close is not None

    def put(self, frame: frames.FromServer) -> bool:
        """See `rooms.Socket.put`."""
        if self._close is not None:
            return False
        text = frames.encode(frame)
        full = len(self._frames) >= self._limits.out_queue_messages
        if full or self._bytes + len(text) > self._limits.out_queue_bytes:
            self._metrics.count("dropped_total", reason="slow")
            self._close_slow()
            return False
        self._frames.append(text)
        self._bytes += len(text)
        self._wake.set()
        return True

    def close(self, code: int, reason: str = "") -> None:
        """See `rooms.Socket.close`."""
        if self._close is None:
            self._close = (code, reason)
            # However long the queue is: this is when the socket is gone.
            self._abort_in(self._limits.send_timeout + ABORT_SECONDS)
            self._wake.set()

    async def end(self) -> None:
        """Waits until both tasks are done; the socket is closed or aborted by then."""
        if self._close is None:  # the other side went
            self._close = (Close.BYE, "")
            self._frames.clear()
            self._wake.set()
            self._abort_in(ABORT_SECONDS)
        tasks = [task for task in (self._writer, self._closer) if task is not None]
        await asyncio.wait(tasks, timeout=self._limits.send_timeout + 2 * ABORT_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._abort is not None:
            self._abort.cancel()

    async def _write(self) -> None:
        while True:
            while self._frames:
                text = self._frames[0]  # counts until it has left
                try:
                    async with asyncio.timeout(self._limits.send_timeout):
                        await self._ws.send_str(text)
                except TimeoutError:
                    self._close_slow()
                    return
                except (ConnectionError, RuntimeError):  # closed or aborted meanwhile
                    return
                if not self._frames:  # closed as too slow while this one was being written
                    return
                self._frames.popleft()
                self._bytes -= len(text)
                self._metrics.count("bytes_total", len(text), dir="out")
            if self._close is not None:
                await self._shut(*self._close)
                return
            self._wake.clear()
            await self._wake.wait()

    def _close_slow(self) -> None:
        if self._closer is None:
            self._frames.clear()
            self._close = (Close.SLOW, "slow consumer")
            self._abort_in(ABORT_SECONDS)
            self._closer = asyncio.create_task(self._shut(*self._close), name="signaling closer")

    async def _shut(self, code: int, reason: str) -> None:
        try:
            await self._ws.close(code=code, message=reason.encode())
        except (ConnectionError, RuntimeError):
            self._abort_now()

    def _abort_in(self, seconds: float) -> None:
        if self._abort is not None:
            self._abort.cancel()
        self._abort = asyncio.get_running_loop().call_later(seconds, self._abort_now)

    def _abort_now(self) -> None:
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()
