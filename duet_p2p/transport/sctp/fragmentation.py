"""Whether the kernel and routers may cut a datagram that is too large for the path (Linux).

Usually the kernel decides by what it believes about the path. A probe must arrive whole or not at
all, else it shows nothing. And what was cut into SCTP fragments for a wide path keeps its size when
the path becomes narrow, so there the network has to cut it (RFC 9260 section 7.3).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

__all__ = ["Cutting", "cut"]

_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_MTU: Final = 24
_IPV6_LEAST_BYTES: Final = 1_280  # which every path of IPv6 takes


class Cutting(IntEnum):
    """What may happen to a datagram; the kernel's numbers."""

    ALWAYS = 0
    """Anybody may cut it. With IPv6, where routers do not, this machine does."""
    BY_PATH = 1
    """The kernel cuts what is larger than it knows the path to take: the usual way."""
    NEVER = 3
    """Nobody may, whatever the kernel believes about the path."""


@contextlib.contextmanager
def cut(udp: socket.socket, how: Cutting) -> Iterator[None]:
    """What is sent inside the block is treated so.

    Raises:
        OSError: the kernel does not know the option.
    """
    is_6 = udp.family == socket.AF_INET6
    level, option = (
        (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if is_6 else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    )
    udp.setsockopt(level, option, how)
    try:
        if is_6 and how is Cutting.ALWAYS:
            udp.setsockopt(level, _IPV6_MTU, _IPV6_LEAST_BYTES)
        yield
    finally:
        udp.setsockopt(level, option, Cutting.BY_PATH)
        if is_6 and how is Cutting.ALWAYS:
            udp.setsockopt(level, _IPV6_MTU, 0)
