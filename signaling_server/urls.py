"""Addresses of signalling servers, in the one spelling that both sides sign.

Server and client must write the same URL the same way, or no proof of registration would ever
match: ``wss://Sig.Example.org:443/duet/`` is ``https://sig.example.org/duet``.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["is_loopback_host", "is_loopback_url", "is_private_url", "join_host", "normalise_url"]

_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


def normalise_url(text: str) -> str:
    """The canonical URL of a signalling server.

    Raises:
        ValueError: not an http, https, ws or wss URL with a host, or one with a user name, a query
            or a fragment.
    """
    text = text.strip()
    if not text.isascii() or any(c <= " " or c == "\\" for c in text):
        raise ValueError("an address has no spaces and only ASCII characters")
    parts = urlsplit(text)
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ValueError("an address looks like https://sig.example.org")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address has no user name or password")
    if parts.query or parts.fragment:
        raise ValueError("an address has no query and no fragment")
    host = parts.hostname.lower()
    if "%" in host:
        raise ValueError("an address has no zone")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        if ":" in host:
            raise ValueError("not an IPv6 address") from None
    path = parts.path.rstrip("/")
    if any(segment in (".", "..") for segment in path.split("/")) or "//" in path:
        raise ValueError("an address has a plain path")
    port = parts.port if parts.port is not None else _DEFAULT_PORT[scheme]
    netloc = join_host(host, None if port == _DEFAULT_PORT[scheme] else port)
    return f"{scheme}://{netloc}{path}"


def join_host(host: str, port: int | None) -> str:
    """``host:port``, with the brackets that an IPv6 address needs."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def is_loopback_host(host: str) -> bool:
    """Whether a host name or literal means this machine."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether a URL names this machine."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_private_url(url: str) -> bool:
    """Whether a URL names this machine or a private or link-local address literal."""
    host = urlsplit(url).hostname or ""
    if is_loopback_host(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified
