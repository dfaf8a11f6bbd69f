"""The console's own small web server: 127.0.0.1, one page, one WebSocket.

Who may speak to it, in the order in which it is checked:

    Host     exactly ``127.0.0.1:PORT``: a name that was made to point here (DNS rebinding) is none
    Origin   exactly this server's, on the WebSocket: another page in the browser has its own
    token    the first message: another user of this machine can connect, but has none

Where the kernel tells whose a connection is (identity/users.py), those of other users of this
machine have a part of the room only: else they could keep the owner's browser out.

A token is never part of a URL that reaches the server: it is in the fragment of the redirect, and
a path with a query is unknown here. Nothing can be done by GET, so there is nothing to forge.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import WSMsgType, web

from duet_p2p import limits
from duet_p2p.console.files import PageFile
from duet_p2p.console.messages import Hello, Message, parse
from duet_p2p.console.page import Page
from duet_p2p.console.tokens import Tokens
from duet_p2p.errors import ProtocolError
from duet_p2p.identity.users import is_own
from signaling_server.doorway import listen

__all__ = ["CLOSED", "CONTENT_POLICY", "NO_TOKEN", "TOO_MANY", "ConsoleServer"]

_LOG = logging.getLogger("duet_p2p")

HOST: Final = "127.0.0.1"
CLOSED: Final = 4000
"""Close code: the owner's session is closed, and this server with it."""
NO_TOKEN: Final = 4001
"""Close code: no token, a used one, or too late."""
BAD_MESSAGE: Final = 4002
"""Close code: not one of our messages."""
TOO_MANY: Final = 4003
"""Close code: there are `limits.CONSOLE_PAGES` pages."""

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ConsoleServer:
    """Serves the files and lets pages in; on the session's loop.

    Args:
        files: path to what it answers.
        tokens: what a page has to show.
        answer: does what a page asks.
        on_page: called with each page that was let in, before anything is sent to it.
        on_gone: called with each page that is gone.

    Attributes:
        port: chosen by the system in `start`.
    """

    def __init__(
        self,
        files: Mapping[str, PageFile],
        tokens: Tokens,
        *,
        answer: Callable[[Message], Awaitable[dict[str, Any]]],
        on_page: Callable[[Page], None],
        on_gone: Callable[[Page], None],
    ) -> None:
        self.port = 0
        self._files = files
        self._tokens = tokens
        self._answer = answer
        self._on_page = on_page
        self._on_gone = on_gone
        self._pages: set[Page] = set()
        self._strangers: Counter[bool] = Counter()  # of this user or nobody knows, and of others
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._is_closing = False

    @property
    def origin(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listens on a free port.

        Raises:
            OSError: there is none.
        """
        app = web.Application(middlewares=[self._check], handler_args={"access_log": None})
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/{path:.*}", self._file)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=limits.CONSOLE_HELLO_SECONDS,
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        listener = socket.create_server((HOST, 0))
        self.port = listener.getsockname()[1]
        self._listening = await listen(
            self._runner,
            listener,
            most=limits.CONSOLE_CONNECTIONS,
            others=limits.CONSOLE_CONNECTIONS // 2,
            is_own=is_own,
        )

    async def close(self, text: str) -> None:
        """Tells every page that it is over, and stops.

        Args:
            text: for people.
        """
        self._is_closing = True
        ends = [page.end(text, CLOSED) for page in self._pages]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CONSOLE_CLOSE_SECONDS):
                await asyncio.gather(*ends)
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # who is speaking

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.headers.getall("Host", []) != [f"{HOST}:{self.port}"]:
            return _refused(403, "This is not the address of the console.")
        if request.method != "GET" or request.query_string:
            return _refused(404, "There is nothing here.")
        return await handler(request)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.path)
        if file is None:
            return _refused(404, "There is nothing here.")
        return web.Response(body=file.data, content_type=file.content_type, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.getall("Origin", []) != [self.origin]:
            return _refused(403, "Only the console's own page may connect.")
        line = None if request.transport is None else request.transport.get_extra_info("socket")
        is_ours = line is not None and is_own(line)
        if self._strangers[is_ours] >= limits.CONSOLE_STRANGERS or self._is_closing:
            return _refused(503, "Too many connections that have not said who they are.")
        socket_ = web.WebSocketResponse(
            max_msg_size=limits.CONSOLE_MESSAGE_BYTES,
            heartbeat=limits.SIGNALING_HEARTBEAT_SECONDS,
            timeout=1.0,
        )
        self._strangers[is_ours] += 1
        try:
            await socket_.prepare(request)
            token = await self._token_of(socket_)
        finally:
            self._strangers[is_ours] -= 1
        if not self._tokens.take(token, asyncio.get_running_loop().time()):
            await socket_.close(code=NO_TOKEN, message=b"no token")
        elif len(self._pages) >= limits.CONSOLE_PAGES:
            await socket_.close(code=TOO_MANY, message=b"too many pages")
        else:
            await self._serve(socket_, token)
        return socket_

    async def _token_of(self, socket_: web.WebSocketResponse) -> str:
        """What the first message shows, or nothing."""
        try:
            async with asyncio.timeout(limits.CONSOLE_HELLO_SECONDS):
                first = await socket_.receive()
            hello = parse(first.data) if first.type is WSMsgType.TEXT else None
        except (TimeoutError, ProtocolError):
            return ""
        return hello.token if isinstance(hello, Hello) else ""

    # a page

    async def _serve(self, socket_: web.WebSocketResponse, token: str) -> None:
        loop = asyncio.get_running_loop()
        page = Page(socket_, self._tokens.issue(loop.time()), token)
        self._pages.add(page)
        self._on_page(page)
        try:
            await self._listen(page)
        finally:
            self._pages.discard(page)
            self._on_gone(page)
            await page.close()
            # The way back in after a sleep or a reload of the page, for a while.
            self._tokens.shorten(page.token, loop.time() + limits.CONSOLE_TOKEN_SECONDS)

    async def _listen(self, page: Page) -> None:
        slots = asyncio.Semaphore(limits.CONSOLE_QUESTIONS)
        async with contextlib.AsyncExitStack() as stack:
            tasks: set[asyncio.Task[None]] = set()
            stack.push_async_callback(_cancel, tasks)
            async for message in page.socket:
                try:
                    if message.type is not WSMsgType.TEXT:
                        raise ProtocolError("The console speaks text.")
                    question = parse(message.data)
                    if isinstance(question, Hello):
                        raise ProtocolError("The console says hello once.")
                except ProtocolError as error:
                    _LOG.warning("A page of the console was closed: %s", error)
                    await page.socket.close(code=BAD_MESSAGE, message=b"not one of our messages")
                    return
                await slots.acquire()
                task = asyncio.get_running_loop().create_task(self._reply(page, question, slots))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _reply(self, page: Page, question: Message, slots: asyncio.Semaphore) -> None:
        assert not isinstance(question, Hello)
        try:
            reply = await self._answer(question)
            await page.send(json.dumps({"t": "answer", "n": question.n, **reply}))
        except Exception:
            _LOG.exception("The console could not answer")
            await page.send(
                json.dumps(
                    {
                        "t": "answer",
                        "n": question.n,
                        "ok": False,
                        "text": "This failed; see the log.",
                    }
                )
            )
        finally:
            slots.release()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _refused(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)
