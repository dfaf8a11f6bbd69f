"""A signalling client that writes down what it hears, and a server that lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from duet_p2p.identity.keys import Key
from duet_p2p.transport.signaling import WebSocketSignaling
from signaling_server.ids import b64encode
from signaling_server.server import bind
from tests.unit.signaling_kit import SECONDS


class Client:
    """A client that writes down what it hears."""

    def __init__(self, url: str, key: Key, **options: Any) -> None:
        self.signaling = WebSocketSignaling(url, key, **options)
        self.messages: list[tuple[str, bytes]] = []
        self.events: list[tuple[str, str]] = []
        self.signaling.on_message = lambda sender, body: self.messages.append((sender, body))
        self.signaling.on_event = lambda event, id: self.events.append((event, id))

    async def __aenter__(self) -> Client:
        await self.signaling.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.signaling.close(forget=True)

    async def heard(self, event: str, id: str = "", count: int = 1) -> None:
        await until(lambda: self.events.count((event, id)) >= count)


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def liar(script: Callable[[web.WebSocketResponse], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that does what a test says."""

    async def handle(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("duet.v1",))
        await ws.prepare(request)
        await script(ws)
        await ws.close()
        return ws

    app = web.Application()
    app.router.add_get("/v1/ws", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = bind("127.0.0.1", 0)
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


def hello(origin: str, **change: Any) -> str:
    frame = {"t": "hello", "v": 1, "challenge": b64encode(bytes(32)), "conn": "c", "limits": {}}
    return json.dumps(frame | {"origin": origin} | change)


REGISTERED = json.dumps({"t": "registered", "epoch": 1, "ttl": 60, "ice": [], "ice_expires": None})
