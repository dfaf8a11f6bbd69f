"""The client against real servers, also ones that lie, stop, or never answer."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import web

from duet_p2p import limits
from duet_p2p.errors import (
    OriginMismatch,
    ProtocolError,
    SessionClosed,
    SessionExpired,
    SessionReplaced,
    SignalingUnreachable,
)
from duet_p2p.transport.base import Signaling
from duet_p2p.transport.signaling import WebSocketSignaling
from signaling_server.app import SignalingConfig
from signaling_server.ids import b64encode
from signaling_server.limits import Limits
from signaling_server.server import Server, bind
from signaling_server.turn import IceConfig
from tests.hostile_kit import assert_harmless_text
from tests.unit.client_kit import REGISTERED, Client, hello, liar, until
from tests.unit.signaling_kit import SECONDS, owner, running, scientist


async def test_two_clients_pass_bodies_and_hear_of_each_other() -> None:
    async with running() as run:
        ours, theirs = Client(run.url + "/", owner()), Client(run.url, scientist())
        seam: Signaling = ours.signaling
        assert (seam.url, seam.is_local) == (run.url, True)
        async with ours, theirs:
            assert ours.events == [("registered", "")]
            theirs.signaling.post(owner().id, b"join", is_join=True)
            await until(lambda: ours.messages)
            ours.signaling.post(scientist().id, b"offer")
            await until(lambda: theirs.messages)
            theirs.signaling.post(owner().id, b"answer")
            await until(lambda: len(ours.messages) == 2)
            assert ours.messages == [(scientist().id, b"join"), (scientist().id, b"answer")]
            assert theirs.messages == [(owner().id, b"offer")]
            await theirs.signaling.close(forget=False)
            await ours.heard("offline", scientist().id)
            again = Client(run.url, scientist())
            async with again:
                await ours.heard("online", scientist().id)
            await ours.heard("offline", scientist().id, count=2)


async def test_what_was_posted_before_a_close_still_leaves() -> None:
    async with running() as run, Client(run.url, owner()) as ours:
        async with Client(run.url, scientist()) as theirs:
            for number in range(5):
                theirs.signaling.post(owner().id, b"%d" % number, is_join=True)
            await theirs.signaling.close(forget=True)
        await until(lambda: len(ours.messages) == 5)


async def test_a_body_that_the_server_has_no_time_for_waits() -> None:
    async with (
        running(Limits(message_burst=2, message_rate=30)) as run,
        Client(run.url, owner()) as ours,
        Client(run.url, scientist()) as theirs,
    ):
        theirs.signaling.post(owner().id, b"one", is_join=True)
        theirs.signaling.post(owner().id, b"refused", is_join=True)
        await asyncio.sleep(0.1)
        theirs.signaling.post(owner().id, b"later", is_join=True)
        await asyncio.sleep(0.1)
        assert [body for _, body in ours.messages] == [b"one"]
        await until(lambda: len(ours.messages) == 2)
        assert ours.messages[1][1] == b"later"


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    async with running() as run:
        inside = asyncio.all_tasks()
        async with Client(run.url, owner()):
            assert len(asyncio.all_tasks()) > len(inside)
        await until(lambda: asyncio.all_tasks() == inside)
    await until(lambda: asyncio.all_tasks() == before)


async def test_it_reconnects_after_a_restart_and_sends_what_was_posted_meanwhile() -> None:
    server = Server(SignalingConfig(()), port=0)
    await server.start()
    port = server.port
    async with Client(server.url, scientist()) as theirs:
        await server.close(grace=0)
        theirs.signaling.hurry(True)
        theirs.signaling.post(owner().id, b"while away", is_join=True)
        server = Server(SignalingConfig(()), port=port)
        await server.start()
        try:
            async with Client(server.url, owner()) as ours:
                await theirs.heard("registered", count=2)
                theirs.signaling.post(owner().id, b"back", is_join=True)
                await until(lambda: (scientist().id, b"back") in ours.messages)
            assert ("closed", "") not in theirs.events
        finally:
            await server.close(grace=0)


async def test_after_a_loss_it_asks_where_the_server_is_now() -> None:
    async with running() as first, running() as second:
        answers = iter([SignalingUnreachable("not yet"), second.url])

        async def find_again() -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async with Client(first.url, owner(), find_again=find_again) as client:
            await first.server.close(grace=0)
            client.signaling.hurry(True)
            await client.heard("registered", count=2)
            assert client.signaling.url == second.url


async def test_posts_of_a_lost_socket_are_kept_up_to_16_and_the_oldest_goes() -> None:
    client = WebSocketSignaling("http://127.0.0.1:9", scientist())
    for number in range(limits.SIGNALING_POSTS + 1):
        client.post(owner().id, b"%d" % number)
    assert len(client._posts) == limits.SIGNALING_POSTS
    assert client._posts[0].body == b"1"


async def test_a_server_that_is_not_there_is_unreachable_at_once() -> None:
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    started = time.monotonic()
    with pytest.raises(SignalingUnreachable, match="Check its address"):
        await WebSocketSignaling(f"http://127.0.0.1:{port}", owner()).start()
    assert time.monotonic() - started < 9


async def test_a_server_that_never_answers_is_unreachable_within_the_deadline() -> None:
    listener = bind("127.0.0.1", 0)  # accepts, and says nothing
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(SignalingUnreachable, match=r"0\.3 s"):
            await WebSocketSignaling(url, owner(), timeout=0.3).start()
        assert 0.2 < time.monotonic() - started < 9
    finally:
        listener.close()

    async def silent(ws: web.WebSocketResponse) -> None:
        await ws.receive()

    async with liar(silent) as url:
        started = time.monotonic()
        with pytest.raises(SignalingUnreachable, match=r"0\.3 s"):
            await WebSocketSignaling(url, owner(), timeout=0.3).start()
        assert time.monotonic() - started < 9


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    before = asyncio.all_tasks()

    async def silent(ws: web.WebSocketResponse) -> None:
        await ws.receive()

    async with liar(silent) as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await WebSocketSignaling(url, owner()).start()
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_close_in_the_turn_of_the_start_ends_the_start() -> None:
    async with running() as run:
        client = WebSocketSignaling(run.url, owner())
        starting = asyncio.create_task(client.start())
        await asyncio.sleep(0)  # it waits, and the task behind it has not taken its first step
        await client.close(forget=False)
        with pytest.raises(SessionClosed):
            async with asyncio.timeout(SECONDS):
                await starting


async def test_another_origin_is_refused_before_anything_is_signed() -> None:
    said: list[Any] = []

    async def forward(ws: web.WebSocketResponse) -> None:
        await ws.send_str(hello("https://sig.example.org"))
        said.append((await ws.receive()).type)

    async with liar(forward) as url:
        with pytest.raises(OriginMismatch, match=r"https://sig\.example\.org"):
            await WebSocketSignaling(url, owner()).start()
        await until(lambda: said)
    assert said == [web.WSMsgType.CLOSE]


async def test_what_a_server_calls_itself_is_shown_as_text() -> None:
    """Both sides print it, and no relay is trusted."""

    async def shout(ws: web.WebSocketResponse) -> None:
        await ws.send_str(hello("https://\x1b]0;title\x07\x1b[2J\u202esig" + "g" * 10_000))
        await ws.receive()

    async with liar(shout) as url:
        with pytest.raises(OriginMismatch) as refused:
            await WebSocketSignaling(url, owner()).start()
    assert "title" in str(refused.value) and len(str(refused.value)) < 500
    assert_harmless_text(str(refused.value), lines=False)


async def test_a_server_that_does_not_know_its_own_name_is_a_mismatch() -> None:
    config = SignalingConfig(("https://sig.example.org",))
    server = Server(config, port=0)
    await server.start()
    try:
        with pytest.raises(OriginMismatch):
            await WebSocketSignaling(f"http://127.0.0.1:{server.port}", owner()).start()
    finally:
        await server.close(grace=0)


@pytest.mark.parametrize(
    "frame",
    [
        '{"t":"registered"}',
        "[]",
        '{"t":"hello","t":"hello"}',
        hello("", challenge=b64encode(bytes(31))),
        hello("", challenge="??"),
        hello("", v=2),
    ],
)
async def test_a_server_that_speaks_otherwise_is_a_protocol_error(frame: str) -> None:
    async def speak(ws: web.WebSocketResponse) -> None:
        host = ws._req.host  # type: ignore[union-attr]
        await ws.send_str(frame.replace('"origin": ""', f'"origin": "http://{host}"'))
        await ws.receive()

    async with liar(speak) as url:
        with pytest.raises(ProtocolError):
            await WebSocketSignaling(url, owner()).start()


async def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def away(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://{request.host}/elsewhere")

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_get("/v1/ws", away)
    app.router.add_get("/elsewhere", elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = bind("127.0.0.1", 0)
    await web.SockSite(runner, listener).start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(SignalingUnreachable, match="another address"):
            await WebSocketSignaling(url, owner()).start()
        assert seen == []
    finally:
        await runner.cleanup()


async def test_a_full_server_and_no_server_of_ours_are_unreachable() -> None:
    async with running(Limits(max_sockets=1)) as run:
        async with Client(run.url, owner()):
            with pytest.raises(SignalingUnreachable, match="full"):
                await WebSocketSignaling(run.url, scientist()).start()
        with pytest.raises(SignalingUnreachable, match="HTTP 404"):
            await WebSocketSignaling(run.url + "/nowhere", scientist()).start()


async def test_the_older_of_two_processes_stops() -> None:
    async with running() as run, Client(run.url, owner()) as old, Client(run.url, owner()):
        await old.heard("closed", "SessionReplaced")
        await asyncio.sleep(0.1)
        assert old.events.count(("registered", "")) == 1


async def closed_with(
    code: int, reason: str = "", *, registered: bool = True, events: int = 0
) -> Client:
    """A client whose first socket got this close, once it has heard so many events."""
    count = 0

    async def close(ws: web.WebSocketResponse) -> None:
        nonlocal count
        count += 1
        host = ws._req.host  # type: ignore[union-attr]
        await ws.send_str(hello(f"http://{host}"))
        await ws.receive()
        if registered or count > 1:
            await ws.send_str(REGISTERED)
        if count == 1:
            await ws.close(code=code, message=reason.encode())
        else:
            await ws.receive()

    async with liar(close) as url:
        client = Client(url, owner())
        try:
            await client.signaling.start()
            await asyncio.sleep(0.05)
            client.signaling.hurry(True)
            if events:
                await until(lambda: len(client.events) >= events)
            else:
                await asyncio.sleep(0.3)
        finally:
            await client.signaling.close(forget=False)
    return client


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1000, "SessionClosed"),
        (1009, "ProtocolError"),
        (4000, "SessionReplaced"),
        (4001, "ProtocolError"),
        (4002, "ProtocolError"),
        (4004, "SessionExpired"),
    ],
)
async def test_closes_that_end_it_for_good(code: int, error: str) -> None:
    client = await closed_with(code, events=2)
    assert client.events == [("registered", ""), ("closed", error)]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4005, 3999])
async def test_closes_after_which_it_comes_back(code: int) -> None:
    client = await closed_with(code, events=2)
    assert client.events == [("registered", ""), ("registered", "")]


@pytest.mark.parametrize(("code", "reason"), [(1013, ""), (4003, "retry_after=9")])
async def test_closes_after_which_it_waits_even_in_a_hurry(code: int, reason: str) -> None:
    client = await closed_with(code, reason)
    assert client.events == [("registered", "")]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (4001, ProtocolError),
        (4002, ProtocolError),
        (4000, SessionReplaced),
        (4004, SessionExpired),
        (1013, SignalingUnreachable),
        (4003, SignalingUnreachable),
        (1012, SignalingUnreachable),
    ],
)
async def test_a_close_instead_of_a_registration_is_raised(
    code: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await closed_with(code, registered=False)


async def test_a_linked_id_that_expired_registers_again_when_it_is_needed() -> None:
    async with (
        running(Limits(ttl_idle=1, ttl_unpaired=1)) as run,
        Client(run.url, owner()) as ours,
        Client(run.url, scientist()) as theirs,
    ):
        theirs.signaling.post(owner().id, b"join", is_join=True)
        await until(lambda: ours.messages)
        ours.signaling.post(scientist().id, b"offer")
        await until(lambda: theirs.messages)
        await until(lambda: not theirs.signaling._registered)
        await asyncio.sleep(0.2)
        assert ("closed", "SessionExpired") not in theirs.events
        assert theirs.events.count(("registered", "")) == 1
        theirs.signaling.post(owner().id, b"again", is_join=True)
        await theirs.heard("registered", count=2)


async def test_a_client_that_rests_keeps_its_link_and_wakes_for_a_post() -> None:
    async with (
        running() as run,
        Client(run.url, owner()) as ours,
        Client(run.url, scientist()) as theirs,
    ):
        theirs.signaling.post(owner().id, b"join", is_join=True)
        await until(lambda: ours.messages)
        ours.signaling.post(scientist().id, b"offer")
        await until(lambda: theirs.messages)
        theirs.signaling.rest()
        await ours.heard("offline", scientist().id)
        await asyncio.sleep(0.1)
        assert theirs.events.count(("registered", "")) == 1
        ours.signaling.post(scientist().id, b"queued for later")
        theirs.signaling.post(owner().id, b"awake")
        await until(lambda: len(ours.messages) == 2)
        await until(lambda: len(theirs.messages) == 2)
        await ours.heard("online", scientist().id)


async def test_fresh_credentials_are_asked_for_and_filtered() -> None:
    ice = IceConfig(("stun:127.0.0.1:3478",), ("turn:turn.example.org:3478",), "secret")
    async with (
        running(config=SignalingConfig((), ice=ice)) as run,
        Client(run.url, scientist()) as client,
    ):
        first = client.signaling.ice_servers
        assert [entry["urls"] for entry in first] == [
            ["stun:127.0.0.1:3478"],  # the server itself was reached at 127.0.0.1
            ["turn:turn.example.org:3478"],
        ]
        await asyncio.sleep(1.05)  # the name carries seconds
        second = await client.signaling.refresh_ice()
        assert second == client.signaling.ice_servers
        assert second[1]["username"] > first[1]["username"]
        started = time.monotonic()
        for _ in range(8):  # two too many: the newest known ones, without waiting
            assert await client.signaling.refresh_ice()
        assert time.monotonic() - started < 4.5


async def test_without_credentials_that_end_nothing_is_asked() -> None:
    async with running(Limits(ice_rate=1)) as run, Client(run.url, owner()) as client:
        for _ in range(20):
            assert await client.signaling.refresh_ice() == []


async def test_a_body_that_is_not_base64_is_dropped() -> None:
    async def speak(ws: web.WebSocketResponse) -> None:
        host = ws._req.host  # type: ignore[union-attr]
        await ws.send_str(hello(f"http://{host}"))
        await ws.receive()
        await ws.send_str(REGISTERED)
        for body in ("A", "AB", "Z29vZA"):
            await ws.send_str(json.dumps({"t": "signal", "from": scientist().id, "body": body}))
        await ws.send_str('{"t":"news"}')
        await ws.receive()

    async with liar(speak) as url, Client(url, owner()) as client:
        await until(lambda: client.messages)
        assert client.messages == [(scientist().id, b"good")]
        assert client.events == [("registered", "")]


async def test_a_drained_client_comes_back_by_itself() -> None:
    server = Server(SignalingConfig(()), Limits(grace=5, drain_jitter=0.01), port=0)
    await server.start()
    port = server.port
    async with Client(server.url, owner()) as client:
        async with asyncio.timeout(SECONDS):
            await server.close()  # ends early, because the client leaves
        server = Server(SignalingConfig(()), port=port)
        await server.start()
        try:
            client.signaling.hurry(True)
            await client.heard("registered", count=2)
        finally:
            await server.close(grace=0)
