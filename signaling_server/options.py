"""The options of ``duet-signaling``, each with its variable and help; limits are in limits.py."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AllowOrigin",
    "BasePath",
    "Cert",
    "IceServer",
    "Insecure",
    "Key",
    "Listen",
    "LogFormat",
    "LogLevel",
    "MetricsListen",
    "PublicUrl",
    "TrustedProxy",
    "TurnTtl",
    "TurnUrl",
    "Web",
]

Listen = Annotated[str, typer.Option(envvar="DUET_SIG_LISTEN", help="Address and port, HOST:PORT.")]
PublicUrl = Annotated[
    list[str] | None,
    typer.Option(
        envvar="DUET_SIG_PUBLIC_URL",
        help="URL that clients use; repeatable. Default on loopback: its three names.",
    ),
]
BasePath = Annotated[str, typer.Option(envvar="DUET_SIG_BASE_PATH", help="Path before all routes.")]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", envvar="DUET_SIG_INSECURE", help="Allow plain HTTP beyond loopback."
    ),
]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(
        envvar="DUET_SIG_TRUSTED_PROXY",
        help="Network of a reverse proxy, CIDR; repeatable. Its X-Forwarded-For is believed.",
    ),
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        envvar="DUET_SIG_ALLOW_ORIGIN", help="Origin of a page that may connect; repeatable."
    ),
]
Cert = Annotated[str, typer.Option(envvar="DUET_SIG_CERT", help="Certificate chain, PEM file.")]
Key = Annotated[str, typer.Option(envvar="DUET_SIG_KEY", help="Its key, PEM file.")]
IceServer = Annotated[
    list[str] | None,
    typer.Option(envvar="DUET_SIG_ICE_SERVER", help="stun: URL for clients; repeatable."),
]
TurnUrl = Annotated[
    list[str] | None,
    typer.Option(
        envvar="DUET_SIG_TURN_URL",
        help="turn: or turns: URL that gets credentials; repeatable. The secret is in"
        " DUET_SIG_TURN_SECRET or in the file DUET_SIG_TURN_SECRET_FILE.",
    ),
]
TurnTtl = Annotated[
    int, typer.Option(envvar="DUET_SIG_TURN_TTL", help="Seconds that credentials are good.")
]
Web = Annotated[
    bool,
    typer.Option(
        "--web", envvar="DUET_SIG_WEB", help="Serve the browser's pages too, at the same URL."
    ),
]
MetricsListen = Annotated[
    str,
    typer.Option(envvar="DUET_SIG_METRICS_LISTEN", help="HOST:PORT for Prometheus; empty is off."),
]
LogFormat = Annotated[str, typer.Option(envvar="DUET_SIG_LOG_FORMAT", help="text or json.")]
LogLevel = Annotated[
    str, typer.Option(envvar="DUET_SIG_LOG_LEVEL", help="debug, info, warning or error.")
]
