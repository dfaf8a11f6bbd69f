"""So many connections at once, counted on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from signaling_server.doorway import listen
from signaling_server.server import bind
from tests.unit.signaling_kit import SECONDS

MOST = 3
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = bind("127.0.0.1", 0)
    listening = await listen(runner, listener, most=MOST)
    yield listener.getsockname()[1]
    listening.close()
    await runner.cleanup()


async def is_served(line: Line) -> bool:
    reader, writer = line
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    try:
        async with asyncio.timeout(SECONDS):
            return b"200 OK" in await reader.read(4096)
    except ConnectionError:
        return False


async def connected(port: int) -> Line:
    line = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.01)  # so that it is counted
    return line


async def test_as_many_as_allowed_are_served_and_one_more_is_not(port: int) -> None:
    lines = [await connected(port) for _ in range(MOST + 1)]
    assert not await is_served(lines[-1])
    assert [await is_served(line) for line in lines[:-1]] == [True] * MOST
    for _, writer in lines:
        writer.close()


async def test_who_leaves_makes_room(port: int) -> None:
    lines = [await connected(port) for _ in range(MOST)]
    lines[0][1].close()
    await lines[0][1].wait_closed()
    await asyncio.sleep(0.05)
    lines.append(await connected(port))
    assert await is_served(lines[-1])
    for _, writer in lines:
        writer.close()


async def test_a_flood_is_held_to_a_number(port: int) -> None:
    """All at once: besides the number only what waited to be accepted in one turn of the loop."""
    lines = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", port) for _ in range(400)), return_exceptions=True
    )
    made = [line for line in lines if isinstance(line, tuple)]
    served = sum([await is_served(line) for line in made])
    assert MOST <= served <= MOST + 100
    for _, writer in made:
        writer.close()
