"""The HTTP face of the server: two health checks, some facts, and the WebSocket.

A request is refused before the upgrade wherever that is possible, since a socket costs more than
an answer. The server never learns its own address from a request: it compares the Host with the
URLs that it was given, and signs registrations for one of those. Otherwise a second relay could
forward a challenge of this one and take over the registration.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, hdrs, web

from signaling_server import frames
from signaling_server.backend import Backend
from signaling_server.frames import Close
from signaling_server.ids import b64encode
from signaling_server.limits import BUSY_RETRY_SECONDS, CONNECT_BURST, Limits
from signaling_server.memory import MemoryBackend
from signaling_server.metrics import Metrics
from signaling_server.outbox import Outbox
from signaling_server.pages import Pages, config_response
from signaling_server.rooms import Member, Rooms
from signaling_server.sources import Network, SourceCounts, source_of
from signaling_server.turn import IceConfig
from signaling_server.urls import is_loopback_host, normalise_url

__all__ = ["SignalingApp", "SignalingConfig", "version"]

log = logging.getLogger(__name__)

_OWN: Final = "own"  # no address
_SWEEP_SECONDS: Final = 15.0
_CLOSE_SECONDS: Final = 1.0  # for the other side's close frame


@dataclass(frozen=True, slots=True)
class SignalingConfig:
    """What one server is told; `Limits` are apart."""

    public_urls: tuple[str, ...]
    """Normalised URLs that it is reached at."""
    base_path: str = ""
    """``/duet`` where the routes are below that path."""
    allow_origins: tuple[str, ...] = ()
    """Origins of pages that may connect, besides its own and localhost."""
    trusted_proxies: tuple[Network, ...] = ()
    ice: IceConfig = field(default_factory=IceConfig)
    pages: Pages | None = None
    """The browser's pages, where this server is the one that people get them from."""
    is_own: Callable[[socket.socket], bool] | None = None
    """Whether a connection is of the user whom this server is for, where it is for one: others then
    have half of the room, what that user does is counted apart from what they do, and IDs that they
    link among themselves make room for others first."""


def version() -> str:
    """``duet-signaling/0.1.0``."""
    try:
        return f"duet-signaling/{metadata.version('duet-p2p')}"
    except metadata.PackageNotFoundError:  # started from a checkout that is not installed
        return "duet-signaling/0"


class SignalingApp:
    """One instance: an aiohttp application, its members, and how it goes away."""

    def __init__(
        self,
        config: SignalingConfig,
        limits: Limits | None = None,
        *,
        backend: Backend | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._config = config
        self._limits = limits or Limits()
        self._metrics = metrics or Metrics()
        self._backend = backend or MemoryBackend(self._limits)
        self._rooms = Rooms(self._backend, self._limits, ice=config.ice, metrics=self._metrics)
        self._counts = SourceCounts()
        self._sockets: dict[Member, Outbox] = {}
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._draining = False
        self._sweeper: asyncio.Task[None] | None = None
        self.app = self._make_app()

    def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[_harden], client_max_size=1024)
        base = self._config.base_path
        app.router.add_get(base + "/healthz", self._healthz)
        app.router.add_get(base + "/readyz", self._readyz)
        app.router.add_get(base + "/v1/info", self._info)
        app.router.add_get(base + "/v1/ws", self._ws)
        if self._config.pages is not None:
            app.router.add_get(base + "/config.json", self._page_config)
            app.router.add_get(base + "/{path:.*}", self._page)
        app.on_startup.append(self._start)
        app.on_cleanup.append(self._stop)
        return app

    async def drain(self, grace: float | None = None) -> None:
        """Ends all sockets: asks them to go, waits for the grace, closes the rest with 1012."""
        self._draining = True
        if grace is None:
            grace = self._limits.grace
        if grace > 0:
            for outbox in list(self._sockets.values()):
                outbox.put(frames.Drain(int(random.uniform(0, self._limits.drain_jitter) * 1000)))
            await self._wait_empty(grace)
        for member in list(self._sockets):
            member.close(Close.RESTART, "restart")
        await self._wait_empty(2 * _CLOSE_SECONDS)

    async def _wait_empty(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._all_gone.wait()
        except TimeoutError:
            log.debug("sockets are left after %.0f s", seconds)

    async def _start(self, app: web.Application) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="signaling sweeper")

    async def _stop(self, app: web.Application) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._backend.close()

    async def _sweep(self) -> None:
        limits = self._limits
        every = min(_SWEEP_SECONDS, limits.ttl_idle / 4, limits.ttl_unpaired / 4)
        while True:
            await asyncio.sleep(every)
            try:
                await self._rooms.sweep()
            except Exception:  # one bad round must not end all later ones
                log.exception("sweeping failed")

    # plain requests

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._draining or not await self._backend.ready():
            status = "draining" if self._draining else "no backend"
            return web.json_response({"status": status}, status=503, headers=_retry(1))
        return web.json_response({"status": "ready"})

    async def _info(self, request: web.Request) -> web.Response:
        self._origin_of(request)
        return web.json_response(
            {"version": version(), "limits": self._limits.public(), "server_time": time.time()}
        )

    async def _page(self, request: web.Request) -> web.Response:
        self._origin_of(request)
        assert self._config.pages is not None
        return self._config.pages.response(request.match_info["path"])

    async def _page_config(self, request: web.Request) -> web.Response:
        url = self._origin_of(request)
        host = urlsplit(url).netloc
        return config_response(signalling=url, served_by=f"the signalling server {host}")

    # the WebSocket

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if self._draining:
            raise web.HTTPServiceUnavailable(headers=_retry(BUSY_RETRY_SECONDS))
        origin = self._origin_of(request)
        self._check_page(request, origin)
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise web.HTTPUpgradeRequired(headers={hdrs.UPGRADE: "websocket"})
        source = self._source_of(request)
        await self._admit(source)
        ws = web.WebSocketResponse(
            protocols=(frames.SUBPROTOCOL,),
            heartbeat=self._limits.heartbeat,
            timeout=_CLOSE_SECONDS,
            max_msg_size=self._limits.max_frame + 1,  # aiohttp refuses equality
            compress=False,
            autoping=False,  # pings cost tokens, see _next_text
        )
        challenge = secrets.token_bytes(32)
        member = self._rooms.enter(secrets.token_urlsafe(9), source, origin, challenge)
        member.is_own = self._is_own(source)
        self._counts.enter(source)
        self._all_gone.clear()
        try:
            await ws.prepare(request)
            await self._serve(request, ws, member)
        finally:
            self._counts.leave(source, registered=member.registered)
            if not self._counts.all:
                self._all_gone.set()
        return ws

    async def _serve(self, request: web.Request, ws: web.WebSocketResponse, member: Member) -> None:
        outbox = member.socket = Outbox(ws, request.transport, self._limits, self._metrics)
        self._sockets[member] = outbox
        late = asyncio.get_running_loop().call_later(
            self._limits.register_timeout, _close_late, member
        )
        try:
            if ws.ws_protocol != frames.SUBPROTOCOL:
                member.close(Close.PROTOCOL, f"subprotocol {frames.SUBPROTOCOL}")
            else:
                challenge = b64encode(member.challenge)
                limits = self._limits.public()
                outbox.put(frames.Hello(1, challenge, member.conn, member.origin, limits))
            while (text := await self._next_text(ws, member)) is not None:
                was_registered = member.registered
                try:
                    await self._rooms.handle(member, text)
                finally:
                    if member.registered and not was_registered:
                        late.cancel()
                        self._counts.register()
        finally:
            late.cancel()
            await self._leave(member, outbox)

    async def _next_text(self, ws: web.WebSocketResponse, member: Member) -> str | None:
        """The next text frame; None when there will be no more."""
        while not member.closed:
            message = await ws.receive()
            if message.type is WSMsgType.TEXT:
                text: str = message.data
                return text
            if message.type is WSMsgType.BINARY:
                self._rooms.refuse_binary(member)
            elif message.type is WSMsgType.PING:
                if self._rooms.charge_ping(member):
                    await ws.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                return None
        return None

    async def _leave(self, member: Member, outbox: Outbox) -> None:
        try:
            await self._rooms.leave(member)
        finally:
            await outbox.end()
            del self._sockets[member]

    # who may come in

    def _origin_of(self, request: web.Request) -> str:
        """Which of the server's own URLs was asked for; 421 for any other."""
        base = self._config.base_path
        for url in self._config.public_urls:
            parts = urlsplit(url)
            # A proxy may take its own path off before it passes a request on.
            same_path = parts.path == base or bool(self._config.trusted_proxies)
            if same_path and _same_host(request.host, parts.scheme, parts.netloc):
                return url
        raise web.HTTPMisdirectedRequest(text="This server is not known by that name.\n")

    def _check_page(self, request: web.Request, origin: str) -> None:
        page = request.headers.get(hdrs.ORIGIN)
        if page is None:
            return
        own = urlsplit(origin)
        allowed = {f"{own.scheme}://{own.netloc}", *self._config.allow_origins}
        try:
            page = normalise_url(page)
        except ValueError:
            page = ""
        if page not in allowed and not is_loopback_host(urlsplit(page).hostname or ""):
            raise web.HTTPForbidden(text="Pages of that origin may not connect.\n")

    def _source_of(self, request: web.Request) -> str:
        line = request.transport.get_extra_info("socket") if request.transport else None
        if self._config.is_own is not None and line is not None and self._config.is_own(line):
            return _OWN
        peer = request.transport.get_extra_info("peername") if request.transport else None
        return source_of(
            peer[0] if isinstance(peer, tuple) else None,
            self._config.trusted_proxies,
            request.headers.getall("X-Forwarded-For", []),
            request.headers.getall("Forwarded", []),
        )

    def _is_own(self, source: str) -> bool:
        return self._config.is_own is None or source == _OWN

    async def _admit(self, source: str) -> None:
        limits, counts = self._limits, self._counts
        if counts.of(source) >= limits.sockets_per_source:
            self._metrics.count("rate_limited_total", scope="sockets")
            raise web.HTTPTooManyRequests(headers=_retry(BUSY_RETRY_SECONDS))
        wait = await self._backend.bucket("connect", source, limits.connect_rate, CONNECT_BURST)
        if wait:
            self._metrics.count("rate_limited_total", scope="connect")
            raise web.HTTPTooManyRequests(headers=_retry(wait))
        parts = 1 if self._is_own(source) else 2
        if (
            counts.all >= limits.max_sockets // parts
            or counts.unregistered >= limits.max_unregistered // parts
        ):
            self._metrics.count("rate_limited_total", scope="full")
            raise web.HTTPServiceUnavailable(headers=_retry(BUSY_RETRY_SECONDS))


def _close_late(member: Member) -> None:
    if not member.registered and not member.closed:
        member.close(Close.PROOF, "late")


def _same_host(host: str, scheme: str, netloc: str) -> bool:
    try:
        return urlsplit(normalise_url(f"{scheme}://{host}")).netloc == netloc
    except ValueError:
        return False


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


@web.middleware
async def _harden(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The same headers on every answer that is not an upgrade."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        for name, value in _HEADERS.items():
            error.headers.setdefault(name, value)
        raise
    if not response.prepared:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)  # a page has a policy of its own
    return response


_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Server": "duet-signaling",
    "X-Content-Type-Options": "nosniff",
}
