"""What a server hands out for ICE: STUN and TURN addresses, and credentials that end soon.

The credentials are those of coturn's ``use-auth-secret``: the name carries the time at which it
ends, the password is its HMAC. The secret itself never leaves the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["IceConfig", "credential", "read_secret"]


@dataclass(frozen=True, slots=True)
class IceConfig:
    """The ICE servers of one signalling server; empty by default."""

    servers: tuple[str, ...] = ()
    """URLs without credentials: ``stun:host:port``."""
    turn_urls: tuple[str, ...] = ()
    """URLs that get credentials: ``turn:host:port?transport=udp``."""
    secret: str = ""
    """Shared with coturn."""
    ttl: int = 3600
    """Seconds that credentials are good for."""

    def __post_init__(self) -> None:
        if self.turn_urls and not self.secret:
            raise ValueError("--turn-url needs DUET_SIG_TURN_SECRET or DUET_SIG_TURN_SECRET_FILE")
        if self.ttl <= 0:
            raise ValueError("--turn-ttl must be above zero")

    def for_id(self, id: str, now: float) -> tuple[list[dict[str, Any]], int | None]:
        """RTCIceServer objects for a registered ID, and the unix time at which they end."""
        servers: list[dict[str, Any]] = [{"urls": [url]} for url in self.servers]
        if not self.turn_urls:
            return servers, None
        expires = int(now) + self.ttl
        username = f"{expires}:{id}"
        servers.append(
            {
                "urls": list(self.turn_urls),
                "username": username,
                "credential": credential(self.secret, username),
            }
        )
        return servers, expires


def credential(secret: str, username: str) -> str:
    """The password of a user name: base64(HMAC-SHA1(secret, name)), as coturn computes it."""
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def read_secret(environ: Mapping[str, str] = os.environ) -> str:
    """The secret that signs, or "": never from an argument, which every user could see.

    Of two lines the first signs. coturn accepts both while one replaces the other.

    Raises:
        ValueError: the file cannot be read, or there are more than two lines.
    """
    text = environ.get("DUET_SIG_TURN_SECRET", "")
    path = environ.get("DUET_SIG_TURN_SECRET_FILE", "")
    if path and not text:
        try:
            text = Path(path).read_text("utf-8")
        except OSError as error:
            raise ValueError(f"DUET_SIG_TURN_SECRET_FILE: {error.strerror}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 2:
        raise ValueError("a TURN secret has at most two lines")
    return lines[0] if lines else ""
