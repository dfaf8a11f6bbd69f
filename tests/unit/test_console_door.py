"""The way in for `duet console`, a process of the same user."""

import asyncio
import contextlib
import gc
import json
import os
import socket
import stat
import sys

import pytest
from typer.testing import CliRunner

from duet_p2p.cli import app
from duet_p2p.console import door as door_module
from duet_p2p.console.console import console_folder
from duet_p2p.console.door import Door, doors, knock
from duet_p2p.errors import IdentityFileUnsafe, NotAllowed, SessionClosed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")

OWNER = "S" + "1" * 31


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    return console_folder()


@pytest.fixture
async def opened(folder):
    knocks = []

    async def on_knock():
        knocks.append(True)
        return "/somewhere/open.html"

    door = Door(OWNER, on_knock)
    await door.start(folder)
    yield knocks
    await door.close()


async def test_the_same_user_gets_the_way_in(opened, folder):
    assert await asyncio.to_thread(doors, folder) == [OWNER]
    path = await asyncio.to_thread(knock, folder, OWNER)
    assert str(path) == "/somewhere/open.html"
    assert opened == [True]


async def test_socket_and_folder_are_for_this_user_only(opened, folder):
    assert stat.S_IMODE((folder / f"{OWNER}.door").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_another_user_gets_nothing(opened, folder, monkeypatch):
    monkeypatch.setattr(door_module, "_user_of", lambda line: os.geteuid() + 1)
    with pytest.raises(NotAllowed, match="another user"):
        await asyncio.to_thread(knock, folder, OWNER)

    def ask():
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            with door_module._address(folder / f"{OWNER}.door") as address:
                line.connect(address)
            try:
                line.sendall(b"open\n")
                return line.recv(100)
            except (BrokenPipeError, ConnectionResetError):  # closed before the word was read
                return b""

    assert await asyncio.to_thread(ask) == b""
    assert opened == []


async def test_the_kernel_says_who_is_at_the_other_end():
    first, second = socket.socketpair(socket.AF_UNIX)
    with first, second:
        assert door_module._user_of(first) == os.geteuid()


@pytest.mark.parametrize("question", [b"close\n", b"\n", b"open", b"x" * 100_000])
async def test_other_questions_have_no_answer(opened, folder, question):
    def ask():
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            with door_module._address(folder / f"{OWNER}.door") as address:
                line.connect(address)
            try:
                line.sendall(question)
                line.shutdown(socket.SHUT_WR)
                return line.recv(100)
            except ConnectionError:  # it did not even listen to the end
                return b""

    assert await asyncio.to_thread(ask) == b""
    assert opened == []


async def test_the_command_says_what_is_missing(folder):
    runner = CliRunner()
    nobody = await asyncio.to_thread(runner.invoke, app, ["console", "--no-browser"])
    assert isinstance(nobody.exception, SessionClosed)
    first, second = Door(OWNER, None), Door("S" + "2" * 31, None)
    for door in (first, second):
        await door.start(folder)
    several = await asyncio.to_thread(runner.invoke, app, ["console", "--no-browser"])
    assert several.exit_code == 2
    assert "S111-1111" in several.output
    none = await asyncio.to_thread(runner.invoke, app, ["console", "s3", "--no-browser"])
    assert isinstance(none.exception, SessionClosed)
    for door in (first, second):
        await door.close()


async def test_a_dead_session_is_no_session(folder):
    with (
        socket.socket(socket.AF_UNIX) as left,
        door_module._address(folder / f"{OWNER}.door") as address,
    ):
        left.bind(address)
    assert doors(folder) == []
    assert not (folder / f"{OWNER}.door").exists()
    with pytest.raises(SessionClosed):
        knock(folder, OWNER)


async def test_a_door_that_a_dead_process_left_is_replaced_and_a_living_one_is_not(folder, opened):
    other = Door(OWNER, None)
    await other.start(folder)
    await other.close()
    assert await asyncio.to_thread(doors, folder) == [OWNER]
    assert await asyncio.to_thread(knock, folder, OWNER)


async def test_something_else_in_its_place_is_refused(folder):
    (folder / f"{OWNER}.door").write_text("open me")
    with pytest.raises(NotAllowed, match="not a door of yours"):
        knock(folder, OWNER)


async def test_an_open_folder_is_refused(folder):
    folder.chmod(0o755)
    with pytest.raises(IdentityFileUnsafe):
        doors(folder)


async def test_why_it_cannot_be_opened_is_told(folder):
    async def on_knock():
        raise SessionClosed("This session is closed.")

    door = Door(OWNER, on_knock)
    await door.start(folder)
    with pytest.raises(NotAllowed, match=r"This session is closed\."):
        await asyncio.to_thread(knock, folder, OWNER)
    await door.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "answer", [b"", b"no\n", b"[]\n", json.dumps({"path": 1}).encode() + b"\n"]
)
async def test_a_strange_answer_opens_nothing(folder, answer):
    async def serve(reader, writer):
        await reader.readline()
        writer.write(answer)
        writer.close()

    with door_module._address(folder / f"{OWNER}.door") as address:
        server = await asyncio.start_unix_server(serve, address)
    with pytest.raises((NotAllowed, SessionClosed)):
        await asyncio.to_thread(knock, folder, OWNER)
    server.close()


async def test_a_long_home_works_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / ("long" * 30)))
    folder = console_folder()
    door = Door(OWNER, None)
    await door.start(folder)
    if os.path.isdir("/proc/self/fd"):
        assert doors(folder) == [OWNER]
    await door.close()


@pytest.mark.parametrize("turns", range(5))
async def test_closing_ends_a_visit_that_has_just_come(folder, turns):
    session_id = "S" + "2" * 31
    door = Door(session_id, None)
    await door.start(folder)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        with door_module._address(folder / f"{session_id}.door") as address:
            line.connect(address)
        for _ in range(turns):
            await asyncio.sleep(0)
        await door.close()
        gc.collect()  # finds a socket that nobody closed
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(line.recv, 1) == b""
