"""Where the two parties meet: which signalling server, or which folder.

Order for the URL: the argument, the owner's line where a scientist pasted it, `DUET_SIGNALING_URL`,
then the local server at `LOCAL_URL`, which an owner starts in its own process where nothing
answers. Nothing else is ever contacted; there is no public default.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import socket
from dataclasses import dataclass

from duet_p2p.errors import SignalingUnreachable
from duet_p2p.identity.users import user_of
from signaling_server.embedded import EmbeddedServer

__all__ = [
    "LOCAL_URL",
    "MeetingPoint",
    "owner_meeting_point",
    "renewed_meeting_point",
    "scientist_meeting_point",
]

LOCAL_HOST, LOCAL_PORT = "127.0.0.1", 8765
LOCAL_URL = f"http://{LOCAL_HOST}:{LOCAL_PORT}"
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
PROBE_SECONDS = 2.0
START_SECONDS = 10.0
_LOCAL_HINT = (
    "No server was named, so this machine's own was tried. Is the owner's session running? "
    "If the owner's line has network_url=, run that line, or paste it where join_duet() asks."
)


@dataclass(frozen=True)
class MeetingPoint:
    """A signalling server to use, and how to speak of it."""

    url: str
    text: str
    """For the line "Signalling server: …"."""
    url_to_send: str
    """For the join line; empty where `join_duet` finds it by itself."""
    server: EmbeddedServer | None = None
    """The server in this process, to be closed with the session."""
    is_borrowed: bool = False
    """Whether the server was found on this machine, in another owner's process: it may end."""
    hint: str = ""
    """What to try where it cannot be used; empty where the user named it."""


def owner_meeting_point(network_url: str, url: str, host: str | None) -> MeetingPoint:
    """The owner's choice; starts a server in this process where none answers.

    Args:
        network_url: first choice, may be empty.
        url: the same under its short name.
        host: address on which a server in this process shall listen, for a LAN.

    Raises:
        ValueError: two different URLs, or a URL together with `host`.
        SignalingUnreachable: the server in this process did not start.
    """
    chosen = _chosen(network_url, url)
    if chosen and host:
        raise ValueError("Give either the URL of a server or host= for one in this process.")
    if chosen:
        return MeetingPoint(chosen, chosen, chosen)
    if host is None and is_duet_server(LOCAL_HOST, LOCAL_PORT):
        return MeetingPoint(
            LOCAL_URL, f"{LOCAL_URL} (already on this machine)", "", is_borrowed=True
        )
    return _embedded(host)


def renewed_meeting_point(point: MeetingPoint) -> MeetingPoint:
    """What takes the place of a borrowed server that is gone; the same point where it answers.

    Raises:
        SignalingUnreachable: the server in this process did not start.
    """
    if not point.is_borrowed or is_duet_server(LOCAL_HOST, LOCAL_PORT):
        return point
    return _embedded(None)


def _embedded(host: str | None) -> MeetingPoint:
    server = EmbeddedServer(host or LOCAL_HOST, LOCAL_PORT, is_own=_is_own)
    try:
        started = server.start(START_SECONDS)
    except OSError as error:
        raise SignalingUnreachable(
            f"No signalling server could be started on {host or LOCAL_HOST}: {error}."
        ) from error
    reach = "partners on this machine only" if host is None else "partners on this network"
    text = f"{started} (in this process; {reach})"
    return MeetingPoint(started, text, "" if started == LOCAL_URL else started, server)


def _is_own(line: socket.socket) -> bool:
    """Whether a connection is of this user, as far as the kernel tells."""
    try:
        is_here = ipaddress.ip_address(line.getpeername()[0]) in _LOOPBACK
    except (OSError, ValueError):
        return False
    return is_here and user_of(line) == os.geteuid()


def scientist_meeting_point(network_url: str, url: str, sent: str = "") -> MeetingPoint:
    """The scientist's: the named server, or the local one.

    Args:
        network_url: first choice, may be empty.
        url: the same under its short name.
        sent: the server in the owner's line, where the scientist pasted that.
    """
    if chosen := _chosen(network_url, url, sent):
        return MeetingPoint(chosen, chosen, "")
    return MeetingPoint(LOCAL_URL, LOCAL_URL, "", hint=_LOCAL_HINT)


def is_duet_server(host: str, port: int) -> bool:
    """Whether something that answers ``/v1/info`` as our server does listens there."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/v1/info")
            answer = connection.getresponse()
            found = json.loads(answer.read(65536)) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return isinstance(found, dict) and {"version", "limits"} <= found.keys()


def _chosen(network_url: str, url: str, sent: str = "") -> str:
    if network_url and url and network_url != url:
        raise ValueError("network_url= and url= are two names of one parameter; give one of them.")
    return network_url or url or sent or os.environ.get("DUET_SIGNALING_URL", "")
