"""Which user of this machine is at the other end of a connection over 127.0.0.1, by the kernel.

Any user of the machine can connect to the port of the console, or of the signalling server in this
process. A Unix socket's other end is told by the socket itself (console/door.py); for TCP, Linux
tells the user of any socket whose addresses one names (`sock_diag`, as ``ss -e`` shows them). The
other end is such a socket: it is on this machine.

What is in another's name may be the owner all the same: a browser behind a forwarded port speaks
through the process that forwards it. So whoever asks gives others less room, and not none.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

__all__ = ["is_own", "user_of"]

_SOCK_DIAG: Final = 4  # protocol of netlink
_BY_FAMILY: Final = 20  # type of a question, and of its answer
_REQUEST: Final = 1
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = b"\xff" * 8
_HEAD: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, number, port
_QUESTION: Final = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, up to its addresses
_PORTS: Final = struct.Struct(">HH")  # struct inet_diag_sockid: of the socket, of its other end
_USER: Final = struct.Struct("=I")
_USER_AT: Final = _HEAD.size + 64  # struct inet_diag_msg: 4 + 48 of addresses + 3 numbers


def is_own(line: socket.socket) -> bool:
    """Whether the other end is this user's, or nobody can tell on this system."""
    user = user_of(line)
    return user is None or user == os.geteuid()


def user_of(line: socket.socket) -> int | None:
    """User id of whoever connected to 127.0.0.1.

    Args:
        line: our end.

    Returns:
        The id; -1 if the kernel knows no such socket; None where it is not told. A socket that was
        closed already has none, or is root's.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        (theirs, port), (ours, at) = line.getpeername()[:2], line.getsockname()[:2]
    except OSError:
        return -1
    body = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE)
    body += _PORTS.pack(port, at) + _address(theirs) + _address(ours) + bytes(4) + _NO_COOKIE
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.setblocking(False)  # it answers before `send` returns
            kernel.send(_HEAD.pack(_HEAD.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body)
            answer = kernel.recv(4096)
    except OSError:
        return None
    if len(answer) < _USER_AT + _USER.size or _HEAD.unpack_from(answer)[1] != _BY_FAMILY:
        return -1
    return int(_USER.unpack_from(answer, _USER_AT)[0])


def _address(text: str) -> bytes:
    return socket.inet_aton(text) + bytes(12)
