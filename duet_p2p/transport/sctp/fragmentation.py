"""Whether the kernel and routers may cut a datagram that is too large for the path (Linux).

Usually the kernel decides by what it believes about the path. A probe must arrive whole or not at
all, else it shows nothing, and so must the packets of the size that it proved, else they would be
cut for good where the path has become narrow. Only what was made for the wide path and is sent
again keeps its size, so there the network has to cut it (RFC 9260 section 7.3).
"""

from __future__ import annotations

import socket
from enum import IntEnum
from typing import Final

__all__ = ["Cutting", "Scissors"]

_OPTIONS: Final = {
    int(socket.AF_INET): (socket.IPPROTO_IP, 10),  # IP_MTU_DISCOVER
    int(socket.AF_INET6): (socket.IPPROTO_IPV6, 23),  # IPV6_MTU_DISCOVER
}


class Cutting(IntEnum):
    """What may happen to a datagram; the kernel's numbers."""

    ALWAYS = 0
    """Anybody may cut it: routers of IPv4 do, with IPv6 only this machine, if it knows the path."""
    BY_PATH = 1
    """The kernel cuts what is larger than it knows the path to take: the usual way."""
    NEVER = 3
    """Nobody may, whatever the kernel believes about the path."""


class Scissors:
    """The setting of one socket, changed only when it has to be."""

    def __init__(self, udp: socket.socket) -> None:
        self._socket = udp
        self._now = Cutting.BY_PATH

    def set(self, how: Cutting) -> None:
        """What is sent from now on is treated so.

        Raises:
            OSError: the kernel does not know the option.
        """
        if how is not self._now:
            self._socket.setsockopt(*_OPTIONS[self._socket.family], how)
            self._now = how
