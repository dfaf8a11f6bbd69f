"""``duet-signaling``, also ``python -m signaling_server``.

The options for limits are made from the table in limits.py, so that none can be forgotten.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import ssl
from collections.abc import Callable
from typing import Annotated, Any

import typer

from signaling_server import options
from signaling_server.app import SignalingConfig, version
from signaling_server.limits import FIELDS, Limits, env_name, option_name
from signaling_server.logs import configure
from signaling_server.metrics import Metrics, PrometheusMetrics, is_available
from signaling_server.pages import Pages, PagesMissing
from signaling_server.server import Server
from signaling_server.sources import parse_networks
from signaling_server.turn import IceConfig, read_secret
from signaling_server.urls import is_loopback_host, normalise_url

__all__ = ["cli", "main"]

log = logging.getLogger(__name__)

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _serve(
    listen: options.Listen = "127.0.0.1:8765",
    public_url: options.PublicUrl = None,
    base_path: options.BasePath = "",
    insecure: options.Insecure = False,
    trusted_proxy: options.TrustedProxy = None,
    allow_origin: options.AllowOrigin = None,
    cert: options.Cert = "",
    key: options.Key = "",
    ice_server: options.IceServer = None,
    turn_url: options.TurnUrl = None,
    turn_ttl: options.TurnTtl = 3600,
    web: options.Web = False,
    metrics_listen: options.MetricsListen = "127.0.0.1:8766",
    log_format: options.LogFormat = "text",
    log_level: options.LogLevel = "info",
    **limits: Any,
) -> None:
    """Introduces data owners and data scientists to each other. Trusted with nothing."""
    if log_format not in ("text", "json"):
        raise typer.BadParameter("text or json", param_hint="--log-format")
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter("debug, info, warning or error", param_hint="--log-level")
    try:
        server = _make_server(
            listen=_host_port(listen),
            public_urls=public_url or [],
            base_path=base_path,
            insecure=insecure,
            proxies=trusted_proxy or [],
            origins=allow_origin or [],
            context=_tls(cert, key),
            ice=IceConfig(
                tuple(_ice_urls(ice_server or [], ("stun:",))),
                tuple(_ice_urls(turn_url or [], ("turn:", "turns:"))),
                read_secret() if turn_url else "",
                turn_ttl,
            ),
            metrics=_host_port(metrics_listen) if metrics_listen else None,
            limits=Limits(**limits),
            pages=Pages.installed() if web else None,
        )
    except (ValueError, OSError, PagesMissing) as error:
        raise typer.BadParameter(str(error)) from error
    configure(as_json=log_format == "json", level=log_level)
    try:
        asyncio.run(_run(server, wants_metrics=bool(metrics_listen)))
    except (OSError, ValueError) as error:
        log.error("cannot start: %s", getattr(error, "strerror", None) or error)
        raise typer.Exit(1) from error


def _make_server(
    *,
    listen: tuple[str, int],
    public_urls: list[str],
    base_path: str,
    insecure: bool,
    proxies: list[str],
    origins: list[str],
    context: ssl.SSLContext | None,
    ice: IceConfig,
    metrics: tuple[str, int] | None,
    limits: Limits,
    pages: Pages | None = None,
) -> Server:
    if not (is_loopback_host(listen[0]) or insecure or proxies or context):
        raise ValueError(
            "plain HTTP beyond loopback shows IDs and addresses on the way: give --cert and"
            " --key, --trusted-proxy, or --insecure"
        )
    if proxies and not public_urls:
        raise ValueError("--trusted-proxy needs --public-url, the URL that clients use")
    if base_path and (not base_path.startswith("/") or base_path.endswith("/")):
        raise ValueError("--base-path starts with / and does not end with it")
    config = SignalingConfig(
        public_urls=tuple(normalise_url(url) for url in public_urls),
        base_path=base_path,
        allow_origins=tuple(normalise_url(origin) for origin in origins),
        trusted_proxies=parse_networks(proxies),
        ice=ice,
        pages=pages,
    )
    counters: Metrics | None = None
    if metrics is not None and is_available():
        counters = PrometheusMetrics(version())
    return Server(
        config,
        limits,
        host=listen[0],
        port=listen[1],
        ssl_context=context,
        metrics=counters,
        metrics_listen=metrics,
    )


async def _run(server: Server, *, wants_metrics: bool) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def ask_to_stop() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, ask_to_stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ask_to_stop))
    await server.start()
    typer.echo(f"Signalling server: {server.url}")  # first: programs read this line
    if wants_metrics and not is_available():
        log.info("metrics are off: prometheus-client is not installed")
    await server.serve(stop, hurry)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls(cert: str, key: str) -> ssl.SSLContext | None:
    if not cert and not key:
        return None
    if not cert or not key:
        raise ValueError("--cert and --key belong together")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


def _ice_urls(urls: list[str], schemes: tuple[str, ...]) -> list[str]:
    for url in urls:
        if not url.startswith(schemes):
            raise ValueError(f"{url!r} does not start with {' or '.join(schemes)}")
    return urls


def _with_limits(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option per limit, in place of its ``**limits``."""
    signature = inspect.signature(function, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, entry in FIELDS.items():
        option = typer.Option(option_name(name), envvar=env_name(name), help=entry.metadata["help"])
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=entry.default,
                annotation=Annotated[type(entry.default), option],
            )
        )
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


cli.command()(_with_limits(_serve))


def main() -> None:
    """Runs the command."""
    cli()
