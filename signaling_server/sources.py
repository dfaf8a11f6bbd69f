"""Who is at the other end, for the limits per source.

A source is an IPv4 address, or the /64 of an IPv6 address, since one customer has a whole /64.
Behind a proxy it is the right-most hop that the proxy did not add itself; everything to the left
of that can be forged by whoever sends the request.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["Network", "SourceCounts", "parse_networks", "source_of"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR: Final = re.compile(r'(?:^|[;,])\s*for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
_MAX_HOPS: Final = 32


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Trusted proxies as networks; `ValueError` for anything else."""
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


def source_of(
    peer: str | None,
    trusted: Sequence[Network],
    x_forwarded_for: Sequence[str] = (),
    forwarded: Sequence[str] = (),
) -> str:
    """The source of a request: see the top of this file.

    Where a trusted proxy passes both headers on and they disagree, one of them comes from the
    client, and nothing tells which: then the proxy itself is the source.
    """
    address = _parse(peer or "")
    if address is None:
        return "unknown"
    if not any(address in network for network in trusted):
        return _key(address)
    answers = {
        _client(address, hops, trusted)
        for hops in (
            [hop for line in x_forwarded_for for hop in line.split(",")],
            [hop for line in forwarded for hop in _FORWARDED_FOR.findall(line)],
        )
        if hops
    }
    return _key(answers.pop() if len(answers) == 1 else address)


def _client(address: Address, hops: list[str], trusted: Sequence[Network]) -> Address:
    for hop in reversed(hops[-_MAX_HOPS:]):
        parsed = _parse(hop)
        if parsed is None:
            break  # whatever is left of it cannot be trusted
        address = parsed
        if not any(address in network for network in trusted):
            break
    return address


def _parse(text: str) -> Address | None:
    text = text.strip().strip('"').strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _key(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class SourceCounts:
    """How many sockets there are, in all, not registered yet, and of each source."""

    def __init__(self) -> None:
        self.all = 0
        self.unregistered = 0
        self._by_source: Counter[str] = Counter()

    def of(self, source: str) -> int:
        """Sockets of one source."""
        return self._by_source.get(source, 0)

    def enter(self, source: str) -> None:
        """A socket was accepted."""
        self.all += 1
        self.unregistered += 1
        self._by_source[source] += 1

    def register(self) -> None:
        """A socket registered."""
        self.unregistered -= 1

    def leave(self, source: str, *, registered: bool) -> None:
        """A socket ended."""
        self.all -= 1
        self.unregistered -= not registered
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
