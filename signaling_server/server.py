"""Listening: a socket that is bound before the server's own URLs are known, and its two sites."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from dataclasses import replace
from typing import Final

from aiohttp import web

from signaling_server.app import SignalingApp, SignalingConfig
from signaling_server.backend import Backend
from signaling_server.doorway import listen
from signaling_server.limits import Limits
from signaling_server.metrics import Metrics, PrometheusMetrics
from signaling_server.urls import is_loopback_host, join_host, normalise_url

__all__ = ["WILDCARDS", "Server", "bind", "own_urls"]

log = logging.getLogger(__name__)

WILDCARDS: Final = ("", "0.0.0.0", "::")
_BACKLOG: Final = 512


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        OSError: the address is taken or is not one of this machine.
    """
    flags = socket.AI_NUMERICHOST if _is_literal(host) else socket.AI_PASSIVE
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
    family, kind, protocol, _, address = infos[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def own_urls(host: str, port: int, *, scheme: str = "http", base_path: str = "") -> tuple[str, ...]:
    """The URLs of a server that listens at a host, where none was given.

    On loopback these are 127.0.0.1, localhost and [::1]. Every other address is its own name. A
    wildcard address has none: then the caller must name them.
    """
    hosts: list[str] = [] if host in WILDCARDS else [host]
    if is_loopback_host(host):
        # the address that is listened at comes first; it may be another of 127.0.0.0/8
        hosts = list(dict.fromkeys([host, "127.0.0.1", "localhost", "::1"]))
    return tuple(normalise_url(f"{scheme}://{join_host(h, port)}{base_path}") for h in hosts)


class Server:
    """A `SignalingApp` that listens. Everything runs on the loop that calls `start`.

    Args:
        config: its URLs, if they are given, are the only ones.
        limits: see `Limits`.
        host: address to listen at.
        port: 0 takes any free one.
        announced: the host of its first URL where it listens at a wildcard address.
        ssl_context: for built-in TLS.
        metrics: where to count.
        metrics_listen: host and port that answer with them.
        backend: default is memory.
    """

    def __init__(
        self,
        config: SignalingConfig,
        limits: Limits | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 8765,
        announced: str = "",
        ssl_context: ssl.SSLContext | None = None,
        metrics: Metrics | None = None,
        metrics_listen: tuple[str, int] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._config = config
        self._limits = limits
        self._host = host
        self._port = port
        self._announced = announced
        self._ssl = ssl_context
        self._metrics = metrics
        self._metrics_listen = metrics_listen
        self._backend = backend
        self._app: SignalingApp | None = None
        self._runners: list[web.AppRunner] = []
        self._listening: list[asyncio.Server] = []
        self.url = ""
        """The first of its own URLs, once it listens."""
        self.port = 0

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: the address is taken.
            ValueError: it listens at a wildcard address and was given no public URL.
        """
        listener = bind(self._host, self._port)
        try:
            self.port = listener.getsockname()[1]
            scheme = "https" if self._ssl else "http"
            base = self._config.base_path
            urls = self._config.public_urls or own_urls(
                self._announced or self._host, self.port, scheme=scheme, base_path=base
            )
            if self._announced and not is_loopback_host(self._announced):
                urls += own_urls("127.0.0.1", self.port, scheme=scheme, base_path=base)
            if not urls:
                raise ValueError("a server that listens on all addresses needs --public-url")
            self.url = urls[0]
            self._app = SignalingApp(
                replace(self._config, public_urls=urls),
                self._limits,
                backend=self._backend,
                metrics=self._metrics,
            )
            await self._listen(self._app.app, listener, self._ssl)
            await self._start_metrics()
        except BaseException:
            listener.close()
            await self.close(grace=0)
            raise

    async def close(self, *, grace: float | None = None) -> None:
        """Drains for at most `grace` seconds (None: the limit), then ends."""
        if self._app is not None:
            await self._app.drain(grace)
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for runner in reversed(self._runners):
            await runner.cleanup()
        self._runners.clear()

    async def _listen(
        self, app: web.Application, listener: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,  # it would write addresses
            keepalive_timeout=15.0,
            shutdown_timeout=1.0,
        )
        await runner.setup()
        self._runners.append(runner)
        limits = self._limits or Limits()
        most = limits.max_sockets + limits.max_unregistered
        is_own = self._config.is_own
        listening = await listen(
            runner,
            listener,
            most=most,
            ssl_context=context,
            others=None if is_own is None else most // 2,
            is_own=is_own or (lambda line: True),
        )
        self._listening.append(listening)

    async def _start_metrics(self) -> None:
        if self._metrics_listen is None or not isinstance(self._metrics, PrometheusMetrics):
            return
        metrics = self._metrics

        async def render(request: web.Request) -> web.Response:
            return web.Response(
                body=metrics.render(),
                headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
            )

        app = web.Application()
        app.router.add_get("/metrics", render)
        listener = bind(*self._metrics_listen)
        try:
            await self._listen(app, listener, None)
        except BaseException:
            listener.close()
            raise
        log.info("metrics are served")

    async def serve(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Runs until `stop`; then drains, until the grace is over or `hurry` is set."""
        await stop.wait()
        log.info("shutting down")
        closing = asyncio.create_task(self.close())
        impatient = asyncio.create_task(hurry.wait())
        await asyncio.wait({closing, impatient}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await self.close(grace=0)
        impatient.cancel()
        await asyncio.gather(closing, impatient, return_exceptions=True)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
