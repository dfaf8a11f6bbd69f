"""Who is let in, what pages are told, and what their decisions do."""

import asyncio
import contextlib
import os
import stat
from dataclasses import replace

import aiohttp
import pytest

from duet_p2p import limits
from duet_p2p.console.console import console_folder
from duet_p2p.console.server import BAD_MESSAGE, CLOSED, CONTENT_POLICY, NO_TOKEN, TOO_MANY
from duet_p2p.engine import messages as engine
from duet_p2p.errors import IdentityFileUnsafe, SessionClosed
from duet_p2p.identity.files import home
from duet_p2p.owner.handlers import Conditions, Handler
from duet_p2p.wire import messages as wire
from tests.unit.console_kit import SECONDS, stage
from tests.unit.owner_kit import LOSS, RAW

__all__ = ["stage"]


# who is let in


async def test_a_token_lets_one_page_in_once(stage):
    page, token = await stage.connect()
    await page.say({"t": "hello", "token": token})
    await page.until(lambda: page.welcome)
    second, _ = await stage.connect()
    await second.say({"t": "hello", "token": token})
    assert await second.closed() == NO_TOKEN
    assert not second.sections


async def test_a_token_ends_after_a_minute(stage, monkeypatch):
    monkeypatch.setattr(limits, "CONSOLE_TOKEN_SECONDS", 0.0)
    page, token = await stage.connect()
    await page.say({"t": "hello", "token": token})
    assert await page.closed() == NO_TOKEN


@pytest.mark.parametrize(
    "first",
    [
        '{"t":"hello","token":"wrong"}',
        '{"t":"hello","token":""}',
        '{"t":"resume","n":1}',
        "not json",
        '{"t":"hello"}',
    ],
)
async def test_nothing_but_a_token_opens_and_nothing_is_told_before(stage, first):
    page, _ = await stage.connect()
    await page.say(first)
    assert await page.closed() == NO_TOKEN
    assert page.welcome is None
    assert not page.sections


async def test_a_socket_that_says_nothing_is_closed(stage, monkeypatch):
    monkeypatch.setattr(limits, "CONSOLE_HELLO_SECONDS", 0.05)
    page, _ = await stage.connect()
    assert await page.closed() == NO_TOKEN


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://localhost:{port}", "http://127.0.0.1", ""]
)
async def test_a_page_of_another_origin_is_not_let_in(stage, origin):
    port = (await stage.console.open()).address.rsplit(":", 1)[1].rstrip("/")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.connect(origin=origin.format(port=port))
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["example.org", "example.org:{port}", "localhost:{port}"])
async def test_a_name_that_was_made_to_point_here_gets_nothing(stage, host):
    opening = await stage.console.open()
    port = opening.address.rsplit(":", 1)[1].rstrip("/")
    headers = {"Host": host.format(port=port)}
    async with (
        aiohttp.ClientSession() as client,
        client.get(opening.address, headers=headers) as answer,
    ):
        assert answer.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await stage.connect(host=host.format(port=port))


async def test_only_so_many_strangers_and_pages(stage, monkeypatch):
    monkeypatch.setattr(limits, "CONSOLE_STRANGERS", 1)
    _stranger = await stage.connect()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.connect()
    assert refused.value.status == 503
    monkeypatch.setattr(limits, "CONSOLE_STRANGERS", 16)
    monkeypatch.setattr(limits, "CONSOLE_PAGES", 1)
    _let_in = await stage.page()
    page, token = await stage.connect()
    await page.say({"t": "hello", "token": token})
    assert await page.closed() == TOO_MANY


async def test_only_so_many_connections_and_those_that_say_nothing_end(stage, monkeypatch):
    """Each is a descriptor of the owner's process, and any user of the machine can make them."""
    monkeypatch.setattr(limits, "CONSOLE_CONNECTIONS", 4)
    monkeypatch.setattr(limits, "CONSOLE_HELLO_SECONDS", 0.3)
    port = int((await stage.console.open()).address.rsplit(":", 1)[1].rstrip("/"))
    silent = []
    for _ in range(5):
        silent.append(await asyncio.open_connection("127.0.0.1", port))
        await asyncio.sleep(0.01)
    with pytest.raises(aiohttp.ClientConnectionError):
        await stage.connect()
    for reader, writer in silent:
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
    assert (await stage.page()).welcome


async def test_a_page_comes_back_with_the_token_that_it_was_given(stage):
    page = await stage.page()
    await page.socket.close()
    back, _ = await stage.connect()
    await back.say({"t": "hello", "token": page.welcome["token"]})
    await back.until(lambda: back.welcome)
    assert back.welcome["token"] != page.welcome["token"]


# the files


async def test_pages_are_closed_files_with_their_headers(stage):
    opening = await stage.console.open()
    async with aiohttp.ClientSession() as client:
        for path, kind in (
            ("", "text/html"),
            ("console.css", "text/css"),
            ("src/console/main.js", "text/javascript"),
        ):
            async with client.get(opening.address + path) as answer:
                assert answer.status == 200
                assert answer.content_type == kind
                assert answer.headers["Content-Security-Policy"] == CONTENT_POLICY
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("../pyproject.toml", "src/console/", "%2e%2e/README.md", "index.html"):
            async with client.get(opening.address + path) as answer:
                assert answer.status == 404


async def test_no_token_in_an_address_and_nothing_but_get(stage):
    opening = await stage.console.open()
    token = opening.url.partition("#")[2]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{opening.address}?token={token}") as answer:
            assert answer.status == 404
            assert answer.headers["Content-Security-Policy"] == CONTENT_POLICY
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            async with client.request(method, opening.address) as answer:
                assert answer.status in (404, 405)


async def test_the_file_that_leads_there_is_private_and_goes_when_it_was_used(stage):
    opening = await stage.console.open()
    assert stat.S_IMODE(opening.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(opening.path.parent.stat().st_mode) == 0o700
    assert opening.url in opening.path.read_text()
    other = await stage.console.open()
    page, _ = await stage.connect()
    await page.say({"t": "hello", "token": opening.url.partition("#")[2]})
    await page.until(lambda: page.welcome)
    assert not opening.path.exists()
    assert other.path.exists()
    await stage.console.close()
    assert not other.path.exists()


async def test_what_a_killed_process_left_is_removed(stage):
    folder = console_folder()
    old, new = folder / "open-0000000000000000.html", folder / "open-1111111111111111.html"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, 0))
    await stage.console.open()
    assert not old.exists()
    assert new.exists()


async def test_a_folder_that_is_open_to_others_is_not_used(stage):
    console_folder().chmod(0o755)
    await stage.console.listen()
    path = home() / "console"
    assert not list(path.glob("*.door"))
    with pytest.raises(IdentityFileUnsafe):
        await stage.console.open()
    path.chmod(0o700)


async def test_the_token_is_in_no_repr(stage):
    opening = await stage.console.open()
    assert opening.url.partition("#")[2] not in repr(opening)
    assert str(opening.path) in repr(opening)


# what is shown


async def test_a_request_appears_with_its_facts(stage):
    page = await stage.page()
    trained = {"training": ("trained in 2 steps of SGD",), "rows": ("whole",)}
    facts = replace(RAW, tags=("digits",), **trained)
    stage.ask(facts=facts, name="<b>raw\u202e</b>", reason="x" * 10_000)
    await page.until(page.requests)
    (shown,) = page.requests()
    assert shown["id"] == f"{7:016x}"
    assert shown["name"] == "<b>raw</b>"
    assert len(shown["reason"]) == limits.REQUEST_REASON_CHARS
    assert (shown["kind"], shown["elements"], shown["records"]) == ("verbatim", 600, 1)
    assert shown["recipe"] == "store['digits']"
    assert shown["training"] == ["trained in 2 steps of SGD"]  # whatever its kind is
    assert [source["rows"] for source in shown["sources"]] == ["whole"]
    assert shown["fixed"]
    assert shown["why"] == "no handler is about this request"


async def test_every_page_sees_what_changes_and_only_that(stage):
    first, second = await stage.page(), await stage.page()
    stage.ask()
    for page in (first, second):
        await page.until(page.requests)
    stage.desk.add_handler(Handler("deny", Conditions(name="other")))
    for page in (first, second):
        told = await page.take()
        assert "requests" in told["sections"]  # the new handler looked at it
        assert "objects" not in told["sections"]
        assert [h["action"] for h in page.sections["handlers"].values()] == ["deny"]


async def test_what_was_released_before_is_told(stage):
    page = await stage.page()
    stage.ask(call=1, name="first")
    stage.desk.accept(1)
    stage.ask(call=2, object_id=2)
    await page.until(lambda: page.requests() and page.requests()[0]["sources"][0]["values"])
    (source,) = page.requests()[0]["sources"]
    assert (source["values"], source["numbers"], source["newest"]) == (1, 1, ["first"])


async def test_an_open_session_and_its_rule_are_shown(stage):
    page = await stage.page()
    assert page.sections["session"]["session"]["open"] is False
    handler = Handler("accept", Conditions())
    stage.desk.add_handler(handler)
    await page.until(lambda: page.sections["session"]["session"]["open"])
    assert page.sections["handlers"][handler.id]["is_open"]
    answer = await page.ask("remove", handler=handler.id)
    assert answer["ok"]
    await page.until(lambda: not page.sections["session"]["session"]["open"])
    assert not (await page.ask("remove", handler=handler.id))["ok"]


async def test_a_picture_that_took_long_is_followed_by_a_rest(stage, monkeypatch):
    """What there is to be shown is the scientist's doing, and the loop has more to do."""
    page = await stage.page()
    clock = SlowClock(stage.console._loop)
    monkeypatch.setattr(stage.console, "_loop", clock)
    monkeypatch.setattr(stage.console._board, "picture", clock.slow(stage.console._board.picture))
    for call in (1, 2):
        stage.ask(call=call, object_id=call)
        await page.until(lambda count=call: len(page.requests()) == count)
    assert clock.delays[-1] == 2.0 * limits.CONSOLE_RESTS


class SlowClock:
    """A clock on which a function takes two seconds, and nobody waits for its timers."""

    def __init__(self, loop):
        self.loop = loop
        self.now = 0.0
        self.delays = []

    def time(self):
        return self.now

    def call_later(self, delay, function):
        if function.__name__ == "_show":
            self.delays.append(delay)
        return self.loop.call_later(0, function) if function.__name__ == "_show" else None

    def slow(self, function):
        def called():
            self.now += 2.0
            return function()

        return called


async def test_transfers_are_shown_while_they_move(stage):
    page = await stage.page()
    stage.session.transfers.move((3, True, 10, 100))
    await page.until(lambda: page.sections.get("transfers"))
    assert page.sections["transfers"]["out 3"]["done"] == 10
    stage.session.transfers.move()
    await page.until(lambda: not page.sections["transfers"])


# decisions


async def test_accept_and_deny_reach_the_scientist(stage):
    page = await stage.page()
    stage.ask(call=1)
    stage.ask(call=2, object_id=2)
    await page.until(lambda: len(page.requests()) == 2)
    first, second = page.requests()
    answer = await page.ask("accept", request=first["id"], digest=first["digest"], always=False)
    assert answer["ok"]
    answer = await page.ask(
        "deny", request=second["id"], digest=second["digest"], reason="not\u202e today"
    )
    assert answer["ok"]
    assert [m.call for m in stage.answers(wire.Value)] == [1]
    assert [(m.call, m.reason) for m in stage.answers(wire.Denied)] == [(2, "not today")]
    await page.until(lambda: len(page.sections.get("decided", ())) == 2)
    assert not page.requests()


async def test_a_decision_about_other_facts_decides_nothing(stage):
    page = await stage.page()
    stage.ask()
    await page.until(page.requests)
    (shown,) = page.requests()
    for digest in ("0" * 64, shown["digest"][::-1]):
        answer = await page.ask("accept", request=shown["id"], digest=digest, always=False)
        assert not answer["ok"]
        assert "nothing was changed" in answer["text"]
    assert stage.desk.book.find(7).is_pending
    assert not stage.answers(wire.Value)


async def test_the_digest_covers_name_reason_and_every_fact(stage):
    from duet_p2p.console.views import digest_of

    stage.ask()
    record = stage.desk.book.find(7)
    seen = {digest_of(record)}
    changes = {
        "kind": "verbatim",
        "sources": (-2,),
        "min_records": 1,
        "injected": True,
        "elements": 600,
        "nbytes": 5,
        "recipe": "other",
        "version": 2,
        "tags": ("x",),
    }
    for name, value in changes.items():
        record.facts = replace(LOSS, **{name: value})
        seen.add(digest_of(record))
    record.facts = LOSS
    record.name = "other"
    seen.add(digest_of(record))
    record.name, record.reason = "loss", "other"
    seen.add(digest_of(record))
    assert len(seen) == len(changes) + 3


async def test_a_request_is_decided_once(stage):
    first, second = await stage.page(), await stage.page()
    stage.ask()
    await first.until(first.requests)
    (shown,) = first.requests()
    decision = {"request": shown["id"], "digest": shown["digest"]}
    assert (await first.ask("deny", **decision, reason=""))["ok"]
    answer = await second.ask("accept", **decision, always=False)
    assert not answer["ok"]
    assert "Rejected" in answer["text"]
    assert not stage.answers(wire.Value)


async def test_accept_always_makes_a_rule_and_refuses_what_cannot_be_bound(stage):
    page = await stage.page()
    stage.ask(call=1, facts=RAW)
    stage.ask(call=2, object_id=2)
    await page.until(lambda: len(page.requests()) == 2)
    raw, loss = page.requests()
    answer = await page.ask("accept", request=raw["id"], digest=raw["digest"], always=True)
    assert not answer["ok"]
    assert stage.desk.book.find(1).is_pending
    answer = await page.ask("accept", request=loss["id"], digest=loss["digest"], always=True)
    assert answer["ok"]
    stage.ask(call=3, object_id=3)
    assert stage.desk.book.find(3).status == "Accepted"


async def test_a_value_is_shown_to_the_owner_and_to_nobody_else(stage):
    page = await stage.page()
    stage.ask()
    await page.until(page.requests)
    (shown,) = page.requests()
    answer = await page.ask("look", request=shown["id"], digest=shown["digest"])
    assert answer["value"] == "0.5"
    assert not stage.answers(wire.Value)


async def test_a_suspended_session_goes_on_from_the_page(stage):
    page = await stage.page()
    assert not (await page.ask("resume"))["ok"]
    stage.host.is_running = False
    stage.host.say(engine.Died("it took too long", was_private=True))
    await page.until(lambda: page.sections["session"]["session"]["suspended"])
    assert "too long" in page.sections["session"]["session"]["failure"]
    assert (await page.ask("resume"))["ok"]
    await page.until(lambda: not page.sections["session"]["session"]["suspended"])


# what is not ours


@pytest.mark.parametrize(
    "text",
    ['{"t":"accept","n":1}', "[]", '{"t":"hello","token":"again"}', '{"t":"resume","n":1,"x":1}'],
)
async def test_a_malformed_message_closes_the_socket(stage, text):
    page = await stage.page()
    stage.ask()
    await page.say(text)
    assert await page.closed() == BAD_MESSAGE
    assert stage.desk.book.find(7).is_pending


async def test_bytes_and_too_long_texts_close_it_too(stage):
    page = await stage.page()
    await page.socket.send_bytes(b"{}")
    assert await page.closed() == BAD_MESSAGE
    page = await stage.page()
    await page.say('{"t":"resume","n":1' + " " * limits.CONSOLE_MESSAGE_BYTES + "}")
    assert await page.closed() in (1009, BAD_MESSAGE)


async def test_a_page_that_left_leaves_nothing_behind(stage):
    page = await stage.page()
    await page.socket.close()
    async with asyncio.timeout(SECONDS):
        while stage.console._pages:
            await asyncio.sleep(0.01)
    stage.ask()
    other = await stage.page()
    await other.until(other.requests)


# the end


async def test_the_end_of_the_session_is_shown_and_decides_nothing(stage):
    page = await stage.page()
    stage.ask()
    await page.until(page.requests)
    (shown,) = page.requests()
    stage.session.on_state("closed", SessionClosed("The partner left."))
    await page.until(lambda: page.sections["session"]["session"]["state"] == "closed")
    assert not page.requests()
    answer = await page.ask("accept", request=shown["id"], digest=shown["digest"], always=False)
    assert not answer["ok"]
    assert "over" in answer["text"]


async def test_closing_tells_every_page(stage):
    first, second = await stage.page(), await stage.page()
    closing = asyncio.create_task(stage.console.close())
    for page in (first, second):
        assert await page.closed() == CLOSED
        assert "closed" in page.end["text"]
    await closing
    with pytest.raises(SessionClosed):
        await stage.console.open()
