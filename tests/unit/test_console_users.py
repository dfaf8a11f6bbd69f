"""Who is at the other end of a connection to the console, and what others can take of its room."""

import asyncio
import os
import socket

import aiohttp
import pytest

from duet_p2p import limits
from duet_p2p.console import server as server_module
from duet_p2p.identity import users
from tests.unit.console_kit import stage

__all__ = ["stage"]

TELLS = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux tells it")


@pytest.fixture
def others(monkeypatch):
    """Ports from which another user speaks."""
    ports = set()
    monkeypatch.setattr(server_module, "is_own", lambda line: line.getpeername()[1] not in ports)
    return ports


async def port_of(stage):
    return int((await stage.console.open()).address.rsplit(":", 1)[1].rstrip("/"))


def arriving(others, port):
    """A connection of another user, on its way."""
    line = socket.socket()
    line.bind(("127.0.0.1", 0))
    others.add(line.getsockname()[1])
    line.connect(("127.0.0.1", port))
    return line


@TELLS
def test_the_kernel_says_whose_a_connection_is():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as theirs,
    ):
        ours, _ = listener.accept()
        with ours:
            assert users.user_of(ours) == os.geteuid()
            assert users.user_of(theirs) == os.geteuid()
            assert users.is_own(ours)


@TELLS
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="to be another user")
def test_another_users_is_not_ours():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as line:
        os.fchown(line.fileno(), 65_534, -1)  # what the kernel goes by
        line.connect(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            assert users.user_of(ours) == 65_534
            assert not users.is_own(ours)


def test_what_nobody_tells_counts_as_ours(monkeypatch):
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert users.is_own(None)


async def test_connections_of_others_leave_room_for_the_owner(stage, others, monkeypatch):
    """They filled all of it, for as long as they came again."""
    monkeypatch.setattr(limits, "CONSOLE_CONNECTIONS", 8)
    port = await port_of(stage)
    lines = []
    for _ in range(12):
        lines.append(arriving(others, port))
        await asyncio.sleep(0.01)
    page = await stage.page()
    assert page.welcome
    served = stage.console._server._runner.server.connections
    assert len(served) == 4 + 1
    for line in lines:
        line.close()


async def test_sockets_of_others_that_say_nothing_leave_room_for_the_owner(
    stage, others, monkeypatch
):
    monkeypatch.setattr(limits, "CONSOLE_STRANGERS", 2)
    monkeypatch.setattr(limits, "CONSOLE_HELLO_SECONDS", 30.0)
    port = await port_of(stage)
    hello = (
        f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    lines, answers = [], []
    for _ in range(3):
        lines.append(arriving(others, port))
        lines[-1].setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(lines[-1], hello.encode())
        answers.append((await loop.sock_recv(lines[-1], 4_096))[:12])
    assert answers == [b"HTTP/1.1 101", b"HTTP/1.1 101", b"HTTP/1.1 503"]
    assert (await stage.page()).welcome
    for line in lines:
        line.close()


async def test_those_of_the_owner_have_all_of_it(stage, others, monkeypatch):
    monkeypatch.setattr(limits, "CONSOLE_CONNECTIONS", 4)
    port = await port_of(stage)
    lines = []
    for _ in range(3):
        lines.append(socket.create_connection(("127.0.0.1", port)))
        await asyncio.sleep(0.01)
    assert (await stage.page()).welcome
    with pytest.raises(aiohttp.ClientConnectionError):
        await stage.connect()
    for line in lines:
        line.close()
