"""A listener that takes so many connections at once.

A connection is a descriptor of this process before it has said anything, and there are few of
them: whoever can connect could use all of them up, and the process, an owner's perhaps, could open
no file any more. How long one may say nothing is the runner's `keepalive_timeout`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from aiohttp import web

__all__ = ["listen"]


class _TurnedAway(asyncio.Protocol):
    """One connection too many: it is closed before it is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


async def listen(
    runner: web.AppRunner,
    listener: socket.socket,
    *,
    most: int,
    ssl_context: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Serves what connects to a bound socket.

    Args:
        runner: set up.
        listener: bound; the server closes it.
        most: connections at once, sockets included. Those of one turn of the loop are not counted
            yet, so it may be as many more as wait to be accepted.
        ssl_context: for built-in TLS.

    Returns:
        What listens; close it before the runner is cleaned up.
    """
    server = runner.server
    assert server is not None

    def connection() -> asyncio.Protocol:
        return _TurnedAway() if len(server.connections) >= most else server()

    return await asyncio.get_running_loop().create_server(
        connection, sock=listener, ssl=ssl_context
    )
