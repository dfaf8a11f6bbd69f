"""Which of the ICE servers that a signalling server hands out are used.

The list comes from an untrusted relay, and every address in it is sent packets. So a relay must
not be able to aim a partner at its own machine or network, unless the relay itself was reached
there. Entries that do not fit are left out; the rest is used.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, Final

from signaling_server.urls import is_loopback_host

__all__ = ["usable_ice_servers"]

_ENTRIES: Final = 8
_URLS: Final = 4  # of one entry
_URL_CHARS: Final = 256
_CREDENTIAL_CHARS: Final = 512

_URL: Final = re.compile(
    r"(?P<scheme>stun|turn|turns):"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+))"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?:\?transport=(?:udp|tcp))?",
    re.ASCII,
)
# 127.1, 2130706433 and 0x7f.1 are loopback to a resolver but not to ipaddress. A name never ends
# in a number, so such a host is taken only if it is a literal in full.
_NUMERIC_END: Final = re.compile(r"(?:^|\.)(?:\d+|0[xX][0-9A-Fa-f]*)\.?$", re.ASCII)


def usable_ice_servers(offered: Sequence[Any], *, allow_private: bool) -> list[dict[str, Any]]:
    """The entries that may be used, each with ``urls`` and, for TURN, its credentials.

    Args:
        offered: RTCIceServer objects, as they came from the relay.
        allow_private: whether the relay itself was reached at a loopback or private address.
    """
    usable = []
    for entry in offered[:_ENTRIES]:
        if not isinstance(entry, dict):
            continue
        urls = entry.get("urls")
        if isinstance(urls, str):
            urls = [urls]
        if not isinstance(urls, list):
            continue
        kept = [url for url in urls[:_URLS] if _is_usable(url, allow_private)]
        if not kept:
            continue
        server: dict[str, Any] = {"urls": kept}
        for name in ("username", "credential"):
            value = entry.get(name)
            if isinstance(value, str) and len(value) <= _CREDENTIAL_CHARS:
                server[name] = value
        usable.append(server)
    return usable


def _is_usable(url: object, allow_private: bool) -> bool:
    if not isinstance(url, str) or len(url) > _URL_CHARS:
        return False
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or 3478) < 65_536:
        return False
    host = match["v6"] or match["host"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if match["v6"] or _NUMERIC_END.search(host):
            return False
        return allow_private or not is_loopback_host(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address.is_unspecified:
        return False
    return allow_private or address.is_global
