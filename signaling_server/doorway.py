"""A listener that takes so many connections at once.

A connection is a descriptor of this process before it has said anything, and there are few of
them: whoever can connect could use all of them up, and the process, an owner's perhaps, could open
no file any more. How long one may say nothing is the runner's `keepalive_timeout`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from aiohttp import web

__all__ = ["listen"]


class _Arriving(asyncio.Protocol):
    """A connection until it is known whether there is room; one too many is closed unread.

    Args:
        server: of the runner.
        most: connections at once.
        others: of them, of those whom it is not for.
        is_own: whether it is for whoever is at the other end.
        strangers: protocols of the others, some of them gone.
    """

    def __init__(
        self,
        server: web.Server,
        most: int,
        others: int,
        is_own: Callable[[socket.socket], bool],
        strangers: set[Any],
    ) -> None:
        self._server = server
        self._most = most
        self._others = others
        self._is_own = is_own
        self._strangers = strangers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        served = self._server.connections
        is_own = self._is_own(transport.get_extra_info("socket"))
        self._strangers.intersection_update(served)
        is_full = len(served) >= self._most
        if is_full or (not is_own and len(self._strangers) >= self._others):
            transport.abort()
            return
        protocol = self._server()
        if not is_own:
            self._strangers.add(protocol)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


async def listen(
    runner: web.AppRunner,
    listener: socket.socket,
    *,
    most: int,
    ssl_context: ssl.SSLContext | None = None,
    others: int | None = None,
    is_own: Callable[[socket.socket], bool] = lambda line: True,
) -> asyncio.Server:
    """Serves what connects to a bound socket.

    Args:
        runner: set up.
        listener: bound; the server closes it.
        most: connections at once, sockets included.
        ssl_context: for built-in TLS.
        others: of them, of those for whom `is_own` says no; as many if it is None.
        is_own: whether it is for whoever is at the other end of a connection.

    Returns:
        What listens; close it before the runner is cleaned up.
    """
    server = runner.server
    assert server is not None
    room = most if others is None else others
    strangers: set[Any] = set()
    return await asyncio.get_running_loop().create_server(
        lambda: _Arriving(server, most, room, is_own, strangers), sock=listener, ssl=ssl_context
    )
