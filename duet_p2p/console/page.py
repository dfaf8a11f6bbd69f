"""One open page: what it has seen, and what it is sent next.

Answers are sent in order; pictures are not queued. When there is room, the page gets the difference
between the newest picture and the one that it has: a sleeping tab costs one picture, not a queue.
A large difference is several messages, each towards the picture that is the newest then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

from aiohttp import web

from duet_p2p import limits
from duet_p2p.console.board import EMPTY, Picture, difference

__all__ = ["Page"]


class Page:
    """One socket that has shown a token.

    Args:
        socket: prepared.
        token: with which this page may come back, once.
        came_with: the token that it has shown.

    Attributes:
        socket: of the page.
        token, came_with: as given.
    """

    def __init__(self, socket: web.WebSocketResponse, token: str, came_with: str) -> None:
        self.socket = socket
        self.token = token
        self.came_with = came_with
        self._texts: asyncio.Queue[str] = asyncio.Queue(limits.CONSOLE_QUESTIONS)
        self._seen: Picture = EMPTY
        self._newest: Picture = EMPTY
        self._wake = asyncio.Event()
        self._last = ""
        self._task = asyncio.get_running_loop().create_task(self._write())
        self._texts.put_nowait(json.dumps({"t": "welcome", "token": token}))
        self._wake.set()

    async def send(self, text: str) -> None:
        """Queues one text; waits while a page that asks does not listen."""
        await self._texts.put(text)
        self._wake.set()

    def show(self, picture: Picture) -> None:
        """There is a newer picture."""
        self._newest = picture
        self._wake.set()

    async def end(self, text: str, code: int) -> None:
        """Sends what is left, says that it is over, and closes."""
        self._last = json.dumps({"t": "end", "text": text})
        self._wake.set()
        await asyncio.wait([self._task])
        await self.socket.close(code=code, message=b"closed")

    async def close(self) -> None:
        """Stops writing."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):  # then its reader ends, too
            while True:
                await self._wake.wait()
                self._wake.clear()
                while not self._texts.empty():
                    await self.socket.send_str(self._texts.get_nowait())
                if self._newest is not self._seen:
                    change, self._seen = difference(self._seen, self._newest)
                    if change:
                        await self.socket.send_str(change)
                    if self._seen is not self._newest:
                        self._wake.set()
                        await asyncio.sleep(0)
                if self._last:
                    await self.socket.send_str(self._last)
                    return
