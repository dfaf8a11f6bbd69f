"""The server inside the owner's process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.request

import aiohttp
import pytest

from signaling_server.embedded import EmbeddedServer
from tests.unit.signaling_kit import SECONDS


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_it_answers_from_its_own_thread_and_leaves_none_behind() -> None:
    server = EmbeddedServer(port=0)
    url = server.start(SECONDS)
    try:
        assert "duet-signaling" in threads()
        # This thread does nothing meanwhile, as a notebook's busy cell would.
        with urllib.request.urlopen(url + "/v1/info", timeout=SECONDS) as answer:
            assert json.load(answer)["version"].startswith("duet-signaling/")
        assert server.start(SECONDS) == url
    finally:
        server.close()
    server.close()
    assert "duet-signaling" not in threads()
    with pytest.raises(OSError):
        urllib.request.urlopen(url + "/healthz", timeout=SECONDS)


def test_it_can_be_started_again() -> None:
    server = EmbeddedServer(port=0)
    for _ in range(2):
        server.start(SECONDS)
        server.close()


def test_a_taken_port_gives_another_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = EmbeddedServer(port=port)
        try:
            url = server.start(SECONDS)
            assert url.startswith("http://127.0.0.1:")
            assert url != f"http://127.0.0.1:{port}"
        finally:
            server.close()


def test_an_address_of_another_machine_is_an_error_and_leaves_no_thread() -> None:
    server = EmbeddedServer("192.0.2.1", 0)
    with pytest.raises(OSError):
        server.start(SECONDS)
    assert "duet-signaling" not in threads()


def test_all_addresses_are_announced_by_one_that_others_can_use() -> None:
    server = EmbeddedServer("0.0.0.0", 0)
    try:
        url = server.start(SECONDS)
        assert "0.0.0.0" not in url
        port = url.rpartition(":")[2]
        for name in (url, f"http://127.0.0.1:{port}"):
            with urllib.request.urlopen(name + "/v1/info", timeout=SECONDS) as answer:
                assert answer.status == 200
    finally:
        server.close()


async def test_open_sockets_are_closed_with_1012_at_once() -> None:
    server = EmbeddedServer(port=0)
    url = server.start(SECONDS)
    try:
        async with aiohttp.ClientSession() as http:
            ws = await http.ws_connect(url + "/v1/ws", protocols=("duet.v1",))
            await ws.receive(SECONDS)
            closing = asyncio.create_task(asyncio.to_thread(server.close))
            message = await ws.receive(SECONDS)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            async with asyncio.timeout(SECONDS):
                await closing
    finally:
        server.close()
    assert "duet-signaling" not in threads()
