"""The server in an owner's process when other users of the machine come to it in numbers."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator

import aiohttp
import pytest

from duet_p2p import meeting
from signaling_server.app import SignalingConfig
from signaling_server.embedded import EmbeddedServer
from signaling_server.limits import CONNECT_BURST, Limits
from tests.unit.signaling_kit import SECONDS, Raw, owner, running, scientist


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def own_port() -> int:
    """The end of a connection that counts as the owner's."""
    return free_port()


@pytest.fixture
def url(own_port: int) -> Iterator[str]:
    server = EmbeddedServer(port=0, is_own=lambda line: line.getpeername()[1] == own_port)
    yield server.start(SECONDS)
    server.close()


async def joined(url: str, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse | int:
    """A socket, or the status with which it was refused; 0 if the connection was."""
    try:
        return await http.ws_connect(url + "/v1/ws", protocols=("duet.v1",))
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    except aiohttp.ClientError:
        return 0


async def is_let_in(url: str, port: int) -> bool:
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.1", port))
    async with aiohttp.ClientSession(connector=connector) as http:
        made = await joined(url, http)
        if isinstance(made, int):
            return False
        await made.close()
        return True


async def test_sockets_of_others_leave_room_for_the_owners(url: str, own_port: int) -> None:
    async with aiohttp.ClientSession() as http:
        made = [await joined(url, http) for _ in range(40)]
        refused = [status for status in made if isinstance(status, int)]
        assert refused == [503] * 8  # half of those that have not registered
        assert await is_let_in(url, own_port)


async def test_rates_of_others_are_not_the_owners(url: str, own_port: int) -> None:
    """From one and the same address, as all users of a machine come."""
    async with aiohttp.ClientSession() as http:
        for _ in range(4 * CONNECT_BURST):  # one more is allowed with each second that passes
            made = await joined(url, http)
            if isinstance(made, int):
                break
            await made.close()
        assert made == 429
    assert await is_let_in(url, own_port)


async def test_bare_connections_of_others_leave_room_for_the_owners(
    url: str, own_port: int
) -> None:
    port = int(url.rpartition(":")[2])
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(330)]
    try:
        assert await is_let_in(url, own_port)
    finally:
        for _, writer in lines:
            writer.close()


async def test_ids_that_others_link_leave_room_for_the_owner_and_its_partner(
    own_port: int,
) -> None:
    """They link them, and leave or stay; the partner comes from where they come from."""
    config = SignalingConfig((), is_own=lambda line: line.getpeername()[1] == own_port)
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.1", own_port))
    async with running(Limits(max_sessions=4, max_sockets=20), config) as run:
        await run.pair(owner(1), scientist(1))
        for number in range(2, 30):
            for raw in await run.pair(owner(number), scientist(number)):
                await raw.ws.close()
        async with aiohttp.ClientSession(connector=connector) as http:
            made = await http.ws_connect(run.url + "/v1/ws", protocols=("duet.v1",))
            session = Raw(made)
            session.hello = await session.next()
            await session.register(owner(100))
            partner = await run.member(scientist(100))
            assert (await partner.join(owner(100).id))["status"] == "accepted"
            assert (await session.next())["t"] == "join"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux")
def test_the_kernel_says_whose_a_connection_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as line,
    ):
        assert meeting._is_own(line)
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
        assert not meeting._is_own(line)


def test_nobody_from_elsewhere_is_the_owner() -> None:
    class Line:
        def getpeername(self) -> tuple[str, int]:
            return "192.0.2.7", 5

    assert not meeting._is_own(Line())  # type: ignore[arg-type]
